"""
One moment of a video as its protected copy will show it, before the whole is worked on.

A second up to that moment goes the way of the whole: the same protection, the same encoder.
So motion, the fade from anchor to anchor and what the codec leaves of it are in the picture.
Two things will be otherwise in the copy: the stripes lie elsewhere, since chance places them,
and the moment may be nearer to an anchor, since which frames are anchors follows from all
frames before.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from pipeline.conversion import blank_frame, to_working_format
from pipeline.display import orientation
from pipeline.errors import InvalidParameters, UnreadableMedia, VerificationFailed
from pipeline.face_networks import load_faces
from pipeline.faces import face_report
from pipeline.measure import FrameMeasure, measure_planes
from pipeline.media import MediaInfo
from pipeline.memory import lack_of_memory_told
from pipeline.moments import ROUNDING, Moments, Timed
from pipeline.pairing import common_planes
from pipeline.parameters import Mode, Parameters
from pipeline.plan import OutputPlan, plan_output
from pipeline.planes import planes_of
from pipeline.probe import open_media, probe
from pipeline.publish import derived_name
from pipeline.report import FaceReport, aligned, change_words, face_rows, plain
from pipeline.settings import Settings
from pipeline.shown import Image, as_displayed, displayed, in_colour
from pipeline.sidebyside import side_by_side, write_png
from pipeline.stages import run_stages
from pipeline.surrogate import load_surrogates
from pipeline.timeline import Placed, VideoClock, length_of, time_of
from pipeline.video import VideoProtector
from pipeline.writer import Writer

# What is protected before the moment: two anchors more at the usual rates, a fade at least.
_RUN_SECONDS = Fraction(1)
_RUN_FRAMES = 30
# x264's presets up to "veryfast" look as far ahead before they decide how a frame is coded.
_FRAMES_AFTER = 10
_QUEUE_DEPTH = 2


@dataclass(frozen=True)
class Preview:
    """
    A picture that was written, and how far its two halves are from each other.

    Attributes:
        png: where it is.
        seconds: when the frame begins, from the first of the video.
        surrogate: names of the networks, or `embedded`.
        faces: of the stretch around the moment; None where no network for faces is named.
        measure: of the frame, as decoded from the encode.
    """

    png: Path
    seconds: float
    surrogate: str
    faces: FaceReport | None
    measure: FrameMeasure

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, named as in a report."""
        return plain(
            {
                "preview": str(self.png),
                "seconds": self.seconds,
                "surrogate": self.surrogate,
                "faces": self.faces,
                "psnr_db": self.measure.psnr_db,
                "ssim": self.measure.ssim,
                "largest_change": self.measure.largest,
                "mean_change": self.measure.mean,
                "p999_change": self.measure.p999,
            }
        )

    def lines(self) -> list[str]:
        """Return the same for people."""
        found = self.measure
        return aligned(
            [
                ("moment", f"{self.seconds:.2f} s"),
                ("surrogate", self.surrogate),
                *face_rows(self.faces),
                ("PSNR", f"{found.psnr_db:.2f} dB"),
                ("SSIM", f"{found.ssim:.4f}"),
                ("change", change_words(found.mean, found.p999, found.largest)),
            ]
        )


def preview_name(original: Path) -> str:
    """Return the file name of a preview of `original`; a long stem is cut."""
    return derived_name(original, "_preview.png")


def preview(
    original: Path,
    png: Path,
    moment: Fraction,
    parameters: Parameters,
    settings: Settings,
    *,
    may_replace: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
) -> Preview:
    """
    Write original, protected and amplified difference of one moment side by side, full size.

    Where key frames are far apart, decoding from the one before takes the most time.

    Args:
        png: where to; it appears whole or not at all.
        moment: seconds from the first frame.
        may_replace: whether a file of that name is replaced.

    Raises:
        InvalidParameters: the video has no such moment, or the mode changes no picture.
        PipelineError: as `protect`. Nothing is left behind.
        Cancelled: `cancelled` said so. Nothing is left behind.
    """
    if parameters.mode is Mode.STRIP:
        raise InvalidParameters(
            "mode strip leaves every picture as it is, so there is nothing to preview; leave out"
            " --preview, or preview mode protect.",
            "mode",
        )
    with lack_of_memory_told(original):
        whole = probe(original, settings.limits)
        plan = plan_output(whole, parameters, settings)
        info = replace(whole, audio=(), subtitles=(), chapters=())
        run = _Run(info, replace(plan, audio=(), subtitles=()), moment, parameters, settings)
        clip = png.with_name(f".{secrets.token_hex(8)}.part{plan.suffix}")
        try:
            shown = run.shown_in(clip, cancelled)
        finally:
            # Where nothing could be written there is nothing to remove, and the reason is told.
            with contextlib.suppress(OSError):
                clip.unlink()
        write_png(png, run.side_by_side(shown), may_replace)
        return run.preview(png, shown)


