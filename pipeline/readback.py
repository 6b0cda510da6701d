"""
Read a finished file back: is it what was meant to be written?

Every frame is decoded and counted, every timestamp compared, every track of sound gone
through; the full measures are taken of sampled frames only, since structural similarity of
a 720p frame costs more than seven times its decoding.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from pipeline.errors import Cancelled, PipelineError, VerificationFailed
from pipeline.measure import FrameMeasure, PictureMeasure, measure_planes, summarise
from pipeline.planes import Planes, planes_of
from pipeline.probe import open_media
from pipeline.soundcheck import (
    CopiedSound,
    EncodedSound,
    SoundCheck,
    decoded,
    fail,
    sound_checks,
)

# Timestamps are kept within this or one tick of the coarser clock, whichever is longer.
_TIME_TOLERANCE = Fraction(1, 1000)


@dataclass(frozen=True)
class Expected:
    """
    What the finished file must hold.

    Attributes:
        timestamps: of each frame in the order shown, ticks of `time_base`; only their
            distances from the first count.
        time_base: seconds per tick.
        samples: original pictures by frame number, in the size the file codes (padding
            included); the file's frames are measured against these.
        sound: its tracks in the file's order.
    """

    timestamps: Sequence[int]
    time_base: Fraction
    samples: Mapping[int, Planes] = field(default_factory=dict)
    sound: Sequence[EncodedSound | CopiedSound] = ()


@dataclass(frozen=True)
class ReadBack:
    """
    What was found in a file that is as it was meant to be.

    Attributes:
        frames: all of them decoded.
        picture: sampled frames against their originals; None where no samples were given.
    """

    frames: int
    picture: PictureMeasure | None


def read_back(
    path: Path,
    expected: Expected,
    *,
    name: str | None = None,
    threads: int = 0,
    progress: Callable[[int], None] = lambda frames: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ReadBack:
    """
    Return what the finished file at `path` holds, having compared it with `expected`.

    Args:
        name: what to call the file in messages; its own name by default.
        threads: of the decoder; 0 takes every core.
        progress: called with the number of frames decoded so far.
        cancelled: asked at every packet.

    Raises:
        VerificationFailed: saying what differs and where.
        Cancelled: `cancelled` said so.
    """
    name = name or path.name
    try:
        container = open_media(path)
    except (PipelineError, OSError) as error:
        raise VerificationFailed(f"{name} cannot be opened for reading back: {error}") from error
    with container:
        picture = _Picture(name, _only_video(container, name), expected, progress)
        tracks = sound_checks(container, name, expected.sound)
        picture.stream.thread_type = "FRAME"
        picture.stream.thread_count = threads
        _go_through(container, name, picture, tracks, cancelled)
        # Before it is closed: a stream's time base then lies in memory that is given back.
        picture.check()
        for track in tracks:
            track.check(picture.start)
    measures = picture.measures
    return ReadBack(len(picture.ticks), summarise(measures) if measures else None)


class _Picture:
    """Counts and measures the frames of the one video stream."""

    def __init__(
        self, name: str, stream: Any, expected: Expected, progress: Callable[[int], None]
    ) -> None:
        self.name = name
        self.stream = stream
        self.ticks = array("q")  # a list of twelve hours at 60 a second takes 100 MB more
        self.measures: list[FrameMeasure] = []
        self._expected = expected
        self._progress = progress

    @property
    def start(self) -> Fraction:
        """Seconds on the file's clock at which the first frame is shown."""
        return self.ticks[0] * self.stream.time_base

    def take(self, packet: av.Packet[Any]) -> None:
        # "Near": threads return frames, and errors, some packets late.
        for frame in decoded(packet, f"{self.name}: the picture near frame {len(self.ticks)}"):
            self._take_frame(frame)

    def check(self) -> None:
        found, wanted = len(self.ticks), len(self._expected.timestamps)
        if found != wanted:
            fail(f"{self.name} has {found} frames instead of {wanted}")
        if found:
            self._check_times()

    def _take_frame(self, frame: av.VideoFrame) -> None:
        index = len(self.ticks)
        if frame.is_corrupt:
            fail(f"{self.name}: frame {index} is damaged")
        if frame.pts is None:
            fail(f"{self.name}: frame {index} has no timestamp")
        self.ticks.append(frame.pts)
        original = self._expected.samples.get(index)
        if original is not None:
            self.measures.append(_measure(original, frame, index, self.name))
        self._progress(len(self.ticks))

    def _check_times(self) -> None:
        base = self.stream.time_base
        found = _seconds(self.ticks, base)
        wanted = _seconds(self._expected.timestamps, self._expected.time_base)
        tolerance = max(_TIME_TOLERANCE, base, self._expected.time_base)
        # A hair more: an exact millisecond is not exact in binary.
        wrong = np.flatnonzero(np.abs(found - wanted) > float(tolerance) + 1e-7)
        if wrong.size:
            first = int(wrong[0])
            fail(
                f"{self.name}: frame {first} is shown at {found[first]:.4f} s"
                f" instead of {wanted[first]:.4f} s after the first"
            )


def _only_video(container: Any, name: str) -> Any:
    if len(container.streams.video) != 1:
        fail(f"{name} has {len(container.streams.video)} video streams instead of one")
    return container.streams.video[0]


def _go_through(
    container: Any,
    name: str,
    picture: _Picture,
    tracks: tuple[SoundCheck, ...],
    cancelled: Callable[[], bool],
) -> None:
    takers = {taker.stream.index: taker for taker in (picture, *tracks)}
    for packet in _packets(container, name, [taker.stream for taker in takers.values()]):
        if cancelled():
            raise Cancelled
        takers[packet.stream.index].take(packet)  # stream_index is 0 on flushing packets


def _packets(container: Any, name: str, streams: list[Any]) -> Iterator[av.Packet[Any]]:
    try:
        yield from container.demux(streams)
    except av.error.FFmpegError as error:
        fail(f"{name} breaks off ({error.strerror})", error)


def _measure(original: Planes, frame: av.VideoFrame, index: int, name: str) -> FrameMeasure:
    try:
        return measure_planes(original, planes_of(frame))
    except ValueError as error:
        fail(f"{name}: frame {index} is not comparable: {error}", error)


def _seconds(ticks: Sequence[int], base: Fraction) -> np.ndarray[Any, np.dtype[np.float64]]:
    counted = np.asarray(ticks, dtype=np.int64)
    return (counted - counted[0]) * (base.numerator / base.denominator)
