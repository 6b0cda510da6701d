"""
Which task is begun when, and what becomes of what its worker says.

One thread, the main one, drives it by `turn`. What touches a record or an outbox runs beside
it, so that neither a slow share, a held lock nor a record that cannot be read keeps it from
killing what must be killed, or from the other tasks. It reads names only.
"""

from __future__ import annotations

import functools
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from daemon.attempts import Attempt, Attempts, StateRefused
from daemon.beside import Act, Beside, NotBegun
from daemon.fairness import Lane, Turns
from daemon.jobs import Done, Ended, Event, Lost, Progressed, Refused
from daemon.logs import Once, server_log
from daemon.machine import threads_of
from daemon.pool import Pool
from daemon.spool import Spool
from daemon.spool_errors import RecordDamaged, SpoolError, TaskBusy, UnknownTask
from daemon.task import Failure, Progress, Status, Task
from daemon.waiting import Waiting

_LOOK_SECONDS = 0.25  # a cancelled attempt is stopped within 2 s
_MARK_SECONDS = 1.0  # a status file is at most 2 s old
_LIST_SECONDS = 1.0
# The queue is listed for at most this share of the time, however long it is.
_LIST_SHARE = 0.05
_ORPHANS_SECONDS = 10.0
_READ_AT_ONCE = 200  # records, in one act
# What takes longer beside than that (a held lock, a share that hangs) takes no other's turn.
_PROMPT_SECONDS = 1.0
_MOST_READINGS = 16
_MOST_RESOLVED = 16
# So many beginnings of one inbox may hang; then its other tasks wait.
_MOST_SLOW_OF_INBOX = 16
_REST_SECONDS = 30.0  # of a task whose record cannot be had
# When so many were refused in a row it is the disk rather than the tasks.
_REFUSALS_IN_A_ROW = 3
_PAUSE_SECONDS = 5.0
# After the end was asked for, an act may take that long; attempts insist for a while less.
_LEAVE_SECONDS = 15.0

_HELD = "task is held by somebody else"
_UNREADABLE = "record cannot be read"
_NOT_BEGUN = "tasks cannot be begun"
_NOT_LOOKED_AT = "running tasks cannot be looked at"


class StopReason(Enum):
    """Why a running attempt was stopped by us."""

    UNWANTED = "unwanted"  # cancelled, or moved by hand
    TIMED_OUT = "timed out"
    PUT_BACK = "put back"


@dataclass
class _Running:
    attempt: Attempt
    lane: Lane
    began: float | None = None  # when its worker first said so; it may wait for a free one
    stopped: StopReason | None = None
    look: Act[bool] | None = None
    progress: Progress | None = None  # that is still to be written

    @property
    def task(self) -> Task:
        return self.attempt.task


@dataclass(frozen=True)
class _Beginning:
    task_id: str
    lane: Lane
    act: Act[Attempt | None]


@dataclass(frozen=True)
class _Ending:
    task_id: str
    end: Callable[[], None]
    act: Act[None]


@dataclass(frozen=True)
class _Reading:
    task_ids: Sequence[str]
    act: Act[Mapping[str, Task | Exception]]


