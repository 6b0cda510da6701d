"""
Hold a change that was carried from an anchor to what the current frame bears.

Where the flow is wrong, or an edge moves against flat ground, stripes would stay behind on
sky, road and wall. So each frame's bound is computed anew, quickly, on the picture the flow
was measured on, and beside it lies the anchor's, carried by the same flow as the change: what
is near in both cancels, and where the frame bears less, the change shrinks in proportion.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.motion import Field, Flow, Picture, carry
from pipeline.visibility import quick_bound


class Limiter:
    """Knows what the anchor frame bore, for luma and colour."""

    def __init__(self) -> None:
        self._anchor: NDArray[np.float32] | None = None

    def start(self, anchor: Picture) -> None:
        """Take (height, width) uint8, of `motion.flow_picture`, as the anchor from now on."""
        self._anchor = quick_bound(anchor)

    def carry(self, field: Field, picture: Picture, flow: Flow) -> Field:
        """
        Return the anchor's field as the current frame has it and bears it.

        It is nowhere more than `motion.carry` alone gives.

        Args:
            field: (height, width, channels) float32, of the anchor: Y first, the rest colour.
            picture: of `motion.flow_picture`, the current frame's.
            flow: from it to the anchor, of `motion.Follower.flow`.

        Raises:
            ValueError: no anchor was set.
        """
        if self._anchor is None:
            raise ValueError("set an anchor first")
        share = np.minimum(quick_bound(picture) / carry(self._anchor, flow), 1.0)
        height, width, channels = field.shape
        enlarged = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
        if channels == 3:
            enlarged = cv2.merge([*cv2.split(enlarged), enlarged[..., 1]])
        return np.asarray(cv2.multiply(carry(field, flow), enlarged), np.float32)
