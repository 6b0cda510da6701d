"""
Where frames and samples lie in time.

Timestamps are carried as the file has them, in ticks of its own time base, never computed
from a frame rate: only what is missing or impossible is filled in. The origin of the
output's time is the instant at which the original's first stream begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av

from pipeline.output import MP4_MUXERS

if TYPE_CHECKING:
    from pipeline.media import MediaInfo

# Containers round a timestamp to as little as a millisecond, so samples jitter by that
# much; a real gap or overlap is longer.
AUDIO_JITTER = Fraction(1, 100)
# Streams are stored a little out of step; a clock that goes back further has started anew.
_JUMP = Fraction(1)
# Frames that H.264 and HEVC may hold back to show others first.
MOST_REORDERED = 16


def time_of(frame: av.VideoFrame | av.AudioFrame) -> Fraction | None:
    """Return when a frame begins, seconds on its file's clock; None where it does not say."""
    if frame.pts is None or not frame.time_base:
        return None
    return frame.pts * Fraction(frame.time_base)


def length_of(frame: av.VideoFrame, frame_rate: Fraction) -> Fraction:
    """Return for how many seconds a frame is shown; by the usual rate where it does not say."""
    if frame.duration and frame.time_base:
        return frame.duration * Fraction(frame.time_base)
    return 1 / frame_rate


@dataclass(frozen=True)
class Placed:
    """A frame's place: ticks of the video's time base since the origin."""

    pts: int
    duration: int


class VideoClock:
    """
    Places frames, in the order in which they are shown.

    A muxer takes no two frames at one instant: a frame that is not later than the one
    before is put one tick after it (`moved` counts these), one without a timestamp one
    frame duration after it. Where the file's clock goes back by more than a second, as
    where two recordings were joined, time goes on from there (`jumps`).
    """

    def __init__(self, time_base: Fraction, start: Fraction, frame_rate: Fraction) -> None:
        """
        Args:
            time_base: seconds per tick.
            start: seconds on the original's clock that become zero.
            frame_rate: frames a second, for what the file does not say.
        """
        self.moved = 0
        self.shifts = [Fraction(0)]
        """Seconds that are added to the file's times: at first, and after each jump."""
        self._jump = round(_JUMP / time_base)
        self._origin = math.floor(start / time_base)
        self._usual = max(1, round(1 / (frame_rate * time_base)))
        self._time_base = time_base
        self._shift = 0
        self._last: int | None = None

    @property
    def jumps(self) -> int:
        """How often the file's clock started anew."""
        return len(self.shifts) - 1

    @property
    def origin(self) -> int:
        """Ticks on the original's clock that become zero."""
        return self._origin

    def place(self, pts: int | None, duration: int | None) -> Placed:
        """Return where a frame lies, given what its file says of it."""
        length = duration if duration and duration > 0 else self._usual
        if self._last is None:
            at = 0 if pts is None else pts - self._origin
        elif pts is None:
            at = self._last + self._usual
        else:
            at = pts - self._origin + self._shift
        if self._last is not None and at <= self._last:
            is_jump = self._last - at > self._jump
            at = self._last + (self._usual if is_jump else 1)
            self.moved += not is_jump
            if is_jump and pts is not None:
                self._shift = at - (pts - self._origin)
                self.shifts.append(self._shift * self._time_base)
        self._last = at
        return Placed(at, length)


class DecodingOrder:
    """
    Times frames, in the order in which they are shown, by when the decoder gives them out.

    For files that say only when a packet is decoded: between two frames there is as much time as
    between the packets that let the decoder give them out. How long the last ones are shown it does
    not say: as long as the closest two lie apart.
    """

    def __init__(self) -> None:
        self.shortest: int | None = None
        """Ticks between the two frames, of those placed so far, that lie closest."""
        self._at: int | None = None
        self._last: int | None = None

    def place(self, dts: int | None) -> int | None:
        """
        Return the ticks since the first frame; None where there is nothing to go by.

        Args:
            dts: of the packet that let the frame out; None at the end, where none is left.
        """
        interval = self.shortest
        if dts is not None:
            if self._last is not None and dts > self._last:
                interval = dts - self._last
                self.shortest = min(interval, self.shortest or interval)
            self._last = dts
        if self._at is None:
            self._at = 0
        elif interval is None:
            return None  # a video so short that all its frames come at the end
        else:
            self._at += interval
        return self._at


