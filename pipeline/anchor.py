"""
Draw the pattern of anchor frames: at each place, how much of the bound the change takes.

At a small working size: stripes across the structure, then, where surrogates are given,
refined against them under the anchor's own bound. What becomes of the pattern on the frames
between is `video`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.device import choose_device
from pipeline.flatness import borne_by_flatness
from pipeline.limiter import limited
from pipeline.motion import (
    FLOW_SHORT_SIDE,
    Flow,
    Layer,
    carry,
    flow_size,
    scaled_flow,
    shrink,
)
from pipeline.parameters import Parameters
from pipeline.perturbation import Copies, changed, refine
from pipeline.planes import Plane, Planes
from pipeline.settings import Settings
from pipeline.stripes import TILE, make_carriers, scale_of, stripes, working_size

if TYPE_CHECKING:
    from pipeline.surrogate import Surrogates

# Copies of each gradient step, plain and shuffled ones: from the stripes alone; and from the anchor
# before, whose momentum holds the others'. Eight steps from the stripes take twice as long: they
# turn the network asked a quarter further on stills, others a tenth (KL), by a change 5 % larger.
# Two steps of both for each anchor after take three times as long, and turn all a tenth further.
_COLD_STEPS: Sequence[Copies] = ((1, 1),) * 4
_WARM_STEPS: Sequence[Sequence[Copies]] = (((1, 0),), ((1, 0),), ((0, 1),))  # in turn
# Beside each shot's first, one of so many anchors has its answers counted: it takes half a step's
# time.
_ASKING_INTERVAL = 5
# Of the bound for a change that networks refine: it fills its bound more than stripes do, and at
# this share it is as visible as they are (JOD).
_REFINED_SHARE = 0.84
# By which the way stripes have moved is smoothed at each anchor, or errors of the flow add up;
# pixels of a picture with a short side of 256.
_SMOOTHING_SIGMA = 4.0
# Stripes that are stretched or turned by more than this on average, as by a long zoom, mislead
# less, and start anew. With 0.6 EfficientNet-Lites lost a tenth less of five moving clips (KL).
_LARGEST_DISTORTION = 0.25
_DISTORTION_STEP = 5  # pixels of the flow


class Artist:
    """Draws the pattern of anchor frames; remembers how the stripes moved, and the last pattern."""

    def __init__(
        self,
        height: int,
        width: int,
        parameters: Parameters,
        settings: Settings,
        surrogates: Surrogates | None,
        seed: int,
    ) -> None:
        self._size = working_size(height, width)
        self._scale = scale_of(*self._size)
        self._budget = parameters.budget
        self._surrogates = surrogates
        self.device = surrogates.device if surrogates else choose_device(settings)
        # The CPU's generator on any device, so that a seed gives the same stripes everywhere.
        self._generator = torch.Generator().manual_seed(seed)
        self._carriers = make_carriers(self._scale, self._generator).to(self.device)
        # Since the shot's begin, in pixels of the flow and at its size: it is as smooth.
        self._displacement: Flow = np.zeros((*flow_size(height, width), 2), np.float32)
        self._shrunk = min(self._displacement.shape[:2]) / min(self._size)
        self._refined: tuple[Layer, Layer] | None = None  # the pattern and its momentum
        self._answers = self._answers_changed = 0
        self.anchors = 0

    @property
    def surrogate_names(self) -> tuple[str, ...]:
        return self._surrogates.names if self._surrogates else ()

    @property
    def top1_changed(self) -> float | None:
        """Of each shot's first anchor and a part of the others; None for the embedded way."""
        return self._answers_changed / self._answers if self._answers else None

    def begin_shot(self, original: Planes, bound: Layer) -> Layer:
        """
        Return the pattern, -1 to 1, of an anchor that has nothing to do with the one before.

        Args:
            bound: at any size.
        """
        self._scatter()
        return self._draw(original, bound, None)

    def continue_shot(self, original: Planes, bound: Layer, flow: Flow) -> Layer:
        """Return the pattern of an anchor whose pixels came by `flow` from the one before."""
        if self._surrogates is None:
            self._move_stripes(flow)
        return self._draw(original, bound, flow)

    def _scatter(self) -> None:
        """Sample the carriers at another place, so that no two shots share stripes."""
        offset = torch.rand(2, generator=self._generator) * (TILE * self._shrunk)
        self._displacement[:] = offset.numpy()

    def _move_stripes(self, flow: Flow) -> None:
        moved = carry(self._displacement, flow) + flow
        self._displacement = _smoothed(moved, _SMOOTHING_SIGMA * self._scale * self._shrunk)
        if _distortion(self._displacement) > _LARGEST_DISTORTION:
            self._displacement[:] = self._displacement.mean(axis=(0, 1))

    def _draw(self, original: Planes, bound: Layer, flow: Flow | None) -> Layer:
        self.anchors += 1
        if self._surrogates is None:
            return self._stripes(self._working(original.luma, original.level))
        return self._refine(original, bound, flow)

    def _stripes(self, luma: Tensor) -> Layer:
        """Return the stripes at the size of the flow."""
        displacement = self._tensor(scaled_flow(self._displacement, *self._size))
        with torch.no_grad():
            pattern = stripes(luma, displacement.permute(2, 0, 1), self._carriers, self._scale)
        return _carried(pattern.cpu().numpy())

    def _refine(self, original: Planes, bound: Layer, flow: Flow | None) -> Layer:
        assert self._surrogates is not None
        frame = torch.stack([self._working(plane, original.level) for plane in original])
        if self._refined is not None and flow is not None:
            pattern, gathered = (carry(layer, flow) for layer in self._refined)
            steps = _WARM_STEPS[self.anchors % len(_WARM_STEPS)]
        else:
            pattern = self._stripes(frame[0]) * np.float32(_REFINED_SHARE)
            gathered, steps = None, _COLD_STEPS
        height, width = pattern.shape
        even = _borne_by_flatness(original, pattern.shape)
        borne = self._tensor(np.minimum(cv2.resize(bound, (width, height)), even))
        limit = _REFINED_SHARE * borne
        start = torch.clamp(borne * self._tensor(pattern), -limit, limit)
        change, momentum = refine(
            start,
            frame,
            limit,
            self._surrogates,
            steps,
            self._generator,
            None if gathered is None else self._tensor(gathered),
        )
        refined = (change / borne).cpu().numpy()  # no place bears nothing at all
        self._refined = refined, momentum.cpu().numpy()
        if flow is None or self.anchors % _ASKING_INTERVAL == 0:
            self._ask(frame, np.clip(limited(refined, bound, self._budget), -even, even))
        return refined

    def _tensor(self, values: Layer | Flow) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _ask(self, frame: Tensor, change: Layer) -> None:
        """Count the surrogates' first answers that the change turned."""
        assert self._surrogates is not None
        height, width = self._size
        enlarged = self._tensor(np.asarray(cv2.resize(change, (width, height)), np.float32))
        pair = torch.stack((frame, changed(frame, enlarged)))
        answers = self._surrogates.top1(pair)
        self._answers += len(answers)
        self._answers_changed += int((answers[:, 0] != answers[:, 1]).sum())

    def _working(self, plane: Plane, level: int) -> Tensor:
        small = shrink(plane, *self._size).astype(np.float32)
        return torch.from_numpy(small / level).to(self.device)