_Item = TypeVar("_Item", _Beginning, _Ending, _Reading)


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
        self._beside = Beside(clock, pool.wake)
        self._once = Once(server_log())
        self._waiting = Waiting()
        self._turns = Turns()
        self._arrived: deque[Task] = deque()
        self._running: dict[str, _Running] = {}  # by token
        self._beginnings: list[_Beginning] = []
        self._endings: list[_Ending] = []
        self._readings: list[_Reading] = []
        self._orphans: frozenset[str] = frozenset()
        self._refusals = 0  # of beginnings, in a row
        self._stopping_since: float | None = None
        self._look_due = self._mark_due = self._list_due = self._begin_due = 0.0
        self._orphans_due = 0.0

    @property
    def queue(self) -> Sequence[str]:
        """The names of what waits, oldest first."""
        return tuple(self._waiting.ids)

    @property
    def inboxes(self) -> frozenset[str | None]:
        """Where what waits came from, None for uploads; for the thread that drives it."""
        return frozenset(lane.inbox for lane in self._waiting.oldest)

    @property
    def running(self) -> frozenset[str]:
        """The tokens of the attempts that run."""
        return frozenset(self._running)

    @property
    def is_idle(self) -> bool:
        """Does nothing run, begin or end? What hangs is not waited for once the service ends."""
        return not (self._running or any(map(self._is_waited_for, self._under_way)))

    def add(self, task: Task) -> None:
        """Take note of a new task at once; from any thread."""
        self._arrived.append(task)
        self._pool.wake()

    def turn(self, timeout: float) -> None:
        """
        Wait up to so many seconds for something to happen, and deal with it.

        Raises:
            OSError: the state cannot be listed. What workers said has been dealt with.
        """
        for event in self._pool.poll(timeout, self._may_begin):
            self._take(event)
        now = self._clock()
        if self._attempts.is_stopping and self._stopping_since is None:
            self._stopping_since = now
        self._collect(now)
        if now >= self._look_due:
            self._look_due = now + _LOOK_SECONDS
            self._look_after_running(now)
        if now >= self._mark_due:
            self._mark_due = now + _MARK_SECONDS
            for running in self._running.values():
                self._changed(running.task.task_id)
        if now >= self._orphans_due and self._stopping_since is None:
            self._orphans_due = now + _ORPHANS_SECONDS
            self._resolve_orphans()
        self._take_note(now)
        if now >= self._begin_due and self._may_begin():
            self._begin(now)

    def put_back_all(self) -> None:
        """Stop all that runs; each task goes back to the queue."""
        for running in self._running.values():
            self._stop(running, StopReason.PUT_BACK)

    def close(self, timeout: float = 2.0) -> None:
        """Wait so long for what is done beside; the rest ends with the program."""
        ends: list[futures.Future[Any]] = [item.act.future for item in self._under_way]
        futures.wait(ends, timeout)
        for item in self._under_way:
            if not item.act.future.done():
                _tell_left(item.task_id, "something does not answer")

    @property
    def _under_way(self) -> Sequence[_Beginning | _Ending]:
        return [*self._beginnings, *self._endings]

    def _is_waited_for(self, item: _Beginning | _Ending) -> bool:
        if self._stopping_since is None:
            return True
        return self._clock() < max(item.act.began, self._stopping_since) + _LEAVE_SECONDS

    # --- What workers say ---

    def _take(self, event: Event) -> None:
        running = self._running.get(event.job.token)
        if running is None:
            return
        if isinstance(event, Progressed):
            running.progress = event.progress
            if running.began is None:
                running.began = self._clock()
            return
        self._begin_ending(running.task.task_id, self._ending_of(running, event))
        del self._running[event.job.token]

    def _begin_ending(self, task_id: str, end: Callable[[], None]) -> None:
        self._endings.append(_Ending(task_id, end, self._beside.begin(end)))

    def _ending_of(self, running: _Running, event: Event) -> Callable[[], None]:
        attempts, attempt = self._attempts, running.attempt
        if isinstance(event, Done):
            return lambda: attempts.complete(attempt, event.staged, event.suffix, event.report)
        if isinstance(event, Refused):
            return lambda: attempts.refuse(
                attempt, event.failure, event.is_retryable, event.details
            )
        if running.stopped is StopReason.UNWANTED:
            return lambda: attempts.drop(attempt)
        if isinstance(event, Ended) and running.began is None:
            return lambda: attempts.give_back(attempt)
        if running.stopped is StopReason.PUT_BACK:
            return lambda: attempts.put_back(attempt)
        if running.stopped is StopReason.TIMED_OUT:
            failure = _timed_out(running.task, self.timeout_seconds)
            return lambda: attempts.refuse(attempt, failure, False, None)
        if isinstance(event, Lost):
            return lambda: attempts.lose(attempt, event.failure)
        raise ValueError(f"{event} of an attempt that nobody stopped")

    # --- What runs ---

    def _look_after_running(self, now: float) -> None:
        for running in list(self._running.values()):
            if running.stopped is not None:
                continue
            if running.began is not None and now - running.began > self.timeout_seconds:
                self._stop(running, StopReason.TIMED_OUT)
            elif running.look is None:
                job = running.attempt.job
                is_wanted = functools.partial(self._spool.may_publish, job.task_id, job.token)
                running.look = self._beside.begin(is_wanted)

    def _heed_look(self, running: _Running, future: futures.Future[bool]) -> None:
        if running.stopped is not None:
            return
        error = future.exception()
        self._once.tell(_NOT_LOOKED_AT, error is not None, reason=repr(error))
        if error is not None:
            return  # while nobody can tell whether it is still wanted, it runs
        if not future.result():
            self._stop(running, StopReason.UNWANTED)
        elif running.progress is not None:
            self._write_progress(running.task.task_id, running.progress)
            running.progress = None

    def _write_progress(self, task_id: str, progress: Progress) -> None:
        # Only right after a look: that of a task that was cancelled would be left over.
        try:
            self._spool.write_progress(task_id, progress)
        except OSError:
            return  # a full disk; `DiskWatch` tells, and what runs may go on

    def _stop(self, running: _Running, reason: StopReason) -> None:
        if running.stopped is None:
            running.stopped = reason
            self._pool.stop(running.attempt.job.token)

    # --- What waits ---

    def _take_note(self, now: float) -> None:
        while self._arrived:
            self._waiting.add(self._arrived.popleft())
        if now >= self._list_due:
            # What is just being begun is where it was until that is done.
            beginning = {beginning.task_id for beginning in self._beginnings}
            came, went = self._waiting.listed(set(self._spool.pending_ids()) - beginning)
            for task_id in came | went:
                self._changed(task_id)  # by hand, or by a command that was killed
            took = self._clock() - now
            self._list_due = now + max(_LIST_SECONDS, took / _LIST_SHARE)
        if not _prompt(self._readings, now) and len(self._readings) < _MOST_READINGS:
            self._read(self._waiting.unread(_READ_AT_ONCE, now))

    def _read(self, task_ids: Sequence[str]) -> None:
        if not task_ids:
            return
        for task_id in task_ids:
            self._waiting.rest(task_id, float("inf"))  # until its reading is done
        read = functools.partial(_found, self._spool, task_ids)
        self._readings.append(_Reading(task_ids, self._beside.begin(read)))

    def _note_found(self, task_id: str, found: Task | Exception, now: float) -> None:
        if isinstance(found, Task) and found.status is Status.PENDING:
            self._waiting.add(found)
        elif isinstance(found, Task | RecordDamaged | UnknownTask):
            self._waiting.remove(task_id)
        else:
            self._waiting.rest(task_id, now + _REST_SECONDS)
        self._once.tell(_HELD, isinstance(found, TaskBusy), of=task_id)
        is_bad = isinstance(found, Exception) and not isinstance(found, SpoolError)
        self._once.tell(_UNREADABLE, is_bad, of=task_id, reason=repr(found) if is_bad else None)

    def _begin(self, now: float) -> None:
        closed = self._closed_inboxes(now)
        while self._pool.idle > len(_prompt(self._beginnings, now)):
            oldest = self._waiting.oldest
            lanes = [lane for lane in oldest if lane.inbox not in closed]
            if not lanes:
                return
            busy = [self._running[token].lane for token in self._at_work]
            busy += [beginning.lane for beginning in self._beginnings]
            lane = self._turns.choose(lanes, busy)
            self._turns.serve(lane)
            self._waiting.remove(oldest[lane])
            begin = functools.partial(self._attempts.begin, oldest[lane])
            self._beginnings.append(_Beginning(oldest[lane], lane, self._beside.begin(begin)))

    def _closed_inboxes(self, now: float) -> Collection[str | None]:
        """Return the inboxes of which nothing can be begun just now."""
        return {*self._unavailable(), *self._slow_inboxes(now)}

    def _slow_inboxes(self, now: float) -> Collection[str | None]:
        prompt = _prompt(self._beginnings, now)
        slow = Counter(b.lane.inbox for b in self._beginnings if b not in prompt)
        return [inbox for inbox, count in slow.items() if count >= _MOST_SLOW_OF_INBOX]

    # --- What was done beside ---

    def _collect(self, now: float) -> None:
        for running in list(self._running.values()):
            if (look := running.look) is not None and look.future.done():
                running.look = None
                self._heed_look(running, look.future)
        for reading in _done(self._readings):
            self._heed_reading(reading, now)
        for beginning in _done(self._beginnings):
            self._heed_beginning(beginning, now)
        for ending in _done(self._endings):
            self._heed_ending(ending)

    def _heed_reading(self, reading: _Reading, now: float) -> None:
        error = reading.act.future.exception()
        if error is not None:
            for task_id in reading.task_ids:
                self._waiting.rest(task_id, now + _PAUSE_SECONDS)
            return
        for task_id, found in reading.act.future.result().items():
            if self._waiting.is_unread(task_id):  # else it has gone meanwhile
                self._note_found(task_id, found, now)

    def _heed_beginning(self, beginning: _Beginning, now: float) -> None:
        error = beginning.act.future.exception()
        if error is not None:
            self._note_not_begun(beginning.task_id, error, now)
            return
        self._refusals = 0
        self._once.tell(_NOT_BEGUN, False)
        self._once.tell(_HELD, False, of=beginning.task_id)
        attempt = beginning.act.future.result()
        if attempt is not None:
            # First of all: what fails here runs nowhere, and is found as an orphan.
            job = attempt.job.with_threads(threads_of(self._videos_at_once(now)))
            self._running[job.token] = _Running(attempt, beginning.lane)
            self._pool.begin(job)

    @property
    def _at_work(self) -> Collection[str]:
        """The tokens of what runs, without what makes room in a moment for what is begun now."""
        return self._running.keys() - self._pool.nearly_done

    def _videos_at_once(self, now: float) -> int:
        """
        Return how many are worked on in the next moments, one more than run by now among them.

        The cores are shared among so many.
        """
        waiting = self._waiting.count_outside(self._closed_inboxes(now))
        return min(1 + len(self._at_work) + len(self._beginnings) + waiting, self._pool.size)

    def _note_not_begun(self, task_id: str, error: BaseException, now: float) -> None:
        self._waiting.rest(task_id, now + _REST_SECONDS)
        if isinstance(error, TaskBusy):
            self._once.tell(_HELD, True, of=task_id)
            return
        self._refusals += 1
        if self._refusals >= _REFUSALS_IN_A_ROW:
            self._begin_due = now + _PAUSE_SECONDS
        traceback = {} if isinstance(error, OSError) else {"exc_info": error}
        self._once.tell(_NOT_BEGUN, True, task_id=task_id, reason=str(error), **traceback)

    def _heed_ending(self, ending: _Ending) -> None:
        error = ending.act.future.exception()
        if isinstance(error, NotBegun):
            self._begin_ending(ending.task_id, ending.end)
        elif isinstance(error, StateRefused):
            _tell_left(ending.task_id, str(error))
        elif error is not None:
            server_log().warning("end not written", task_id=ending.task_id, exc_info=error)

    def _resolve_orphans(self) -> None:
        """
        Find the tasks in processing that nobody works on, and bring them to where they belong.

        Only what was found twice: one that is just being moved by somebody may look like one.
        """
        ours = {running.task.task_id for running in self._running.values()}
        ours |= {beginning.task_id for beginning in self._beginnings}
        ours |= {ending.task_id for ending in self._endings}
        found = frozenset(self._spool.processing_ids()) - ours
        for task_id in sorted(found & self._orphans)[:_MOST_RESOLVED]:
            self._begin_ending(task_id, functools.partial(self._attempts.resolve, task_id))
        self._orphans = found


def _found(spool: Spool, task_ids: Iterable[str]) -> Mapping[str, Task | Exception]:
    """Return each of these tasks, or why it cannot be had."""
    found: dict[str, Task | Exception] = {}
    for task_id in task_ids:
        try:
            task = spool.get(task_id)
            # A copy that counts for nothing would be counted, listed and read for ever.
            found[task_id] = task if task.status is Status.PENDING else spool.settle(task_id)
        except Exception as error:  # it is this task's, and keeps no other from its turn
            found[task_id] = error
    return found


def _prompt(items: Iterable[_Item], now: float) -> list[_Item]:
    return [item for item in items if now < item.act.began + _PROMPT_SECONDS]


def _done(items: list[_Item]) -> list[_Item]:
    """Take what is done out of `items`."""
    done = [item for item in items if item.act.future.done()]
    for item in done:
        items.remove(item)
    return done


def _tell_left(task_id: str, reason: str) -> None:
    server_log().warning("task is left to the next start", task_id=task_id, reason=reason)


def _timed_out(task: Task, seconds: float) -> Failure:
    return Failure(
        "timed_out",
        f"{task.input_video} took longer than {seconds / 3600:g} hours, which"
        " task_timeout_hours allows; raise it, or cut the video, then retry.",
    )
