"""
A task as people and programs see it: the same object in the status file and in every answer.

No I/O. What an operator's record holds beside it (where files lie, the token of an attempt) is
nobody else's business and is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from daemon.task import Status, Task, webhook_of

Language = Literal["ru", "en"]

STATUS_TEXTS: Mapping[Language, Mapping[Status, str]] = {
    "ru": {
        Status.PENDING: "⏳ Ожидает обработки",
        Status.PROCESSING: "⚙️ Обрабатывается",
        Status.COMPLETED: "✅ Завершено",
        Status.FAILED: "❌ Ошибка",
        Status.CANCELLED: "🚫 Отменено",
    },
    "en": {
        Status.PENDING: "⏳ Waiting",
        Status.PROCESSING: "⚙️ Processing",
        Status.COMPLETED: "✅ Completed",
        Status.FAILED: "❌ Failed",
        Status.CANCELLED: "🚫 Cancelled",
    },
}
_PARAMETERS = ("epsilon", "video_strength", "audio_level", "every_n_frames", "mode", "user_id")
# Before that much is done, what is left cannot be told.
_LEAST_PERCENT_FOR_ETA = 2.0


def view(
    task: Task, language: Language, now: datetime, queue_position: int | None = None
) -> dict[str, Any]:
    """
    Return a task as JSON can hold it, always with the same keys in the same order.

    `queue_position` is 1 for the next; it only counts while the task is pending.
    """
    parameters = task.parameters.model_dump(mode="json")
    return {
        "task_id": task.task_id,
        "status": task.status.value,
        "status_text": STATUS_TEXTS[language][task.status],
        "created_at": written(task.created_at),
        "started_at": written(task.started_at),
        "completed_at": written(task.completed_at),
        "queue_position": queue_position if task.status is Status.PENDING else None,
        "progress": round(task.progress, 1),
        "eta_s": eta_s(task, now),
        "processed_frames": task.processed_frames,
        "total_frames": task.total_frames,
        "input_video": task.input_video,
        "output_video": task.output_video,
        "error_code": task.error_code,
        "error_message": task.error_message,
        **{name: parameters[name] for name in _PARAMETERS},
        "notes": parameters["notes"],
        "attempts": task.attempts,
        "webhook": _webhook(task),
        "report": task.report,
    }


def eta_s(task: Task, now: datetime) -> float | None:
    """Return the seconds that a running attempt may still take; None where nobody can tell."""
    is_telling = task.status is Status.PROCESSING and task.progress >= _LEAST_PERCENT_FOR_ETA
    if not is_telling or task.started_at is None:
        return None
    elapsed = max(0.0, (now - task.started_at).total_seconds())
    return round(elapsed * (100 - task.progress) / task.progress, 1)


def _webhook(task: Task) -> dict[str, Any] | None:
    state = webhook_of(task)
    if state is None:
        return None
    return {
        "status": state.status.value,
        "attempts": state.attempts,
        "last_error": state.last_error,
        "next_attempt_at": written(state.next_attempt_at),
        "delivered_at": written(state.delivered_at),
    }


def written(moment: datetime | None) -> str | None:
    """Return a time as all of a task's are told, in one form on a whole second too."""
    return None if moment is None else moment.isoformat(timespec="microseconds")
