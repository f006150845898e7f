"""Calls that end at a deadline."""

import os
import socket
import threading

import pytest

from poolmgr.kube.deadline import Calls


def test_an_answer_or_an_error_comes_back():
    calls = Calls(5)

    assert 7 == calls.answer(lambda: 7)
    with pytest.raises(KeyError):
        calls.answer(lambda: os.environ["POOLMGR_NONE"])


def test_a_call_that_waits_for_its_server_is_cut_off():
    mine, server = socket.socketpair()
    calls, got = Calls(0.2), threading.Event()
    calls.note(mine)

    def ask() -> None:
        mine.recv(1)
        got.set()

    with server, mine:
        with pytest.raises(TimeoutError):
            calls.answer(ask)

        assert got.wait(5)


def test_a_socket_that_was_closed_does_not_hinder_the_others():
    closed, (mine, server) = socket.socket(), socket.socketpair()
    calls = Calls(0.1)
    calls.note(mine)
    calls.note(closed)
    closed.close()

    with server, mine:
        with pytest.raises(TimeoutError):
            calls.answer(lambda: mine.recv(1) or threading.Event().wait(1))

        assert b"" == server.recv(1)
