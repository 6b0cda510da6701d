"""
Correct the edit lists that FFmpeg's MP4 muxer writes for sound that begins late.

An AAC encoder puts some samples of priming in front. Where a track begins at zero, the
muxer's edit list skips them; where it begins later, the muxer shortens the empty edit
before the track instead, and a player shows a track that begins too early by that much.
The mend is to change three numbers in place, so the index may lie before the data.

Source: ISO/IEC 14496-12, 8.6.6.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from pipeline.boxes import Box, payload_of, walk_boxes

_ENTRY = {0: struct.Struct(">Iihh"), 1: struct.Struct(">Qqhh")}
_EMPTY_EDIT = -1


def skip_priming(path: Path, priming: Mapping[int, Fraction]) -> None:
    """
    Make late tracks of a finished MP4 begin with their first sample instead of the priming.

    Args:
        priming: seconds of it, by the track's place in the file from 0. Tracks that begin
            at once are left as they are.
    """
    with path.open("r+b") as file:
        movie_rate = 0
        edits: dict[int, Box] = {}
        rates: dict[int, int] = {}
        track = -1
        for box in list(walk_boxes(file)):
            track += box.kind == "trak"
            if box.path == ("moov", "mvhd"):
                movie_rate = _timescale(file, box)
            elif box.kind == "mdhd":
                rates[track] = _timescale(file, box)
            elif box.kind == "elst":
                edits[track] = box
        for number, seconds in priming.items():
            if number in edits and movie_rate:
                _mend(file, edits[number], seconds, movie_rate, rates[number])


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
    skipped = start + round(seconds * rate)
    entry.pack_into(payload, 8 + entry.size, max(0, length - shift), skipped, *speed)
    file.seek(box.payload_offset)
    file.write(payload)
