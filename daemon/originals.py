"""
Where accepted files lie: in the service's own folder of their inbox, a folder for each task.

`docs/FOLDERS.md` has the picture. Who opens an original does it by here: strangers may write
beside the service's folder, so its path may lead elsewhere by now.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from daemon.held_folder import held_folder, held_own_folder, told_as
from daemon.task_id import creation_day

OWN_FOLDER = ".media-cleaner"
ORIGINALS = PurePath(OWN_FOLDER, "originals")
CLAIMING = PurePath(OWN_FOLDER, "claiming")  # the claims that are under way


def own_place(task_id: str) -> PurePath:
    """Return a task's folder below its inbox."""
    return ORIGINALS / creation_day(task_id) / task_id


def inbox_of(original: Path) -> Path:
    """Return the inbox that an accepted file lies in; the folder of one put elsewhere by hand."""
    return _split(original.parent)[0]


@contextlib.contextmanager
def held_home(original: Path) -> Iterator[Path]:
    """
    Hold the folder of an accepted file, and yield a path to it for as long.

    One that lies elsewhere was put there by hand, and its folder is trusted.

    Errors about what lies in it name its real path.

    Raises:
        OSError: it is not there, a link lies on the way, or the service's folder is not its own.
    """
    root, names = _split(original.parent)
    held = held_own_folder(root, *names) if names else held_folder(root)
    with held as home, told_as(home, original.parent):
        yield home


@contextlib.contextmanager
def held_original(original: Path) -> Iterator[Path]:
    """
    Hold the folder of an accepted file, and yield a path to the file by its own name.

    Raises:
        OSError: as `held_home`; or it is not there, or no file.
    """
    with held_home(original) as home:
        path = home / original.name
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(0, "is a link or no file", str(original))
        yield path


def _split(home: Path) -> tuple[Path, tuple[str, ...]]:
    """Return a task's inbox, and the names that lead from it to the task's folder."""
    depth = len((ORIGINALS / "day" / "id").parts)
    names = home.parts[-depth:]
    if names[:2] != ORIGINALS.parts:
        return home, ()
    return home.parents[depth - 1], names
