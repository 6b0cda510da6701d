"""The training of the speech network; neither Whisper nor recordings of speech are needed."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import generator
from pipeline.generator import GeneratedDirections
from pipeline.masking import hearing_model
from pipeline.misleading import Directions, Samples, Stretch
from pipeline.speech import RATE
from tests.pipeline.voices import voice
from training.change import FRAME, analyse, evened
from training.data import LENGTH, Recording, draw, noise_below, read_recordings
from training.export import export
from training.learning import (
    Example,
    Learner,
    draw_examples,
    draw_place,
    learning_rate,
    louder_db,
)
from training.network import DILATIONS, Network

REACH = GeneratedDirections.reach
MODEL = hearing_model(RATE)
SHIPPED = Path(generator.__file__).with_name("generator.npz")


class Ear:
    """An encoder for tests: mixes the samples of each frame at random."""

    places = 5

    def __init__(self) -> None:
        mixing = torch.randn(FRAME, 16, generator=torch.Generator().manual_seed(1))
        self._mixing = mixing / FRAME**0.5
        self.asked: list[int] = []

    def __call__(self, sounds: Tensor, place: int) -> Tensor:
        self.asked.append(place)
        return torch.tanh(20 * sounds.unfold(1, FRAME, FRAME) @ self._mixing)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return [np.int16(voice(seconds, RATE, seed)[0] * 32767) for seed, seconds in ((1, 2), (2, 6))]


@pytest.fixture
def features() -> Samples:
    random = np.random.default_rng(3)
    return random.uniform(-1, 2, (2 * REACH + 40, MODEL.bands)).astype(np.float32)


def shipped() -> Network:
    network = Network()
    with np.load(SHIPPED) as file:
        assert tuple(file["dilations"]) == DILATIONS
        single = {n: torch.tensor(file[n]).float() for n in file.files if n != "dilations"}
    network.load_state_dict(single)
    return network


def in_torch(network: Network, features: Samples) -> Directions:
    """Return what the product's network would: where no zeros were made up."""
    with torch.no_grad():
        return torch.tanh(network(torch.from_numpy(features)[None]))[0, REACH:-REACH].numpy()


