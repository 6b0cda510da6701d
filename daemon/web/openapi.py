"""
The API's description, as OpenAPI has it: every route, field and error, with examples.

Here stands what the code of the routes cannot tell; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flask import Blueprint
from openapi_pydantic import OpenAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from daemon.config import Config
from daemon.retention import MOST_DAYS
from daemon.task import Status
from daemon.task_id import PATTERN as TASK_ID
from daemon.web import examples, schemas
from daemon.web.auth import HEADER
from daemon.web.context import context
from daemon.web.tasks import DEFAULT_DAYS, DEFAULT_LIMIT, MOST_TASKS

blueprint = Blueprint("openapi", __name__)

_VERSION = "1"
_JSON = "application/json"
_KEY = "key"
_ABOUT = """\
Protects videos against being learnt from and recognised by neural networks.

Upload a video (or drop it into the service's inbox), follow its task, download the result.

* Errors have one shape: `{"status": "error", "detail", "code", "field"}`; `code` is for programs.
* `detail`, `message` and `status_text` are Russian, English with `Accept-Language: en`.
* Times are ISO 8601 with an offset. Fields that do not apply are `null`.
* With API keys configured every route but `/health`, `/` and `/docs` wants one in `X-API-Key`. A
  user's key sees that user's tasks only; the others answer 404.
"""
# A result is MP4 or Matroska, and after `strip` whatever the video was.
_VIDEOS = ("video/mp4", "video/x-matroska", "video/webm", "video/quicktime", "video/x-msvideo")
_Json = dict[str, Any]


@blueprint.get("/openapi.json")
def show_description() -> _Json:
    """Answer with the description of this API."""
    return description(context().config)


def description(config: Config) -> _Json:
    """Return the description, with the defaults of one configuration."""
    document = {
        "openapi": "3.1.1",
        "info": {"title": "Media Cleaner", "version": _VERSION, "description": _ABOUT},
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": {**_of_videos(config), **_of_tasks(), **_of_service(), **_of_itself()},
        "components": {
            "schemas": _shapes(),
            "securitySchemes": {
                _KEY: {
                    "type": "apiKey",
                    "in": "header",
                    "name": HEADER,
                    "description": "Made by `media-cleaner keys add`; needed once there is one.",
                }
            },
        },
        # Without keys nobody needs one; which it is nothing here can tell.
        "security": [{_KEY: []}, {}],
    }
    checked = OpenAPI.model_validate(document)
    return checked.model_dump(mode="json", by_alias=True, exclude_unset=True)


_TAGS = {
    "videos": "In and out.",
    "tasks": "What becomes of them.",
    "service": "How everything is.",
    "description": "This description.",
}


# --- Routes ---


def _of_videos(config: Config) -> _Json:
    found = schemas.upload_schemas(config.parameters)
    key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]{1,255}$"}
    upload = _operation(
        "upload",
        "videos",
        "Upload a video and have it protected",
        _answer(schemas.UploadAnswer, examples.UPLOADED),
        *examples.CHANGING,
        *examples.UPLOADING,
        parameters=[
            *(_query(n, schema) for n, schema in found.items()),
            _header(
                "Idempotency-Key",
                "The same key with the same request gives the same task, however often it is"
                " sent; with another request 409. Remembered for a week.",
                key,
            ),
            _header(
                "Upload-Length",
                "How many bytes the video has, where `Content-Length` does not tell: that it is"
                " too large (413) or finds no room (507) can so be asked before it is sent.",
                {"type": "integer", "minimum": 0, "maximum": config.max_video_bytes},
            ),
        ],
    )
    upload["description"] = (
        "The parameters are fields of the form; what it leaves out may stand in the query."
        " Answered when the task is safe on the disk."
    )
    content = {"schema": _form(config, found), "encoding": {"file": {"headers": _NAMED}}}
    upload["requestBody"] = {"required": True, "content": {"multipart/form-data": content}}
    return {
        "/upload": {"post": upload},
        "/download/{task_id}": _of_downloads(),
        "/link/{task_id}": {"post": _of_links()},
        "/still/{task_id}": {"get": _of_stills()},
    }


_NAMED = {
    "Content-Disposition": {
        "description": "With the file's name, whose ending tells what it is.",
        "schema": {"type": "string"},
        "example": 'form-data; name="file"; filename="video.mp4"',
    }
}


def _form(config: Config, parameters: Mapping[str, _Json]) -> _Json:
    about = f"The video: {', '.join(config.extensions)}; at most {config.max_video_size_gb:g} GB."
    file = {"type": "string", "format": "binary", "description": about}
    return {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {"file": file, **parameters},
    }


def _of_downloads() -> _Json:
    text = {"schema": {"type": "string"}}
    headers = {
        "Content-Disposition": {"description": "The video's name with `_protected`.", **text},
        "ETag": {"description": "For `If-Range`, `If-Match` and `If-None-Match`.", **text},
        "Accept-Ranges": {"description": "`bytes`: a broken download can go on.", **text},
    }
    content = {name: {"schema": {"type": "string", "format": "binary"}} for name in _VIDEOS}
    answers: dict[str, _Json] = {
        "200": {"description": "The protected video.", "headers": headers, "content": content},
        "206": {"description": "The range asked for.", "headers": headers, "content": content},
        "304": {"description": "It is as it was."},
    }
    parameters = [
        _TASK_ID,
        _header("Range", "The bytes that are wanted."),
        _header("If-Range", "Only if it is still this one; else all of it."),
        _header("If-Match", "Only if it is still this one; else 412."),
        _header("If-None-Match", "Only if it is no longer this one."),
    ]
    get = _operation(
        "download",
        "videos",
        "Download the protected video",
        answers,
        *examples.FINDING_RESULT,
        "precondition_failed",
        "requested_range_not_satisfiable",
        parameters=parameters,
    )
    head = get | {
        "operationId": "measureDownload",
        "summary": "Look how large the protected video is",
        "responses": {
            status: {name: part for name, part in answer.items() if name != "content"}
            for status, answer in get["responses"].items()
        },
    }
    return {"get": get, "head": head}


def _of_links() -> _Json:
    link = _operation(
        "linkResult",
        "videos",
        "Get a link to the protected video that needs no header",
        _answer(schemas.LinkAnswer, examples.LINK),
        *examples.FINDING_RESULT,
        "foreign_origin",
        parameters=[_TASK_ID],
    )
    link["description"] = (
        "For browsers, which send no key with a download. It opens this one result, for six hours"
        " or as long as the key is there."
    )
    return link


def _of_stills() -> _Json:
    picture = {"schema": {"type": "string", "format": "binary"}}
    number = {"schema": {"type": "number"}}
    headers = {
        "Still-Seconds": {"description": "When the frame begins, from the first.", **number},
        "Video-Seconds": {"description": "How long the video is, where it says so.", **number},
    }
    about = "One frame, as a player shows it."
    shown = {"description": about, "headers": headers, "content": {"image/png": picture}}
    which = {
        "type": "string",
        "enum": ["original", "protected"],
        "default": "protected",
        "description": "Which of the two videos.",
    }
    at = {
        "type": "string",
        "pattern": r"^[0-9]{1,9}(\.[0-9]{0,20})?$",
        "default": "0",
        "description": "Seconds from the first frame; after the last one it is that.",
    }
    return _operation(
        "getStill",
        "videos",
        "Look at one frame of the original or the protected video",
        {"200": shown},
        *examples.FINDING_RESULT,
        *examples.SHOWING,
        parameters=[_TASK_ID, _query("of", which), _query("at", at)],
    )


def _of_tasks() -> _Json:
    show = _operation(
        "getTask",
        "tasks",
        "How a task is",
        _answer(schemas.TaskAnswer, examples.TASK),
        "unknown_task",
        "task_busy",
        parameters=[_TASK_ID],
    )
    show_newest = _operation(
        "listTasks",
        "tasks",
        "The newest tasks",
        _answer(schemas.TasksAnswer, examples.TASKS),
        "invalid_parameter",
        parameters=_of_lists(),
    )
    cancel = _changing(
        "cancelTask",
        "Call a task off; a running one stops within 2 s and leaves no file",
        examples.CANCELLED,
    )
    retry = _changing("retryTask", "Try a failed or cancelled task again", examples.RETRIED)
    return {
        "/task/{task_id}": {"get": show},
        "/tasks": {"get": show_newest},
        "/cancel/{task_id}": {"post": cancel},
        "/retry/{task_id}": {"post": retry},
    }


def _changing(name: str, summary: str, example: Mapping[str, Any]) -> _Json:
    return _operation(
        name,
        "tasks",
        summary,
        _answer(schemas.ChangedAnswer, example),
        *examples.CHANGING,
        "unknown_task",
        "wrong_status",
        "invalid_parameter",
        parameters=[_TASK_ID],
    )


def _of_lists() -> list[_Json]:
    user = schemas.parameter_schemas()["user_id"]
    status = {"type": "string", "enum": [status.value for status in Status]}
    limit = {"type": "integer", "minimum": 1, "maximum": MOST_TASKS, "default": DEFAULT_LIMIT}
    before = {
        "type": "string",
        "pattern": f"^{TASK_ID}$",
        "description": "A task's whole id: the next page starts below it.",
    }
    return [
        _query("user_id", user | {"description": "Only this user's."}),
        _query("status", status | {"description": "Only these."}),
        _query("limit", limit | {"description": "At most so many."}),
        _query("before", before),
    ]


def _of_service() -> _Json:
    days = {"type": "number", "minimum": 0, "maximum": MOST_DAYS, "default": DEFAULT_DAYS}
    cleanup = _operation(
        "cleanup",
        "service",
        "Remove tasks that ended at least so many days ago, with their files (admin)",
        _answer(schemas.CleanupAnswer, examples.CLEANED),
        *examples.CHANGING,
        "admin_only",
        "request_timeout",
        "request_entity_too_large",
        "invalid_parameter",
        parameters=[_query("days", days | {"description": "0 is all that have ended."})],
    )
    stats = _operation(
        "getStats",
        "service",
        "How many tasks there are, by status",
        _answer(schemas.StatsAnswer, examples.STATS),
        "invalid_parameter",
    )
    answers = {
        "200": _content(schemas.HealthAnswer, "All is well.", examples.HEALTHY),
        "503": _content(schemas.HealthAnswer, "Something is not well.", examples.UNHEALTHY),
    }
    health = _operation("getHealth", "service", "Is all well?", {}, is_open=True)
    health["responses"] |= answers
    metrics = _operation(
        "getMetrics",
        "service",
        "Gauges for Prometheus (admin)",
        {"200": _text("text/plain", "Prometheus' text format.")},
        "admin_only",
    )
    return {
        "/stats": {"get": stats},
        "/health": {"get": health},
        "/cleanup": {"post": cleanup},
        "/metrics": {"get": metrics},
    }


def _of_itself() -> _Json:
    document = {
        "200": {"description": "OpenAPI 3.1.", "content": {_JSON: {"schema": {"type": "object"}}}}
    }
    page = {"200": _text("text/html", "A page.")}
    return {
        "/": {"get": _operation("getHome", "description", "The page", page, is_open=True)},
        "/openapi.json": {
            "get": _operation("getDescription", "description", "This document", document)
        },
        "/docs": {
            "get": _operation(
                "getDocs", "description", "This document as a page", page, is_open=True
            )
        },
    }


# --- Parts of routes ---


def _operation(
    name: str,
    tag: str,
    summary: str,
    answers: Mapping[str, _Json],
    *codes: str,
    parameters: Iterable[_Json] = (),
    is_open: bool = False,
) -> _Json:
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "parameters": list(parameters),
        "responses": {**answers, **_errors(*codes)},
        **({"security": [{}]} if is_open else {}),
    }


_TASK_ID = {
    "name": "task_id",
    "in": "path",
    "required": True,
    "description": "As the upload, the list and the status file tell it.",
    "schema": {"type": "string"},
    "example": schemas.EXAMPLE_ID,
}


def _query(name: str, schema: Mapping[str, Any]) -> _Json:
    # Without an example, which /docs would send: a filter that nobody has asked for.
    rest = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": "query", "description": schema["description"], "schema": rest}


def _header(name: str, about: str, schema: Mapping[str, Any] | None = None) -> _Json:
    text = {"type": "string"}
    return {"name": name, "in": "header", "description": about, "schema": schema or text}


def _answer(shape: type[BaseModel], example: Mapping[str, Any]) -> _Json:
    return {"200": _content(shape, shape.__doc__ or "", example)}


def _content(shape: type[BaseModel], about: str, example: Mapping[str, Any]) -> _Json:
    reference = {"$ref": f"#/components/schemas/{shape.__name__}"}
    return {"description": about, "content": {_JSON: {"schema": reference, "example": example}}}


def _text(media_type: str, about: str) -> _Json:
    return {"description": about, "content": {media_type: {"schema": {"type": "string"}}}}


def _errors(*codes: str) -> _Json:
    """Return the errors of a route, by status: those named, and those that befall any route."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys((*codes, *examples.ANYWHERE)):
        by_status.setdefault(examples.ERRORS[code].status, []).append(code)
    return {str(status): _error(by_status[status]) for status in sorted(by_status)}


def _error(codes: Iterable[str]) -> _Json:
    found = {code: examples.ERRORS[code] for code in codes}
    about = "; ".join(f"`{code}`" for code in found)
    answer = _content(schemas.ErrorAnswer, about, {})
    del answer["content"][_JSON]["example"]
    shown = {code: {"value": error.answer} for code, error in found.items()}
    answer["content"][_JSON]["examples"] = shown
    if any(error.says_when for error in found.values()):
        after = {"description": "Seconds to wait.", "schema": {"type": "string"}}
        answer["headers"] = {"Retry-After": after}
    return answer


def _shapes() -> _Json:
    _, found = models_json_schema(
        [(shape, "serialization") for shape in schemas.ANSWERS],
        ref_template="#/components/schemas/{model}",
    )
    shapes: _Json = found["$defs"]
    return shapes
