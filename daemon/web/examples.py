"""Examples of answers and of all errors, for the API's description; tests hold them to be true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.texts import say
from daemon.web.schemas import EXAMPLE_ID

_PENDING: Mapping[str, Any] = {
    "task_id": EXAMPLE_ID,
    "status": "pending",
    "status_text": "⏳ Ожидает обработки",
    "created_at": "2026-11-24T12:00:00.000000+00:00",
    "started_at": None,
    "completed_at": None,
    "queue_position": 3,
    "progress": 0.0,
    "eta_s": None,
    "processed_frames": None,
    "total_frames": None,
    "input_video": "video.mp4",
    "output_video": None,
    "error_code": None,
    "error_message": None,
    "epsilon": 0.15,
    "video_strength": 1.0,
    "audio_level": "средний",
    "every_n_frames": 10,
    "mode": "protect",
    "user_id": "user_001",
    "notes": None,
    "attempts": 0,
    "webhook": None,
    "report": None,
}
_PROCESSING = {
    **_PENDING,
    "status": "processing",
    "status_text": "⚙️ Обрабатывается",
    "started_at": "2026-11-24T12:01:00.000000+00:00",
    "queue_position": None,
    "progress": 45.5,
    "eta_s": 71.9,
    "processed_frames": 114,
    "total_frames": 250,
    "attempts": 1,
}
_CANCELLED = {
    **_PENDING,
    "status": "cancelled",
    "status_text": "🚫 Отменено",
    "completed_at": "2026-11-24T12:02:00.000000+00:00",
    "queue_position": None,
}

UPLOADED = {
    "status": "success",
    "task_id": EXAMPLE_ID,
    "message": say("ru", "uploads.accepted"),
    "task": _PENDING,
}
TASK = {"status": "success", "task": _PROCESSING}
TASKS = {"status": "success", "count": 1, "tasks": [_PROCESSING]}
CANCELLED = {"status": "success", "message": say("ru", "tasks.cancelled"), "task": _CANCELLED}
RETRIED = {"status": "success", "message": say("ru", "tasks.retried"), "task": _PENDING}
STATS = {
    "status": "success",
    "queue": {
        "total": 15,
        "pending": 5,
        "processing": 2,
        "completed": 8,
        "failed": 0,
        "cancelled": 0,
    },
    "caller": {"name": "main", "user_id": None, "is_admin": True},
}
LINK = {
    "status": "success",
    "url": f"/download/{EXAMPLE_ID}?ticket=WyJtYWluIl0",
    "expires_at": "2026-11-24T18:00:00.000000+00:00",
}
CLEANED = {"status": "success", "deleted_tasks": 12, "freed_bytes": 734003200, "problems": []}
HEALTHY = {
    "status": "healthy",
    "service": "running",
    "problems": [],
    "warnings": [],
    "workers": {"size": 2, "ready": 2, "busy": 1},
    "inboxes": {
        "main": {
            "path": "/srv/media-cleaner/inbox",
            "is_available": True,
            "watching": "events",
            "reason": None,
            "mount": "/srv",
        }
    },
    "free_gb": {"temp": 120.4, "state": 120.4, "outbox": 120.4},
}
UNHEALTHY: Mapping[str, Any] = {
    "status": "unhealthy",
    "service": "unknown",
    "problems": ["No service runs on this state, so tasks wait; start it: media-cleaner serve."],
    "warnings": [],
    "workers": None,
    "inboxes": {},
    "free_gb": {},
}


@dataclass(frozen=True)
class Error:
    """
    What an error looks like.

    Attributes:
        key: of its text; facts: what stands in it.
        says_when: does `Retry-After` say when to try again?
    """

    code: str
    status: int
    key: str
    facts: Mapping[str, object] = field(default_factory=dict)
    field: str | None = None
    says_when: bool = False

    @property
    def answer(self) -> dict[str, Any]:
        """The whole answer, in English."""
        named = {} if self.field is None else {"field": self.field}
        detail = say("en", self.key, **self.facts)
        return {"status": "error", "detail": detail, "code": self.code, **named}


_TASK_FACTS = {"task_id": EXAMPLE_ID}
_LIST = (
    Error("bad_request", 400, "http.400"),
    Error("no_file", 400, "uploads.no_file"),
    Error("two_files", 400, "uploads.two_files"),
    Error("bad_form", 400, "uploads.bad_form", {"reason": "no boundary"}),
    Error("incomplete_upload", 400, "uploads.incomplete"),
    Error("invalid_api_key", 403, "auth.invalid_api_key"),
    Error("key_required", 403, "auth.key_required"),
    Error("admin_only", 403, "auth.admin_only"),
    Error("foreign_origin", 403, "auth.foreign_origin"),
    Error("unknown_task", 404, "spool.unknown_task", _TASK_FACTS),
    Error("upload_too_slow", 408, "uploads.too_slow"),
    Error("request_timeout", 408, "http.408"),
    Error("wrong_status", 409, "spool.wrong_status", {**_TASK_FACTS, "status": "completed"}),
    Error("not_finished", 409, "downloads.not_finished", {**_TASK_FACTS, "status": "pending"}),
    Error("idempotency_conflict", 409, "uploads.other_content"),
    Error("removed", 410, "downloads.removed", _TASK_FACTS),
    Error("original_removed", 410, "stills.original_removed", _TASK_FACTS),
    Error("precondition_failed", 412, "http.412"),
    Error("file_too_large", 413, "uploads.too_large", {"most_gb": 2}),
    Error("form_too_large", 413, "uploads.form_too_large"),
    Error("request_entity_too_large", 413, "http.413"),
    Error("unsupported_encoding", 415, "uploads.encoding", {"encoding": "gzip"}),
    Error(
        "unsupported_extension",
        415,
        "uploads.extension",
        {"name": "notes.txt", "allowed": ".mp4, .mov"},
    ),
    Error(
        "unreadable_media",
        415,
        "uploads.unreadable",
        {"name": "video.mp4", "reason": "is not a video that can be read."},
    ),
    Error("requested_range_not_satisfiable", 416, "http.416"),
    Error(
        "invalid_parameter",
        422,
        "errors.invalid_parameter",
        {"field": "epsilon", "value": "'0.5'", "allowed": say("en", "parameters.epsilon")},
        field="epsilon",
    ),
    Error("queue_full", 429, "spool.queue_full", {"max_pending": 20_000}, says_when=True),
    Error("too_many_tries", 429, "auth.too_many_tries", {"seconds": 60}, says_when=True),
    Error("request_header_fields_too_large", 431, "http.431"),
    Error("internal_error", 500, "errors.internal", {"mark": "1f0c9a3b"}),
    Error("task_busy", 503, "spool.task_busy", _TASK_FACTS, says_when=True),
    Error("storage_unavailable", 503, "errors.storage", says_when=True),
    Error("too_many_uploads", 503, "uploads.too_many", says_when=True),
    Error("inbox_unavailable", 503, "uploads.inbox_away", says_when=True),
    Error("outbox_unavailable", 503, "downloads.away", says_when=True),
    Error("no_prober", 503, "uploads.no_prober", says_when=True),
    Error("too_many_stills", 503, "stills.too_many", says_when=True),
    Error("insufficient_storage", 507, "errors.no_room"),
)
ERRORS: Mapping[str, Error] = {error.code: error for error in _LIST}
# What any route may answer.
ANYWHERE = (
    "bad_request",
    "invalid_api_key",
    "key_required",
    "too_many_tries",
    "request_header_fields_too_large",
    "internal_error",
    "storage_unavailable",
)
# What other routes may answer beside that.
CHANGING = ("foreign_origin", "task_busy", "insufficient_storage")
UPLOADING = (
    "no_file",
    "two_files",
    "bad_form",
    "incomplete_upload",
    "upload_too_slow",
    "idempotency_conflict",
    "file_too_large",
    "form_too_large",
    "unsupported_encoding",
    "unsupported_extension",
    "unreadable_media",
    "invalid_parameter",
    "queue_full",
    "too_many_uploads",
    "inbox_unavailable",
    "no_prober",
)
FINDING_RESULT = ("unknown_task", "not_finished", "removed", "task_busy", "outbox_unavailable")
SHOWING = (
    "original_removed",
    "unreadable_media",
    "invalid_parameter",
    "too_many_stills",
    "no_prober",
)
