"""One clip's pictures: stills from all over it, and one piece of it in motion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import variants
from frames import Frames, joined, middle, read_frames, spread
from judges import Answers, Judges
from made import Made, make
from pieces import (
    UNSEEN,
    Clip,
    Film,
    cut_film,
    cut_picture,
    cut_piece,
    cut_stills,
    picture_name,
)
from records import Record
from variants import Method
from visibility import Jod, flat_rms, net_jod

from pipeline.settings import Settings

_STILL, _CLIP = "still", "clip"


@dataclass(frozen=True)
class Plan:
    """
    How much is measured.

    Attributes:
        stills: frames taken from each clip, all shown to recognisers.
        seconds: length of the piece in motion.
        judged_frames: of the piece, shown to recognisers.
        jod_frames: of the piece, consecutive, whose visibility in motion is measured.
        jod_stills: of the stills, and of those frames, whose visibility at rest is measured.
        methods: for stills, all with their visibility.
        clip_methods: for the piece; visibility is measured for `jod_methods` alone, as that
            takes the most time.
        held_frames: of those frames, whose visibility is measured as a video that stands still.
        held_methods: for which that is done, among `jod_methods`.
        networks: settings of the network way and the reference design, where there are any.
    """

    stills: int
    seconds: float
    judged_frames: int
    jod_frames: int
    jod_stills: int
    methods: tuple[Method, ...]
    clip_methods: tuple[Method, ...]
    jod_methods: tuple[Method, ...]
    held_frames: int
    held_methods: tuple[Method, ...]
    networks: Settings | None


CONTROL = Method(variants.CONTROL, 0.12)


class PictureBench:
    """Measures clip after clip; holds the recognisers and the metric."""

    def __init__(self, media: Path, scratch: Path, plan: Plan, judges: Judges, jod: Jod) -> None:
        self._media, self._scratch, self._plan = media, scratch, plan
        self._judges, self._jod = judges, jod

    def stills(self, clip: Clip) -> Iterator[Record]:
        """Yield the measures of stills, each protected as a video of one frame."""
        sources = cut_stills(self._media / clip.name, self._plan.stills, self._scratch)
        original = joined([read_frames(source) for source in sources])
        yield from self._measured(_STILL, clip, sources, original, self._plan.methods)

    def picture(self, path: str) -> Iterator[Record]:
        """Yield the measures of one picture of the media, protected as a video of one frame."""
        clip = Clip(f"{picture_name(path)}.mp4", 0.0, UNSEEN)
        source = cut_picture(self._media / path, self._scratch / clip.name)
        yield from self._measured(_STILL, clip, [source], read_frames(source), self._plan.methods)

    def motion(self, clip: Clip) -> Iterator[Record]:
        """Yield the measures of the piece in motion."""
        target = self._scratch / f"{clip.stem}_piece.mp4"
        source = cut_piece(self._media / clip.name, clip.start, self._plan.seconds, target)
        yield from self._moving(clip, source)

    def film(self, film: Film) -> Iterator[Record]:
        """Yield the measures of a stretch of one film of the media, in motion."""
        clip = Clip(f"{film.title}.mp4", film.start, UNSEEN)
        target = self._scratch / clip.name
        source = cut_film(self._media / film.path, film.start, self._plan.seconds, target)
        yield from self._moving(clip, source)

    def _moving(self, clip: Clip, source: Path) -> Iterator[Record]:
        original = read_frames(source)
        yield from self._measured(_CLIP, clip, [source], original, self._plan.clip_methods)

    def _measured(
        self,
        kind: str,
        clip: Clip,
        sources: Sequence[Path],
        original: Frames,
        methods: Sequence[Method],
    ) -> Iterator[Record]:
        """Yield every method's measures beside those of the control."""
        shown = self._shown(kind, original)
        answers = self._judges.ask(original.some(shown).rgb)
        control = self._make(sources, CONTROL)
        plain = self._values(kind, original, control, answers, shown, with_jod=True)
        if kind == _CLIP and self._plan.held_methods:
            plain["cvvdp", "held"] = self._held(original, control)
        for method in methods:
            made = self._make(sources, method)
            with_jod = kind == _STILL or method in self._plan.jod_methods
            found = self._values(kind, original, made, answers, shown, with_jod=with_jod)
            found["file", "size"] = made.frames.picture_bytes / control.frames.picture_bytes
            if kind == _CLIP and method in self._plan.held_methods:
                found["cvvdp", "held"] = self._held(original, made)
            if with_jod:
                found |= _net_visibility(found, plain)
            for (judge, measure), value in found.items():
                if isinstance(value, list):
                    continue
                beside = plain.get((judge, measure), float("nan"))
                assert not isinstance(beside, list)
                yield Record(
                    kind, clip.stem, clip.half, method.name, f"{method.epsilon:.2f}",
                    judge, measure, value, beside,
                )  # fmt: skip

    def _make(self, sources: Sequence[Path], method: Method) -> Made:
        return make(sources, method, self._scratch, self._plan.networks)

    def _values(
        self,
        kind: str,
        original: Frames,
        made: Made,
        answers: Answers,
        shown: Sequence[int],
        *,
        with_jod: bool,
    ) -> dict[tuple[str, str], float | list[float]]:
        """Return one method's measures; JOD as lists of the frames', to be set against another."""
        before, after = original.some(shown), made.frames.some(shown)
        found: dict[tuple[str, str], float | list[float]] = {
            **self._judges.compare(answers, self._judges.ask(after.rgb, answers)),
            ("file", "psnr_db"): made.mean("psnr_db"),
            ("file", "ssim"): made.mean("ssim"),
            ("file", "seconds"): made.seconds,
        }
        flat = flat_rms(before, after)
        if flat is not None:
            found["file", "flat_rms"] = flat
        if with_jod:
            stills, video = self._jod_places(kind, len(original))
            found["cvvdp", "stills"] = self._jod.of_pictures(
                original.some(stills), made.frames.some(stills)
            )
            if kind == _CLIP:
                found["cvvdp", "video"] = self._jod.of_video(
                    original.some(video), made.frames.some(video)
                )
        return found

    def _held(self, original: Frames, made: Made) -> list[float]:
        """Return the JOD of a few of the frames seen in motion, each standing still."""
        _, video = self._jod_places(_CLIP, len(original))
        places = np.linspace(video.start, video.stop - 1, self._plan.held_frames + 2)[1:-1]
        chosen = [int(place) for place in places]
        return self._jod.of_held(original.some(chosen), made.frames.some(chosen))

    def _shown(self, kind: str, original: Frames) -> list[int]:
        if kind == _STILL:
            return list(range(len(original)))
        return spread(range(len(original)), self._plan.judged_frames)

    def _jod_places(self, kind: str, count: int) -> tuple[list[int], range]:
        """Return which frames are seen at rest, and which in motion: the middle ones."""
        video = range(count) if kind == _STILL else middle(count, self._plan.jod_frames)
        return spread(video, self._plan.jod_stills), video


