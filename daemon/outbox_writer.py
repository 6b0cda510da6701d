"""
Keeps the status files of one outbox up to date, in a thread of its own.

An outbox may be a slow share, or one that refuses or hangs: that holds up nobody else's files,
and a task that was refused waits for its next try without holding up the others.
"""

from __future__ import annotations

import bisect
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from daemon.logs import Once, server_log
from daemon.names import is_name_refused
from daemon.outbox import StatusFiles
from daemon.spool_errors import TaskBusy
from daemon.task import Status, Task

# A task whose outbox refuses is tried again after so long, then half as often each time; so
# many of them each time.
_RETRY_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0
_RETRIES_AT_ONCE = 50
_LOOK_SECONDS = 2.0  # at what was refused
# One write is over in milliseconds; on a share that comes back by itself, in some seconds.
_TROUBLE_SECONDS = 30.0
_PAUSE_SECONDS = 1.0
_REFUSED = "status files cannot be written"
_FAILED = "writing status files failed"
_UNNAMED = "the outbox cannot hold the name of a status file"


@dataclass(frozen=True)
class _Refusal:
    reason: str
    since: float
    pause: float
    due: float


class OutboxWriter:
    """The thread of one outbox; `start` and `stop` it once."""

    def __init__(
        self,
        outbox: str,
        files: StatusFiles,
        queue: Callable[[], Sequence[str]],
        written: Callable[[str, int | None], None],
        clock: Callable[[], float],
    ) -> None:
        """
        Args:
            outbox: the folder, for messages.
            queue: gives the names of what waits, oldest first.
            written: is told of each file that was written, and of the place in the queue that
                it tells; None for none.
        """
        self._outbox = outbox
        self._files = files
        self._queue = queue
        self._written = written
        self._clock = clock
        self._marked: dict[str, Task | None] = {}  # in the order in which they were marked
        self._batch: Collection[str] = ()
        self._refused: dict[str, _Refusal] = {}  # in the order in which they were tried
        self._wake = threading.Condition()
        self._is_stopping = False
        self._writing_since: float | None = None
        self._failure: str | None = None
        self._once = Once(server_log())
        self._thread = threading.Thread(target=self._run, name=f"status {outbox}", daemon=True)

    @property
    def trouble(self) -> str | None:
        """What keeps status files from being written for long now, None if nothing does."""
        if self._failure is not None:
            return f"something went wrong that nobody foresaw: {self._failure}; see the log"
        since, now = self._writing_since, self._clock()
        if since is not None and now > since + _TROUBLE_SECONDS:
            return f"{self._outbox} has not answered for {now - since:.0f} s; bring it back"
        refused = [r for r in list(self._refused.values()) if now > r.since + _TROUBLE_SECONDS]
        if not refused:
            return None
        return f"{len(refused)} cannot be written: {refused[-1].reason}"

    @property
    def waiting(self) -> frozenset[str]:
        """The tasks whose files are still to be written."""
        with self._wake:
            return frozenset([*self._marked, *self._batch, *self._refused])

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is marked, try once more what was refused, and end; does not wait for it."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()

    def join(self, timeout: float) -> None:
        """Wait so long for the end; what is not written then is made right at the next start."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            server_log().warning(_REFUSED, of=self._outbox, reason="it does not answer")

    def mark(self, tasks: Mapping[str, Task | None]) -> None:
        """Say that tasks have changed, and what they are by now, where that is known."""
        with self._wake:
            self._marked.update(tasks)
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
                self._once.tell(_FAILED, True, of=self._outbox, reason=repr(error), exc_info=True)
                is_last = self._is_stopping
                time.sleep(_PAUSE_SECONDS)
            if is_last:
                return

    def _turn(self) -> bool:
        """Wait for something to write and write it; return whether it was the last."""
        with self._wake:
            if not self._marked and not self._is_stopping:
                self._wake.wait(_LOOK_SECONDS if self._refused else None)
            marked, self._marked = self._marked, {}
            self._batch = marked
            is_last = self._is_stopping
        if is_last:
            self._write(dict.fromkeys(self._refused) | marked)
        else:
            # One that was refused is not tried at each of its changes.
            self._write({i: task for i, task in marked.items() if i not in self._refused})
            self._write(dict.fromkeys(self._due()))
        self._batch = ()
        return is_last

    def _due(self) -> list[str]:
        now = self._clock()
        return [t for t, refusal in self._refused.items() if refusal.due <= now][:_RETRIES_AT_ONCE]

    def _write(self, tasks: Mapping[str, Task | None]) -> None:
        if not tasks:
            return
        queue = self._queue()
        for task_id, known in tasks.items():
            # Also of one that the queue does not show yet: names sort by age.
            self._write_one(task_id, bisect.bisect_left(queue, task_id) + 1, known)
        if not self._refused:
            self._once.tell(_REFUSED, False, of=self._outbox)

    def _write_one(self, task_id: str, place: int, known: Task | None) -> None:
        self._writing_since = self._clock()
        try:
            task = self._files.refresh(task_id, place, known)
        except OSError as error:
            if is_name_refused(error):  # no other try mends that, and the outbox is well
                reason = self._reason(error)
                self._once.tell(_UNNAMED, True, of=self._outbox, task_id=task_id, reason=reason)
                self._accept(task_id)
            else:
                self._refuse(task_id, self._reason(error))
        except TaskBusy as error:
            self._refuse(task_id, error.message)
        except Exception as error:  # it is this task's, and holds up no other
            self._refuse(task_id, repr(error))
            self._once.tell(_FAILED, True, task_id=task_id, reason=repr(error), exc_info=True)
        else:
            self._accept(task_id)
            waits = task is not None and task.status is Status.PENDING
            self._written(task_id, place if waits else None)
        finally:
            self._writing_since = None

    def _reason(self, error: OSError) -> str:
        """Say which folder refuses: it may be one user's alone."""
        place = error.filename if isinstance(error.filename, str) else self._outbox
        if os.path.basename(place).startswith("."):
            place = os.path.dirname(place)  # such a name is another at each try
        return f"{place}: {error.strerror or error}"

    def _accept(self, task_id: str) -> None:
        with self._wake:
            self._refused.pop(task_id, None)

    def _refuse(self, task_id: str, reason: str) -> None:
        now = self._clock()
        with self._wake:
            known = self._refused.pop(task_id, None)
            pause = min(2 * known.pause, _LONGEST_PAUSE_SECONDS) if known else _RETRY_SECONDS
            since = known.since if known else now
            self._refused[task_id] = _Refusal(reason, since, pause, now + pause)
        self._once.tell(_REFUSED, True, of=self._outbox, task_id=task_id, reason=reason)
