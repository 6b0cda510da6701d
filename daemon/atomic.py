"""
Files that are whole or absent, also after a crash or a loss of power.

Each function is durable when it returns, but for `write_volatile`. A temporary file lies in
its target's folder under `.NAME.RANDOM.tmp`; a crash may leave it behind (`temporary_of`
tells whose it was).

Why renameat2 by ctypes: Python's rename always replaces. Moving a file must not replace one
of that name, and rewriting a file must not bring back one that has just been moved away; the
kernel can promise both in one step, which link + unlink and a look before a rename cannot.
Where the file system does not know the flags (NFS, some FUSE), those take their place, with
the windows that `docs/STATE.md` tells of.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import stat
from pathlib import Path

_AT_FDCWD = -100
_NOREPLACE = 1
_EXCHANGE = 2
_UNKNOWN_FLAG = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# What a network share answers that knows no flushing of a folder.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP, errno.ENOSYS)
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")

_libc = ctypes.CDLL(None, use_errno=True)


def write_new(path: Path, data: bytes, mode: int = 0o666) -> None:
    """
    Write a file that must not be there yet.

    Args:
        mode: who may read and write it, less what the umask takes away.

    Raises:
        FileExistsError: it is there; it is left as it was.
    """
    temporary = _written_beside(path, data, mode)
    try:
        _rename_new(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file, in the place of one of that name if there is one."""
    temporary = _written_beside(path, data)
    try:
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def rewrite(path: Path, data: bytes) -> None:
    """
    Write a file anew that must still be there.

    Raises:
        FileNotFoundError: it has been moved away; nothing was written.
    """
    temporary = _written_beside(path, data)
    try:
        _exchange(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)  # the old content, or the new one if that failed


def write_volatile(path: Path, data: bytes) -> None:
    """Write a file whole, for readers of this moment; a crash may lose it or empty it."""
    temporary = _temporary_name(path)
    try:
        temporary.write_bytes(data)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def move_atomically(source: Path, target: Path) -> None:
    """
    Move a file within a file system, never replacing one.

    Raises:
        FileExistsError: the target is there.
        FileNotFoundError: the source is not, or the target's folder.
        OSError: EXDEV where they lie on two file systems.
    """
    _rename_new(source, target)
    # The new name first: between the two a loss of power may leave both names, never none.
    sync_folder(target.parent)
    if source.parent != target.parent:
        _sync_left_folder(source.parent)


def remove(path: Path) -> None:
    """
    Remove a file for good.

    Raises:
        FileNotFoundError: it is not there.
    """
    os.unlink(path)
    _sync_left_folder(path.parent)


def make_folder(path: Path) -> None:
    """
    Make a folder and those above it, where they are missing.

    Raises:
        FileExistsError: something that is no folder is there.
    """
    while not path.is_dir():
        make_folder(path.parent)
        try:
            path.mkdir()
        except FileExistsError:
            if is_no_folder(path):
                raise
            continue  # somebody else made it; or it was removed as empty in that moment
        sync_folder(path.parent)
        return


def is_no_folder(path: Path) -> bool:
    """Is there something that is neither a folder nor a link to one?"""
    try:
        mode = path.lstat().st_mode  # one look: a folder may go as empty and come again
    except FileNotFoundError:
        return False
    return not (stat.S_ISDIR(mode) or stat.S_ISLNK(mode) and path.is_dir())


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, where its file system can do so."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however little of it a disk that is nearly full takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def temporary_of(name: str) -> str | None:
    """Return the name that a temporary file was to get; None if `name` is no such file."""
    match = _TEMPORARY.fullmatch(name)
    return match and match[1]


def _sync_left_folder(path: Path) -> None:
    # Somebody may have removed it as empty by now, and what was in it with it.
    with contextlib.suppress(FileNotFoundError):
        sync_folder(path)


def _written_beside(path: Path, data: bytes, mode: int = 0o666) -> Path:
    temporary = _temporary_name(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _rename_new(source: Path, target: Path) -> None:
    try:
        _renameat2(source, target, _NOREPLACE)
    except OSError as error:
        if error.errno not in _UNKNOWN_FLAG:
            raise
        _link_and_unlink(source, target)


def _link_and_unlink(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without links either (FAT, some shares): the names are unguessable, so nobody else
        # takes one between the look and the rename.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(source, target)
    else:
        _unlink_linked(source, target)


def _unlink_linked(source: Path, target: Path) -> None:
    try:
        os.unlink(source)
    except FileNotFoundError:
        os.unlink(target)  # somebody else linked it too and was faster: it is theirs
        raise


def _exchange(source: Path, target: Path) -> None:
    try:
        _renameat2(source, target, _EXCHANGE)
    except OSError as error:
        if error.errno not in _UNKNOWN_FLAG:
            raise
        os.lstat(target)  # FileNotFoundError if it has been moved away
        os.rename(source, target)


def _renameat2(source: Path, target: Path, flags: int) -> None:
    names = os.fsencode(source), os.fsencode(target)
    if _libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(source), None, str(target))
