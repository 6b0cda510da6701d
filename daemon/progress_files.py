"""
How far running tasks are: `state/progress/<task_id>.json`, apart from the records.

Not durable, and of no use after a crash. Whether a file speaks of the attempt that runs is
told by its token.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from daemon.atomic import make_folder, write_volatile
from daemon.records import encode_progress, read_progress
from daemon.task import Progress


class ProgressFiles:
    """The files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def write(self, task_id: str, progress: Progress) -> None:
        """Say how far an attempt is."""
        write_volatile(self._path(task_id), encode_progress(progress))

    def read(self, task_id: str) -> Progress | None:
        """Return what was said last, if anything was."""
        return read_progress(self._path(task_id))

    def remove(self, task_id: str) -> None:
        """Forget it."""
        self._path(task_id).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget all of it."""
        for name in os.listdir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._folder / name)

    def _path(self, task_id: str) -> Path:
        return self._folder / f"{task_id}.json"
