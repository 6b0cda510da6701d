"""What people and programs are shown of a task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from daemon.task import Status, Task
from daemon.task_view import view

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def task(status: Status, **fields: object) -> Task:
    values: dict = {
        "task_id": "id",
        "status": status,
        "created_at": NOON,
        "started_at": NOON,
        "input_video": "holiday.mov",
        "original": "/in/holiday.mov",
        "outbox": "/out",
    }
    return Task(**(values | fields))


@pytest.mark.parametrize("status", Status)
def test_only_what_waits_has_a_place_in_the_queue(status: Status) -> None:
    position = view(task(status), "ru", NOON, 3)["queue_position"]
    assert position == (3 if status is Status.PENDING else None)


@pytest.mark.parametrize(
    ("progress", "elapsed", "left"),
    [(50.0, 60, 60.0), (25.0, 60, 180.0), (100.0, 60, 0.0), (50.0, -60, 0.0)],
)
def test_what_is_left_follows_from_what_is_done(
    progress: float, elapsed: float, left: float
) -> None:
    now = NOON + timedelta(seconds=elapsed)
    assert view(task(Status.PROCESSING, progress=progress), "ru", now)["eta_s"] == left


@pytest.mark.parametrize("progress", [0.0, 1.9])
def test_at_the_beginning_nobody_can_tell_what_is_left(progress: float) -> None:
    now = NOON + timedelta(seconds=60)
    assert view(task(Status.PROCESSING, progress=progress), "ru", now)["eta_s"] is None


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.PROCESSING])
def test_of_what_does_not_run_nothing_is_left(status: Status) -> None:
    now = NOON + timedelta(seconds=60)
    assert view(task(status, progress=50.0), "ru", now)["eta_s"] is None


@pytest.mark.parametrize("microsecond", [0, 120000, 345678])
def test_times_are_of_one_form_whole_seconds_too(microsecond: int) -> None:
    """Programs read them by one pattern, and sort them as text."""
    moment = NOON.replace(microsecond=microsecond)
    written = view(task(Status.COMPLETED, completed_at=moment), "ru", NOON)["completed_at"]
    assert written == f"2026-11-24T12:00:00.{microsecond:06}+00:00"
