"""What there is in the queue, and what people ask to be done to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, request

from daemon import health
from daemon.logs import queue_log, server_log
from daemon.retention import MOST_DAYS
from daemon.retention import cleanup as remove_ended
from daemon.spool import Page
from daemon.spool_errors import TaskBusy
from daemon.task import Status, Task
from daemon.task_id import is_task_id
from daemon.task_view import view
from daemon.web.answers import success
from daemon.web.auth import caller, require_admin
from daemon.web.context import context
from daemon.web.errors import invalid
from daemon.web.languages import language, text
from daemon.web.own_tasks import own_task
from daemon.web.queries import query_of
from daemon.web.sentences import translated
from pipeline.parameters import Parameters

blueprint = Blueprint("tasks", __name__)

DEFAULT_LIMIT, MOST_TASKS = 50, 500
DEFAULT_DAYS = 7
_MOST_FORM_BYTES = 64 << 10  # of a body that is held in memory as a whole
_WHOLE = re.compile(r"[0-9]{1,9}")
_SHOWN_NAME = 60  # characters of a field that is not known
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?")


@blueprint.get("/task/<task_id>")
def show(task_id: str) -> dict[str, Any]:
    """Answer how a task is."""
    return success(task=task_answer(own_task(task_id)))


@blueprint.get("/tasks")
def show_newest() -> dict[str, Any]:
    """Answer with the newest tasks, a page of them."""
    asked = query_of("user_id", "status", "limit", "before")
    user_id, status = _user_id(asked), _status(asked)
    limit, before = _limit(asked), _before(asked)
    if not caller().is_admin:
        if user_id not in (None, caller().user_id):
            return _listed(())  # as if that user had none
        user_id = caller().user_id
        if user_id is None:
            return _listed(())
    page = context().index.newest(user_id, status, limit, before)
    _tell_damaged(page)
    return _listed(page.tasks)


@blueprint.post("/cancel/<task_id>")
def cancel(task_id: str) -> dict[str, Any]:
    """Call a task off."""
    query_of()
    own_task(task_id)
    task = context().spool.cancel(task_id)
    return _changed(task, "cancelled")


@blueprint.post("/retry/<task_id>")
def retry(task_id: str) -> dict[str, Any]:
    """Put a failed or cancelled task back into the queue."""
    query_of()
    own_task(task_id)
    task = context().spool.retry(task_id)
    return _changed(task, "retried")


@blueprint.get("/stats")
def count() -> dict[str, Any]:
    """Answer how many tasks the caller has, altogether and by status."""
    query_of()
    index, user_id = context().index, caller().user_id
    if caller().is_admin:
        found = index.counts()
    else:
        found = {} if user_id is None else index.counts(user_id)
    counts = {status.value: found.get(status, 0) for status in Status}
    who = {"name": caller().name, "user_id": user_id, "is_admin": caller().is_admin}
    return success(queue={"total": sum(counts.values()), **counts}, caller=who)


@blueprint.post("/cleanup")
def cleanup() -> dict[str, Any]:
    """Remove what has ended long enough ago."""
    require_admin()
    days = _days()
    spool = context().spool
    cleaned = remove_ended(spool, days, spool.now(), health.known_mounts(context().state))
    told = {"deleted_tasks": cleaned.deleted_tasks, "freed_bytes": cleaned.freed_bytes}
    problems = list(cleaned.problems)
    server_log().info("cleanup", days=days, **told, problems=problems, key=caller().name)
    return success(**told, problems=[translated(problem, language()) for problem in problems])


def task_answer(task: Task) -> dict[str, Any]:
    """Return a task as answers show it."""
    return _answers((task,))[0]


def _listed(tasks: Sequence[Task]) -> dict[str, Any]:
    return success(count=len(tasks), tasks=_answers(tasks))


def _answers(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    now, words, places = context().spool.now(), language(), _places(tasks)
    return [view(task, words, now, places.get(task.task_id)) for task in tasks]


def _places(tasks: Sequence[Task]) -> Mapping[str, int]:
    """Return the places in the queue of those that wait."""
    waiting = [task.task_id for task in tasks if task.status is Status.PENDING]
    if not waiting:
        return {}
    queue = context().index.queue()
    return {task_id: queue.position(task_id) for task_id in waiting}


def _changed(task: Task, act: str) -> dict[str, Any]:
    queue_log().info(act, task_id=task.task_id, key=caller().name)
    try:
        context().statuses.refresh(task.task_id)
    except (OSError, TaskBusy) as error:  # the service writes it when it can
        queue_log().warning("status file not written", task_id=task.task_id, reason=str(error))
    return success(message=text(f"tasks.{act}"), task=task_answer(task))


def _tell_damaged(page: Page) -> None:
    for error in page.damaged:
        queue_log().error("record damaged", task_id=error.task_id, reason=error.reason)


# --- What the query says; empty is not the same as not given ---


def _user_id(asked: Mapping[str, str]) -> str | None:
    value = asked.get("user_id")
    return None if value is None else Parameters.parse({"user_id": value}).user_id


def _status(asked: Mapping[str, str]) -> Status | None:
    value = asked.get("status")
    if value is None:
        return None
    if value not in list(Status):
        raise invalid("status", value, text("tasks.status"))
    return Status(value)


def _limit(asked: Mapping[str, str]) -> int:
    value = asked.get("limit", str(DEFAULT_LIMIT))
    if not _WHOLE.fullmatch(value) or not 1 <= int(value) <= MOST_TASKS:
        raise invalid("limit", value, text("tasks.limit", most=MOST_TASKS))
    return int(value)


def _before(asked: Mapping[str, str]) -> str | None:
    value = asked.get("before")
    if value is not None and not is_task_id(value):
        raise invalid("before", value, text("tasks.before"))
    return value


def _days() -> float:
    request.max_content_length = _MOST_FORM_BYTES
    # What is not understood would leave the default, and so might remove more than was asked for.
    given = [*request.args.items(multi=True), *request.form.items(multi=True)]
    alone = text("tasks.days_alone", most=MOST_DAYS)
    for name, other in given:
        if name != "days":
            raise invalid(name[:_SHOWN_NAME], other, alone)
    has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
    if len(given) > 1 or (has_body and (request.files or not request.form)):
        values = [value for _, value in given]
        raise invalid("body" if has_body else "days", values or request.mimetype, alone)
    value = given[0][1] if given else str(DEFAULT_DAYS)
    if not _NUMBER.fullmatch(value) or not 0 <= float(value) <= MOST_DAYS:
        raise invalid("days", value, text("tasks.days", most=MOST_DAYS))
    return float(value)
