"""
Remove files below a folder, and nothing else: no link is followed on the way down from it.

Whoever may write below the folder could otherwise lead a removal anywhere. What is not there is
as good as removed; the folder itself must be there, since an unmounted share is not an empty one.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove_file(base: Path, name: PurePath) -> int:
    """
    Remove the file `name` below `base`; return its bytes, 0 if it is not there.

    Raises:
        FileNotFoundError: `base` is not there.
        OSError: it cannot be removed, or a link lies on the way.
    """
    with _folder(base, name.parent) as folder:
        return 0 if folder is None else _unlink(folder, name.name)


def remove_folder(base: Path, name: PurePath) -> int:
    """
    Remove the folder `name` below `base` and the files in it; return their bytes.

    Raises:
        FileNotFoundError: `base` is not there.
        OSError: it cannot be removed, holds a folder, or a link lies on the way.
    """
    freed = 0
    with _folder(base, name) as folder:
        if folder is not None:
            freed = sum(_unlink(folder, entry) for entry in os.listdir(folder))
    remove_if_empty(base, name)
    return freed


def remove_if_empty(base: Path, name: PurePath) -> None:
    """
    Remove the folder `name` below `base` if nothing is in it.

    Raises:
        FileNotFoundError: `base` is not there.
        OSError: it cannot be removed, or a link lies on the way.
    """
    with _folder(base, name.parent) as folder:
        if folder is None:
            return
        try:
            os.rmdir(name.name, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise


def names_in(base: Path, name: PurePath) -> list[str]:
    """
    Return what lies in the folder `name` below `base`, sorted; nothing if it is not there.

    Raises:
        FileNotFoundError: `base` is not there.
        OSError: it cannot be read, or a link lies on the way.
    """
    with _folder(base, name) as folder:
        return [] if folder is None else sorted(os.listdir(folder))


@contextlib.contextmanager
def _folder(base: Path, name: PurePath) -> Iterator[int | None]:
    """Open a folder below `base`, None if it is not there."""
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{name} does not lie below a folder")
    descriptor = os.open(base, _FOLDER)
    try:
        for part in name.parts:
            try:
                deeper = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            except FileNotFoundError:
                yield None
                return
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)


def _unlink(folder: int, name: str) -> int:
    try:
        size = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return 0
    return size
