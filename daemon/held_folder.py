"""
Folders below one that strangers may write to, held open so that they stay the ones meant.

Between a look at a path and its use, whoever may write there can put a link in the place of a
folder and so have us move or read files anywhere. Here each part is opened below the one
before, no link is followed, and what comes out is a path that leads to the open folder itself,
wherever it may have been moved to.

A folder that is ours alone needs more: who may write beside it can move it away and build
another in its place, without a link. So it counts only where its owner and its mode say that
nobody else could have made it, or writes to it. Where a file system does not keep what they
are (a share with one user for all, root squashed to nobody), nothing can be told, and nothing
is refused.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from daemon.atomic import sync_folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
# What a link or a file in a folder's place is answered with.
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# No share that gives all files one mode gives this one.
_ODD_MODE = 0o500
_ROOT = 0  # may write anywhere, and is trusted as `sshd` does with a user's keys
# Name and its folder's descriptor, to a descriptor.
_Opener = Callable[[str, int], int]
# A folder's descriptor, that of the one above it, and its path for messages.
_Check = Callable[[int, int, Path], None]


@contextlib.contextmanager
def held_folder(root: Path, *names: str) -> Iterator[Path]:
    """
    Hold the folder `names` below `root`, and yield a path to it for as long.

    The path is for the work only; messages want the real one (`told_as`).

    Raises:
        FileNotFoundError: it is not there.
        NotADirectoryError: a part is a link, or no folder.
        ValueError: the names do not lead down.
    """
    with _walked(root, names, _opened, _check_nothing) as path:
        yield path


@contextlib.contextmanager
def held_own_folder(root: Path, *names: str) -> Iterator[Path]:
    """
    Do the same where the first of the names is a folder that is the service's alone.

    Whoever can neither write to that one nor make it reaches nothing below it.

    Raises:
        PermissionError: somebody else made it, or may write to it; besides what `held_folder` does.
    """
    with _walked(root, names, _opened, _check_is_ours) as path:
        yield path


@contextlib.contextmanager
def held_new_folder(root: Path, *names: str, mode: int = 0o777) -> Iterator[Path]:
    """
    Do the same as `held_folder`, making the folders that are missing; durable.

    Args:
        mode: of those that are made. One that lets nobody else write says that the first of
            them is the service's alone, as in `held_own_folder`.

    Raises:
        NotADirectoryError: a part is a link, or no folder.
        PermissionError: somebody else made what should be ours alone, or may write to it.
        ValueError: the names do not lead down.
    """
    check = _check_nothing if mode & _OTHERS_WRITE else _check_is_ours
    opened = functools.partial(_made, mode=mode)
    with _walked(root, names, opened, check) as path:
        yield path


@contextlib.contextmanager
def told_as(held: Path, real: Path) -> Iterator[None]:
    """Have an error about what lies in a held folder name the path that people know."""
    try:
        yield
    except OSError as error:
        for attribute in ("filename", "filename2"):
            name = getattr(error, attribute)
            if isinstance(name, str | os.PathLike) and Path(name).is_relative_to(held):
                setattr(error, attribute, str(real / Path(name).relative_to(held)))
        raise


@contextlib.contextmanager
def _walked(
    root: Path, names: tuple[str, ...], opened: _Opener, check_first: _Check
) -> Iterator[Path]:
    _check_lead_down(names)
    descriptor = os.open(root, _FOLDER)
    try:
        place = root
        for number, name in enumerate(names):
            place /= name
            with _named(place):
                below = opened(name, descriptor)
            parent, descriptor = descriptor, below
            try:
                if number == 0:
                    check_first(descriptor, parent, place)
            finally:
                os.close(parent)
        yield _path(descriptor)
    finally:
        os.close(descriptor)


def _check_lead_down(names: tuple[str, ...]) -> None:
    for name in names:
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(f"{'/'.join(names)} does not lie below a folder")


def _opened(name: str, parent: int) -> int:
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)


def _made(name: str, parent: int, mode: int) -> int:
    with contextlib.suppress(FileNotFoundError):
        return _opened(name, parent)
    with contextlib.suppress(FileExistsError):  # somebody else was faster
        os.mkdir(name, mode, dir_fd=parent)
    sync_folder(_path(parent))
    return _opened(name, parent)


def _check_nothing(folder: int, parent: int, place: Path) -> None:
    """Anybody's folder will do."""


def _check_is_ours(folder: int, parent: int, place: Path) -> None:
    status = os.fstat(folder)
    is_strange = status.st_uid not in (os.geteuid(), _ROOT)
    is_open = bool(status.st_mode & _OTHERS_WRITE)
    if not (is_strange or is_open) or not _keeps_owner_and_mode(parent):
        return
    if is_strange:
        fact = f"belongs to user {status.st_uid}, not to the service's, {os.geteuid()}"
        advice = f"chown -R {os.geteuid()}"
    else:
        fact, advice = "may be written to by others than the service", "chmod go-w"
    reason = (
        f"{fact}; if the service made it, `{advice}` it, else move it away, since what lies in it"
        " may be anybody's"
    )
    raise PermissionError(errno.EPERM, reason, str(place))


def _keeps_owner_and_mode(folder: int) -> bool:
    """Is a file that we make here ours, with the mode that we give it?"""
    name = f".{secrets.token_hex(8)}.tmp"
    # Asked of the descriptor: by name it could be somebody else's file by now.
    made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _ODD_MODE, dir_fd=folder)
    try:
        status = os.fstat(made)
        return (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.geteuid(), _ODD_MODE)
    finally:
        os.close(made)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


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
