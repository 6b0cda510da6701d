"""How many more tasks may enter, without counting all those that wait at each one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Of the room that was found, each process fills this part before it counts again. So as many
# processes at once cannot overfill it, and filling 10,000 counts some hundred times.
_SHARE = 16
_GOOD_FOR_SECONDS = 1.0


class PendingLimit:
    """Counts names when it must. One for all threads of a process."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._room = 0
        self._limit = 0
        self._good_until = 0.0

    def has_room(self, max_pending: int) -> bool:
        """May one more task enter? Says so at most once for each place that is free."""
        with self._lock:
            is_stale = time.monotonic() > self._good_until or max_pending != self._limit
            if is_stale or self._room == 0:
                free = max_pending - self._count()
                self._room = max(free // _SHARE, min(free, 1), 0)
                self._limit = max_pending
                self._good_until = time.monotonic() + _GOOD_FOR_SECONDS
            if self._room == 0:
                return False
            self._room -= 1
            return True
