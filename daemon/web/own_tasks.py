"""The tasks that a caller may know of; what is another's is for them as if it were not there."""

from __future__ import annotations

import time

from daemon.logs import queue_log
from daemon.spool_errors import RecordDamaged, UnknownTask
from daemon.task import Task
from daemon.web.auth import caller
from daemon.web.context import context
from daemon.web.errors import unknown_task

# An unknown name and another's task take longer or shorter to be found out; both are told after
# this time, which is far longer than either.
_HIDING_SECONDS = 0.025


def own_task(task_id: str) -> Task:
    """
    Return a task of the caller's.

    Raises:
        ApiError: there is none of this name, or it is another's.
        TaskBusy
    """
    began = time.monotonic()
    task = _read(task_id)
    if task is not None and caller().may_see(task):
        return task
    if not caller().is_admin:
        time.sleep(max(0.0, began + _HIDING_SECONDS - time.monotonic()))
    raise unknown_task(task_id)


def _read(task_id: str) -> Task | None:
    try:
        return context().spool.get(task_id)
    except UnknownTask:
        return None
    except RecordDamaged as error:  # whose it was nobody can tell any more
        queue_log().error("record damaged", task_id=task_id, reason=error.reason)
        return None
