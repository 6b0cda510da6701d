"""Is an outbox there, on the file system that it lay on when the service saw it last?"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

from daemon.inbox_place import is_share_away

# Where each folder's file system was mounted when it was there, by the folder.
Mounts = Callable[[], Mapping[str, str]]


def is_outbox_away(outbox: Path, mounts: Mapping[str, str]) -> bool:
    """
    Is the mount that an outbox lay in gone, so that there is nothing or an empty folder?

    Raises:
        OSError: it cannot be reached.
    """
    known = mounts.get(str(outbox))
    if known is None:
        return False
    return is_share_away(next(p for p in (outbox, *outbox.parents) if p.is_dir()), known)


def check_outbox(outbox: Path, mounts: Mapping[str, str]) -> None:
    """
    Raises:
        FileNotFoundError: it is away; what lies there is not what was.
        OSError: it cannot be reached.
    """
    if is_outbox_away(outbox, mounts):
        known = mounts[str(outbox)]
        reason = f"nothing is mounted on {known} any more, where {outbox} was"
        raise FileNotFoundError(errno.ENOENT, reason, str(outbox))
