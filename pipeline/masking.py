"""
The masking threshold of a signal, and how far a change of it stands above or below.

Arithmetic on spectra, for any sample rate from 8 to 192 kHz. What is done with the
threshold is `audio`'s business.

The model is the classic one: Painter and Spanias, "Perceptual coding of digital audio",
Proc. IEEE 88(4), 2000 (after Johnston, IEEE J-SAC 6(2), 1988) and ISO/IEC 11172-3 annex D.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Samples = NDArray[np.float32]  # (channels, n), full scale is 1
Spectra = NDArray[np.complex64]  # (channels, frames, bins)
BandEnergy = NDArray[np.float32]  # (frames, bands), summed over channels; a full-scale sine is 1

MIN_RATE, MAX_RATE = 8_000, 192_000
OVERLAP = 4  # analysis windows per sample

# A full-scale sine is taken to play at 96 dB SPL: loud listening, which puts the least
# significant bit of 16 near the threshold of hearing and so errs towards hearing more.
_FULL_SCALE_DB = 96.0
_HOP_SECONDS = 256 / 48_000
_HIGHEST_BARK = 24.0
# Local spectral flatness of noise (an exponential variate's mean log is -2.5 dB) and of
# tones. Johnston's -60 dB is for the whole spectrum; within three Bark a voiced harmonic
# seen through this window stands at -10 to -20 dB.
_NOISE_FLATNESS_DB, _TONE_FLATNESS_DB = -2.5, -10.0
_FLATNESS_BARK = 1.5
# Pre-echo: the threshold may rise by 6 dB from one window to the next (ISO 11172-3, D.2.4).
_RISE = 4.0
# Bark, and dB by which the threshold at least lies below the spread energy, however noisy the sound
# is: at low frequencies noise masks less (after `minval` of ISO 11172-3's second model).
_LEAST_OFFSET = ((4.0, 5.0, 6.0, 7.0, 8.0, 9.0), (20.0, 17.0, 15.0, 10.0, 7.0, 4.5))
_TINY = 1e-30


@dataclass(frozen=True)
class Interpolation:
    """
    Linear, between two bands for each bin; nothing below the lowest band and above the highest.

    Sums and gathers, here and in the model, and no matrix products: those go to BLAS, whose
    threads wait for each other when decoder and encoder keep the cores busy (measured, 20
    times the time), and whose rounding follows the number of threads.

    Attributes:
        lower, upper: (bins,) bands.
        lower_share, upper_share: (bins,) weights.
    """

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    lower_share: Samples
    upper_share: Samples

    def __call__(self, bands: BandEnergy) -> NDArray[np.float32]:
        """Return (frames, bins) of (frames, bands)."""
        return bands[:, self.lower] * self.lower_share + bands[:, self.upper] * self.upper_share


@dataclass(frozen=True)
class HearingModel:
    """
    What depends on the sample rate alone; make it with `hearing_model`.

    Attributes:
        hop: samples from one analysis window to the next; a window is `OVERLAP` hops.
        window: (OVERLAP * hop,) Hann.
        scale: makes |spectrum|^2, summed over a full-scale sine's bins, 1.
        edges: (bands + 1,) first bin of each half-Bark band, and the one behind the last.
        centres: (bands,) mean frequency of each band's bins, Hz.
        interpolation: from bands to bins over log frequency.
        spreading: (bands, bands) of energy from the row's band to the column's.
        offset_tone, offset_noise: power ratios of threshold to spread energy: of tones, (bands,);
            of noise, the same in all bands.
        offset_least: (bands,) the largest that this ratio may be, whatever the sound.
        hearing: (bands,) energy of the weakest audible tone.
        near: (bands, 2) first bin near a band, and the one behind the last.
    """

    sample_rate: int
    hop: int
    window: Samples
    scale: float
    edges: NDArray[np.intp]
    centres: NDArray[np.float64]
    interpolation: Interpolation
    spreading: Samples
    offset_tone: Samples
    offset_noise: float
    offset_least: Samples
    hearing: Samples
    near: NDArray[np.intp]

    @property
    def bands(self) -> int:
        """Number of bands: 48 from 32 kHz on, 35 at 8 kHz."""
        return len(self.edges) - 1

    def spectra(self, samples: Samples) -> Spectra:
        """Return the windowed spectra of every whole window in `samples`, one per hop."""
        return fft.rfft(hops(samples, len(self.window), self.hop) * self.window, axis=2)

    def power(self, spectra: Spectra) -> NDArray[np.float32]:
        """Return (frames, bins) energy, summed over channels."""
        squares = np.square(spectra.real)
        squares += np.square(spectra.imag)
        return squares.sum(axis=0) * np.float32(self.scale)

    def band_energy(self, power: NDArray[np.float32]) -> BandEnergy:
        """Return the energy of each band of (frames, bins) power."""
        return np.add.reduceat(power[:, : self.edges[-1]], self.edges[:-1], axis=1)

    def threshold(self, power: NDArray[np.float32], quietest: float = 1.0) -> BandEnergy:
        """
        Return the energy per band below which an added sound goes unheard.

        From (frames, bins) power: band energies are spread, lowered by 14.5 + z dB where
        the sound is tonal and 5.5 dB where it is noise, and kept above the absolute
        threshold of hearing. Where we depart from Johnston: the tonality is the spectral
        flatness near each band, not of the whole spectrum.

        Args:
            quietest: energy of what is just heard in silence, as a part of that at
                `_FULL_SCALE_DB`; less than 1 where the sound is turned up.
        """
        spread = self.band_energy(power) @ self.spreading
        tonality = self._tonality(power)
        offset = self.offset_tone**tonality * self.offset_noise ** (1 - tonality)
        hearing = self.hearing * np.float32(quietest)
        return np.maximum(spread * np.minimum(offset, self.offset_least), hearing)

    def _tonality(self, power: NDArray[np.float32]) -> BandEnergy:
        floored = power + np.float32(_TINY)
        log_mean = 10 * self._mean_nearby(np.log10(floored))
        flatness = log_mean - 10 * np.log10(self._mean_nearby(floored))
        span = _TONE_FLATNESS_DB - _NOISE_FLATNESS_DB
        return np.clip((flatness - _NOISE_FLATNESS_DB) / span, 0, 1).astype(np.float32)

    def _mean_nearby(self, values: NDArray[np.float32]) -> BandEnergy:
        """Return the (frames, bands) means of (frames, bins) over the bins near each band."""
        sums = np.add.reduceat(values, self.near.ravel(), axis=1)[:, ::2]
        counts: Samples = np.diff(self.near, axis=1).ravel().astype(np.float32)
        return np.asarray(sums / counts, np.float32)


def hops(samples: Samples, width: int, hop: int) -> Samples:
    """
    Return (..., windows, width), read only: the windows of (..., n), each `hop` after the last.

    NumPy's `sliding_window_view` does the same in the time of a Fourier transform.
    """
    *outer, stride = samples.strides
    shape = (*samples.shape[:-1], (samples.shape[-1] - width) // hop + 1, width)
    strides = (*outer, hop * stride, stride)
    return np.lib.stride_tricks.as_strided(samples, shape, strides, writeable=False)


def hold(threshold: BandEnergy, previous: NDArray[np.float32] | None) -> BandEnergy:
    """
    Return the threshold held back before onsets: T'(t) = min(T(t), 4 T'(t - 1)).

    A window that reaches into an onset has a high threshold, but what is added under it
    also sounds before the onset, where nothing masks it.

    Args:
        previous: (bands,) last row of the held threshold before, None at the start.
    """
    held = threshold.copy()
    last = previous if previous is not None else held[0]
    for row in held:
        np.minimum(row, last * np.float32(_RISE), out=row)
        last = row
    return held


@dataclass(frozen=True)
class NoiseToMask:
    """
    Noise against the masking threshold, added up over changed windows.

    A window counts where anything in it was changed, so that silence or music left alone
    cannot flatter the result. `+` joins two stretches.

    Attributes:
        windows: how many counted.
        ratio: sum over them of the mean over bands of noise energy / threshold.
        signal, noise: sums of energy.
    """

    windows: float = 0.0
    ratio: float = 0.0
    signal: float = 0.0
    noise: float = 0.0

    def __add__(self, other: NoiseToMask) -> NoiseToMask:
        return NoiseToMask(
            self.windows + other.windows,
            self.ratio + other.ratio,
            self.signal + other.signal,
            self.noise + other.noise,
        )

    def faded(self, factor: float) -> NoiseToMask:
        """Return the same with less weight, for a rolling mean."""
        return NoiseToMask(
            self.windows * factor, self.ratio * factor, self.signal * factor, self.noise * factor
        )

    @property
    def nmr_db(self) -> float | None:
        """
        Noise-to-mask ratio; None where nothing was changed.

        10 log10 of the arithmetic mean, over changed windows and all bands, of noise energy
        over masking threshold (Brandenburg, AES 82nd Convention 1987; as PEAQ's Total NMR,
        ITU-R BS.1387). At most 0: on the average the noise is masked.
        """
        return _decibels(self.ratio, self.windows)

    @property
    def snr_db(self) -> float | None:
        """Energy of the original over that of the change, in the changed windows; or None."""
        return _decibels(self.signal, self.noise)


class NoiseToMaskMeter:
    """Measures a stretch of sound against its original, block by block, in whole windows."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._model = hearing_model(sample_rate)
        self._original = np.zeros((channels, self._overlap), np.float32)
        self._change = np.zeros((channels, self._overlap), np.float32)

    @property
    def _overlap(self) -> int:
        return (OVERLAP - 1) * self._model.hop

    def push(self, original: Samples, change: Samples, quietest: float = 1.0) -> NoiseToMask:
        """
        Return the sums of the windows that (channels, n) more samples complete.

        Args:
            change: changed minus original, same shape.
            quietest: as of `HearingModel.threshold`.
        """
        whole_original = np.concatenate([self._original, original], axis=1)
        whole_change = np.concatenate([self._change, change], axis=1)
        windows = (whole_original.shape[1] - self._overlap) // self._model.hop
        used = windows * self._model.hop
        self._original, self._change = whole_original[:, used:], whole_change[:, used:]
        if windows == 0 or not whole_change.any():
            return NoiseToMask()
        end = used + self._overlap
        return _measured(self._model, whole_original[:, :end], whole_change[:, :end], quietest)


