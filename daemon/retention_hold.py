"""
Nothing is removed for its age for a day after the machine's clock was set forward.

By mistake, it may be: a result of just now must not go as if it were a year old. Kept over a
restart by `state/service.json`. Whether the clock was set while no service ran cannot be told, so
a start after a day or more of silence counts as that too. Where the last service was held already,
only after thirty days or more: a machine that is on for some hours a week would never remove.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from daemon.logs import server_log
from daemon.schedule import ClockWatch

# Clocks that are only corrected are set by less.
_WRONG_CLOCK_SECONDS = 3600.0
_SECOND_THOUGHTS_SECONDS = 24 * 3600.0
_LONGEST_HABIT = timedelta(days=30)  # between two times that a machine is on


class RetentionHold:
    """Whether retention has to wait; for any number of threads."""

    def __init__(
        self,
        watch: ClockWatch | None = None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch or ClockWatch()
        self._steady = steady
        self._until = steady()
        self._lock = threading.Lock()

    def take_over(self, until: datetime | None, last_seen: datetime | None, now: datetime) -> None:
        """
        Hold as long as the last service did, or where nobody knows whether the clock was set since.

        Args:
            until: when its hold ended; later than a day from now it was of a clock that has been
                set back since.
            last_seen: its last sign of life.
        """
        left = 0.0 if until is None else (until - now).total_seconds()
        silence = timedelta() if last_seen is None else now - last_seen
        was_held = until is not None and silence < _LONGEST_HABIT
        if silence.total_seconds() > _SECOND_THOUGHTS_SECONDS and not was_held:
            left = _SECOND_THOUGHTS_SECONDS
            server_log().warning(
                "nothing old is removed for a day: no service ran for long, or the clock was set"
                " forward meanwhile",
                days=round(silence / timedelta(days=1), 1),
            )
        if 0 < left <= _SECOND_THOUGHTS_SECONDS:
            with self._lock:
                self._until = max(self._until, self._steady() + left)

    def look(self) -> bool:
        """Look at the clock; say whether retention is held now."""
        with self._lock:
            seconds = self._watch.seconds_set()
            if seconds > _WRONG_CLOCK_SECONDS:
                self._until = self._steady() + _SECOND_THOUGHTS_SECONDS
                server_log().warning(
                    "the clock was set forward, nothing old is removed for a day", seconds=seconds
                )
            return self._steady() < self._until

    def until(self, now: datetime) -> datetime | None:
        """Return when the hold ends, by the clock that says it is `now`; None for no hold."""
        with self._lock:
            left = self._until - self._steady()
        return now + timedelta(seconds=left) if left > 0 else None
