"""The carriers, the direction of structure, and stripes across it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pipeline.stripes import (
    gaussian_blur,
    make_carriers,
    scale_of,
    stripes,
    structure_angle,
    working_size,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def carriers() -> torch.Tensor:
    return make_carriers(1.0, seeded(1))


def waves(x_per_pixel: float, y_per_pixel: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    return 128 + 50 * torch.sin(x * x_per_pixel + y * y_per_pixel)


def no_displacement(luma: torch.Tensor) -> torch.Tensor:
    return torch.zeros(2, *luma.shape)


def test_same_seed_gives_the_same_carriers_and_another_seed_others(carriers: torch.Tensor) -> None:
    assert torch.equal(carriers, make_carriers(1.0, seeded(1)))
    assert not torch.allclose(carriers, make_carriers(1.0, seeded(2)), atol=0.5)


@pytest.mark.parametrize(("scale", "period"), [(1.0, 11.0), (0.5, 5.5)])
def test_a_carrier_has_the_period_of_its_scale_and_its_own_direction(
    scale: float, period: float
) -> None:
    for index, field in enumerate(make_carriers(scale, seeded(3))[:, :512, :512]):
        power = np.abs(np.fft.fft2(field.numpy())) ** 2
        y, x = np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512), indexing="ij")
        mean_frequency = (np.hypot(x, y) * power).sum() / power.sum()
        assert 1 / mean_frequency == pytest.approx(period, rel=0.1)
        doubled = np.angle((np.exp(2j * np.arctan2(y, x)) * power).sum()) % (2 * math.pi)
        away = abs(doubled - 2 * math.pi * index / 8)
        assert min(away, 2 * math.pi - away) < 0.15


def test_carriers_wrap_around_without_a_seam(carriers: torch.Tensor) -> None:
    inside = carriers[..., :512].diff(dim=-1).square().mean()
    seam = (carriers[..., 511] - carriers[..., 512]).square().mean()
    assert seam < 1.3 * inside
    assert torch.equal(carriers[..., 512], carriers[..., 0])
    assert torch.equal(carriers[..., 512, :], carriers[..., 0, :])


@pytest.mark.parametrize(
    ("wave", "direction"),
    [((0.8, 0.0), math.pi / 2), ((0.0, 0.8), 0.0), ((0.6, 0.6), 3 * math.pi / 4)],
)
def test_structure_runs_along_the_edges(wave: tuple[float, float], direction: float) -> None:
    angle = structure_angle(waves(*wave), 6.0)[20:-20, 20:-20]
    away = torch.remainder(angle - direction + math.pi / 2, math.pi) - math.pi / 2
    assert away.abs().max() < 0.05


def test_stripes_cross_the_structure(carriers: torch.Tensor) -> None:
    upright = waves(0.8, 0.0)  # edges run down, so the stripes alternate downwards
    drawn = stripes(upright, no_displacement(upright), carriers, 1.0)
    assert drawn.diff(dim=0).abs().mean() > 2 * drawn.diff(dim=1).abs().mean()


def test_stripes_are_soft(carriers: torch.Tensor) -> None:
    luma = waves(0.3, 0.5)
    drawn = stripes(luma, no_displacement(luma), carriers, 1.0)
    assert drawn.abs().max() <= 1.0
    assert (drawn.abs() > 0.99).float().mean() < 0.3
    assert drawn.abs().mean() > 0.4


def test_a_displacement_moves_the_stripes(carriers: torch.Tensor) -> None:
    luma = waves(0.8, 0.0)
    still = stripes(luma, no_displacement(luma), carriers, 1.0)
    displacement = no_displacement(luma)
    displacement[0] = 5.0
    displacement[1] = 3.0
    moved = stripes(luma, displacement, carriers, 1.0)
    reach = 5  # of the softening, which repeats the picture's edges
    inner = still[3 + reach : -reach, 5 + reach : -reach]
    assert torch.allclose(moved[reach : -3 - reach, reach : -5 - reach], inner, atol=1e-4)


def test_any_displacement_wraps(carriers: torch.Tensor) -> None:
    luma = waves(0.8, 0.0)
    far = no_displacement(luma) - 512.0 * 40
    still = stripes(luma, no_displacement(luma), carriers, 1.0)
    assert torch.allclose(stripes(luma, far, carriers, 1.0), still, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.5, 1.03, 2.0, 4.05, 6.5])
def test_blur_agrees_with_an_exact_gaussian(sigma: float) -> None:
    noise = np.random.default_rng(0).normal(size=(90, 121)).astype(np.float32)
    picture = gaussian_filter(noise, 3.0) * 100
    blurred = gaussian_blur(torch.from_numpy(picture)[None], sigma)[0].numpy()
    exact = gaussian_filter(picture, sigma, mode="nearest")
    inside = (slice(20, -20), slice(20, -20))
    assert np.abs(blurred - exact)[inside].max() < 0.05 * picture.std()


@pytest.mark.parametrize("sigma", [1.0, 3.0, 9.0])
def test_a_gradient_passes_through_a_blur_of_any_width(sigma: float) -> None:
    """As where a drawing on a face is smoothed, which of a tiny one is a wide blur."""
    leaf = torch.rand(1, 40, 56, requires_grad=True)
    gaussian_blur(leaf, sigma)[0, 20, 28].backward()
    assert leaf.grad is not None
    assert float(leaf.grad.sum()) == pytest.approx(1.0, abs=1e-3)


def test_blur_keeps_a_constant_to_the_edges() -> None:
    for sigma in (0.5, 3.0, 20.0):
        assert torch.allclose(gaussian_blur(torch.full((2, 33, 17), 7.0), sigma), torch.tensor(7.0))


@pytest.mark.parametrize(
    ("size", "working"),
    [
        ((1080, 1920), (256, 455)),
        ((1920, 1080), (455, 256)),
        ((144, 176), (144, 176)),
        ((16, 16), (16, 16)),
    ],
)
def test_working_size_is_256_lines_or_the_frame_s_own(
    size: tuple[int, int], working: tuple[int, int]
) -> None:
    assert working_size(*size) == working


def test_small_pictures_keep_a_period_of_four_pixels() -> None:
    assert scale_of(256, 455) == 1.0
    assert scale_of(16, 16) * 11 == pytest.approx(4.0)
