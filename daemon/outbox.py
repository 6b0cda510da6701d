"""
Results and status files in the outbox: their names, and how they come and go.

`docs/FOLDERS.md` has the format. Below the outbox no link is followed: whoever may write there
could otherwise have us write anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath

from daemon.atomic import (
    make_folder,
    move_atomically,
    temporary_of,
    write_atomically,
    write_volatile,
)
from daemon.held_folder import held_folder, held_new_folder, told_as
from daemon.mounts import why_away
from daemon.removal import remove_file
from daemon.spool import Spool
from daemon.spool_errors import RecordDamaged, TaskBusy, UnknownTask
from daemon.task import Task, lacks_end
from daemon.task_id import is_task_id
from daemon.task_view import Language, view

_LONGEST_STEM = 150  # bytes
_STATUS_SUFFIX = ".status.json"
_PART = re.compile(r"\.([0-9a-f-]+)\.([0-9a-f]+)\.part")
_LEFT_OVER_SECONDS = 60.0  # a write takes milliseconds, and one that loses its file is repeated
_DEEPEST = 50
# A task that changes more often than that while it is written is written by whoever changes it.
_TRIES = 5


def result_name(task: Task, suffix: str) -> str:
    """Return the name of a task's result below the outbox; `suffix` begins with its dot."""
    return str(PurePath(task.subfolder, f"{task.task_id}_{_stem(task)}_protected{suffix}"))


def result_path(task: Task) -> Path | None:
    """Return where the result of a completed task was put; None for others."""
    return None if task.output_video is None else Path(task.outbox, task.output_video)


def status_path(task: Task) -> Path:
    """Return where a task's status file lies."""
    return results_folder(task) / f"{task.task_id}_{_stem(task)}{_STATUS_SUFFIX}"


def results_folder(task: Task) -> Path:
    """Return the folder of a task's result and status file."""
    return Path(task.outbox, task.subfolder)


def staging_name(task_id: str, token: str) -> str:
    """Return the hidden name of a result that is being copied to the outbox."""
    return f".{task_id}.{token}.part"


def has_result(task: Task) -> bool:
    """Does the result that the record names lie in the outbox?"""
    if task.output_video is None:
        return False
    place = PurePath(task.output_video)
    try:
        with _held(task, place.parent) as folder:
            return stat.S_ISREG(os.lstat(folder / place.name).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def make_results_folder(task: Task) -> Path:
    """
    Make the folder of a task's result and status file.

    Raises:
        OSError: it cannot be made, or a link leads out of the outbox.
    """
    with _held_results_folder(task):
        return results_folder(task)


def publish(task: Task, staged: Path, output_video: str) -> None:
    """
    Let a finished file that was flushed to the disk appear as `output_video`.

    Raises:
        OSError: it cannot, and has not; FileExistsError where something of that name is there,
            NotADirectoryError where a link has been put in the way meanwhile.
    """
    place = PurePath(output_video)
    with _held(task, place.parent) as folder:
        if staged.parent == Path(task.outbox) / place.parent:
            staged = folder / staged.name
        target = folder / place.name
        try:
            move_atomically(staged, target)
        except OSError as error:
            # The rename was done and only flushing the folder failed: there is no way back.
            if staged.exists() or not target.exists() or isinstance(error, FileExistsError):
                raise


def remove_status(task: Task) -> int:
    """Remove a task's status file if it is there; return its bytes."""
    outbox = Path(task.outbox)
    return remove_file(outbox, status_path(task).relative_to(outbox))


def sweep(outbox: Path, is_wanted: Callable[[str, str], bool], now: float) -> None:
    """
    Remove the hidden files that crashes have left below an outbox.

    As deep as people go: a stranger's chain of a thousand folders would take minutes.

    Args:
        is_wanted: does this attempt, by task and token, still run?
        now: seconds since the epoch.
    """
    waiting = [PurePath()]
    while waiting:
        place = waiting.pop()
        # Gone, a link by now, or closed to us: nothing of ours to look for.
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError),
            held_folder(outbox, *place.parts) as folder,
        ):
            folders = _swept(folder, is_wanted, now)
            if len(place.parts) < _DEEPEST:
                waiting += [place / name for name in folders]


