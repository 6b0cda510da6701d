"""
One track of sound against another, as they are decoded.

Both are laid on one line of time that begins with the first frame of the picture, and gone
through in blocks, so that memory does not grow with length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from pipeline.audio import Listener
from pipeline.avi_sound import FrameCount
from pipeline.channels import ChannelSorter
from pipeline.errors import LimitExceeded
from pipeline.jitter import Block, Settler
from pipeline.masking import MAX_RATE, MIN_RATE, NoiseToMask, NoiseToMaskMeter, hearing_model
from pipeline.measure import snr_db
from pipeline.media import AudioTrack, MediaInfo
from pipeline.probe import open_media
from pipeline.settings import Limits
from pipeline.sound import kind_of, without_wild
from pipeline.speech import SpeechGate
from pipeline.timeline import AudioClock, JoinedClock, StatedTimes

Samples = NDArray[np.float32]

_BLOCK_SECONDS = 10
# Matroska and MP4 edit lists round a start to the millisecond, which is up to 24 samples at
# 48 kHz: enough to turn equal sound into an SNR of 5 dB. Twice that is searched.
_REACH_SECONDS = 0.002
_SEARCH_SECONDS = 2


@dataclass(frozen=True)
class SoundMeasure:
    """
    How far one track is from another.

    Attributes:
        seconds: how much of it both have; the ratios are of this.
        shift_ms: how much later the second one's sound is than its timestamps say.
        snr_db: over all channels; None for a silent original.
        nmr_db: noise-to-mask ratio of the changed windows, heard as `audio.Listener` does; None
            where nothing was changed and for a sample rate that the model of hearing does not
            cover.
    """

    seconds: float
    shift_ms: float
    snr_db: float | None
    nmr_db: float | None


@dataclass(frozen=True)
class SoundSource:
    """
    A track in a file.

    Attributes:
        origin: seconds on the file's clock that count as zero: its first frame.
        shifts: of the picture's clock.
    """

    info: MediaInfo
    track: AudioTrack
    origin: Fraction
    shifts: Sequence[Fraction] = (Fraction(0),)


def measure_sound(original: SoundSource, protected: SoundSource, limits: Limits) -> SoundMeasure:
    """
    Return how far `protected` is from `original`, at the original's sample rate.

    Where they have different numbers of channels, the mean of one's channels is held
    against the mean of the other's. Of no seconds where one of the two has no sample that can be
    decoded.

    Raises:
        LimitExceeded: longer than `limits` allow.
    """
    shift = _shift(original, protected, limits)
    rate = original.track.sample_rate
    masked = _Masked(original.track, protected.track)
    signal = noise = 0.0
    length = 0
    for before, after in _blocks(original, protected, limits, shift):
        change = after - before
        signal += _energy(before)
        noise += _energy(change)
        length += before.shape[1]
        masked.add(before, change)
    return SoundMeasure(
        seconds=length / rate,
        shift_ms=1000 * shift / rate,
        snr_db=snr_db(signal, noise),
        nmr_db=masked.nmr_db(),
    )


def best_shift(original: NDArray[Any], protected: NDArray[Any], reach: int) -> int:
    """
    Return by how many samples `protected` is late, from -reach to reach.

    The shift that leaves the least energy of the difference; 0 where none is better.

    Args:
        original, protected: (samples,) of the same length.
    """
    inner = original[reach : len(original) - reach].astype(np.float64)
    other = protected.astype(np.float64)
    shifts = sorted(range(-reach, reach + 1), key=abs)
    left = [float(np.sum((other[reach + s : reach + s + len(inner)] - inner) ** 2)) for s in shifts]
    return shifts[int(np.argmin(left))]


class _Masked:
    """Adds up noise against the masking threshold that the change was made for."""

    def __init__(self, original: AudioTrack, protected: AudioTrack) -> None:
        rate = original.sample_rate
        channels = original.channels if original.channels == protected.channels else 1
        self._meter = _Meter(rate, channels) if MIN_RATE <= rate <= MAX_RATE else None

    def add(self, original: Samples, change: Samples) -> None:
        if self._meter is not None:
            self._meter.push(original, change)

    def nmr_db(self) -> float | None:
        """Of all that was added."""
        return None if self._meter is None else self._meter.finish().nmr_db


class _Meter:
    """Measures as much as the gate for speech knows, a third of a second at a time."""

    _HOPS = 64

    def __init__(self, rate: int, channels: int) -> None:
        self._model = hearing_model(rate)
        self._meter = NoiseToMaskMeter(rate, channels)
        self._gate = SpeechGate(rate, channels)
        self._listener = Listener()
        self._silence = np.zeros((channels, rate), np.float32)
        self._waiting: deque[tuple[Samples, Samples]] = deque()
        self._measured = 0
        self._total = NoiseToMask()

    def push(self, original: Samples, change: Samples) -> None:
        """Take (channels, n) more samples of both."""
        size = self._HOPS * self._model.hop
        for at in range(0, original.shape[1], size):
            piece = slice(at, at + size)
            self._gate.push(original[:, piece])
            self._waiting.append((original[:, piece], change[:, piece]))
            self._measure()

    def finish(self) -> NoiseToMask:
        """Return the sums of all."""
        while self._waiting:
            self._gate.push(self._silence)
            self._measure()
        return self._total

    def _measure(self) -> None:
        while self._waiting:
            original, change = self._waiting[0]
            if self._gate.known_until < self._measured + original.shape[1]:
                return
            self._waiting.popleft()
            self._hear(original)
            self._measured += original.shape[1]
            self._total += self._meter.push(original, change, self._listener.quietest)

    def _hear(self, original: Samples) -> None:
        model = self._model
        if original.shape[1] < len(model.window):
            return
        energy = model.band_energy(model.power(model.spectra(original))).sum(axis=1)
        centres = self._measured + len(model.window) // 2 + model.hop * np.arange(len(energy))
        self._listener.hear(energy, self._gate.openness(centres))


def _shift(original: SoundSource, protected: SoundSource, limits: Limits) -> int:
    rate = original.track.sample_rate
    reach = max(1, round(rate * _REACH_SECONDS))
    for before, after in _blocks(original, protected, limits, 0):
        mono, other = before.mean(axis=0), after.mean(axis=0)
        if _energy(mono) and _energy(other):
            loud = _loudest(mono, rate * _SEARCH_SECONDS)
            return best_shift(mono[loud], other[loud], reach)
    return 0


def _loudest(samples: NDArray[Any], length: int) -> slice:
    starts = range(0, max(1, len(samples) - length + 1), max(1, length // 2))
    start = max(starts, key=lambda at: _energy(samples[at : at + length]))
    return slice(start, start + length)


def _blocks(
    original: SoundSource, protected: SoundSource, limits: Limits, shift: int
) -> Iterator[tuple[Samples, Samples]]:
    """Yield what both have, (channels, n) each; `protected` is taken `shift` samples later."""
    rate = original.track.sample_rate
    alike = original.track.channels == protected.track.channels
    before = _Run(original, rate, limits, skipped=max(0, -shift))
    after = _Run(protected, rate, limits, skipped=max(0, shift))
    # Neither may be compared before both have begun.
    begun = max(before.begin(), after.begin())
    before.skip_to(begun)
    after.skip_to(begun)
    size = rate * _BLOCK_SECONDS
    while True:
        a, b = before.read(size), after.read(size)
        common = min(a.shape[1], b.shape[1])
        if not common:
            return
        a, b = a[:, :common], b[:, :common]
        yield (a, b) if alike else (a.mean(axis=0, keepdims=True), b.mean(axis=0, keepdims=True))
        if common < size:
            return


class _Run:
    """The unbroken samples of a track, from the origin on, to be read in any lengths."""

    def __init__(self, source: SoundSource, rate: int, limits: Limits, skipped: int) -> None:
        """
        Args:
            rate: in Hz, to which the samples are converted.
            skipped: samples to leave out at the origin.
        """
        self._clock = AudioClock(rate, source.origin)
        self._joins = JoinedClock(source.shifts)
        self._rate, self._channels = rate, source.track.channels
        self._pieces = self._unbroken(_decoded(source, rate))
        self._rest = np.zeros((self._channels, 0), np.float32)
        self._most = round(limits.max_duration_h * 3600 * rate)
        self._name = source.info.path.name
        self._skipped = skipped
        self._at = 0

    def begin(self) -> int:
        """Return where the first sample lies, in samples after the origin (and skipped)."""
        self._rest = next(self._pieces, self._rest)
        self._at = self._clock.start - self._skipped
        return self._at

    def skip_to(self, place: int) -> None:
        """Leave out what lies before `place`."""
        while self._at < place:
            if not self.read(min(place - self._at, 1 << 20)).shape[1]:
                return

    def read(self, length: int) -> Samples:
        """Return the next `length` samples, fewer at the end."""
        pieces, have = [self._rest], self._rest.shape[1]
        while have < length:
            piece = next(self._pieces, None)
            if piece is None:
                break
            pieces.append(piece)
            have += piece.shape[1]
        joined = np.concatenate(pieces, axis=1)
        self._rest = joined[:, length:]
        self._at += min(length, have)
        return joined[:, :length]

    def _unbroken(self, blocks: Iterator[tuple[Fraction | None, Samples]]) -> Iterator[Samples]:
        total = 0
        for time, block in self._settled(blocks):
            gap = self._clock.place(time, block.shape[1])
            total += gap.silence + block.shape[1]
            if total > self._most:
                raise LimitExceeded(f"{self._name} has sound beyond limits.max_duration_h.")
            for at in range(0, gap.silence, self._rate):
                yield np.zeros((self._channels, min(self._rate, gap.silence - at)), np.float32)
            if block.shape[1] > gap.dropped:
                yield block[:, gap.dropped :]

    def _settled(
        self, blocks: Iterator[tuple[Fraction | None, Samples]]
    ) -> Iterator[tuple[Fraction | None, Samples]]:
        settler = Settler(self._rate)
        for time, samples in blocks:
            shift = self._joins.shift(time, Fraction(samples.shape[1], self._rate))
            at = None if time is None else time + shift
            yield from ((b.time, b.samples) for b in settler.settled(Block(at, samples)))
        yield from ((b.time, b.samples) for b in settler.finish())


def _decoded(source: SoundSource, rate: int) -> Iterator[tuple[Fraction | None, Samples]]:
    """Yield (seconds on the file's clock, (channels, n) samples), past what is damaged."""
    layout = source.track.layout
    convert = av.AudioResampler(format="flt", layout=layout, rate=rate)
    times = StatedTimes(source.track.has_guessed_times)
    kind = None
    for frame in _frames(source):
        if kind_of(frame) != kind:  # at the start, or where rate or layout changed halfway
            for piece in convert.resample(None):
                yield None, _by_channel(piece)
            convert = av.AudioResampler(format="flt", layout=layout, rate=rate)
            kind = kind_of(frame)
        time = times.of(frame)
        frame.pts = None  # the resampler objects to gaps; the clock sees to them
        for piece in convert.resample(frame):
            yield time, _by_channel(piece)
            time = None
    for piece in convert.resample(None):
        yield None, _by_channel(piece)


def _by_channel(frame: av.AudioFrame) -> Samples:
    """Return (channels, n) of an interleaved frame; PyAV 18.1 misreads eight planes."""
    interleaved = np.asarray(frame.to_ndarray(), np.float32)
    samples, _ = without_wild(interleaved.reshape(-1, frame.layout.nb_channels).T)
    return samples


def _frames(source: SoundSource) -> Iterator[av.AudioFrame]:
    sorter = ChannelSorter(source.track.layout, source.track.channel_order)
    with open_media(source.info.path) as container:
        stream = container.streams[source.track.index]
        count = FrameCount(stream) if source.track.is_counted else None
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if count is not None:
                    count.place(packet)
                frames: list[Any] = packet.decode()
            except av.error.InvalidDataError:
                continue  # a damaged packet: `AudioClock` puts silence in its place
            except av.error.FFmpegError:
                return  # the container breaks off
            yield from map(sorter.sorted, frames)


def _energy(samples: NDArray[Any]) -> float:
    return float(np.sum(np.square(samples, dtype=np.float64)))
