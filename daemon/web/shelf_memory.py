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
import re
import time
from collections.abc import Iterator, Mapping, Sequence

from daemon.shelves import TICK_NS
from daemon.task_id import creation_day, is_task_id

_SUFFIX = ".json"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
# To look whether the owners that are known still hold takes 3.5 µs for each; where there are more
# of them it is not done with every change of the folder. A task changes hands only where its
# sidecar was changed before a retry.
_FEW_OWNERS = 500
_CHECK_SECONDS = 2.0
_MOST_BYTES = 1 << 20
_RECORD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_Mark = tuple[int, int]
_NOWHERE: _Mark = (0, 0)


class FolderMemory:
    """The records in one folder."""

    def __init__(self, path: str, day: str | None = None) -> None:
        """`day` is that of all its records; None for a status' own folder."""
        self.path = path
        self.others: frozenset[str] = frozenset()  # what is no record
        self._day = day
        self.version = 0  # another one whenever something may have come or gone
        self.version = 0  # another one as soon as something may have come or gone
        self._mark: _Mark | None = None
        self._is_sure = False
        self._task_ids: tuple[str, ...] = ()
        self._owners: dict[str, tuple[_Mark, str | None]] = {}
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
        """Return those of one user, oldest first."""
        return self._owned().get(user_id, ())

    def maybe_of(self, user_id: str) -> Sequence[str]:
        """Return those and, since they lie elsewhere by now, those that could not be asked."""
        asked = self._owned()
        if len(self._owners) == len(self._task_ids):
            return asked.get(user_id, ())
        moved = [task_id for task_id in self._task_ids if task_id not in self._owners]
        return sorted([*asked.get(user_id, ()), *moved])

    def read_owners(self, most: int | None = None) -> int:
        """Read owners that are not known yet, at most so many; return how many it were."""
        if len(self._owners) == len(self._task_ids):
            return 0
        unknown = [task_id for task_id in self._task_ids if task_id not in self._owners][:most]
        for task_id in unknown:
            found = _owner(self._path(task_id))
            if found is not None:
                self._owners[task_id] = found
        return len(unknown)

    def _take(self, names: Sequence[str]) -> bool:
        """Remember what is there; say whether other records are."""
        known = set(self._task_ids)
        stems = {name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX)}
        found = {stem for stem in stems if stem in known or self._may_hold(stem)}
        self.others = frozenset(name for name in names if not name.endswith(_SUFFIX))
        self._are_checked = False
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
        has_changed = self._forget_changed_owners()
        if self.read_owners() or has_changed or self._by_owner is None:
            self._by_owner = {}
            for task_id in self._task_ids:
                if task_id in self._owners:
                    _, owner = self._owners[task_id]
                    self._by_owner.setdefault(owner, []).append(task_id)
        return self._by_owner

    def _forget_changed_owners(self) -> bool:
        now = time.monotonic()
        if self._are_checked or (len(self._owners) > _FEW_OWNERS and now < self._check_due):
            return False
        gone = [t for t, (mark, _) in self._owners.items() if mark != _mark_of(self._path(t))]
        for task_id in gone:
            del self._owners[task_id]
        # A change that comes just now may have the mtime of the one before.
        self._are_checked = self._is_sure
        self._check_due = now + _CHECK_SECONDS
        return bool(gone)

    def _path(self, task_id: str) -> str:
        return f"{self.path}/{task_id}{_SUFFIX}"


class ShelfMemory:
    """The records of one status: those in the folders of days, and those directly in its own."""

    def __init__(self, path: str) -> None:
        self._own = FolderMemory(path)
        self._days: dict[str, FolderMemory] = {}

    def look(self) -> None:
        """Learn which days there are."""
        self._own.look()
        days = {name for name in self._own.others if _DAY.fullmatch(name)}
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

    def runs(self, day: str, user_id: str | None) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the tasks of a day, oldest first, by the folder that they lie in."""
        for folder in (*self._of(day), self._own):
            task_ids = folder.task_ids if user_id is None else folder.maybe_of(user_id)
            if folder is self._own:
                task_ids = tuple(t for t in task_ids if creation_day(t) == day)
            yield folder.path, task_ids

    def _of(self, day: str) -> list[FolderMemory]:
        return [self._days[day]] if day in self._days else []


def _owner(path: str) -> tuple[_Mark, str | None] | None:
    """
    Return whose task a record is, and its marks; None where it is gone.

    It is nobody's where it cannot be told: a link, a socket, a closed or damaged file, as the spool
    will find.
    """
    try:
        descriptor = os.open(path, _RECORD)
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
