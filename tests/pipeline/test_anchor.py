"""What an artist hands from one anchor to the next."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline import anchor
from pipeline.anchor import Artist
from pipeline.motion import Flow, Layer, carry, flow_size
from pipeline.network import Network
from pipeline.parameters import Parameters
from pipeline.perturbation import Copies
from pipeline.planes import Planes
from pipeline.settings import Settings
from pipeline.surrogate import Surrogates

HEIGHT, WIDTH = 96, 128


def planes(shift: int = 0) -> Planes:
    """A textured picture, its content `shift` pixels further to the left."""
    noise = np.random.default_rng(1).integers(40, 216, (HEIGHT, WIDTH + 32), np.uint8)
    luma = np.ascontiguousarray(noise[:, shift : shift + WIDTH])
    grey = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    return Planes(luma, grey, grey.copy(), 8)


def surrogates() -> Surrogates:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 4, 5, 2)).eval()
    network = Network("small", module.requires_grad_(False), 64)
    return Surrogates((network,), torch.device("cpu"))


def pan() -> Flow:
    flow = np.zeros((*flow_size(HEIGHT, WIDTH), 2), np.float32)
    flow[..., 0] = 8.0
    return flow


def bound(level: float = 5.0) -> Layer:
    """Twice as much is borne on the right as on the left."""
    ramp = np.tile(np.linspace(1, 2, WIDTH // 2, dtype=np.float32), (HEIGHT // 2, 1))
    return level * ramp


class Recorder:
    """Stands in front of `refine` and remembers with what it was called and what it gave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.starts: list[Tensor] = []
        self.momenta: list[Tensor | None] = []
        self.steps: list[list[Copies]] = []
        self.results: list[tuple[Tensor, Tensor]] = []
        self._refine = anchor.refine
        monkeypatch.setattr(anchor, "refine", self)

    def __call__(self, *arguments: object) -> tuple[Tensor, Tensor]:
        start, _frame, _limit, _surrogates, steps, _generator, momentum = arguments
        assert isinstance(start, Tensor)
        assert momentum is None or isinstance(momentum, Tensor)
        self.starts.append(start.clone())
        assert isinstance(steps, tuple)
        self.steps.append(list(steps))
        self.momenta.append(None if momentum is None else momentum.clone())
        self.results.append(self._refine(*arguments))  # type: ignore[arg-type]
        return self.results[-1]


def test_momentum_moves_with_the_picture_and_ends_at_a_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder(monkeypatch)
    artist = Artist(HEIGHT, WIDTH, Parameters(), Settings(), surrogates(), seed=1)
    artist.begin_shot(planes(), bound())
    artist.continue_shot(planes(8), bound(), pan())
    artist.begin_shot(planes(), bound())
    first, second, third = recorder.momenta
    assert first is None
    assert third is None
    given = recorder.results[0][1].numpy()
    assert second is not None
    assert np.array_equal(second.numpy(), carry(given, pan()))


def test_a_refined_pattern_is_told_as_a_share_of_the_bound() -> None:
    artist = Artist(HEIGHT, WIDTH, Parameters(), Settings(), surrogates(), seed=1)
    pattern = artist.begin_shot(planes(), bound())
    for side in (pattern[:, : WIDTH // 2], pattern[:, WIDTH // 2 :]):
        assert 0.3 < np.abs(side).max() <= 0.84 + 1e-6


def test_an_anchor_goes_on_from_the_pattern_before_it_within_a_bound_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder(monkeypatch)
    artist = Artist(HEIGHT, WIDTH, Parameters(), Settings(), surrogates(), seed=1)
    artist.begin_shot(planes(), bound(4.0))
    artist.continue_shot(planes(8), bound(8.0), pan())
    first, _ = recorder.results[0]
    moved = carry(first.numpy() / levels(4.0), pan())
    assert np.allclose(recorder.starts[1].numpy(), moved * levels(8.0), atol=1e-4)


def test_answers_of_a_shot_s_first_anchor_and_of_some_others_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    artist = Artist(HEIGHT, WIDTH, Parameters(), Settings(), surrogates(), seed=1)
    assert artist.top1_changed is None
    top1 = Surrogates.top1

    def recorded(self: Surrogates, batch: Tensor) -> Tensor:
        asked.append(artist.anchors)
        return top1(self, batch)

    monkeypatch.setattr(Surrogates, "top1", recorded)
    for anchor_number in range(1, 18):
        if anchor_number in (1, 7):
            artist.begin_shot(planes(), bound())
        else:
            artist.continue_shot(planes(), bound(), 0 * pan())
    assert asked == [1, 5, 7, 10, 15]
    assert artist.top1_changed is not None


def test_a_shot_s_later_anchors_take_one_step_of_a_plain_or_a_shuffled_copy_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder(monkeypatch)
    artist = Artist(HEIGHT, WIDTH, Parameters(), Settings(), surrogates(), seed=1)
    artist.begin_shot(planes(), bound())
    for _ in range(6):
        artist.continue_shot(planes(), bound(), 0 * pan())
    first, *later = recorder.steps
    assert set(first) == {(1, 1)}
    assert sorted(later[:3]) == sorted(later[3:]) == [[(0, 1)], [(1, 0)], [(1, 0)]]


def test_a_large_picture_s_pattern_has_the_size_of_the_flow() -> None:
    large = Planes(*(np.repeat(np.repeat(plane, 4, 0), 4, 1) for plane in planes()), 8)
    for asked in (None, surrogates()):
        artist = Artist(4 * HEIGHT, 4 * WIDTH, Parameters(), Settings(), asked, seed=1)
        height, width = flow_size(4 * HEIGHT, 4 * WIDTH)
        flow = np.zeros((height, width, 2), np.float32)
        first = artist.begin_shot(large, bound())
        second = artist.continue_shot(large, bound(), flow)
        assert first.shape == second.shape == (height, width)


def levels(level: float) -> Layer:
    return np.asarray(cv2.resize(bound(level), (WIDTH, HEIGHT)), np.float32)