def _net_visibility(
    found: dict[tuple[str, str], float | list[float]],
    plain: dict[tuple[str, str], float | list[float]],
) -> dict[tuple[str, str], float | list[float]]:
    """Return JOD net of the control: of the stills, of the worst of them, of the video."""
    new, old = found["cvvdp", "stills"], plain["cvvdp", "stills"]
    assert isinstance(new, list)
    assert isinstance(old, list)
    stills = [net_jod(a, b) for a, b in zip(old, new, strict=True)]
    net: dict[tuple[str, str], float | list[float]] = {
        ("cvvdp", "net_jod"): float(np.mean(stills)),
        ("cvvdp", "net_jod_worst"): min(stills),
        ("cvvdp", "jod"): float(np.mean(new)),
    }
    before, after = plain.get(("cvvdp", "video")), found.get(("cvvdp", "video"))
    if isinstance(before, float) and isinstance(after, float):
        net["cvvdp", "net_jod_video"] = net_jod(before, after)
        net["cvvdp", "flicker"] = net_jod(before, after) - float(np.mean(stills))
        held, still = plain.get(("cvvdp", "held")), found.get(("cvvdp", "held"))
        if isinstance(held, list) and isinstance(still, list):
            at_rest = np.mean([net_jod(a, b) for a, b in zip(held, still, strict=True)])
            net["cvvdp", "net_jod_held"] = float(at_rest)
            net["cvvdp", "true_flicker"] = net_jod(before, after) - float(at_rest)
    return net
