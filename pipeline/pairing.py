"""
Which frame of one video belongs to which of another, and both on common ground.

By number where both have as many frames; else by time.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.conversion import ANY_MATRIX, as_understood, is_grey, is_rgb, neutral
from pipeline.display import orientation, upright_planes
from pipeline.errors import UnreadableMedia
from pipeline.media import BT709, FULL_RANGE, LIMITED_RANGE, MediaInfo, VideoTrack
from pipeline.planes import Planes, planes_of
from pipeline.reader import Reader, VideoItem
from pipeline.settings import Limits
from pipeline.timeline import FrameClock


@dataclass(frozen=True)
class Times:
    """
    When the frames of a video are shown, in a protected copy of it too.

    Attributes:
        start: of the first frame, seconds on the file's clock.
        seconds: (frames,) float64, from the first frame.
        length: seconds from the first frame to the end of the last.
        shifts: of `VideoClock`.
        damaged_packets: packets that could not be decoded.
        ended_early: the container broke off before its end.
    """

    start: Fraction
    seconds: NDArray[np.float64]
    length: float
    shifts: tuple[Fraction, ...]
    damaged_packets: int
    ended_early: bool


@dataclass(frozen=True)
class Pairing:
    """
    Which frames to compare.

    Attributes:
        alignment: how frames were matched.
        pairs: (number in the original, number in the protected video), both ascending.
    """

    alignment: Literal["index", "time"]
    pairs: tuple[tuple[int, int], ...]


def frame_times(info: MediaInfo, limits: Limits) -> Times:
    """
    Decode every frame and return when each is shown.

    Raises:
        UnreadableMedia: not one frame can be decoded.
    """
    frame_clock, tick = FrameClock(info), info.video.time_base
    clock = frame_clock.clock
    ticks = array("q")
    reader = Reader(_picture_only(info), frozenset(), limits)
    end, told = 0, None
    for frame in _frames(reader):
        placed = frame_clock.place(frame)
        ticks.append(placed.pts)
        end = max(end, placed.pts + placed.duration)
        told = frame.duration
    if not ticks:
        raise UnreadableMedia(f"{info.path.name} has no frame that can be decoded.")
    if info.picture_end is not None:
        length = info.picture_end.length_of_last(ticks[-1] + clock.origin, told, tick)
        end = max(end, ticks[-1] + (length or 0))
    return Times(
        start=(ticks[0] + clock.origin) * tick,
        seconds=(np.asarray(ticks) - ticks[0]) * tick.numerator / tick.denominator,
        length=float((end - ticks[0]) * tick),
        shifts=tuple(clock.shifts),
        damaged_packets=reader.damaged_packets,
        ended_early=reader.ended_early,
    )


def pair_frames(
    original: NDArray[np.float64], protected: NDArray[np.float64], most: int
) -> Pairing:
    """
    Return at most `most` pairs of frames, spread over the length that both have.

    Args:
        original, protected: (frames,) seconds from the first frame, at least one each.
    """
    if len(original) == len(protected):
        chosen = np.linspace(0, len(original) - 1, min(most, len(original))).round().astype(int)
        return Pairing("index", tuple((int(i), int(i)) for i in chosen))
    moments = np.linspace(0, min(original.max(), protected.max()), most)
    pairs = []
    for moment in moments:
        second = nearest(protected, moment)
        pairs.append((nearest(original, protected[second]), second))
    return Pairing("time", tuple(_ascending(sorted(set(pairs)))))


def _ascending(pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the pairs less those that go back: a damaged file's times jump to and fro."""
    last = 0
    for first, second in pairs:
        if second >= last:
            last = second
            yield first, second


def nearest(times: NDArray[np.float64], moment: float) -> int:
    """Return the number of the frame whose time is nearest to `moment`."""
    return int(np.argmin(np.abs(times - moment)))


def frame_pairs(
    original: MediaInfo, protected: MediaInfo, pairing: Pairing, limits: Limits
) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
    """Yield the paired frames, in the order of `pairing.pairs`."""
    firsts = chosen_frames(original, [first for first, _ in pairing.pairs], limits)
    seconds = chosen_frames(protected, [second for _, second in pairing.pairs], limits)
    return zip(firsts, seconds, strict=True)


