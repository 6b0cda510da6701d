"""Spools for tests: a clock that stands until it is moved, and looks at what lies on disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from daemon.spool import Spool
from daemon.task import Failure, Status, Submission, Task
from daemon.task_id import is_task_id
from pipeline.parameters import Parameters

REASON = Failure("unreadable_media", "holiday.mov ends before its index; copy it again.")
REPORT = {"frames": 250, "psnr_db": 38.5}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, now: datetime = datetime(2026, 11, 24, 12, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **spans: float) -> None:
        self.now += timedelta(**spans)


def submission(spool: Spool, name: str = "holiday.mov", user_id: str | None = None) -> Submission:
    return Submission(
        task_id=spool.new_id(),
        input_video=name,
        original=f"/inbox/.claimed/{name}",
        outbox="/outbox",
        parameters=Parameters(user_id=user_id),
    )


def submitted(spool: Spool, name: str = "holiday.mov", user_id: str | None = None) -> str:
    return spool.submit(submission(spool, name, user_id), max_pending=1_000_000).task_id


def claimed(spool: Spool) -> tuple[str, str]:
    """Submit and claim a task; return its name and token."""
    task = spool.claim(submitted(spool))
    assert task.token
    return task.task_id, task.token


def claim_oldest(spool: Spool) -> Task | None:
    """Begin what has waited for the longest; None where nothing waits."""
    oldest = next(iter(spool.pending_ids()), None)
    return None if oldest is None else spool.claim(oldest)


def completed(spool: Spool) -> str:
    task_id, token = claimed(spool)
    spool.complete(task_id, token, "result.mp4", REPORT, lambda: None)
    return task_id


def failed(spool: Spool) -> str:
    task_id, token = claimed(spool)
    spool.fail(task_id, token, REASON)
    return task_id


def records(state: Path) -> dict[str, list[Status]]:
    """Return where each task's records lie, by looking at everything."""
    found: dict[str, list[Status]] = {}
    for status in Status:
        for path in (state / status).rglob("*.json"):
            if is_task_id(path.stem):
                found.setdefault(path.stem, []).append(status)
    return found


def record(state: Path, task_id: str) -> Path:
    """Return the one record of a task."""
    (path,) = (p for status in Status for p in (state / status).rglob(f"{task_id}.json"))
    return path


def leftovers(state: Path) -> list[Path]:
    """Return the temporary files and lock files under `state`."""
    return [p for p in state.rglob("*") if p.suffix in (".tmp", ".lock") and p.stem != "service"]
