"""Directions along which recognisers that the operator names find something else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.audio import TrackMasker
from pipeline.generator import GeneratedDirections
from pipeline.gradient import Change, GradientDirections
from pipeline.masking import OVERLAP, hearing_model
from pipeline.misleading import Directions, Stretch
from pipeline.parameters import AudioLevel
from pipeline.recognisers import Recogniser, Recognisers, likeness
from pipeline.speech import RATE
from tests.pipeline.noise_ratios import noise_to_mask
from tests.pipeline.voices import voice

Samples = NDArray[np.float32]

MODEL = hearing_model(RATE)
CPU = torch.device("cpu")


class Listener(nn.Module):
    """A filter bank and a layer of random weights: what the first layers of a recogniser do."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.kernel = torch.randn(48, 1, 400, generator=generator) / 20
        self.mix = torch.randn(48, 24, generator=generator)

    def forward(self, sound: Tensor) -> Tensor:
        bands = F.conv1d(sound[:, None], self.kernel, stride=160)
        loudness = F.avg_pool1d(bands.square(), 3, 1).clamp(min=1e-8).log()
        return torch.relu((loudness - loudness.mean()).mT @ self.mix)


def recognisers(*seeds: int) -> Recognisers:
    networks = tuple(Recogniser(f"listener{seed}", Listener(seed)) for seed in seeds)
    return Recognisers(networks, CPU)


def stretch(samples: Samples) -> Stretch:
    windows = samples.shape[1] // MODEL.hop - OVERLAP + 1
    openness = np.ones(windows, np.float32)
    openness[: GradientDirections.reach] = openness[-GradientDirections.reach :] = 0
    return Stretch(samples, openness, 1.0)


def directions(asked: Recognisers, samples: Samples) -> Directions:
    return GradientDirections(asked, 0.0, 0.02, 8.0)(stretch(samples))


def alike(network: Recogniser, samples: Samples, found: Directions) -> float:
    """Return how alike a recogniser finds a stretch that is changed along some directions."""
    change = Change(stretch(samples), 1.0, (0.98, 7.0), CPU)
    reach = GradientDirections.reach
    with torch.no_grad():
        after = change(F.pad(torch.from_numpy(found), (0, 0, reach, reach)))
        features = [network.features(each) for each in (change.sound, after)]
    return float(likeness(*features, torch.ones(len(features[0]))))


def test_there_is_a_direction_for_each_window_and_band_but_the_context() -> None:
    samples = voice(4, RATE)
    found = directions(recognisers(1), samples)
    windows = samples.shape[1] // MODEL.hop - OVERLAP + 1
    assert found.shape == (windows - 2 * GradientDirections.reach, MODEL.bands)
    assert found.dtype == np.float32
    assert np.abs(found).max() <= 1


def test_they_start_from_what_the_small_network_says_and_leave_it() -> None:
    samples = voice(4, RATE)
    found = directions(recognisers(1), samples)
    skipped = GradientDirections.reach - GeneratedDirections.reach
    generated = GeneratedDirections()(stretch(samples))[skipped:-skipped]
    assert np.corrcoef(found.ravel(), generated.ravel())[0, 1] > 0.1
    assert np.abs(found - generated).mean() > 0.2


def test_a_recogniser_that_is_named_finds_speech_less_alike_than_by_chance() -> None:
    samples, asked = voice(4, RATE), recognisers(1)
    found = directions(asked, samples)
    chance = np.random.default_rng(1).permutation(found.ravel()).reshape(found.shape)
    network = asked.networks[0]
    assert 1 - alike(network, samples, found) > 2 * (1 - alike(network, samples, chance))


def test_all_that_are_named_are_asked() -> None:
    samples, first, both = voice(4, RATE), recognisers(1), recognisers(1, 2)
    by_both, by_first = (directions(asked, samples) for asked in (both, first))
    second = both.networks[1]
    assert 1 - alike(second, samples, by_both) > 1.2 * (1 - alike(second, samples, by_first))


@pytest.mark.parametrize("level", [AudioLevel.WEAK, AudioLevel.MEDIUM, AudioLevel.STRONG])
def test_the_change_is_within_the_goal_of_its_level(level: AudioLevel) -> None:
    samples = voice(9, RATE)
    masker = TrackMasker(RATE, 1, level, recognisers(1))
    changed = np.concatenate([masker.push(samples), masker.finish()], axis=1)
    measured = noise_to_mask(samples, changed, RATE)
    assert measured.nmr_db is not None
    assert measured.nmr_db <= {AudioLevel.WEAK: -3, AudioLevel.MEDIUM: 0}.get(level, 5)
    assert measured.nmr_db > {AudioLevel.WEAK: -5, AudioLevel.MEDIUM: -2}.get(level, 0)


def test_stereo_at_48_khz_keeps_its_length_and_image() -> None:
    left = voice(3, 48_000)
    samples = np.concatenate([left, np.float32(0.5) * left])
    masker = TrackMasker(48_000, 2, AudioLevel.WEAK, recognisers(1))
    changed = np.concatenate([masker.push(samples), masker.finish()], axis=1)
    assert changed.shape == samples.shape
    assert (changed != samples).mean() > 0.5
    assert np.allclose(changed[1], 0.5 * changed[0], atol=1e-6)


def test_the_same_sound_gets_the_same_directions() -> None:
    samples = voice(4, RATE)
    first, second = (directions(recognisers(1), samples) for _ in range(2))
    assert (first == second).all()
