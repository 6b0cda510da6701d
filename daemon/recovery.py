"""
What a crash left, brought to where it belongs: the table of `docs/STATE.md`.

Reads the names of all records and the contents of those in processing only, so that a
hundred thousand ended tasks do not hold up the start.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from daemon.record_store import Hold, RecordStore
from daemon.spool_errors import RecordDamaged, TaskBusy, UnknownTask
from daemon.task import Status, Task, as_it_counts, end_written, interrupted


@dataclass(frozen=True)
class Recovery:
    """
    What was found at the start.

    Attributes:
        tasks: those that lay in processing, as they are now.
        set_aside: where lies now what could not be read, or stood in a folder's place.
        left: why tasks are as they were, by their names: somebody else held one all the time, or a
            disk refused. The service looks at them again while it runs.
    """

    tasks: tuple[Task, ...]
    set_aside: tuple[Path, ...]
    left: Mapping[str, str]


def recover(store: RecordStore, has_result: Callable[[Task], bool], now: datetime) -> Recovery:
    """
    Bring every task to where it belongs.

    Args:
        store: of a state that no other service works on.
        has_result: does the task's `output_video` lie in the outbox?
        now: when a task that fails by this has ended.
    """
    set_aside = list(_clear_folders(store))
    tasks: list[Task] = []
    left = dict(_mend_names(store))
    for place in list(store.shelves.oldest(Status.PROCESSING)):
        try:
            tasks.append(resolve(store, place.task_id, has_result, now))
        except RecordDamaged as error:
            set_aside.append(error.path)
        except (TaskBusy, OSError) as error:
            # A disk that is full, or an outbox that is away, keeps no other task from its place
            # and the service from starting no more than it ends one that runs.
            left[place.task_id] = str(error)
        except UnknownTask:
            continue  # somebody has removed it meanwhile
    return Recovery(tuple(tasks), tuple(set_aside), left)


def resolve(
    store: RecordStore, task_id: str, has_result: Callable[[Task], bool], now: datetime
) -> Task:
    """
    Bring a task in processing that nobody works on to where it belongs.

    Raises:
        UnknownTask, RecordDamaged, TaskBusy
        OSError: the disk refuses, or `has_result` cannot tell; it is as it was.
    """
    return store.act(task_id, lambda hold: _resolved(hold, has_result, now))


def bring_home(store: RecordStore, since: float = 0.0) -> Iterator[tuple[str, str]]:
    """Bring records home that lie in a wrong day's folder; yield those that are left, and why."""
    for place in list(store.shelves.misplaced(since)):
        yield from _locked(store, place.task_id, partial(store.bring_home, place))


def _clear_folders(store: RecordStore) -> Iterator[Path]:
    for path in list(store.shelves.blocked_days()):
        yield store.shelves.set_aside(path, path.name)


def _mend_names(store: RecordStore) -> Iterator[tuple[str, str]]:
    """Bring the files to their places, task by task; yield those that are left, and why."""
    for task_id, path in list(store.shelves.strays()):
        # Under its lock nobody is writing, so a temporary file is a left-over.
        yield from _locked(store, task_id, partial(path.unlink, missing_ok=True))
    yield from bring_home(store)
    for task_id in store.shelves.doubled():
        yield from _locked(store, task_id, partial(store.settle, task_id))


def _locked(
    store: RecordStore, task_id: str, mend: Callable[[], None]
) -> Iterator[tuple[str, str]]:
    try:
        with store.lock(task_id):
            mend()
    except (TaskBusy, OSError) as error:
        yield task_id, str(error)


def _resolved(hold: Hold, has_result: Callable[[Task], bool], now: datetime) -> Task:
    task = hold.task
    if task.status is not Status.PROCESSING:
        return as_it_counts(task)  # a command was faster
    end = end_written(task)
    if end is Status.COMPLETED and not has_result(task):
        return _lost(hold, now)
    if end is None and task.token is not None:
        return _lost(hold, now)
    # The fields were written for the next place; only the rename was missing.
    status = end or Status.PENDING
    hold.move(status)
    return dataclasses.replace(task, status=status)


def _lost(hold: Hold, now: datetime) -> Task:
    """Put back a task whose attempt died with the service."""
    task = interrupted(as_it_counts(hold.task), now)
    status = end_written(task) or Status.PENDING
    hold.write(task)
    hold.move(status)
    return dataclasses.replace(task, status=status)
