"""Where the eye misses a change: in texture; where it does not: on flat ground and its rims."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.stripes import gaussian_blur
from pipeline.visibility import band_contrast, largest_change

STRENGTH = 0.12
Levels = NDArray[np.float32]
# Pictures are of the size that constants are in; bounds have half of it, and so have indices here.
HEIGHT, WIDTH = 256, 320
GREY = np.full((HEIGHT // 2, WIDTH // 2), 128.0, np.float32)


def flat(level: float = 120.0) -> torch.Tensor:
    return torch.full((HEIGHT, WIDTH), level)


def texture(amplitude: float) -> torch.Tensor:
    noise = torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    return flat() + amplitude * gaussian_blur(noise[None], 1.3)[0]


def half_textured() -> torch.Tensor:
    picture = texture(60.0)
    picture[:, :160] = 120.0
    return picture


def lone_edge() -> torch.Tensor:
    picture = flat(60.0)
    picture[:, 160:] = 190.0
    return picture


def bound(luma: torch.Tensor, strength: float = STRENGTH, colour: Levels = GREY) -> Levels:
    picture = luma.round().clamp(0, 255).to(torch.uint8).numpy()
    return largest_change(picture, (colour, colour), strength)


@pytest.mark.parametrize("level", [0.0, 16.0, 128.0, 255.0])
def test_flat_pictures_bear_about_one_level(level: float) -> None:
    borne = bound(flat(level))
    assert np.isfinite(borne).all()
    assert borne.min() > 0.0
    assert borne.max() < 1.0


def test_texture_bears_several_times_what_flat_ground_beside_it_does() -> None:
    luma = bound(half_textured())
    assert luma[:, 95:].mean() > 4.0
    assert luma[:, :65].mean() < 0.5


def test_stronger_texture_bears_more() -> None:
    picture = texture(25.0)
    picture[:, 160:] = texture(60.0)[:, 160:]
    luma = bound(picture)
    assert luma[:, 95:].mean() > 1.25 * luma[:, :65].mean()


def test_a_lone_edge_opens_no_fringe() -> None:
    luma = bound(lone_edge())
    for column in (72, 74, 86, 88):
        assert luma[64, column] < 2.0


def test_flat_ground_beside_a_strong_texture_stays_clean() -> None:
    """As of the sky beside a house; the band's own energy reaches 8 pixels into it."""
    assert bound(half_textured())[:, 74:77].mean() < 0.3


def test_bound_grows_with_strength_up_to_the_cap() -> None:
    picture = texture(50.0)
    weak, strong = (float(bound(picture, strength).mean()) for strength in (0.06, 0.12))
    assert strong == pytest.approx(2 * weak, rel=0.01)
    assert np.array_equal(bound(picture, 0.35), bound(picture, 0.4))


def test_above_the_default_bound_grows_faster_than_strength() -> None:
    picture = texture(50.0)
    default, strong, stronger = (
        float(bound(picture, strength).mean()) for strength in (0.12, 0.20, 0.24)
    )
    assert strong == pytest.approx(2.17 * default, rel=0.01)
    assert stronger == pytest.approx(2.76 * default, rel=0.01)


def test_a_lone_object_s_bound_is_two_amplitudes_at_most() -> None:
    picture = flat()
    picture[120:180, 120:180] = texture(200.0)[120:180, 120:180]
    most = 2.0 * 86.0 * STRENGTH
    assert 0.9 * most < bound(picture).max() <= most


def test_no_texture_shows_its_change_more_than_others() -> None:
    """As a lawn did beside a brick wall; what is seen is the change's square over the contrast."""
    seen = []
    for amplitude, columns in [(4.0, 320), (15.0, 320), (40.0, 320), (100.0, 320), (25.0, 80)]:
        picture = texture(amplitude)
        picture[:, columns:] = 120.0
        borne = bound(picture)
        contrast = cv2.resize(band_contrast(picture.numpy()), borne.shape[::-1])
        seen.append(float(np.sqrt(np.mean((borne**2 / contrast) ** 2))))
    assert max(seen) < 1.2 * min(seen)


def test_colour_hides_change_as_much_again_as_luma_does_at_most() -> None:
    noise = np.random.default_rng(0).normal(size=GREY.shape).astype(np.float32)
    picture = texture(25.0)
    grey, weak, strong, stronger = (
        float(bound(picture, colour=GREY + deviation * noise).mean())
        for deviation in (0.0, 1.0, 30.0, 60.0)
    )
    assert grey < weak < 0.97 * strong
    assert strong == pytest.approx(stronger, rel=0.01)
    assert strong < math.sqrt(2) * grey


@pytest.mark.parametrize(("level", "share"), [(16.0, 0.5), (43.0, 0.75), (70.0, 1.0), (200.0, 1.0)])
def test_dark_ground_bears_less_than_light(level: float, share: float) -> None:
    fine = (texture(8.0) - 120.0).clamp(-16.0, 16.0)
    light = bound(120.0 + fine).mean()
    assert bound(level + fine).mean() == pytest.approx(share * light, rel=0.03)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (32, 400), (160, 284)])
def test_any_flow_picture_gets_a_finite_bound(size: tuple[int, int]) -> None:
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    for picture in (np.zeros(size, np.uint8), np.full(size, 255, np.uint8)):
        borne = largest_change(picture, (np.zeros(half, np.float32),) * 2, STRENGTH)
        assert borne.shape == half
        assert np.isfinite(borne).all()
        assert borne.min() > 0.0
