"""
A file that is arriving: no name, so that it is gone with the process that receives it.

It lies on the file system where it is to stay. Where that knows no files without a name, it has
one that is locked as long as its process lives.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from daemon.atomic import move_atomically, sync_folder, write_all
from daemon.locks import try_lock

# Ending of the names that such files have where they must have one.
PART = ".part"
# The operator's group may look after videos, the rest of the machine not.
_MODE = 0o640
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
# What a share answers that knows no locks; there only age tells that a file is nobody's.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_LONGEST_NAME = 255  # bytes
# Asking the file system costs little, but not nothing.
_LOOK_BYTES = 64 << 20


class TooLarge(Exception):
    """The file has more bytes than are allowed."""


class UploadedFile:
    """A file that is arriving. Nothing of it is left unless it is accepted."""

    def __init__(
        self, descriptor: int, part: Path | None, max_bytes: int, look: Callable[[], None]
    ) -> None:
        """
        Args:
            part: its name, where it has to have one.
            look: called now and then while it grows, to raise what stands against that.
        """
        self.size = 0
        self._descriptor = descriptor
        self._part = part
        self._max_bytes = max_bytes
        self._look = look
        self._look_at = _LOOK_BYTES

    def write(self, data: bytes) -> None:
        """
        Add to the file.

        Raises:
            TooLarge: it would have more bytes than are allowed.
            OSError: ENOSPC and the like; and whatever `look` raises.
        """
        self.size += len(data)
        if self.size > self._max_bytes:
            raise TooLarge
        if self.size >= self._look_at:
            self._look()
            self._look_at = self.size + _LOOK_BYTES
        write_all(self._descriptor, data)

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Yield a descriptor that can only be read from."""
        descriptor = os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def flush(self) -> None:
        """Bring all of it to the disk."""
        os.fsync(self._descriptor)

    def name(self, path: Path) -> None:
        """
        Give it a name; durable.

        Raises:
            FileExistsError: that is taken.
        """
        if self._part is not None:
            move_atomically(self._part, path)
            return
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Given a folder, Python follows the link to the file itself; else it links the link.
            os.link(f"/proc/self/fd/{self._descriptor}", path.name, dst_dir_fd=folder)
        finally:
            os.close(folder)
        sync_folder(path.parent)

    def close(self) -> None:
        """Let go of it."""
        if self._part is not None:
            self._part.unlink(missing_ok=True)
        os.close(self._descriptor)


def safe_name(name: str) -> str:
    """
    Return a client's name of a file as one that can stand in a folder.

    Its last part, without control characters, and short enough with its ending whole.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    clean = "".join("_" if ord(c) < 32 or 127 <= ord(c) < 160 else c for c in last)
    path = PurePath(clean)
    room = _LONGEST_NAME - len(path.suffix.encode())
    if len(clean.encode()) <= _LONGEST_NAME or room < 1:
        return clean.encode()[:_LONGEST_NAME].decode("utf-8", "ignore")
    return path.stem.encode()[:room].decode("utf-8", "ignore") + path.suffix


@contextlib.contextmanager
def new_file(folder: Path, max_bytes: int, look: Callable[[], None]) -> Iterator[UploadedFile]:
    """Yield a file to write to; `look` as for `UploadedFile`."""
    file = _new_file(folder, max_bytes, look)
    try:
        yield file
    finally:
        file.close()


@contextlib.contextmanager
def locked_name(path: Path) -> Iterator[Path]:
    """Make an empty file that is held as long as the context lasts; it stays afterwards."""
    descriptor = _locked_new(path)
    try:
        yield path
    finally:
        os.close(descriptor)


def is_held(descriptor: int) -> bool:
    """Is an open file somebody's who lives? Takes it, if not."""
    return not _locked(descriptor)


def _new_file(folder: Path, max_bytes: int, look: Callable[[], None]) -> UploadedFile:
    try:
        return UploadedFile(_unnamed(folder), None, max_bytes, look)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
    part = folder / f"{secrets.token_hex(16)}{PART}"
    return UploadedFile(_locked_new(part), part, max_bytes, look)


def _unnamed(folder: Path) -> int:
    return os.open(folder, os.O_TMPFILE | os.O_RDWR, _MODE)


def _locked_new(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _MODE)
    _locked(descriptor)  # nobody else has it yet
    return descriptor


def _locked(descriptor: int) -> bool:
    try:
        return try_lock(descriptor)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True
