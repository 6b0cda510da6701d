"""
Does anybody have a file open for writing?

Asked by a read lease: the kernel grants one only on a file that nobody can write to. Only
the file's owner, or who has CAP_LEASE (root), may ask; and only a local file system knows all
its writers (on NFSv4 a refusal only means that there is no delegation).

The lease is given back at once. Whoever opens the file for writing in that instant waits for
that long, some microseconds, and notices nothing; who opens it with O_NONBLOCK is told EAGAIN.
The signal by which the kernel asks for the lease is set to SIGURG, which is ignored unless
somebody wants it: SIGIO, the default, would end the process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from pathlib import Path

from daemon.mounts import is_remote, mount_of_descriptor


def is_open_for_writing(path: Path) -> bool | None:
    """
    Return whether somebody can write to it now; None where that cannot be told.

    Only a regular file is ever opened, and a link is not followed.
    """
    try:
        # Neither opens the file yet, nor reaches its driver, were it a device.
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return None  # gone, or out of reach; the next look says so
    try:
        return _has_writer(descriptor) if _knows_its_writers(descriptor) else None
    finally:
        os.close(descriptor)


def _knows_its_writers(descriptor: int) -> bool:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    mount = mount_of_descriptor(descriptor)
    return mount is not None and not is_remote(mount.file_system)


def _has_writer(descriptor: int) -> bool | None:
    try:
        # Opening it may be refused likewise: where somebody else holds a write lease on it.
        reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.fcntl(reading, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(reading, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        finally:
            os.close(reading)  # which gives the lease back
    except OSError as error:
        # Else: not our file, not to be read by us, or no leases on this file system.
        return True if error.errno == errno.EAGAIN else None
    return False
