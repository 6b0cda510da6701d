"""
One track of sound: samples in, protected samples out.

Where somebody speaks, the loudness of the speech's own bands is changed just below (or, at
the stronger levels, up to) what the ear masks. Machines that listen to those bands then hear
other phones. Nothing is added, so silence stays silent; everything else passes untouched.

The threshold is `masking`'s, the places of speech are `speech`'s, which way each band goes is
`misleading`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from pipeline.generator import GeneratedDirections
from pipeline.gradient import GradientDirections
from pipeline.masking import (
    OVERLAP,
    BandEnergy,
    HearingModel,
    NoiseToMask,
    NoiseToMaskMeter,
    hearing_model,
    hold,
)
from pipeline.misleading import Directed, Directions, Director, Misleader
from pipeline.parameters import AudioLevel
from pipeline.recognisers import Recognisers
from pipeline.speech import SpeechGate

Samples = NDArray[np.float32]  # (channels, n), full scale is 1
Gains = NDArray[np.float32]  # (frames, bands)


@dataclass(frozen=True)
class AudioSummary:
    """
    What was done to one track, measured on the samples given out, before any codec.

    Attributes:
        speech_share: mean openness of the gate for speech, 0 to 1.
        nmr_db, snr_db: noise-to-mask and signal-to-noise ratio over the windows in which
            something was changed (`masking.NoiseToMask`); None where nothing was.
    """

    speech_share: float
    nmr_db: float | None
    snr_db: float | None


class TrackMasker:
    """
    Protects one track in a stream.

    Output sample i belongs to input sample i and follows within three seconds, within ten where
    recognisers are asked. How the input is cut into pushes changes nothing: inside, the work goes
    by blocks of one size.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        level: AudioLevel,
        recognisers: Recognisers | None = None,
    ) -> None:
        """
        Args:
            sample_rate: Hz, 8000 to 192000.
            channels: 1 or more; all get the same gains, which keeps the stereo image.
            recognisers: of speech, by whose gradient it is changed; by default by what the small
                network that comes with the program learnt.

        Raises:
            ValueError: the level is `none` (such a track is copied), or a number is out of
                range.
        """
        if level is AudioLevel.NONE:
            raise ValueError("a track with audio level none is copied, not masked")
        if channels < 1:
            raise ValueError(f"{channels} channels")
        model = hearing_model(sample_rate)
        self._block = _BLOCK_WINDOWS * model.hop
        self._blocks = _Blocks(channels, self._block)
        self._gate = SpeechGate(sample_rate, channels)
        self._heard: deque[Samples] = deque()
        director = _director(level, recognisers)
        self._misleader = Misleader(sample_rate, channels, director)
        self._changer = _Changer(model, channels, _Control(_GOALS[level], director.ratio_db))
        self._received = self._opened = self._processed = self._given = 0
        self._openness, self._windows = 0.0, 0

    def push(self, samples: Samples) -> Samples:
        """Take (channels, n) float32 samples and return the (channels, m) that are ready."""
        self._received += samples.shape[1]
        return self._joined(list(self._advance(samples)))

    def finish(self) -> Samples:
        """Return the rest; the lengths of all that was returned add up to the input's."""
        silence = np.zeros((self._blocks.channels, self._block), np.float32)
        ready: list[Samples] = []
        while self._given < self._received:
            ready += self._advance(silence)
        return self._joined(ready)

    @property
    def summary(self) -> AudioSummary:
        """What was done so far; of the whole track after `finish`."""
        measured = self._changer.measured
        share = self._openness / max(self._windows, 1)
        return AudioSummary(share, measured.nmr_db, measured.snr_db)

    def _advance(self, samples: Samples) -> Iterator[Samples]:
        for block in self._blocks.push(samples):
            self._gate.push(block)
            self._heard.append(block)
            while self._heard and self._gate.known_until >= self._opened + self._block:
                for directed in self._directed(self._heard.popleft()):
                    self._count(directed.openness)
                    self._processed += self._block
                    yield self._trimmed(self._changer.push(directed))

    def _count(self, openness: Samples) -> None:
        """Add up what lies within the track; seconds of silence follow it in `finish`."""
        left = max(self._received - self._processed, 0)
        within = openness[: -(-left * _BLOCK_WINDOWS // self._block)]
        self._openness += float(within.sum())
        self._windows += len(within)

    def _directed(self, block: Samples) -> Iterator[Directed]:
        hop = self._block // _BLOCK_WINDOWS
        # The window that ends with hop k has its centre at that hop's start, less one hop.
        centres = self._opened + hop * (np.arange(_BLOCK_WINDOWS) - 1)
        openness = self._gate.openness(centres)
        self._opened += self._block
        return self._misleader.push(block, openness, centres, self._changer.quietest)

    def _trimmed(self, changed: Samples) -> Samples:
        """Return it without what lies before the track's start or behind its end."""
        end = self._processed - self._changer.delay
        first = max(0, self._block - end)
        kept = slice(first, first + min(end, self._received) - self._given)
        self._given += changed[:, kept].shape[1]
        return changed[:, kept]

    def _joined(self, ready: list[Samples]) -> Samples:
        return np.concatenate([self._blocks.nothing, *ready], axis=1)


# 16 hops are 85 ms: long enough for NumPy.
_BLOCK_WINDOWS = 16


class _Blocks:
    """Cuts a stream of samples into blocks of one size."""

    def __init__(self, channels: int, size: int) -> None:
        self.channels = channels
        self._block = np.empty((channels, size), np.float32)
        self._filled = 0

    @property
    def nothing(self) -> Samples:
        return np.zeros((self.channels, 0), np.float32)

    def push(self, samples: Samples) -> Iterator[Samples]:
        size = self._block.shape[1]
        while samples.shape[1]:
            taken = min(size - self._filled, samples.shape[1])
            self._block[:, self._filled : self._filled + taken] = samples[:, :taken]
            self._filled += taken
            samples = samples[:, taken:]
            if self._filled == size:
                yield self._block
                self._block, self._filled = np.empty_like(self._block), 0


@dataclass(frozen=True)
class _Goal:
    """
    What a level allows.

    Attributes:
        start_db: noise-to-mask ratio to begin with, about as large as the other two mostly allow,
            so that the control has little left to do.
    """

    nmr_db: float
    snr_db: float
    start_db: float


def _gains(headroom: BandEnergy, directions: Directions) -> Gains:
    """
    Raise or lower each band by as much as is masked.

    Args:
        headroom: (windows, bands) energy over the threshold.
    """
    return np.clip(1 + directions / np.sqrt(headroom + 1e-12), _LOWEST_GAIN, _HIGHEST_GAIN)


_LOWEST_GAIN, _HIGHEST_GAIN = 0.02, 8.0
_GOALS = {
    AudioLevel.WEAK: _Goal(nmr_db=-3.0, snr_db=0.0, start_db=-3.0),
    AudioLevel.MEDIUM: _Goal(nmr_db=0.0, snr_db=0.0, start_db=0.0),
    AudioLevel.STRONG: _Goal(nmr_db=5.0, snr_db=11.0, start_db=2.5),
}


def _director(level: AudioLevel, recognisers: Recognisers | None) -> Director:
    if recognisers is None:
        return GeneratedDirections()
    return GradientDirections(recognisers, _GOALS[level].start_db, _LOWEST_GAIN, _HIGHEST_GAIN)


class _Control:
    """
    Keeps the measured ratios at a level's goal by turning its strength.

    Follows both the last second or two and the whole track so far, whichever has less room: so
    no stretch is far above the goal, and the track as a whole is not above it.
    """

    _MEMORY_WINDOWS = 280  # 1.5 s
    _RISING_WINDOWS, _FALLING_WINDOWS = 560, 140  # a goal is a bound: down fast, up slowly
    # Loud words come suddenly and weigh on the SNR as much as many quiet ones.
    _NMR_MARGIN_DB, _SNR_MARGIN_DB = 0.1, 0.7
    _RANGE_DB = (-12.0, 8.0)  # around the start, so that odd sounds cannot run away with it

    def __init__(self, goal: _Goal, ratio_db: float) -> None:
        """
        Args:
            ratio_db: as of the director.
        """
        self.goal = goal
        self._start_db = goal.start_db - ratio_db
        self.total = NoiseToMask()
        self._recent = NoiseToMask()
        self._turned_db = 0.0

    @property
    def strength(self) -> float:
        """Energy ratio by which the threshold is raised before the gains are taken from it."""
        return float(10 ** ((self._start_db + self._turned_db) / 10))

    def measured(self, block: NoiseToMask) -> None:
        """Learn what the last block came to."""
        if block.windows:
            self.total += block
            self._recent = self._recent.faded(float(np.exp(-block.windows / self._MEMORY_WINDOWS)))
            self._recent += block
            room = np.clip(min(self._room(self.total), self._room(self._recent)), -3, 3)
            settling = self._RISING_WINDOWS if room > 0 else self._FALLING_WINDOWS
            self._turned_db += float(room * block.windows / settling)
            self._turned_db = float(np.clip(self._turned_db, *self._RANGE_DB))

    def _room(self, measure: NoiseToMask) -> float:
        if measure.nmr_db is None or measure.snr_db is None:
            return 0.0
        nmr_room = self.goal.nmr_db - self._NMR_MARGIN_DB - measure.nmr_db
        snr_room = measure.snr_db - self.goal.snr_db - self._SNR_MARGIN_DB
        return min(nmr_room, snr_room)


class _Changer:
    """Computes the change of block after block by gains on overlapping windows."""

    def __init__(self, model: HearingModel, channels: int, control: _Control) -> None:
        self._model = model
        self._control = control
        self._meter = NoiseToMaskMeter(model.sample_rate, channels)
        self._listener = Listener()
        self._held: NDArray[np.float32] | None = None
        overlap = (OVERLAP - 1) * model.hop
        self._past = np.zeros((channels, overlap), np.float32)
        self._unfinished = np.zeros((channels, overlap), np.float32)
        self._guard = _Guard(model.sample_rate, channels)
        self.delay = overlap + self._guard.delay

    @property
    def measured(self) -> NoiseToMask:
        """Sums over all that was returned."""
        return self._control.total

    @property
    def quietest(self) -> float:
        """As of `HearingModel.threshold`, by what was heard so far."""
        return self._listener.quietest

    def push(self, directed: Directed) -> Samples:
        """Return what becomes of the samples of `delay` ago, as many."""
        block = directed.samples
        whole = np.concatenate([self._past, block], axis=1)
        self._past = whole[:, block.shape[1] :]
        change = self._overlapped(self._windows(whole, directed), block.shape[1])
        original, changed = self._guard.push(whole[:, : block.shape[1]], change)
        quietest = self._listener.quietest
        self._control.measured(self._meter.push(original, changed - original, quietest))
        return changed

    def _windows(self, whole: Samples, directed: Directed) -> Samples | None:
        """Return (channels, windows, width) of change, or None where nobody speaks."""
        openness, directions = directed.openness, directed.directions
        if directions is None or not openness.any() or not whole.any():
            self._held = None
            return None
        model = self._model
        spectra = model.spectra(whole)
        headroom = self._headroom(model.power(spectra), openness)
        gains = _gains(headroom, directions) - 1
        spectra *= model.interpolation(gains * openness[:, None])
        # Hann squared, four times overlapped, adds up to 1.5.
        return fft.irfft(spectra, len(model.window), axis=2) * (model.window / 1.5)

    def _headroom(self, power: NDArray[np.float32], openness: Samples) -> BandEnergy:
        energy = self._model.band_energy(power)
        self._listener.hear(energy.sum(axis=1), openness)
        held = hold(self._model.threshold(power, self._listener.quietest), self._held)
        self._held = held[-1]
        return energy / (held * np.float32(self._control.strength))

    def _overlapped(self, windows: Samples | None, length: int) -> Samples:
        overlap = self._unfinished.shape[1]
        change = np.zeros((len(self._unfinished), overlap + length), np.float32)
        change[:, :overlap] = self._unfinished
        if windows is not None:
            hop = self._model.hop
            for number in range(windows.shape[1]):
                change[:, number * hop : (number + OVERLAP) * hop] += windows[:, number]
        self._unfinished = change[:, length:]
        return change[:, :length]


class Listener:
    """
    Who turns the sound up until speech is as loud as in conversation, and so hears more of it.

    What is below the threshold of hearing at the volume that suits other recordings is heard then.
    Taken away, it left quiet speech dull and broken: at -50 dBFS its PESQ fell from 4.2 to 3.7.
    """

    _SPEECH = 10**-2.7  # energy of -30 dBFS, 66 dB SPL; a full-scale sine has 1
    _LEAST = 1e-6  # nobody turns it up by more: -90 dBFS is the last bit of 16
    _MEMORY_WINDOWS = 375  # 2 s of speech

    def __init__(self) -> None:
        self._energy = self._windows = 0.0

    @property
    def quietest(self) -> float:
        """As of `HearingModel.threshold`."""
        if not self._windows:
            return 1.0
        return float(np.clip(self._energy / self._windows / self._SPEECH, self._LEAST, 1))

    def hear(self, energy: NDArray[np.float32], openness: Samples) -> None:
        """Learn the (frames,) energy of windows, which count by how much of them is speech."""
        memory = float(np.exp(-openness.sum() / self._MEMORY_WINDOWS))
        self._energy = self._energy * memory + float((energy * openness).sum())
        self._windows = self._windows * memory + float(openness.sum())


_UNDER = 0.5  # energy of the change over that of the original, at most


class _Guard:
    """
    Holds a change back where it must not be.

    In digital silence; where it would be louder than the original, as in the pause before an
    onset that a window reaches into; and beyond full scale.

    Works on a block with its neighbourhood on both sides, hence `delay`.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._reach = max(sample_rate // 750, 8)  # 1.3 ms
        # A period of the lowest voices: a shorter moment would follow the swing within one.
        self._moment = sample_rate // 80
        self.delay = self._moment + 2 * self._reach
        self._original = np.zeros((channels, 2 * self.delay), np.float32)
        self._change = np.zeros((channels, 2 * self.delay), np.float32)

    def push(self, original: Samples, change: Samples) -> tuple[Samples, Samples]:
        """Return the original of `delay` samples ago and what becomes of it, same shapes."""
        original = np.concatenate([self._original, original], axis=1)
        change = np.concatenate([self._change, change], axis=1)
        kept = original.shape[1] - 2 * self.delay
        self._original, self._change = original[:, kept:], change[:, kept:]
        inner = slice(self.delay, self.delay + kept)
        if not change.any():
            return original[:, inner], original[:, inner]
        sounding = ~_is_silent(original, self._reach)[:, inner]
        change = change * _room_under(original, change, self._moment)
        bound = np.maximum(np.abs(original), 1)
        room = _room_below(bound, original, change, self._reach)
        changed = original[:, inner] + change[:, inner] * sounding * room[inner]
        # Rounding alone may lead beyond the bound, by one step.
        return original[:, inner], np.clip(changed, -bound[:, inner], bound[:, inner])


def _is_silent(samples: Samples, run: int) -> NDArray[np.bool_]:
    """Return which samples lie in a run of at least `run` exact zeros, per channel."""
    zeros = samples == 0
    if zeros.sum() < run:
        return np.zeros_like(zeros)
    starts = _sums(zeros, run) == run  # a run begins here
    padded = np.pad(starts, ((0, 0), (run - 1, run - 1)))
    return _sums(padded, run) > 0


def _sums(flags: NDArray[np.bool_], width: int) -> NDArray[np.int64]:
    totals = np.cumsum(np.pad(flags, ((0, 0), (1, 0))), axis=1)
    return totals[:, width:] - totals[:, :-width]


def _room_under(original: Samples, change: Samples, moment: int) -> Samples:
    """
    Return (n,) factors that keep the change under the original's level of the last moment.

    The last moment alone, so that what is loud after an onset allows nothing before it; the
    change is looked at half a moment ahead, because it swells towards an onset.
    """
    sound = _recent_energy(original, moment)
    ahead = np.zeros_like(change)
    ahead[:, : -(moment // 2)] = change[:, moment // 2 :]
    added = _recent_energy(ahead, moment)
    return np.sqrt(np.minimum(1, _UNDER * sound / (added + 1e-20))).astype(np.float32)


def _recent_energy(samples: Samples, moment: int) -> NDArray[np.float64]:
    totals = np.zeros(samples.shape[1] + moment)  # np.pad takes as long as all the rest
    np.square(samples, dtype=np.float64).sum(axis=0).cumsum(out=totals[moment:])
    return np.maximum(totals[moment:] - totals[:-moment], 0)  # rounding may lead below 0


def _room_below(bound: Samples, original: Samples, change: Samples, reach: int) -> Samples:
    """Return (n,) factors, one for all channels and smooth, that keep the sum within bounds."""
    beyond = np.abs(original + change) > bound
    room = np.ones_like(original)
    np.divide(bound - np.abs(original), np.abs(change), out=room, where=beyond)
    lowest = room.min(axis=0)
    if not beyond.any():
        return lowest
    width = 2 * reach + 1
    bell = np.hanning(width + 2)[1:-1]
    lowest = ndimage.minimum_filter1d(lowest, width, mode="nearest")
    return np.convolve(lowest, (bell / bell.sum()).astype(np.float32), mode="same")
