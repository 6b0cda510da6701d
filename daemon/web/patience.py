"""
Breaks off requests whose body does not get on, so that they hold no thread for ever.

A time-out on the socket does not do that: whoever sends a byte now and then is never too slow
for it. Here so much must have come in so long.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator


class Visit:
    """One body that is being read."""

    def __init__(self, connection: socket.socket | None) -> None:
        self.is_over = False
        self.connection = connection
        self.moved_at = time.monotonic()

    def moved(self) -> None:
        """Take note that it got on."""
        self.moved_at = time.monotonic()


class Patience:
    """Watches any number of bodies, from a thread of its own while there are any."""

    def __init__(self, seconds: float) -> None:
        """A visit that did not move for so long is over."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._visits: set[Visit] = set()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watched(self, connection: socket.socket | None) -> Iterator[Visit]:
        """
        Watch while the context lasts; None is not watched.

        When patience is lost nothing more is read from the connection, as if the other side
        had ended it; an answer may still be written.
        """
        visit = Visit(connection)
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="patience", daemon=True)
                thread.start()  # may fail: then the next visit begins it
                self._thread = thread
            self._visits.add(visit)
        try:
            yield visit
        finally:
            with self._lock:
                self._visits.discard(visit)

    def _watch(self) -> None:
        while True:
            time.sleep(self._seconds / 4)
            with self._lock:
                self._end_slow(time.monotonic())
                if not self._visits:
                    self._thread = None
                    return

    def _end_slow(self, now: float) -> None:
        for visit in self._visits:
            if now - visit.moved_at > self._seconds and visit.connection is not None:
                visit.is_over = True
                with contextlib.suppress(OSError):  # it has ended by itself
                    visit.connection.shutdown(socket.SHUT_RD)
