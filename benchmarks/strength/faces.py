"""
One clip's faces: how alike a recogniser finds them, and what is seen of it at the face.

Faces are those that SCRFD is sure of in the original. They are cut out of every file at the
original's landmarks, and shown to MobileFaceNet.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import variants
from frames import Frames, joined, middle, read_frames, spread
from judges import Array, FaceJudge, Measures
from made import Made, make
from pieces import Clip, cut_piece, cut_stills
from records import Record
from variants import Method
from visibility import Jod, net_jod

from pipeline.face_networks import find_face_obstacles
from pipeline.settings import FaceSettings, Settings

_STILL, _CLIP = "still", "clip"
_CONTROL = Method(variants.CONTROL, 0.12)
# Side of the square about a face, in the longer sides of the detector's box.
_SURROUNDINGS = 1.3


@dataclass(frozen=True)
class FacePlan:
    """
    How much is measured.

    Attributes:
        stills: frames taken from each clip, whose faces are all judged.
        seconds: length of the piece in motion.
        judged_frames: of the piece, spread over it, so that most are no anchors.
        jod_frames: of the piece, consecutive, whose visibility in motion is measured.
        jod_stills: of the stills, whose visibility as a whole is measured.
        methods: measured beside the control.
        settings: of the face way.
    """

    stills: int
    seconds: float
    judged_frames: int
    jod_frames: int
    jod_stills: int
    methods: tuple[Method, ...]
    settings: Settings


@dataclass(frozen=True)
class _Part:
    """The stills or the piece of one clip, and the frames and faces in it that are judged."""

    kind: str
    clip: Clip
    sources: Sequence[Path]
    original: Frames
    shown: Sequence[int]
    faces: Sequence[Array]
    embeddings: Sequence[Array]

    @property
    def share(self) -> float:
        """Of the judged frames, those with a face."""
        return float(np.mean([len(found) > 0 for found in self.faces]))


@dataclass(frozen=True)
class _Measured:
    """
    What was found of one method's files.

    Attributes:
        changes: of faces, by `FaceJudge.changes`.
        faces_jod: of each face.
        whole_jod: of each still; of the piece in motion, one.
    """

    made: Made
    changes: Measures
    faces_jod: Sequence[float]
    whole_jod: Sequence[float]


class FaceBench:
    """Measures clip after clip; holds the recognisers and the metric."""

    def __init__(
        self, media: Path, scratch: Path, plan: FacePlan, judge: FaceJudge, jod: Jod
    ) -> None:
        self._media, self._scratch, self._plan = media, scratch, plan
        self._judge, self._jod = judge, jod

    def stills(self, clip: Clip) -> Iterator[Record]:
        """Yield the measures of stills, each protected as a video of one frame."""
        sources = cut_stills(self._media / clip.name, self._plan.stills, self._scratch)
        original = joined([read_frames(source) for source in sources])
        yield from self._records(_STILL, clip, sources, original, range(len(original)))

    def motion(self, clip: Clip) -> Iterator[Record]:
        """Yield the measures of the piece in motion."""
        target = self._scratch / f"{clip.stem}_piece.mp4"
        source = cut_piece(self._media / clip.name, clip.start, self._plan.seconds, target)
        original = read_frames(source)
        shown = spread(range(len(original)), self._plan.judged_frames)
        yield from self._records(_CLIP, clip, [source], original, shown)

    def _records(
        self,
        kind: str,
        clip: Clip,
        sources: Sequence[Path],
        original: Frames,
        shown: Sequence[int],
    ) -> Iterator[Record]:
        """Yield every method's measures; nothing where there is no face."""
        rgb = original.some(shown).rgb
        faces = self._judge.find(rgb)
        if not any(len(found) for found in faces):
            return
        embeddings = self._judge.embed(rgb, faces)
        part = _Part(kind, clip, sources, original, shown, faces, embeddings)
        control = self._measure(part, _CONTROL)
        for method in self._plan.methods:
            yield from _as_records(part, method, self._measure(part, method), control)

    def _measure(self, part: _Part, method: Method) -> _Measured:
        made = make(part.sources, method, self._scratch, self._plan.settings)
        before, after = part.original.some(part.shown), made.frames.some(part.shown)
        embeddings = self._judge.embed(after.rgb, part.faces)
        places = [surroundings(found, *before.luma.shape[1:]) for found in part.faces]
        return _Measured(
            made,
            self._judge.changes(part.embeddings, embeddings),
            self._jod.of_places(before, after, places),
            self._whole_jod(part, made.frames),
        )

    def _whole_jod(self, part: _Part, made: Frames) -> list[float]:
        every = range(len(part.original))
        if part.kind == _STILL:
            stills = spread(every, self._plan.jod_stills)
            return self._jod.of_pictures(part.original.some(stills), made.some(stills))
        video = middle(len(every), self._plan.jod_frames)
        return [self._jod.of_video(part.original.some(video), made.some(video))]