def _borne_by_flatness(frame: Planes, shape: tuple[int, ...]) -> Layer:
    borne = borne_by_flatness(frame.luma, frame.level).astype(np.float32)
    return np.asarray(cv2.resize(borne, (shape[1], shape[0]), interpolation=cv2.INTER_AREA))


def _smoothed(displacement: Flow, sigma: float) -> Flow:
    """Blur by `sigma` pixels, at half the size: it is smooth enough, and four times as fast."""
    height, width = displacement.shape[:2]
    small = cv2.resize(displacement, ((width + 1) // 2, (height + 1) // 2))
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / 2)
    return np.asarray(cv2.resize(blurred, (width, height)), np.float32)


def _distortion(displacement: Flow) -> float:
    """Return how far the displacement's gradient is from none, on average."""
    # It is smooth enough to be looked at here and there.
    samples = displacement[::_DISTORTION_STEP, ::_DISTORTION_STEP]
    pixels = _DISTORTION_STEP * samples.size
    steps = (np.abs(np.diff(samples, axis=axis)).sum() / pixels for axis in (0, 1))
    return float(np.hypot(*steps))


def _carried(pattern: Layer) -> Layer:
    """
    Return the pattern at the size of the flow, where each frame takes 2.5 times less to carry it.

    At equal JOD recognisers are misled as often; drawn at that size, a tenth less.
    """
    height, width = pattern.shape
    ratio = min(1.0, FLOW_SHORT_SIDE / min(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(pattern, size, interpolation=cv2.INTER_LINEAR), np.float32)
