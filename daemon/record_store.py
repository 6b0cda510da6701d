"""
One record at a time: found, read, and changed under its task's lock.

The steps are those of `docs/STATE.md`, "How it is written"; which of them an act takes is
the business of `spool` and `recovery`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from daemon.atomic import make_folder, remove, rewrite, write_atomically, write_new
from daemon.locks import PATIENCE_SECONDS, task_lock
from daemon.records import Unreadable, encode, read_record
from daemon.shelves import Place, Shelves
from daemon.spool_errors import RecordDamaged, TaskBusy, UnknownTask
from daemon.task import Status, Task
from daemon.task_id import creation_day, is_task_id

# How often an act begins anew because the record was moved by hand under it.
_TRIES = 8
_T = TypeVar("_T")


class Moved(Exception):
    """The record is not where it was just now: an operator's `mv`, which takes no lock."""


@dataclass(frozen=True)
class Hold:
    """A record whose task is locked. `task` is what the record says, literally."""

    shelves: Shelves
    place: Place
    task: Task

    def write(self, task: Task) -> None:
        """
        Write the fields in place.

        Raises:
            Moved: and nothing was written.
        """
        try:
            rewrite(self.place.path, encode(task))
        except FileNotFoundError as error:
            raise Moved from error

    def move(self, status: Status) -> Hold:
        """
        Make the transition and hold the record in its new place.

        Raises:
            Moved: and nothing was done.
        """
        try:
            path = self.shelves.bring(self.place.path, self.task.task_id, status)
        except (FileNotFoundError, FileExistsError) as error:
            raise Moved from error
        place = Place(self.task.task_id, status, path)
        return Hold(self.shelves, place, dataclasses.replace(self.task, status=status))

    def remove(self) -> None:
        """
        Remove the record for good, and the day's folders if it was the last.

        Raises:
            Moved: and nothing was done.
        """
        try:
            remove(self.place.path)
        except FileNotFoundError as error:
            raise Moved from error
        self.shelves.prune(creation_day(self.task.task_id))


class RecordStore:
    """The records under `state`, and their locks."""

    def __init__(self, state: Path) -> None:
        self.shelves = Shelves(state)
        self._locks = state / "locks"
        self.shelves.make()
        make_folder(self._locks)

    def act(
        self,
        task_id: str,
        step: Callable[[Hold], _T],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> _T:
        """
        Take one step with a task that nobody else changes meanwhile.

        Raises:
            UnknownTask, RecordDamaged, TaskBusy: and what `step` raises, but for `Moved`,
                which has it taken anew.
        """
        with self.lock(task_id, patience_seconds):
            for _ in range(_TRIES):
                with contextlib.suppress(Moved):
                    return step(self._held(task_id))
        raise TaskBusy(task_id)

    @contextlib.contextmanager
    def lock(self, task_id: str, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
        """
        Hold a task that may have no record.

        Raises:
            UnknownTask: this can be no task's name.
            TaskBusy: somebody else holds it.
        """
        if not is_task_id(task_id):
            raise UnknownTask(task_id)
        with task_lock(self._locks, task_id, patience_seconds):
            yield

    def add(self, task: Task) -> None:
        """Write a record that is not there yet; its task is locked."""
        path = self.shelves.home(task.task_id, task.status)
        while True:
            make_folder(path.parent)
            with contextlib.suppress(FileNotFoundError):  # removed as empty in that moment
                write_new(path, encode(task))
                return

    def put(self, task: Task) -> None:
        """Have this record of a locked task, whatever somebody did to it by hand."""
        path = self.shelves.home(task.task_id, task.status)
        make_folder(path.parent)
        write_atomically(path, encode(task))

    def status(self, task_id: str) -> Status | None:
        """Return the status of a locked task, None if it has no record."""
        return next((place.status for place in self.shelves.find(task_id)), None)

    def read(self, task_id: str) -> Task:
        """
        Return what the record that counts says; takes no lock where it need not.

        Raises:
            UnknownTask, RecordDamaged, TaskBusy
        """
        if not is_task_id(task_id):
            raise UnknownTask(task_id)
        for place in self.shelves.find(task_id):
            with contextlib.suppress(FileNotFoundError, Unreadable):
                return read_record(place.path, task_id, place.status)
        # Going back while it was looked for, damaged, or not there: the lock tells which.
        return self.act(task_id, lambda hold: hold.task)

    def read_place(self, place: Place) -> Task:
        """
        Return what the record at a place says, or the task's record wherever it is by now.

        Raises:
            UnknownTask, RecordDamaged, TaskBusy
        """
        try:
            return read_record(place.path, place.task_id, place.status)
        except (FileNotFoundError, Unreadable):
            return self.read(place.task_id)

    def settle(self, task_id: str) -> None:
        """Set aside all records of a locked task but the one that counts."""
        with contextlib.suppress(UnknownTask, RecordDamaged, Moved):
            self._held(task_id)

    def sweep_locks(self) -> None:
        """Remove the lock files of processes that were killed."""
        for name in os.listdir(self._locks):
            # One that is another user's is told of by who acts on that task.
            with (
                contextlib.suppress(TaskBusy, UnknownTask, OSError),
                self.lock(Path(name).stem, 0),
            ):
                pass  # letting a lock go removes its file

    def bring_home(self, place: Place) -> None:
        """Move a record of a locked task out of another day's folder."""
        with contextlib.suppress(FileNotFoundError):
            try:
                self.shelves.bring(place.path, place.task_id, place.status)
            except FileExistsError:
                self.shelves.set_aside(place.path, f"{place.path.name}.{place.status}")

    def _held(self, task_id: str) -> Hold:
        hold: Hold | None = None
        damage: RecordDamaged | None = None
        # One look may miss a record that is moved back by hand while it looks.
        for place in self.shelves.find(task_id) or self.shelves.find(task_id):
            try:
                task = read_record(place.path, task_id, place.status)
            except FileNotFoundError as error:
                raise Moved from error
            except Unreadable as error:
                damage = self._set_damaged(place, str(error))
                continue
            if hold is None:
                hold = Hold(self.shelves, place, task)
            else:
                self._set_copy_aside(place, hold.place)
        if hold is None:
            raise damage or UnknownTask(task_id)
        return hold

    def _set_damaged(self, place: Place, reason: str) -> RecordDamaged:
        try:
            path = self.shelves.set_aside(place.path, place.path.name)
        except FileNotFoundError as error:
            raise Moved from error
        return RecordDamaged(place.task_id, path, reason)

    def _set_copy_aside(self, copy: Place, kept: Place) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samefile(copy.path, kept.path):
                remove(copy.path)  # one file under two names: a move by link was cut short
            else:
                self.shelves.set_aside(copy.path, f"{copy.path.name}.{copy.status}")
