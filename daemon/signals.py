"""
Ctrl-C and requests to end.

Where nothing has been begun a signal ends the program at once; while a file is being
written it only sets a flag, so that the file is removed first. A signal that is ignored, as
under `nohup`, stays so.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from daemon.errors import Interrupted

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_on_signals() -> None:
    """From now on a signal to end raises `Interrupted` in the main thread."""
    for number in _heeded():
        signal.signal(number, _raise)


class Interruption:
    """A context within which a signal to end is only noted."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._note) for number in _heeded()}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal_number is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _heeded() -> list[signal.Signals]:
    return [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
