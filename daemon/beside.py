"""
Something done beside the caller, in a thread of its own.

Not `ThreadPoolExecutor`: its threads are waited for when the program ends, however long they
take, and a few that hang keep all others from their turn. These end with the program, and what
one was in the middle of then is what a crash leaves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")


class NotBegun(Exception):
    """The machine had no thread for it; nothing of it was done."""


@dataclass(frozen=True)
class Act(Generic[_T]):
    """What is under way; `future` has its outcome, `began` is by the caller's clock."""

    future: Future[_T]
    began: float


class Beside:
    """Begins acts; `done` is called, in the act's thread, after each."""

    def __init__(self, clock: Callable[[], float], done: Callable[[], None]) -> None:
        self._clock = clock
        self._done = done

    def begin(self, do: Callable[[], _T]) -> Act[_T]:
        """Begin one; whatever it raises, or `NotBegun`, is its outcome."""
        future: Future[_T] = Future()
        thread = threading.Thread(
            target=self._carry_out, args=(do, future), name="beside", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            future.set_exception(NotBegun(str(error)))
        return Act(future, self._clock())

    def _carry_out(self, do: Callable[[], _T], future: Future[_T]) -> None:
        try:
            outcome = do()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(outcome)
        self._done()
