"""
One task and how it may change. No I/O: where a task lies and who may move it is the spool's.

The functions below a task give the fields that a transition writes, as `docs/STATE.md` has
them; the rename that follows is what makes it true.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from daemon.task_id import created_at
from daemon.webhook_state import WebhookState
from pipeline.parameters import Parameters

# After so many ends of the service or drains in mid-work a task fails; likewise where the end of
# its attempt could not be written, so that nobody knows what it came to.
MAX_INTERRUPTIONS = 5


class Status(StrEnum):
    """Where a task stands; the values are the names of the folders."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.PROCESSING, Status.CANCELLED}),
    Status.PROCESSING: frozenset(Status) - {Status.PROCESSING},
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset({Status.PENDING}),
    Status.CANCELLED: frozenset({Status.PENDING}),
}


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: a stable code, and a sentence for the user."""

    code: str
    message: str


@dataclass(frozen=True)
class Progress:
    """How far an attempt is. `total_frames` is None while nobody knows."""

    token: str
    percent: float  # 0 to 100
    processed_frames: int
    total_frames: int | None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What the spool is told of a new task; `Task` says what the fields are."""

    task_id: str
    input_video: str
    original: str
    outbox: str
    sidecar: str | None = None
    inbox: str | None = None
    subfolder: str = ""
    parameters: Parameters = field(default_factory=Parameters)


