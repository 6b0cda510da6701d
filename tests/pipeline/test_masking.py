"""The masking threshold, and the measure that stands on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.masking import (
    NoiseToMask,
    NoiseToMaskMeter,
    bark,
    hearing_model,
    hold,
    hops,
    threshold_of_hearing_db,
)
from tests.pipeline.noise_ratios import noise_to_mask

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000)


def _tone(rate: int, frequency: float, amplitude: float = 0.1, seconds: float = 0.3) -> np.ndarray:
    at = np.arange(int(rate * seconds)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * at)).astype(np.float32)[None]


def _noise(
    rate: int, amplitude: float = 0.1, seconds: float = 0.5, channels: int = 1
) -> np.ndarray:
    random = np.random.default_rng(3)
    samples = random.standard_normal((channels, int(rate * seconds)))
    return (amplitude * samples).astype(np.float32)


def _threshold_db(rate: int, samples: np.ndarray) -> np.ndarray:
    model = hearing_model(rate)
    threshold = model.threshold(model.power(model.spectra(samples)))
    return 10 * np.log10(threshold.mean(axis=0))


def _band_of(rate: int, frequency: float) -> int:
    model = hearing_model(rate)
    bins = np.fft.rfftfreq(len(model.window), 1 / rate)
    return int(np.searchsorted(model.edges, np.abs(bins - frequency).argmin(), side="right")) - 1


@pytest.mark.parametrize("rate", RATES)
def test_windows_last_as_long_at_every_rate(rate: int) -> None:
    model = hearing_model(rate)
    assert len(model.window) / rate == pytest.approx(1024 / 48_000, rel=0.06)
    assert len(model.window) == 4 * model.hop


@pytest.mark.parametrize("rate", RATES)
def test_every_band_has_bins_and_none_holds_the_mean(rate: int) -> None:
    model = hearing_model(rate)
    assert (np.diff(model.edges) >= 1).all()
    assert model.edges[0] == 1
    assert model.edges[-1] <= len(model.window) // 2 + 1


@pytest.mark.parametrize("rate", RATES)
def test_a_full_scale_sine_has_energy_one(rate: int) -> None:
    model = hearing_model(rate)
    power = model.power(model.spectra(_tone(rate, 1_000, amplitude=1.0)))
    assert power.sum(axis=1) == pytest.approx(1, rel=0.01)


def test_a_full_scale_sine_is_as_loud_as_96_decibels() -> None:
    """Then the weakest tone, of -5 dB SPL near 3.3 kHz, is nearly the last bit of 16."""
    assert 10 * np.log10(hearing_model(48_000).hearing.min()) == pytest.approx(-101, abs=0.5)


@pytest.mark.parametrize("rate", RATES)
def test_silence_leaves_the_threshold_of_hearing(rate: int) -> None:
    model = hearing_model(rate)
    silence = np.zeros((1, rate // 5), np.float32)
    threshold = model.threshold(model.power(model.spectra(silence)))
    assert (threshold == model.hearing).all()


def test_hearing_is_keenest_between_two_and_five_kilohertz() -> None:
    frequencies = np.geomspace(50, 16_000, 200)
    levels = threshold_of_hearing_db(frequencies)
    assert 2_000 < frequencies[levels.argmin()] < 5_000
    assert levels.min() == pytest.approx(-5, abs=1)
    assert levels[0] > 30


def test_bark_follows_the_published_table() -> None:
    """Edges of critical bands, Zwicker 1961."""
    edges = bark(np.array([100.0, 510, 1_000, 2_000, 4_400, 9_500]))
    assert edges == pytest.approx([1, 5, 8.5, 13, 18, 22], abs=0.35)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-4, 0.9), st.floats(1.01, 30), st.sampled_from(RATES))
def test_a_louder_sound_never_masks_less(amplitude: float, factor: float, rate: int) -> None:
    quiet = _noise(rate, amplitude, seconds=0.1)
    louder = quiet * np.float32(factor)
    assert (_threshold_db(rate, louder) >= _threshold_db(rate, quiet) - 1e-3).all()


def test_a_tone_masks_upwards_more_than_downwards() -> None:
    threshold = _threshold_db(48_000, _tone(48_000, 1_000, amplitude=0.5))
    band = _band_of(48_000, 1_000)
    for bands in (3, 4, 6):
        assert threshold[band + bands] > threshold[band - bands] + 6


def test_noise_masks_more_than_a_tone_of_the_same_energy() -> None:
    rate, centre = 48_000, 3_000
    band = _band_of(rate, centre)
    model = hearing_model(rate)
    noise = _noise(rate)
    spectrum = np.fft.rfft(noise)
    at = np.fft.rfftfreq(noise.shape[1], 1 / rate)
    spectrum[:, np.abs(bark(at.astype(np.float64)) - bark(np.array([float(centre)]))) > 2] = 0
    wide = np.fft.irfft(spectrum, noise.shape[1]).astype(np.float32)
    tone = _tone(rate, centre)
    wide *= np.sqrt(np.mean(tone**2) / np.mean(wide**2))
    assert model.bands == 48
    assert _threshold_db(rate, wide)[band] > _threshold_db(rate, tone)[band] + 3


def test_the_threshold_lies_below_what_masks() -> None:
    model = hearing_model(48_000)
    power = model.power(model.spectra(_noise(48_000)))
    energy = model.band_energy(power).mean(axis=0)
    audible = energy > 10 * model.hearing
    assert audible.sum() > 40
    assert (model.threshold(power).mean(axis=0) < energy)[audible].all()


def test_a_held_threshold_rises_by_six_decibels_a_window_and_falls_at_once() -> None:
    threshold = np.array([[1], [1e6], [1e6], [1e6], [2]], np.float32)
    assert hold(threshold, None).ravel().tolist() == [1, 4, 16, 64, 2]


def test_holding_goes_on_where_the_block_before_ended() -> None:
    threshold = np.random.default_rng(1).uniform(0, 10, (40, 5)).astype(np.float32) ** 4
    first = hold(threshold[:17], None)
    second = hold(threshold[17:], first[-1])
    assert (np.concatenate([first, second]) == hold(threshold, None)).all()


def test_noise_shaped_as_the_threshold_measures_zero_decibels() -> None:
    rate = 48_000
    model = hearing_model(rate)
    original = _noise(rate, 0.1, seconds=2)
    threshold = model.threshold(model.power(model.spectra(original))).mean(axis=0)
    added = np.random.default_rng(8).standard_normal(original.shape).astype(np.float32)
    level = model.band_energy(model.power(model.spectra(added))).mean(axis=0)
    spectrum = np.fft.rfft(added)
    at = np.fft.rfftfreq(added.shape[1], 1 / rate)
    bins = np.fft.rfftfreq(len(model.window), 1 / rate)
    gains = model.interpolation(np.sqrt(threshold / level)[None])[0]
    shaped = np.fft.irfft(spectrum * np.interp(at, bins, gains), added.shape[1])
    measured = noise_to_mask(original, original + shaped.astype(np.float32), rate)
    # A little above: the threshold of a single window fluctuates about the mean.
    assert measured.nmr_db == pytest.approx(0.8, abs=0.8)


def test_ten_times_the_noise_energy_is_ten_decibels_more() -> None:
    original, noise = _noise(16_000), _noise(16_000, 0.001)[:, ::-1]
    weak = noise_to_mask(original, original + noise, 16_000)
    strong = noise_to_mask(original, original + np.float32(10**0.5) * noise, 16_000)
    assert strong.nmr_db is not None
    assert weak.nmr_db is not None
    assert strong.nmr_db - weak.nmr_db == pytest.approx(10, abs=0.1)


def test_snr_is_that_of_the_samples() -> None:
    original, noise = _noise(48_000, 0.1, 2), _noise(48_000, 0.01, 2)[:, ::-1]
    assert noise_to_mask(original, original + noise, 48_000).snr_db == pytest.approx(20, abs=0.2)


def test_an_equal_pair_has_neither_ratio() -> None:
    measured = noise_to_mask(_noise(8_000), _noise(8_000), 8_000)
    assert measured.nmr_db is None
    assert measured.snr_db is None


def test_untouched_stretches_do_not_flatter_the_ratios() -> None:
    original, noise = _noise(16_000, 0.1, 0.4), _noise(16_000, 0.01, 0.4)[:, ::-1]
    alone = noise_to_mask(original, original + noise, 16_000)
    padded = np.concatenate([_noise(16_000, 0.1, 0.6), original], axis=1)
    changed = padded.copy()
    changed[:, -original.shape[1] :] += noise
    among = noise_to_mask(padded, changed, 16_000)
    assert among.nmr_db == pytest.approx(alone.nmr_db, abs=0.3)
    assert among.snr_db == pytest.approx(alone.snr_db, abs=0.3)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=12))
def test_a_meter_does_not_mind_how_the_sound_is_cut(sizes: list[int]) -> None:
    original, change = _noise(16_000, seconds=1), _noise(16_000, 0.01, seconds=1)[:, ::-1]
    whole, pieces = NoiseToMaskMeter(16_000, 1), NoiseToMaskMeter(16_000, 1)
    total, start = NoiseToMask(), 0
    for size in [*sizes, original.shape[1]]:
        total += pieces.push(original[:, start : start + size], change[:, start : start + size])
        start += size
    expected = whole.push(original, change)
    assert total.windows == expected.windows
    assert total.ratio == pytest.approx(expected.ratio, rel=1e-4)


@pytest.mark.parametrize("rate", [0, 7_999, 192_001])
def test_a_rate_out_of_range_is_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="sample rate"):
        hearing_model(rate)


def test_hops_are_the_windows_that_numpy_slides_each_hop_after_the_last() -> None:
    samples = np.random.default_rng(0).normal(size=(2, 103)).astype(np.float32)[:, 1:]
    slid = np.lib.stride_tricks.sliding_window_view(samples, 16, axis=1)[:, ::5]
    windows = hops(samples, 16, 5)
    assert np.array_equal(windows, slid)
    assert not windows.flags.writeable
