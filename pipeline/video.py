"""
Frames in, protected frames out.

`anchor` draws the pattern of anchor frames. The frames up to the next anchor get it carried by
the motion and mixed with the one before it, so that nothing jumps; a cut starts anew. Each frame's
change is the pattern within that frame's own bound, and within what even ground bears. Only this
module adds a change to planes, and it measures there that the change keeps to the budget.
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
from pipeline.flatness import borne_by_flatness
from pipeline.limiter import limited
from pipeline.motion import (
    Follower,
    Layer,
    Picture,
    carry,
    flow_colour,
    flow_picture,
    is_cut,
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
        anchors: frames whose pattern was computed; cuts are among them.
        cuts: new shots found after the first.
        device: where anchors were computed, as torch names it.
        surrogates: names of the networks; none for the embedded way.
        top1_changed: share of networks and of the anchors they were asked about, 0 to 1, where the
            network's first answer to the protected anchor is not that to the original; None for the
            embedded way.
        faces: None where no network for faces was given.
    """

    anchors: int
    cuts: int
    device: str
    surrogates: tuple[str, ...]
    top1_changed: float | None
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
        self._fresh: Layer | None = None  # the last anchor's pattern
        self._fading: Layer | None = None  # the one before it, carried to that anchor
        self._since_anchor = self._rated_at = 0
        self._cuts = 0

    def protect(self, original: Planes, protected: Planes) -> None:
        """
        Write `original` with its change into `protected`, every sample of it.

        Args:
            original: of the size given at the start; only read.
            protected: of the same shapes and depth, in other memory.
        """
        picture = flow_picture(original.luma, original.level)
        bound = largest_change(picture, flow_colour(original), self._strength)
        change = limited(self._next_pattern(picture, original, bound), bound, self._budget)
        patches = self._faces.patches(self._share()) if self._faces else []
        _add(change, patches, original, protected, self._budget)
        if self._faces is not None and self._since_anchor == self._rated_at:
            self._faces.rate(original, protected)
        self._before = picture

    @property
    def summary(self) -> VideoSummary:
        """What was done so far."""
        return VideoSummary(
            anchors=self._artist.anchors,
            cuts=self._cuts,
            device=str(self._artist.device),
            surrogates=self._artist.surrogate_names,
            top1_changed=self._artist.top1_changed,
            faces=self._faces.summary if self._faces else None,
        )

    def _next_pattern(self, picture: Picture, original: Planes, bound: Layer) -> Layer:
        """Return this frame's pattern, -1 to 1."""
        if self._before is None:
            return self._begin_shot(picture, original, bound)
        if is_cut(self._before, picture):
            self._cuts += 1
            return self._begin_shot(picture, original, bound)
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
        self._fresh = self._artist.continue_shot(original, bound, flow)
        if self._faces is not None:
            self._faces.continue_shot(original)
        self._start_interval(picture)
        return self._mixture()

    def _begin_shot(self, picture: Picture, original: Planes, bound: Layer) -> Layer:
        self._fresh = self._fading = self._artist.begin_shot(original, bound)
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

    def _mixture(self) -> Layer:
        """Return the pattern at the last anchor, as mixed for the current frame."""
        assert self._fresh is not None
        assert self._fading is not None
        share = self._share()
        if share >= 1.0 or self._fading is self._fresh:
            return self._fresh
        mixed = cv2.addWeighted(self._fresh, share, self._fading, 1.0 - share, 0.0)
        return np.asarray(mixed, np.float32)


def _add(
    change: Layer, patches: list[Patch], original: Planes, protected: Planes, budget: float
) -> None:
    """Write the original with a change of luma into protected; colour stays as it is."""
    level = original.level
    peak = math.floor(PEAK_PER_BUDGET * budget * level)
    enlarge: Callable[[Layer, tuple[int, ...], int], NDArray[Any]] = _enlarge
    write_sum: Callable[[NDArray[Any], Plane, Plane], None] = _write_sum(original.depth)
    if original.depth == 8:
        enlarge, write_sum = _enlarge_8, _write_sum_8
    source, target = original.luma, protected.luma
    borne: NDArray[Any] = borne_by_flatness(source, level)
    if level > 1:
        borne = borne.astype(np.int16) * np.int16(level)

    def write(share: float) -> float:
        """Write this share of the change, and of what patches have instead; return its RMS."""
        whole = enlarge(change * np.float32(level * share), source.shape, peak)
        np.minimum(whole, borne, out=whole)
        np.maximum(whole, -borne, out=whole)
        for patch in patches:
            patch.lay(whole, level * share, peak)
        write_sum(whole, source, target)
        return cv2.norm(source, target, cv2.NORM_L2) / math.sqrt(source.size) / level

    # Rounding and interpolation can lift the RMS of a change at working size, as a large
    # face can; then a smaller one is added, until the plane itself keeps to the budget.
    share = 1.0
    while (rms := write(share)) > budget:
        share *= 0.99 * budget / rms
    np.copyto(protected.cb, original.cb)
    np.copyto(protected.cr, original.cr)


def _enlarge_8(change: Layer, shape: tuple[int, ...], peak: int) -> NDArray[np.int8]:
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


def _enlarge(change: Layer, shape: tuple[int, ...], peak: int) -> NDArray[np.int16]:
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
