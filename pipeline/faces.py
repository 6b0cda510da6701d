"""
Faces from anchor to anchor: who is who, and what each gets.

At an anchor faces are looked for. One that lies where the motion carried a known one is the
same person, whose drawing is drawn on, for the face as it is now. On the frames between,
the flow carries the face, upright place and all, so that what is drawn sticks to it; now and
then they are looked at for faces that have come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.display import UPRIGHT, Orientation
from pipeline.face_canvas import (
    CORNERS,
    CROP_SIDE,
    MARGIN,
    MIDDLE,
    SIDE,
    Alignment,
    Canvas,
    Landmarks,
    Patch,
    after,
    alignment_of,
    cut_out,
    inverse,
    moved,
    patch,
    scale_of,
    similarity_between,
)
from pipeline.face_change import (
    BOX,
    blank,
    change,
    ellipse,
    likeness,
    portrait,
    smoothness,
    turn_away,
)
from pipeline.face_networks import FaceNetworks
from pipeline.motion import Flow
from pipeline.planes import Planes
from pipeline.report import FaceReport

# More would take seconds an anchor; of a crowd the widest are nearest.
_MOST_FACES = 8
# Levels per epsilon where the bound is 1, for a face whose crop takes this share of the
# picture's short side. Larger faces are seen closer, and take less by this power.
_AMPLITUDE = 60.0
_SHARE, _SHARE_POWER = 0.15, 0.5
_COLD_STEPS, _WARM_STEPS = 8, 2
# Landmarks of a known face are this far those that were carried: found anew they tremble.
_STEADINESS = 0.5
# ... up to so many pixels of the canvas apart; beyond that they were carried wrongly.
_LARGEST_TREMOR = 3.0
# A face is the known one whose centre is nearer than this, in crops.
_NEAR = 0.35
# What grows or shrinks by more since the anchor, as a logarithm, is no face but a wrong flow.
_LARGEST_GROWTH = 0.4
# The flow is read on a grid of so many places a side, inside the face.
_GRID = 9


@dataclass(frozen=True)
class _Layer:
    """
    What a face gets.

    Attributes:
        change: of luma, levels.
        kept: 0 to 1, the share of other changes that stays there.
    """

    change: Canvas
    kept: Canvas


@dataclass
class _Person:
    """
    Somebody in the current shot.

    Attributes:
        alignment: from the anchor frame to the canvas.
        current: the same from the current frame.
        fading, fresh: before the last anchor and since.
        is_missed: whether the face was not found at the last anchor, nor by a look since.
    """

    alignment: Alignment
    current: Alignment
    drawing: torch.Tensor
    fading: _Layer
    fresh: _Layer
    is_missed: bool = False

    @property
    def is_there(self) -> bool:
        """Whether the face has a change, but for one that fades out."""
        return self.fresh is not _NOTHING


@dataclass(frozen=True)
class FaceSummary:
    """
    What was done to one video's faces.

    Attributes:
        embedders: names of the networks.
        found: faces that got a change; at each anchor they count anew.
        passed_over: faces on anchors that got none, as there were so many.
        similarity: of what embedders see in a face as it was written and as it was, before the
            codec, in one frame of each interval between anchors; mean, -1 to 1, None where there
            was no face.
    """

    embedders: tuple[str, ...]
    found: int
    passed_over: int
    similarity: float | None


def face_report(faces: FaceSummary | None) -> FaceReport | None:
    """Return what the report says of faces."""
    if faces is None:
        return None
    return FaceReport(faces.embedders, faces.found, faces.similarity)


class FaceArtist:
    """Draws on the faces of one video."""

    def __init__(
        self,
        networks: FaceNetworks,
        height: int,
        width: int,
        strength: float,
        seed: int,
        way: Orientation = UPRIGHT,
    ) -> None:
        """
        Args:
            height, width: of the frames.
            strength: epsilon x video_strength.
            way: how the frames are shown.
        """
        self._networks = networks
        self._height, self._width = height, width
        self._strength, self._way = strength, way
        self._generator = torch.Generator().manual_seed(seed)
        self._people: list[_Person] = []
        self._similarity_sum = 0.0
        self._found = self._rated = self._passed_over = 0

    @property
    def summary(self) -> FaceSummary:
        """What was done so far."""
        similarity = self._similarity_sum / self._rated if self._rated else None
        return FaceSummary(self._networks.names, self._found, self._passed_over, similarity)

    def begin_shot(self, original: Planes) -> None:
        """Take the frame for the first of a shot: nobody is known."""
        self._people = []
        self._draw(original)

    def continue_shot(self, original: Planes) -> None:
        """Take the current frame for an anchor; `follow` it first."""
        self._draw(original)

    def follow(self, flow: Flow) -> None:
        """Move faces to where they are, by the flow from the current frame to the anchor."""
        for person in self._people:
            to_anchor = self._to_anchor(person.current, flow)
            if to_anchor is not None:
                person.current = after(person.alignment, to_anchor)

    def look(self, original: Planes, flow: Flow) -> None:
        """
        Draw on faces that have come since the anchor, at once; to be called after `follow`.

        Args:
            original: a frame between anchors.
            flow: from it to the anchor.
        """
        room = _MOST_FACES - sum(person.is_there for person in self._people)
        for face in self._networks.detector.find(original, self._way):
            person = _nearest(face, self._people)
            if person is not None and person.is_there:
                person.is_missed = False
                continue
            if room <= 0:
                continue
            room -= 1
            drawn = self._drawn(original, face, person)
            to_anchor = self._to_anchor(drawn.current, flow)
            if to_anchor is not None:
                drawn.alignment = after(drawn.current, inverse(to_anchor))
            self._people = [*(other for other in self._people if other is not person), drawn]

    def patches(self, share: float) -> list[Patch]:
        """Return what the current frame's faces get, `share` of it from the last anchor."""
        found = []
        for person in self._people:
            layer = _mixed(person.fresh, person.fading, share)
            if layer is _NOTHING:
                continue
            drawn = patch(layer.change, layer.kept, BOX, person.current, self._height, self._width)
            if drawn is not None:
                found.append(drawn)
        return found

    def rate(self, original: Planes, protected: Planes) -> None:
        """Ask the embedders how alike the current frame's faces are to themselves unchanged."""
        device, embedders = self._networks.device, self._networks.embedders
        for person in self._people:
            if person.is_there:
                seen, written = (
                    torch.from_numpy(cut_out(planes, person.current)).to(device)
                    for planes in (original, protected)
                )
                self._similarity_sum += likeness(seen, written, embedders)
                self._rated += 1

    def _to_anchor(self, alignment: Alignment, flow: Flow) -> Alignment | None:
        """
        Return the similarity from the current frame's pixels to the anchor's, at a face.

        None where it has left the picture: it stays where it was last seen.
        """
        places = moved(_GRID_PLACES, inverse(alignment))
        ratio = np.array([flow.shape[1] / self._width, flow.shape[0] / self._height])
        x, y = np.rint(places * ratio + (ratio - 1) / 2).astype(int).T
        inside = (x >= 0) & (x < flow.shape[1]) & (y >= 0) & (y < flow.shape[0])
        if inside.sum() < _GRID:
            return None
        start, steps = places[inside], flow[y[inside], x[inside]] / ratio
        found = similarity_between(start, start + steps)
        if abs(math.log(max(scale_of(found), 1e-6))) <= _LARGEST_GROWTH:
            return found
        return similarity_between(start, start + np.median(steps, axis=0))

    def _draw(self, original: Planes) -> None:
        known = self._people
        landmarks = self._networks.detector.find(original, self._way)
        self._passed_over += max(0, len(landmarks) - _MOST_FACES)
        self._people = []
        for face in landmarks[:_MOST_FACES]:
            person = _nearest(face, known)
            if person is not None:
                known = [other for other in known if other is not person]
            self._people.append(self._drawn(original, face, person))
        self._people += [_missed(person) for person in known if person.is_there]

    def _drawn(self, original: Planes, face: Landmarks, person: _Person | None) -> _Person:
        device, embedders = self._networks.device, self._networks.embedders
        alignment = _steadied(face, person)
        seen = portrait(torch.from_numpy(cut_out(original, alignment)).to(device))
        scale = scale_of(alignment)
        manner = self._amplitude(scale), smoothness(scale)
        start = person.drawing if person else blank(device, self._generator)
        steps = _WARM_STEPS if person else _COLD_STEPS
        drawing = turn_away(start, seen, embedders, *manner, steps, self._generator)
        self._found += 1
        fresh = _Layer(_canvas(change(drawing, seen, *manner)), _canvas(1 - ellipse(device)))
        # Whoever is new is recognised by a single frame: all of the change is there at once.
        before = person.fresh if person is not None and person.is_there else fresh
        return _Person(alignment, alignment, drawing, before, fresh)

    def _amplitude(self, scale: float) -> float:
        share = CROP_SIDE / scale / min(self._height, self._width)
        return _AMPLITUDE * self._strength * (_SHARE / max(share, _SHARE)) ** _SHARE_POWER


