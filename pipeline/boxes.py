"""
Walk the boxes of an MP4 or QuickTime file; tell whether a container is complete.

Nothing but the standard library, the two other walkers and their `Part`, since the watcher of a
folder uses it too. Payloads of `mdat` are passed over, never read; hostile sizes end a walk, they
never raise or loop.

Source: ISO/IEC 14496-12; QuickTime File Format.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from pipeline.chunks import stated_riff_length
from pipeline.elements import EBML_MAGIC, stated_matroska_length
from pipeline.parts import UNPARSED, Part

# Beyond either a file is hostile; a twelve-hour file in fragments of a second has 90 000.
_MOST_BOXES = 1_000_000
# How many at the top level are looked at to tell whether a file is whole. It takes 0.2 s, and
# the watcher of a folder waits for the answer.
_MOST_JUDGED = 100_000
_DEEPEST = 16


def _kinds(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CONTAINERS = _kinds(
    "moov trak mdia minf stbl edts dinf udta moof traf mvex mfra ilst gmhd wave tref sinf schi"
    " tapt sv3d proj vexu eyes cams cmfy"
)
# Bytes between the payload's start and the first child.
_FULL_CONTAINERS = {"stsd": 8, "dref": 8, "keys": 8}
_VISUAL_ENTRY, _AUDIO_ENTRY, _TEXT_ENTRY = 78, 28, 38
_DEPTHS_WITH_PALETTE = (1, 2, 4, 8)  # bits of a pixel
_AUDIO_ENTRY_EXTRA = {1: 16, 2: 36}  # QuickTime's versions of the sound description

# What may stand at the top level of a real file; junk after the end is told by it.
_TOP_LEVEL = _kinds(
    "ftyp moov mdat free skip wide pnot PICT styp sidx ssix moof mfra uuid meta prft emsg pdin"
    " udta junk imda"
)
_FIRST = _TOP_LEVEL - {"emsg", "imda", "udta", "mfra"}


@dataclass(frozen=True, slots=True)
class Box(Part):
    """One box; its kinds are four-character codes, one character a byte (Latin-1)."""


def walk_boxes(file: BinaryIO) -> Iterator[Box]:
    """
    Yield every box in file order, each before its children.

    Known containers are descended into, sample entries and item lists among them. Bytes
    where no box can be read come as one box of kind `UNPARSED` up to their parent's end.
    """
    return _Walk(file).level((), 0, file.seek(0, os.SEEK_END))


@dataclass(frozen=True)
class Completeness:
    """
    Whether a file is as long as its container says.

    Attributes:
        container: `mp4` (QuickTime too), `matroska` (WebM too), `riff`; None for others.
        stated_bytes: None where the container does not say.
        is_truncated: bytes are missing: the stated length runs past the end, what every
            whole file has is not there yet, or there are zeros where a box must begin (a
            copy into preallocated space).
    """

    container: Literal["mp4", "matroska", "riff"] | None
    stated_bytes: int | None
    is_truncated: bool


def completeness(path: Path) -> Completeness:
    """
    Tell from a few small reads whether a file is whole.

    A file cut at the border of two fragments, a stream of unknown length, zeros inside `mdat`
    and a file in absurdly many pieces cannot be told from whole ones.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        actual = file.seek(0, os.SEEK_END)
        head = _read(file, 0, 16)
        if _is_mp4(head):
            return Completeness("mp4", *_stated_mp4_length(file, actual))
        if head[:4] == EBML_MAGIC:
            return Completeness("matroska", *stated_matroska_length(file, actual))
        if head[:4] == b"RIFF":
            return Completeness("riff", *stated_riff_length(file, actual))
    # No container begins with zeros, but preallocated space does.
    return Completeness(None, None, len(head) == 16 and not any(head))


