"""
Keeps the status files of the outbox up to date, in a thread of its own.

An outbox may be a slow share: whoever changes a task only says so (`mark`) and goes on.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable, Sequence

from daemon.logs import Once, server_log
from daemon.outbox import StatusFiles
from daemon.task import Status

# How often places in the queue are brought up to date, and of how many tasks each time: half
# of them the next in the queue, the others one part of the rest after the other.
_PLACES_SECONDS = 2.0
_PLACES = 100
# An outbox that cannot be written is tried again so often.
_RETRY_SECONDS = 5.0
_REFUSED = "status files cannot be written"


class StatusWriter:
    """The thread; `start` and `stop` it once."""

    def __init__(self, files: StatusFiles, queue: Callable[[], Sequence[str]]) -> None:
        """`queue` gives the names of what waits, oldest first."""
        self._files = files
        self._queue = queue
        self._marked: dict[str, None] = {}  # in the order in which they were marked
        self._wake = threading.Condition()
        self._is_stopping = False
        self._places = _Places()
        self._once = Once(server_log())
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is marked and end; what the outbox refuses is made at the next start."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        self._thread.join()

    def mark(self, task_id: str) -> None:
        """Say that a task has changed."""
        with self._wake:
            self._marked[task_id] = None
            self._wake.notify()

    def _run(self) -> None:
        places_due = time.monotonic()
        while True:
            with self._wake:
                if not self._marked and not self._is_stopping:
                    self._wake.wait(max(0.0, places_due - time.monotonic()))
                marked, self._marked = list(self._marked), {}
                is_last = self._is_stopping
            self._write(marked)
            if is_last:
                return
            if time.monotonic() >= places_due:
                self._write(self._places.stale(self._queue()))
                places_due = time.monotonic() + _PLACES_SECONDS

    def _write(self, task_ids: Sequence[str]) -> None:
        if not task_ids:
            return
        queue = self._queue()
        for number, task_id in enumerate(task_ids):
            # Also of one that the queue does not show yet: names sort by age.
            place = bisect.bisect_left(queue, task_id) + 1
            try:
                task = self._files.refresh(task_id, place)
            except OSError as error:
                self._once.tell(_REFUSED, True, reason=error.strerror)
                self._put_back(task_ids[number:])
                return
            waits = task is not None and task.status is Status.PENDING
            self._places.written(task_id, place if waits else None)
        self._once.tell(_REFUSED, False)

    def _put_back(self, task_ids: Sequence[str]) -> None:
        # The one that was refused goes last: it may be the only one.
        first, *others = task_ids
        with self._wake:
            self._marked.update(dict.fromkeys([*others, first]))
            if not self._is_stopping:
                self._wake.wait_for(lambda: self._is_stopping, _RETRY_SECONDS)


class _Places:
    """Which status files tell a place in the queue that is no longer true."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._turn = 0

    def written(self, task_id: str, place: int | None) -> None:
        if place is None:
            self._told.pop(task_id, None)
        else:
            self._told[task_id] = place

    def stale(self, queue: Sequence[str]) -> list[str]:
        wrong = [t for place, t in enumerate(queue, 1) if self._told.get(t) != place]
        near, far = wrong[: _PLACES // 2], wrong[_PLACES // 2 :]
        self._turn = self._turn % len(far) if far else 0
        chosen = far[self._turn : self._turn + _PLACES // 2]
        self._turn += len(chosen)
        return near + chosen