class StatusFiles:
    """Writes the status files of a spool's tasks."""

    def __init__(
        self, spool: Spool, language: Language, known_mounts: Callable[[], Mapping[str, str]]
    ) -> None:
        """`known_mounts` tells where folders lay mounted, by folder."""
        self.language = language
        self._spool = spool
        self._known_mounts = known_mounts

    def refresh(
        self, task_id: str, queue_position: int | None = None, known: Task | None = None
    ) -> Task | None:
        """
        Write a task's status file as the task is now; None where there is no such task.

        `known` is the task as it was a moment ago, which need not be read then.

        Whoever writes looks again afterwards, so that the last of several writers, who may
        have read before the others, knew the last state.

        Raises:
            OSError: the outbox cannot be written, or its share is away.
            TaskBusy: nothing was written.
        """
        task = known or self.task(task_id)
        for _ in range(_TRIES):
            if task is None:
                return None
            self._write(task, queue_position)
            before = task
            try:
                task = self._dated(task_id)
            except TaskBusy:  # it is being changed, and who does that sees to its file
                return before
            if task is None:
                if task_id not in self._spool.unseen_ids():  # else it is there to be mended
                    remove_status(before)
            elif _mark(task) == _mark(before):
                return task
        return task

    def task(self, task_id: str) -> Task | None:
        """
        Return a task as it is now; None where there is no such task.

        Raises:
            TaskBusy
        """
        try:
            return self._spool.get(task_id)
        except (UnknownTask, RecordDamaged):
            return None

    def _dated(self, task_id: str) -> Task | None:
        task = self.task(task_id)
        if task is None or not lacks_end(task):
            return task
        try:
            return self._spool.date_end(task_id)
        except (UnknownTask, RecordDamaged):
            return None

    def _write(self, task: Task, queue_position: int | None) -> None:
        values = view(task, self.language, self._spool.now(), queue_position)
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1)
        # Undecodable bytes of a file name are written as JSON writes lone surrogates.
        data = text.encode("utf-8", "backslashreplace") + b"\n"
        write = write_atomically if task.is_ended else write_volatile
        self._check_mounted(task.outbox)
        with _held_results_folder(task) as folder:
            write(folder / status_path(task).name, data)

    def _check_mounted(self, outbox: str) -> None:
        """Let nothing be written into the empty folder that the share was mounted on."""
        away = why_away(Path(outbox), self._known_mounts().get(outbox))
        if away is not None:
            raise OSError(errno.ENXIO, away, outbox)


def _mark(task: Task) -> object:
    """Return what differs between two states of a task, progress aside."""
    return task.status, task.token, task.attempts, task.retries, task.completed_at, task.webhook


def _stem(task: Task) -> str:
    stem = PurePath(task.input_video).stem
    clean = "".join("_" if unicodedata.category(c) == "Cc" else c for c in stem)
    return _cut(os.fsencode(clean))


def _cut(stem: bytes) -> str:
    if len(stem) <= _LONGEST_STEM:
        return os.fsdecode(stem)
    end = _LONGEST_STEM
    while end > _LONGEST_STEM - 4 and stem[end] & 0xC0 == 0x80:  # inside a character
        end -= 1
    return os.fsdecode(stem[:end])


def _swept(folder: Path, is_wanted: Callable[[str, str], bool], now: float) -> list[str]:
    """Remove the left-overs that lie in a folder; return the names of the folders in it."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
                continue
            with contextlib.suppress(FileNotFoundError):
                if _is_left_over(folder / entry.name, is_wanted, now):
                    os.unlink(folder / entry.name)
    return folders


def _is_left_over(path: Path, is_wanted: Callable[[str, str], bool], now: float) -> bool:
    if part := _PART.fullmatch(path.name):
        return is_task_id(part[1]) and not is_wanted(part[1], part[2])
    target = temporary_of(path.name) or ""
    is_ours = target.endswith(_STATUS_SUFFIX) and is_task_id(target.partition("_")[0])
    return is_ours and path.lstat().st_mtime < now - _LEFT_OVER_SECONDS


@contextlib.contextmanager
def _held(task: Task, place: PurePath) -> Iterator[Path]:
    """Hold a folder below a task's outbox, which must be there."""
    outbox = Path(task.outbox)
    with held_folder(outbox, *place.parts) as folder, told_as(folder, outbox / place):
        yield folder


@contextlib.contextmanager
def _held_results_folder(task: Task) -> Iterator[Path]:
    """Hold the folder of a task's result and status file, and make it where it is missing."""
    outbox = Path(task.outbox)
    make_folder(outbox)
    with (
        held_new_folder(outbox, *PurePath(task.subfolder).parts) as folder,
        told_as(folder, results_folder(task)),
    ):
        yield folder
