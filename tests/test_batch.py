import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from poolmgr.batch import Batcher

FOREVER_S = 10.0


class BrokenError(Exception):
    """What a worker fails with."""


@dataclass
class Worker:
    """Answers each work with its double, a batch at a time, each batch when it is let."""

    batches: list[list[int]] = field(default_factory=list)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    failures: dict[int, BaseException] = field(default_factory=dict)

    def __call__(self, tickets):
        batch = sorted(ticket.work for ticket in tickets)
        self.batches.append(batch)
        self.begun.release()
        assert self.turns.acquire(timeout=FOREVER_S)
        for work in batch:
            if work in self.failures:
                raise self.failures[work]
        for ticket in tickets:
            ticket.settle(ticket.work * 2)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(100) as threads:
        yield threads


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def batcher(worker):
    return Batcher(worker, largest=3)


def ask(pool, batcher, *works, timeout_s=FOREVER_S):
    """Submit from one thread each, and wait until all of them are in the queue, or at work."""
    before = len(batcher._queue)
    futures = [pool.submit(batcher.submit, work, timeout_s=timeout_s) for work in works]
    while len(batcher._queue) < before + len(works):
        time.sleep(0.001)
    return futures


def lead(pool, batcher, worker, work):
    """Submit a work, and wait until its batch has begun."""
    future = pool.submit(batcher.submit, work, timeout_s=FOREVER_S)
    assert worker.begun.acquire(timeout=FOREVER_S)
    return future


def test_a_lone_caller_is_served_at_once(batcher, worker):
    worker.turns.release(2)

    assert [batcher.submit(n, timeout_s=FOREVER_S) for n in (1, 2)] == [2, 4]
    assert worker.batches == [[1], [2]]


def test_those_who_come_during_a_batch_make_up_the_next(pool, batcher, worker):
    first = lead(pool, batcher, worker, 1)
    rest = ask(pool, batcher, 2, 3)
    worker.turns.release(2)

    assert [future.result(FOREVER_S) for future in (first, *rest)] == [2, 4, 6]
    assert worker.batches == [[1], [2, 3]]


def test_no_batch_is_larger_than_the_largest_and_nobody_is_left_behind(pool, batcher, worker):
    first = lead(pool, batcher, worker, 0)
    rest = ask(pool, batcher, *range(1, 9))
    worker.turns.release(4)

    assert [n * 2 for n in range(9)] == [future.result(FOREVER_S) for future in (first, *rest)]
    assert [len(batch) for batch in worker.batches] == [1, 3, 3, 2]


def test_an_error_reaches_every_caller_of_the_batch_and_no_other(pool, batcher, worker):
    worker.failures[2] = BrokenError()
    first = lead(pool, batcher, worker, 1)
    failing = ask(pool, batcher, 2, 3, 4)
    last = ask(pool, batcher, 5)
    worker.turns.release(3)

    assert [future.result(FOREVER_S) for future in (first, *last)] == [2, 10]
    assert [BrokenError] * 3 == [type(future.exception(FOREVER_S)) for future in failing]


def test_a_caller_who_was_answered_before_the_error_keeps_the_answer(pool):
    def run(tickets):
        tickets[0].settle("answer")
        raise BrokenError

    assert Batcher(run).submit("work", timeout_s=FOREVER_S) == "answer"


def test_a_worker_can_fail_one_caller_alone():
    def run(tickets):
        tickets[0].fail(BrokenError())

    with pytest.raises(BrokenError):
        Batcher(run).submit("work", timeout_s=FOREVER_S)


def test_waiting_for_a_turn_ends_at_the_deadline_and_the_work_is_not_begun(
    pool, batcher, worker
):
    first = lead(pool, batcher, worker, 1)
    (late,) = ask(pool, batcher, 2, timeout_s=0.02)

    assert isinstance(late.exception(FOREVER_S), TimeoutError)
    worker.turns.release(1)
    assert first.result(FOREVER_S) == 2
    assert worker.batches == [[1]]


