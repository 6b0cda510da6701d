"""
One track of sound on its way from the decoder to the encoder.

Joins what belongs together: format conversion, an unbroken run of samples, and masking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.audio import AudioSummary, TrackMasker
from pipeline.audio_plan import AudioPlan
from pipeline.errors import LimitExceeded
from pipeline.jitter import Block, Settler
from pipeline.media import AudioTrack
from pipeline.parameters import AudioLevel
from pipeline.recognisers import Recognisers
from pipeline.timeline import AudioClock, JoinedClock, StatedTimes

_LONGEST_FILLING = 4096  # samples: two frames of HE-AAC
# PyAV 18.1 reads beyond the planes of a frame of so many, and crashes.
_MISREAD_PLANES = 8
_SILENCE_SECONDS = 1  # a long gap is filled in pieces of this
# No sound is 120 dB beyond full scale; damaged packets decode to such samples, and to no numbers.
# An encoder refuses a whole track for one of them, and each would stay in the masking's sums.
_LOUDEST = 1e6


@dataclass(frozen=True)
class Sound:
    """
    A block of protected samples.

    Attributes:
        samples: (channels, n) float32.
        at: place of the first of them, in samples since the output's origin.
    """

    track: AudioTrack
    samples: NDArray[np.float32]
    at: int


def kind_of(frame: av.AudioFrame) -> tuple[str, str, int]:
    """
    Return a decoded block's format, layout and rate.

    Where they change, a new resampler has to be made: PyAV's knows those of its first block
    alone, and where they were its own it hands through whatever comes after.
    """
    return frame.format.name, frame.layout.name, frame.sample_rate


def without_wild(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Return samples with silence in place of what can be no sound, and how many these are."""
    is_sound = np.abs(samples) <= _LOUDEST  # of what is no number as well
    if is_sound.all():
        return samples, 0
    return np.where(is_sound, samples, np.float32(0)), int(np.count_nonzero(~is_sound))


