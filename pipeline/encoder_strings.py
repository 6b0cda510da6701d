"""
Find the names by which programs and devices sign a file, anywhere in its bytes.

A walk over boxes sees only what it knows; these are looked for everywhere, in packets and
padding too. They are long enough not to turn up in compressed data by chance.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import BinaryIO

from pipeline.errors import Cancelled

# How each signature begins, and how it goes on. A plain search for the beginning runs at
# 1.5 to 6 GB/s; one pattern with alternatives would run at 0.2.
_SIGNATURES = {
    b"Lav": re.compile(rb"Lav[cf]\d\d\.\d[\d.]*"),
    b"x264 - core": re.compile(rb"x264 - core \d+"),
    b"x265 (build": re.compile(rb"x265 \(build \d+"),
    b"HandBrake ": re.compile(rb"HandBrake \d[\d.]*"),
    b"<x:xmpmeta": re.compile(rb"<x:xmpmeta"),
    b"com.apple.quicktime.": re.compile(rb"com\.apple\.quicktime\.[a-zA-Z.]+"),
}
_CHUNK = 4 << 20
_OVERLAP = 64


def signatures_in(data: bytes) -> Counter[str]:
    """Return how often each signature is in `data`."""
    found: Counter[str] = Counter()
    _count(data, len(data), len(data), found)
    return found


def signatures_of(file: BinaryIO, cancelled: Callable[[], bool] = lambda: False) -> Counter[str]:
    """
    Return how often each signature is in an open binary file, read once from its start.

    Raises:
        Cancelled: `cancelled`, asked at each piece read, said so.
    """
    found: Counter[str] = Counter()
    buffer = bytearray(_OVERLAP + _CHUNK)
    held = 0
    file.seek(0)
    while True:
        if cancelled():
            raise Cancelled
        read = file.readinto(memoryview(buffer)[held : held + _CHUNK])  # type: ignore[attr-defined]
        end = held + read
        # What begins near the end may go on in the next piece, and is left to it.
        limit = max(0, end - _OVERLAP) if read else end
        _count(buffer, end, limit, found)
        if not read:
            return found
        held = end - limit
        buffer[:held] = buffer[limit:end]


def _count(data: bytes | bytearray, end: int, limit: int, found: Counter[str]) -> None:
    """Add the signatures in `data[:end]` that begin before `limit`."""
    for beginning, pattern in _SIGNATURES.items():
        at = data.find(beginning, 0, end)
        while 0 <= at < limit:
            match = pattern.match(data, at, end)
            if match is not None:
                found[match.group().decode("ascii").rstrip(".")] += 1
            at = data.find(beginning, at + 1, end)
