"""
Which tasks there are, answered from memory: with 100,000 of them nobody can list them all for
each request, let alone read them.

It says where to look, and the spool what is so: a record is read before it is shown, and only the
records that are shown. So nobody is shown a task that is another's by now.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from daemon.shelves import MOST_LOOKS
from daemon.spool import Page, Spool
from daemon.spool_errors import RecordDamaged, TaskBusy, UnknownTask
from daemon.task import Status, Task
from daemon.task_id import creation_day
from daemon.web.shelf_memory import ShelfMemory

# Tasks that are remembered as they were read, some 5 KB each.
_MOST_KEPT = 2000
# To read an owner takes 40 µs, and all others wait meanwhile; half of the time is theirs.
_OWNERS_AT_ONCE = 100
_PAUSE_SECONDS = 0.005


class _Found(NamedTuple):
    task_id: str
    status: Status
    folder: str


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
        with self._lock:
            for status in Status:
                self._shelves[status].look_at_all()
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
        self.counts()
        while self._read_owners() == _OWNERS_AT_ONCE:
            time.sleep(_PAUSE_SECONDS)

    def _read_owners(self) -> int:
        count = 0
        with self._lock:
            for shelf in self._shelves.values():
                for folder in shelf.folders:
                    count += folder.read_owners(_OWNERS_AT_ONCE - count)
                    if count == _OWNERS_AT_ONCE:
                        return count
        return count

    def _find(
        self, wanted: frozenset[Status], user_id: str | None, before: str | None
    ) -> Iterator[_Found]:
        """Yield where tasks are, newest first; looks at a day when it comes."""
        last_day = "9999" if before is None else creation_day(before)
        for day in self._days(wanted):
            if day <= last_day:
                last = ""
                for found in heapq.merge(*self._runs(day, wanted, user_id, before), reverse=True):
                    if found.task_id != last:  # else it was seen in two folders, on its way
                        last = found.task_id
                        yield found

    def _days(self, wanted: frozenset[Status]) -> list[str]:
        with self._lock:
            for status in Status:
                self._shelves[status].look()
            return sorted({d for s in wanted for d in self._shelves[s].days}, reverse=True)

    def _runs(
        self, day: str, wanted: frozenset[Status], user_id: str | None, before: str | None
    ) -> list[Iterator[_Found]]:
        runs: list[tuple[Status, str, Sequence[str]]] = []
        seen: dict[Status, object] = {}
        with self._lock:
            for _ in range(MOST_LOOKS):
                is_calm = bool(seen)
                for status in Status:
                    if status in wanted:
                        shelf = self._shelves[status]
                        version = shelf.look_at(day)
                        if version != seen.get(status):
                            is_calm = False
                            seen[status] = version
                            runs += [(status, *run) for run in shelf.runs(day, user_id)]
                if is_calm:
                    break
        return [_downwards(task_ids, before, status, folder) for status, folder, task_ids in runs]

    def _read(self, found: _Found) -> Task:
        mark = _mark(found)
        known = self._kept.get(found.task_id)
        if known is not None and known[0] == mark:
            return known[1]
        task = self._spool.get(found.task_id)
        # How far a running task is lies elsewhere, and changes all the time.
        if mark is not None and task.status is found.status is not Status.PROCESSING:
            self._keep(found.task_id, mark, task)
        return task

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


def _downwards(
    task_ids: Sequence[str], before: str | None, status: Status, folder: str
) -> Iterator[_Found]:
    end = len(task_ids) if before is None else bisect_left(task_ids, before)
    return (_Found(task_ids[n], status, folder) for n in range(end - 1, -1, -1))


def _mark(found: _Found) -> object:
    """Return what changes with the record; None where it is gone."""
    try:
        seen = os.stat(f"{found.folder}/{found.task_id}.json", follow_symlinks=False)
    except OSError:
        return None
    return found.status, seen.st_ino, seen.st_mtime_ns, seen.st_size
