"""
Is there room on the disks? Looked at every few seconds; asked in between for nothing.

A look may never come back, as where a share hangs. So only `check` looks, in whatever thread
may wait, and asking tells what is known; a look that takes long is a problem by itself.

A GB is 2^30 bytes here as in all of the configuration; free is what this user may still write.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.logs import Once, server_log
from daemon.mounts import lasting_point, mount_of, why_away

_GB = 1 << 30
# What a full disk, or a quota that is used up, answers a write with.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# With less a disk is full, however low its bound is set: a record or two would fit, and no result.
FULL_GB = 1 / 1024
# A file system may be out of files with bytes to spare. One without such a limit tells of none.
_LEAST_FILES = 100
_PATIENCE_SECONDS = 20.0


def free_gb(path: Path) -> float | None:
    """
    Return how much may be written where `path` lies; None where its file system does not tell.

    Raises:
        OSError: it is not there, or does not answer.
    """
    return _free(os.statvfs(path))


def why_closed(path: Path) -> str | None:
    """
    Return why a folder cannot be worked in, however much room there is; None if it can.

    Without the right to read it, it can be neither opened, as is done below it, nor flushed.
    """
    folder = os.path.join(path, "")  # with its slash, a file in the folder's place is no folder
    try:
        if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return None
        is_read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError as error:
        return unusable(path, error)
    reason = "is read-only" if is_read_only else "may not be read and written by this user"
    return f"{path} {reason}; mend that."


def shortage(path: Path, min_free_gb: float) -> str | None:
    """
    Return that there is less room than there has to be, in a sentence; None where there is enough.

    Raises:
        OSError: it is not there, or does not answer.
    """
    found = os.statvfs(path)
    free = _free(found)
    if free is not None and free < min_free_gb:
        return (
            f"{path} has {in_words(free)} free, less than min_free_gb ({min_free_gb:g}); make room."
        )
    if free is not None and free < FULL_GB:
        return f"{path} is full; make room."
    if found.f_files and found.f_favail < _LEAST_FILES:
        return f"{path} has no room for more files (inodes); remove some."
    return None


def unusable(path: Path, error: OSError) -> str:
    """Return that a folder does not answer, in a sentence."""
    return f"{path} cannot be used ({error.strerror}); bring it back."


def in_words(gb: float) -> str:
    """Return an amount of room as people read it: `7.5 GB`, below one `512 MB`."""
    return f"{gb:.1f} GB" if gb >= 1 else f"{max(gb, 0.0) * 1024:.0f} MB"


@dataclass(frozen=True)
class _Look:
    name: str
    path: Path
    since: float


class DiskWatch:
    """Folders, by what they are for, that work needs room in."""

    def __init__(
        self,
        folders: Mapping[str, Path],
        min_free_gb: float,
        clock: Callable[[], float] = time.monotonic,
        known_mounts: Mapping[str, str] | None = None,
    ) -> None:
        """`known_mounts` is what `mounts` was in the last run."""
        self._folders = dict(folders)
        self._min_free_gb = min_free_gb
        self._clock = clock
        self._once = Once(server_log())
        self._found: tuple[str, ...] | None = None
        self._free: dict[str, float | None] = {}
        self._looking: _Look | None = None
        known = known_mounts or {}
        paths = map(str, self._folders.values())
        # What others look at would stay here as it once was, and one no longer named for ever.
        self._mounts = {path: known[path] for path in paths if path in known}
        self._is_away = False
        self._lock = threading.Lock()

    @property
    def is_away(self) -> bool:
        """Could some folder not be used at all when it was looked at last, full or not?"""
        return self._is_away

    @property
    def mounts(self) -> Mapping[str, str]:
        """Where each folder's file system was mounted when it was there, by the folder, by now."""
        return dict(self._mounts)  # whoever goes through them may be in another thread

    @property
    def has_room(self) -> bool:
        """Had every folder room when it was looked at last? Not before the first look."""
        return self._found is not None and not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong then, or is while a look takes too long, in sentences."""
        found, looking = self._found or (), self._looking
        silent = 0.0 if looking is None else self._clock() - looking.since
        if looking is None or silent <= _PATIENCE_SECONDS:
            return found
        return (
            *found,
            f"{looking.name}: {looking.path} has not answered for {silent:.0f} s; bring it back.",
        )

    @property
    def free_gb(self) -> Mapping[str, float | None]:
        """How much there was last, by folder; None where that is not known."""
        return self._free

    def check(self) -> tuple[str, ...]:
        """Look at every folder; return what is wrong now."""
        with self._lock:
            return self._checked()

    def _checked(self) -> tuple[str, ...]:
        free: dict[str, float | None] = {}
        problems: list[str] = []
        is_away = False
        for name, path in self._folders.items():
            self._looking = _Look(name, path, self._clock())
            problem = self._why_away(path)
            if problem is not None:
                is_away, free[name] = True, None
            else:
                free[name], problem = self._look(path)
            # Without the number, or each look at a disk that fills up would be told of.
            self._once.tell("no room for new work", problem is not None, of=name, folder=str(path))
            problems += [f"{name}: {problem}"] if problem else []
        self._is_away = is_away
        self._free, self._found, self._looking = free, tuple(problems), None
        return self._found

    def _why_away(self, path: Path) -> str | None:
        """Return why a folder cannot be worked in, however much room there is."""
        try:
            if (away := why_away(path, self._mounts.get(str(path)))) is not None:
                return f"{away}; mount it."
            if (reason := why_closed(path)) is not None:
                return reason
            if (mount := mount_of(path)) is not None:
                self._mounts[str(path)] = lasting_point(mount)
        except OSError as error:
            return unusable(path, error)
        return None

    def _look(self, path: Path) -> tuple[float | None, str | None]:
        try:
            return free_gb(path), shortage(path, self._min_free_gb)
        except OSError as error:  # gone in this moment
            return None, unusable(path, error)


def _free(found: os.statvfs_result) -> float | None:
    if found.f_blocks == 0:  # what FUSE says for a file system that has no answer of its own
        return None
    return found.f_bavail * found.f_frsize / _GB