class Untouched:
    """Stands where a masker would, for sound that has none."""

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the samples as they are."""
        return samples

    def finish(self) -> NDArray[np.float32]:
        """Return nothing more."""
        return np.zeros((1, 0), np.float32)

    @property
    def summary(self) -> AudioSummary:
        """Nothing was changed."""
        return AudioSummary(0.0, None, None)


class SoundProtector:
    """Protects one track, block by block."""

    def __init__(
        self,
        plan: AudioPlan,
        level: AudioLevel,
        origin: Fraction,
        joins: JoinedClock,
        longest: float,
        recognisers: Recognisers | None = None,
    ) -> None:
        """
        Args:
            origin: seconds on the original's clock that become zero.
            joins: keeps the track with the picture.
            longest: seconds that the track may last; a few bytes can state a gap of years.
            recognisers: as of `TrackMasker`.
        """
        self.track = plan.track
        self._layout = plan.layout
        self._rate = plan.track.sample_rate
        self._resampler = self._new_resampler()
        self._kind: tuple[str, str, int] | None = None  # of the last block
        self._times = StatedTimes(plan.track.has_guessed_times)
        self._clock = AudioClock(self._rate, origin)
        self._joins = joins
        self._settler = Settler(self._rate)
        self._longest = longest
        self._origin = origin
        self._masker = (
            TrackMasker(self._rate, plan.track.channels, level, recognisers)
            if plan.is_masked
            else Untouched()
        )
        self._written = 0
        self._wild = 0

    @property
    def samples(self) -> int:
        """How many samples of each channel were given out."""
        return self._written

    @property
    def start(self) -> Fraction:
        """Seconds from the output's origin to the first sample."""
        return Fraction(self._clock.start, self._rate)

    @property
    def dropped_seconds(self) -> float:
        """How much sound was left out because other sound had its place."""
        return self._clock.dropped / self._rate

    @property
    def wild_samples(self) -> int:
        """How many samples, of all channels, could be no sound and became silence."""
        return self._wild

    @property
    def summary(self) -> AudioSummary:
        """What was changed, measured; complete after `finish`."""
        return self._masker.summary

    def protect(self, frame: av.AudioFrame) -> Iterator[Sound]:
        """Take the next decoded block and yield what is ready."""
        time = self._times.of(frame)
        if self._is_filling(time):
            return
        kind = kind_of(frame)
        if kind != self._kind:
            # The stream changed its rate or layout halfway: go on in those of its start.
            yield from self._rest()
            self._kind = kind
        yield from self._placed(time, self._as_float(frame))

    def _placed(self, time: Fraction | None, samples: NDArray[np.float32]) -> Iterator[Sound]:
        samples, wild = without_wild(samples)
        self._wild += wild
        shift = self._joins.shift(time, Fraction(samples.shape[1], self._rate))
        at = None if time is None else time + shift
        for block in self._settler.settled(Block(at, samples)):
            yield from self._in_place(block)

    def _in_place(self, block: Block) -> Iterator[Sound]:
        samples = block.samples
        gap = self._clock.place(block.time, samples.shape[1])
        if self._clock.end > self._longest * self._rate:
            raise LimitExceeded(
                f"The sound of stream {self.track.index} goes on for more than"
                f" {self._longest / 3600:g} hours (limits.max_duration_h)."
            )
        for silence in self._silences(gap.silence):
            yield from self._given_out(self._masker.push(silence))
        surplus = self._surplus(samples.shape[1] - gap.dropped)
        yield from self._given_out(
            self._masker.push(samples[:, gap.dropped : samples.shape[1] - surplus])
        )

    def _is_filling(self, time: Fraction | None) -> bool:
        """Whether a whole block lies just behind the end that the container states."""
        if time is None or self.track.end is None:
            return False
        return 0 <= (time - self.track.end) * self._rate < _LONGEST_FILLING

    def _surplus(self, samples: int) -> int:
        """
        Return how many of the last samples are a codec's filling-up and not the track's.

        A container may state that a track ends before its last codec frame does. Samples
        further behind than that are kept: then the statement is wrong.
        """
        if self.track.end is None:
            return 0
        beyond = self._clock.end - round((self.track.end - self._origin) * self._rate)
        if not 0 < beyond <= _LONGEST_FILLING:
            return 0
        self._clock.give_back(min(beyond, samples))
        return min(beyond, samples)

    def finish(self) -> Iterator[Sound]:
        """Yield the rest."""
        yield from self._rest()
        for block in self._settler.finish():
            yield from self._in_place(block)
        yield from self._given_out(self._masker.finish())

    def _as_float(self, frame: av.AudioFrame) -> NDArray[np.float32]:
        if self._is_as_wanted(frame):
            return np.asarray(frame.to_ndarray(), np.float32)
        frame.pts = None  # the clock keeps the time; the resampler would object to gaps
        return self._joined(self._resampler.resample(frame))

    def _rest(self) -> Iterator[Sound]:
        """Yield what the resampler still holds, and have a new one, for whatever comes next."""
        samples = self._joined(self._resampler.resample(None))
        self._resampler = self._new_resampler()
        if samples.shape[1]:  # without any, the clock would begin at zero
            yield from self._placed(None, samples)

    def _joined(self, blocks: list[av.AudioFrame]) -> NDArray[np.float32]:
        channels = self.track.channels
        arrays: list[NDArray[Any]] = [b.to_ndarray().reshape(-1, channels).T for b in blocks]
        return np.concatenate([np.zeros((channels, 0), np.float32), *arrays], axis=1)

    def _is_as_wanted(self, frame: av.AudioFrame) -> bool:
        """Whether a frame is what most decoders give: its planes are the samples themselves."""
        return (
            frame.format.name == "fltp"
            and frame.sample_rate == self._rate
            and frame.layout.name == self._layout
            and self.track.channels < _MISREAD_PLANES
        )

    def _new_resampler(self) -> av.AudioResampler:
        # Interleaved, for the sake of `_MISREAD_PLANES`.
        return av.AudioResampler(format="flt", layout=self._layout, rate=self._rate)

    def _silences(self, samples: int) -> Iterator[NDArray[np.float32]]:
        block = self._rate * _SILENCE_SECONDS
        while samples > 0:
            yield np.zeros((self.track.channels, min(block, samples)), np.float32)
            samples -= block

    def _given_out(self, samples: NDArray[np.float32]) -> Iterator[Sound]:
        if samples.shape[1]:
            yield Sound(self.track, samples, self._clock.start + self._written)
            self._written += samples.shape[1]
