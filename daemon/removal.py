"""
Remove files below a folder, and nothing else: no link is followed on the way down from it.

Whoever may write below the folder could otherwise lead a removal anywhere. What is not there is
as good as removed, and so is what the file system cannot hold; the folder itself must be there,
since an unmounted share is not an empty one.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from daemon.held_folder import held_folder, told_as
from daemon.names import is_name_refused


def remove_file(base: Path, name: PurePath) -> int:
    """
    Remove the file `name` below `base`; return its bytes, 0 if it is not there.

    Raises:
        FileNotFoundError: `base` is not there.
        OSError: it cannot be removed, or a link lies on the way.
    """
    with _folder(base, name.parent) as folder:
        return 0 if folder is None else _unlink(folder / name.name)


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
            freed = sum(_unlink(folder / entry) for entry in os.listdir(folder))
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
            os.rmdir(folder / name.name)
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
def _folder(base: Path, name: PurePath) -> Iterator[Path | None]:
    """Hold a folder below `base`; None if it is not there."""
    with contextlib.ExitStack() as held:
        try:
            folder = held.enter_context(held_folder(base, *name.parts))
        except OSError as error:
            if not _is_absent(error) or Path(error.filename) == base:
                raise
            yield None
            return
        held.enter_context(told_as(folder, base / name))
        yield folder


def _unlink(path: Path) -> int:
    try:
        size = path.lstat().st_size
        path.unlink()
    except OSError as error:
        if not _is_absent(error):
            raise
        return 0
    return size


def _is_absent(error: OSError) -> bool:
    # Shares and encrypted folders refuse even to look for a name that they cannot hold.
    return isinstance(error, FileNotFoundError) or is_name_refused(error)
