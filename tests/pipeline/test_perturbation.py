"""Gradient steps: further from the original in the surrogate's eyes, never beyond the limit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.perturbation import likeness, project, refine
from pipeline.surrogate import Surrogates, load_surrogates
from pipeline.transforms import draw_view
from tests.pipeline.networks import picture, settings_for, state_dict, torchscript


@pytest.fixture(scope="module")
def surrogates(tmp_path_factory: pytest.TempPathFactory) -> Surrogates:
    file = torchscript(tmp_path_factory.mktemp("networks") / "small.pt")
    loaded = load_surrogates(settings_for("small", file))
    assert loaded is not None
    return loaded


def start(seed: int = 0, height: int = 96, width: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """Return pattern, frame and limit."""
    generator = torch.Generator().manual_seed(seed)
    limit = 2 + 6 * torch.rand(1, height, width, generator=generator)
    signs = torch.randint(0, 2, (3, height, width), generator=generator) * 2.0 - 1
    return signs * limit, picture(height, width), limit


def seen_alike(change: Tensor, frame: Tensor, surrogates: Surrogates) -> float:
    generator = torch.Generator().manual_seed(99)
    views = [draw_view(generator) for _ in range(16)]
    with torch.no_grad():
        return likeness(change, frame, surrogates.networks[0], views).item()


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_features_drift_further_than_where_it_started(surrogates: Surrogates) -> None:
    pattern, frame, limit = start()
    refined = refine(pattern, frame, limit, surrogates, 6, generator())
    before = 1 - seen_alike(pattern, frame, surrogates)
    after = 1 - seen_alike(refined, frame, surrogates)
    assert after > 2 * before


def test_a_torchvision_network_drifts_too(tmp_path: Path) -> None:
    file = state_dict(tmp_path / "weights.pth", "mobilenet_v3_small")
    loaded = load_surrogates(settings_for("mobilenet_v3_small", file))
    assert loaded is not None
    pattern, frame, limit = start()
    refined = refine(pattern, frame, limit, loaded, 3, generator())
    assert seen_alike(refined, frame, loaded) < seen_alike(pattern, frame, loaded)


def test_no_sample_goes_beyond_its_limit(surrogates: Surrogates) -> None:
    pattern, frame, limit = start()
    for bound in (limit, limit.expand(3, -1, -1) * torch.tensor([1.0, 0.3, 0.0]).view(3, 1, 1)):
        refined = refine(3 * pattern, frame, bound, surrogates, 2, generator())
        assert refined.shape == pattern.shape
        assert (refined.abs() <= bound).all()
        assert not refined.requires_grad


def test_one_seed_gives_one_result(surrogates: Surrogates) -> None:
    pattern, frame, limit = start()
    state = torch.random.get_rng_state()
    first, again, other = (
        refine(pattern, frame, limit, surrogates, 2, generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_warm_start_goes_further_than_a_cold_one_in_as_many_steps(
    surrogates: Surrogates,
) -> None:
    pattern, frame, limit = start()
    warm = refine(pattern, frame, limit, surrogates, 8, generator(5))
    again = refine(warm, frame, limit, surrogates, 3, generator(6))
    cold = refine(pattern, frame, limit, surrogates, 3, generator(6))
    assert seen_alike(again, frame, surrogates) < seen_alike(cold, frame, surrogates)


def test_projection_is_idempotent() -> None:
    pattern, _, limit = start()
    once = project(5 * pattern, limit)
    assert torch.equal(project(once, limit), once)
    assert torch.equal(project(0.5 * pattern, limit), 0.5 * pattern)


def test_a_flat_picture_does_no_harm(surrogates: Surrogates) -> None:
    frame = torch.full((3, 64, 64), 128.0)
    limit = torch.full((1, 64, 64), 0.01)
    refined = refine(torch.zeros(3, 64, 64), frame, limit, surrogates, 2, generator())
    assert torch.isfinite(refined).all()
