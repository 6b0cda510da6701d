"""
Frames in, protected frames out.

At an anchor frame the change is computed at a small working size: stripes across the
structure under the visibility map, then, where surrogates are given, refined against them.
The frames up to the next anchor get it carried by the motion and mixed with the one before
it, so that nothing jumps; a cut starts anew. Only this module adds a change to planes, and
it measures there that the change keeps to the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.device import choose_device
from pipeline.motion import (
    Field,
    Flow,
    Follower,
    Picture,
    carry,
    flow_picture,
    is_cut,
    scaled_flow,
    shrink,
)
from pipeline.parameters import PEAK_PER_BUDGET, Parameters
from pipeline.perturbation import refine
from pipeline.planes import Plane, Planes
from pipeline.settings import Settings
from pipeline.stripes import make_carriers, scale_of, stripes, working_size
from pipeline.visibility import largest_change

if TYPE_CHECKING:
    from pipeline.surrogate import Surrogates

# Frames over which a new anchor's change takes over from the one before. Fewer show as a
# beat, more blur the stripes; with every frame an anchor it is still a mixture of two.
_LONGEST_FADE = 5
_SHORTEST_FADE = 2
# Gradient steps from the stripes alone, and from the anchor before, which needs fewer.
_COLD_STEPS = 6
_WARM_STEPS = 3
# By which the way stripes have moved is smoothed at each anchor, or errors of the flow add up.
_SMOOTHING_SIGMA = 4.0
# Stripes that are stretched or turned by more than this on average, as by a long zoom, start
# anew. Rarely: at 0.25 the jumps cost more bits (3 %) than the distortion did.
_LARGEST_DISTORTION = 0.6
# Bits after the point while a change is enlarged, so that it is rounded once.
_FRACTION_BITS = 3


@dataclass(frozen=True)
class VideoSummary:
    """
    What was done to one video's pictures.

    Attributes:
        frames: protected so far.
        anchors: frames whose change was computed; cuts are among them.
        cuts: new shots found after the first.
        device: where anchors were computed, as torch names it.
        surrogates: names of the networks; none for the embedded way.
        top1_changed: share of anchors and networks, 0 to 1, where the network's first answer
            to the protected anchor is not that to the original; None for the embedded way.
        largest_change: of any sample of any frame before encoding, levels of an 8-bit plane.
        largest_rms: of any frame's change in Y, Cb and Cr, levels of an 8-bit plane.
    """

    frames: int
    anchors: int
    cuts: int
    device: str
    surrogates: tuple[str, ...]
    top1_changed: float | None
    largest_change: float
    largest_rms: tuple[float, float, float]


class VideoProtector:
    """One video's frames in presentation order; keeps nothing but the last anchor."""

    def __init__(
        self,
        width: int,
        height: int,
        parameters: Parameters,
        settings: Settings,
        surrogates: Surrogates | None,
        seed: int,
    ) -> None:
        self._budget = parameters.budget
        self._interval = parameters.every_n_frames
        self._artist = _Artist(height, width, parameters, settings, surrogates, seed)
        self._follower = Follower()
        self._before: Picture | None = None
        self._fresh = self._fading = np.zeros((0, 0, 2), np.float32)
        self._since_anchor = 0
        self._frames = self._cuts = 0
        self._largest, self._largest_rms = 0.0, np.zeros(3)

    def protect(self, original: Planes, protected: Planes) -> None:
        """
        Write `original` with its change into `protected`, every sample of it.

        Args:
            original: of the size given at the start; only read.
            protected: of the same shapes and depth, in other memory.
        """
        picture = flow_picture(original.luma, original.level)
        field = self._next_field(picture, original)
        for index, (largest, rms) in enumerate(_add(field, original, protected, self._budget)):
            self._largest = max(self._largest, largest)
            self._largest_rms[index] = max(self._largest_rms[index], rms)
        self._before = picture
        self._frames += 1

    @property
    def summary(self) -> VideoSummary:
        """What was done so far."""
        y, cb, cr = (float(rms) for rms in self._largest_rms)
        return VideoSummary(
            frames=self._frames,
            anchors=self._artist.anchors,
            cuts=self._cuts,
            device=str(self._artist.device),
            surrogates=self._artist.surrogate_names,
            top1_changed=self._artist.top1_changed,
            largest_change=self._largest,
            largest_rms=(y, cb, cr),
        )

    def _next_field(self, picture: Picture, original: Planes) -> Field:
        """Return (h, w, channels) levels: this frame's change in Y, Cb, Cr; two if Cr's is Cb's."""
        if self._before is None:
            return self._begin_shot(picture, original)
        if is_cut(self._before, picture):
            self._cuts += 1
            return self._begin_shot(picture, original)
        flow = self._follower.flow(picture)
        self._since_anchor += 1
        if self._since_anchor < self._interval:
            return carry(self._mixture(), flow)
        self._fading = carry(self._mixture(), flow)
        self._fresh = self._artist.continue_shot(original, flow)
        self._start_interval(picture)
        return self._mixture()

    def _begin_shot(self, picture: Picture, original: Planes) -> Field:
        self._fresh = self._fading = self._artist.begin_shot(original)
        self._start_interval(picture)
        return self._fresh

    def _start_interval(self, picture: Picture) -> None:
        self._follower.start(picture)
        self._since_anchor = 0

    def _mixture(self) -> Field:
        """Return the change at the last anchor, as mixed for the current frame."""
        fade = min(max(self._interval, _SHORTEST_FADE), _LONGEST_FADE)
        share = (self._since_anchor + 1) / fade
        if share >= 1.0 or self._fading is self._fresh:
            return self._fresh
        return share * self._fresh + (1.0 - share) * self._fading


