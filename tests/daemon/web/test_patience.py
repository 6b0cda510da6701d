"""Whoever does not get on is left, whoever does is waited for."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from services import wait_until

from daemon.web.patience import Patience


def test_who_moves_is_waited_for_and_who_does_not_is_left() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Patience(2.5).watched(ours) as visit:
        for _ in range(30):
            time.sleep(0.1)
            visit.moved()
        assert not visit.is_over
        theirs.send(b"x")
        assert ours.recv(1) == b"x"
        assert ours.recv(1) == b""  # woken where it waits
        assert visit.is_over
        ours.send(b"an answer")
        assert theirs.recv(100) == b"an answer"


def test_one_that_ends_is_no_longer_watched() -> None:
    ours, theirs = socket.socketpair()
    patience = Patience(0.1)
    with ours, theirs:
        with patience.watched(ours):
            pass
        time.sleep(0.3)
        theirs.send(b"x")
        assert ours.recv(1) == b"x"


def test_where_there_was_no_thread_for_it_the_next_one_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience = Patience(0.1)

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError), patience.watched(None):
            pass
    ours, theirs = socket.socketpair()
    with ours, theirs, patience.watched(ours) as visit:
        wait_until(lambda: visit.is_over, "it is left")
    wait_until(lambda: patience._thread is None, "nobody is watched")


def test_its_thread_ends_with_the_last_and_comes_back_with_the_next() -> None:
    patience = Patience(0.1)

    def is_running() -> bool:
        return patience._thread is not None and patience._thread.is_alive()

    for _ in range(2):
        with patience.watched(None) as visit:
            assert is_running()
            time.sleep(0.3)
            assert not visit.is_over  # there is nothing that could be ended
        wait_until(lambda: not is_running(), "the end of the thread")
