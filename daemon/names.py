"""
What the name of a dropped file says of it. No I/O.

A name may hold any byte but `/` and zero; bytes that are no UTF-8 come as lone surrogates.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection

# How transfers and editors call what is not finished: of browsers, SFTP and FTP clients,
# rsync, sync tools and download managers. Those with a leading dot need no entry.
_UNFINISHED_ENDINGS = (
    ".part",
    ".filepart",
    ".partial",
    ".tmp",
    ".temp",
    ".crdownload",
    ".opdownload",
    ".download",
    ".downloading",
    ".uploading",
    ".!ut",
    ".!qb",
    ".!sync",
    ".bc!",
    ".aria2",
    ".swp",
    "~",
)
# What file servers and desktops leave in every folder; those with a leading dot need no entry.
_LITTER = frozenset(
    {
        "@eadir",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "desktop.ini",
    }
)
# In capitals too, as some systems write all of a name when they write the video's so.
_SIDECAR_ENDINGS = (".yaml", ".yml", ".YAML", ".YML")
# What a file system says of a name that it cannot hold: FAT, exFAT and NTFS have none with any of
# \ : * ? " < > |
_NOT_HELD = (errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG)


def is_left_alone(name: str) -> bool:
    """Is it an unfinished transfer, or litter of some system, file or folder?"""
    lower = name.lower()
    return lower.startswith((".", "~")) or lower.endswith(_UNFINISHED_ENDINGS) or lower in _LITTER


def is_video(name: str, extensions: Collection[str]) -> bool:
    """Is it a video's? `extensions` are in lower case and begin with their dot."""
    return os.path.splitext(name)[1].lower() in extensions and not is_left_alone(name)


def is_sidecar(name: str) -> bool:
    """Could it be the name of some video's sidecar?"""
    return name.endswith(_SIDECAR_ENDINGS) and not is_left_alone(name)


def sidecar_names(video: str) -> tuple[str, ...]:
    """Return the names that a video's sidecar may have, the best first."""
    return (*own_sidecar_names(video), *shared_sidecar_names(video))


def own_sidecar_names(video: str) -> tuple[str, ...]:
    """Return those that hold the video's whole name, so that they are nobody else's."""
    return tuple(video + ending for ending in _SIDECAR_ENDINGS)


def shared_sidecar_names(video: str) -> tuple[str, ...]:
    """Return those that a video of another extension might claim as well."""
    return tuple(stem(video) + ending for ending in _SIDECAR_ENDINGS)


def stem(name: str) -> str:
    """Return the name without its last extension: of a video, or of a sidecar."""
    return os.path.splitext(name)[0]


def is_name_refused(error: OSError) -> bool:
    """Does a file system refuse a name, and so for good, rather than what is done to the file?"""
    # Flushing may be refused with the same number; that names no file.
    return error.errno in _NOT_HELD and error.filename is not None
