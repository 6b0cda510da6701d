"""How decoded sound becomes samples. `test_protect.py` has what comes of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.audio_plan import AudioPlan
from pipeline.media import AudioTrack
from pipeline.parameters import AudioLevel
from pipeline.sound import SoundProtector
from pipeline.timeline import JoinedClock
from tests.pipeline.voices import voice

RATE = 48_000
NOISE = np.random.default_rng(1).uniform(-1, 1, (2, 1024)).astype(np.float32)


def protector(*, is_masked: bool = False) -> SoundProtector:
    """One that masks nothing by default, so that what comes out is what was decoded."""
    track = AudioTrack(1, "aac", RATE, 2, "stereo", Fraction(1, RATE), None, 0)
    plan = AudioPlan(track, "aac", "stereo", None, is_masked)
    return SoundProtector(plan, AudioLevel.WEAK, Fraction(0), JoinedClock(()), 3600)


def protected(sound: SoundProtector, *frames: av.AudioFrame) -> NDArray[np.float32]:
    blocks = [block.samples for frame in frames for block in sound.protect(frame)]
    return np.concatenate([*blocks, *(block.samples for block in sound.finish())], axis=1)


def frame_of(samples: NDArray[np.float32], rate: int = RATE, pts: int = 0) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), pts
    return frame


def test_what_is_decoded_as_samples_is_taken_without_converting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Untouched:
        def resample(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
            assert frame is None
            return []

    sound = protector()
    monkeypatch.setattr(sound, "_new_resampler", Untouched)
    monkeypatch.setattr(sound, "_resampler", Untouched())
    assert np.array_equal(protected(sound, frame_of(NOISE)), NOISE)


def test_whole_numbers_become_samples() -> None:
    whole = np.round(NOISE.T * 32767).astype(np.int16).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="stereo")
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
    assert np.abs(protected(protector(), frame) - NOISE).max() < 1e-4


def test_another_rate_halfway_is_brought_to_the_first() -> None:
    """After it the samples are taken as they are again."""
    slow = frame_of(NOISE, RATE // 2, 512)
    samples = protected(protector(), frame_of(NOISE), slow, frame_of(NOISE, pts=3072))
    assert np.array_equal(samples[:, :1024], NOISE)
    assert np.array_equal(samples[:, -1024:], NOISE)
    assert samples.shape[1] == 4096


def test_no_sample_is_lost_where_a_recording_changes_its_rate(tmp_path: Path) -> None:
    """Nor at its end: what the resampler holds of one rate comes before the next."""
    path = joined_recordings(tmp_path / "joined.ac3", (48_000, 32_000, 44_100, 48_000, 32_000))
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    assert {frame.sample_rate for frame in frames} == {48_000, 32_000, 44_100}
    seconds = sum(Fraction(frame.samples, frame.sample_rate) for frame in frames)
    sound = protector()
    samples = protected(sound, *frames)
    assert abs(samples.shape[1] - seconds * RATE) < 2
    assert sound.samples == samples.shape[1]
    assert sound.dropped_seconds == 0


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf, 1e20, -3e38])
@pytest.mark.parametrize("is_masked", [False, True])
def test_a_sample_that_can_be_no_sound_becomes_silence_and_spoils_no_other(
    wild: float, is_masked: bool
) -> None:
    """Damaged packets decode to such; the encoder refuses all that comes with one."""
    spoken = np.repeat(voice(3, RATE), 2, axis=0)
    spoilt = spoken.copy()
    spoilt[1, RATE] = wild
    healed = spoken.copy()
    healed[1, RATE] = 0
    sound, other = protector(is_masked=is_masked), protector(is_masked=is_masked)
    assert np.array_equal(protected(sound, frame_of(spoilt)), protected(other, frame_of(healed)))
    assert (sound.wild_samples, other.wild_samples) == (1, 0)


def test_what_is_beyond_full_scale_is_sound() -> None:
    loud = NOISE * np.float32(1000)
    sound = protector()
    assert np.array_equal(protected(sound, frame_of(loud)), loud)
    assert sound.wild_samples == 0


def joined_recordings(path: Path, rates: Sequence[int]) -> Path:
    """Write one AC-3 stream of half a second of a tone at each of the rates."""
    with path.open("wb") as file:
        for rate in rates:
            piece = io.BytesIO()
            with av.open(piece, "w", format="ac3") as out:
                stream = out.add_stream("ac3", rate=rate, layout="stereo")
                tone = np.sin(2 * np.pi * 440 / rate * np.arange(rate // 2))
                samples = np.stack([0.3 * tone] * 2).astype(np.float32)
                out.mux(stream.encode(frame_of(samples, rate)))
                out.mux(stream.encode(None))
            file.write(piece.getvalue())
    return path
