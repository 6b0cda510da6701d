"""
The names of records, remembered for as long as their folders say that they hold.

A folder's mtime changes with every record that comes, goes or is rewritten (`docs/STATE.md`, "How
it is written"): one look at it tells whether it must be listed again. Of the records themselves
nothing is kept but who owns them, and the marks of the file that said so.

Not for two threads at once.
"""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from daemon.looks import DAY, SUFFIX, TICK_NS
from daemon.task_id import creation_day, is_task_id

# To look whether the owners that are known still hold takes 3.5 µs for each; where there are more
# of them it is not done with every change of the folder. A task changes hands only where its
# sidecar was changed before a retry.
_FEW_OWNERS = 500
_CHECK_SECONDS = 2.0
# While more owners than that are unknown, to pick a user's tasks takes longer than to go through
# some of all.
_MOST_UNKNOWN = 500
_MOST_BYTES = 1 << 20
_HOW_TO_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_Mark = tuple[int, int]
_NOWHERE: _Mark = (0, 0)
# Whose a task is, and the marks of the file that said so.
Owners = dict[str, tuple[_Mark, str | None]]


class FolderMemory:
    """The records in one folder."""

    def __init__(self, path: str, day: str | None = None) -> None:
        """`day` is that of all its records; None for a status' own folder."""
        self.path = path
        self.others: frozenset[str] = frozenset()  # what is no record
        self._day = day
        self.version = 0  # another one as soon as something may have come or gone
        self.looks = 0  # how often it was listed
        self._mark: _Mark | None = None
        self._is_sure = False
        self._task_ids: tuple[str, ...] = ()
        self._owners: Owners = {}
        self._are_checked = True
        self._check_due = 0.0
        self._by_owner: dict[str | None, list[str]] | None = None

    def look(self) -> None:
        """Bring what is known up to date."""
        try:
            found = os.stat(self.path)
            mark: _Mark | None = _mark(found)
            if mark == self._mark and self._is_sure:
                return
            now = time.time_ns()
            names = os.listdir(self.path)
            self.looks += 1
            self._is_sure = now - found.st_mtime_ns > TICK_NS
        except (FileNotFoundError, NotADirectoryError):
            mark, names = None, []
        if self._take(names) or mark != self._mark:
            self.version += 1
        self._mark = mark

    @property
    def task_ids(self) -> Sequence[str]:
        """The tasks with a record here, oldest first."""
        return self._task_ids

    def of_user(self, user_id: str) -> Sequence[str]:
        """Return those of one user, oldest first; reads owners that are not known."""
        self._forget_changed_owners()
        unknown = self.unknown(self._task_ids)
        if unknown:
            self.learn(read_owners(self.path, unknown), self.looks)
        return self._owned().get(user_id, ())

    def maybe_of(self, user_id: str) -> Sequence[str]:
        """Return at least those and all whose owner is not known, oldest first."""
        self._forget_changed_owners()
        if len(self._task_ids) - len(self._owners) > _MOST_UNKNOWN:
            return self._task_ids
        known, unknown = self._owned().get(user_id, ()), self.unknown(self._task_ids)
        return sorted([*known, *unknown]) if unknown else known

    def may_be_of(self, user_id: str, task_id: str) -> bool:
        """May a task be that user's? Also where nobody can tell, since it lies elsewhere by now."""
        return task_id not in self._owners or self._owners[task_id][1] == user_id

    def holds(self, task_id: str) -> bool:
        """Is there a record of this task?"""
        place = bisect_left(self._task_ids, task_id)
        return place < len(self._task_ids) and self._task_ids[place] == task_id

    def unknown(self, among: Sequence[str]) -> list[str]:
        """Return those of some tasks whose owners are not known yet."""
        if len(self._owners) == len(self._task_ids):
            return []
        return [task_id for task_id in among if task_id not in self._owners]

    def learn(self, owners: Owners, since: int) -> None:
        """Remember owners that were read from files; `since` is `looks` before that."""
        self._owners |= {t: owner for t, owner in owners.items() if self.holds(t)}
        self._by_owner = None
        if since != self.looks:  # what was read may be older than what was seen meanwhile
            self._are_checked = False

    def _take(self, names: Sequence[str]) -> bool:
        """Remember what is there; say whether other records are."""
        known = set(self._task_ids)
        stems = {name[: -len(SUFFIX)] for name in names if name.endswith(SUFFIX)}
        found = {stem for stem in stems if stem in known or self._may_hold(stem)}
        self.others = frozenset(name for name in names if not name.endswith(SUFFIX))
        self._are_checked = not self._owners
        if found != known:
            for task_id in known - found:
                self._owners.pop(task_id, None)
            self._task_ids = tuple(sorted(found))
            self._by_owner = None
        return found != known

    def _may_hold(self, task_id: str) -> bool:
        # In another day's folder the spool does not see it either.
        return is_task_id(task_id) and self._day in (None, creation_day(task_id))

    def _owned(self) -> Mapping[str | None, Sequence[str]]:
        if self._by_owner is None:
            self._by_owner = {}
            for task_id in self._task_ids:
                if task_id in self._owners:
                    _, owner = self._owners[task_id]
                    self._by_owner.setdefault(owner, []).append(task_id)
        return self._by_owner

    def _forget_changed_owners(self) -> None:
        now = time.monotonic()
        if self._are_checked or (len(self._owners) > _FEW_OWNERS and now < self._check_due):
            return
        known = self._owners.items()
        gone = [t for t, (mark, _) in known if mark != _mark_of(record_path(self.path, t))]
        for task_id in gone:
            del self._owners[task_id]
            self._by_owner = None
        # A change that comes just now may have the mtime of the one before.
        self._are_checked = self._is_sure
        self._check_due = now + _CHECK_SECONDS


