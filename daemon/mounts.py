"""
On which file system does a path lie, is it another machine's, and is it still there?

The kernel is asked for the mount of an open descriptor, which is exact: neither symlinks nor
a mount over a mount can mislead it, as they can whoever compares paths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

_MOUNTS = Path("/proc/self/mountinfo")
_MOUNT_NUMBER = re.compile(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)
_ESCAPED = re.compile(rb"\\([0-7]{3})")
# Where another machine, or a program, may write without this kernel's knowing.
_REMOTE = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "prl_fs",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
        "vmhgfs",
    ]
)


@dataclass(frozen=True)
class Mount:
    """
    One line of /proc/self/mountinfo.

    Attributes:
        number: of the mount; given again after an unmount.
        point: the folder that it is mounted on.
        file_system: its type, such as `ext4` or `fuse.sshfs`.
        origin: the folder that is mounted: below the file system's device and name, so that two
            mounts of one folder, or of one within the other, are told by it.
    """

    number: int
    point: str
    file_system: str
    origin: PurePath


def origin_of(folder: Path) -> PurePath | None:
    """
    Return where a folder lies on its file system, whichever mount leads there.

    None where the kernel does not tell, or it is not there.
    """
    try:
        mount = mount_of(folder)
        real = folder.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    if mount is None or not real.is_relative_to(mount.point):
        return None
    return mount.origin / real.relative_to(mount.point)


def mount_of(path: Path) -> Mount | None:
    """
    Return the mount that a path lies in; None where the kernel does not tell.

    Raises:
        OSError: the path is not there, or cannot be reached.
    """
    descriptor = os.open(path, os.O_PATH)
    try:
        return mount_of_descriptor(descriptor)
    finally:
        os.close(descriptor)


def why_away(folder: Path, known_mount: str | None) -> str | None:
    """
    Return that another file system shows where a folder lay, its own being gone; None if not.

    Or would show, were the folder made: what mounts a disk when it is plugged in takes the mount
    point away with the disk.

    Args:
        known_mount: the mount point that it lay in when it was seen last, None if never.

    Raises:
        OSError: the folder cannot be reached.
    """
    mount = mount_of(next(place for place in (folder, *folder.parents) if place.exists()))
    return why_hidden(folder, mount, known_mount)


def why_hidden(folder: Path, mount: Mount | None, known_mount: str | None) -> str | None:
    """Return that the known mount, if it were there, would hide what the present one shows."""
    if mount is None or known_mount is None or mount.point == known_mount:
        return None
    is_within = Path(os.path.realpath(folder)).is_relative_to(known_mount)
    if not (is_within and Path(known_mount).is_relative_to(mount.point)):
        return None
    return f"nothing is mounted on {known_mount} any more, where {folder} was"


def lasting_point(mount: Mount) -> str:
    """
    Return the mount point to remember, which others see as well.

    systemd mounts what a service may write to on itself, and for that service alone: whoever else
    looks (a command, the service started by hand) finds the folder, and nothing mounted there.
    """
    if len(mount.origin.parts) == 1:  # a file system as a whole
        return mount.point
    point = PurePath(mount.point)
    by_point = {found.point: found for found in mounts(_MOUNTS.read_bytes())}
    above = next((folder for folder in point.parents if str(folder) in by_point), None)
    if above is None:
        return mount.point
    outer = by_point[str(above)]
    is_on_itself = outer.origin / point.relative_to(above) == mount.origin
    return lasting_point(outer) if is_on_itself else mount.point


def mount_of_descriptor(descriptor: int) -> Mount | None:
    """Return the mount that an open file lies in; None where the kernel does not tell."""
    try:
        told = _MOUNT_NUMBER.search(Path(f"/proc/self/fdinfo/{descriptor}").read_bytes())
        text = _MOUNTS.read_bytes()
    except FileNotFoundError:  # no /proc here
        return None
    # Looked for as text, since this is asked for each file that is taken.
    line = told and re.search(rb"^%s .*$" % told[1], text, re.MULTILINE)
    # Not in the list: unmounted while the file is open, or of another namespace.
    return next(mounts(line[0])) if line else None


def mounts(mountinfo: bytes) -> Iterator[Mount]:
    """Yield what the lines of a mountinfo say."""
    # Not by `splitlines`: the kernel leaves a carriage return in a folder's name as it is.
    for line in filter(None, mountinfo.split(b"\n")):
        # number parent device root point options [tags ...] - type source options
        head, _, tail = line.partition(b" - ")
        number, _, device, root, point = head.split(b" ")[:5]
        file_system, source = tail.split(b" ")[:2]
        # The source too: exports of one NFS server may have one device, and each a root of its own.
        name = f"{_text(device)} {_text(source)}".replace("/", ":")
        origin = PurePath(name, _text(root).lstrip("/"))
        yield Mount(int(number), _text(point), _text(file_system), origin)


def _text(field: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), field))


def is_remote(file_system: str) -> bool:
    """May others change files there without this kernel's noticing?"""
    return file_system in _REMOTE or file_system.startswith("fuse")
