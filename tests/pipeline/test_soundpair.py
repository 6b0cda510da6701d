"""One track of sound against another, as decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import soundpair
from pipeline.audio import TrackMasker
from pipeline.errors import LimitExceeded
from pipeline.measure import EQUAL_DB
from pipeline.pairing import frame_times
from pipeline.parameters import AudioLevel
from pipeline.probe import probe
from pipeline.settings import Limits
from pipeline.soundpair import SoundMeasure, SoundSource, best_shift, measure_sound
from tests.pipeline.voices import voice

RATE = 48000


def _speechlike(seconds: float, seed: int = 0, channels: int = 1) -> NDArray[np.float32]:
    """Noise below 4 kHz that comes and goes four times a second, (channels, samples)."""
    rng = np.random.default_rng(seed)
    length = int(seconds * RATE)
    raw = np.apply_along_axis(
        np.convolve, 1, rng.normal(0, 1, (channels, length)), np.hanning(12), "same"
    )
    envelope = 0.55 + 0.45 * np.sin(np.arange(length) * 2 * np.pi * 4 / RATE)
    return (0.05 * raw * envelope).astype(np.float32)


def _file(
    path: Path,
    samples: NDArray[np.float32],
    codec: str = "pcm_f32le",
    rate: int = RATE,
    first: int = 0,
    gap: tuple[int, int] = (0, 0),
) -> Path:
    """
    One picture every 40 ms, and `samples` from sample `first` on; of `gap` from one to another
    of them (each a multiple of 4800) nothing is written.
    """
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[0]]
    with av.open(str(path), "w") as output:
        video: Any = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sound: Any = output.add_stream(codec, rate=rate, layout=layout)
        for index in range(5):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        to_codec = av.AudioResampler(sound.format.name, layout, rate)
        for at in range(0, samples.shape[1], 4800):
            if gap[0] <= at < gap[1]:
                continue
            part = np.ascontiguousarray(samples[:, at : at + 4800])
            block = av.AudioFrame.from_ndarray(part, "fltp", layout)
            block.sample_rate, block.pts, block.time_base = RATE, first + at, Fraction(1, RATE)
            for piece in to_codec.resample(block):
                output.mux(sound.encode(piece))
        for piece in to_codec.resample(None):
            output.mux(sound.encode(piece))
        output.mux(sound.encode(None))
    return path


def _measured(original: Path, protected: Path, limits: Limits | None = None) -> SoundMeasure:
    limits = limits or Limits()
    sources = []
    for path in (original, protected):
        info = probe(path, Limits())
        sources.append(SoundSource(info, info.audio[0], frame_times(info, Limits()).start))
    return measure_sound(sources[0], sources[1], limits)


def test_equal_sound_has_the_cap_for_snr(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.mkv", _speechlike(3))

    found = _measured(path, path)

    assert found.snr_db == EQUAL_DB
    assert found.shift_ms == 0
    assert found.seconds == pytest.approx(3)


@pytest.mark.parametrize("wanted", [10.0, 25.0])
def test_noise_of_known_energy_has_that_snr(tmp_path: Path, wanted: float) -> None:
    clean = _speechlike(12, channels=2)  # longer than a block
    noise = np.random.default_rng(5).normal(0, 1, clean.shape)
    noise *= math.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-wanted / 20)

    found = _measured(
        _file(tmp_path / "a.mkv", clean),
        _file(tmp_path / "b.mkv", (clean + noise).astype(np.float32)),
    )

    assert found.snr_db == pytest.approx(wanted, abs=0.01)


def test_more_noise_has_a_greater_noise_to_mask_ratio(tmp_path: Path) -> None:
    clean = _speechlike(3)
    noise = np.random.default_rng(5).normal(0, 0.002, clean.shape).astype(np.float32)
    path = _file(tmp_path / "a.mkv", clean)

    soft = _measured(path, _file(tmp_path / "b.mkv", clean + noise)).nmr_db
    loud = _measured(path, _file(tmp_path / "c.mkv", clean + 4 * noise)).nmr_db

    assert soft is not None
    assert loud is not None
    assert loud == pytest.approx(soft + 20 * math.log10(4), abs=0.5)


@pytest.mark.parametrize("loudness", [1, 0.01])
def test_noise_to_mask_is_what_it_was_when_the_sound_was_protected(
    tmp_path: Path, loudness: float
) -> None:
    clean = voice(12, RATE) * np.float32(loudness)  # longer than a block
    masker = TrackMasker(RATE, 1, AudioLevel.WEAK)
    changed = np.concatenate([masker.push(clean), masker.finish()], axis=1)

    found = _measured(_file(tmp_path / "a.mkv", clean), _file(tmp_path / "b.mkv", changed))

    assert found.nmr_db == pytest.approx(masker.summary.nmr_db, abs=0.3)


def test_all_channels_count(tmp_path: Path) -> None:
    clean = _speechlike(2, channels=2)
    one_sided = clean.copy()
    one_sided[1] *= 0.9

    found = _measured(_file(tmp_path / "a.mkv", clean), _file(tmp_path / "b.mkv", one_sided))

    signal, noise = np.sum(clean**2), np.sum((0.1 * clean[1]) ** 2)
    assert found.snr_db == pytest.approx(10 * math.log10(signal / noise), abs=0.01)


def test_silence_has_no_snr(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.mkv", np.zeros((1, RATE), np.float32))

    assert _measured(path, path).snr_db is None


def test_a_sample_that_is_no_number_is_measured_as_silence(tmp_path: Path) -> None:
    clean = _speechlike(3)
    broken = clean.copy()
    broken[0, RATE] = np.nan
    path = _file(tmp_path / "a.mkv", broken)

    assert _measured(path, path).snr_db == EQUAL_DB
    found = _measured(path, _file(tmp_path / "b.mkv", clean))
    assert found.snr_db is not None
    assert 30 < found.snr_db < EQUAL_DB


def test_sound_is_aligned_by_its_timestamps(tmp_path: Path) -> None:
    """The second file begins 100 ms later and lacks the first 100 ms."""
    clean = _speechlike(2)

    found = _measured(
        _file(tmp_path / "a.mkv", clean), _file(tmp_path / "b.mkv", clean[:, 4800:], first=4800)
    )

    assert found.snr_db == EQUAL_DB
    assert found.seconds == pytest.approx(1.9)


def test_a_shift_that_timestamps_deny_ruins_the_snr(tmp_path: Path) -> None:
    clean = _speechlike(2)

    found = _measured(_file(tmp_path / "a.mkv", clean), _file(tmp_path / "b.mkv", clean[:, 4800:]))

    assert found.snr_db is not None
    assert found.snr_db < 3


@pytest.mark.parametrize("late", [-40, 17])
def test_what_the_container_rounded_away_is_found_and_told(tmp_path: Path, late: int) -> None:
    clean = _speechlike(2)
    moved = clean[:, 40:-40], np.roll(clean, late, axis=1)[:, 40:-40]

    found = _measured(_file(tmp_path / "a.mkv", moved[0]), _file(tmp_path / "b.mkv", moved[1]))

    assert found.shift_ms == pytest.approx(1000 * late / RATE)
    assert found.snr_db == EQUAL_DB


def test_a_shift_is_looked_for_where_the_sound_is_loudest(tmp_path: Path) -> None:
    clean = np.hstack([np.zeros((1, 4 * RATE), np.float32), _speechlike(2)])

    found = _measured(
        _file(tmp_path / "a.mkv", clean), _file(tmp_path / "b.mkv", np.roll(clean, 17, axis=1))
    )

    assert found.shift_ms == pytest.approx(1000 * 17 / RATE)
    assert found.snr_db == EQUAL_DB


def test_a_gap_in_the_sound_is_silence(tmp_path: Path) -> None:
    """Longer than a second, which is as much of it as is made at once."""
    clean = _speechlike(4, channels=2)
    gap = 48000, 48000 + 72000
    silenced = clean.copy()
    silenced[:, gap[0] : gap[1]] = 0

    found = _measured(
        _file(tmp_path / "a.mkv", silenced), _file(tmp_path / "b.mkv", clean, gap=gap)
    )

    assert found.seconds == pytest.approx(4)
    assert found.shift_ms == 0
    assert found.snr_db == EQUAL_DB


def test_no_noise_to_mask_ratio_is_told_at_a_rate_that_no_ear_was_modelled_at(
    tmp_path: Path,
) -> None:
    clean = _speechlike(1)
    path = _file(tmp_path / "a.mkv", clean, rate=4000)

    found = _measured(path, _file(tmp_path / "b.mkv", 0.9 * clean, rate=4000))

    assert found.nmr_db is None
    assert found.snr_db == pytest.approx(20, abs=0.1)


def test_aac_in_mp4_lies_where_the_original_does(tmp_path: Path) -> None:
    clean = _speechlike(3)

    found = _measured(
        _file(tmp_path / "a.mkv", clean), _file(tmp_path / "b.mp4", clean, codec="aac")
    )

    assert found.shift_ms == 0
    assert found.snr_db is not None
    assert found.snr_db > 12


def test_another_sample_rate_is_resampled(tmp_path: Path) -> None:
    clean = _speechlike(3)

    found = _measured(
        _file(tmp_path / "a.mkv", clean), _file(tmp_path / "b.mkv", clean, rate=32000)
    )

    assert found.snr_db is not None
    assert found.snr_db > 35


def test_a_recording_that_changes_its_rate_stays_aligned(tmp_path: Path) -> None:
    original = _of_rates(tmp_path / "a.mkv", (48000, 32000, 48000))
    with av.open(str(original)) as container:
        frames = list(container.decode(audio=0))
    first = round(frames[0].time * RATE)  # behind the codec's priming
    # Each stretch of one rate by itself, to its last sample.
    stretches = [_at_one_rate(list(group)) for _, group in groupby(frames, lambda f: f.sample_rate)]
    assert len(stretches) == 3

    found = _measured(original, _file(tmp_path / "b.mkv", np.hstack(stretches), first=first))

    assert found.shift_ms == 0
    assert found.snr_db is not None
    assert found.snr_db > 60


def test_a_change_of_rate_is_noticed_behind_sound_that_needed_no_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyAV's resampler hands through what has its own format, and then looks at no frame more."""
    path = _file(tmp_path / "a.mkv", _speechlike(1))
    info = probe(path, Limits())
    blocks = [_speechlike(0.5)[:, : rate // 2] for rate in (RATE, RATE // 2)]
    frames = []
    for rate, samples in zip((RATE, RATE // 2), blocks, strict=True):
        frames.append(av.AudioFrame.from_ndarray(samples, "flt", "mono"))
        frames[-1].sample_rate = rate
    monkeypatch.setattr(soundpair, "_frames", lambda source: iter(frames))

    track = replace(info.audio[0], layout="mono")
    decoded = soundpair._decoded(SoundSource(info, track, Fraction(0)), RATE)

    samples = np.concatenate([piece for _, piece in decoded], axis=1)
    assert samples.shape[1] == pytest.approx(RATE, abs=2)
    assert np.array_equal(samples[:, : RATE // 2], blocks[0])


def _of_rates(path: Path, rates: Sequence[int]) -> Path:
    """Five pictures, and one track of AC-3 that has each of the rates for 0.48 s."""
    with av.open(str(path), "w") as output:
        video: Any = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sound: Any = output.add_stream("ac3", rate=rates[0], layout="mono")
        for index in range(5):
            picture = av.VideoFrame(32, 32, "yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        for number, rate in enumerate(rates):
            encoder: Any = av.CodecContext.create("ac3", "w")
            encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", "fltp"
            samples = _speechlike(0.48, seed=number)[:, : rate * 48 // 100]
            block = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
            packets = [*encoder.encode(block), *encoder.encode(None)]
            # The last is the encoder's filling-up.
            for index, packet in enumerate(packets[: rate * 48 // 100 // 1536]):
                packet.stream, packet.time_base = sound, Fraction(1, 1000)
                packet.pts = packet.dts = number * 480 + round(index * 1_536_000 / rate)
                output.mux(packet)
    return path


def _at_one_rate(frames: Sequence[av.AudioFrame]) -> NDArray[np.float32]:
    """Return (1, n) at RATE of frames that have one rate."""
    convert = av.AudioResampler("fltp", "mono", RATE)
    blocks = []
    for frame in frames:
        frame.pts = None
        blocks += convert.resample(frame)
    blocks += convert.resample(None)
    return np.concatenate([b.to_ndarray() for b in blocks], axis=1).astype(np.float32)


def test_other_channels_are_compared_by_their_mean(tmp_path: Path) -> None:
    mono = _speechlike(2)
    stereo = np.concatenate([mono, mono])

    found = _measured(_file(tmp_path / "a.mkv", mono), _file(tmp_path / "b.mkv", stereo))

    assert found.snr_db is not None
    assert found.snr_db > 40


def test_damaged_sound_is_measured_as_far_as_it_goes(tmp_path: Path) -> None:
    clean = _speechlike(4)
    original = _file(tmp_path / "a.mkv", clean)
    damaged = _file(tmp_path / "b.mkv", clean)
    data = bytearray(damaged.read_bytes())
    damaged.write_bytes(data[: len(data) * 3 // 4])

    found = _measured(original, damaged)

    assert 2 < found.seconds < 4
    assert found.snr_db == EQUAL_DB


def test_sound_longer_than_allowed_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.mkv", _speechlike(2))

    with pytest.raises(LimitExceeded, match="max_duration_h"):
        _measured(path, path, Limits(max_duration_h=1 / 3600))


def test_the_best_shift_of_a_periodic_sound_is_the_least() -> None:
    tone = np.sin(np.arange(4800) * 2 * np.pi / 48)

    assert best_shift(tone, tone, 96) == 0


def test_too_little_sound_is_not_shifted() -> None:
    assert best_shift(np.ones(10), np.ones(10), 20) == 0
