"""
Hold a change that was carried from an anchor to what the current frame bears.

Where the flow is wrong, or an edge moves against flat ground, stripes would stay behind on
sky, road and wall. So each frame's bound is computed anew, quickly, on the picture the flow
was measured on, and beside it lies the anchor's, carried by the same flow as the change: what
is near in both cancels, and where the frame bears less, the change shrinks in proportion.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.motion import Flow, Layer, Picture, carry
from pipeline.visibility import quick_bound


class Limiter:
    """Knows what the anchor frame bore, for luma and colour."""

    def __init__(self) -> None:
        self._anchor: NDArray[np.float32] | None = None
        self._last: tuple[Picture, NDArray[np.float32]] | None = None

    def start(self, anchor: Picture) -> None:
        """Take (height, width) uint8, of `motion.flow_picture`, as the anchor from now on."""
        self._anchor = self._bound(anchor)

    def carry(self, field: Sequence[Layer], picture: Picture, flow: Flow) -> list[Layer]:
        """
        Return the anchor's field as the current frame has it and bears it.

        It is nowhere more than `motion.carry` alone gives.

        Args:
            field: of the anchor: Y, then one or two of colour, of one size.
            picture: of `motion.flow_picture`, the current frame's.
            flow: from it to the anchor, of `motion.Follower.flow`.

        Raises:
            ValueError: no anchor was set.
        """
        if self._anchor is None:
            raise ValueError("set an anchor first")
        height, width = field[0].shape
        bounds, anchors = (
            [cv2.resize(bound[..., kind], (width, height)) for kind in (0, 1)]
            for bound in (self._bound(picture), self._anchor)
        )
        # In one piece: OpenCV moves four channels in half of the time it takes for two.
        packed = np.asarray(cv2.merge([*field, *anchors]), np.float32)
        *moved, in_luma, in_colour = cv2.split(carry(packed, flow))
        shares = [
            np.minimum(bound, anchor) / anchor
            for bound, anchor in zip(bounds, (in_luma, in_colour), strict=True)
        ]
        shares += shares[1:]  # the same for both planes of colour
        return [np.multiply(*pair) for pair in zip(moved, shares, strict=False)]

    def _bound(self, picture: Picture) -> NDArray[np.float32]:
        if self._last is None or self._last[0] is not picture:  # an anchor is asked for twice
            self._last = picture, quick_bound(picture)
        return self._last[1]
