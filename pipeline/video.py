"""
Frames in, protected frames out.

`anchor` draws the pattern of anchor frames. The frames up to the next anchor get it carried by
the motion and mixed with the one before it, so that nothing jumps; a cut starts anew. Each frame's
change is the pattern within that frame's own bound. Only this module adds a change to planes,
and it measures there that the change keeps to the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.anchor import Artist
from pipeline.display import UPRIGHT, Orientation
from pipeline.face_canvas import Patch
from pipeline.faces import FaceArtist, FaceSummary
from pipeline.limiter import Bounds, limited
from pipeline.motion import (
    Field,
    Follower,
    Layer,
    Picture,
    carry,
    flow_picture,
    is_cut,
    shrink,
)
from pipeline.parameters import PEAK_PER_BUDGET, Parameters
from pipeline.planes import Plane, Planes
from pipeline.settings import Settings
from pipeline.visibility import largest_change

if TYPE_CHECKING:
    from pipeline.face_networks import FaceNetworks
    from pipeline.surrogate import Surrogates

# Frames over which a new anchor's pattern takes over from the one before. Fewer show as a
# beat, more blur the stripes; with every frame an anchor it is still a mixture of two.
_LONGEST_FADE = 5
_SHORTEST_FADE = 2
# Frames between anchors after which faces that have come are looked for.
_LOOKING_INTERVAL = 3
# Bits after the point while a change is enlarged, so that it is rounded once.
_FRACTION_BITS = 3


@dataclass(frozen=True)
class VideoSummary:
    """
    What was done to one video's pictures.

    Attributes:
        frames: protected so far.
        anchors: frames whose pattern was computed; cuts are among them.
        cuts: new shots found after the first.
        device: where anchors were computed, as torch names it.
        surrogates: names of the networks; none for the embedded way.
        top1_changed: share of networks and of the anchors they were asked about, 0 to 1, where the
            network's first answer to the protected anchor is not that to the original; None for the
            embedded way.
        largest_change: of any sample of any frame before encoding, levels of an 8-bit plane.
        largest_rms: of any frame's change in Y, Cb and Cr, levels of an 8-bit plane.
        faces: None where no network for faces was given.
    """

    frames: int
    anchors: int
    cuts: int
    device: str
    surrogates: tuple[str, ...]
    top1_changed: float | None
    largest_change: float
    largest_rms: tuple[float, float, float]
    faces: FaceSummary | None = None


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
        face_networks: FaceNetworks | None = None,
        way: Orientation = UPRIGHT,
    ) -> None:
        """
        Args:
            way: how the frames are shown, for whatever has to see them upright.
        """
        self._budget = parameters.budget
        self._strength = parameters.epsilon * parameters.video_strength
        self._interval = parameters.every_n_frames
        self._artist = Artist(height, width, parameters, settings, surrogates, seed)
        self._faces: FaceArtist | None = None
        if face_networks is not None:
            self._faces = FaceArtist(face_networks, height, width, self._strength, seed, way)
        self._follower = Follower()
        self._before: Picture | None = None
        self._fresh: Field | None = None  # the last anchor's pattern
        self._fading: Field | None = None  # the one before it, carried to that anchor
        self._since_anchor = self._rated_at = 0
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
        bounds = largest_change(picture, _small_colours(original, picture), self._strength)
        field = limited(self._next_pattern(picture, original, bounds), bounds, self._budget)
        patches = self._faces.patches(self._share()) if self._faces else []
        measures = _add(field, patches, original, protected, self._budget)
        for index, (largest, rms) in enumerate(measures):
            self._largest = max(self._largest, largest)
            self._largest_rms[index] = max(self._largest_rms[index], rms)
        if self._faces is not None and self._since_anchor == self._rated_at:
            self._faces.rate(original, protected)
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
            faces=self._faces.summary if self._faces else None,
        )

    def _next_pattern(self, picture: Picture, original: Planes, bounds: Bounds) -> Field:
        """Return this frame's pattern in Y, Cb, Cr, -1 to 1; two channels if Cr's is Cb's."""
        if self._before is None:
            return self._begin_shot(picture, original, bounds)
        if is_cut(self._before, picture):
            self._cuts += 1
            return self._begin_shot(picture, original, bounds)
        flow = self._follower.flow(picture)
        self._since_anchor += 1
        carried = carry(self._mixture(), flow)
        if self._faces is not None:
            self._faces.follow(flow)
        if self._since_anchor < self._interval:
            if self._faces is not None and self._since_anchor % _LOOKING_INTERVAL == 0:
                self._faces.look(original, flow)
            return carried
        self._fading = carried
        self._fresh = self._artist.continue_shot(original, bounds, flow)
        if self._faces is not None:
            self._faces.continue_shot(original)
        self._start_interval(picture)
        return self._mixture()

    def _begin_shot(self, picture: Picture, original: Planes, bounds: Bounds) -> Field:
        self._fresh = self._fading = self._artist.begin_shot(original, bounds)
        if self._faces is not None:
            self._faces.begin_shot(original)
        self._start_interval(picture)
        return self._fresh

    def _start_interval(self, picture: Picture) -> None:
        self._follower.start(picture)
        self._since_anchor = 0
        # Another frame of each interval, so that what was carried far counts as well.
        self._rated_at = (self._artist.anchors - 1) % self._interval

    def _share(self) -> float:
        """Return how much of the pattern is the last anchor's; 1 and more for all of it."""
        fade = min(max(self._interval, _SHORTEST_FADE), _LONGEST_FADE)
        return (self._since_anchor + 1) / fade

    def _mixture(self) -> Field:
        """Return the pattern at the last anchor, as mixed for the current frame."""
        assert self._fresh is not None
        assert self._fading is not None
        share = self._share()
        if share >= 1.0 or self._fading is self._fresh:
            return self._fresh
        mixed = cv2.addWeighted(self._fresh, share, self._fading, 1.0 - share, 0.0)
        return np.asarray(mixed, np.float32)


