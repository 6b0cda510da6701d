"""
A face upright and of one size, as recognisers cut it out, and the way back into the frame.

Recognisers of faces find five landmarks, move and turn them to where a template has them, and
look at 112 x 112 pixels of that. What is drawn on this canvas, which is a margin wider, is at
the same place of the face in every frame.

Template as in ArcFace (Deng et al. 2019, arXiv:1801.07698).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.planes import Plane, Planes

Landmarks = NDArray[np.float64]  # (5, 2): x, y of eyes, nose and corners of the mouth
Alignment = NDArray[np.float64]  # (2, 3): a similarity from pixels to pixels
Canvas = NDArray[np.float32]  # (SIDE, SIDE)

CROP_SIDE = 112
MARGIN = 32
SIDE = CROP_SIDE + 2 * MARGIN
_TEMPLATE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
# Of the canvas, (4, 2), and the mean of the template's landmarks on it.
CORNERS = np.array([(0.0, 0.0), (SIDE, 0.0), (0.0, SIDE), (SIDE, SIDE)])
MIDDLE = _TEMPLATE.mean(axis=0) + MARGIN
# Halved before, until a pixel of the canvas is less than so many wide: else there are gaps.
_COARSEST_SAMPLING = 1.4


def similarity_between(points: NDArray[np.float64], others: NDArray[np.float64]) -> Alignment:
    """
    Return the rotation, scale and shift that best take (n, 2) points to the others.

    In the least squares; points on one spot give a shift alone.
    """
    start, end = (p[:, 0] + 1j * p[:, 1] for p in (points, others))
    centred = start - start.mean()
    spread = float(np.vdot(centred, centred).real)
    turn = complex(np.vdot(centred, end - end.mean()) / spread) if spread > 0 else 1 + 0j
    shift = complex(end.mean() - turn * start.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def alignment_of(landmarks: Landmarks) -> Alignment:
    """Return the similarity from the frame's pixels to the canvas's."""
    return similarity_between(landmarks, _TEMPLATE + MARGIN)


def scale_of(alignment: Alignment) -> float:
    """Return pixels of the target by pixels of the source."""
    return math.hypot(alignment[0, 0], alignment[1, 0])


def moved(points: NDArray[np.float64], alignment: Alignment) -> NDArray[np.float64]:
    """Return (n, 2) points after the similarity."""
    return points @ alignment[:, :2].T + alignment[:, 2]


def inverse(alignment: Alignment) -> Alignment:
    """Return the similarity back."""
    return np.asarray(cv2.invertAffineTransform(alignment), np.float64)


def after(second: Alignment, first: Alignment) -> Alignment:
    """Return one similarity that does what the first and then the second do."""
    turned = second[:, :2] @ first
    turned[:, 2] += second[:, 2]
    return turned


def cut_out(original: Planes, alignment: Alignment) -> NDArray[np.float32]:
    """Return (3, SIDE, SIDE): Y, Cb and Cr of the canvas, levels of an 8-bit plane."""
    # Colour has half as many pixels, whose centres lie between those of the frame's; of an odd
    # size the last one is half outside.
    canvases = [
        _sampled(plane, alignment, share)
        for plane, share in zip(original, (1.0, 0.5, 0.5), strict=True)
    ]
    return np.stack(canvases) / np.float32(original.level)


def _sampled(plane: Plane, alignment: Alignment, share: float) -> Canvas:
    """Return the canvas of a plane that has so many pixels a side to one of the frame's."""
    to_plane = after(_resized(share, share), inverse(alignment))
    corners = moved(CORNERS, to_plane)
    # Some more pixels on each side than the canvas covers, for halving and interpolation; where
    # it lies outside, the nearest ones go on.
    reach = 2.0 * scale_of(to_plane) + 2.0
    last = np.array(plane.shape[::-1]) - 1
    left, top = np.clip(np.floor(corners.min(axis=0) - reach), 0, last).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0) + reach), (left, top), last).astype(int)
    region: NDArray[Any] = plane[top : bottom + 1, left : right + 1]
    to_plane[:, 2] -= (left, top)
    while scale_of(to_plane) > _COARSEST_SAMPLING and min(region.shape) > 1:
        half = (region.shape[1] + 1) // 2, (region.shape[0] + 1) // 2
        ratio = half[0] / region.shape[1], half[1] / region.shape[0]
        region = cv2.resize(region, half, interpolation=cv2.INTER_AREA)
        to_plane = after(_resized(*ratio), to_plane)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    canvas = cv2.warpAffine(
        region.astype(np.float32),
        to_plane,
        (SIDE, SIDE),
        flags=flags,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(canvas, np.float32)


def _resized(x_ratio: float, y_ratio: float) -> Alignment:
    """Return from pixels of a plane to those of the same plane at another size."""
    # Pixel 0 is half a pixel from the edge at either size.
    return np.array([[x_ratio, 0.0, (x_ratio - 1) / 2], [0.0, y_ratio, (y_ratio - 1) / 2]])


@dataclass(frozen=True)
class Patch:
    """
    A part of a frame and what is to be done there.

    Attributes:
        x, y: of the left upper corner, pixels of the frame.
        change: (height, width) float32, of luma, levels.
        kept: (height, width) float32 from 0 to 1, the share of any other change that stays.
    """

    x: int
    y: int
    change: NDArray[np.float32]
    kept: NDArray[np.float32]

    def lay(self, whole: NDArray[Any], level: float, peak: int) -> None:
        """
        Put the change into that of a whole frame's luma, in place.

        Args:
            whole: (frame height, frame width) integers, in units of the plane.
            level: of an 8-bit plane, in those units.
            peak: none may be larger, in those units.
        """
        height, width = self.change.shape
        region = whole[self.y : self.y + height, self.x : self.x + width]
        # Into one array: of a face that fills the frame each more costs milliseconds.
        mixed = np.multiply(region, self.kept, dtype=np.float32)
        cv2.scaleAdd(self.change, level, mixed, mixed)
        np.clip(mixed, -peak, peak, out=mixed)
        region[:] = np.rint(mixed, out=mixed)


def patch(
    change: Canvas,
    kept: Canvas,
    corners: NDArray[np.float64],
    alignment: Alignment,
    height: int,
    width: int,
) -> Patch | None:
    """
    Return what is drawn on the canvas as a frame of that size has it; None if outside.

    Args:
        change: levels.
        kept: 0 to 1.
        corners: (4, 2), of a part of the canvas; beyond it change is 0 and kept 1.
        alignment: from the frame to the canvas.
    """
    back = inverse(alignment)
    corners = moved(corners, back)
    left, top = (int(side) for side in np.maximum(0, np.floor(corners.min(axis=0))))
    right, bottom = np.minimum((width, height), np.ceil(corners.max(axis=0)) + 1).astype(int)
    if right <= left or bottom <= top:
        return None
    from_patch = alignment.copy()
    from_patch[:, 2] = moved(np.array([(left, top)], np.float64), alignment)[0]
    size = int(right - left), int(bottom - top)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(change, from_patch, size, flags=flags, borderValue=0)
    left_over = cv2.warpAffine(kept, from_patch, size, flags=flags, borderValue=1)
    return Patch(left, top, np.asarray(drawn, np.float32), np.asarray(left_over, np.float32))