class ShelfMemory:
    """The records of one status: those in the folders of days, and those directly in its own."""

    def __init__(self, path: str) -> None:
        self._own = FolderMemory(path)
        self._days: dict[str, FolderMemory] = {}

    def look(self) -> None:
        """Learn which days there are."""
        self._own.look()
        days = {name for name in self._own.others if DAY.fullmatch(name)}
        for day in self._days.keys() - days:
            del self._days[day]
        for day in days - self._days.keys():
            self._days[day] = FolderMemory(os.path.join(self._own.path, day), day)

    def look_at(self, day: str) -> object:
        """Bring what is known of one day up to date; the answer is another if that changed."""
        self.look()
        for folder in self._of(day):
            folder.look()
        return [self._own.version, *((folder, folder.version) for folder in self._of(day))]

    def look_at_all(self) -> None:
        """Bring what is known of all days up to date."""
        self.look()
        for folder in self._days.values():
            folder.look()

    @property
    def days(self) -> set[str]:
        """The days that there are records of."""
        return {*self._days, *map(creation_day, self._own.task_ids)}

    @property
    def folders(self) -> list[FolderMemory]:
        """All folders, that of the newest day first."""
        return [self._own, *(self._days[day] for day in sorted(self._days, reverse=True))]

    def runs(self, day: str, user_id: str | None) -> Iterator[tuple[FolderMemory, Sequence[str]]]:
        """Yield the tasks of a day that may be a user's, oldest first, by folder."""
        for folder in self.folders_of(day):
            task_ids = folder.task_ids if user_id is None else folder.maybe_of(user_id)
            if folder is self._own:
                task_ids = tuple(t for t in task_ids if creation_day(t) == day)
            yield folder, task_ids

    def folders_of(self, day: str) -> list[FolderMemory]:
        """Return the folders that may hold records of a day."""
        return [*self._of(day), self._own]

    def _of(self, day: str) -> list[FolderMemory]:
        return [self._days[day]] if day in self._days else []


def read_owners(folder: str, task_ids: Iterable[str]) -> Owners:
    """Return whose these tasks in a folder are, but for those that are gone. For any thread."""
    read = ((task_id, _owner(record_path(folder, task_id))) for task_id in task_ids)
    return {task_id: found for task_id, found in read if found is not None}


def record_path(folder: str, task_id: str) -> str:
    """Return where a task's record lies in a folder."""
    return f"{folder}/{task_id}{SUFFIX}"


def _owner(path: str) -> tuple[_Mark, str | None] | None:
    """
    Return whose task a record is, and its marks; None where it is gone.

    It is nobody's where it cannot be told: a link, a socket, a closed or damaged file, as the spool
    will find.
    """
    try:
        descriptor = os.open(path, _HOW_TO_OPEN)
    except FileNotFoundError:
        return None
    except OSError:
        return _mark_of(path), None
    try:
        found = os.fstat(descriptor)
        mark = _mark(found)
        data = os.read(descriptor, min(found.st_size, _MOST_BYTES))
        value = json.loads(data).get("user_id")
    except (OSError, ValueError, AttributeError, RecursionError):
        return mark, None
    finally:
        os.close(descriptor)
    return mark, value if isinstance(value, str) else None


def _mark_of(path: str) -> _Mark:
    try:
        return _mark(os.stat(path, follow_symlinks=False))
    except OSError:
        return _NOWHERE


def _mark(found: os.stat_result) -> _Mark:
    return found.st_ino, found.st_mtime_ns