def _small_colours(original: Planes, picture: Picture) -> list[Layer]:
    """Return Cb and Cr in levels at half the size of the flow's picture."""
    height, width = ((side + 1) // 2 for side in picture.shape)
    return [
        shrink(plane, height, width).astype(np.float32) / np.float32(original.level)
        for plane in (original.cb, original.cr)
    ]


def _add(
    field: list[Layer], patches: list[Patch], original: Planes, protected: Planes, budget: float
) -> list[tuple[float, float]]:
    """
    Write original + field into protected, and what patches have instead of it.

    Returns:
        The largest and the RMS change of Y, Cb and Cr, in levels, measured on the planes.
    """
    level = original.level
    peak = math.floor(PEAK_PER_BUDGET * budget * level)
    enlarge: Callable[[Field, tuple[int, ...], int], NDArray[Any]] = _enlarge
    write_sum: Callable[[NDArray[Any], Plane, Plane], None] = _write_sum(original.depth)
    if original.depth == 8:
        enlarge, write_sum = _enlarge_8, _write_sum_8
    changes = [layer * level for layer in field] if level > 1 else field

    def drawn(index: int, shape: tuple[int, ...], share: float) -> NDArray[Any]:
        whole = enlarge(changes[index] * np.float32(share), shape, peak)
        for patch in patches:
            if index == 0:
                patch.lay(whole, level * share, peak)
            else:
                patch.lay_aside(whole)
        return whole

    wholes = [
        drawn(index, plane.shape, 1.0)
        for index, plane in zip(range(len(changes)), original, strict=False)
    ]
    last = len(changes) - 1  # of two channels, the second is Cr's as well
    measures = []
    for index, (source, target) in enumerate(zip(original, protected, strict=True)):
        write_sum(wholes[min(index, last)], source, target)
        # Rounding and interpolation can lift the RMS of a change at working size, as a large
        # face can; then a smaller one is added, until the plane itself keeps to the budget.
        share = 1.0
        while (rms := _rms(source, target) / level) > budget:
            share *= 0.99 * budget / rms
            write_sum(drawn(min(index, last), source.shape, share), source, target)
        measures.append((cv2.norm(source, target, cv2.NORM_INF) / level, rms))
    return measures


def _enlarge_8(change: Field, shape: tuple[int, ...], peak: int) -> NDArray[np.int8]:
    """Return the change at an 8-bit plane's size in levels, none beyond `peak`."""
    # In 1 / 256 levels: after enlarging, the upper byte is the level. Half a level is added
    # before, so that the lower one is rounded and not cut off.
    fixed = np.clip(change, -peak, peak) * np.float32(256) + np.float32(128)
    small = np.rint(fixed, out=fixed).astype(np.int16)
    enlarged = cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    whole = np.empty(shape, np.int8)
    return np.right_shift(np.asarray(enlarged, np.int16), 8, out=whole, casting="unsafe")


def _write_sum_8(whole: NDArray[np.int8], source: Plane, target: Plane) -> None:
    """
    Add with saturation, in signed bytes.

    Less 128, which is to turn the highest bit, levels are signed bytes, whose sums OpenCV
    saturates at what are 0 and 255 levels: several times as fast as adding other types.
    """
    np.bitwise_xor(source, 128, out=target)
    signed = target.view(np.int8)
    cv2.add(signed, whole, signed)
    np.bitwise_xor(target, 128, out=target)


def _enlarge(change: Field, shape: tuple[int, ...], peak: int) -> NDArray[np.int16]:
    """Return the change at a plane's size in whole units, none beyond `peak`."""
    # Half a unit is added before enlarging, so that the shift afterwards rounds.
    bounded = np.clip(change, -peak, peak) + np.float32(0.5)
    fixed = np.rint(bounded * (1 << _FRACTION_BITS)).astype(np.int16)
    enlarged = cv2.resize(fixed, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    whole = np.asarray(enlarged, np.int16)
    return np.right_shift(whole, _FRACTION_BITS, out=whole)


def _write_sum(depth: int) -> Callable[[NDArray[np.int16], Plane, Plane], None]:
    """Return what adds to planes of more than 8 bits."""

    def write_sum(whole: NDArray[np.int16], source: Plane, target: Plane) -> None:
        cv2.add(source, whole, target, None, cv2.CV_16U)
        np.minimum(target, (1 << depth) - 1, out=target)

    return write_sum


def _rms(source: Plane, target: Plane) -> float:
    return cv2.norm(source, target, cv2.NORM_L2) / math.sqrt(source.size)
