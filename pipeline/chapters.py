"""
What FFmpeg's MP4 muxer has to be told of chapters.

It writes them as a text track too, which is what players list. That track begins at zero, whenever
its first chapter does, so a first one that begins later would be shown from the start. An empty
one in front of it holds its place, as other muxers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_MP4_MUXERS = frozenset({"mp4", "mov"})


def chapters_for(muxer: str, chapters: Sequence[Any]) -> list[Any]:
    """Return the chapters, as PyAV takes them, with an empty one in front where it is needed."""
    first = min(chapters, key=lambda c: c["start"] * c["time_base"], default=None)
    if muxer not in _MP4_MUXERS or first is None or first["start"] <= 0:
        return list(chapters)
    empty = {
        "id": len(chapters),
        "start": 0,
        "end": first["start"],
        "time_base": first["time_base"],
        "metadata": {"title": ""},
    }
    return [empty, *chapters]
