"""
Where frames and samples lie in time.

Timestamps are carried as the file has them, in ticks of its own time base, never computed
from a frame rate: only what is missing or impossible is filled in. The origin of the
output's time is the instant at which the original's first stream begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

# Containers round a timestamp to as little as a millisecond, so samples jitter by that
# much; a real gap or overlap is longer.
_AUDIO_JITTER = Fraction(1, 100)
# Streams are stored a little out of step; a clock that goes back further has started anew.
_JUMP = Fraction(1)


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
        self.jumps = 0
        self._jump = round(_JUMP / time_base)
        self._origin = math.floor(start / time_base)
        self._usual = max(1, round(1 / (frame_rate * time_base)))
        self._shift = 0
        self._last: int | None = None

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
            self.jumps += is_jump
            self.moved += not is_jump
            if is_jump and pts is not None:
                self._shift = at - (pts - self._origin)
        self._last = at
        return Placed(at, length)


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
        """Samples left out because others had their place."""
        self.start = 0
        """First sample's place, in samples since the origin; known after the first block."""

    def place(self, time: Fraction | None, samples: int) -> Gap:
        """
        Return how a block fits on, and count it as taken.

        Args:
            time: seconds on the original's clock, None where the file does not say.
            samples: length of the block.
        """
        if self._next is None:
            at = 0 if time is None else self._place_of(time)
            self.start = max(0, at)
            dropped = min(samples, max(0, -at))
            self._next = self.start + samples - dropped
            return Gap(0, dropped)
        offset = 0 if time is None else self._place_of(time) - self._next
        if offset < -self._rate * _JUMP:
            self._origin += Fraction(offset, self._rate)  # the clock started anew
            offset = 0
        if abs(offset) <= self._rate * _AUDIO_JITTER:
            offset = 0
        gap = Gap(max(0, offset), min(samples, max(0, -offset)))
        self._next += gap.silence + samples - gap.dropped
        self.dropped += gap.dropped
        return gap

    def give_back(self, samples: int) -> None:
        """Count the last samples as not taken."""
        assert self._next is not None  # after `place` only
        self._next -= samples

    @property
    def end(self) -> int:
        """Place after the last sample taken, in samples since the origin."""
        return self._next or 0

    def _place_of(self, time: Fraction) -> int:
        return round((time - self._origin) * self._rate)
