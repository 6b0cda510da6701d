"""One track, protected: what changes, and what must not."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import audio
from pipeline.audio import AudioSummary, TrackMasker
from pipeline.parameters import AudioLevel
from tests.pipeline.noise_ratios import noise_to_mask
from tests.pipeline.voices import chords, drums, voice

Samples = NDArray[np.float32]

LEVELS = (AudioLevel.WEAK, AudioLevel.MEDIUM, AudioLevel.STRONG)
NMR_BOUND_DB = {AudioLevel.WEAK: -3.0, AudioLevel.MEDIUM: 0.0, AudioLevel.STRONG: 5.0}
RATES = (8_000, 16_000, 44_100, 48_000, 96_000, 192_000)
MEDIA = Path(__file__).parents[3] / "shared" / "media"
SPEECH_CLIPS = (
    "speech_austen0870_cars_opus.mkv",
    "speech_numbers_hand.mov",
    "friday_speech_bw.mp4",
)


def _mask(
    samples: Samples, rate: int, level: AudioLevel = AudioLevel.MEDIUM, block: int = 4_096
) -> tuple[Samples, AudioSummary]:
    masker = TrackMasker(rate, samples.shape[0], level)
    starts = range(0, samples.shape[1], block)
    ready = [masker.push(samples[:, start : start + block]) for start in starts]
    return np.concatenate([*ready, masker.finish()], axis=1), masker.summary


def _level_db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-30))


def _clip(name: str) -> tuple[Samples, int]:
    if not (MEDIA / name).exists():
        pytest.skip(f"{name} is not beside the project")
    with av.open(str(MEDIA / name)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        frames = [f for frame in container.decode(stream) for f in resampler.resample(frame)]
        return np.concatenate([f.to_ndarray() for f in frames], axis=1), stream.rate


# --- length and order -------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
def test_a_voice_is_changed_at_every_rate_and_keeps_its_length(rate: int) -> None:
    samples = voice(2, rate)
    changed, summary = _mask(samples, rate)
    assert changed.shape == samples.shape
    assert changed.dtype == np.float32
    assert summary.speech_share > 0.8
    assert 8 < _level_db(samples) - _level_db(changed - samples) < 25


@pytest.mark.parametrize("seconds", [0.6, 2.2, 5])
def test_the_share_of_speech_is_of_the_track_and_not_of_what_follows(seconds: float) -> None:
    _, summary = _mask(voice(seconds, 16_000), 16_000)
    assert summary.speech_share > 0.99


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_every_channel_layout_is_taken(channels: int) -> None:
    samples = np.repeat(voice(1, 16_000), channels, axis=0)
    changed, _ = _mask(samples, 16_000)
    assert changed.shape == samples.shape
    assert (changed == changed[:1]).all()
    assert (changed != samples).any()


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 9_000), max_size=30), st.integers(0, 40_000))
def test_any_way_of_cutting_the_input_gives_the_same_bits(sizes: list[int], length: int) -> None:
    samples = np.repeat(voice(2.5, 16_000), 2, axis=0)[:, :length]
    expected, _ = _mask(samples, 16_000, block=10**6)
    masker = TrackMasker(16_000, 2, AudioLevel.MEDIUM)
    ready, start = [], 0
    for size in [*sizes, length]:
        ready.append(masker.push(samples[:, start : start + size]))
        start += size
    ready.append(masker.finish())
    assert (np.concatenate(ready, axis=1) == expected).all()


@pytest.mark.parametrize("rate", RATES)
def test_output_follows_within_three_seconds(rate: int) -> None:
    masker = TrackMasker(rate, 1, AudioLevel.WEAK)
    samples, given_out = voice(5, rate), 0
    for start in range(0, samples.shape[1], rate // 50):
        given_out += masker.push(samples[:, start : start + rate // 50]).shape[1]
        assert start - given_out < 3 * rate


@pytest.mark.parametrize("length", [0, 1, 700, 5_000])
def test_a_track_shorter_than_a_block_comes_out_whole(length: int) -> None:
    samples = voice(1, 16_000)[:, :length]
    changed, _ = _mask(samples, 16_000)
    assert changed.shape == samples.shape


def test_output_sample_i_belongs_to_input_sample_i() -> None:
    samples = voice(3, 48_000)
    changed, _ = _mask(samples, 48_000, AudioLevel.WEAK)
    spectrum = np.fft.rfft(samples) * np.conj(np.fft.rfft(changed))
    assert np.fft.irfft(spectrum).argmax() == 0


# --- what must not change ---------------------------------------------------------------------


def test_silence_stays_exactly_zero() -> None:
    changed, summary = _mask(np.zeros((2, 48_000), np.float32), 48_000)
    assert not changed.any()
    assert summary.nmr_db is None
    assert summary.snr_db is None


@pytest.mark.parametrize("level", LEVELS)
def test_digital_silence_between_words_stays_exactly_zero(level: AudioLevel) -> None:
    samples = voice(3, 48_000)
    pauses = (np.arange(samples.shape[1]) // 9_600) % 3 == 2
    samples[:, pauses] = 0
    changed, _ = _mask(samples, 48_000, level)
    assert (changed != samples).mean() > 0.5
    assert not changed[:, pauses].any()


def test_a_silent_channel_stays_exactly_zero_beside_a_voice() -> None:
    samples = np.concatenate([voice(2, 48_000), np.zeros((1, 96_000), np.float32)])
    changed, _ = _mask(samples, 48_000, AudioLevel.STRONG)
    assert (changed[0] != samples[0]).any()
    assert not changed[1].any()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sound", [drums, chords])
def test_music_comes_through_bit_for_bit(
    sound: Callable[[float, int], Samples], level: AudioLevel
) -> None:
    samples = np.repeat(sound(3, 48_000), 2, axis=0)
    changed, summary = _mask(samples, 48_000, level)
    assert (changed == samples).all()
    assert summary.speech_share == 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_nothing_sounds_before_an_onset(rate: int, level: AudioLevel) -> None:
    """The change in the 20 ms before a word, out of near silence, stays under the original's."""
    samples = voice(3, rate)
    hush = 1e-4 * np.random.default_rng(6).standard_normal(samples.shape).astype(np.float32)
    words = (np.arange(samples.shape[1]) // (rate // 5)) % 2 == 0
    samples = samples * words + hush
    changed, _ = _mask(samples, rate, level)
    onsets = np.flatnonzero(np.diff(words.astype(int)) == 1)
    before = np.concatenate([np.arange(at - rate // 50, at) for at in onsets])
    assert _level_db((changed - samples)[:, before]) < _level_db(samples[:, before])


@pytest.mark.parametrize("level", LEVELS)
def test_full_scale_does_not_clip(level: AudioLevel) -> None:
    samples = voice(3, 48_000)
    samples = np.clip(samples / np.abs(samples).max() * 3, -1, 1)
    changed, _ = _mask(samples, 48_000, level)
    assert (changed != samples).any()
    assert np.abs(changed).max() <= 1


def test_the_threshold_is_held_back_from_block_to_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onset at the beginning of a block is one as well."""
    given_on: list[tuple[NDArray[np.float32] | None, NDArray[np.float32]]] = []
    real = audio.hold

    def hold(
        threshold: NDArray[np.float32], previous: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        held = real(threshold, previous)
        given_on.append((previous, held[-1]))
        return held

    monkeypatch.setattr(audio, "hold", hold)
    _mask(voice(2.0, 16_000), 16_000)
    followed = [(last, later) for (_, last), (later, _) in itertools.pairwise(given_on)]
    held = [np.array_equal(later, last) for last, later in followed if later is not None]
    assert len(held) > 5
    assert all(held)


def test_a_change_is_held_under_what_it_is_laid_on() -> None:
    rng = np.random.default_rng(1)
    original, change = rng.normal(0, [[0.1]], (2, 1, 4000)).astype(np.float32)
    room = audio._room_under(original, 3 * change, 200)
    inner = slice(200, -200)
    assert np.square(3 * change * room)[:, inner].mean() < np.square(original)[:, inner].mean()
    assert (audio._room_under(original, change / 10, 200)[inner] == 1).all()


def test_peaks_are_rounded_and_not_cut_flat() -> None:
    samples = voice(3, 48_000)
    samples *= 0.98 / np.abs(samples).max()
    changed, _ = _mask(samples, 48_000, AudioLevel.STRONG)
    at_the_limit = np.abs(changed[0]) > 0.9999
    assert at_the_limit.any()
    assert np.convolve(at_the_limit, np.ones(4)).max() < 4


def test_samples_beyond_full_scale_get_no_larger() -> None:
    samples = voice(2, 48_000)
    samples *= 1.4 / np.abs(samples).max()
    changed, _ = _mask(samples, 48_000, AudioLevel.STRONG)
    assert (np.abs(changed) <= np.maximum(np.abs(samples), 1)).all()


@pytest.mark.parametrize("level", LEVELS)
def test_the_mean_does_not_shift(level: AudioLevel) -> None:
    samples = voice(3, 48_000) + np.float32(0.05)
    changed, _ = _mask(samples, 48_000, level)
    assert (changed != samples).any()
    assert abs(float((changed - samples).mean(dtype=np.float64))) < 1e-5


@pytest.mark.parametrize("level", LEVELS)
def test_loudness_stays_within_a_decibel(level: AudioLevel) -> None:
    samples = voice(4, 48_000)
    changed, _ = _mask(samples, 48_000, level)
    assert _level_db(changed) == pytest.approx(_level_db(samples), abs=1)


@pytest.mark.parametrize("level", LEVELS)
def test_the_stereo_image_stays(level: AudioLevel) -> None:
    left = voice(4, 48_000)
    samples = np.concatenate([left, np.float32(0.4) * left])
    changed, _ = _mask(samples, 48_000, level)
    before = _level_db(samples[0]) - _level_db(samples[1])
    after = _level_db(changed[0]) - _level_db(changed[1])
    assert after == pytest.approx(before, abs=0.1)


# --- how much changes -------------------------------------------------------------------------


def _assert_within_goal(samples: Samples, rate: int, level: AudioLevel) -> None:
    changed, summary = _mask(samples, rate, level)
    measured = noise_to_mask(samples, changed, rate)
    assert summary.nmr_db is not None
    assert measured.nmr_db is not None
    assert summary.nmr_db <= NMR_BOUND_DB[level]
    assert measured.nmr_db <= NMR_BOUND_DB[level]
    assert measured.snr_db is not None
    if level is AudioLevel.STRONG:
        assert measured.snr_db >= 11 - 0.1
    else:
        assert measured.nmr_db > NMR_BOUND_DB[level] - 1.5


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_a_voice_is_changed_as_far_as_its_level_allows(rate: int, level: AudioLevel) -> None:
    _assert_within_goal(voice(8, rate), rate, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", SPEECH_CLIPS)
def test_real_speech_is_changed_as_far_as_its_level_allows(name: str, level: AudioLevel) -> None:
    _assert_within_goal(*_clip(name), level)


@pytest.mark.parametrize("level", LEVELS)
def test_quiet_speech_is_changed_no_more_than_loud_when_it_is_turned_up(level: AudioLevel) -> None:
    """Nobody hears all of it at the volume that suits loud speech; nobody listens to it at that."""
    loud = voice(8, 48_000)
    changed, _ = _mask(loud / 200, 48_000, level)
    measured = noise_to_mask(loud, 200 * changed, 48_000)
    assert measured.nmr_db is not None
    assert measured.nmr_db <= NMR_BOUND_DB[level] + 0.5


@pytest.mark.parametrize("seconds", [0.6, 1.5])
def test_a_single_word_is_within_its_goal_too(seconds: float) -> None:
    changed, summary = _mask(voice(seconds, 48_000, seed=9), 48_000, AudioLevel.WEAK)
    assert summary.nmr_db is not None
    assert summary.nmr_db < -2


def test_a_stronger_level_changes_more() -> None:
    samples = voice(5, 48_000)
    ratios = [_mask(samples, 48_000, level)[1].snr_db for level in LEVELS]
    assert None not in ratios
    assert ratios == sorted(ratios, reverse=True)  # type: ignore[type-var]
    assert len(set(ratios)) == 3


def test_a_voice_among_music_is_changed_alone() -> None:
    rate = 48_000
    music = drums(3, rate)
    samples = np.concatenate([music, voice(2, rate), music], axis=1)
    changed, _ = _mask(samples, rate)
    differs = (changed != samples)[0]
    assert not differs[: 2 * rate].any()
    assert not differs[-2 * rate :].any()
    assert differs[int(3.2 * rate) : 5 * rate].mean() > 0.9


def test_the_summary_says_what_was_changed() -> None:
    samples = voice(3, 48_000)
    changed, summary = _mask(samples, 48_000)
    measured = noise_to_mask(samples, changed, 48_000)
    assert summary.nmr_db == pytest.approx(measured.nmr_db, abs=0.3)
    assert summary.snr_db == pytest.approx(measured.snr_db, abs=0.3)


# --- the rest ---------------------------------------------------------------------------------


def test_memory_does_not_grow_with_length() -> None:
    rate, pieces = 8_000, 6
    random = np.random.default_rng(3)
    piece = 0.05 * random.standard_normal((1, 10 * rate)).astype(np.float32)
    piece[:, : 2 * rate] = voice(2, rate)
    masker = TrackMasker(rate, 1, AudioLevel.WEAK)
    peaks = []
    tracemalloc.start()
    for number in range(pieces):
        masker.push(piece)
        if number in (1, pieces - 1):
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20_000
    assert masker.summary.nmr_db is not None  # else nobody was heard, and no director asked


def test_level_none_is_refused() -> None:
    with pytest.raises(ValueError, match="copied"):
        TrackMasker(48_000, 2, AudioLevel.NONE)


def test_no_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="channels"):
        TrackMasker(48_000, 0, AudioLevel.WEAK)