def _steadied(face: Landmarks, person: _Person | None) -> Alignment:
    found = alignment_of(face)
    if person is None:
        return found
    # Both take the corners of the canvas somewhere in the frame: the mean of those.
    here, there = (moved(CORNERS, inverse(a)) for a in (found, person.current))
    apart = float(np.hypot(*(here - there).T).mean()) * scale_of(found)
    if apart > _LARGEST_TREMOR:
        return found
    return similarity_between(here + _STEADINESS * (there - here), CORNERS)


def _nearest(face: Landmarks, known: list[_Person]) -> _Person | None:
    """Return the known person whose face is where this one is, if there is one."""
    distances = [float(np.hypot(*(moved(face, p.current).mean(axis=0) - MIDDLE))) for p in known]
    if not distances or min(distances) > _NEAR * CROP_SIDE:
        return None
    return known[int(np.argmin(distances))]


def _missed(person: _Person) -> _Person:
    """Return a person who was not found at this anchor: kept once, as detectors blink; then out."""
    fresh = _NOTHING if person.is_missed else person.fresh
    return _Person(person.current, person.current, person.drawing, person.fresh, fresh, True)


def _mixed(fresh: _Layer, fading: _Layer, share: float) -> _Layer:
    if share >= 1 or fading is fresh:
        return fresh
    pairs = ((fresh.change, fading.change), (fresh.kept, fading.kept))
    return _Layer(*(np.asarray(share * a + (1 - share) * b, np.float32) for a, b in pairs))


def _canvas(tensor: torch.Tensor) -> Canvas:
    return tensor.detach().cpu().numpy()


def _grid_places() -> NDArray[np.float64]:
    places = np.linspace(MARGIN + 16, SIDE - MARGIN - 16, _GRID)
    x, y = np.meshgrid(places, places)
    return np.stack((x.ravel(), y.ravel()), axis=1)


_GRID_PLACES = _grid_places()
_NOTHING = _Layer(np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32))
