"""
Hold a pattern to what the current frame bears, and to the task's budget.

A pattern says at each place how much of the bound it takes. Only the pattern is carried from
frame to frame; the bound is each frame's own. So nothing stays behind on sky, road and wall
where the flow is wrong or an edge moves against flat ground, and what comes into sight or was
flat before is changed as much as it bears.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from pipeline.motion import Field, Layer

Bounds = tuple[Layer, Layer]  # on the change of luma and of colour, in levels


def limited(pattern: Field, bounds: Bounds, budget: float) -> list[Layer]:
    """
    Return the change in levels: of Y, then one or two of colour, none with an RMS over the budget.

    Args:
        pattern: (height, width, 2 or 3), -1 to 1; Y, then one or two channels of colour.
        bounds: at any size (`visibility.largest_change`).
        budget: in levels.
    """
    height, width = pattern.shape[:2]
    in_luma, in_colour = (cv2.resize(bound, (width, height)) for bound in bounds)
    pairs = zip(cv2.split(pattern), (in_luma, in_colour, in_colour), strict=False)
    return [_within(np.multiply(layer, bound), budget) for layer, bound in pairs]


def _within(change: Layer, budget: float) -> Layer:
    rms = cv2.norm(change, cv2.NORM_L2) / math.sqrt(change.size)
    if rms > budget:
        change *= np.float32(budget / rms)
    return change
