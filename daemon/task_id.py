"""
Names for tasks: ordered by time, impossible to guess, safe in a file name. No I/O.

A name is a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, 73 or 74 random bits, in lower case.
Its alphabetical order is the order of creation, and it tells the day of creation, which is
the folder that the task's record lies in.
"""

from __future__ import annotations

import functools
import re
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime

# Up to the year 9774: Python knows no dates after 9999, and each name must have its day.
PATTERN = "[0-9a-d][0-9a-f]{7}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_TASK_ID = re.compile(PATTERN)
_RANDOM_BITS = 74
_FIRST_DAY = date(1970, 1, 1).toordinal()
_DAY_MILLISECONDS = 86_400_000
# The next name of one millisecond lies up to 2^63 above the last: nobody guesses it from that.
_STEP_BITS = 63
# A clock that goes back by more than that was wrong before: names are to tell the right day again.
# One that ran by local time for UTC is put right by hours, and the order holds.
_MOST_AHEAD_MILLISECONDS = _DAY_MILLISECONDS


class TaskIds:
    """
    Makes names, each greater than the one before, also when the clock stands.

    And when it goes back by up to a day; from further on, names are those of the clock, as after a
    start.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0  # milliseconds and random bits as one number

    def new(self) -> str:
        """Return a name that was never given before."""
        # The first of a millisecond leaves the highest bit free, or the next might carry (6.2).
        random = secrets.randbits(_RANDOM_BITS - 1)
        fresh = _milliseconds(self._clock()) << _RANDOM_BITS | random
        with self._lock:
            ahead = (self._last >> _RANDOM_BITS) - (fresh >> _RANDOM_BITS)
            if 0 <= ahead <= _MOST_AHEAD_MILLISECONDS:
                # A carry goes into the milliseconds, so the order holds there too.
                fresh = self._last + 1 + secrets.randbits(_STEP_BITS)
            self._last = fresh
        return _written(fresh)


def is_task_id(text: str) -> bool:
    """Is this a name that `TaskIds` could have given?"""
    return _TASK_ID.fullmatch(text) is not None


def created_at(task_id: str) -> datetime:
    """Return when the task was created, in UTC, to the millisecond."""
    return datetime.fromtimestamp(_created_milliseconds(task_id) / 1000, UTC)


def creation_day(task_id: str) -> str:
    """Return the day of creation in UTC, such as `2026-11-24`."""
    return _day(_created_milliseconds(task_id) // _DAY_MILLISECONDS)


def lowest_id(moment: datetime) -> str:
    """Return what lies below the name of every task created at `moment` or later."""
    return _written(_milliseconds(moment) << _RANDOM_BITS)


def _created_milliseconds(task_id: str) -> int:
    return int(task_id[:8] + task_id[9:13], 16)


@functools.lru_cache(maxsize=1024)
def _day(number: int) -> str:
    """Return a day by its number since 1970; listings ask for few days, but for each name."""
    return date.fromordinal(_FIRST_DAY + number).isoformat()


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _written(number: int) -> str:
    """Return milliseconds and 74 random bits as a UUID, version and variant put in between."""
    milliseconds, random = number >> _RANDOM_BITS, number & (1 << _RANDOM_BITS) - 1
    high, low = random >> 62, random & (1 << 62) - 1
    digits = f"{milliseconds:012x}7{high:03x}{2 << 62 | low:016x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
