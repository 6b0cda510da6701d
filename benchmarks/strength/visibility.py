"""
How visible a change is.

Visibility is told in JOD of ColorVideoVDP (Mantiuk et al. 2024): 10 is no difference, and a
difference of 1 is seen by three quarters of observers. The picture is taken to fill the
height of a full-HD screen, whatever its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from frames import Frames
from numpy.typing import NDArray
from packages import required

from pipeline.torchvision_import import import_torchvision

_DISPLAY = "standard_fhd"
_PIXELS_PER_DEGREE = 37.8  # of that display, at 1080 lines
_HELD_FRAMES = 12
_BLOCK = 8
_FLAT_VARIANCE = 4.0  # levels squared


class Jod:
    """ColorVideoVDP for pictures and videos of any size."""

    def __init__(self) -> None:
        """
        Raises:
            SystemExit: the package is missing; says how to get it.
        """
        import_torchvision()  # it imports torchvision, which a CPU torch needs mended
        self._package = required("pycvvdp", "cvvdp")
        self._metrics: dict[tuple[int, ...], Any] = {}

    def of_pictures(self, original: Frames, changed: Frames) -> list[float]:
        """Return the JOD of each frame, seen as a still picture."""
        metric = self._whole(original)
        pairs = zip(changed.rgb, original.rgb, strict=True)
        return [float(metric.predict(new, old, dim_order="HWC")[0]) for new, old in pairs]

    def of_places(
        self,
        original: Frames,
        changed: Frames,
        places: Sequence[Sequence[tuple[slice, slice]]],
    ) -> list[float]:
        """
        Return the JOD of parts of frames, each seen as a still picture of its size there.

        Args:
            places: rows and columns, any number of them for each frame.
        """
        lines = original.luma.shape[1]
        found = []
        for old, new, parts in zip(original.rgb, changed.rgb, places, strict=True):
            for part in parts:
                before, after = np.ascontiguousarray(old[part]), np.ascontiguousarray(new[part])
                metric = self._metric(before.shape[0], before.shape[1], lines)
                found.append(float(metric.predict(after, before, dim_order="HWC")[0]))
        return found

    def of_video(self, original: Frames, changed: Frames) -> float:
        """Return the JOD of the frames, seen in motion."""
        metric = self._whole(original)
        jod, _ = metric.predict(
            changed.rgb, original.rgb, dim_order="FHWC", frames_per_second=original.rate
        )
        return float(jod)

    def of_held(self, original: Frames, changed: Frames) -> list[float]:
        """
        Return the JOD of each frame, seen as a video that stands still.

        The metric rates the same pair lower so than as a picture (8.6 became 7.7), whatever
        moves; motion is therefore set against this, and not against pictures.
        """
        return [
            self.of_video(_held(original, place), _held(changed, place))
            for place in range(len(original))
        ]

    def _whole(self, frames: Frames) -> Any:
        height, width = frames.luma.shape[1:]
        return self._metric(height, width, height)

    def _metric(self, height: int, width: int, lines: int) -> Any:
        """Return the metric for a part, of this size, of a frame with so many lines."""
        if (height, width, lines) not in self._metrics:
            geometry = self._package.vvdp_display_geometry(
                [width, height], ppd=_PIXELS_PER_DEGREE * lines / 1080
            )
            self._metrics[height, width, lines] = self._package.cvvdp(
                display_name=_DISPLAY,
                display_geometry=geometry,
                device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
                quiet=True,
            )
        return self._metrics[height, width, lines]


def _held(frames: Frames, place: int) -> Frames:
    return frames.some([place] * _HELD_FRAMES)


def net_jod(control: float, protected: float) -> float:
    """Return what the protection alone costs: 10 is nothing."""
    return 10 - (control - protected)


def flat_rms(original: Frames, changed: Frames) -> float | None:
    """
    Return the RMS change of luma on flat blocks of the original, in levels.

    Flat are blocks of 8 x 8 pixels with a variance below 4; None where there are none.
    """
    squares, count = 0.0, 0
    for old, new in zip(original.luma, changed.luma, strict=True):
        before = _blocks(old)
        flat = before.var(axis=(1, 2)) < _FLAT_VARIANCE
        squares += float(np.square(_blocks(new)[flat] - before[flat]).mean(axis=(1, 2)).sum())
        count += int(flat.sum())
    return math.sqrt(squares / count) if count else None


def _blocks(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, 8, 8), without the rest at the right and at the bottom."""
    rows, columns = plane.shape[0] // _BLOCK, plane.shape[1] // _BLOCK
    cut = plane[: rows * _BLOCK, : columns * _BLOCK].astype(np.float32)
    return cut.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)
