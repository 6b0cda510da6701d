"""
Damage to videos, by a seed: bits, blocks, sizes in headers, cuts, splices, false names.

The same seed and number give the same damage to the same bytes, so a case that fails can be made
again from what its name says.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.boxes import walk_boxes
from pipeline.chunks import walk_chunks
from pipeline.elements import EBML_MAGIC, walk_elements

EXTENSIONS = (".mp4", ".mov", ".avi", ".mkv", ".webm")
# What programs trip over: nothing, one, the ends of signed and unsigned numbers.
_EXTREMES = (0, 1, 2, 7, 8, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_HEAD = 4096  # bytes in which a container says most about itself


@dataclass(frozen=True)
class Case:
    """One damaged file; `name` tells its number, the source and what was done to it."""

    name: str
    data: bytes
    source: Path


def damaged(sources: Sequence[Path], seed: int, number: int) -> Case:
    """Return the case of this number: one of `sources`, damaged in one to three ways."""
    rng = random.Random(f"{seed}/{number}")
    source = rng.choice(sources)
    data, extension = source.read_bytes(), source.suffix
    words = []
    for way in rng.choices(tuple(_WAYS), tuple(_WAYS.values()), k=rng.choice((1, 1, 2, 3))):
        data = way(data, rng)
        words.append(way.__name__.removeprefix("_"))
    if rng.random() < 0.12:
        data = _splice(data, rng.choice(sources).read_bytes(), rng)
        words.append("splice")
    if rng.random() < 0.1:
        extension = rng.choice(EXTENSIONS)
        words.append("renamed")
    stem = f"{seed}-{number:04}-{source.stem}-{'+'.join(words)}"
    return Case(stem + extension, data, source)


def _bits(data: bytes, rng: random.Random) -> bytes:
    """Flip single bits anywhere."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 3, 10, 100))):
        result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
    return bytes(result)


def _header_bits(data: bytes, rng: random.Random) -> bytes:
    """Flip bits where sizes, rates and codecs are told: at the beginning and at the end."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 2, 5, 20))):
        place = rng.randrange(min(_HEAD, len(result)))
        result[place if rng.random() < 0.5 else -1 - place] ^= 1 << rng.randrange(8)
    return bytes(result)


def _overwritten(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a run of bytes with one value or with noise."""
    start, end = _stretch(data, rng)
    value = rng.choice((0, 0xFF, None))
    run = rng.randbytes(end - start) if value is None else bytes([value]) * (end - start)
    return data[:start] + run + data[end:]


def _cut_out(data: bytes, rng: random.Random) -> bytes:
    start, end = _stretch(data, rng)
    return data[:start] + data[end:]


def _doubled(data: bytes, rng: random.Random) -> bytes:
    start, end = _stretch(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 4)) + data[end:]


def _swapped(data: bytes, rng: random.Random) -> bytes:
    a, b, c, d = sorted(rng.choices(range(len(data) + 1), k=4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: max(1, rng.randrange(len(data)))]


def _sizes(data: bytes, rng: random.Random) -> bytes:
    """Set stated sizes of boxes, elements or chunks to extremes."""
    fields = _size_fields(data)
    if not fields:
        return _fields(data, rng)
    result = bytearray(data)
    for start, length, is_ebml in rng.choices(fields, k=rng.choice((1, 1, 2, 4))):
        value = rng.choice(_EXTREMES)
        if is_ebml:  # keep the marker of the length, and so the element's form
            bound = 1 << 7 * length
            result[start : start + length] = (bound | value % bound).to_bytes(length)
        else:
            order = rng.choice(("big", "little"))
            result[start : start + length] = value.to_bytes(length, order)
    return bytes(result)


def _fields(data: bytes, rng: random.Random) -> bytes:
    """Set numbers in headers, wherever these are, to extremes."""
    result = bytearray(data)
    places = _payloads(data) or [(0, min(_HEAD, len(data)))]
    for start, end in rng.choices(places, k=rng.choice((1, 1, 2, 4))):
        width = min(rng.choice((1, 2, 4, 4)), end - start)
        place = start + rng.randrange(0, max(1, end - start - width + 1))
        value = rng.choice(_EXTREMES) % (1 << 8 * width)
        order = rng.choice(("big", "little"))
        result[place : place + width] = value.to_bytes(width, order)
    return bytes(result)


_WAYS: dict[Callable[[bytes, random.Random], bytes], int] = {
    _bits: 3,
    _header_bits: 3,
    _overwritten: 2,
    _cut_out: 2,
    _doubled: 2,
    _swapped: 1,
    _truncated: 2,
    _sizes: 3,
    _fields: 5,
}


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Let one file go on as another."""
    cut = rng.choice((len(data), rng.randrange(len(data) + 1)))
    return data[:cut] + other[rng.choice((0, rng.randrange(len(other)))) :]


def _stretch(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 4, 16, 256, 4096)))


def _size_fields(data: bytes) -> list[tuple[int, int, bool]]:
    """Return offset and length of each stated size, and whether it is one of EBML."""
    file = io.BytesIO(data)
    if data.startswith(EBML_MAGIC):
        headers = [(e.offset, e.header_size) for e in walk_elements(file) if e.header_size]
        ids = [9 - data[offset].bit_length() for offset, _ in headers]
        pairs = zip(headers, ids, strict=True)
        return [(offset + i, size - i, True) for (offset, size), i in pairs if size > i]
    if data.startswith(b"RIFF"):
        return [(c.offset + 4, 4, False) for c in walk_chunks(file) if c.header_size]
    return [(b.offset, 4, False) for b in walk_boxes(file) if b.header_size]


def _payloads(data: bytes) -> list[tuple[int, int]]:
    """Return where the headers' own numbers lie: start and end of small payloads."""
    file = io.BytesIO(data)
    ends: list[tuple[int, int]]
    if data.startswith(EBML_MAGIC):
        ends = [(e.payload_offset, e.end) for e in walk_elements(file)]
    elif data.startswith(b"RIFF"):
        ends = [(c.payload_offset, c.end) for c in walk_chunks(file)]
    else:
        ends = [(b.payload_offset, b.end) for b in walk_boxes(file)]
    return [(a, min(b, len(data))) for a, b in ends if a < min(b, len(data)) and b - a < _HEAD]
