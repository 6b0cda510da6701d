"""Where somebody speaks: the network against its publisher's own, and the gate on top."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.speech import CHUNK, RATE, Resampler, SpeechGate, SpeechNetwork
from tests.pipeline.voices import chords, drums, voice

RATES = (8_000, 11_025, 16_000, 44_100, 48_000, 192_000)


def _gate_of(samples: np.ndarray, rate: int, block: int = 4_000) -> np.ndarray:
    """Return the gate every 10 ms, for a (channels, n) track."""
    gate = SpeechGate(rate, samples.shape[0])
    tail = np.zeros((samples.shape[0], rate), np.float32)
    whole = np.concatenate([samples, tail], axis=1)
    for start in range(0, whole.shape[1], block):
        gate.push(whole[:, start : start + block])
    return gate.openness(np.arange(0, samples.shape[1], rate // 100))


def test_the_network_answers_as_its_publisher_s_own() -> None:
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad

    torch.set_num_threads(threads)
    published = load_silero_vad()
    samples = np.concatenate([voice(2, 16_000), drums(1, 16_000), voice(1, 16_000, seed=4)], axis=1)
    samples = samples[:, : samples.shape[1] // CHUNK * CHUNK]
    chunks = torch.from_numpy(samples).split(CHUNK, dim=1)
    expected = [published(chunk, 16_000).item() for chunk in chunks]
    answers = SpeechNetwork(1).probabilities(samples)[0]
    assert max(expected) > 0.9
    assert min(expected) < 0.1
    assert np.abs(answers - expected).max() < 1e-4


def test_channels_are_heard_apart() -> None:
    both = np.concatenate([voice(2, 16_000), drums(2, 16_000)])[:, : 62 * CHUNK]
    together = SpeechNetwork(2).probabilities(both)
    for channel in (0, 1):
        alone = SpeechNetwork(1).probabilities(both[channel : channel + 1])
        assert np.abs(together[channel] - alone[0]).max() < 1e-4


def test_loading_leaves_the_thread_count_of_torch_alone() -> None:
    before = torch.get_num_threads()
    SpeechNetwork(1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("rate", RATES)
def test_a_voice_opens_the_gate_at_every_rate(rate: int) -> None:
    assert _gate_of(voice(3, rate), rate)[30:].mean() > 0.9


@pytest.mark.parametrize("sound", [drums, chords])
def test_music_keeps_the_gate_shut(sound: Callable[[float, int], np.ndarray]) -> None:
    assert _gate_of(sound(4, 48_000), 48_000).max() == 0


def test_the_gate_opens_before_the_voice_and_closes_softly_after() -> None:
    rate = 16_000
    quiet = np.zeros((1, rate), np.float32)
    gate = _gate_of(np.concatenate([quiet, voice(2, rate), quiet, quiet], axis=1), rate)
    assert gate[:70].max() == 0
    assert gate[105] > 0.9
    assert gate[400:].max() == 0
    assert np.abs(np.diff(gate)).max() < 0.12  # in 10 ms


def test_a_voice_in_one_channel_of_six_is_heard_under_music() -> None:
    rate = 48_000
    music = np.repeat(chords(3, rate) + drums(3, rate), 6, axis=0)
    music[2] = voice(3, rate)[0]
    assert _gate_of(music, rate)[50:].mean() > 0.9


def test_the_gate_does_not_mind_how_the_sound_is_cut() -> None:
    samples = voice(2, 44_100)
    whole, pieces = _gate_of(samples, 44_100, 10**6), _gate_of(samples, 44_100, 777)
    assert np.abs(whole - pieces).max() < 1e-5


def test_a_moment_not_yet_known_is_refused() -> None:
    gate = SpeechGate(16_000, 1)
    gate.push(np.zeros((1, 8_000), np.float32))
    with pytest.raises(ValueError, match="known until"):
        gate.openness(np.array([8_000]))


@pytest.mark.parametrize("rate", RATES)
def test_resampling_shifts_nothing(rate: int) -> None:
    resampler = Resampler(rate, 1)
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)[None]
    pieces = [resampler.push(tone[:, start : start + 1_001]) for start in range(0, rate, 1_001)]
    resampled = np.concatenate(pieces, axis=1)[0]
    expected = np.sin(2 * np.pi * 440 * np.arange(len(resampled)) / RATE)
    assert len(resampled) > 0.9 * RATE
    assert np.abs(resampled - expected)[200:].max() < 0.02
