"""Acts in threads of their own: their outcome, and that they keep nobody from ending."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from daemon.beside import Beside, NotBegun

ROOT = Path(__file__).parents[2]
HANGS = """
import threading, time
from daemon.beside import Beside
Beside(time.monotonic, print).begin(threading.Event().wait)
"""


def test_an_act_has_its_outcome_and_is_told_of() -> None:
    told = threading.Event()
    act = Beside(lambda: 7.0, told.set).begin(lambda: 3)
    assert told.wait(60)
    assert (act.future.result(0), act.began) == (3, 7.0)


def test_what_an_act_raises_is_its_outcome() -> None:
    told = threading.Event()

    def failing() -> None:
        raise OSError("no")

    act = Beside(time.monotonic, told.set).begin(failing)
    assert told.wait(60)
    assert isinstance(act.future.exception(0), OSError)


def test_where_there_is_no_thread_the_act_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    act = Beside(time.monotonic, print).begin(print)
    assert isinstance(act.future.exception(0), NotBegun)


def test_an_act_that_hangs_does_not_keep_the_program_from_ending() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, timeout=60)
    assert ended.returncode == 0
