"""
Is there room on the disks? Looked at every few seconds; asked in between for nothing.

A look may never come back, as where a share hangs. So only `check` looks, in whatever thread
may wait, and asking tells what is known; a look that takes long is a problem by itself.

A GB is 2^30 bytes here as in all of the configuration; free is what this user may still write.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.logs import Once, server_log

_GB = 1 << 30
# A file system may be out of files with bytes to spare. One without such a limit tells of none.
_LEAST_FILES = 100
_PATIENCE_SECONDS = 20.0


def free_gb(path: Path) -> float:
    """
    Return how much may be written where `path` lies.

    Raises:
        OSError: it is not there, or does not answer.
    """
    return _free(os.statvfs(path))


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
    ) -> None:
        self._folders = dict(folders)
        self._min_free_gb = min_free_gb
        self._clock = clock
        self._once = Once(server_log())
        self._found: tuple[str, ...] | None = None
        self._free: dict[str, float | None] = {}
        self._looking: _Look | None = None

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
        """Look at every folder; return what is wrong now. For one thread at a time."""
        free: dict[str, float | None] = {}
        problems: list[str] = []
        for name, path in self._folders.items():
            self._looking = _Look(name, path, self._clock())
            free[name], problem = self._look(name, path)
            # Without the number, or each look at a disk that fills up would be told of.
            self._once.tell("no room for new work", problem is not None, of=name, folder=str(path))
            problems += [problem] if problem else []
        self._free, self._found, self._looking = free, tuple(problems), None
        return self._found

    def _look(self, name: str, path: Path) -> tuple[float | None, str | None]:
        try:
            found = os.statvfs(path)
        except OSError as error:
            return None, f"{name}: {path} cannot be used ({error.strerror}); bring it back."
        free = _free(found)
        if free < self._min_free_gb:
            return free, (
                f"{name}: {path} has {free:.1f} GB free, less than min_free_gb"
                f" ({self._min_free_gb:g}); make room."
            )
        if found.f_files and found.f_favail < _LEAST_FILES:
            return free, f"{name}: {path} has no room for more files (inodes); remove some."
        return free, None


def _free(found: os.statvfs_result) -> float:
    return found.f_bavail * found.f_frsize / _GB
