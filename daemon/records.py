"""
A task as the bytes of its record, and back. `docs/STATE.md` has the fields.

A record is read strictly, since what comes out is trusted: a field of a wrong type makes it
unreadable. Only missing fields and unknown ones are borne, so that two versions can work on
one state.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, NoReturn, TypeVar

from daemon.small_file import NotReadable, read_small_file
from daemon.task import Progress, Status, Task
from daemon.webhook_state import WebhookState, WebhookStatus
from pipeline.errors import InvalidParameters
from pipeline.parameters import Parameters

MAX_BYTES = 1 << 20
# Beyond these a time in another zone, or some days later, is none that Python knows.
_EARLIEST_YEAR, _LATEST_YEAR = 1900, 9800
_T = TypeVar("_T")


class Unreadable(Exception):
    """This is no record; the message says why."""


def encode(task: Task) -> bytes:
    """
    Return the record of a task: JSON in UTF-8, one field a line.

    Raises:
        ValueError: it would be too long to be read again.
    """
    values: dict[str, Any] = {name: getattr(task, name) for name in _READERS}
    values |= task.parameters.model_dump(mode="json")
    values |= {name: v for name, v in task.unknown.items() if name not in values}
    data = _json(values)
    if len(data) > MAX_BYTES:
        raise ValueError(f"the record of {task.task_id} would have {len(data)} bytes")
    return data


def decode(data: bytes, task_id: str, status: Status) -> Task:
    """
    Return the task that a record in the folder `status` tells of.

    Raises:
        Unreadable: not a record, or not that of `task_id`.
    """
    values = _mapping(_parsed(data))
    if values.get("task_id") != task_id:
        raise Unreadable(f"it names {values.get('task_id')!r}")
    known = {name: _field(name, values[name]) for name in _READERS if name in values}
    missing = _REQUIRED - known.keys()
    if missing:
        raise Unreadable(f"it has no {min(missing)}")
    return Task(**known, status=status, parameters=_parameters(values), unknown=_unknown(values))


def read_record(path: Path, task_id: str, status: Status) -> Task:
    """
    Return the task of the record at `path`.

    Raises:
        FileNotFoundError: it is not there.
        Unreadable: it is not a record.
    """
    return decode(_content(path), task_id, status)


def reason_unreadable(path: Path) -> str | None:
    """Return why a file is no record of the task that its name tells; None where it is one."""
    try:
        read_record(path, path.name.partition(".")[0], Status.FAILED)
    except Unreadable as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None


def encode_progress(progress: Progress) -> bytes:
    """Return the content of a progress file."""
    return _json(dataclasses.asdict(progress))


def read_progress(path: Path) -> Progress | None:
    """Return how far an attempt is; None where nothing, or nothing sensible, is said."""
    try:
        values = _mapping(_parsed(_content(path)))
        return Progress(
            token=_text(values.get("token")),
            percent=_percent(values.get("percent")),
            processed_frames=_count(values.get("processed_frames")),
            total_frames=_optional(_count)(values.get("total_frames")),
        )
    except (FileNotFoundError, Unreadable, ValueError):
        return None  # it is not durable: a crash may have emptied it


def _json(values: Mapping[str, Any]) -> bytes:
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1, default=_written)
    # Undecodable bytes of a file name are lone surrogates in Python, which UTF-8 cannot hold;
    # a backslash, u and four digits is what JSON writes for them.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _written(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, WebhookState):
        return dataclasses.asdict(value)
    raise TypeError(f"{value!r} has no place in a record")


def _content(path: Path) -> bytes:
    try:
        return read_small_file(path, MAX_BYTES)
    except NotReadable as error:
        raise Unreadable(f"it cannot be read: {error}") from error


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Unreadable("it is not JSON") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # 1e999, which could not be written again
        raise ValueError(f"{text} is too large")
    return value


def _field(name: str, value: object) -> Any:
    try:
        return _READERS[name](value)
    except ValueError as error:
        raise Unreadable(f"its {name} is {str(value)[:60]!r}") from error


def _parameters(values: Mapping[str, Any]) -> Parameters:
    given = {name: values[name] for name in Parameters.model_fields if name in values}
    try:
        return Parameters.parse(given)
    except InvalidParameters as error:
        raise Unreadable(error.message) from error


def _unknown(values: Mapping[str, Any]) -> dict[str, Any]:
    known = _READERS.keys() | Parameters.model_fields.keys()
    return {name: value for name, value in values.items() if name not in known}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value


def _path(value: object) -> str:
    text = _text(value)
    if "\0" in text:
        raise ValueError("no path")
    return text


def _path_below(value: object) -> str:
    text = _path(value)
    if PurePath(text).is_absolute() or ".." in PurePath(text).parts:
        raise ValueError("leads elsewhere")
    return text


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a count")
    return value


def _percent(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 100:
        raise ValueError("not from 0 to 100")
    return float(value)


def _time(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.utcoffset() is None:
        raise ValueError("no offset")
    if not _EARLIEST_YEAR <= moment.year <= _LATEST_YEAR:
        raise ValueError("not to be reckoned with")
    return moment


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable("it is not an object")
    return value


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _webhook(value: object) -> WebhookState:
    values = _object(value)
    known = {name: read(values[name]) for name, read in _WEBHOOK.items() if name in values}
    if "event_id" not in known:
        raise ValueError("about no end")
    return WebhookState(**known)


def _optional(read: Callable[[object], _T]) -> Callable[[object], _T | None]:
    return lambda value: None if value is None else read(value)


_WEBHOOK: Mapping[str, Callable[[Any], Any]] = {
    "event_id": _text,
    "status": WebhookStatus,
    "attempts": _count,
    "last_error": _optional(_text),
    "next_attempt_at": _optional(_time),
    "delivered_at": _optional(_time),
}
# In the order in which a person reads them.
_READERS: Mapping[str, Callable[[object], Any]] = {
    "task_id": _text,
    "input_video": _text,
    "created_at": _time,
    "started_at": _optional(_time),
    "completed_at": _optional(_time),
    "attempts": _count,
    "interruptions": _count,
    "retries": _count,
    "token": _optional(_text),
    "error_code": _optional(_text),
    "error_message": _optional(_text),
    "output_video": _optional(_path_below),
    "progress": _percent,
    "processed_frames": _optional(_count),
    "total_frames": _optional(_count),
    "original": _path,
    "sidecar": _optional(_path),
    "inbox": _optional(_path),
    "subfolder": _path_below,
    "outbox": _path,
    "report": _optional(_object),
    "webhook": _optional(_webhook),
}
_REQUIRED = frozenset({"task_id", "created_at", "input_video", "original", "outbox"})
