"""Directions: asked for in stretches, brought to each track's own windows and bands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.masking import hearing_model
from pipeline.misleading import Directed, Directions, Misleader, Stretch
from pipeline.speech import RATE

Samples = NDArray[np.float32]

BANDS = hearing_model(RATE).bands
WINDOWS = 16  # of a block


class Loudness:
    """A director that says of each window how loud it is, the same for all bands."""

    ratio_db = 0.0

    def __init__(self, blocks: int = 4, reach: int = 9) -> None:
        self.blocks, self.reach = blocks, reach
        self.asked: list[Stretch] = []

    def __call__(self, stretch: Stretch) -> Directions:
        self.asked.append(stretch)
        model = hearing_model(RATE)
        loudness = model.power(model.spectra(stretch.samples)).sum(axis=1)
        assert len(loudness) == len(stretch.openness)
        inner = loudness[self.reach : -self.reach]
        return np.repeat(inner[:, None], BANDS, axis=1).astype(np.float32)


class ByBand(Loudness):
    """Says of each band its number."""

    def __call__(self, stretch: Stretch) -> Directions:
        return np.tile(np.arange(BANDS, dtype=np.float32), (len(super().__call__(stretch)), 1))


def directed(
    samples: Samples, rate: int, director: Loudness, gate: Samples | None = None
) -> Iterator[Directed]:
    """Yield what becomes of whole blocks, pushed as `audio` pushes them; silence comes after."""
    misleader = Misleader(rate, len(samples), director)
    hop = hearing_model(rate).hop
    block = WINDOWS * hop
    count = samples.shape[1] // block
    nothing = np.zeros((len(samples), block), np.float32)
    left = count
    for number in range(count + 40):
        part = samples[:, number * block :][:, :block] if number < count else nothing
        centres = number * block + hop * (np.arange(WINDOWS) - 1)
        opened = gate[number] if gate is not None and number < count else float(number < count)
        for ready in misleader.push(part, np.full(WINDOWS, opened, np.float32), centres, 1.0):
            if left:
                yield ready
                left -= 1


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 96_000])
def test_directions_are_those_of_the_moment_at_every_rate(rate: int) -> None:
    clicks = (0.2, 0.75, 1.31)  # seconds
    samples = np.zeros((1, 2 * rate), np.float32)
    for click in clicks:
        at = round(click * rate)
        samples[:, at : at + rate // 1000] = 0.5
    hop = hearing_model(rate).hop
    found = np.concatenate([d.directions for d in directed(samples, rate, Loudness())])[:, 0]
    times = hop * (np.arange(len(found)) - 1) / rate
    for click in clicks:
        near = np.abs(times - click) < 0.1
        loudest = np.average(times[near], weights=found[near])
        assert loudest == pytest.approx(click + 0.0005, abs=0.001)


@pytest.mark.parametrize("rate", [8_001, 32_029])
def test_directions_stay_with_their_moment_at_rates_without_a_small_ratio(rate: int) -> None:
    click = 100.2  # seconds
    samples = np.zeros((1, 102 * rate), np.float32)
    at = round(click * rate)
    samples[:, at : at + rate // 1000] = 0.5
    hop = hearing_model(rate).hop
    gate = np.zeros(102 * rate // (WINDOWS * hop) + 1, np.float32)
    gate[round(99 * rate / (WINDOWS * hop)) :] = 1
    parts = directed(samples, rate, Loudness(), gate)
    nothing = np.zeros((WINDOWS, 1), np.float32)
    found = [(nothing if d.directions is None else d.directions)[:, 0] for d in parts]
    loudness = np.concatenate(found)
    times = hop * (np.arange(len(loudness)) - 1) / rate
    assert np.average(times, weights=loudness) == pytest.approx(click + 0.0005, abs=0.001)


def test_blocks_come_out_in_order_and_untouched() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (2, 64_000)).astype(np.float32)
    blocks = list(directed(samples, 16_000, Loudness()))
    joined = np.concatenate([block.samples for block in blocks], axis=1)
    assert (joined == samples[:, : joined.shape[1]]).all()
    assert joined.shape[1] > 60_000


def test_a_director_is_not_asked_about_what_nobody_says() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (1, 160_000)).astype(np.float32)
    gate = np.zeros(200, np.float32)
    gate[40:44] = 1
    director = Loudness(blocks=4)
    blocks = list(directed(samples, 16_000, director, gate))
    assert len(director.asked) == 1
    assert [number for number, b in enumerate(blocks) if b.directions is not None] == [
        *range(40, 44)
    ]


def test_a_director_is_told_where_the_gate_is_open() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (1, 32_000)).astype(np.float32)
    gate = np.zeros(200, np.float32)
    gate[2:] = 0.5
    director = Loudness(blocks=4, reach=9)
    list(directed(samples, 16_000, director, gate))
    opened = director.asked[0].openness
    assert not opened[: 9 + 2 * WINDOWS - 1].any()
    assert (opened[9 + 2 * WINDOWS + 2 : -11] == 0.5).all()
    assert not opened[-9:].any()


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_each_band_gets_the_direction_of_its_own_frequencies(rate: int) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (1, rate)).astype(np.float32)
    found = next(directed(samples, rate, ByBand())).directions
    assert found is not None
    centres, theirs = hearing_model(rate).centres, hearing_model(RATE).centres
    for band, centre in enumerate(centres):
        if centre > RATE / 2:
            assert not found[:, band].any()
        elif theirs[0] <= centre <= theirs[-1]:
            lower = int(np.searchsorted(theirs, centre, side="right")) - 1
            assert lower - 1e-4 <= found[0, band] <= lower + 1 + 1e-4


def test_what_is_behind_is_forgotten() -> None:
    misleader = Misleader(16_000, 1, Loudness())
    hop = hearing_model(16_000).hop
    block = np.zeros((1, WINDOWS * hop), np.float32)
    sizes = []
    for number in range(400):
        centres = number * WINDOWS * hop + hop * (np.arange(WINDOWS) - 1)
        list(misleader.push(block, np.ones(WINDOWS, np.float32), centres, 1.0))
        sizes.append(misleader._heard._samples.nbytes)
    assert max(sizes[200:]) <= max(sizes[:200])
