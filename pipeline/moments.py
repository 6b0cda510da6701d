"""Frames of a video from a moment on, each with when it begins."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

import av

from pipeline.media import MediaInfo
from pipeline.reader import Reader, VideoItem
from pipeline.settings import Limits
from pipeline.timeline import DecodingOrder, time_of

# Times are told in hundredths of a second, which may round down; the frame meant begins later.
ROUNDING = Fraction(1, 200)
# An index may be coarse, or lead past a key frame: then further back, at last to the start.
_STEPS_BACK = (0, 2, 16)


@dataclass(frozen=True)
class Timed:
    """A decoded frame and when it begins, seconds from the video's first."""

    frame: av.VideoFrame
    seconds: Fraction


class Moments:
    """The frames of one video, to be had from any moment on; decoded from the key frame before."""

    def __init__(self, info: MediaInfo, limits: Limits, threads: int) -> None:
        """Decodes the first frame, from whose time all others are counted."""
        self._info, self._limits, self._threads = info, limits, threads
        self._start = self._first_time()

    def since(self, begin: Fraction) -> Generator[Timed, None, None]:
        """
        Yield frames from the one on that is shown at `begin`.

        Args:
            begin: seconds from the first frame; after the last one it is shown still.
        """
        held: Timed | None = None
        with closing(self._from_before(max(begin, Fraction(0)))) as frames:
            for timed in frames:
                if held is not None and timed.seconds > begin:
                    yield held
                held = timed
        if held is not None:
            yield held

    def _from_before(self, begin: Fraction) -> Generator[Timed, None, None]:
        """Yield frames from one on that begins no later than `begin`."""
        for step in _STEPS_BACK:
            if begin <= step:
                break
            with closing(self._timed(begin - step + self._start)) as frames:
                first = next(frames, None)
                if first is not None and first.seconds <= begin:
                    yield first
                    yield from frames
                    return
        with closing(self._timed(None)) as frames:
            yield from frames

    def _timed(self, since: Fraction | None) -> Generator[Timed, None, None]:
        track, order = self._info.video, DecodingOrder()
        first: Fraction | None = None
        before = self._start
        with closing(self._frames(since)) as frames:
            for frame in frames:
                time = time_of(frame)
                if not track.has_times:
                    # As in the protected video: a moment is to show the same frame in both.
                    ticks = order.place(frame.dts)
                    if first is not None:
                        time = None if ticks is None else first + ticks * track.time_base
                if time is not None:
                    before = time
                elif first is not None:
                    before += 1 / track.frame_rate
                first = before if first is None else first
                yield Timed(frame, before - self._start)

    def _frames(self, since: Fraction | None) -> Generator[av.VideoFrame, None, None]:
        reader = Reader(self._info, frozenset(), self._limits, self._threads)
        with closing(reader.items(since)) as items:
            for item in items:
                if isinstance(item, VideoItem):
                    yield item.frame

    def _first_time(self) -> Fraction:
        """Return when the video's first frame begins, seconds on the file's clock."""
        with closing(self._frames(None)) as frames:
            first = next(frames, None)
        time = None if first is None else time_of(first)
        return self._info.start if time is None else time
