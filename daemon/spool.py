"""
The queue as files: the one door in, and every act on a task. `docs/STATE.md` is its map.

Any number of processes may use it at once. An act returns when it is durable. What a task's
files are and where results go is the callers' business; the spool calls `publish` at the one
moment when it may be done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from daemon import task as change
from daemon.control import Control
from daemon.locks import service_lock
from daemon.pending_limit import PendingLimit
from daemon.progress_files import ProgressFiles
from daemon.record_store import Hold, Moved, RecordStore
from daemon.records import reason_unreadable
from daemon.recovery import Recovery, bring_home, recover, resolve
from daemon.shelves import Place
from daemon.spool_errors import (
    QueueFull,
    RecordDamaged,
    StaleAttempt,
    TaskBusy,
    TaskExists,
    UnknownTask,
    WrongStatus,
)
from daemon.task import ENDED, Failure, Progress, Status, Submission, Task
from daemon.task_id import TaskIds, lowest_id
from daemon.webhook_markers import WebhookMarkers
from daemon.webhook_state import WebhookState
from pipeline.parameters import Parameters

_LITTLE_PATIENCE_SECONDS = 0.2  # an act takes milliseconds


@dataclass(frozen=True)
class Page:
    """Tasks of a listing, and the records that could not be read and were set aside."""

    tasks: tuple[Task, ...]
    damaged: tuple[RecordDamaged, ...]


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class Spool:
    """The tasks under `state`; makes its folders where they are missing."""

    def __init__(self, state: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self._state = state
        self._clock = clock
        self._ids = TaskIds(clock)
        self._store = RecordStore(state)
        progress, webhooks = state / "progress", state / "webhooks"
        self._progress = ProgressFiles(progress)
        self._webhooks = WebhookMarkers(webhooks)
        self._limit = PendingLimit(lambda: self._store.shelves.count(Status.PENDING))
        self.control = Control(state)
        self._folders = (*self._store.shelves.folders, state / "locks", progress, webhooks)

    def make_folders(self) -> list[Path]:
        """
        Make its folders where they are missing; return those that were.

        For who knows that the state is the one that it holds: in an empty folder in the state's
        place, as below a mount, whoever acts on a task is to fail for lack of them.
        """
        missing = [folder for folder in self._folders if not folder.is_dir()]
        for folder in missing:
            folder.mkdir(exist_ok=True)  # never the state itself, which may be away
        return missing

    def now(self) -> datetime:
        """Return the time by which tasks are dated."""
        return self._clock()

    # --- In ---

    def new_id(self) -> str:
        """Return a name for a new task."""
        return self._ids.new()

    def submit(
        self, submission: Submission, max_pending: int, failure: Failure | None = None
    ) -> Task:
        """
        Accept a task. When this returns it is in the queue and no crash loses it.

        With a `failure`, such as a sidecar that is wrong, it is kept as failed from the
        beginning, and counts as none that is pending.

        Raises:
            QueueFull: `max_pending` tasks are pending.
            TaskExists: a task of this name was submitted before, and is as it was.
        """
        task_id = submission.task_id
        with self._store.lock(task_id):
            known = self._store.status(task_id)
            if known is not None:
                raise TaskExists(task_id, known)
            if failure is None and not self._limit.has_room(max_pending):
                raise QueueFull(max_pending)
            if failure is None:
                task = change.submitted(submission, self._clock())
            else:
                task = change.rejected(submission, failure, self._clock())
            self._mind_webhook(task)
            self._store.add(task)
        return task

    # --- The work, as the dispatcher does it ---

    def claim(self, task_id: str) -> Task:
        """
        Begin an attempt. The task's `token` is what its end must name.

        Raises:
            WrongStatus: it is not pending.
            UnknownTask, RecordDamaged, TaskBusy
        """
        token = secrets.token_hex(16)

        def step(hold: Hold) -> Task:
            task = self._allowed(hold, Status.PROCESSING, "begun")
            return self._go(hold, change.claimed(task, token, self._clock()), Status.PROCESSING)

        return self._store.act(task_id, step)

    def may_publish(self, task_id: str, token: str) -> bool:
        """Is this attempt still wanted? Only `complete` can know for certain."""
        try:
            task = self.get(task_id)
        except (UnknownTask, RecordDamaged):
            return False
        return task.status is Status.PROCESSING and task.token == token

    def set_parameters(
        self, task_id: str, token: str, parameters: Parameters, sidecar: str | None
    ) -> Task:
        """
        Give a running attempt the parameters of a sidecar that was read anew.

        `sidecar` is where that lies, which another one may have taken.

        Raises:
            StaleAttempt, RecordDamaged, TaskBusy
        """

        def step(hold: Hold) -> Task:
            task = dataclasses.replace(
                self._running(hold, token), parameters=parameters, sidecar=sidecar
            )
            self._mind_webhook(task)
            hold.write(task)
            return task

        return self._attempt(task_id, step)

    def write_progress(self, task_id: str, progress: Progress) -> None:
        """Say how far an attempt is; cheap, and lost in a crash."""
        self._progress.write(task_id, progress)

    def complete(
        self,
        task_id: str,
        token: str,
        output_video: str,
        report: Mapping[str, Any],
        publish: Callable[[], None],
    ) -> Task:
        """
        Publish a result and end the task.

        `publish` makes the result appear as `output_video`, durably and never replacing; it is
        called at most once, and only while this attempt is the task's own. What it raises
        comes out of here, and the attempt still runs then.

        Raises:
            StaleAttempt: nothing was published.
            RecordDamaged, TaskBusy: likewise.
        """

        def step(hold: Hold) -> Task:
            running = self._running(hold, token)
            task = change.completed(running, output_video, report, self._clock())
            hold.write(task)
            publish()
            return self._published(hold, task)

        return self._attempt(task_id, step)

    def fail(self, task_id: str, token: str, failure: Failure) -> Task:
        """
        End the task for a reason that another attempt would meet again.

        Raises:
            StaleAttempt, RecordDamaged, TaskBusy
        """
        return self._end_attempt(
            task_id, token, lambda task: change.failed(task, failure, self._clock())
        )

    def spend_attempt(self, task_id: str, token: str, failure: Failure, max_attempts: int) -> Task:
        """
        Put the task back after its attempt was lost; the last of `max_attempts` fails it.

        Raises:
            StaleAttempt, RecordDamaged, TaskBusy
        """
        return self._end_attempt(
            task_id, token, lambda task: change.spent(task, failure, max_attempts, self._clock())
        )

    def requeue(self, task_id: str, token: str) -> Task:
        """
        Put the task back, its attempt not spent: the service ends or drains.

        Too often, and it fails.

        Raises:
            StaleAttempt, RecordDamaged, TaskBusy
        """
        return self._end_attempt(
            task_id, token, lambda task: change.interrupted(task, self._clock())
        )

    def postpone(self, task_id: str, token: str) -> Task:
        """
        Put the task back as if it had not been begun: it waits for its outbox, however often.

        Raises:
            StaleAttempt, RecordDamaged, TaskBusy
        """
        return self._end_attempt(task_id, token, change.postponed)

    # --- What people ask for ---

    def cancel(self, task_id: str) -> Task:
        """
        Call a task off. An attempt that runs is stale from now on; stop it.

        Raises:
            WrongStatus: it has ended.
            UnknownTask, RecordDamaged, TaskBusy
        """

        def step(hold: Hold) -> Task:
            task = self._allowed(hold, Status.CANCELLED, "cancelled")
            return self._go(hold, change.cancelled(task, self._clock()), Status.CANCELLED)

        return self._store.act(task_id, step)

    def retry(self, task_id: str) -> Task:
        """
        Try a failed or cancelled task again, as if for the first time.

        Raises:
            WrongStatus: it is neither.
            UnknownTask, RecordDamaged, TaskBusy
        """

        def step(hold: Hold) -> Task:
            if hold.task.status not in (Status.FAILED, Status.CANCELLED):
                raise WrongStatus(task_id, hold.task.status, "retried")
            self._mind_webhook(hold.task)
            moved = hold.move(Status.PENDING)  # this alone is a retry, as an operator's `mv` is
            task = change.tried_again(moved.task)
            with contextlib.suppress(Moved):  # whoever moves it on by hand knows better
                moved.write(task)
            return task

        return self._store.act(task_id, step)

    def remove(self, task_id: str, remove_files: Callable[[Task], None]) -> None:
        """
        Remove an ended task: its files, then its record.

        What `remove_files` raises comes out of here, and the record is kept then.

        Raises:
            WrongStatus: it has not ended.
            UnknownTask, RecordDamaged, TaskBusy
        """

        def step(hold: Hold) -> None:
            remove_files(self._ended(hold))
            hold.remove()
            self._webhooks.remove(task_id)

        self._store.act(task_id, step)

    def tend(self, task_id: str, act: Callable[[Task], None]) -> None:
        """
        Do something to an ended task's files while nobody can retry or remove it.

        Raises:
            WrongStatus: it has not ended.
            UnknownTask, RecordDamaged, TaskBusy
        """
        self._store.act(task_id, lambda hold: act(self._ended(hold)))

    def date_end(self, task_id: str) -> Task:
        """
        Return a task; where a `mv` made its end, whose record does not say when, write that.

        By its end a record is known that comes back from there, to be tried as if for the first
        time.

        Raises:
            UnknownTask, RecordDamaged, TaskBusy
        """

        def step(hold: Hold) -> Task:
            task = self._seen(hold.task)
            if not change.lacks_end(task):
                return task
            dated = dataclasses.replace(task, completed_at=self._clock())
            hold.write(dated)
            return dated

        return self._store.act(task_id, step)

    # --- Who is told of an end ---

    def has_webhook(self, task_id: str) -> bool:
        """Is somebody still to be told of this task's end? From its name alone."""
        return self._webhooks.has(task_id)

    def webhook_ids(self) -> frozenset[str]:
        """Return the tasks that do not wait or run and whose end is still to be told."""
        # In this order: what comes to its end meanwhile is returned, and what is put back too.
        untold = frozenset(self._webhooks.ids())
        return untold.difference(self.pending_ids(), self.processing_ids())

    def note_webhook(self, task_id: str, state: WebhookState) -> bool:
        """
        Say how far telling of an end has come; False, and nothing is done, if it is another by now.

        Raises:
            UnknownTask, RecordDamaged, TaskBusy
        """

        def step(hold: Hold) -> bool:
            current = change.webhook_of(hold.task)
            if current is None or current.event_id != state.event_id:
                return False
            hold.write(dataclasses.replace(hold.task, webhook=state))
            if state.is_settled:
                self._webhooks.remove(task_id)
            return True

        return self._store.act(task_id, step)

    def settle_webhook(self, task_id: str) -> None:
        """
        Strike a task off those to be told of, if it is gone, or nobody is to be told any more.

        Raises:
            RecordDamaged, TaskBusy
        """
        with self._store.lock(task_id):
            if self._store.status(task_id) is None:
                self._webhooks.remove(task_id)
                return

        def step(hold: Hold) -> None:
            state = change.webhook_of(hold.task)
            if state is None or state.is_settled:  # never so of one that has not ended
                self._webhooks.remove(task_id)

        with contextlib.suppress(UnknownTask):
            self._store.act(task_id, step)

    # --- What there is ---

    def get(self, task_id: str) -> Task:
        """
        Return a task as it is now, with the progress of its attempt.

        Raises:
            UnknownTask, RecordDamaged, TaskBusy
        """
        return self._seen(self._store.read(task_id))

    def get_at(self, task_id: str, status: Status, path: Path) -> Task:
        """
        Do the same for a task whose only record was at a path just now, in half the time.

        Raises:
            UnknownTask, RecordDamaged, TaskBusy
        """
        return self._seen(self._store.read_place(Place(task_id, status, path)))

    def settle(self, task_id: str) -> Task:
        """
        Return a task of which only the record that counts is left; copies go to `damaged/`.

        Where somebody holds it, it can wait, and others need not.

        Raises:
            UnknownTask, RecordDamaged, TaskBusy
        """
        return self._seen(
            self._store.act(task_id, lambda hold: hold.task, _LITTLE_PATIENCE_SECONDS)
        )

    def list(
        self,
        user_id: str | None = None,
        status: Status | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Page:
        """Return the newest tasks below the task `before`; reads the days that it needs."""
        wanted = Status if status is None else (status,)
        tasks: list[Task] = []
        damaged: list[RecordDamaged] = []
        for item in self._read(self._store.shelves.newest(wanted, before)):
            if isinstance(item, RecordDamaged):
                damaged.append(item)
            elif item.status in wanted and user_id in (None, item.user_id):
                tasks.append(item)
                if len(tasks) == limit:
                    break
        return Page(tuple(tasks), tuple(damaged))

    def pending_ids(self) -> tuple[str, ...]:
        """Return the names of what waits, oldest first, from names alone."""
        return tuple(self._store.shelves.ids(Status.PENDING))

    def ended_until(self, moment: datetime) -> Iterator[Task | RecordDamaged]:
        """Yield the tasks that had ended by then, newest first, and records set aside."""
        later = lowest_id(moment + timedelta(milliseconds=1))  # cannot have ended by then
        for item in self._read(self._store.shelves.newest(ENDED, later)):
            if isinstance(item, RecordDamaged) or item.is_ended and item.ended_at <= moment:
                yield item

    def ended_ids_since(self, moment: datetime) -> Iterator[str]:
        """Yield the tasks whose records came to an end since then, from names and times alone."""
        for status in sorted(ENDED):
            yield from self._store.shelves.changed_since(status, moment)

    def given_up_ids_since(self, moment: datetime) -> Iterator[str]:
        """Yield those of them that came to failed or cancelled, be it from another end."""
        for status in (Status.FAILED, Status.CANCELLED):
            yield from self._store.shelves.changed_since(status, moment)

    def counts(self) -> Mapping[Status, int]:
        """Return how many tasks each status has, from names alone."""
        return {status: self._store.shelves.count(status) for status in Status}

    def damaged(self) -> Sequence[Path]:
        """Return the records that were set aside and wait for somebody to look at them."""
        return self._store.shelves.damaged()

    def unseen_ids(self) -> frozenset[str]:
        """
        Return tasks that are unknown just now and may come back: their records were set aside, or
        lie in another day's folder until they are brought home.
        """
        shelves = self._store.shelves
        damaged = (path.name.partition(".")[0] for path in shelves.damaged())
        return frozenset(damaged).union(place.task_id for place in shelves.misplaced())

    def why_damaged(self, path: Path) -> str:
        """Return why a record lies among those that were set aside."""
        reason = reason_unreadable(path)
        if reason is not None:
            return reason
        if self._store.shelves.find(path.name.partition(".")[0]):
            return "another record of its task counts"
        return "it is whole, and its task has no other record; move it to its status' folder"

    # --- The service ---

    def lock_service(self) -> AbstractContextManager[Callable[[], bool]]:
        """
        Hold this state for a service, while the context lasts; see `service_lock`.

        Raises:
            ServiceRunning: another one holds it.
        """
        return service_lock(self._state / "service.lock")

    def recover(self, has_result: Callable[[Task], bool]) -> Recovery:
        """
        Bring what a crash left to where it belongs; for the service, before it begins.

        `has_result` tells whether a task's `output_video` lies in the outbox.
        """
        self._progress.clear()
        self._store.sweep_locks()
        return recover(self._store, has_result, self._clock())

    def bring_home_since(self, moment: datetime) -> Mapping[str, str]:
        """
        Bring records home that were moved into a wrong day's folder since then.

        Returns those that are left where they are, and why.
        """
        return dict(bring_home(self._store, moment.timestamp()))

    def processing_ids(self) -> tuple[str, ...]:
        """Return the names of what is being worked on, oldest first, from names alone."""
        return tuple(self._store.shelves.ids(Status.PROCESSING))

    def resolve(self, task_id: str, has_result: Callable[[Task], bool]) -> Task:
        """
        Do for one task what `recover` does for all: nobody works on it, and its end was lost.

        Raises:
            UnknownTask, RecordDamaged, TaskBusy
        """
        task = resolve(self._store, task_id, has_result, self._clock())
        self._progress.remove(task_id)
        return task

    # --- Steps ---

    def _allowed(self, hold: Hold, status: Status, act: str) -> Task:
        if not change.may_become(hold.task.status, status):
            raise WrongStatus(hold.task.task_id, hold.task.status, act)
        return self._seen(hold.task)

    def _running(self, hold: Hold, token: str) -> Task:
        if hold.task.status is not Status.PROCESSING or hold.task.token != token:
            raise StaleAttempt(hold.task.task_id)
        return self._seen(hold.task)

    def _ended(self, hold: Hold) -> Task:
        if hold.task.status not in ENDED:
            raise WrongStatus(hold.task.task_id, hold.task.status, "removed")
        return hold.task

    def _attempt(self, task_id: str, step: Callable[[Hold], Task]) -> Task:
        try:
            return self._store.act(task_id, step)
        except UnknownTask as error:
            raise StaleAttempt(task_id) from error

    def _end_attempt(self, task_id: str, token: str, end: Callable[[Task], Task]) -> Task:
        def step(hold: Hold) -> Task:
            task = end(self._running(hold, token))
            return self._go(hold, task, change.end_written(task) or Status.PENDING)

        return self._attempt(task_id, step)

    def _go(self, hold: Hold, task: Task, status: Status) -> Task:
        """Make a transition: the fields in place, then the rename."""
        self._mind_webhook(task)
        hold.write(task)
        hold.move(status)
        if hold.task.status is Status.PROCESSING:
            self._progress.remove(task.task_id)
        return dataclasses.replace(task, status=status)

    def _published(self, hold: Hold, task: Task) -> Task:
        done = dataclasses.replace(task, status=Status.COMPLETED)
        try:
            hold.move(Status.COMPLETED)
        except Moved:
            # By hand, in this very moment. The result is there: no way back.
            self._store.put(done)
            self._store.settle(task.task_id)
        self._progress.remove(task.task_id)
        return done

    def _mind_webhook(self, task: Task) -> None:
        """Make sure that an end of this locked task will be told, if anybody wants to know."""
        if task.parameters.webhook_url is not None:
            self._webhooks.put(task.task_id)

    def _seen(self, task: Task) -> Task:
        counted = change.as_it_counts(task)
        if counted.status is not Status.PROCESSING:
            return counted
        return change.with_progress(counted, self._progress.read(task.task_id))

    def _read(self, places: Iterable[Place]) -> Iterator[Task | RecordDamaged]:
        for place in places:
            try:
                yield self._seen(self._store.read_place(place))
            except RecordDamaged as error:
                yield error
            except (UnknownTask, TaskBusy):
                continue  # removed meanwhile; or damaged, and somebody else is at it
