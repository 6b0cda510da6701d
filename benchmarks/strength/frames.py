"""Decoded frames, as recognisers and metrics take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.planes import planes_of


@dataclass(frozen=True)
class Frames:
    """
    Some frames of one size.

    Attributes:
        rgb: (n, height, width, 3) uint8.
        luma: (n, height, width) uint8, the plane itself.
        rate: frames per second, on average.
        picture_bytes: of all the file's video packets.
    """

    rgb: NDArray[np.uint8]
    luma: NDArray[np.uint8]
    rate: float
    picture_bytes: int

    def __len__(self) -> int:
        return len(self.rgb)

    def some(self, places: Sequence[int]) -> Frames:
        """Return those frames alone."""
        return Frames(
            self.rgb[list(places)], self.luma[list(places)], self.rate, self.picture_bytes
        )


def read_frames(path: Path) -> Frames:
    """Return every frame of an 8-bit 4:2:0 file."""
    rgb, luma, size = [], [], 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            size += packet.size
            for frame in packet.decode():
                rgb.append(frame.to_ndarray(format="rgb24"))
                luma.append(np.array(planes_of(frame).luma, np.uint8))
        rate = float(stream.average_rate or 25)
    return Frames(np.stack(rgb), np.stack(luma), rate, size)


def spread(places: range, count: int) -> list[int]:
    """Return so many of the places, or all if there are fewer, evenly from first to last."""
    ends = places.start, places.stop - 1
    return [int(place) for place in np.linspace(*ends, min(count, len(places)))]


def middle(count: int, length: int) -> range:
    """Return the middle `length` places of `count`, or all if there are fewer."""
    length = min(length, count)
    first = (count - length) // 2
    return range(first, first + length)


def joined(parts: Sequence[Frames]) -> Frames:
    """Return the frames of several files of one size, as one."""
    return Frames(
        np.concatenate([part.rgb for part in parts]),
        np.concatenate([part.luma for part in parts]),
        parts[0].rate,
        sum(part.picture_bytes for part in parts),
    )
