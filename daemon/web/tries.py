"""How often each address has tried in vain of late; from memory, for one process."""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from daemon.web.addresses import Address

_MOST_SOURCES = 10_000
# Whoever has one address of IPv6 has all of such a network.
_NETWORK_BITS = 64


class Tries:
    """
    Counts tries in vain, and says when an address has had its share; for any number of threads.

    Addresses that are not heard of for the longest are forgotten first when there are too many.
    """

    def __init__(self, most: int, window_s: float, clock: Callable[[], float]) -> None:
        """An address has `most` tries within any `window_s` seconds."""
        self._most = most
        self._window_s = window_s
        self._clock = clock
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: Address | None) -> int | None:
        """
        Count a try.

        Returns:
            None, or for how many seconds the address has none left; then it is not counted.
        """
        source, now = _source(address), self._clock()
        with self._lock:
            times = self._times.setdefault(source, deque())
            self._times.move_to_end(source)
            while times and times[0] <= now - self._window_s:
                times.popleft()
            if len(times) >= self._most:
                return max(math.ceil(times[0] + self._window_s - now), 1)
            times.append(now)
            if len(self._times) > _MOST_SOURCES:
                self._times.popitem(last=False)
        return None


def _source(address: Address | None) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))
    return str(address)
