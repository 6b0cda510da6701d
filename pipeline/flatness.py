"""
How much change a place bears that is flat itself, whatever lies around it.

`visibility` bounds the change by the contrast of a place's surroundings, some 20 lines of 720
wide. That is right where a camera's grain and texture go on between the edges. Drawn ground is
perfectly even up to the edge, as of a slide, a screen, a title or a cartoon: there the change
lay as a smudge around each letter. Even ground of that kind takes next to none of it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.planes import Plane

# Flatness is looked at in a picture of at least so many lines (or columns), halved as often as
# that allows: the same places of a video then count as flat at any resolution.
_LEAST_SHORT_SIDE = 320
# Levels a place bears by the range of levels, from 0 on, among 3 x 3 and 5 x 5 of its neighbours.
# A range that is not listed sets no limit. What is even bears one, which nobody sees.
_BORNE_BY_NEAR = (1, 3)
_BORNE_BY_WIDE = (1, 1, 3, 6)
_ANY = 127  # more than the largest change that there is, and a signed byte


def _table(borne: tuple[int, ...]) -> NDArray[np.uint8]:
    table = np.full(256, _ANY, np.uint8)
    table[: len(borne)] = borne
    return table


_NEAR, _WIDE = _table(_BORNE_BY_NEAR), _table(_BORNE_BY_WIDE)
_NEIGHBOURS = np.ones((3, 3), np.uint8)


def borne_by_flatness(luma: Plane, level: int) -> NDArray[np.int8]:
    """
    Return (height, width): how far each sample may be changed, in levels; 127 is no limit.

    Args:
        luma: (height, width) uint8 or uint16.
        level: of an 8-bit plane, in units of `luma`.
    """
    height, width = luma.shape
    picture: NDArray[Any] = _halved(luma)
    if level > 1:
        picture = cv2.convertScaleAbs(picture, alpha=1 / level)
    lightest, darkest = cv2.dilate(picture, _NEIGHBOURS), cv2.erode(picture, _NEIGHBOURS)
    borne = cv2.LUT(cv2.subtract(lightest, darkest), _NEAR)
    lightest, darkest = cv2.dilate(lightest, _NEIGHBOURS), cv2.erode(darkest, _NEIGHBOURS)
    cv2.min(borne, cv2.LUT(cv2.subtract(lightest, darkest), _WIDE), borne)
    if borne.shape != luma.shape:
        borne = cv2.resize(borne, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(borne, np.uint8).view(np.int8)


def _halved(luma: NDArray[Any]) -> NDArray[Any]:
    while min(luma.shape) >= 2 * _LEAST_SHORT_SIDE:
        height, width = (side // 2 for side in luma.shape)
        luma = cv2.resize(luma, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(luma)
