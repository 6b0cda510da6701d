"""
Carry what was computed at an anchor frame to the frames after it, and find cuts.

Always directly from the anchor, by a flow measured against it: warping the warped blurs.
Everything here works on pictures 160 lines high, in NumPy and OpenCV.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.planes import Plane, Planes

Flow = NDArray[np.float32]  # (height, width, 2): x and y
Layer = NDArray[np.float32]  # (height, width)
Picture = NDArray[np.uint8]

FLOW_SHORT_SIDE = 160
# DIS reads patches beyond smaller pictures: it raises, or crashes (OpenCV 5.0).
_SMALLEST_FLOW_SIDE = 32
_THUMBNAIL = (16, 9)
_BINS = 32
# Where thumbnails of two neighbouring frames correlate less than twice their histograms
# differ, there is a cut. Measured on real clips: cuts -0.4 and lower, fast pans 0.36 and higher.
_HISTOGRAM_WEIGHT = 2.0
# Deviation, levels, under which a thumbnail is noise rather than a picture.
_THUMBNAIL_NOISE = 4.0
# Fades end in frames that correlate with nothing; a cut changes levels as well.
_SMALLEST_CUT = 8.0


class Follower:
    """Knows, for each frame, where its pixels were at the anchor frame."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._anchor: Picture | None = None
        self._flow: Flow | None = None

    def start(self, anchor: Picture) -> None:
        """Take (height, width) uint8, of `flow_picture`, as the anchor from now on."""
        self._anchor = anchor
        self._flow = None

    def flow(self, picture: Picture) -> Flow:
        """
        Return (height, width, 2), x and y in pixels: pixel p of `picture` was at p + flow.

        Raises:
            ValueError: no anchor of that size was set.
        """
        if self._anchor is None or self._anchor.shape != picture.shape:
            raise ValueError("set an anchor of the picture's size first")
        # The search starts where the frame before was found, so that a pan of many
        # pixels over the whole interval is followed.
        start = self._flow.copy() if self._flow is not None else _no_flow(picture)
        self._flow = np.asarray(self._dis.calc(picture, self._anchor, start), np.float32)
        return self._flow


def flow_size(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) of the picture that the flow of such a frame is measured on."""
    ratio = min(1.0, FLOW_SHORT_SIDE / min(height, width))
    tall, wide = (max(_SMALLEST_FLOW_SIDE, round(side * ratio)) for side in (height, width))
    return tall, wide


def flow_picture(luma: Plane, level: int) -> Picture:
    """
    Return the luma plane at 160 lines (short side; never under 32), 8 bits.

    Args:
        luma: (height, width) uint8 or uint16.
        level: of an 8-bit plane, in units of `luma`.
    """
    small = shrink(luma, *flow_size(*luma.shape))
    return np.asarray(
        small if level == 1 else cv2.convertScaleAbs(small, alpha=1 / level), np.uint8
    )


def flow_colour(frame: Planes) -> tuple[Layer, Layer]:
    """Return Cb and Cr in levels of 0-255, at half the size of the frame's `flow_picture`."""
    height, width = ((side + 1) // 2 for side in flow_size(*frame.luma.shape))
    share = np.float32(1 / frame.level)
    cb, cr = (shrink(p, height, width).astype(np.float32) * share for p in (frame.cb, frame.cr))
    return cb, cr


def shrink(plane: Plane, height: int, width: int) -> NDArray[Any]:
    """
    Return the plane at a smaller size, without aliasing; a larger one is interpolated.

    Halved as often as possible first: OpenCV's bilinear halving is an exact average of four
    and ten times as fast as its INTER_AREA at a crooked ratio.
    """
    small: NDArray[Any] = plane
    while small.shape[0] >= 2 * height and small.shape[1] >= 2 * width:
        half_height, half_width = (side // 2 for side in small.shape)
        even = small[: 2 * half_height, : 2 * half_width]
        small = cv2.resize(even, (half_width, half_height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def carry(values: Layer | Flow, flow: Flow) -> Layer | Flow:
    """
    Return the anchor's values, one or two at each place, as the current frame has them.

    Args:
        flow: of `Follower.flow`, at any size.
    """
    height, width = values.shape[:2]
    places = scaled_flow(flow, height, width)
    places += _grid(height, width)
    # Mirrored beyond the picture: repeated edges would drag streaks in on a pan.
    moved = cv2.remap(  # type: ignore[call-overload]  # None: `places` holds both coordinates
        values, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.float32)


def scaled_flow(flow: Flow, height: int, width: int) -> Flow:
    """Return the flow of a picture at another size, its vectors in that size's pixels."""
    if flow.shape[:2] == (height, width):
        return flow.copy()
    resized = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    scaled = np.asarray(resized, np.float32)
    scaled[..., 0] *= width / flow.shape[1]
    scaled[..., 1] *= height / flow.shape[0]
    return scaled


def is_cut(before: Picture, after: Picture) -> bool:
    """Whether two neighbouring frames, of `flow_picture`, belong to different shots."""
    first, second = _thumbnail(before), _thumbnail(after)
    if np.abs(first - second).mean() < _SMALLEST_CUT:
        return False
    moved = _HISTOGRAM_WEIGHT * _histogram_distance(before, after)
    return bool(_correlation(first, second) < moved)


def _no_flow(picture: Picture) -> Flow:
    return np.zeros((*picture.shape, 2), np.float32)


@functools.lru_cache(maxsize=2)
def _grid(height: int, width: int) -> Flow:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    grid = np.ascontiguousarray(np.stack((x, y), axis=-1))
    grid.setflags(write=False)
    return grid


def _thumbnail(picture: Picture) -> NDArray[np.float32]:
    return shrink(picture, _THUMBNAIL[1], _THUMBNAIL[0]).astype(np.float32)


def _correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).mean() / (first.std() * second.std() + _THUMBNAIL_NOISE))


def _histogram_distance(first: Picture, second: Picture) -> float:
    """Return 0 for the same distribution of levels, 1 for disjoint ones."""
    counts = [np.bincount(p.ravel() >> 3, minlength=_BINS) for p in (first, second)]
    return float(np.abs(counts[0] - counts[1]).sum() / (2 * first.size))
