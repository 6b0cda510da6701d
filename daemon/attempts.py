"""
One attempt at a task, from its claim in the spool to its end: the steps on disk.

When something is tried is the dispatcher's business, and the work itself a worker's. Each
function here may take its time (a slow share, a lock that somebody holds), so the dispatcher
calls them in threads of their own.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.atomic import make_folder
from daemon.disk import NO_ROOM
from daemon.jobs import Job
from daemon.logs import Once, queue_log, server_log
from daemon.names import is_name_refused
from daemon.originals import held_home, held_original, inbox_of
from daemon.outbox import (
    has_result,
    make_results_folder,
    publish,
    result_name,
    results_folder,
)
from daemon.sidecar import SidecarError, adopt_dropped, read_sidecar
from daemon.size_limit import too_large
from daemon.spool import Spool
from daemon.spool_errors import RecordDamaged, StaleAttempt, TaskBusy, UnknownTask, WrongStatus
from daemon.staging import remove_part
from daemon.task import Failure, Status, Task
from pipeline.errors import InputFailed, UnreadableMedia
from pipeline.parameters import Parameters
from pipeline.settings import Settings

_OUTPUT_FAILED = "output_failed"
# What a worker says of an original that it cannot open, or read on, whatever the reason.
_OF_ORIGINAL = (UnreadableMedia.code, InputFailed.code)
# What cannot be written to the state is tried again after so long, and for good: it is the
# last small write after hours of work. Only when the service ends it is given up after a while;
# the next start finds it and goes on from there.
_AGAIN_SECONDS = 0.5
_INSIST_SECONDS = 10.0
_REFUSED = "the end of an attempt cannot be written yet"
_NOT_RESOLVED = "task not resolved"


class StateRefused(Exception):
    """The service ends and what an attempt came to could not be written; see `Spool.recover`."""


class _FolderRefused(Exception):
    """A folder that is not the state's cannot be read or written."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(folder, error)
        self.folder = folder
        self.error = error


@dataclass(frozen=True)
class Attempt:
    """A task that is being worked on, and what its worker is told."""

    task: Task
    job: Job


@dataclass(frozen=True)
class InboxPlace:
    """Where an inbox lies, and what its files get that do not say otherwise."""

    root: Path
    defaults: Parameters


@dataclass(frozen=True)
class AttemptRules:
    """
    What the configuration says of attempts.

    Attributes:
        settings: of the work, as the operator set it.
        max_bytes: of a video, which a retry may find lowered or raised.
        inboxes: by name.
        allow_private: may a webhook lead to this machine or a private network?
    """

    temp: Path
    settings: Settings
    max_attempts: int
    max_bytes: int
    inboxes: Mapping[str, InboxPlace]
    allow_private: bool = False


