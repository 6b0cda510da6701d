"""
The three planes of a 4:2:0 picture, as NumPy views.

Everything between decoder and encoder works on these: no RGB, no copies. A view of a
decoded frame must never be written to, since the decoder predicts later frames from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.filters import PictureFilter

Plane = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Planes:
    """
    One picture.

    Attributes:
        luma: (height, width), uint8 at 8 bits, uint16 above.
        cb, cr: (ceil(height / 2), ceil(width / 2)), same type.
        depth: bits of a sample, 8 to 16; a level of an 8-bit plane is 2 ** (depth - 8) here.
    """

    luma: Plane
    cb: Plane
    cr: Plane
    depth: int

    def __iter__(self) -> Iterator[Plane]:
        return iter((self.luma, self.cb, self.cr))

    @property
    def level(self) -> int:
        """One level of an 8-bit plane, in this picture's units."""
        return 1 << (self.depth - 8)

    def copy(self) -> Planes:
        """Return the same picture in memory of its own."""
        return Planes(self.luma.copy(), self.cb.copy(), self.cr.copy(), self.depth)


def planes_of(frame: av.VideoFrame) -> Planes:
    """
    Return views of a planar 4:2:0 frame's memory; of a copy, where its lines lie upside down.

    Raises:
        ValueError: the frame is in another format.
    """
    depth = frame.format.components[0].bits
    if frame.format.name not in ("yuv420p", "yuvj420p", "yuv420p10le"):
        raise ValueError(f"not a planar 4:2:0 frame: {frame.format.name}")
    if frame.planes[0].line_size < 0:
        frame = _from_top_to_bottom(frame)
    luma, cb, cr = (plane_view(plane, depth) for plane in frame.planes)
    return Planes(luma, cb, cr, depth)


def plane_view(plane: av.video.plane.VideoPlane, depth: int) -> Plane:
    """Return a view of one plane, (height, width), of samples of `depth` bits."""
    kind: np.dtype[Any] = np.dtype(np.uint8 if depth == 8 else np.uint16)
    flat = np.frombuffer(memoryview(plane), dtype=kind)
    # A line's memory is longer than the picture is wide: FFmpeg aligns it for SIMD.
    stride = plane.line_size // kind.itemsize
    return flat[: stride * plane.height].reshape(plane.height, stride)[:, : plane.width]


def _from_top_to_bottom(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a copy; PyAV's view of what AMV's decoder gives would reach beyond its memory."""
    return PictureFilter("copy").filtered(frame)
