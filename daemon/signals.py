"""
Ctrl-C and requests to end.

Where nothing has been begun a signal ends the program at once; while a file is being
written it only sets a flag, so that the file is removed first. A signal that is ignored, as
under `nohup`, stays so.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from daemon.errors import Interrupted

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def raise_on_signals() -> None:
    """From now on a signal to end raises `Interrupted` in the main thread."""
    sys.unraisablehook = _end_where_nobody_hears
    for number in _heeded():
        signal.signal(number, _raise)


def end_on_signals() -> None:
    """From now on a signal to end ends the process, as it does where nobody heeds it."""
    for number in _heeded():
        signal.signal(number, signal.SIG_DFL)


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
        if number == signal.SIGQUIT:  # a second one ends also what hangs in a share
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _end_where_nobody_hears(ignored: UnraisableHookArgs) -> None:
    """
    End by the signal where it came within code that can raise nothing.

    As within a destructor, or in a module of pydantic's that is being imported: the signal would be
    lost, and what was asked to end would go on.
    """
    if isinstance(ignored.exc_value, Interrupted):
        end_on_signals()
        signal.raise_signal(ignored.exc_value.signal_number)
    else:
        sys.__unraisablehook__(ignored)


def _heeded() -> list[signal.Signals]:
    return [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]


class ServiceSignals:
    """
    A context within which signals are noted for a service to heed when it comes to it.

    Attributes:
        ends: how often the end was asked for; the second time it should be quick.
    """

    def __init__(self) -> None:
        self.ends = 0
        self._wants_reload = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> ServiceSignals:
        # SIGHUP is heeded also where it was ignored, as under nohup: it does not end us.
        heard: dict[signal.Signals, Any] = {
            **{n: self._note_end for n in (signal.SIGINT, signal.SIGTERM)},
            signal.SIGHUP: self._note_reload,
        }
        if signal.SIGQUIT in _heeded():  # ends a service that hangs; the next one recovers
            heard[signal.SIGQUIT] = signal.SIG_DFL
        self._before = {number: signal.signal(number, note) for number, note in heard.items()}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take_reload(self) -> bool:
        """Was a new look at the configuration asked for since the last call?"""
        wants, self._wants_reload = self._wants_reload, False
        return wants

    def _note_end(self, number: int, frame: FrameType | None) -> None:
        self.ends += 1

    def _note_reload(self, number: int, frame: FrameType | None) -> None:
        self._wants_reload = True
