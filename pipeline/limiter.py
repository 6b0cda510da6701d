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

from pipeline.motion import Layer


def limited(pattern: Layer, bound: Layer, budget: float) -> Layer:
    """
    Return the change of luma in levels, its RMS within the budget.

    Args:
        pattern: -1 to 1.
        bound: in levels, at any size (`visibility.largest_change`).
        budget: in levels.
    """
    height, width = pattern.shape
    change = np.multiply(pattern, cv2.resize(bound, (width, height)))
    rms = cv2.norm(change, cv2.NORM_L2) / math.sqrt(change.size)
    if rms > budget:
        change *= np.float32(budget / rms)
    return change
