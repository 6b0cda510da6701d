"""
The shapes of answers and requests, for the API's description.

Handlers do not make their answers of them: a test holds real answers against these. What a task
may ask for is taken from `pipeline.parameters`, which alone checks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen
from pydantic import BaseModel, ConfigDict, Field

from daemon.health import InboxHealth, ServiceStatus, Workers
from daemon.task import Status
from daemon.webhook_state import WebhookStatus
from pipeline.parameters import AudioLevel, Mode, Parameters

EXAMPLE_ID = "019ab2c4-7d1e-7a33-9c55-3f1b6f0e8d21"
_Count = Annotated[int, Field(ge=0)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Webhook(_Shape):
    """How far telling of the task's end has come."""

    status: WebhookStatus
    attempts: _Count
    last_error: str | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None


class Task(_Shape):
    """One video to protect; the same object stands in its status file in the outbox."""

    task_id: str
    status: Status
    status_text: str
    """The status for people, in the language of the answer."""
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    """When it ended, whichever way."""
    queue_position: Annotated[int, Field(ge=1)] | None
    """1 for the oldest that waits; null unless pending."""
    progress: Annotated[float, Field(ge=0, le=100)]
    eta_s: float | None
    """Seconds that a running task may still take; null where nobody can tell."""
    processed_frames: _Count | None
    total_frames: _Count | None
    input_video: str
    """The file's name as it was dropped or uploaded."""
    output_video: str | None
    """The result, below the outbox; null unless completed."""
    error_code: str | None
    error_message: str | None
    """Why the last attempt failed, and what to do."""
    epsilon: float
    video_strength: float
    audio_level: AudioLevel
    every_n_frames: int
    mode: Mode
    user_id: str | None
    notes: str | None
    attempts: _Count
    webhook: Webhook | None
    report: dict[str, Any] | None
    """What was done and measured; null unless completed."""


class TaskAnswer(_Shape):
    """A task as it is now."""

    status: Literal["success"]
    task: Task


class UploadAnswer(_Shape):
    """The task that an upload has become."""

    status: Literal["success"]
    task_id: str
    message: str
    task: Task


class ChangedAnswer(_Shape):
    """A task after what was asked has been done to it."""

    status: Literal["success"]
    message: str
    task: Task


class TasksAnswer(_Shape):
    """Tasks, newest first."""

    status: Literal["success"]
    count: _Count
    tasks: list[Task]


class Counts(_Shape):
    """How many tasks there are."""

    total: _Count
    pending: _Count
    processing: _Count
    completed: _Count
    failed: _Count
    cancelled: _Count


class Caller(_Shape):
    """Who asks: by which key, and for which user; `null` where none is needed."""

    name: str | None
    user_id: str | None
    is_admin: bool


class StatsAnswer(_Shape):
    """How many tasks the caller may see, and who that is."""

    status: Literal["success"]
    queue: Counts
    caller: Caller


class LinkAnswer(_Shape):
    """Where a browser can have a result without a key's header."""

    status: Literal["success"]
    url: str
    """Below this server."""
    expires_at: datetime | None
    """`null` where no key is needed."""


class CleanupAnswer(_Shape):
    """What was removed."""

    status: Literal["success"]
    deleted_tasks: _Count
    freed_bytes: _Count
    problems: list[str]
    """What could not be removed, and why."""


class HealthAnswer(_Shape):
    """How the service is. What names folders is told to an admin only."""

    status: Literal["healthy", "unhealthy"]
    service: ServiceStatus | Literal["unknown"]
    problems: list[str]
    """What is wrong and what to do; empty when healthy."""
    warnings: list[str] = []
    """What somebody should look at, though everything works."""
    workers: Workers | None = None
    inboxes: dict[str, InboxHealth] = {}
    free_gb: dict[str, float | None] = {}


class ErrorAnswer(_Shape):
    """Why a request was refused."""

    status: Literal["error"]
    detail: str
    """For people, in the language of the answer."""
    code: str
    """For programs; it never changes its meaning."""
    field: str | None = None
    """Which parameter was wrong, where it was one."""


ANSWERS: tuple[type[BaseModel], ...] = (
    TaskAnswer,
    UploadAnswer,
    ChangedAnswer,
    TasksAnswer,
    StatsAnswer,
    CleanupAnswer,
    HealthAnswer,
    LinkAnswer,
    ErrorAnswer,
)


def parameter_schemas() -> Mapping[str, dict[str, Any]]:
    """Return the JSON schema of each parameter, as text can give it."""
    schema = Parameters.model_json_schema()
    return {name: _schema(name, schema) for name in Parameters.model_fields}


def upload_schemas(defaults: Parameters) -> Mapping[str, dict[str, Any]]:
    """Return the JSON schema of each parameter of an upload; what may be missing may be empty."""
    found = {name: _or_empty(schema) for name, schema in parameter_schemas().items()}
    shown = shown_defaults(defaults)
    for name, schema in found.items():
        # With neither /docs makes up a value, such as a webhook's address, and sends it.
        schema.update({"default": shown[name]} if name in shown else {"examples": [""]})
    return found


def shown_defaults(defaults: Parameters) -> Mapping[str, Any]:
    """Return those that anybody may know who sees the page: whom a webhook calls is not theirs."""
    return defaults.model_dump(mode="json", include=set(_SHOWN))


_SHOWN = ("epsilon", "video_strength", "audio_level", "every_n_frames", "mode")


def _schema(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(schema["properties"][name])
    kinds = found.pop("anyOf", [found])
    plain = next(kind for kind in kinds if kind.get("type") != "null")
    if "$ref" in plain:
        plain = schema["$defs"][plain["$ref"].rpartition("/")[2]]
    kept = {key: plain[key] for key in ("type", "enum", "maxLength") if key in plain}
    return {**kept, **_bounds(name), **_MORE.get(name, {}), "description": found["description"]}


def _or_empty(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A form has no way to leave out a field that it shows."""
    return {**schema, "pattern": f"^$|{schema['pattern']}"} if "pattern" in schema else {**schema}


def _bounds(name: str) -> dict[str, float]:
    """Return what pydantic leaves out where something of ours is called before its own check."""
    words = {Ge: ("minimum", "ge"), Le: ("maximum", "le"), MaxLen: ("maxLength", "max_length")}
    metadata = Parameters.model_fields[name].metadata
    return {words[type(m)][0]: getattr(m, words[type(m)][1]) for m in metadata if type(m) in words}


_URL = (
    r"^https?://[A-Za-z0-9]{1,63}([.-][A-Za-z0-9]{1,63})*"
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}))?([/?#][!-\[\]-~]*)?$"
)
# What is checked by code and so in no schema of pydantic's; a test compares.
_MORE: Mapping[str, dict[str, Any]] = {
    "audio_level": {"enum": [*(level.value for level in AudioLevel), "weak", "medium", "strong"]},
    "user_id": {"pattern": "^[A-Za-z0-9_@-][A-Za-z0-9_.@-]{0,63}$"},
    # Narrower than what is taken: names of hosts in other letters and IPv6 addresses are, too.
    "webhook_url": {"pattern": _URL},
}
