"""Where the eye misses a change: in texture; where it does not: on flat ground and its rims."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.stripes import gaussian_blur
from pipeline.visibility import largest_change

STRENGTH = 0.12
Levels = NDArray[np.float32]
# Pictures are of the size that constants are in; bounds have half of it, and so have indices here.
HEIGHT, WIDTH = 256, 320


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


def colourful(height: int = HEIGHT // 2, width: int = WIDTH // 2) -> Levels:
    """Return Cb and Cr that leave colour its whole bound: many, about turquoise."""
    return coloured(140, 112, height, width)


def coloured(blue: float, red: float, height: int = HEIGHT // 2, width: int = WIDTH // 2) -> Levels:
    """Return Cb and Cr about a mean, with as much contrast as leaves them their whole bound."""
    noise = np.random.default_rng(0).normal(size=(2, height, width))
    return (np.array((blue, red))[:, None, None] + 8 * noise).astype(np.float32)


def bound(luma: torch.Tensor, strength: float = STRENGTH) -> tuple[Levels, Levels]:
    picture = luma.round().clamp(0, 255).to(torch.uint8).numpy()
    return largest_change(picture, colourful(), strength)


def in_colours(colours: Levels) -> Levels:
    """Return which share of colour's bound these colours leave."""
    picture = texture(50.0).round().clamp(0, 255).to(torch.uint8).numpy()
    _, whole = largest_change(picture, colourful(), STRENGTH)
    return largest_change(picture, colours, STRENGTH)[1] / whole


@pytest.mark.parametrize("level", [0.0, 16.0, 128.0, 255.0])
def test_flat_pictures_bear_about_one_level(level: float) -> None:
    for plane in bound(flat(level)):
        assert np.isfinite(plane).all()
        assert plane.min() > 0.0
        assert plane.max() < 1.0


def test_texture_bears_several_times_what_flat_ground_beside_it_does() -> None:
    luma, _ = bound(half_textured())
    assert luma[:, 95:].mean() > 4.0
    assert luma[:, :65].mean() < 0.5


def test_stronger_texture_bears_more() -> None:
    picture = texture(25.0)
    picture[:, 160:] = texture(60.0)[:, 160:]
    luma, _ = bound(picture)
    assert luma[:, 95:].mean() > 1.25 * luma[:, :65].mean()


def test_colour_s_bound_grows_faster_than_luma_s() -> None:
    """So smooth skin gets little of it."""
    picture = texture(25.0)
    picture[:, 160:] = texture(60.0)[:, 160:]
    luma, colour = bound(picture)
    growth, colour_s = (p[:, 95:].mean() / p[:, :65].mean() for p in (luma, colour))
    assert colour_s > 1.3 * growth


def test_colour_keeps_away_from_the_flat_side_of_an_edge() -> None:
    luma, colour = bound(half_textured())
    beside = slice(76, 80)  # up to 8 pixels from the texture, on flat ground
    assert colour[:, beside].mean() < 0.45 * luma[:, beside].mean()
    assert colour[:, beside].mean() < 0.8


def test_a_lone_edge_opens_no_fringe() -> None:
    luma, colour = bound(lone_edge())
    for column in (72, 74, 86, 88):
        assert colour[64, column] < 1.0
        assert luma[64, column] < 2.0


def test_flat_ground_beside_a_strong_texture_stays_clean() -> None:
    """As of the sky beside a house; the band's own energy reaches 8 pixels into it."""
    luma, colour = bound(half_textured())
    assert luma[:, 74:77].mean() < 0.3
    assert colour[:, 74:77].mean() < 0.15


def test_bound_grows_with_strength_up_to_the_cap() -> None:
    picture = texture(50.0)
    weak, strong = (float(bound(picture, strength)[0].mean()) for strength in (0.06, 0.12))
    assert strong == pytest.approx(2 * weak, rel=0.01)
    assert np.array_equal(bound(picture, 0.35), bound(picture, 0.4))


def test_above_the_default_bound_grows_faster_than_strength() -> None:
    picture = texture(50.0)
    default, strong, stronger = (
        float(bound(picture, strength)[0].mean()) for strength in (0.12, 0.20, 0.24)
    )
    assert strong == pytest.approx(2.15 * default, rel=0.01)
    assert stronger == pytest.approx(2.72 * default, rel=0.01)


def test_a_lone_object_s_bound_is_two_amplitudes_at_most() -> None:
    picture = flat()
    picture[120:180, 120:180] = texture(200.0)[120:180, 120:180]
    luma, _ = bound(picture)
    assert luma.max() == pytest.approx(2.0 * 63.5 * STRENGTH)


def test_colour_changes_where_the_picture_has_colours_and_not_beside_them() -> None:
    """As of a white house in a colourful street."""
    colours = colourful()
    colours[:, :, :80] = np.float32([135.0, 120.0])[:, None, None]  # tinted, but evenly
    share = in_colours(colours)
    assert share[:, :65].max() == 0.0
    assert share[:, 95:].min() == 1.0


def test_a_coloured_door_does_not_open_the_white_wall_beside_it() -> None:
    colours = np.full((2, 128, 160), 128.0, np.float32)
    colours[1, 20:, 100:110] = 170.0
    share = in_colours(colours)
    assert share[80, 105] == 1.0
    assert share[80, :94].max() < 0.1


# Means of Cb and Cr of skin, light to dark, in daylight and in rooms.
SKINS = [(118, 139), (117, 145), (109, 151), (113, 144), (121, 136), (104, 158)]
OTHERS = {
    "grass": (105, 118),
    "sky": (145, 115),
    "oak": (100, 142),
    "orange": (58, 168),
    "purple": (145, 150),
    "signal red": (100, 200),
}


@pytest.mark.parametrize("skin", SKINS)
def test_skin_is_stained_little(skin: tuple[int, int]) -> None:
    assert in_colours(coloured(*skin))[20:-20, 20:-20].mean() < 0.3


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_has_other_colours_than_skin_has_all_its_bound(other: tuple[int, int]) -> None:
    assert in_colours(coloured(*other))[20:-20, 20:-20].mean() > 0.8


def test_eyes_and_lips_within_a_face_are_stained_no_more_than_the_skin_about_them() -> None:
    colours = coloured(115, 145)
    colours[:, 60:66, 70:76] += np.float32([13.0, -17.0])[:, None, None]  # grey
    assert in_colours(colours)[63, 73] < 0.3


def test_skin_s_luma_bears_what_any_texture_does() -> None:
    picture = texture(50.0).round().clamp(0, 255).to(torch.uint8).numpy()
    on_skin, _ = largest_change(picture, coloured(115, 145), STRENGTH)
    elsewhere, _ = largest_change(picture, colourful(), STRENGTH)
    assert np.array_equal(on_skin, elsewhere)


@pytest.mark.parametrize(("level", "share"), [(16.0, 0.5), (43.0, 0.75), (70.0, 1.0), (200.0, 1.0)])
def test_dark_ground_bears_less_than_light(level: float, share: float) -> None:
    fine = (texture(8.0) - 120.0).clamp(-16.0, 16.0)
    for dark, light in zip(bound(level + fine), bound(120.0 + fine), strict=True):
        assert dark.mean() == pytest.approx(share * light.mean(), rel=0.03)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (32, 400), (160, 284)])
def test_any_flow_picture_gets_a_finite_bound(size: tuple[int, int]) -> None:
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    for picture in (np.zeros(size, np.uint8), np.full(size, 255, np.uint8)):
        for plane in largest_change(picture, colourful(*half), STRENGTH):
            assert plane.shape == half
            assert np.isfinite(plane).all()
            assert plane.min() > 0.0
