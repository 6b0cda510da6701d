"""
Which tasks there are, answered from memory: with 100,000 of them nobody can list them all for
each request, let alone read them.

It says where to look, and the spool what is so: a record is read before it is shown, and only the
records that are shown. So nobody is shown a task that is another's by now.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from daemon.looks import MOST_LOOKS
from daemon.spool import Page, Spool
from daemon.spool_errors import RecordDamaged, TaskBusy, UnknownTask
from daemon.task import Status, Task
from daemon.task_id import creation_day
from daemon.web.shelf_memory import FolderMemory, ShelfMemory, read_owners, record_path

# Tasks that are remembered as they were read, some 5 KB each.
_MOST_KEPT = 2000
# Owners are read so many at a time, 30 µs each; the reading of all beforehand pauses in between, so
# that half of the time is for requests.
_OWNERS_AT_ONCE = 100
_PAUSE_SECONDS = 0.003


class _Found(NamedTuple):
    task_id: str
    status: Status
    folder: FolderMemory

    @property
    def path(self) -> str:
        return record_path(self.folder.path, self.task_id)


class _Run(NamedTuple):
    """Tasks of one folder, oldest first."""

    status: Status
    folder: FolderMemory
    task_ids: Sequence[str]


@dataclass(frozen=True)
class Queue:
    """The names of what waits, in parts; each is in order, oldest first."""

    parts: tuple[Sequence[str], ...]

    def position(self, task_id: str) -> int:
        """Return a task's place, 1 for the oldest."""
        return 1 + sum(bisect_left(part, task_id) for part in self.parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def oldest(self) -> str | None:
        """The one that waits longest."""
        return min((part[0] for part in self.parts if part), default=None)


class Index:
    """The tasks of a spool; for any number of threads."""

    def __init__(self, state: Path, spool: Spool) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._reading = threading.Lock()  # of owners: two that read would read the same
        self._shelves = {s: ShelfMemory(os.path.join(state, s.value)) for s in Status}
        self._kept: dict[str, tuple[object, Task]] = {}
        self._is_warm = False

    def newest(
        self,
        user_id: str | None = None,
        status: Status | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Page:
        """Return the newest tasks below the task `before`, as `Spool.list` does."""
        wanted = frozenset(Status if status is None else (status,))
        tasks: list[Task] = []
        damaged: list[RecordDamaged] = []
        for found in self._find(wanted, user_id, before):
            try:
                task = self._read(found)
            except RecordDamaged as error:
                damaged.append(error)
                continue
            except (UnknownTask, TaskBusy):
                continue  # removed meanwhile; or damaged, and somebody else is at it
            if task.status in wanted and user_id in (None, task.user_id):
                tasks.append(task)
                if len(tasks) == limit:
                    break
        return Page(tuple(tasks), tuple(damaged))

    def counts(self, user_id: str | None = None) -> Mapping[Status, int]:
        """Return how many tasks each status has, or one user's."""
        if user_id is not None:
            for shelf in self._shelves.values():
                self._learn_all(shelf)
        with self._lock:
            for shelf in self._shelves.values():
                shelf.look_at_all()
            return {status: _count(shelf, user_id) for status, shelf in self._shelves.items()}

    def queue(self) -> Queue:
        """Return what waits."""
        with self._lock:
            shelf = self._shelves[Status.PENDING]
            shelf.look_at_all()
            return Queue(tuple(folder.task_ids for folder in shelf.folders))

    def warm_up(self) -> None:
        """Begin to read who owns what; else the first to ask for a user's tasks waits for it."""
        if not self._is_warm:
            self._is_warm = True
            threading.Thread(target=self._warm, name="index", daemon=True).start()

    def _warm(self) -> None:
        with contextlib.suppress(OSError):  # who asks for it then is told
            for shelf in self._shelves.values():
                self._learn_all(shelf, _PAUSE_SECONDS)

    def _learn_all(self, shelf: ShelfMemory, pause_seconds: float = 0.0) -> None:
        with self._lock:
            shelf.look()
            folders = shelf.folders
        for folder in folders:
            with self._lock:
                folder.look()
                unknown = folder.unknown(folder.task_ids)
            for start in range(0, len(unknown), _OWNERS_AT_ONCE):
                self._learn(folder, unknown[start : start + _OWNERS_AT_ONCE])
                time.sleep(pause_seconds)

    def _learn(self, folder: FolderMemory, task_ids: Sequence[str]) -> None:
        """Know who owns some tasks; nobody waits for the lock while that is read."""
        with self._lock:
            if not folder.unknown(task_ids):
                return
        with self._reading:
            with self._lock:  # another one may have read the same meanwhile
                looks, unknown = folder.looks, folder.unknown(task_ids)
            owners = read_owners(folder.path, unknown)
            with self._lock:
                folder.learn(owners, looks)

    def _find(
        self, wanted: frozenset[Status], user_id: str | None, before: str | None
    ) -> Iterator[_Found]:
        """Yield where tasks are, newest first; looks at a day when it comes."""
        last_day = "9999" if before is None else creation_day(before)
        for day in self._days(wanted):
            if day <= last_day:
                runs = self._runs(day, wanted, user_id)
                found = heapq.merge(
                    *(_downwards(run, before) for run in runs),
                    key=attrgetter("task_id"),
                    reverse=True,
                )
                yield from _once_each(found if user_id is None else self._of_user(found, user_id))

    def _of_user(self, found: Iterator[_Found], user_id: str) -> Iterator[_Found]:
        """Yield those that may be a user's; owners that are not known are read when they come."""
        while batch := list(itertools.islice(found, _OWNERS_AT_ONCE)):
            for folder in {one.folder for one in batch}:
                self._learn(folder, [one.task_id for one in batch if one.folder is folder])
            with self._lock:
                maybe = [one for one in batch if one.folder.may_be_of(user_id, one.task_id)]
            yield from maybe

    def _days(self, wanted: frozenset[Status]) -> list[str]:
        with self._lock:
            for status in Status:
                self._shelves[status].look()
            return sorted({d for s in wanted for d in self._shelves[s].days}, reverse=True)

    def _runs(self, day: str, wanted: frozenset[Status], user_id: str | None) -> list[_Run]:
        runs: list[_Run] = []
        seen: dict[Status, object] = {}
        with self._lock:
            for status in Status:  # what is not wanted may hold a second record, too
                self._shelves[status].look_at(day)
            for _ in range(MOST_LOOKS):
                is_calm = bool(seen)
                for status in Status:
                    if status in wanted:
                        shelf = self._shelves[status]
                        version = shelf.look_at(day)
                        if version != seen.get(status):
                            is_calm = False
                            seen[status] = version
                            runs += [_Run(status, *run) for run in shelf.runs(day, user_id)]
                if is_calm:
                    break
        return runs

    def _read(self, found: _Found) -> Task:
        mark = _mark(found)
        known = self._kept.get(found.task_id)
        if known is not None and known[0] == mark:
            return known[1]
        task = self._read_anew(found)
        # How far a running task is lies elsewhere, and changes all the time.
        if mark is not None and task.status is found.status is not Status.PROCESSING:
            self._keep(found.task_id, mark, task)
        return task

    def _read_anew(self, found: _Found) -> Task:
        if self._is_doubled(found):
            return self._spool.get(found.task_id)
        return self._spool.get_at(found.task_id, found.status, Path(found.path))

    def _is_doubled(self, found: _Found) -> bool:
        """Was another record of this task seen, which may be the one that counts?"""
        day = creation_day(found.task_id)
        with self._lock:
            folders = (f for shelf in self._shelves.values() for f in shelf.folders_of(day))
            return any(f.holds(found.task_id) for f in folders if f is not found.folder)

    def _keep(self, task_id: str, mark: object, task: Task) -> None:
        with self._lock:
            self._kept.pop(task_id, None)
            self._kept[task_id] = mark, task
            if len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]


def _count(shelf: ShelfMemory, user_id: str | None) -> int:
    if user_id is None:
        return sum(len(folder.task_ids) for folder in shelf.folders)
    return sum(len(folder.of_user(user_id)) for folder in shelf.folders)


def _once_each(found: Iterator[_Found]) -> Iterator[_Found]:
    """Leave out what was seen in two folders, on its way."""
    last = ""
    for one in found:
        if one.task_id != last:
            last = one.task_id
            yield one


def _downwards(run: _Run, before: str | None) -> Iterator[_Found]:
    task_ids = run.task_ids
    end = len(task_ids) if before is None else bisect_left(task_ids, before)
    return (_Found(task_ids[n], run.status, run.folder) for n in range(end - 1, -1, -1))


def _mark(found: _Found) -> object:
    """Return what changes with the record; None where it is gone."""
    try:
        seen = os.stat(found.path, follow_symlinks=False)
    except OSError:
        return None
    return found.status, seen.st_ino, seen.st_mtime_ns, seen.st_size
