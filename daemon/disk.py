"""
Is there room on the disks? Looked at every few seconds; asked in between for nothing.

A GB is 2^30 bytes here as in all of the configuration; free is what this user may still write.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from daemon.logs import Once, server_log

_GB = 1 << 30
# A file system may be out of files with bytes to spare. One without such a limit tells of none.
_LEAST_FILES = 100


def free_gb(path: Path) -> float:
    """
    Return how much may be written where `path` lies.

    Raises:
        OSError: it is not there, or does not answer.
    """
    return _free(os.statvfs(path))


class DiskWatch:
    """Folders, by what they are for, that work needs room in."""

    def __init__(self, folders: Mapping[str, Path], min_free_gb: float) -> None:
        self._folders = dict(folders)
        self._min_free_gb = min_free_gb
        self._once = Once(server_log())
        self._problems: tuple[str, ...] | None = None
        self._free: dict[str, float | None] = {}

    @property
    def has_room(self) -> bool:
        """Had every folder room when it was looked at last?"""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong then, in sentences; the first to ask looks."""
        return self.check() if self._problems is None else self._problems

    @property
    def free_gb(self) -> Mapping[str, float | None]:
        """How much there was last, by folder; None where that is not known."""
        return self._free

    def check(self) -> tuple[str, ...]:
        """Look at every folder; return what is wrong now."""
        free: dict[str, float | None] = {}
        problems: list[str] = []
        for name, path in self._folders.items():
            free[name], problem = self._look(name, path)
            # Without the number, or each look at a disk that fills up would be told of.
            self._once.tell("no room for new work", problem is not None, of=name, folder=str(path))
            problems += [problem] if problem else []
        self._free, self._problems = free, tuple(problems)
        return self._problems

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
