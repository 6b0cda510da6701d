"""
What the service tells systemd, and when: that it is ready, alive, at what, and ending.

A sign of life is given only while the dispatcher, the pool and every inbox get on. So only what
a new start mends keeps it back: neither a full disk nor a share that hangs, which `/health`
tells of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from daemon.inbox import InboxWatcher
from daemon.logs import Once, server_log
from daemon.pool import Pool
from daemon.systemd_notify import Notifier
from daemon.web_process import WebProcess

# An inbox that has not answered by then is a share that hangs, and the others are not to wait.
_INBOX_PATIENCE_SECONDS = 15.0
_STATUS_SECONDS = 2.0
# Beyond the time that running tasks get, for what is published, requests and threads to end.
_END_SECONDS = 60.0
_MICROSECONDS = 1_000_000


class Supervision:
    """
    Speaks to systemd for one service; for the thread that drives the dispatcher.

    `look` is to be called at each turn of that thread: that it is, is the dispatcher's own sign.
    """

    def __init__(
        self, notifier: Notifier, pool: Pool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._notifier = notifier
        self._pool = pool
        self._clock = clock
        self._began = clock()
        self._is_ready = False
        self._is_stopping = False
        self._polls_seen = -1
        self._status = ""
        self._status_due = self._watchdog_due = 0.0
        self._once = Once(server_log())

    def look(
        self,
        watchers: Sequence[InboxWatcher],
        web: WebProcess | None,
        waiting: Callable[[], int],
    ) -> None:
        """
        Tell what is due.

        Args:
            web: None where a unit of its own answers requests.
            waiting: returns how many tasks wait; asked only now and then.
        """
        if not self._notifier.is_wanted:
            return
        now = self._clock()
        if now >= self._watchdog_due:
            self._watch(watchers, now)
        missing = () if self._is_stopping else tuple(self._missing(watchers, web, now))
        if not (self._is_ready or missing or self._is_stopping):
            self._is_ready = self._notifier.tell(READY=1)
        if now >= self._status_due:
            self._status_due = now + _STATUS_SECONDS
            self._tell_status(self._words(missing, waiting()))

    def reloading(self) -> None:
        """The configuration is about to be read anew, which may take a minute."""
        # By this clock systemd tells this message from those of earlier reloads. The sign of life
        # stands for what has been done up to here.
        moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.tell(RELOADING=1, MONOTONIC_USEC=moment, WATCHDOG=1)

    def reloaded(self) -> None:
        """It has been read, taken over or not."""
        self._is_ready = self._notifier.tell(READY=1)  # if not, at a later look

    def stopping(self, patience_seconds: float) -> None:
        """
        The end has begun.

        Args:
            patience_seconds: how long running tasks may go on; systemd waits for that too.
        """
        self._is_stopping = True
        self._status_due = 0.0
        microseconds = int((patience_seconds + _END_SECONDS) * _MICROSECONDS)
        self._notifier.tell(STOPPING=1, EXTEND_TIMEOUT_USEC=microseconds)

    # --- Signs of life ---

    def _watch(self, watchers: Sequence[InboxWatcher], now: float) -> None:
        if self._notifier.watchdog_seconds is None:
            self._watchdog_due = float("inf")
            return
        stuck = [f"inbox {watcher.name}" for watcher in watchers if watcher.is_wedged()]
        if self._pool.polls == self._polls_seen:
            stuck.append("the pool of workers")
        self._once.tell("no sign of life for systemd", bool(stuck), reason=", ".join(stuck))
        if stuck:
            return
        if self._notifier.tell(WATCHDOG=1):
            self._polls_seen = self._pool.polls
            self._watchdog_due = now + self._notifier.watchdog_seconds / 2

    # --- Readiness and words ---

    def _missing(
        self, watchers: Sequence[InboxWatcher], web: WebProcess | None, now: float
    ) -> Iterator[str]:
        """Yield what is not there yet, until the service was ready once."""
        if self._is_ready:
            return
        if self._pool.ready == 0:
            yield "the first worker"
        if web is not None and not web.is_ready:
            yield "requests"
        if now < self._began + _INBOX_PATIENCE_SECONDS:
            yield from (f"inbox {w.name}" for w in watchers if not w.has_looked)

    def _words(self, missing: Sequence[str], waiting: int) -> str:
        pool = self._pool
        if self._is_stopping:
            return f"stopping: {pool.busy} at work"
        if missing:
            trouble = f" ({pool.trouble})" if pool.trouble else ""
            return f"starting: waits for {', '.join(missing)}{trouble}"
        return f"{waiting} waiting, {pool.busy} at work, {pool.ready} of {pool.size} workers there"

    def _tell_status(self, words: str) -> None:
        if words != self._status and self._notifier.tell(STATUS=words):
            self._status = words
