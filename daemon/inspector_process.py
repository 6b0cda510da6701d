"""
The process behind `daemon.inspector`: reads little, writes nothing, and may be killed.

It takes questions and gives answers as bytes. A question is a path; the answer is `WHOLE`,
`TRUNCATED`, or `UNREADABLE` and why.
"""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

from daemon.asked_process import READY
from daemon.child import child_connection
from pipeline.boxes import completeness
from pipeline.limits import limit_address_space

WHOLE = b"w"
TRUNCATED = b"t"
UNREADABLE = b"u"
LONGEST_ANSWER = 200
_MEMORY_GB = 1 / 16
_MOST_DESCRIPTORS = 16


def main() -> None:
    """Answer until the parent hangs up."""
    connection = child_connection()
    _give_up_what_is_not_needed()
    connection.send_bytes(READY)
    while True:
        try:
            path = Path(os.fsdecode(connection.recv_bytes()))
        except EOFError:
            return
        connection.send_bytes(_answer(path))


def _answer(path: Path) -> bytes:
    try:
        return TRUNCATED if _is_truncated(path) else WHOLE
    except FileNotFoundError:
        return WHOLE  # renamed or removed since it was seen: nothing lies there to be mended
    except OSError as error:
        reason = error.strerror or "unreadable"
        return (UNREADABLE + reason.encode("utf-8", "replace"))[:LONGEST_ANSWER]


def _is_truncated(path: Path) -> bool:
    # Not a link, and no waiting for a pipe's other end: the file may have been replaced by one
    # since the watcher looked at it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a file")
        return completeness(Path(f"/proc/self/fd/{descriptor}")).is_truncated
    finally:
        os.close(descriptor)


def _give_up_what_is_not_needed() -> None:
    limit_address_space(_MEMORY_GB)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_DESCRIPTORS, _MOST_DESCRIPTORS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # no process and no thread beside this one


if __name__ == "__main__":
    main()
