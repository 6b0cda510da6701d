"""
Keeps the status files of the outbox up to date, in a thread of its own.

An outbox may be a slow share, or one that refuses: whoever changes a task only says so (`mark`)
and goes on, and a task that was refused waits for its next try without holding up the others.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from daemon.logs import Once, server_log
from daemon.outbox import StatusFiles
from daemon.task import Status

# How often places in the queue are brought up to date, and of how many tasks each time: half
# of them the next in the queue, the others one part of the rest after the other.
_PLACES_SECONDS = 2.0
_PLACES = 100
# A task whose outbox refuses is tried again after so long, then half as often each time; so
# many of them each time.
_RETRY_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0
_RETRIES_AT_ONCE = 50
# One write is over in milliseconds; on a share that comes back by itself, in some seconds.
_TROUBLE_SECONDS = 30.0
_PAUSE_SECONDS = 1.0
_REFUSED = "status files cannot be written"
_FAILED = "writing status files failed"


@dataclass(frozen=True)
class _Refusal:
    reason: str
    since: float
    pause: float
    due: float


class StatusWriter:
    """The thread; `start` and `stop` it once."""

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
        self._marked: dict[str, None] = {}  # in the order in which they were marked
        self._refused: dict[str, _Refusal] = {}  # in the order in which they were tried
        self._wake = threading.Condition()
        self._is_stopping = False
        self._writing_since: float | None = None
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
        since, now = self._writing_since, self._clock()
        if since is not None and now > since + _TROUBLE_SECONDS:
            return f"an outbox has not answered for {now - since:.0f} s; bring it back"
        refused = [r for r in list(self._refused.values()) if now > r.since + _TROUBLE_SECONDS]
        if not refused:
            return None
        return f"those of {len(refused)} tasks cannot be written: {refused[-1].reason}"

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """
        Write what is marked and try once more what was refused; wait so long for it, then end.

        What is not written then is made right at the next start.
        """
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            server_log().warning(_REFUSED, reason="an outbox does not answer")

    def mark(self, task_id: str) -> None:
        """Say that a task has changed."""
        with self._wake:
            self._marked[task_id] = None
            self._wake.notify()

    # --- The thread ---

    def _run(self) -> None:
        while True:
            try:
                is_last = self._turn()
                self._failure = None
            except Exception as error:
                # Whatever it was must not end the writing. It may come again at every turn.
                self._failure = repr(error)
                self._once.tell(_FAILED, True, reason=repr(error), exc_info=True)
                is_last = self._is_stopping
                time.sleep(_PAUSE_SECONDS)
            if is_last:
                return

    def _turn(self) -> bool:
        """Wait for something to write and write it; return whether it was the last."""
        with self._wake:
            if not self._marked and not self._is_stopping:
                self._wake.wait(max(0.0, self._places_due - self._clock()))
            marked, self._marked = list(self._marked), {}
            is_last = self._is_stopping
        if is_last:
            self._write(list(dict.fromkeys([*marked, *self._refused])))
            return True
        # One that was refused is not tried at each of its changes.
        self._write([task_id for task_id in marked if task_id not in self._refused])
        if self._clock() >= self._places_due:
            self._write(self._due())
            self._write(self._places.stale(self._queue(), self._refused))
            self._places_due = self._clock() + _PLACES_SECONDS
        return False

    def _due(self) -> list[str]:
        now = self._clock()
        return [t for t, refusal in self._refused.items() if refusal.due <= now][:_RETRIES_AT_ONCE]

    def _write(self, task_ids: Sequence[str]) -> None:
        if not task_ids:
            return
        queue = self._queue()
        for task_id in task_ids:
            # Also of one that the queue does not show yet: names sort by age.
            self._write_one(task_id, bisect.bisect_left(queue, task_id) + 1)
        if not self._refused:
            self._once.tell(_REFUSED, False)

    def _write_one(self, task_id: str, place: int) -> None:
        self._writing_since = self._clock()
        try:
            task = self._files.refresh(task_id, place)
        except OSError as error:
            self._refuse(task_id, error.strerror or str(error))
        except Exception as error:  # it is this task's, and holds up no other
            self._refuse(task_id, repr(error))
            self._once.tell(_FAILED, True, task_id=task_id, reason=repr(error), exc_info=True)
        else:
            self._refused.pop(task_id, None)
            waits = task is not None and task.status is Status.PENDING
            self._places.written(task_id, place if waits else None)
        finally:
            self._writing_since = None

    def _refuse(self, task_id: str, reason: str) -> None:
        now = self._clock()
        known = self._refused.pop(task_id, None)
        pause = min(2 * known.pause, _LONGEST_PAUSE_SECONDS) if known else _RETRY_SECONDS
        self._refused[task_id] = _Refusal(reason, known.since if known else now, pause, now + pause)
        self._once.tell(_REFUSED, True, task_id=task_id, reason=reason)


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

    def stale(self, queue: Sequence[str], but: Collection[str]) -> list[str]:
        wrong = [
            t for place, t in enumerate(queue, 1) if self._told.get(t) != place and t not in but
        ]
        near, far = wrong[: _PLACES // 2], wrong[_PLACES // 2 :]
        self._turn = self._turn % len(far) if far else 0
        chosen = far[self._turn : self._turn + _PLACES // 2]
        self._turn += len(chosen)
        return near + chosen
