"""
Walk the chunks of an AVI file, OpenDML's further `RIFF` chunks among them.

The `movi` list is passed over. Hostile sizes end a walk, they never raise or loop. How a stream's
time is counted stands in one of them, and can be stated anew there.

Source: Multimedia Programming Interface and Data Specifications 1.0; OpenDML AVI 1.02.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.parts import UNPARSED, Part, payload_of

_MOST_CHUNKS = 200_000
# How many are looked at to tell whether a file is whole: OpenDML's `RIFF`s have a gigabyte each,
# and a handful of lists before `movi`.
_MOST_JUDGED = 500
_DEEPEST = 8
# A program that writes into a pipe cannot come back to state a size.
_UNSTATED = (0, 0xFFFFFFFF)
_LISTS = (b"RIFF", b"LIST")
# Places in a stream's header, and its length.
_SCALE_AT, _LENGTH_AT, _TICK_BYTES_AT, _HEADER_BYTES = 20, 32, 44, 48


@dataclass(frozen=True, slots=True)
class Chunk(Part):
    """
    One chunk; its kinds are four-character codes, one character a byte.

    A list goes by its type, as in ("AVI ", "hdrl", "strl", "strh"), and its header has 12 bytes.
    Padding lies after its end.
    """


def walk_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """
    Yield every chunk in file order, each before its children.

    Lists are descended into, but for `movi`. Bytes where no chunk can be read come as one
    chunk of kind `UNPARSED` up to their parent's end.
    """
    return _Walk(file).level((), 0, file.seek(0, os.SEEK_END))


@dataclass(frozen=True)
class StreamClock:
    """
    How an AVI counts the time of a stream.

    Attributes:
        offset: of the stream's header, `strh`, in the file: of its payload.
        scale, rate: a tick lasts scale / rate seconds.
        length: in ticks.
        tick_bytes: that a tick stands for; 0 where each chunk is a tick, whatever its size.
    """

    offset: int
    scale: int
    rate: int
    length: int
    tick_bytes: int


def stream_clocks(file: BinaryIO) -> list[StreamClock]:
    """Return the clock of each stream, in the order of the file."""
    headers = (chunk for chunk in walk_chunks(file) if chunk.kind == "strh")
    return [_stream_clock(file, header) for header in headers]


def state_chunk_clock(file: BinaryIO, clock: StreamClock) -> None:
    """Write `clock` into its stream's header, in place, as of one of which each chunk is a tick."""
    file.seek(clock.offset + _SCALE_AT)
    file.write(struct.pack("<II", clock.scale, clock.rate))
    file.seek(clock.offset + _LENGTH_AT)
    file.write(struct.pack("<I", clock.length))
    file.seek(clock.offset + _TICK_BYTES_AT)
    file.write(struct.pack("<I", 0))


def _stream_clock(file: BinaryIO, header: Chunk) -> StreamClock:
    payload = payload_of(file, header, _HEADER_BYTES).ljust(_HEADER_BYTES, b"\0")
    scale, rate = struct.unpack_from("<II", payload, _SCALE_AT)
    (length,) = struct.unpack_from("<I", payload, _LENGTH_AT)
    (tick_bytes,) = struct.unpack_from("<I", payload, _TICK_BYTES_AT)
    return StreamClock(header.payload_offset, scale, rate, length, tick_bytes)


def stated_riff_length(file: BinaryIO, actual: int) -> tuple[int | None, bool]:
    """
    Return the length that a file of `actual` bytes states, and whether it is cut short.

    Told by its lists; the length is None where it does not say.
    """
    offset = 0
    for _ in range(_MOST_JUDGED):
        file.seek(offset)
        head = file.read(12)
        if head[:4] != b"RIFF":
            break  # the end, or junk after it
        size = int.from_bytes(head[4:8], "little")
        if len(head) < 12:
            return None, True
        if size in _UNSTATED:
            return None, False
        end = offset + 8 + size
        if end > actual or _has_hole(file, offset + 12, end):
            return end, True
        offset = end + size % 2
    return min(offset, actual), False


class _Walk:
    """One pass over a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._chunks = 0

    def level(self, parents: tuple[str, ...], start: int, end: int) -> Iterator[Chunk]:
        """Yield the chunks from `start` to `end`, and their children."""
        offset = start
        while offset < end:
            chunk = _chunk_at(self._file, parents, offset, end)
            self._chunks += 1
            if chunk is None or self._chunks > _MOST_CHUNKS:
                yield Chunk((*parents, UNPARSED), offset, 0, end - offset)
                return
            yield chunk
            is_list = chunk.header_size == 12 and chunk.kind != "movi"
            if is_list and len(chunk.path) < _DEEPEST:
                yield from self.level(chunk.path, chunk.payload_offset, min(chunk.end, end))
            offset = chunk.end + chunk.size % 2


def _chunk_at(file: BinaryIO, parents: tuple[str, ...], offset: int, end: int) -> Chunk | None:
    file.seek(offset)
    head = file.read(min(12, end - offset))
    if len(head) < 8 or not any(head[:4]):
        return None
    size = int.from_bytes(head[4:8], "little")
    if head[:4] not in _LISTS:
        return Chunk((*parents, head[:4].decode("latin-1")), offset, 8, size)
    if size in _UNSTATED:
        size = end - offset - 8
    if len(head) < 12 or size < 4:
        return None
    return Chunk((*parents, head[8:12].decode("latin-1")), offset, 12, size - 4)


def _has_hole(file: BinaryIO, start: int, end: int) -> bool:
    """Whether there are zeros where one of the first lists and chunks should begin."""
    offset = start
    for _ in range(_MOST_JUDGED):
        file.seek(offset)
        head = file.read(8)
        if offset + 8 > end or len(head) < 8:
            return False
        if not any(head):
            return True
        size = int.from_bytes(head[4:], "little")
        if size in _UNSTATED and head[:4] == b"LIST":
            return False
        offset += 8 + size + size % 2
    return False