class _Walk:
    """One pass over a file: what must be remembered from box to box."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._boxes = 0
        self._handler = ""  # of the track we are in: decides how its sample entries look

    def level(self, parents: tuple[str, ...], start: int, end: int) -> Iterator[Box]:
        """Yield the boxes from `start` to `end`, and their children."""
        offset = start
        while offset < end:
            box = _box_at(self._file, parents, offset, end)
            self._boxes += 1
            if box is None or self._boxes > _MOST_BOXES:
                yield Box((*parents, UNPARSED), offset, 0, end - offset)
                return
            yield box
            first_child = self._first_child(box)
            if first_child is not None and len(box.path) < _DEEPEST:
                yield from self.level(box.path, first_child, min(box.end, end))
            offset = box.end

    def _first_child(self, box: Box) -> int | None:
        if box.kind == "trak":
            self._handler = ""
        elif box.kind == "hdlr" and box.path[-2:-1] == ("mdia",):
            self._handler = _read(self._file, box.payload_offset + 8, 4).decode("latin-1")
        parent = box.path[-2] if len(box.path) > 1 else ""
        skipped: int | None
        if parent == "stsd":
            skipped = _entry_header(self._file, box, self._handler)
        elif box.kind == "meta":
            skipped = _meta_header(self._file, box)
        elif box.kind in _CONTAINERS or parent == "ilst":
            skipped = 0
        else:
            skipped = _FULL_CONTAINERS.get(box.kind)
        return None if skipped is None else box.payload_offset + skipped


def _box_at(file: BinaryIO, parents: tuple[str, ...], offset: int, end: int) -> Box | None:
    head = _read(file, offset, min(16, end - offset))
    if len(head) < 8:
        return None
    size, header = int.from_bytes(head[:4]), 8
    if size == 1:
        size, header = int.from_bytes(head[8:16]), 16
        if len(head) < 16:
            return None
    elif size == 0 and any(head[4:8]):
        size = end - offset
    if size < header:
        return None
    return Box((*parents, head[4:8].decode("latin-1")), offset, header, size - header)


def _entry_header(file: BinaryIO, box: Box, handler: str) -> int | None:
    if handler == "vide":
        return _VISUAL_ENTRY + _palette_size(_read(file, box.payload_offset + 74, 12))
    if handler == "soun":
        version = int.from_bytes(_read(file, box.payload_offset + 8, 2))
        return _AUDIO_ENTRY + _AUDIO_ENTRY_EXTRA.get(version, 0)
    if box.kind == "tx3g":
        return _TEXT_ENTRY
    return None


def _palette_size(end_of_entry: bytes) -> int:
    """
    Return the bytes of the table of colours in QuickTime's description of a picture, mostly 0.

    Args:
        end_of_entry: the last 4 bytes of the description, depth and number of the table, which
            follows where that is 0; and the table's first 8: seed, flags, index of the last
            colour. Each colour has 8 bytes more.
    """
    if len(end_of_entry) < 12:
        return 0
    depth, table, _, _, last = struct.unpack(">hhIHH", end_of_entry)
    return 8 * (last + 2) if table == 0 and depth in _DEPTHS_WITH_PALETTE and last < 256 else 0


def _meta_header(file: BinaryIO, box: Box) -> int:
    # ISO's `meta` has a version before its children, QuickTime's has not; `hdlr` comes first.
    return 0 if _read(file, box.payload_offset + 4, 4) == b"hdlr" else 4


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _is_mp4(head: bytes) -> bool:
    return len(head) >= 8 and head[4:8].decode("latin-1") in _FIRST


def _stated_mp4_length(file: BinaryIO, actual: int) -> tuple[int | None, bool]:
    """Return the length that a file of `actual` bytes states, and whether it is cut short."""
    seen: set[str] = set()
    last, offset = "", 0
    for _ in range(_MOST_JUDGED):
        is_whole = {"moov", "mdat"} <= seen and last != "moof"
        if offset >= actual:
            return offset if is_whole else None, not is_whole
        box = _box_at(file, (), offset, actual)
        if box is None:
            # Junk after the end harms nothing, but a fragmented file has no end of its own.
            return offset, not is_whole or "moof" in seen
        if box.end > actual:
            is_junk = is_whole and box.kind not in _TOP_LEVEL
            return offset if is_junk else box.end, not is_junk
        last, offset = box.kind, box.end
        seen.add(last)
    return None, False


def is_encrypted(path: Path) -> bool:
    """
    Tell whether an MP4 or QuickTime file says that a track of it is encrypted.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for box in walk_boxes(file):
            if box.kind == "moof":
                return False  # tracks are described before their first fragment
            if box.kind == "sinf" and "stsd" in box.path:  # protection scheme information
                return True
    return False