@dataclass(frozen=True, kw_only=True)
class Task:
    """
    One video to protect.

    Attributes:
        status: the folder of the record; never written into it.
        created_at, started_at, completed_at: with their offset; `completed_at` is the end,
            whichever way it came.
        input_video: the file's name as it was dropped or uploaded.
        original: where the accepted file lies; sidecar: likewise, if it had one.
        inbox: name of the inbox; None for an upload.
        subfolder: below the outbox; outbox: folder of the results.
        attempts: starts that count, 1 during the first.
        retries: how often it was tried again, as if for the first time.
        token: names the attempt that runs, or that was the last.
        output_video: the result, below `outbox`.
        progress: 0 to 100.
        webhook: as it was written, be it about this end or another; `webhook_of` tells.
        unknown: fields of a newer version, kept when the record is rewritten.
    """

    task_id: str
    status: Status
    created_at: datetime
    input_video: str
    original: str
    outbox: str
    sidecar: str | None = None
    inbox: str | None = None
    subfolder: str = ""
    parameters: Parameters = field(default_factory=Parameters)
    attempts: int = 0
    retries: int = 0
    interruptions: int = 0
    token: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output_video: str | None = None
    report: Mapping[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None
    progress: float = 0.0
    processed_frames: int | None = None
    total_frames: int | None = None
    webhook: WebhookState | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def user_id(self) -> str | None:
        """The owner, if the task has one."""
        return self.parameters.user_id

    @property
    def is_ended(self) -> bool:
        """Is it completed, failed or cancelled?"""
        return self.status in ENDED

    @property
    def ended_at(self) -> datetime:
        """When it ended, if it has; a record that was moved to an end by hand may not say."""
        return self.completed_at or self.created_at


def submitted(submission: Submission, now: datetime) -> Task:
    """Return the task as it enters the queue."""
    fields = {f.name: getattr(submission, f.name) for f in dataclasses.fields(submission)}
    # When it got its name, so that the order of names is that of times: what was named first may be
    # accepted last. A name is ahead of a clock that has been set back.
    created = min(created_at(submission.task_id), now)
    return Task(**fields, status=Status.PENDING, created_at=created)


def rejected(submission: Submission, failure: Failure, now: datetime) -> Task:
    """Return the task as it is kept when it cannot be tried, until it is mended and retried."""
    task = failed(submitted(submission, now), failure, now)
    return dataclasses.replace(task, status=Status.FAILED)


def may_become(status: Status, other: Status) -> bool:
    """May a task of this status go to the other one?"""
    return other in TRANSITIONS[status]


def as_it_counts(task: Task) -> Task:
    """
    Return what a record means in its folder.

    A crash between the writing of the fields and the rename, or an operator's `mv`, leaves
    fields of a status that the task is not in; those do not count.
    """
    if task.status is Status.PENDING:
        return _waiting(task)
    if task.status is Status.PROCESSING:
        return dataclasses.replace(_without_result(task), completed_at=None)
    return task


def claimed(task: Task, token: str, now: datetime) -> Task:
    """Return the task as its next attempt begins."""
    return dataclasses.replace(
        _without_error(task), attempts=task.attempts + 1, token=token, started_at=now
    )


def interrupted(task: Task, now: datetime) -> Task:
    """Return the task as it goes back, its attempt not spent; or failed, after too many."""
    count = task.interruptions + 1
    if count >= MAX_INTERRUPTIONS:
        ended = dataclasses.replace(task, interruptions=count)
        return failed(ended, _too_often(task.input_video, count), now)
    return dataclasses.replace(postponed(task), interruptions=count)


def postponed(task: Task) -> Task:
    """Return the task as it goes back as if its attempt had not been begun."""
    return dataclasses.replace(_put_back(task), attempts=max(task.attempts - 1, 0))


def spent(task: Task, failure: Failure, max_attempts: int, now: datetime) -> Task:
    """Return the task as it goes back after a lost attempt; or failed, if it was the last."""
    if task.attempts >= max_attempts:
        return failed(task, failure, now)
    return _with_error(_put_back(task), failure)


def completed(task: Task, output_video: str, report: Mapping[str, Any], now: datetime) -> Task:
    """Return the task as it is when its result is published."""
    frames = report.get("frames", task.total_frames)
    return dataclasses.replace(
        _without_error(task),
        completed_at=now,
        output_video=output_video,
        report=report,
        progress=100.0,
        processed_frames=frames,
        total_frames=frames,
    )


def failed(task: Task, failure: Failure, now: datetime) -> Task:
    """Return the task as it ends with a reason."""
    return dataclasses.replace(_with_error(_without_result(task), failure), completed_at=now)


def cancelled(task: Task, now: datetime) -> Task:
    """Return the task as it is called off."""
    return dataclasses.replace(_without_error(_without_result(task)), completed_at=now)


def tried_again(task: Task) -> Task:
    """Return the task as if it had just been submitted."""
    return dataclasses.replace(
        _without_error(_put_back(task)),
        attempts=0,
        interruptions=0,
        retries=task.retries + 1,
        webhook=None,
    )


def webhook_of(task: Task) -> WebhookState | None:
    """Return how far telling of the task's end has come; None where nobody is to be told."""
    if task.parameters.webhook_url is None:
        return None
    event_id = f"{task.task_id}_{task.retries}_{task.status}"
    if task.webhook is not None and task.webhook.event_id == event_id:
        return task.webhook
    return WebhookState(event_id=event_id)


def end_written(task: Task) -> Status | None:
    """Return the end that a record in processing was written for, None if for none."""
    if task.completed_at is None:
        return None
    if task.error_code is not None:
        return Status.FAILED
    return Status.CANCELLED if task.output_video is None else Status.COMPLETED


def lacks_end(task: Task) -> bool:
    """Has somebody moved the record to an end by hand, so that it does not say when that came?"""
    return task.is_ended and task.completed_at is None


def with_progress(task: Task, progress: Progress | None) -> Task:
    """Return the task with what its running attempt says of itself."""
    if progress is None or progress.token != task.token:
        return task
    return dataclasses.replace(
        task,
        progress=progress.percent,
        processed_frames=progress.processed_frames,
        total_frames=progress.total_frames,
    )


def _waiting(task: Task) -> Task:
    if task.completed_at is not None:  # moved here from an end, by hand or by `retry`
        return tried_again(task)
    if task.token is not None:  # a claim that was cut short: nothing has been started
        return postponed(task)
    return task


def _put_back(task: Task) -> Task:
    return dataclasses.replace(
        _without_result(task),
        token=None,
        started_at=None,
        completed_at=None,
        progress=0.0,
        processed_frames=None,
    )


def _without_result(task: Task) -> Task:
    return dataclasses.replace(task, output_video=None, report=None)


def _without_error(task: Task) -> Task:
    return dataclasses.replace(task, error_code=None, error_message=None)


def _with_error(task: Task, failure: Failure) -> Task:
    return dataclasses.replace(task, error_code=failure.code, error_message=failure.message)


def _too_often(name: str, count: int) -> Failure:
    return Failure(
        "interrupted",
        f"{PurePath(name).name}: the work on this file was cut short {count} times, by the end of"
        " the service, by a drain, or by a state that did not take its end; look into the log for"
        " the reason, then retry the task.",
    )
