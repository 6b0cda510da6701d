"""
Correct what FFmpeg's MP4 muxer states of when tracks begin and end.

An AAC encoder puts some samples of priming in front. Where a track begins at zero, the
muxer's edit list skips them; where it begins later, the muxer shortens the empty edit
before the track instead, and a player shows a track that begins too early by that much.

A picture ends with the frame that is shown last, but the durations of samples add up in the
order of decoding. The sample that is decoded last has to make up for what is missing, and the
muxer takes it to be shown that long.

The mend is to change numbers in place, so the index may lie before the data.

Source: ISO/IEC 14496-12, 8.2.2, 8.3.2, 8.4.2 and 8.6.6.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from pipeline.boxes import Box, walk_boxes
from pipeline.parts import payload_of

_ENTRY = {0: struct.Struct(">Iihh"), 1: struct.Struct(">Qqhh")}
_EMPTY_EDIT = -1
# Where the duration stands in a header with times of 32 bits, and in one with times of 64.
_DURATION_AT = {"mvhd": (16, 24), "tkhd": (20, 28), "mdhd": (16, 24)}


def skip_priming(path: Path, priming: Mapping[int, Fraction]) -> None:
    """
    Make late tracks of a finished MP4 begin with their first sample instead of the priming.

    Args:
        priming: seconds of it, by the track's place in the file from 0. Tracks that begin
            at once are left as they are.
    """
    with path.open("r+b") as file:
        boxes = list(walk_boxes(file))
        movie = next(b for b in boxes if b.path == ("moov", "mvhd"))
        tracks, media = ([b for b in boxes if b.kind == kind] for kind in ("tkhd", "mdhd"))
        for edits in (b for b in boxes if b.kind == "elst"):
            track = _track_of(edits, tracks)
            if track in priming:
                rates = _timescale(file, movie), _timescale(file, media[track])
                _mend(file, edits, priming[track], *rates)


def state_length(
    path: Path,
    track: int,
    shown: Fraction,
    decoded: Fraction | None = None,
    rounded: Callable[[Fraction], int] = math.ceil,
) -> None:
    """
    Make a finished MP4 state a track's length.

    Args:
        track: its place in the file, from 0.
        shown: seconds from its first frame to the end of the one shown last.
        decoded: seconds that its samples' durations add up to; None where that is stated.
        rounded: to the movie's ticks; down where what follows is hidden.
    """
    with path.open("r+b") as file:
        boxes = list(walk_boxes(file))
        movie = next(b for b in boxes if b.path == ("moov", "mvhd"))
        tracks, media = ([b for b in boxes if b.kind == kind] for kind in ("tkhd", "mdhd"))
        edits = next((b for b in boxes if b.kind == "elst" and _track_of(b, tracks) == track), None)
        length = rounded(shown * _timescale(file, movie))
        if edits is not None:
            length = _state_in_edits(file, edits, length)
        _state_duration(file, tracks[track], length)
        if decoded is not None:
            _state_duration(file, media[track], round(decoded * _timescale(file, media[track])))
        _state_duration(file, movie, max(_stated_duration(file, t) for t in tracks))


def begins_late(path: Path, track: int) -> bool:
    """
    Tell whether edits have a track of an MP4 begin later than the file.

    Args:
        track: its place in the file, from 0.

    Raises:
        OSError: the file cannot be read.
    """
    place = -1
    with path.open("rb") as file:
        # No farther: there may be thousands of fragments.
        for box in itertools.takewhile(lambda box: box.kind != "moof", walk_boxes(file)):
            place += box.kind == "trak"
            if box.kind == "elst" and place == track:
                payload = payload_of(file, box)
                entry = _ENTRY[payload[:1] == b"\x01"]
                has_edits = len(payload) >= 8 + entry.size
                return has_edits and entry.unpack_from(payload, 8)[1] == _EMPTY_EDIT
    return False


def _track_of(inner: Box, tracks: Sequence[Box]) -> int:
    """Return which track a box belongs to; a track's header comes first in it."""
    return sum(header.offset < inner.offset for header in tracks) - 1


def _state_in_edits(file: BinaryIO, box: Box, length: int) -> int:
    """Give `length` to the edit that shows the track, the last; return that of all edits."""
    payload = bytearray(payload_of(file, box))
    entry = _ENTRY[payload[0]]
    (count,) = struct.unpack_from(">I", payload, 4)
    last = 8 + (count - 1) * entry.size
    entry.pack_into(payload, last, length, *entry.unpack_from(payload, last)[1:])
    file.seek(box.payload_offset)
    file.write(payload)
    return sum(edit[0] for edit in entry.iter_unpack(payload[8 : 8 + count * entry.size]))


def _stated_duration(file: BinaryIO, header: Box) -> int:
    at, size = _duration_field(file, header)
    file.seek(at)
    return int.from_bytes(file.read(size))


def _state_duration(file: BinaryIO, header: Box, duration: int) -> None:
    at, size = _duration_field(file, header)
    file.seek(at)
    file.write(duration.to_bytes(size))


def _duration_field(file: BinaryIO, header: Box) -> tuple[int, int]:
    """Return where a header's duration lies in the file, and its bytes."""
    is_long = payload_of(file, header, 1) == b"\x01"
    return header.payload_offset + _DURATION_AT[header.kind][is_long], 8 if is_long else 4


def _timescale(file: BinaryIO, header: Box) -> int:
    payload = payload_of(file, header)
    # Version 1 has 64-bit creation and modification times before it.
    (rate,) = struct.unpack_from(">I", payload, 20 if payload[0] == 1 else 12)
    return int(rate)


def _mend(file: BinaryIO, box: Box, seconds: Fraction, movie_rate: int, rate: int) -> None:
    payload = bytearray(payload_of(file, box))
    entry = _ENTRY[payload[0]]
    (count,) = struct.unpack_from(">I", payload, 4)
    if count != 2:
        return
    wait, wait_start, *wait_speed = entry.unpack_from(payload, 8)
    length, start, *speed = entry.unpack_from(payload, 8 + entry.size)
    if wait_start != _EMPTY_EDIT or start != 0:
        return
    shift = round(seconds * movie_rate)
    entry.pack_into(payload, 8, wait + shift, wait_start, *wait_speed)
    skipped = round(seconds * rate)
    entry.pack_into(payload, 8 + entry.size, max(0, length - shift), skipped, *speed)
    file.seek(box.payload_offset)
    file.write(payload)