def chosen_frames(info: MediaInfo, numbers: list[int], limits: Limits) -> Iterator[av.VideoFrame]:
    """
    Yield the frames of these ascending numbers; a repeated number yields its frame again.

    Raises:
        UnreadableMedia: there are fewer frames than when they were counted.
    """
    wanted = iter(numbers)
    number = next(wanted, None)
    with closing(_frames(Reader(_picture_only(info), frozenset(), limits))) as frames:
        for at, frame in enumerate(frames):
            while number == at:
                yield frame
                number = next(wanted, None)
            if number is None:
                return
    if number is not None:
        # Of damaged packets, decoders with several threads give now more frames, now fewer.
        raise UnreadableMedia(
            f"{info.path.name} is so damaged that it gives other frames each time it is read."
        )


@dataclass(frozen=True)
class Ground:
    """In which range and, for RGB, by which matrix two pictures are compared."""

    range: int
    matrix: str


def common_ground(original: av.VideoFrame, protected: av.VideoFrame) -> Ground:
    """Return what two frames are compared in."""
    # RGB has no luma: what the protected copy made of it is the only measure.
    guide = protected if is_rgb(original) else original
    return Ground(_range(guide), "ITU709" if guide.colorspace == BT709 else "ITU601")


def common_planes(
    original: av.VideoFrame, protected: av.VideoFrame, ways: tuple[VideoTrack, VideoTrack]
) -> tuple[Planes, Planes]:
    """
    Return both pictures in 4:2:0, in the size and range of the original, each at its depth.

    A protected picture that is one padding line larger is cropped; one of another size is
    scaled. Where the two are turned differently, both are as they are shown.
    """
    first, second = (orientation(track.display_matrix) for track in ways)
    width, height = original.width, original.height
    ground = common_ground(original, protected)
    a = planes_of(_four_two_zero(original, width, height, ground))
    if first.is_transposed != second.is_transposed:
        width, height = height, width
    b = _fitted(protected, width, height, ground)
    if first == second:
        return a, b
    return upright_planes(a, first), upright_planes(b, second)


def is_padded(original: tuple[int, int], protected: tuple[int, int]) -> bool:
    """
    Whether `protected` (width, height) is `original` with odd sizes made even, or with the
    height made a multiple of four as for interlaced pictures.
    """
    width, height = original
    heights = (height + -height % lines for lines in (2, 4))
    return protected != original and protected in ((width + width % 2, h) for h in heights)


def _fitted(frame: av.VideoFrame, width: int, height: int, ground: Ground) -> Planes:
    if not is_padded((width, height), (frame.width, frame.height)):
        return planes_of(_four_two_zero(frame, width, height, ground))
    whole = planes_of(_four_two_zero(frame, frame.width, frame.height, ground))
    rows, columns = (height + 1) // 2, (width + 1) // 2
    return Planes(
        whole.luma[:height, :width],
        whole.cb[:rows, :columns],
        whole.cr[:rows, :columns],
        whole.depth,
    )


def _four_two_zero(frame: av.VideoFrame, width: int, height: int, ground: Ground) -> av.VideoFrame:
    frame = as_understood(frame)
    is_deep = max(component.bits for component in frame.format.components) > 8
    converted = frame.reformat(
        width=width,
        height=height,
        format="yuv420p10le" if is_deep else "yuv420p",
        interpolation="BICUBIC",
        src_color_range=None if is_rgb(frame) else _range(frame),
        dst_color_range=ground.range,
        src_colorspace=None if is_rgb(frame) else ANY_MATRIX,
        dst_colorspace=ground.matrix if is_rgb(frame) else ANY_MATRIX,
        threads=1,
    )
    return neutral(converted) if is_grey(frame) else converted


def _range(frame: av.VideoFrame) -> int:
    is_full = frame.format.name.startswith("yuvj") or frame.color_range == FULL_RANGE
    return FULL_RANGE if is_full else LIMITED_RANGE


def _picture_only(info: MediaInfo) -> MediaInfo:
    return replace(info, audio=(), subtitles=())


def _frames(reader: Reader) -> Generator[av.VideoFrame, None, None]:
    with closing(reader.items()) as items:
        for item in items:
            if isinstance(item, VideoItem):
                yield item.frame
