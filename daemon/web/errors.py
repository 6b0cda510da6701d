"""
Whatever goes wrong in a request as JSON, in the caller's language and with a stable code.

Handlers raise `ApiError`, or let through what the spool and the pipeline raise. No answer tells
of files of ours or where in the code something happened; the log does.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from daemon.disk import NO_ROOM
from daemon.logs import queue_log, server_log
from daemon.spool_errors import (
    QueueFull,
    RecordDamaged,
    SpoolError,
    TaskBusy,
    TaskExists,
    UnknownTask,
    WrongStatus,
)
from daemon.texts import has_text
from daemon.web.languages import language, text
from daemon.web.sentences import translated
from daemon.webhook_url import UrlRefused
from pipeline.errors import InvalidParameters
from pipeline.parameters import Parameters, allowed_values

NOTHING: Mapping[str, str] = MappingProxyType({})
# When a caller should try again, in seconds: what passes at once, and what takes a task's end.
_SOON, _LATER = {"Retry-After": "2"}, {"Retry-After": "30"}
_KEPT_HEADERS = ("Allow", "Content-Range", "Retry-After", "WWW-Authenticate")


class ApiError(Exception):
    """
    A request that is refused: `key` names the text, `facts` are what stands in it.

    A fact `reason` is a sentence in English, as whoever found something wrong has said it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        key: str,
        /,
        *,
        field: str | None = None,
        headers: Mapping[str, str] = NOTHING,
        **facts: object,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.key = key
        self.field = field
        self.headers = headers
        self.facts = facts


def install(app: Flask) -> None:
    """Answer every error of a request here."""
    app.register_error_handler(ApiError, _refused)
    app.register_error_handler(SpoolError, _spool_refused)
    app.register_error_handler(InvalidParameters, _parameter_refused)
    app.register_error_handler(HTTPException, _http_refused)
    app.register_error_handler(OSError, _storage_failed)
    app.register_error_handler(Exception, _not_foreseen)


def error_answer(
    status: int,
    code: str,
    detail: str,
    field: str | None = None,
    headers: Mapping[str, str] = NOTHING,
) -> Response:
    """Return the one shape that all errors have."""
    named = {} if field is None else {"field": field}
    response = jsonify({"status": "error", "detail": detail, "code": code, **named})
    response.status_code = status
    response.headers.update(headers)
    return response


def invalid(field: str, value: object, allowed: str) -> ApiError:
    """Return the refusal of a value; `allowed` says what may be, in the caller's language."""
    key = "errors.invalid_parameter"
    return refused(field, key, value=shown(repr(value)), allowed=allowed)


def refused(field: str, key: str, **facts: Any) -> ApiError:
    """Return the refusal of a parameter; `key` names the text that says why."""
    return ApiError(422, InvalidParameters.code, key, field=shown(field), **facts)


def unavailable(code: str, key: str) -> ApiError:
    """Return the refusal of what may be had soon; `key` names the text that says why."""
    return ApiError(503, code, key, headers=_SOON)


def unknown_task(task_id: str) -> ApiError:
    """Return the refusal that says nothing but that the caller has no such task."""
    return ApiError(404, UnknownTask.code, "spool.unknown_task", task_id=shown(task_id))


def shown(value: str) -> str:
    """Return what a caller has sent, short enough to be said back."""
    return value if len(value) <= 100 else value[:97] + "..."


def _refused(error: ApiError) -> Response:
    facts = error.facts if error.field is None else {"field": error.field, **error.facts}
    if "reason" in facts:
        facts = {**facts, "reason": translated(str(facts["reason"]), language())}
    return error_answer(
        error.status, error.code, text(error.key, **facts), error.field, error.headers
    )


def _spool_refused(error: SpoolError) -> Response:
    if isinstance(error, RecordDamaged):
        # Whose task it was nobody can tell any more.
        queue_log().error("record damaged", task_id=error.task_id, reason=error.reason)
        return _refused(unknown_task(error.task_id))
    if isinstance(error, UnknownTask):
        return _refused(unknown_task(error.task_id))
    if isinstance(error, WrongStatus):
        status = text(f"status.{error.status.value}")
        return _refused(_of_spool(409, error, task_id=error.task_id, status=status))
    if isinstance(error, TaskExists):
        return _refused(_of_spool(409, error, task_id=error.task_id))
    if isinstance(error, QueueFull):
        return _refused(_of_spool(429, error, _LATER, max_pending=error.max_pending))
    if isinstance(error, TaskBusy):
        return _refused(_of_spool(503, error, _SOON, task_id=error.task_id))
    return _not_foreseen(error)


def _of_spool(
    status: int, error: SpoolError, headers: Mapping[str, str] = NOTHING, /, **facts: Any
) -> ApiError:
    return ApiError(status, error.code, f"spool.{error.code}", headers=headers, **facts)


def _parameter_refused(error: InvalidParameters) -> Response:
    return error_answer(422, error.code, _parameter_text(error), error.field)


def _parameter_text(error: InvalidParameters) -> str:
    """Say in the caller's language what the pipeline says in English."""
    field = error.field or ""
    if field not in Parameters.model_fields:
        known = ", ".join(Parameters.model_fields)
        return text("errors.unknown_parameter", field=shown(repr(field)), known=known)
    if isinstance(error, UrlRefused):
        reason = text(f"webhook_url.{error.refusal.value}")
        return text("errors.rejected_url", field=field, value=shown(repr(error.url)), reason=reason)
    said, allowed = f"{field} is ", f"; allowed is {allowed_values(field)}."
    if error.message.startswith(said) and error.message.endswith(allowed):
        value = error.message[len(said) : -len(allowed)]
        allowed = text(f"parameters.{field}")
        return text("errors.invalid_parameter", field=field, value=value, allowed=allowed)
    return text("errors.rejected_parameter", field=field, reason=error.message)


def _http_refused(error: HTTPException) -> Response:
    status = error.code or 500
    key = f"http.{status}"
    facts: dict[str, object] = {"status": status, "path": shown(request.path)}
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        facts |= {"method": request.method, "allowed": allowed}
    detail = text(key if has_text(key) else "http.other", **facts)
    given = dict(error.get_headers(request.environ))
    headers = {name: given[name] for name in _KEPT_HEADERS if name in given}
    return error_answer(status, _code(error), detail, headers=headers)


def _storage_failed(error: OSError) -> Response:
    if error.errno in NO_ROOM:
        return error_answer(507, "insufficient_storage", text("errors.no_room"))
    server_log().error("a request met a trouble with files", route=request.path, exc_info=error)
    return error_answer(503, "storage_unavailable", text("errors.storage"), headers=_SOON)


def _not_foreseen(error: Exception) -> Response:
    mark = secrets.token_hex(4)
    server_log().error(
        "a request failed", mark=mark, method=request.method, route=request.path, exc_info=error
    )
    return error_answer(500, "internal_error", text("errors.internal", mark=mark))


def _code(error: HTTPException) -> str:
    return re.sub("[^a-z0-9]+", "_", error.name.lower()).strip("_")