class FrameClock:
    """
    Places a video's frames by what its file says of them, in the order in which they are shown.

    Attributes:
        clock: that places those which have a time.
    """

    def __init__(self, info: MediaInfo) -> None:
        track = info.video
        self.clock = VideoClock(track.time_base, info.start, track.frame_rate)
        self._has_times = track.has_times
        self._first = self.clock.origin + round(info.lead / track.time_base)
        self._order = DecodingOrder()

    def place(self, frame: av.VideoFrame) -> Placed:
        """Return where the next frame lies."""
        if self._has_times:
            return self.clock.place(frame.pts, frame.duration)
        at = self._order.place(frame.dts)
        pts = None if at is None else self._first + at
        return self.clock.place(pts, self._order.shortest)


class JoinedClock:
    """
    Keeps a track of sound with a picture whose clock starts anew, as where recordings were joined.

    Sound and picture of the first recording need not end together. So where the track's clock
    starts anew, time goes on as the picture's does; as the track's own only where the picture's
    clock has not started anew as often, or not yet.
    """

    def __init__(self, shifts: Sequence[Fraction], tick: Fraction = Fraction(1)) -> None:
        """
        Args:
            shifts: of the picture's `VideoClock` or `PacketClock`; more may come.
            tick: in which the track's times are given, seconds.
        """
        self._shifts, self._tick = shifts, tick
        self._jump = math.floor(_JUMP / tick)
        self._shift: int | Fraction = 0
        self._jumps = 0
        self._taken = 0  # which of the shifts that is
        self._end: int | Fraction | None = None  # of all since then, on the file's clock

    def is_ahead(self, time: int | Fraction | None) -> bool:
        """Whether the track's clock starts anew at this time, and the picture's has not yet."""
        return self._starts_anew(time) and self._jumps + 1 >= len(self._shifts)

    def shift(self, time: int | Fraction | None, length: int | Fraction) -> int | Fraction:
        """
        Return what to add to a time of the track, so that its clock does not start anew.

        Args:
            time: of what comes next, ticks on the file's clock; None where it does not say.
            length: for how many ticks it is heard.
        """
        if time is None:
            self._end = None if self._end is None else self._end + length
            return self._shift
        end = time + length
        if self._end is not None and self._starts_anew(time):
            self._jumps += 1
            self._shift += self._end - time
            self._end = end
        self._end = end if self._end is None else max(end, self._end)
        if self._taken < self._jumps < len(self._shifts):
            self._shift, self._taken = self._shifts[self._jumps] / self._tick, self._jumps
        return self._shift

    def _starts_anew(self, time: int | Fraction | None) -> bool:
        return time is not None and self._end is not None and self._end - time > self._jump


class PacketClock:
    """
    Places the packets of a track that is copied, in the order of the file.

    What is in order keeps its times. A muxer takes only packets that are decoded one after the
    other, and none that is shown before it is decoded: a packet out of order is put right after
    the one before; where the file's clock goes back by more than a second, time goes on from
    there. Subtitles have no clock of their own: one that comes late does not move the next.
    """

    def __init__(
        self, time_base: Fraction, kind: str, container: str, sample_rate: int | None = None
    ) -> None:
        """
        Args:
            time_base: seconds per tick.
            kind: of the track: video, audio or subtitle.
            container: that is written, as FFmpeg names its muxer.
            sample_rate: of sound, in Hz.
        """
        # Ticks of Matroska are longer than the shortest packets of sound. Subtitles may begin
        # together everywhere.
        may_coincide = kind == "subtitle" or container in ("matroska", "webm")
        self._step = 0 if may_coincide else 1
        if sample_rate and container in MP4_MUXERS:
            # Sound is counted in samples there: ticks of MPEG-TS are shorter.
            self._step = math.ceil(Fraction(1, sample_rate) / time_base)
        self._jump = None if kind == "subtitle" else round(_JUMP / time_base)
        self._reordering = MOST_REORDERED if kind == "video" else 0
        self.shifts = [Fraction(0)]
        """Seconds that are added to the file's times: at first, and where time goes on."""
        self._time_base = time_base
        self._shift = 0
        self._last: int | None = None
        self._end = 0

    def place(self, pts: int | None, dts: int | None, duration: int | None) -> tuple[int, int]:
        """Return when a packet is shown and decoded; of some the file does not say."""
        at = self._decoded_at(pts, dts, duration)
        if self._last is not None and at < self._last + self._step:
            if self._jump is not None and self._last - at > self._jump:
                self._shift += self._end - at
                self.shifts.append(self._shift * self._time_base)
                at = self._end
            else:
                at = self._last + self._step
        self._last, self._end = at, at + max(1, duration or 0)
        return max(at, at if pts is None else pts + self._shift), at

    def _decoded_at(self, pts: int | None, dts: int | None, duration: int | None) -> int:
        if dts is not None:
            return dts + self._shift
        shown = None if pts is None else pts + self._shift
        if self._last is None:
            # Matroska does not say when; early enough for what is shown before this one.
            return 0 if shown is None else shown - self._reordering * max(1, duration or 0)
        return self._end if shown is None else min(self._end, shown)


