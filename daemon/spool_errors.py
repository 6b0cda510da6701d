"""
What the spool refuses, in words for whoever asked.

    SpoolError          code, message
    ├─ UnknownTask      no record of that name
    ├─ WrongStatus      the task is not where this act begins
    ├─ StaleAttempt     the attempt was given up; it may not publish
    ├─ TaskExists       submitted before
    ├─ QueueFull        as many pending as are allowed
    ├─ TaskBusy         somebody else holds the task's lock, for too long
    ├─ RecordDamaged    the record cannot be read and was set aside
    └─ ServiceRunning   a service works on this state already

The codes are part of the REST interface, as those of `pipeline.errors` are.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from daemon.task import Status


class SpoolError(Exception):
    """A reason that the user understands."""

    code: ClassVar[str] = "spool_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnknownTask(SpoolError):
    """There is no task of this name, or no longer."""

    code = "unknown_task"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"There is no task {task_id}; `list` shows those there are.")
        self.task_id = task_id


class WrongStatus(SpoolError):
    """What was asked cannot be done to a task of this status."""

    code = "wrong_status"

    def __init__(self, task_id: str, status: Status, act: str) -> None:
        super().__init__(f"Task {task_id} is {status}; it cannot be {act}.")
        self.task_id = task_id
        self.status = status


class StaleAttempt(SpoolError):
    """The attempt was cancelled, put back or replaced; what it made is of no use."""

    code = "stale_attempt"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task {task_id} is no longer worked on by this attempt; drop its work.")
        self.task_id = task_id


class TaskExists(SpoolError):
    """A task of this name was submitted before."""

    code = "task_exists"

    def __init__(self, task_id: str, status: Status) -> None:
        super().__init__(f"Task {task_id} was submitted before; it is {status}.")
        self.task_id = task_id
        self.status = status


class QueueFull(SpoolError):
    """As many tasks are pending as are allowed."""

    code = "queue_full"

    def __init__(self, max_pending: int) -> None:
        super().__init__(
            f"{max_pending} tasks are pending, as many as max_pending allows; try again later."
        )
        self.max_pending = max_pending


class TaskBusy(SpoolError):
    """The task's lock was not had in time."""

    code = "task_busy"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Somebody else is changing task {task_id} just now; try again.")
        self.task_id = task_id


class RecordDamaged(SpoolError):
    """The record cannot be read; it lies in `state/damaged/` now."""

    code = "record_damaged"

    def __init__(self, task_id: str, path: Path, reason: str) -> None:
        super().__init__(f"The record of task {task_id} is damaged ({reason}); it is now {path}.")
        self.task_id = task_id
        self.path = path
        self.reason = reason


class ServiceRunning(SpoolError):
    """Two services on one state would do everything twice."""

    code = "service_running"

    def __init__(self, state: Path, pid: str) -> None:
        super().__init__(
            f"A service works on {state} already (process {pid or 'unknown'}); stop it first."
        )