class _Artist:
    """Draws the change of anchor frames; remembers how the stripes moved, and the last change."""

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
        self._strength = parameters.epsilon * parameters.video_strength
        self._surrogates = surrogates
        self.device = surrogates.device if surrogates else choose_device(settings)
        # The CPU's generator on any device, so that a seed gives the same stripes everywhere.
        self._generator = torch.Generator().manual_seed(seed)
        self._carriers = make_carriers(self._scale, self._generator).to(self.device)
        self._displacement: Field = np.zeros((*self._size, 2), np.float32)
        self._pattern: Field | None = None
        self._answers = self._answers_changed = 0
        self.anchors = 0

    @property
    def surrogate_names(self) -> tuple[str, ...]:
        return self._surrogates.names if self._surrogates else ()

    @property
    def top1_changed(self) -> float | None:
        return self._answers_changed / self._answers if self._answers else None

    def begin_shot(self, original: Planes) -> Field:
        """Return the change of an anchor that has nothing to do with the one before."""
        self._scatter()
        return self._draw(original, None)

    def continue_shot(self, original: Planes, flow: Flow) -> Field:
        """Return the change of an anchor whose pixels came by `flow` from the one before."""
        moved = carry(self._displacement, flow) + scaled_flow(flow, *self._size)
        smoothed = cv2.GaussianBlur(moved, (0, 0), _SMOOTHING_SIGMA * self._scale)
        self._displacement = np.asarray(smoothed, np.float32)
        if _distortion(self._displacement) > _LARGEST_DISTORTION:
            self._displacement[:] = self._displacement.mean(axis=(0, 1))
        return self._draw(original, flow)

    def _scatter(self) -> None:
        """Sample the carriers at another place, so that no two shots share stripes."""
        offset = torch.rand(2, generator=self._generator) * 512
        self._displacement[:] = offset.numpy()

    def _draw(self, original: Planes, flow: Flow | None) -> Field:
        self.anchors += 1
        luma = self._working(original.luma, original.level)
        with torch.no_grad():
            limit = largest_change(luma, self._scale, self._strength)
            displacement = torch.from_numpy(self._displacement).to(self.device).permute(2, 0, 1)
            pattern = limit * stripes(luma, displacement, self._carriers, self._scale)
        if self._surrogates is None:
            return _to_field(_within_budget(pattern[:2], self._budget))
        return self._refine(original, luma, pattern, limit, flow)

    def _refine(
        self, original: Planes, luma: Tensor, pattern: Tensor, limit: Tensor, flow: Flow | None
    ) -> Field:
        assert self._surrogates is not None
        chroma = (self._working(plane, original.level) for plane in (original.cb, original.cr))
        frame = torch.stack((luma, *chroma))
        start, steps = pattern, _COLD_STEPS
        if self._pattern is not None and flow is not None:
            moved = torch.from_numpy(carry(self._pattern, flow)).to(self.device).permute(2, 0, 1)
            start, steps = torch.clamp(moved, -limit, limit), _WARM_STEPS
        refined = refine(start, frame, limit, self._surrogates, steps, self._generator)
        change = _within_budget(refined, self._budget)
        self._ask(frame, change)
        self._pattern = _to_field(change)
        return self._pattern

    def _ask(self, frame: Tensor, change: Tensor) -> None:
        """Count the surrogates' first answers that the change turned."""
        assert self._surrogates is not None
        pair = torch.stack((frame, (frame + change).clamp(0, 255)))
        answers = self._surrogates.top1(pair)
        self._answers += len(answers)
        self._answers_changed += int((answers[:, 0] != answers[:, 1]).sum())

    def _working(self, plane: Plane, level: int) -> Tensor:
        small = shrink(plane, *self._size).astype(np.float32)
        return torch.from_numpy(small / level).to(self.device)


