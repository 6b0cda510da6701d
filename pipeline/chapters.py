"""
Chapters as muxers are told of them: their times, and no title of anybody's.

FFmpeg's MP4 muxer writes them as a text track too, which is what players list. That track begins
at zero, whenever its first chapter does, so a first one that begins later would be shown from the
start. An empty one in front of it holds its place, as other muxers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from pipeline.output import MP4_MUXERS


def numbered_chapter(number: int, start: int, end: int, time_base: Fraction) -> dict[str, Any]:
    """
    Return a chapter as PyAV takes it.

    Args:
        number: 0 for the first.
        start, end: in ticks of `time_base`.
    """
    # Some players list only chapters that have a title, so each bears its number.
    title = f"Chapter {number + 1}"
    return {
        "id": number,
        "start": start,
        "end": end,
        "time_base": time_base,
        "metadata": {"title": title},
    }


def chapters_for(muxer: str, chapters: Sequence[Any]) -> list[Any]:
    """Return the chapters, as PyAV takes them, with an empty one in front where it is needed."""
    first = min(chapters, key=lambda c: c["start"] * c["time_base"], default=None)
    if muxer not in MP4_MUXERS or first is None or first["start"] <= 0:
        return list(chapters)
    empty = {
        "id": len(chapters),
        "start": 0,
        "end": first["start"],
        "time_base": first["time_base"],
        "metadata": {"title": ""},
    }
    return [empty, *chapters]
