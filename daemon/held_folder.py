"""
Folders below one that strangers may write to, held open so that they stay the ones meant.

Between a look at a path and its use, whoever may write there can put a link in the place of a
folder and so have us move or read files anywhere. Here each part is opened below the one
before, no link is followed, and what comes out is a path that leads to the open folder itself,
wherever it may have been moved to.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from daemon.atomic import sync_folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
# What a link or a file in a folder's place is answered with.
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)
_Opener = Callable[[str, int], int]


@contextlib.contextmanager
def held_folder(root: Path, *names: str) -> Iterator[Path]:
    """
    Hold the folder `names` below `root`, and yield a path to it for as long.

    The path is for the work only; messages want the real one.

    Raises:
        FileNotFoundError: it is not there.
        NotADirectoryError: a part is a link, or no folder.
    """
    with _walked(root, names, _opened) as path:
        yield path


@contextlib.contextmanager
def held_new_folder(root: Path, *names: str, mode: int = 0o777) -> Iterator[Path]:
    """
    Do the same, making the folders that are missing; durable.

    Raises:
        NotADirectoryError: a part is a link, or no folder.
    """
    with _walked(root, names, lambda name, parent: _made(name, parent, mode)) as path:
        yield path


@contextlib.contextmanager
def _walked(root: Path, names: tuple[str, ...], opened: _Opener) -> Iterator[Path]:
    descriptor = os.open(root, _FOLDER)
    try:
        place = root
        for name in names:
            place /= name
            with _named(place):
                below = opened(name, descriptor)
            os.close(descriptor)
            descriptor = below
        yield _path(descriptor)
    finally:
        os.close(descriptor)


def _opened(name: str, parent: int) -> int:
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)


def _made(name: str, parent: int, mode: int) -> int:
    with contextlib.suppress(FileNotFoundError):
        return _opened(name, parent)
    with contextlib.suppress(FileExistsError):  # somebody else was faster
        os.mkdir(name, mode, dir_fd=parent)
    sync_folder(_path(parent))
    return _opened(name, parent)


def _path(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


@contextlib.contextmanager
def _named(place: Path) -> Iterator[None]:
    """Have an error tell the whole path, and what is wrong with it."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_FOLDER:
            raise NotADirectoryError(errno.ENOTDIR, "is a link or no folder", str(place)) from error
        raise OSError(error.errno, error.strerror, str(place)) from error
