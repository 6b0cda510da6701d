"""A state with many ended tasks, as months of work would leave it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from clip import make_clip
from house import House, wait_until

from daemon import health
from daemon.outbox import result_path, status_path
from daemon.records import encode
from daemon.shelves import Shelves
from daemon.spool import Spool
from daemon.task import Failure, Status, Task, cancelled, failed
from daemon.task_id import TaskIds

_DAYS = 30
_USERS = 20
# Of each hundred tasks so many have failed, and were cancelled.
_FAILED, _CANCELLED = 5, 5
_FAILURE = Failure("unreadable_media", "holiday.mp4 ends before its index; copy it again.")


def house_with(folder: Path, count: int) -> House:
    """Return a house with so many ended tasks; made once, and found again."""
    place = folder / f"ended-{count}"
    if not (place / "made").exists():
        shutil.rmtree(place, ignore_errors=True)
        house = House(place)
        _fill(house, _one_completed(house), count)
        _pretend_to_have_run_on(house)
        (place / "made").touch()
    return House(place)


def _one_completed(house: House) -> Task:
    """Have one task really done, whose record with its report is the pattern of the others."""
    make_clip(house.staging / "holiday.mp4")
    with house.running():
        (house.staging / "holiday.mp4").rename(house.inbox / "holiday.mp4")
        wait_until(lambda: "holiday.mp4" in house.events("completed"))
    return Spool(house.state).list(status=Status.COMPLETED).tasks[0]


def _fill(house: House, pattern: Task, count: int) -> None:
    """Add records, status files and results until there are `count` tasks; nothing is flushed."""
    shelves = Shelves(house.state)
    for task in _tasks(pattern, count - 1):
        record = shelves.home(task.task_id, task.status)
        for path in (record, status_path(task), result_path(task)):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        record.write_bytes(encode(task))
        # Only their names count: nothing here reads them.
        status_path(task).touch()
        if (result := result_path(task)) is not None:
            result.touch()


def _pretend_to_have_run_on(house: House) -> None:
    """Have the next start believe that the service itself has seen all these tasks end."""
    told = health.read(house.state)
    if told is None:
        raise RuntimeError("the service has left no sign of life")
    later = told.updated_at + timedelta(hours=1)
    health.write(house.state, dataclasses.replace(told, updated_at=later))


def _tasks(pattern: Task, count: int) -> Iterator[Task]:
    now = datetime.now(UTC)
    moments = (now - timedelta(days=_DAYS) * (1 - n / count) for n in range(count))
    moment = now
    ids = TaskIds(lambda: moment)
    for number, moment in enumerate(moments):
        user = f"user-{number % _USERS:02}"
        task = dataclasses.replace(
            pattern,
            task_id=ids.new(),
            created_at=moment,
            started_at=moment,
            completed_at=moment,
            subfolder=user,
            parameters=pattern.parameters.model_copy(update={"user_id": user}),
        )
        yield _ended(task, number, moment)


def _ended(task: Task, number: int, moment: datetime) -> Task:
    if number % 100 < _FAILED:
        return dataclasses.replace(failed(task, _FAILURE, moment), status=Status.FAILED)
    if number % 100 < _FAILED + _CANCELLED:
        return dataclasses.replace(cancelled(task, moment), status=Status.CANCELLED)
    name = f"{task.subfolder}/{task.task_id}_holiday_protected.mp4"
    return dataclasses.replace(task, output_video=name)
