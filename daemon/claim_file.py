"""
A claim that is under way, as the bytes of `claiming/<task_id>.json`; see `docs/FOLDERS.md`.

Read strictly: it lies in an inbox, where others may write, and says which files to move.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from daemon.small_file import NotReadable, read_small_file
from daemon.task_id import is_task_id

SUFFIX = ".json"
_MAX_BYTES = 64 << 10
_LONGEST_NAME = 255  # bytes


class BadClaim(Exception):
    """This is no claim, or none that may be carried out; the message says why."""


@dataclass(frozen=True)
class Claim:
    """
    One file that is being taken.

    Attributes:
        subfolder: of the inbox, "" for none.
        video, sidecar: names in it; `sidecar` is None for none.
        refused: why the sidecar that it has cannot be read, nor taken; None for no such.
    """

    task_id: str
    subfolder: str
    video: str
    sidecar: str | None
    refused: str | None = None

    @property
    def file_name(self) -> str:
        """The name of the claim's file."""
        return self.task_id + SUFFIX


def encode(claim: Claim) -> bytes:
    """Return the content of a claim's file; in ASCII, so that any bytes of a name pass."""
    return json.dumps(dataclasses.asdict(claim), indent=1).encode("ascii") + b"\n"


def read_claim(path: Path) -> Claim:
    """
    Return the claim that a file holds.

    Raises:
        BadClaim: it holds none, or one that names what is no file below an inbox.
        OSError: the disk or the network is the reason.
    """
    values = _parsed(_content(path))
    claim = Claim(
        task_id=_text(values.get("task_id")),
        subfolder=_text(values.get("subfolder")),
        video=_text(values.get("video")),
        sidecar=None if values.get("sidecar") is None else _text(values["sidecar"]),
        refused=None if values.get("refused") is None else _text(values["refused"]),
    )
    _check(claim, path.name)
    return claim


def _content(path: Path) -> bytes:
    try:
        return read_small_file(path, _MAX_BYTES)
    except NotReadable as error:
        raise BadClaim(f"it cannot be read: {error}") from error


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadClaim("it is not JSON") from error
    if not isinstance(values, dict):
        raise BadClaim("it is not an object")
    return values


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadClaim(f"it has {str(value)[:60]!r} where a name belongs")
    return value


def _check(claim: Claim, file_name: str) -> None:
    if not is_task_id(claim.task_id) or claim.file_name != file_name:
        raise BadClaim(f"it names {claim.task_id[:60]!r}")
    if not _is_clean(claim.subfolder):
        raise BadClaim(f"its subfolder is {claim.subfolder[:60]!r}")
    names = [claim.video] if claim.sidecar is None else [claim.video, claim.sidecar]
    for name in names:
        if not _is_name(name):
            raise BadClaim(f"it has {name[:60]!r} where a file's name belongs")
    if claim.video == claim.sidecar:
        raise BadClaim("video and sidecar are one file")


def _is_clean(subfolder: str) -> bool:
    """Does it lead down from the inbox, and is it written in the one way we write it?"""
    parts = PurePath(subfolder).parts
    return all(map(_is_name, parts)) and subfolder == "/".join(parts)


def _is_name(name: str) -> bool:
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False
    is_plain = name not in ("", ".", "..") and "/" not in name and "\0" not in name
    return is_plain and len(encoded) <= _LONGEST_NAME