@lru_cache(maxsize=8)
def hearing_model(sample_rate: int) -> HearingModel:
    """
    Return the model for a sample rate; equal rates share one.

    Windows last 1024 / 48000 s, rounded up to what the FFT takes quickly.

    Raises:
        ValueError: the rate is not within 8 to 192 kHz.
    """
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise ValueError(f"sample rate {sample_rate} is not within {MIN_RATE} to {MAX_RATE} Hz")
    hop = fft.next_fast_len(round(sample_rate * _HOP_SECONDS), real=True)
    width = OVERLAP * hop
    window = np.hanning(width + 1)[:-1]  # periodic: squares overlap to a constant
    frequencies = np.fft.rfftfreq(width, 1 / sample_rate).astype(np.float64)
    barks = bark(frequencies)
    edges = _edges(barks)
    centres_hz = np.add.reduceat(frequencies[: edges[-1]], edges[:-1]) / np.diff(edges)
    centres = bark(centres_hz)
    return HearingModel(
        sample_rate,
        hop,
        _single(window),
        4 / (width * np.square(window).sum()),
        edges,
        centres_hz,
        _interpolation(centres_hz, frequencies),
        _single(_spreading(centres)),
        _single(10 ** (-(14.5 + centres) / 10)),
        10**-0.55,
        _single(10 ** (-np.interp(centres, *_LEAST_OFFSET) / 10)),
        _single(_hearing(frequencies, edges)),
        _near(barks, centres),
    )