def _distortion(displacement: Field) -> float:
    """Return how far the displacement's gradient is from none, on average."""
    samples = displacement[::8, ::8]  # it is smooth enough to be looked at here and there
    steps = (np.abs(np.diff(samples, axis=axis)).sum() / (8 * samples.size) for axis in (0, 1))
    return float(np.hypot(*steps))


def _within_budget(change: Tensor, budget: float) -> Tensor:
    """Return (channels, h, w) with no sample over 2.5 budgets and no channel's RMS over one."""
    peak = PEAK_PER_BUDGET * budget
    clipped = change.detach().clamp(-peak, peak)
    rms = clipped.square().mean(dim=(1, 2), keepdim=True).sqrt()
    return clipped * (budget / rms.clamp_min(budget))


def _to_field(change: Tensor) -> Field:
    return change.permute(1, 2, 0).contiguous().cpu().numpy()


def _add(
    field: Field, original: Planes, protected: Planes, budget: float
) -> list[tuple[float, float]]:
    """
    Write original + field into protected.

    Returns:
        The largest and the RMS change of Y, Cb and Cr, in levels, measured on the planes.
    """
    level = original.level
    peak = math.floor(PEAK_PER_BUDGET * budget * level)
    changes = [field[..., channel] * level for channel in range(field.shape[2])]
    wholes = [_enlarge(c, plane.shape, peak) for c, plane in zip(changes, original, strict=False)]
    missing = 3 - len(changes)  # of two channels, the second is Cr's as well
    changes += changes[-1:] * missing
    wholes += wholes[-1:] * missing
    measures = []
    for change, whole, source, target in zip(changes, wholes, original, protected, strict=True):
        _write_sum(whole, source, target, original.depth)
        # Rounding and interpolation can lift the RMS of a change at working size; then a
        # smaller one is added, until the plane itself keeps to the budget.
        while (rms := _rms(source, target) / level) > budget:
            change = change * np.float32(0.99 * budget / rms)
            _write_sum(_enlarge(change, source.shape, peak), source, target, original.depth)
        measures.append((cv2.norm(source, target, cv2.NORM_INF) / level, rms))
    return measures


def _enlarge(change: Field, shape: tuple[int, ...], peak: int) -> NDArray[np.int16]:
    """Return the change at a plane's size in whole units, none beyond `peak`."""
    # Half a unit is added before enlarging, so that the shift afterwards rounds.
    bounded = np.clip(change, -peak, peak) + np.float32(0.5)
    fixed = np.rint(bounded * (1 << _FRACTION_BITS)).astype(np.int16)
    enlarged = cv2.resize(fixed, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    whole = np.asarray(enlarged, np.int16)
    return np.right_shift(whole, _FRACTION_BITS, out=whole)


def _write_sum(whole: NDArray[np.int16], source: Plane, target: Plane, depth: int) -> None:
    cv2.add(source, whole, target, None, cv2.CV_8U if depth == 8 else cv2.CV_16U)
    if depth > 8:
        np.minimum(target, (1 << depth) - 1, out=target)


def _rms(source: Plane, target: Plane) -> float:
    return cv2.norm(source, target, cv2.NORM_L2) / math.sqrt(source.size)
