"""
Is an inbox there, and is it the one that it was?

The folder that a share was mounted on looks like an empty inbox while the share is away.
Files put there would vanish behind it when it is back, so the inbox counts as away: the
mount that it lay in is remembered, across restarts too.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from daemon.atomic import make_folder
from daemon.mounts import lasting_point, mount_of, why_away, why_hidden


class InboxUnavailable(Exception):
    """The inbox is away, or of no use; the reason is for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Place:
    """
    Which folder an inbox is. Two that differ are not the same inbox, though on one path.

    Attributes:
        mount_number: of the mount that it lies in; None where the kernel does not tell.
        mount_point: what that is mounted on, to be remembered; likewise.
    """

    device: int
    inode: int
    mount_number: int | None
    mount_point: str | None


def find_place(root: Path, known_mount: str | None) -> Place:
    """
    Return which folder the inbox is now.

    Args:
        known_mount: the mount point that it lay in when it was seen last, None if never.

    Raises:
        InboxUnavailable: it is not there, its share is not, or it cannot be worked in.
    """
    try:
        status = os.stat(root)
        mount = mount_of(root)
        point = lasting_point(mount) if mount else None
    except OSError as error:
        raise InboxUnavailable(f"{root}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise InboxUnavailable(f"{root} is not a folder")
    if (away := why_hidden(root, mount, known_mount)) is not None:
        raise InboxUnavailable(away)
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        raise InboxUnavailable(_why_closed(root))
    return Place(status.st_dev, status.st_ino, mount.number if mount else None, point)


def make_place(root: Path, known_mount: str | None) -> None:
    """
    Make the inbox where it is not there, but not in the place of a share that is away.

    Only for the start: one that vanishes later was taken away by somebody.

    Raises:
        InboxUnavailable: its share is away, or it cannot be made.
    """
    try:
        if os.path.lexists(root):
            return
        if (away := why_away(root, known_mount)) is not None:
            raise InboxUnavailable(away)
        make_folder(root)
    except OSError as error:
        raise InboxUnavailable(f"{root}: {error.strerror}") from error


def _why_closed(root: Path) -> str:
    with contextlib.suppress(OSError):  # it has gone in this moment; the next look says so
        if os.statvfs(root).f_flag & os.ST_RDONLY:
            return f"{root} is read-only"
    return f"{root} may not be read and written by this user"
