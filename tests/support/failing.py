"""A store whose commits fail when a test says so."""

from collections.abc import Iterable

from poolmgr.store.memory import Faults, MemoryStore

FAULTS = ("lost_ack", "late", "never_applied", "conflict")


class FailingStore(MemoryStore):
    """A store whose next commit can be made to fail."""

    def __init__(self, delay: int = 0) -> None:
        self._planned: dict[str, set[int]] = {kind: set() for kind in FAULTS}
        super().__init__(Faults(**self._planned, delay=delay))

    def fail_next(self, kind: str) -> None:
        self._planned[kind].add(self._commits + 1)

    def fail(self, kind: str, numbers: Iterable[int]) -> None:
        self._planned[kind] |= set(numbers)