def decoding_times(shown: Sequence[int]) -> list[int]:
    """
    Return when each of a video's frames is decoded: the latest times that come in order.

    Args:
        shown: when each is shown, in the order of decoding.
    """
    ordered = sorted(shown)
    delay = max((due - at for due, at in zip(ordered, shown, strict=True)), default=0)
    return [due - delay for due in ordered]


class StatedTimes:
    """
    Tells the times that a file states for a track's blocks from those that FFmpeg makes up.

    An MPEG stream states a time for some blocks only. FFmpeg has each of the others begin where the
    one before ends, by the rate that the track began with: where that has changed, too early or too
    late, up to the next one stated.
    """

    def __init__(self, has_guessed_times: bool) -> None:
        self._has_guessed_times = has_guessed_times
        self._made_up: int | None = None

    def of(self, frame: av.AudioFrame) -> Fraction | None:
        """Return when the next block begins, as `time_of`; None also where that is made up."""
        made_up, self._made_up = self._made_up, None
        if not self._has_guessed_times or frame.pts is None or not frame.time_base:
            return time_of(frame)
        stated = frame.duration * Fraction(frame.time_base)
        if abs(stated - Fraction(frame.samples, frame.sample_rate)) > frame.time_base:
            self._made_up = frame.pts + frame.duration
        # Lengths are rounded to ticks, and the rests of all of them are added up.
        is_made_up = made_up is not None and abs(frame.pts - made_up) <= 1
        return None if is_made_up else time_of(frame)


@dataclass(frozen=True)
class Gap:
    """What to do before a block of samples: insert silence, or drop its first samples."""

    silence: int
    dropped: int


class AudioClock:
    """
    Turns timestamps of sample blocks into one unbroken run of samples.

    Codecs that the output uses have no holes: what is missing becomes silence, what lies
    before the origin or overlaps is dropped.
    """

    def __init__(self, sample_rate: int, origin: Fraction) -> None:
        """
        Args:
            sample_rate: in Hz.
            origin: seconds on the original's clock that become zero.
        """
        self._rate = sample_rate
        self._origin = origin
        self._next: int | None = None
        self.dropped = 0
        """Samples left out because others had their place, or they lay before the origin."""
        self.start = 0
        """First sample's place, in samples since the origin; known after the first block."""

    def place(self, time: Fraction | None, samples: int) -> Gap:
        """
        Return how a block fits on, and count it as taken.

        Args:
            time: seconds on the original's clock, as `JoinedClock` has it go on; None where the
                file does not say.
            samples: length of the block.
        """
        if self._next is None:
            self._next = 0 if time is None else self._place_of(time)
            self.start = max(0, self._next)
        offset = 0 if time is None else self._place_of(time) - self._next
        if abs(offset) <= self._rate * AUDIO_JITTER:
            offset = 0
        # Before the origin time is followed as well, or the first block after it would be held
        # against the origin and not against the block before.
        before, at = self._next, self._next + max(0, offset)
        overlap = min(samples, max(0, -offset))
        self._next = at + samples - overlap
        dropped = overlap + min(samples - overlap, max(0, -at))
        self.dropped += dropped
        return Gap(max(0, at) - max(0, before), dropped)

    def give_back(self, samples: int) -> None:
        """Count the last samples as not taken."""
        assert self._next is not None  # after `place` only
        self._next -= samples

    @property
    def end(self) -> int:
        """Place after the last sample taken, in samples since the origin."""
        return max(0, self._next or 0)

    def _place_of(self, time: Fraction) -> int:
        return round((time - self._origin) * self._rate)