def _as_records(
    part: _Part, method: Method, found: _Measured, control: _Measured
) -> Iterator[Record]:
    def record(judge: str, measure: str, *values: float) -> Record:
        clip = part.clip
        epsilon = f"{method.epsilon:.2f}"
        return Record(
            part.kind, clip.stem, clip.half, method.name, epsilon, judge, measure, *values
        )

    yield record("scrfd faces", "frames", part.share)
    for (judge, measure), value in found.changes.items():
        yield record(judge, measure, value, control.changes[judge, measure])
    yield from (
        record("cvvdp", measure, value) for measure, value in _net_jod(part, found, control)
    )
    size = found.made.frames.picture_bytes / control.made.frames.picture_bytes
    yield record("file", "size", size)
    yield record("file", "cpu_seconds", found.made.cpu_seconds, control.made.cpu_seconds)


def _net_jod(part: _Part, found: _Measured, control: _Measured) -> Iterator[tuple[str, float]]:
    """Yield measures and their JOD net of the control."""
    faces = [net_jod(*pair) for pair in zip(control.faces_jod, found.faces_jod, strict=True)]
    whole = [net_jod(*pair) for pair in zip(control.whole_jod, found.whole_jod, strict=True)]
    yield "net_jod_face", float(np.mean(faces))
    yield "net_jod_face_worst", min(faces)
    if part.kind == _STILL:
        yield "net_jod", float(np.mean(whole))
        yield "net_jod_worst", min(whole)
    else:
        yield "net_jod_video", whole[0]


def surroundings(faces: Array, height: int, width: int) -> list[tuple[slice, slice]]:
    """
    Return the rows and columns of a square about each face, as far as the frame reaches.

    Args:
        faces: (k, 4 or more), left, top, right and bottom in pixels.
        height, width: of the frame.
    """
    places = []
    for left, top, right, bottom in faces[:, :4]:
        half = max(right - left, bottom - top) * _SURROUNDINGS / 2
        x, y = (left + right) / 2, (top + bottom) / 2
        rows = slice(max(0, int(y - half)), min(height, int(y + half)))
        places.append((rows, slice(max(0, int(x - half)), min(width, int(x + half)))))
    return places


def face_settings(detector: Path, embedder: Path, recognisers: Path) -> Settings:
    """
    Return settings of the face way.

    Args:
        recognisers: folder of the judges, none of which may be asked while protecting.

    Raises:
        SystemExit: the embedder is a judge, or a file cannot be used; says why.
    """
    if _is_of(recognisers, embedder):
        raise SystemExit(
            f"{embedder} is one of the recognisers of {recognisers}, which judge: what is made"
            " against a judge says nothing of others. Give another --embedder."
        )
    settings = Settings(faces=FaceSettings(detector, (embedder,)), threads=1)
    obstacles = find_face_obstacles(settings)
    if obstacles:
        raise SystemExit("\n".join(obstacles))
    return settings


def _is_of(folder: Path, file: Path) -> bool:
    """Whether the file lies in the folder, or is a copy of one that does."""
    if file.resolve().is_relative_to(folder.resolve()):
        return True
    own = (path for path in folder.rglob("*") if path.is_file())
    return file.is_file() and any(filecmp.cmp(file, path, shallow=False) for path in own)
