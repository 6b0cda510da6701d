"""How a coded picture is turned and mirrored before it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.planes import Planes


@dataclass(frozen=True)
class Orientation:
    """
    One of the eight ways to lay a rectangle on a screen.

    Attributes:
        is_transposed: rows become columns, before anything is mirrored.
        is_mirrored_x, is_mirrored_y: left and right, top and bottom change places.
    """

    is_transposed: bool = False
    is_mirrored_x: bool = False
    is_mirrored_y: bool = False

    @property
    def is_mirror_image(self) -> bool:
        """Whether no turning alone does it."""
        return self.is_transposed ^ self.is_mirrored_x ^ self.is_mirrored_y


UPRIGHT = Orientation()


def orientation(matrix: Sequence[int] | None) -> Orientation:
    """
    Return the orientation nearest to a display matrix.

    Args:
        matrix: nine numbers a b u c d v x y w as MP4 and FFmpeg have them: the point (p, q)
            is shown at (a*p + c*q + x, b*p + d*q + y). None is upright.
    """
    if matrix is None:
        return UPRIGHT
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def upright(plane: NDArray[Any], way: Orientation) -> NDArray[Any]:
    """Return a (height, width, ...) picture as it is shown."""
    shown = np.swapaxes(plane, 0, 1) if way.is_transposed else plane
    shown = shown[:, ::-1] if way.is_mirrored_x else shown
    return shown[::-1] if way.is_mirrored_y else shown


def coded_points(
    points: NDArray[np.float64], way: Orientation, height: int, width: int
) -> NDArray[np.float64]:
    """
    Return where points of a shown picture lie in the coded one.

    Args:
        points: (n, 2), x and y.
        height, width: of the shown picture.
    """
    x, y = points.T
    x = width - x if way.is_mirrored_x else x
    y = height - y if way.is_mirrored_y else y
    return np.stack((y, x) if way.is_transposed else (x, y), axis=1)


def upright_planes(picture: Planes, way: Orientation) -> Planes:
    """Return a 4:2:0 picture as it is shown."""
    if way == UPRIGHT:
        return picture
    luma, cb, cr = (np.ascontiguousarray(upright(plane, way)) for plane in picture)
    return Planes(luma, cb, cr, picture.depth)