@pytest.fixture
def product_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield what the product reads its weights from."""
    monkeypatch.setattr(generator, "_NETWORK_FILE", tmp_path / "generator.npz")
    generator._load_network.cache_clear()
    yield tmp_path / "generator.npz"
    generator._load_network.cache_clear()


def unlike(examples: list[Example], network: Network, ear: Ear) -> float:
    return Learner(network).learn(examples, ear, 0, rate=0.0)


def test_the_product_finds_the_directions_that_were_trained() -> None:
    samples = voice(2, RATE)
    windows = (samples.shape[1] - len(MODEL.window)) // MODEL.hop + 1
    found = GeneratedDirections()(Stretch(samples, np.ones(windows, np.float32), 1.0))
    analysed = analyse(samples[0])
    before = len(MODEL.window) // MODEL.hop  # windows that begin before the sound
    same = analysed.features[before : before + windows].numpy()
    assert np.abs(found).mean() > 0.1
    np.testing.assert_allclose(found, in_torch(shipped(), same), atol=1e-3)


def test_both_networks_agree_on_anything(features: Samples) -> None:
    found = generator._load_network()(features)
    np.testing.assert_allclose(found, in_torch(shipped(), features), atol=1e-3)


def test_what_is_exported_is_what_the_product_reads(features: Samples, product_file: Path) -> None:
    torch.manual_seed(4)
    network = Network()
    with torch.no_grad():  # so that each weight tells
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    export(network, product_file)
    found = generator._load_network()(features)
    expected = in_torch(network, features)
    assert expected.std() > 0.3
    # Half precision rounds the weights.
    assert np.abs(found - expected).mean() < 0.01


def test_the_product_s_file_is_as_export_writes_it(tmp_path: Path) -> None:
    export(shipped(), tmp_path / "again.npz")
    with np.load(SHIPPED) as old, np.load(tmp_path / "again.npz") as new:
        assert sorted(old.files) == sorted(new.files)
        for name in old.files:
            assert old[name].dtype == new[name].dtype, name
            np.testing.assert_array_equal(old[name], new[name], name)


def test_recordings_are_read_where_somebody_speaks(tmp_path: Path) -> None:
    folder = tmp_path / "music" / "sounds"  # what leads to the sound says nothing of it
    (folder / "silence").mkdir(parents=True)
    said = np.int16(voice(2, RATE)[0] * 32767)
    for name, samples, rate in (
        ("hello.wav", said, RATE),
        ("telephone.wav", said[::2], RATE // 2),
        ("beep.wav", said, RATE),
        ("silence/1.wav", said, RATE),
        ("short.wav", said[: RATE // 2], RATE),
        ("quiet.wav", said // 100, RATE),
    ):
        with wave.open(str(folder / name), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    (folder / "readme.txt").write_text("no sound")
    hello, telephone = read_recordings([folder])
    np.testing.assert_array_equal(hello, said)
    assert abs(len(telephone) - len(said)) < 50


def test_what_is_drawn_has_one_length_and_a_sensible_level(recordings: list[Recording]) -> None:
    random = np.random.default_rng(5)
    drawn = [draw(recordings, random) for _ in range(60)]
    peaks = [np.abs(sound).max() for sound in drawn]
    assert {(sound.shape, sound.dtype.name) for sound in drawn} == {((LENGTH,), "float32")}
    assert 0.02 < min(peaks) < 0.2
    assert 0.7 < max(peaks) < 3
    assert len(set(peaks)) == len(peaks)


def test_a_recording_of_silence_passes(recordings: list[Recording]) -> None:
    random = np.random.default_rng(6)
    network, ear = Network(), Ear()
    examples = draw_examples([np.zeros(3 * RATE, np.int16)], 0, 0, random)
    assert unlike(examples, network, ear) == 0
    Learner(network).learn(examples, ear, 0, rate=1e-3)
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_noise_is_as_weak_as_it_is_told_to_be(recordings: list[Recording]) -> None:
    random = np.random.default_rng(7)
    sound = draw(recordings, random)
    noise = noise_below(sound, 20, 20, random)
    assert noise.shape == sound.shape
    assert 20 * np.log10(sound.std() / noise.std()) == pytest.approx(20, abs=1e-3)


def test_the_mean_strength_of_directions_gains_nothing(recordings: list[Recording]) -> None:
    sound = analyse(draw(recordings, np.random.default_rng(8)))
    some = torch.randn(sound.features.shape, generator=torch.Generator().manual_seed(9)) / 4
    torch.testing.assert_close(evened(some, sound.spoken), evened(3 * some, sound.spoken))
    even = evened(torch.sign(some) / 7, sound.spoken)
    torch.testing.assert_close(even, torch.sign(some))
    assert evened(some, sound.spoken).abs().max() <= 2


def test_a_band_is_raised_by_what_is_masked_and_lowered_by_less_than_all() -> None:
    samples = voice(2, RATE)[0]
    sound = analyse(samples)
    directions = torch.ones(sound.features.shape)
    torch.testing.assert_close(sound.changed(0 * directions, 1.0), sound.samples)
    whole = torch.fft.rfft(sound.samples).abs()
    heard = slice(400, 12_000)  # bins: 200 to 6000 Hz
    for direction, strength, gain in ((1, 1e9, 8.0), (-1, 1e9, 0.02)):
        changed = sound.changed(direction * directions, strength)
        found = torch.fft.rfft(changed).abs()[heard].norm() / whole[heard].norm()
        assert float(found) == pytest.approx(gain, rel=0.02)
    weak, strong = ((sound.changed(directions, s) - sound.samples).std() for s in (1e-4, 4e-4))
    assert float(strong / weak) == pytest.approx(2, rel=0.01)


def test_learning_makes_sounds_less_alike_to_an_encoder(recordings: list[Recording]) -> None:
    torch.manual_seed(10)
    random = np.random.default_rng(11)
    network, ear = Network(), Ear()
    learner = Learner(network)
    examples = draw_examples(recordings, 0, 6, random)
    before = unlike(examples, network, ear)
    for _ in range(6):
        learner.learn(examples, ear, 3, rate=1e-3)
    assert ear.asked == [0] * 2 + [3] * 12  # of each sound before and after
    assert unlike(examples, network, ear) > 1.2 * before > 0


def test_sounds_begin_anywhere_that_an_encoder_has_and_often_at_its_start() -> None:
    random = np.random.default_rng(12)
    places = [draw_place(Ear(), random) for _ in range(200)]
    assert set(places) == set(range(Ear.places))
    assert places.count(0) > 60


def test_the_rate_of_learning_rises_shortly_and_falls_to_nearly_nothing() -> None:
    assert learning_rate(0, 0.0) == 0
    assert learning_rate(50, 0.0) == pytest.approx(0.75e-3)
    assert learning_rate(100, 0.0) == pytest.approx(1.5e-3)
    assert learning_rate(5000, 0.5) == pytest.approx(0.51 * 1.5e-3)
    assert learning_rate(9000, 1.0) == pytest.approx(0.03e-3)


def test_a_fresh_network_is_first_shown_strong_changes() -> None:
    assert [louder_db(share) for share in (0, 0.2, 0.4, 1)] == pytest.approx([6, 3, 0, 0])
