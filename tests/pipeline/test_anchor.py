"""What an artist hands from one anchor to the next."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline import anchor
from pipeline.anchor import Artist
from pipeline.motion import Flow, carry, flow_size
from pipeline.network import Network
from pipeline.parameters import Parameters
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


class Recorder:
    """Stands in front of `refine` and remembers with what it was called and what it gave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.momenta: list[Tensor | None] = []
        self.results: list[tuple[Tensor, Tensor]] = []
        self._refine = anchor.refine
        monkeypatch.setattr(anchor, "refine", self)

    def __call__(self, *arguments: object) -> tuple[Tensor, Tensor]:
        *_, momentum = arguments
        assert momentum is None or isinstance(momentum, Tensor)
        self.momenta.append(None if momentum is None else momentum.clone())
        self.results.append(self._refine(*arguments))  # type: ignore[arg-type]
        return self.results[-1]


def test_momentum_moves_with_the_picture_and_ends_at_a_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder(monkeypatch)
    artist = Artist(HEIGHT, WIDTH, Parameters(), Settings(), surrogates(), seed=1)
    artist.begin_shot(planes())
    artist.continue_shot(planes(8), pan())
    artist.begin_shot(planes())
    first, second, third = recorder.momenta
    assert first is None
    assert third is None
    given = recorder.results[0][1].permute(1, 2, 0).contiguous().numpy()
    assert second is not None
    assert np.array_equal(second.permute(1, 2, 0).numpy(), carry(given, pan()))