class Attempts:
    """
    Begins and ends attempts.

    Attributes:
        is_stopping: the service ends, so that nothing is insisted on for long.
    """

    def __init__(
        self,
        spool: Spool,
        rules: AttemptRules,
        changed: Callable[[str], None],
        lacks_room: Callable[[Task], bool],
        is_outbox_away: Callable[[Task], bool],
        is_inbox_away: Callable[[Task], bool],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            changed: is told of each task that has changed.
            lacks_room: is a folder that the task's work is written to full, away or read-only?
                Looks anew, as the next; where they say yes the task waits, and spends no attempt.
            is_outbox_away: is the folder of its results away or read-only?
            is_inbox_away: is the inbox away, or closed, that its original lies in? Looks anew.
        """
        self._lacks_room, self._is_outbox_away = lacks_room, is_outbox_away
        self._is_inbox_away = is_inbox_away
        self.rules = rules
        self.is_stopping = False
        self._spool = spool
        self._changed = changed
        self._clock, self._sleep = clock, sleep
        self._once = Once(server_log())

    def begin(self, task_id: str) -> Attempt | None:
        """
        Claim a task and prepare its work; None where it is not to be had, or has ended.

        Raises:
            TaskBusy: somebody else holds it all the time.
            OSError: the state cannot be written; the task waits on.
            StateRefused
        """
        task = self._claimed(task_id)
        if task is None:
            return None
        self._changed(task_id)
        if self._lacks_room(task):  # those that wait must not all fail, one after the other
            self._postpone(task)
            return None
        try:
            attempt = self._made_ready(task)
        except SidecarError as error:
            self._fail(task, error.failure)
        except (StaleAttempt, RecordDamaged) as error:
            self._tell_unwanted(task, error)
        except _FolderRefused as error:
            self._end_refused(task, error)
        except StateRefused:
            raise
        except Exception as error:
            self._fail(task, _unforeseen(task, error), traceback.format_exc())
        else:
            return attempt
        return None

    def complete(
        self, attempt: Attempt, staged: Path, suffix: str, report: Mapping[str, Any]
    ) -> None:
        """
        Publish a result, unless the attempt is no longer wanted.

        Raises:
            StateRefused
        """
        task = attempt.task
        name = result_name(task, suffix)
        is_published = False

        def publish_once() -> None:
            nonlocal is_published
            if not is_published:  # the record is insisted on, the result is not made twice
                with _told_of(Path(task.outbox, name).parent):
                    publish(task, staged, name)
                is_published = True

        if self._is_outbox_away(task):  # or the result would vanish behind what is mounted there
            self._let_wait(attempt)
            return
        try:
            self._insisted(
                lambda: self._spool.complete(task.task_id, _token(task), name, report, publish_once)
            )
        except _FolderRefused as error:
            if isinstance(error.error, FileExistsError):  # as where a completed record was moved
                self._fail(task, _already_there(task, name))
            else:
                self._end_refused(task, error)
        except (StaleAttempt, RecordDamaged) as error:
            self._tell_unwanted(task, error)
        except StateRefused:
            raise
        except Exception as error:
            if is_published:  # there is no way back; `resolve` goes on from here
                raise
            self._fail(task, _unforeseen(task, error), traceback.format_exc())
        else:
            _tell_completed(task, name, report)
        finally:
            self._clear(attempt)

    def refuse(
        self, attempt: Attempt, failure: Failure, is_retryable: bool, details: str | None
    ) -> None:
        """End an attempt that its worker gave up for a reason; `details` are for the log."""
        if failure.code == _OUTPUT_FAILED and self._lacks_room(attempt.task):
            self._let_wait(attempt)
            return
        if failure.code in _OF_ORIGINAL and self._is_inbox_away(attempt.task):
            self._let_wait(attempt)
            return
        if is_retryable:
            self._spend(attempt.task, failure, details)
        else:
            self._fail(attempt.task, failure, details)
        self._clear(attempt)

    def lose(self, attempt: Attempt, failure: Failure) -> None:
        """End an attempt whose worker was lost."""
        self._spend(attempt.task, failure)
        self._clear(attempt)

    def give_back(self, attempt: Attempt) -> None:
        """Put a task back that no worker has begun; neither an attempt nor an interruption."""
        self._settle(attempt.task, self._spool.postpone)
        self._clear(attempt)

    def put_back(self, attempt: Attempt) -> None:
        """Put a task back because the service ends or drains; no attempt is spent."""
        self._settle(attempt.task, self._spool.requeue)
        self._clear(attempt)

    def drop(self, attempt: Attempt) -> None:
        """Clear up after an attempt that was called off."""
        queue_log().info("called off", task_id=attempt.task.task_id)
        self._clear(attempt)

    def has_result(self, task: Task) -> bool:
        """
        Does the result that the record names lie in the outbox?

        Raises:
            OSError: nobody can tell, since the outbox is away.
        """
        # The empty folder below a mount would say no, and the task would be worked on anew.
        if self._is_outbox_away(task):
            raise OSError(errno.EAGAIN, "the outbox is away", task.outbox)
        return has_result(task)

    def resolve(self, task_id: str) -> None:
        """
        Bring a task to where it belongs that is in processing and that nobody works on.

        The end of its attempt could not be written, as on a disk that was full.
        """
        try:
            task = self._spool.resolve(task_id, self.has_result)
        except (UnknownTask, RecordDamaged, TaskBusy) as error:
            server_log().warning(_NOT_RESOLVED, task_id=task_id, reason=error.message)
            return
        except OSError as error:  # a disk still refuses; it is looked at again
            self._once.tell(_NOT_RESOLVED, True, of=task_id, reason=str(error))
            return
        self._once.tell(_NOT_RESOLVED, False, of=task_id)
        self._changed(task_id)
        queue_log().warning("resolved", task_id=task_id, status=task.status.value)
        if task.status is Status.FAILED:
            queue_log().error("failed", **failure_facts(task))

    # --- Beginning ---

    def _claimed(self, task_id: str) -> Task | None:
        try:
            return self._spool.claim(task_id)
        except (UnknownTask, WrongStatus, RecordDamaged):
            return None  # somebody else was faster, or it is none
        except OSError as error:
            self._take_back(task_id, error)
            raise

    def _take_back(self, task_id: str, error: OSError) -> None:
        """Put a task back whose claim was refused at its last step, when it was made already."""
        try:
            task = self._spool.get(task_id)
        except (OSError, UnknownTask, RecordDamaged, TaskBusy):
            return
        if task.status is Status.PROCESSING and task.token is not None:
            reason = f"{task.input_video}: the state refused its beginning ({error.strerror})"
            self._spend(task, Failure("internal_error", f"{reason}; the log has the details."))

    def _made_ready(self, task: Task) -> Attempt | None:
        """
        Return what the work needs, None where the task has failed meanwhile.

        Raises:
            SidecarError, StaleAttempt, RecordDamaged, StateRefused
            _FolderRefused: of the inbox, temp or the outbox.
        """
        with _told_of(Path(task.original).parent):
            failure = self._beyond_size(task)
            if failure is None:
                task = self._with_sidecar(task)
        if failure is not None:
            self._fail(task, failure)
            return None
        attempt = self._prepared(task)
        queue_log().info(
            "started", task_id=task.task_id, video=task.input_video, attempt=task.attempts
        )
        return attempt

    def _with_sidecar(self, task: Task) -> Task:
        """
        Read the sidecar of a retried task anew; that of any other was read when it came.

        Raises:
            SidecarError, StaleAttempt
        """
        if task.inbox is None or task.retries == 0 or task.attempts > 1:
            return task
        original = Path(task.original)
        place = self._place_of(task)
        with contextlib.ExitStack() as held:
            try:
                folder = held.enter_context(held_home(original))
            except OSError:
                return task  # its worker says what is wrong with it
            name = adopt_dropped(place.root, task.subfolder, task.input_video, folder)
            if name is None:
                return self._without_sidecar(task)
            parameters = read_sidecar(
                folder / name, task.subfolder, place.defaults, self.rules.allow_private
            )
        return self._with_parameters(task, parameters, str(original.parent / name))

    def _place_of(self, task: Task) -> InboxPlace:
        """Return a task's inbox; one configured no longer under its name by where it lies."""
        named = self.rules.inboxes.get(task.inbox or "")
        if named is not None:
            return named
        root = inbox_of(Path(task.original))
        there = root.resolve()  # moved, too: a link leads from where it was
        renamed = (p for p in self.rules.inboxes.values() if p.root.resolve() == there)
        return next(renamed, InboxPlace(root, task.parameters))

    def _without_sidecar(self, task: Task) -> Task:
        """Go on with what the record says, and say so where a sidecar has been taken away."""
        if task.sidecar is None:
            return task
        queue_log().warning(
            "sidecar is gone, the parameters stay as they were",
            task_id=task.task_id,
            sidecar=task.sidecar,
        )
        return self._with_parameters(task, task.parameters, None)

    def _with_parameters(self, task: Task, parameters: Parameters, sidecar: str | None) -> Task:
        return self._insisted(
            lambda: self._spool.set_parameters(task.task_id, _token(task), parameters, sidecar)
        )

    def _beyond_size(self, task: Task) -> Failure | None:
        try:
            with held_original(Path(task.original)) as original:
                size = original.stat().st_size
        except OSError:
            return None  # its worker says what is wrong with it
        return too_large(task.input_video, size, self.rules.max_bytes)

    def _prepared(self, task: Task) -> Attempt:
        folder = self.rules.temp / f"{task.task_id}.{_token(task)}"
        with _told_of(results_folder(task)):
            make_results_folder(task)
        with _told_of(self.rules.temp):
            make_folder(folder)
        job = Job(
            task_id=task.task_id,
            token=_token(task),
            original=Path(task.original),
            folder=folder,
            outbox=Path(task.outbox),
            subfolder=task.subfolder,
            parameters=task.parameters,
            settings=self.rules.settings,
        )
        return Attempt(task, job)

    # --- Ending ---

    def _let_wait(self, attempt: Attempt) -> None:
        """Put a task back until its folders are there; neither an attempt nor an interruption."""
        self._postpone(attempt.task)
        self._clear(attempt)

    def _postpone(self, task: Task) -> None:
        queue_log().warning("the task waits for room or a folder", task_id=task.task_id)
        self._settle(task, self._spool.postpone)

    def _end_refused(self, task: Task, refused: _FolderRefused) -> None:
        """End an attempt because a folder of ours refused."""
        where, error = refused.folder, refused.error
        if error.errno in NO_ROOM:
            message = f"{task.input_video}: no space is left for {where}; make room, then retry."
            self._fail(task, Failure("disk_full", message))
        elif self._lacks_room(task) or self._is_inbox_away(task):
            self._postpone(task)
        elif where == results_folder(task) and is_name_refused(error):
            self._fail(task, _not_to_be_named(task, error))
        else:
            reason = f"{where} cannot be used: {error.strerror or error}"
            self._spend(task, Failure(_OUTPUT_FAILED, f"{task.input_video}: {reason}."))

    def _fail(self, task: Task, failure: Failure, details: str | None = None) -> None:
        self._settle(task, lambda name, token: self._spool.fail(name, token, failure), details)

    def _spend(self, task: Task, failure: Failure, details: str | None = None) -> None:
        most = self.rules.max_attempts
        self._settle(
            task,
            lambda name, token: self._spool.spend_attempt(name, token, failure, most),
            details,
        )

    def _settle(
        self, task: Task, end: Callable[[str, str], Task], details: str | None = None
    ) -> None:
        try:
            ended = self._insisted(lambda: end(task.task_id, _token(task)))
        except (StaleAttempt, RecordDamaged) as error:
            self._tell_unwanted(task, error)
            return
        self._changed(task.task_id)
        _tell_ended(ended, details)

    def _insisted(self, act: Callable[[], Task]) -> Task:
        """
        Do it however long the state refuses: nobody else will end this attempt.

        Raises:
            StateRefused: it still did when the service had to end.
        """
        began = self._clock()
        while True:
            try:
                done = act()
            except (TaskBusy, OSError) as error:
                self._once.tell(_REFUSED, True, reason=str(error))
                if self.is_stopping and self._clock() >= began + _INSIST_SECONDS:
                    raise StateRefused(str(error)) from error
                self._sleep(_AGAIN_SECONDS)
            else:
                self._once.tell(_REFUSED, False)
                return done

    def _tell_unwanted(self, task: Task, error: StaleAttempt | RecordDamaged) -> None:
        self._changed(task.task_id)
        queue_log().warning("attempt dropped", task_id=task.task_id, reason=error.message)

    def _clear(self, attempt: Attempt) -> None:
        """Remove what the attempt has written, but for what was published."""
        self._changed(attempt.task.task_id)
        shutil.rmtree(attempt.job.folder, onerror=_tell_not_removed)
        try:
            remove_part(attempt.job)
        except OSError as error:  # the outbox is away; it is swept when it is back
            server_log().warning("cannot remove", path=error.filename, reason=error.strerror)


@contextlib.contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    """Let a failure say which folder it is about, so that it is not taken for the state's."""
    try:
        yield
    except OSError as error:
        raise _FolderRefused(folder, error) from error


def _already_there(task: Task, name: str) -> Failure:
    return Failure(
        _OUTPUT_FAILED,
        f"{task.input_video}: {Path(task.outbox, name)} is there already and is never replaced;"
        " move it away, then retry the task.",
    )


def _not_to_be_named(task: Task, error: OSError) -> Failure:
    return Failure(
        _OUTPUT_FAILED,
        f"{task.input_video}: the file system of {results_folder(task)} cannot hold that name"
        f" ({error.strerror}); send the video anew, with a shorter name and without any of"
        " \\ : * ? \" < > | in it and in its folder's.",
    )


def _unforeseen(task: Task, error: Exception) -> Failure:
    return Failure(
        "internal_error",
        f"{task.input_video}: something went wrong that nobody foresaw ({type(error).__name__});"
        " the log has the details. Please report it.",
    )


def failure_facts(task: Task) -> dict[str, Any]:
    """Return what a log line says of a task that failed."""
    return {
        "task_id": task.task_id,
        "video": task.input_video,
        "code": task.error_code,
        "reason": task.error_message,
    }


def _token(task: Task) -> str:
    if task.token is None:
        raise ValueError(f"task {task.task_id} was not claimed")
    return task.token


def _tell_completed(task: Task, name: str, report: Mapping[str, Any]) -> None:
    queue_log().info(
        "completed",
        task_id=task.task_id,
        video=task.input_video,
        output=name,
        frames=report.get("frames"),
        seconds=report.get("seconds"),
    )


def _tell_ended(task: Task, details: str | None) -> None:
    facts = failure_facts(task)
    if details:
        facts["details"] = details
    if task.status is Status.FAILED:
        queue_log().error("failed", **facts)
    elif task.error_code:
        queue_log().warning("attempt lost", **facts, attempts=task.attempts)
    else:
        queue_log().info("put back", task_id=task.task_id, interruptions=task.interruptions)


def _tell_not_removed(function: object, path: str, raised: Any) -> None:
    if not isinstance(raised[1], FileNotFoundError):
        server_log().warning("cannot remove", path=path, reason=str(raised[1]))
