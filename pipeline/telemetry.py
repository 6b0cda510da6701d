"""
Subtitles that a camera wrote: where it was, how high and when, at each moment.

Drones put them into a text track of their own. A player shows it, but it is data, and goes with the
other data tracks.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import Counter
from fractions import Fraction
from typing import Any

import av.error
from av.container import InputContainer

_TEXT = frozenset({"mov_text", "subrip", "ass", "webvtt"})
# Of picture and text, that are looked at: half a minute, less of pictures that take much room.
_MOST_PACKETS, _MOST_BYTES = 1000, 64 << 20
_EMPTY = 2  # bytes of MP4's text that say its length, 0
# Seconds, on average, from one that measures to the next: cameras write at least one each second. A
# film may show where it begins, and say nothing else for half a minute.
_RAREST = 5
# As DJI's and Autel's write it: `[latitude: 52.5] [longtitude: 13.4]`, `GPS (13.405, 52.520, 19)`,
# `GPS(E: 13.405, N: 52.52, 60.5m)`, and of a flight without a place `FrameCnt: 1, DiffTime: 33ms`.
_MEASURED = re.compile(
    rb"\b(?:lat|long|longt)itude ?[:=] ?[-+]?\d"
    rb"|\bGPS ?[:(] ?(?:[NSEW]: ?)?[-+]?\d+\.\d"
    rb"|\bDiffTime ?: ?\d",
    re.IGNORECASE,
)


def text_tracks(container: InputContainer) -> list[Any]:
    """Return an opened file's subtitle tracks that hold text."""
    return [
        s
        for s in container.streams.subtitles
        if s.codec_context is not None and s.codec_context.codec.canonical_name in _TEXT
    ]


def telemetry_in(container: InputContainer) -> frozenset[int]:
    """
    Return the indices of an opened file's subtitle tracks that a camera wrote.

    Packets are read: use it on a file from which no more are wanted.
    """
    texts = text_tracks(container)
    if not texts:
        return frozenset()
    said, measured = Counter[int](), Counter[int]()
    times: list[Fraction] = []
    indices = {s.index for s in texts}
    left = _MOST_BYTES
    with contextlib.suppress(av.error.FFmpegError):  # told where the file is read to its end
        container.seek(0)  # the first may have been passed on the way to a frame
        packets = container.demux([*container.streams.video, *texts])
        for packet in itertools.islice(packets, _MOST_PACKETS):
            index = packet.stream_index
            if packet.pts is not None:
                times.append(packet.pts * packet.time_base)
            if packet.size > _EMPTY and index in indices:
                said[index] += 1
                measured[index] += _MEASURED.search(bytes(packet)) is not None
            left -= packet.size
            if left < 0:
                break
    seconds = max(times, default=Fraction()) - min(times, default=Fraction())
    # A film may speak of a place, too.
    return frozenset(
        index
        for index in indices
        if 2 * measured[index] > said[index] and _RAREST * measured[index] >= seconds
    )
