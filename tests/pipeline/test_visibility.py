"""Where the eye misses a change: in texture; where it does not: on flat ground and its rims."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.motion import flow_picture, shrink
from pipeline.stripes import gaussian_blur, scale_of, working_size
from pipeline.visibility import colour_share, largest_change, quick_bound

MEDIA = Path(__file__).parents[2] / "../shared/media"

STRENGTH = 0.12


def flat(level: float = 120.0) -> torch.Tensor:
    return torch.full((128, 160), level)


def texture(amplitude: float) -> torch.Tensor:
    noise = torch.randn(128, 160, generator=torch.Generator().manual_seed(0))
    return flat() + amplitude * gaussian_blur(noise[None], 1.3)[0]


def half_textured() -> torch.Tensor:
    picture = texture(60.0)
    picture[:, :80] = 120.0
    return picture


def lone_edge() -> torch.Tensor:
    picture = flat(60.0)
    picture[:, 80:] = 190.0
    return picture


def bound(luma: torch.Tensor, strength: float = STRENGTH) -> torch.Tensor:
    return largest_change(luma, 1.0, strength)


@pytest.mark.parametrize("level", [0.0, 16.0, 128.0, 255.0])
def test_flat_pictures_bear_about_one_level(level: float) -> None:
    luma, *colour = bound(flat(level))
    for plane in (luma, *colour):
        assert torch.isfinite(plane).all()
        assert plane.min() > 0.0
        assert plane.max() < 1.0


def test_texture_bears_several_times_what_flat_ground_beside_it_does() -> None:
    luma = bound(half_textured())[0]
    assert luma[:, 110:].mean() > 4.0
    assert luma[:, :50].mean() < 0.5


def test_stronger_texture_bears_more() -> None:
    picture = texture(25.0)
    picture[:, 80:] = texture(60.0)[:, 80:]
    luma = bound(picture)[0]
    assert luma[:, 105:].mean() > 1.25 * luma[:, :55].mean()


def test_colour_s_bound_grows_faster_than_luma_s() -> None:
    """So smooth skin gets little of it."""
    picture = texture(25.0)
    picture[:, 80:] = texture(60.0)[:, 80:]
    luma, cb, _ = bound(picture)
    assert cb[:, 105:].mean() / cb[:, :55].mean() > 1.3 * luma[:, 105:].mean() / luma[:, :55].mean()


def test_colour_keeps_away_from_the_flat_side_of_an_edge() -> None:
    luma, cb, cr = bound(half_textured())
    beside = slice(72, 80)  # up to 8 pixels from the texture, on flat ground
    assert cb[:, beside].mean() < 0.45 * luma[:, beside].mean()
    assert cb[:, beside].mean() < 0.8
    assert torch.equal(cb, cr)


def test_a_lone_edge_opens_no_fringe() -> None:
    luma, cb, _ = bound(lone_edge())
    for column in (64, 68, 92, 96):
        assert cb[64, column] < 1.0
        assert luma[64, column] < 2.0


def test_flat_ground_beside_a_strong_texture_stays_clean() -> None:
    """As of the sky beside a house; the band's own energy reaches 8 pixels into it."""
    luma, cb, _ = bound(half_textured())
    assert luma[:, 68:75].mean() < 0.3
    assert cb[:, 68:75].mean() < 0.15


def test_bound_grows_with_strength_up_to_the_cap() -> None:
    picture = texture(50.0)
    weak, strong = (float(bound(picture, strength).mean()) for strength in (0.06, 0.12))
    assert strong == pytest.approx(2 * weak, rel=0.01)
    assert torch.equal(bound(picture, 0.35), bound(picture, 0.4))


def test_a_lone_object_s_bound_is_two_amplitudes_at_most() -> None:
    picture = flat()
    picture[60:90, 60:90] = texture(200.0)[60:90, 60:90]
    assert bound(picture).max() <= 2.0 * 66 * STRENGTH + 1e-4


def test_colour_changes_where_the_picture_has_colours_and_not_beside_them() -> None:
    """As of a white house in a colourful street."""
    colours = 128 + 20 * torch.randn(2, 128, 160, generator=torch.Generator().manual_seed(0))
    colours[:, :, :80] = torch.tensor([120.0, 135.0])[:, None, None]  # tinted, but evenly
    share = colour_share(colours, 1.0)
    assert share.shape == (128, 160)
    assert share[:, :50].max() == 0.0
    assert share[:, 110:].min() == 1.0


def test_a_coloured_door_does_not_open_the_white_wall_beside_it() -> None:
    colours = torch.full((2, 128, 160), 128.0)
    colours[1, 40:, 100:120] = 170.0
    share = colour_share(colours, 1.0)
    assert share[80, 110] == 1.0
    assert share[80, :89].max() < 0.1


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (2, 7), (17, 33), (16, 400)])
def test_any_size_gets_a_finite_bound(size: tuple[int, int]) -> None:
    noise = torch.rand(size, generator=torch.Generator().manual_seed(0)) * 255
    limits = largest_change(noise, scale_of(*size), STRENGTH)
    assert limits.shape == (3, *size)
    assert torch.isfinite(limits).all()


# -- the quick one ----------------------------------------------------------------------------


def test_quick_bound_follows_the_exact_one_at_the_same_size() -> None:
    picture = half_textured().clamp(0, 255).to(torch.uint8)
    agree(picture.numpy(), picture.numpy(), median=0.02, spread=0.05)


@pytest.mark.parametrize("name", ["selfie_cyclist.mp4", "cockatoo.mp4", "airplane_badaudio.mp4"])
def test_quick_bound_follows_the_exact_one_on_real_pictures(name: str) -> None:
    luma = first_luma(name)
    agree(shrink(luma, *working_size(*luma.shape)), flow_picture(luma, 1), median=0.3, spread=1.2)


def agree(
    exact_from: NDArray[np.uint8], quick_from: NDArray[np.uint8], median: float, spread: float
) -> None:
    """Check that exact over quick is one factor: within `median` mostly, `spread` nearly all."""
    scale = scale_of(*exact_from.shape)
    luma, colour, _ = largest_change(torch.from_numpy(exact_from).float(), scale, STRENGTH)
    quick = torch.from_numpy(quick_bound(quick_from)).permute(2, 0, 1)
    quick = torch.nn.functional.interpolate(quick[None], luma.shape, mode="bilinear")[0]
    factor = (torch.stack((luma, colour)) / quick).log()
    away = (factor - factor.median()).abs()
    assert away.median() < median
    assert away.flatten()[::7].quantile(0.95) < spread


def first_luma(name: str) -> NDArray[np.uint8]:
    path = MEDIA / name
    if not path.exists():
        pytest.skip("the real clips are not here")
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="gray")


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (32, 400), (160, 284)])
def test_any_flow_picture_gets_a_finite_quick_bound(size: tuple[int, int]) -> None:
    for picture in (np.zeros(size, np.uint8), np.full(size, 255, np.uint8)):
        limits = quick_bound(picture)
        assert limits.shape == ((size[0] + 1) // 2, (size[1] + 1) // 2, 2)
        assert np.isfinite(limits).all()
        assert limits.min() > 0.0
