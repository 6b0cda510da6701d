"""
Where records lie: `state/<status>/<day>/<task_id>.json`. Reads names, never records.

A record may lie directly in its status folder too, where an operator's `mv` leaves it. What
has another name, or lies in another day's folder, is not seen here but for `misplaced`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daemon.atomic import is_no_folder, make_folder, move_atomically, temporary_of
from daemon.looks import DAY, MOST_LOOKS, SUFFIX, TICK_NS
from daemon.task import Status
from daemon.task_id import creation_day, is_task_id

DAMAGED = "damaged"
# Which of two records of one task counts (docs/STATE.md, "Two records of one task").
_RANK = {
    status: rank
    for rank, status in enumerate(
        (Status.COMPLETED, Status.PROCESSING, Status.PENDING, Status.CANCELLED, Status.FAILED)
    )
}
# The way that tasks go, so that one going it meanwhile is met again rather than missed; and
# the first two once more for those that were put back or retried.
_SCAN = (*Status, Status.PENDING, Status.PROCESSING)


@dataclass(frozen=True)
class Place:
    """One record's name."""

    task_id: str
    status: Status
    path: Path


@dataclass(frozen=True)
class _Look:
    """What a folder held; `mark` is its mtime in ns, None where there is no such folder."""

    mark: int | None
    is_sure: bool
    names: frozenset[str]


class Shelves:
    """The folders of records under `state`."""

    def __init__(self, state: Path) -> None:
        self._folders = {status: state / status.value for status in Status}
        self._damaged = state / DAMAGED

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those that are to be there always."""
        return (*self._folders.values(), self._damaged)

    def make(self) -> None:
        """Make the folders where they are missing."""
        for folder in self.folders:
            make_folder(folder)

    def home(self, task_id: str, status: Status) -> Path:
        """Return where the record of a task of this status belongs."""
        return self._folders[status] / creation_day(task_id) / (task_id + SUFFIX)

    def find(self, task_id: str) -> list[Place]:
        """Return the places with a record of this task, the one that counts first."""
        found = {
            Place(task_id, status, Path(path))
            for status, path in self._possible(task_id)
            if os.path.lexists(path)
        }
        return sorted(found, key=lambda place: (_RANK[place.status], place.path))

    def newest(self, statuses: Iterable[Status], before: str | None = None) -> Iterator[Place]:
        """Yield the places of tasks, newest first, below `before`; reads a day when it comes."""
        wanted = [status for status in Status if status in set(statuses)]
        last_day = creation_day(before) if before else "9999"
        for day in sorted(self._days(wanted), reverse=True):
            if day <= last_day:
                places = self._of_day(day, wanted)
                yield from (place for place in places if before is None or place.task_id < before)

    def oldest(self, status: Status) -> Iterator[Place]:
        """Yield the places of tasks of one status, oldest first."""
        for day in sorted(self._days([status])):
            yield from reversed(self._of_day(day, [status]))

    def ids(self, status: Status) -> list[str]:
        """Return the tasks of one status, oldest first; for one who does not want their places."""
        found = set(_task_ids(self._folders[status]))
        for folder in self._day_folders(status):
            found.update(t for t in _task_ids(folder) if creation_day(t) == folder.name)
        return sorted(found)

    def changed_since(self, status: Status, moment: datetime) -> Iterator[str]:
        """Yield the tasks whose records came to a status, or were written there, since then."""
        since = moment.timestamp()
        for folder in (self._folders[status], *self._day_folders(status)):
            # What comes or is written changes its folder too: most need no second look.
            if _changed_at(folder) >= since:
                for name in _names(folder):
                    if _task_id(name) and _changed_at(folder / name) >= since:
                        yield _task_id(name)

    def count(self, status: Status) -> int:
        """Return how many records a status has."""
        folders = (self._folders[status], *self._day_folders(status))
        return sum(1 for folder in folders for _ in _task_ids(folder))

    def bring(self, source: Path, task_id: str, status: Status) -> Path:
        """
        Move a record to where it belongs in `status`.

        Raises:
            FileExistsError: one is there already.
            FileNotFoundError: the source is gone.
        """
        target = self.home(task_id, status)
        while True:
            make_folder(target.parent)
            try:
                move_atomically(source, target)
            except FileNotFoundError:
                if not os.path.lexists(source):
                    raise
                continue  # the day's folder was removed as empty in that moment
            return target

    def set_aside(self, source: Path, name: str) -> Path:
        """
        Move what is no good to `damaged/`, under `name` or one like it.

        Raises:
            FileNotFoundError: it is gone.
        """
        make_folder(self._damaged)
        number = 0
        while True:
            target = self._damaged / (f"{name}.{number}" if number else name)
            try:
                move_atomically(source, target)
            except FileExistsError:
                number += 1
                continue
            return target

    def damaged(self) -> list[Path]:
        """Return what lies in `damaged/`."""
        return [self._damaged / name for name in sorted(_names(self._damaged))]

    def prune(self, day: str) -> None:
        """Remove a day's folders if no task of that day is left."""
        # Pending last, and only when no other is left: an operator moves records back into it.
        for status in reversed(Status):
            try:
                (self._folders[status] / day).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return  # not empty

    def strays(self) -> Iterator[tuple[str, Path]]:
        """Yield what a crash left: the task and the temporary file."""
        for folder in self._all_folders():
            for name in _names(folder):
                target = temporary_of(name)
                if target is not None and _task_id(target):
                    yield _task_id(target), folder / name

    def doubled(self) -> list[str]:
        """Return the tasks that have two records."""
        seen: set[str] = set()
        twice: set[str] = set()
        for folder in self._all_folders():
            ids = set(_task_ids(folder))
            twice |= seen & ids
            seen |= ids
        return sorted(twice)

    def misplaced(self, since: float = 0.0) -> Iterator[Place]:
        """
        Yield the records that lie in another day's folder, or in one within a day's.

        The latter is what `mv` makes of a day's folder whose target is there.

        Args:
            since: in seconds since the epoch; days that have not changed since then are not read.
        """
        for status in Status:
            for day in self._day_folders(status):
                if _changed_at(day) < since:
                    continue
                names = _names(day)
                yield from _elsewhere(status, day, names, self.home)
                for folder in (day / name for name in names if DAY.fullmatch(name)):
                    yield from _elsewhere(status, folder, _names(folder), self.home)

    def blocked_days(self) -> Iterator[Path]:
        """Yield what is no folder but stands in the place of a day's."""
        for status in Status:
            yield from filter(is_no_folder, self._day_folders(status))

    def _possible(self, task_id: str) -> Iterator[tuple[Status, str]]:
        # Text, not paths: each act on a task asks this several times, and it takes a third.
        name, day = task_id + SUFFIX, creation_day(task_id)
        for status in _SCAN:
            folder = self._folders[status]
            yield status, os.path.join(folder, day, name)
            yield status, os.path.join(folder, name)

    def _days(self, statuses: Iterable[Status]) -> set[str]:
        days: set[str] = set()
        for status in statuses:
            for name in _names(self._folders[status]):
                if DAY.fullmatch(name):
                    days.add(name)
                elif task_id := _task_id(name):
                    days.add(creation_day(task_id))
        return days

    def _of_day(self, day: str, statuses: Sequence[Status]) -> list[Place]:
        places: dict[str, Place] = {}
        seen: dict[Path, _Look] = {}
        for _ in range(MOST_LOOKS):
            is_calm = bool(seen)
            for status in statuses:
                for folder in (self._folders[status], self._folders[status] / day):
                    known = seen.get(folder)
                    seen[folder] = _look_at(folder, known)
                    if seen[folder] is not known:
                        is_calm = False
                        _note(places, status, folder, day, seen[folder].names)
            if is_calm:
                break
        return [places[task_id] for task_id in sorted(places, reverse=True)]

    def _day_folders(self, status: Status) -> list[Path]:
        folder = self._folders[status]
        return [folder / name for name in _names(folder) if DAY.fullmatch(name)]

    def _all_folders(self) -> Iterator[Path]:
        for status, folder in self._folders.items():
            yield from (folder, *self._day_folders(status))


