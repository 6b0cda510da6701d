"""
How many frames a second a Matroska file states of its video tracks.

FFmpeg tells one rate of a track, be it stated or reckoned from times. A copy is to state what
its original does: players go by it, as televisions choose how often they draw a picture.

Source: RFC 9559, 5.1.4.1.13 (DefaultDuration).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from av.stream import Disposition

from pipeline.elements import video_track_numbers

_NANOSECONDS = 1_000_000_000
_LONGEST = (1 << 31) - 1  # FFmpeg's fractions have 32 bits


def stated_rates(container: Any, path: Path) -> dict[int, Fraction]:
    """Return the rates that an opened Matroska file states, by the index of its streams."""
    tracks = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    with path.open("rb") as file:
        durations = [t.get("DefaultDuration", 0) for t in video_track_numbers(file)]
    if len(durations) != len(tracks):
        return {}
    return {
        stream.index: Fraction(_NANOSECONDS, duration)
        for stream, duration in zip(tracks, durations, strict=True)
        if 0 < duration <= _LONGEST
    }
