"""
Keeps the status files of all outboxes up to date, each by a thread of its own.

Whoever changes a task only says so (`mark`) and goes on. One thread sorts what is marked by
outbox, and sees to it that places in the queue are told as they are; the writing is
`outbox_writer`'s.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from daemon.logs import Once, server_log
from daemon.outbox import StatusFiles
from daemon.outbox_writer import OutboxWriter
from daemon.task import Task

# How often places in the queue are brought up to date, and of how many tasks each time: half
# of them the next in the queue, the others one part of the rest after the other.
_PLACES_SECONDS = 2.0
# Where thousands come at once, a thread that wakes for each of them slows down all others.
_GATHER_SECONDS = 0.02
_PLACES = 100
# Records remember outboxes that the configuration has no longer. Beyond so many, the rest
# share one thread.
_MOST_OUTBOXES = 32
_OTHERS = "one of the other outboxes"
_PAUSE_SECONDS = 1.0
_FAILED = "sorting status files by outbox failed"


class StatusWriter:
    """All of the threads; `start` and `stop` it once."""

    def __init__(
        self,
        files: StatusFiles,
        queue: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`queue` gives the names of what waits, oldest first."""
        self._files = files
        self._queue = queue
        self._clock = clock
        # With the tasks where these are known; in the order in which they were marked.
        self._marked: dict[str, Task | None] = {}
        self._writers: dict[str, OutboxWriter] = {}  # by outbox
        self._wake = threading.Condition()
        self._is_stopping = self._is_sorting = False
        self._failure: str | None = None
        self._places_due = clock()
        self._places = _Places()
        self._once = Once(server_log())
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    @property
    def trouble(self) -> str | None:
        """What keeps status files from being written for long now, None if nothing does."""
        if self._failure is not None:
            return f"something went wrong that nobody foresaw: {self._failure}; see the log"
        troubles = [writer.trouble for writer in list(self._writers.values())]
        return "; ".join(trouble for trouble in troubles if trouble is not None) or None

    @property
    def is_behind(self) -> bool:
        """Are there changes that status files do not tell of yet?"""
        with self._wake:
            is_here = bool(self._marked) or self._is_sorting
        return is_here or any(writer.waiting for writer in list(self._writers.values()))

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """
        Write what is marked and try once more what was refused; wait so long for it, then end.

        What is not written then is made right at the next start.
        """
        deadline = time.monotonic() + timeout
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        self._thread.join(timeout)
        writers = list(self._writers.values())
        for writer in writers:
            writer.stop()
        for writer in writers:
            writer.join(max(0.0, deadline - time.monotonic()))

    def mark(self, task_id: str, task: Task | None = None) -> None:
        """Say that a task has changed; where `task` is what it is by now, it need not be read."""
        with self._wake:
            self._marked[task_id] = task
            self._wake.notify()

    # --- The thread that sorts ---

    def _run(self) -> None:
        while True:
            try:
                is_last = self._turn()
                self._failure = None
            except Exception as error:
                # Whatever it was must not end the sorting. It may come again at every turn.
                self._failure = repr(error)
                self._once.tell(_FAILED, True, reason=repr(error), exc_info=True)
                is_last = self._is_stopping
                time.sleep(_PAUSE_SECONDS)
            if is_last:
                return

    def _turn(self) -> bool:
        """Wait for something to sort and sort it; return whether it was the last."""
        with self._wake:
            if not self._marked and not self._is_stopping:
                self._wake.wait(max(0.0, self._places_due - self._clock()))
        if not self._is_stopping:
            time.sleep(_GATHER_SECONDS)
        with self._wake:
            marked, self._marked = self._marked, {}
            self._is_sorting = True
            is_last = self._is_stopping
        try:
            self._hand_on(marked)
        except Exception:  # as where there is no thread for another outbox just now
            with self._wake:
                self._marked = {**marked, **self._marked}  # some of them twice, which does no harm
            raise
        self._is_sorting = False
        if not is_last and self._clock() >= self._places_due:
            waiting = frozenset().union(*(w.waiting for w in self._writers.values()))
            stale = self._places.stale(self._queue(), waiting)
            self._hand_on(dict.fromkeys(stale))
            self._places_due = self._clock() + _PLACES_SECONDS
        return is_last

    def _hand_on(self, marked: Mapping[str, Task | None]) -> None:
        by_outbox: defaultdict[str, dict[str, Task | None]] = defaultdict(dict)
        for task_id, known in marked.items():
            try:
                task = known or self._files.task(task_id)
            except Exception:  # it is this task's, and holds up no other
                by_outbox[_OTHERS][task_id] = None  # which meets the same, tells of it and retries
                continue
            if task is None:
                self._places.written(task_id, None)
            else:
                by_outbox[task.outbox][task_id] = task
        for outbox, tasks in by_outbox.items():
            self._writer(outbox).mark(tasks)

    def _writer(self, outbox: str) -> OutboxWriter:
        if outbox not in self._writers and len(self._writers) >= _MOST_OUTBOXES:
            outbox = _OTHERS
        writer = self._writers.get(outbox)
        if writer is None:
            writer = OutboxWriter(
                outbox, self._files, self._queue, self._places.written, self._clock
            )
            writer.start()
            self._writers[outbox] = writer
        return writer


class _Places:
    """Which status files tell a place in the queue that is no longer true. For any thread."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._turn = 0
        self._lock = threading.Lock()

    def written(self, task_id: str, place: int | None) -> None:
        with self._lock:
            if place is None:
                self._told.pop(task_id, None)
            else:
                self._told[task_id] = place

    def stale(self, queue: Sequence[str], but: Collection[str]) -> list[str]:
        with self._lock:
            wrong = [
                t for place, t in enumerate(queue, 1) if self._told.get(t) != place and t not in but
            ]
        near, far = wrong[: _PLACES // 2], wrong[_PLACES // 2 :]
        self._turn = self._turn % len(far) if far else 0
        chosen = far[self._turn : self._turn + _PLACES // 2]
        self._turn += len(chosen)
        return near + chosen