def test_once_work_has_begun_its_answer_is_waited_for(pool, batcher, worker):
    first = lead(pool, batcher, worker, 1)
    leader, follower = ask(pool, batcher, 2, 3, timeout_s=0.2)
    worker.turns.release(1)
    assert worker.begun.acquire(timeout=FOREVER_S)
    time.sleep(0.3)  # both deadlines pass
    worker.turns.release(1)

    assert [future.result(FOREVER_S) for future in (first, leader, follower)] == [2, 4, 6]


def test_an_interrupt_is_raised_at_the_leader_and_the_lead_is_passed_on(pool, batcher, worker):
    worker.failures[2] = KeyboardInterrupt()
    first = lead(pool, batcher, worker, 1)
    interrupted = ask(pool, batcher, 2, 3, 4)
    last = ask(pool, batcher, 5)
    worker.turns.release(3)

    assert [future.result(FOREVER_S) for future in (first, *last)] == [2, 10]
    assert {KeyboardInterrupt} == {type(future.exception(FOREVER_S)) for future in interrupted}


def test_an_interrupted_leader_is_interrupted_even_with_its_answer(pool):
    def run(tickets):
        tickets[0].settle("answer")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Batcher(run).submit("work", timeout_s=FOREVER_S)


def interrupt_main():
    time.sleep(0.1)  # by now the main thread waits
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_an_interrupted_follower_leaves_the_queue(pool, batcher, worker):
    first = lead(pool, batcher, worker, 1)
    pool.submit(interrupt_main)
    with pytest.raises(KeyboardInterrupt):
        batcher.submit(2, timeout_s=FOREVER_S)
    last = ask(pool, batcher, 3)
    worker.turns.release(2)

    assert [future.result(FOREVER_S) for future in (first, *last)] == [2, 6]
    assert worker.batches == [[1], [3]]


def test_a_follower_interrupted_when_it_is_to_lead_passes_the_lead_on(
    pool, batcher, worker, monkeypatch
):
    first = lead(pool, batcher, worker, 1)
    others = []

    def wait(event, timeout_s=None, *, inner=threading.Event.wait):
        """Show the interrupt only once the lead is there."""
        try:
            return inner(event, timeout_s)
        except KeyboardInterrupt:
            others.extend(ask(pool, batcher, 3))
            worker.turns.release(2)
            first.result(FOREVER_S)
            raise

    monkeypatch.setattr(threading.Event, "wait", wait)
    pool.submit(interrupt_main)
    with pytest.raises(KeyboardInterrupt):
        batcher.submit(2, timeout_s=FOREVER_S)

    assert [future.result(FOREVER_S) for future in others] == [6]
    assert worker.batches == [[1], [3]]


def test_work_that_was_taken_is_done_although_its_caller_is_interrupted(pool, batcher, worker):
    first = lead(pool, batcher, worker, 1)
    leader = ask(pool, batcher, 2)

    def take_then_interrupt():
        while len(batcher._queue) < 2:
            time.sleep(0.001)
        worker.turns.release()
        assert worker.begun.acquire(timeout=FOREVER_S)
        interrupt_main()

    pool.submit(take_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        batcher.submit(3, timeout_s=FOREVER_S)
    worker.turns.release()

    assert [future.result(FOREVER_S) for future in (first, *leader)] == [2, 4]
    assert worker.batches == [[1], [2, 3]]


def test_64_threads_get_their_own_answers(pool):
    batches = []

    def run(tickets):
        batches.append(len(tickets))
        time.sleep(0.001)
        for ticket in tickets:
            ticket.settle(f"answer to {ticket.work}")

    batcher = Batcher(run)

    def client(thread):
        return [
            batcher.submit(f"{thread}.{n}", timeout_s=FOREVER_S) == f"answer to {thread}.{n}"
            for n in range(20)
        ]

    results = list(pool.map(client, range(64)))

    assert results == [[True] * 20] * 64
    assert sum(batches) == 64 * 20
    assert len(batches) < 64 * 20 / 4