def bark(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the critical-band rate of frequencies in Hz (Zwicker and Terhardt 1980)."""
    kilo = frequencies / 1000
    return 13 * np.arctan(0.76 * kilo) + 3.5 * np.arctan(np.square(kilo / 7.5))


def threshold_of_hearing_db(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the level in dB SPL of the weakest audible tones, 20 Hz to 20 kHz (Terhardt 1979)."""
    kilo = np.clip(frequencies, 20, 20_000) / 1000
    return 3.64 * kilo**-0.8 - 6.5 * np.exp(-0.6 * np.square(kilo - 3.3)) + 1e-3 * np.power(kilo, 4)


def _edges(barks: NDArray[np.float64]) -> NDArray[np.intp]:
    # Low half-Bark bands are as narrow as a bin: some hold none, and are left out. The
    # bin of 0 Hz belongs to none.
    halves = np.floor(2 * barks[1:])
    _, firsts = np.unique(halves, return_index=True)
    end = 1 + int(np.searchsorted(halves, 2 * _HIGHEST_BARK))
    starts = 1 + firsts
    return np.append(starts[starts < end], end)


def _interpolation(centres: NDArray[np.float64], frequencies: NDArray[np.float64]) -> Interpolation:
    at = np.log(np.maximum(frequencies, 1e-3))
    place = np.interp(at, np.log(centres), np.arange(len(centres)))
    lower = np.floor(place).astype(np.intp)
    share = place - lower
    step = frequencies[1]
    inside = (frequencies >= 1.5 * step) & (frequencies <= centres[-1] + step)
    upper = np.minimum(lower + 1, len(centres) - 1)
    return Interpolation(lower, upper, _single((1 - share) * inside), _single(share * inside))


def _spreading(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = centres[None, :] - centres[:, None] + 0.474
    level = 15.81 + 7.5 * distance - 17.5 * np.sqrt(1 + np.square(distance))
    energy = 10 ** (level / 10)
    return energy / energy.sum(axis=0)  # a flat spectrum keeps its level


def _hearing(frequencies: NDArray[np.float64], edges: NDArray[np.intp]) -> NDArray[np.float64]:
    # Above 100 kHz the threshold is beyond any float; nobody hears so far.
    level = np.minimum(threshold_of_hearing_db(frequencies) - _FULL_SCALE_DB, 300.0)
    energy = 10 ** (level / 10)
    return np.minimum.reduceat(energy[: edges[-1]], edges[:-1])


def _near(barks: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.intp]:
    first = np.searchsorted(barks, centres - _FLATNESS_BARK)
    end = np.searchsorted(barks, centres + _FLATNESS_BARK)
    # Sums up to an end need that bin to exist, hence never quite to the last one.
    return np.stack([np.maximum(first, 1), np.minimum(end, len(barks) - 1)], axis=1)


def _measured(
    model: HearingModel, original: Samples, change: Samples, quietest: float
) -> NoiseToMask:
    noise_power = model.power(model.spectra(change))
    changed = noise_power.any(axis=1)
    power = model.power(model.spectra(original))
    threshold = model.threshold(power[changed], quietest)
    ratio = model.band_energy(noise_power[changed]) / threshold
    return NoiseToMask(
        float(changed.sum()),
        float(ratio.mean(axis=1).sum()),
        float(power[changed].sum()),
        float(noise_power[changed].sum()),
    )


def _single(values: NDArray[np.float64]) -> Samples:
    single = values.astype(np.float32)
    single.setflags(write=False)  # one model serves every track
    return single


def _decibels(above: float, below: float) -> float | None:
    return float(10 * np.log10(above / below)) if above > 0 and below > 0 else None
