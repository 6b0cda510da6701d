"""Reads a small file that lies where strangers may write: no link, no pipe, no end of bytes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

# The file itself is the reason; anything else is the disk's or the network's.
_NOT_READABLE = (errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.EISDIR)
# What else may lie under a file's name, in words.
IRREGULAR = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
NO_FILE = IRREGULAR | {stat.S_IFDIR: "a folder"}


class NotReadable(Exception):
    """This is no small file, or may not be read; the message says which: "it is a link"."""


def read_small_file(path: Path, most_bytes: int) -> bytes:
    """
    Return what is in a file.

    Raises:
        NotReadable: it is no regular file, may not be read, or is larger than that.
        OSError: it is not there, or the disk or the network is the reason.
    """
    try:
        # A FIFO would block, a link could lead anywhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in _NOT_READABLE:
            raise
        is_link = error.errno == errno.ELOOP
        raise NotReadable("it is a link" if is_link else str(error.strerror)) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotReadable("it is not a file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(most_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > most_bytes:
        raise NotReadable(f"it is larger than {most_bytes} bytes")
    return content