def _look_at(folder: Path, last: _Look | None) -> _Look:
    """List a folder; the last look is returned where it holds nothing else by now."""
    mark = _mark(folder)
    if last is not None and last.is_sure and last.mark == mark:
        return last
    now = time.time_ns()
    look = _Look(mark, mark is None or now - mark > TICK_NS, frozenset(_names(folder)))
    if last is not None and (last.mark, last.names) == (mark, look.names):
        return last
    return look


def _note(
    places: dict[str, Place], status: Status, folder: Path, day: str, names: Iterable[str]
) -> None:
    """Add the records of a day that a folder holds."""
    for name in names:
        task_id = _task_id(name)
        if task_id and creation_day(task_id) == day:
            place = Place(task_id, status, folder / name)
            known = places.get(task_id, place)
            places[task_id] = min(known, place, key=lambda p: _RANK[p.status])


def _elsewhere(
    status: Status, folder: Path, names: Iterable[str], home: Callable[[str, Status], Path]
) -> Iterator[Place]:
    """Yield the records of a folder that belong into another."""
    for name in names:
        task_id = _task_id(name)
        if task_id and home(task_id, status) != folder / name:
            yield Place(task_id, status, folder / name)


def _mark(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None


def _names(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(folder)
    return []


def _changed_at(path: Path) -> float:
    """Return when a file was written or renamed last, in seconds since the epoch."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0.0
    return max(status.st_mtime, status.st_ctime)


def _task_ids(folder: Path) -> Iterator[str]:
    """Return the tasks whose records lie in a folder, from their names."""
    return filter(None, map(_task_id, _names(folder)))


def _task_id(name: str) -> str:
    """Return the task that a record's name tells; empty where it is no record's name."""
    stem = name.removesuffix(SUFFIX)
    return stem if stem != name and is_task_id(stem) else ""