@dataclass(frozen=True)
class _Picture:
    frame: av.VideoFrame
    placed: Placed


class _Run:
    """The stretch of a video around one moment, on its way through the three stages."""

    def __init__(
        self,
        info: MediaInfo,
        plan: OutputPlan,
        moment: Fraction,
        parameters: Parameters,
        settings: Settings,
    ) -> None:
        self._info, self._plan, self._settings, self._moment = info, plan, settings, moment
        self._protector = VideoProtector(
            plan.video.coded_width,
            plan.video.coded_height,
            parameters,
            settings,
            load_surrogates(settings),
            secrets.randbits(63),
            load_faces(settings),
            orientation(info.video.display_matrix),
        )
        self._moments = Moments(info, settings.limits, settings.threads)
        # On a clock of its own, which begins with the run's first frame.
        self._clock: VideoClock | None = None
        self._frames = 0
        self._original: Timed | None = None
        self._last: Timed | None = None
        self._place = 0

    def shown_in(self, clip: Path, cancelled: Callable[[], bool]) -> av.VideoFrame:
        """Encode the stretch to `clip` and return the moment's frame as decoded from it."""
        writer = Writer(clip, self._plan, self._info, Fraction(0), self._settings.threads)
        run_stages(
            self._stretch(),
            self._transform,
            self._finish,
            _Output(writer),
            depth=_QUEUE_DEPTH,
            cancelled=cancelled,
        )
        return _frame_of(clip, self._place)

    def side_by_side(self, shown: av.VideoFrame) -> Image:
        """Return the moment's original, its protected frame and their difference."""
        video, track = self._plan.video, self._info.video
        # Without the lines that an odd size or an interlaced picture was padded by.
        protected = in_colour(shown)[: video.height, : video.width]
        panels = displayed(self._taken.frame, track), as_displayed(protected, track)
        # At full size: shrinking would hide what is to be judged.
        return side_by_side(*panels, largest_width=None)

    def preview(self, png: Path, shown: av.VideoFrame) -> Preview:
        """Say what was written to `png`."""
        ways, summary = (self._info.video, self._info.video), self._protector.summary
        return Preview(
            png=png,
            seconds=float(self._taken.seconds),
            surrogate=", ".join(summary.surrogates) or "embedded",
            faces=face_report(summary.faces),
            measure=measure_planes(*common_planes(self._taken.frame, shown, ways)),
        )

    @property
    def _taken(self) -> Timed:
        assert self._original is not None  # after the run
        return self._original

    def _stretch(self) -> Generator[Timed, None, None]:
        """Yield the run's frames: from the one shown where it begins to a few after the moment."""
        begin = self._moment - min(_RUN_SECONDS, _RUN_FRAMES / self._info.video.frame_rate)
        after = 0
        with closing(self._moments.since(begin)) as frames:
            for timed in frames:
                yield timed
                after += self._is_later(timed)
                if after > _FRAMES_AFTER:
                    return

    def _transform(self, timed: Timed) -> Iterator[_Picture]:
        if not self._is_later(timed):
            self._original, self._place = timed, self._frames
        self._last = timed
        self._frames += 1
        original = to_working_format(timed.frame, self._plan.video)
        protected = blank_frame(self._plan.video)
        self._protector.protect(planes_of(original), planes_of(protected))
        yield _Picture(protected, self._placed(timed))

    def _placed(self, timed: Timed) -> Placed:
        track, frame = self._info.video, timed.frame
        if self._clock is None:
            start = time_of(frame) or Fraction(0)
            self._clock = VideoClock(track.time_base, start, track.frame_rate)
        return self._clock.place(frame.pts if track.has_times else None, frame.duration)

    def _finish(self) -> Iterator[_Picture]:
        if self._last is None:
            raise UnreadableMedia(f"{self._info.path.name} has no frame that can be decoded.")
        end = self._last.seconds + length_of(self._last.frame, self._info.video.frame_rate)
        if self._original is None or self._moment > end + ROUNDING:
            raise InvalidParameters(
                f"{self._info.path.name} lasts {float(end):.2f} s: it has no moment"
                f" {float(self._moment):.2f} s to preview; name an earlier one."
            )
        yield from ()

    def _is_later(self, timed: Timed) -> bool:
        return timed.seconds > self._moment + ROUNDING


class _Output:
    """Hands each picture to the writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.close, self.abandon = writer.close, writer.abandon

    def write(self, picture: _Picture) -> None:
        self._writer.write_picture(picture.frame, picture.placed)


def _frame_of(clip: Path, place: int) -> av.VideoFrame:
    with open_media(clip) as container:
        frame = next(itertools.islice(container.decode(video=0), place, None), None)
    if frame is None:
        raise VerificationFailed("The encoded preview lacks frames; please report it.")
    return frame
