"""
Which task is begun when, and what becomes of what its worker says.

One thread, the main one, drives it by `turn`. What touches the disk and may take its time
runs beside it (`Attempts`), so that neither a slow share nor a held lock keeps it from killing
what must be killed.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from daemon.attempts import Attempt, Attempts
from daemon.fairness import Lane, Turns
from daemon.jobs import Done, Event, Lost, Progressed, Refused
from daemon.logs import server_log
from daemon.pool import Pool
from daemon.spool import Spool
from daemon.spool_errors import RecordDamaged, TaskBusy, UnknownTask
from daemon.task import Failure, Status, Task
from daemon.waiting import Waiting

_LOOK_SECONDS = 0.25  # a cancelled attempt is stopped within 2 s
_MARK_SECONDS = 1.0  # a status file is at most 2 s old
_LIST_SECONDS = 1.0
# The queue is listed for at most this share of the time, however long it is.
_LIST_SHARE = 0.05
_ORPHANS_SECONDS = 10.0
_READ_AT_ONCE = 500  # records, so that a long queue does not hold up what runs
_PAUSE_SECONDS = 5.0  # after the disk has refused
_SIDE_THREADS = 4


class Stop(Enum):
    """Why a running attempt was stopped by us."""

    UNWANTED = "unwanted"  # cancelled, or moved by hand
    TIMED_OUT = "timed out"
    PUT_BACK = "put back"


@dataclass
class _Running:
    attempt: Attempt
    lane: Lane
    began: float
    stop: Stop | None = None

    @property
    def task(self) -> Task:
        return self.attempt.task


class Dispatcher:
    """The queue at work."""

    def __init__(
        self,
        spool: Spool,
        pool: Pool,
        attempts: Attempts,
        changed: Callable[[str], None],
        may_begin: Callable[[], bool],
        unavailable: Callable[[], Collection[str | None]],
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            changed: is told of each task whose status file must be written.
            may_begin: may anything new be begun just now?
            unavailable: the inboxes whose tasks must wait, None for uploads: the inbox or its
                outbox cannot be reached.
            timeout_seconds: after which an attempt is ended.
        """
        self.timeout_seconds = timeout_seconds
        self._spool, self._pool, self._attempts = spool, pool, attempts
        self._changed, self._may_begin, self._unavailable = changed, may_begin, unavailable
        self._clock = clock
        self._waiting = Waiting()
        self._turns = Turns()
        self._arrived: deque[Task] = deque()
        self._running: dict[str, _Running] = {}  # by token
        self._beginning: dict[Future[Attempt | None], tuple[str, Lane]] = {}  # the task, its lane
        self._ending: dict[Future[None], str] = {}  # the task
        self._orphans: frozenset[str] = frozenset()
        self._side = ThreadPoolExecutor(_SIDE_THREADS, "attempt")
        self._look_due = self._mark_due = self._list_due = self._begin_due = 0.0
        self._orphans_due = 0.0

    @property
    def queue(self) -> Sequence[str]:
        """The names of what waits, oldest first."""
        return tuple(self._waiting.ids)

    @property
    def running(self) -> frozenset[str]:
        """The tokens of the attempts that run, or are being ended."""
        return frozenset(self._running)

    @property
    def is_idle(self) -> bool:
        """Does nothing run, begin or end?"""
        return not (self._running or self._beginning or self._ending)

    def add(self, task: Task) -> None:
        """Take note of a new task at once; from any thread."""
        self._arrived.append(task)
        self._pool.wake()

    def turn(self, timeout: float) -> None:
        """Wait up to so many seconds for something to happen, and deal with it."""
        for event in self._pool.poll(timeout):
            self._take(event)
        self._collect()
        now = self._clock()
        if now >= self._look_due:
            self._look_due = now + _LOOK_SECONDS
            self._stop_unwanted(now)
        if now >= self._mark_due:
            self._mark_due = now + _MARK_SECONDS
            for running in self._running.values():
                self._changed(running.task.task_id)
        if now >= self._orphans_due:
            self._orphans_due = now + _ORPHANS_SECONDS
            self._resolve_orphans()
        self._take_note(now)
        if now >= self._begin_due and self._may_begin():
            self._begin()

    def put_back_all(self) -> None:
        """Stop all that runs; each task goes back to the queue."""
        for running in self._running.values():
            self._stop(running, Stop.PUT_BACK)

    def close(self) -> None:
        """End the threads beside; what they do is finished first."""
        self._side.shutdown(wait=True)

    # --- What workers say ---

    def _take(self, event: Event) -> None:
        running = self._running.get(event.job.token)
        if running is None:
            return
        if isinstance(event, Progressed):
            self._note_progress(event)
            return
        self._end(running.task.task_id, self._end_of(running, event))
        del self._running[event.job.token]

    def _end(self, task_id: str, act: Callable[[], None]) -> None:
        future = self._side.submit(act)
        future.add_done_callback(lambda done: self._pool.wake())
        self._ending[future] = task_id

    def _end_of(self, running: _Running, event: Event) -> Callable[[], None]:
        attempts, attempt = self._attempts, running.attempt
        if isinstance(event, Done):
            return lambda: attempts.complete(attempt, event.staged, event.suffix, event.report)
        if isinstance(event, Refused):
            return lambda: attempts.refuse(
                attempt, event.failure, event.is_retryable, event.details
            )
        if running.stop is Stop.UNWANTED:
            return lambda: attempts.drop(attempt)
        if running.stop is Stop.PUT_BACK:
            return lambda: attempts.put_back(attempt)
        if running.stop is Stop.TIMED_OUT:
            failure = _timed_out(running.task, self.timeout_seconds)
            return lambda: attempts.refuse(attempt, failure, False, None)
        if isinstance(event, Lost):
            return lambda: attempts.lose(attempt, event.failure)
        raise ValueError(f"{event} of an attempt that nobody stopped")

    def _note_progress(self, event: Progressed) -> None:
        try:
            self._spool.write_progress(event.job.task_id, event.progress)
        except OSError:
            return  # a full disk; `DiskWatch` tells, and what runs may go on

    # --- What runs ---

    def _stop_unwanted(self, now: float) -> None:
        for running in list(self._running.values()):
            task = running.task
            if running.stop is not None:
                continue
            if not self._spool.may_publish(task.task_id, running.attempt.job.token):
                self._stop(running, Stop.UNWANTED)
            elif now - running.began > self.timeout_seconds:
                self._stop(running, Stop.TIMED_OUT)

    def _stop(self, running: _Running, reason: Stop) -> None:
        if running.stop is None:
            running.stop = reason
            self._pool.stop(running.attempt.job.token)

    # --- What waits ---

    def _take_note(self, now: float) -> None:
        while self._arrived:
            self._waiting.add(self._arrived.popleft())
        if now >= self._list_due:
            came, went = self._waiting.listed(self._spool.pending_ids())
            for task_id in came | went:
                self._changed(task_id)  # by hand, or by a command that was killed
            took = self._clock() - now
            self._list_due = now + max(_LIST_SECONDS, took / _LIST_SHARE)
        for task_id in self._waiting.unread(_READ_AT_ONCE):
            self._read(task_id)

    def _read(self, task_id: str) -> None:
        try:
            task = self._spool.get(task_id)
        except RecordDamaged as error:
            server_log().error("record damaged", task_id=task_id, reason=error.message)
        except TaskBusy:
            return
        except UnknownTask:
            pass
        else:
            if task.status is Status.PENDING:
                self._waiting.add(task)
                return
        self._waiting.remove(task_id)

    def _begin(self) -> None:
        unavailable = self._unavailable()
        while self._pool.idle > len(self._beginning):
            oldest = self._waiting.oldest
            lanes = [lane for lane in oldest if lane.inbox not in unavailable]
            if not lanes:
                return
            busy = [running.lane for running in self._running.values()]
            busy += [lane for _, lane in self._beginning.values()]
            lane = self._turns.choose(lanes, busy)
            self._turns.serve(lane)
            self._waiting.remove(oldest[lane])
            future = self._side.submit(self._attempts.begin, oldest[lane])
            future.add_done_callback(lambda done: self._pool.wake())
            self._beginning[future] = oldest[lane], lane

    # --- What was done beside ---

    def _collect(self) -> None:
        for future in [f for f in self._beginning if f.done()]:
            task_id, lane = self._beginning.pop(future)
            attempt = self._begun(task_id, future)
            if attempt is not None:
                self._running[attempt.job.token] = _Running(attempt, lane, self._clock())
                self._pool.begin(attempt.job)
        for ended in [f for f in self._ending if f.done()]:
            task_id = self._ending.pop(ended)
            if (error := ended.exception()) is not None:
                # `_resolve_orphans` does it when the disk lets us again.
                server_log().warning("end not written", task_id=task_id, exc_info=error)

    def _begun(self, task_id: str, future: Future[Attempt | None]) -> Attempt | None:
        error = future.exception()
        if error is None:
            return future.result()
        self._begin_due = self._clock() + _PAUSE_SECONDS
        server_log().warning("task not begun", task_id=task_id, exc_info=error)
        return None

    def _resolve_orphans(self) -> None:
        """
        Find the tasks in processing that nobody works on, and bring them to where they belong.

        Only what was found twice: one that is just being moved by somebody may look like one.
        """
        ours = {running.task.task_id for running in self._running.values()}
        ours |= {task_id for task_id, _ in self._beginning.values()} | set(self._ending.values())
        found = frozenset(self._spool.processing_ids()) - ours
        for task_id in found & self._orphans:
            self._end(task_id, functools.partial(self._attempts.resolve, task_id))
        self._orphans = found


def _timed_out(task: Task, seconds: float) -> Failure:
    return Failure(
        "timed_out",
        f"{task.input_video} took longer than {seconds / 3600:g} hours, which"
        " task_timeout_hours allows; raise it, or cut the video, then retry.",
    )
