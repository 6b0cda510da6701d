"""What was computed at an anchor goes with the picture; a cut is found, a pan is not one."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.motion import (
    Follower,
    carry,
    flow_colour,
    flow_picture,
    is_cut,
    scaled_flow,
    shrink,
)
from pipeline.planes import Planes

MEDIA = Path(__file__).parents[2] / "../shared/media"


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    layers = sum(sigma * cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (1.5, 4.0, 12.0))
    return cv2.normalize(layers, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def panned(by: float, seed: int = 0) -> NDArray[np.uint8]:
    """Return (160, 240) of a scene that moved to the left by `by` pixels."""
    matrix = np.float32([[1, 0, -by - 40], [0, 1, -20]])
    return cv2.warpAffine(texture(200, 400, seed), matrix, (240, 160))


def test_flow_tells_where_a_pixel_was_at_the_anchor() -> None:
    follower = Follower()
    follower.start(panned(0))
    flow = follower.flow(panned(6.0))
    inside = flow[20:-20, 20:-20]
    assert np.median(inside[..., 0]) == pytest.approx(6.0, abs=0.3)
    assert np.median(inside[..., 1]) == pytest.approx(0.0, abs=0.3)


def test_a_pan_of_many_pixels_is_followed_over_a_long_interval() -> None:
    follower = Follower()
    follower.start(panned(0))
    for frame in range(1, 21):
        flow = follower.flow(panned(3.0 * frame))
    assert np.median(flow[20:-20, 20:150, 0]) == pytest.approx(60.0, abs=1.5)


def test_a_field_is_carried_with_the_picture() -> None:
    follower = Follower()
    follower.start(panned(0))
    field = panned(0).astype(np.float32)
    carried = carry(field, follower.flow(panned(5.0)))
    inside = (slice(20, -20), slice(20, -20))
    wrong = np.abs(carried - panned(5.0))[inside].mean()
    assert wrong < 0.2 * np.abs(field - panned(5.0))[inside].mean()


def test_a_field_of_another_size_is_carried_by_the_same_share_of_the_picture() -> None:
    flow = np.zeros((40, 60, 2), np.float32)
    flow[..., 0] = 2.0
    field = np.tile(np.arange(180, dtype=np.float32), (120, 1))
    carried = carry(field, flow)
    assert carried.shape == field.shape
    assert np.allclose(carried[:, :170], field[:, :170] + 6.0, atol=0.01)
    assert np.allclose(scaled_flow(flow, 120, 180)[..., 0], 6.0)


def test_a_follower_without_an_anchor_of_the_size_is_a_mistake() -> None:
    follower = Follower()
    with pytest.raises(ValueError, match="anchor"):
        follower.flow(panned(0))
    follower.start(panned(0))
    with pytest.raises(ValueError, match="anchor"):
        follower.flow(panned(0)[:-2])


@pytest.mark.parametrize("size", [(16, 16), (2, 2), (1, 9), (17, 33), (16, 400), (400, 16)])
def test_tiny_and_extreme_pictures_are_followed_without_error(size: tuple[int, int]) -> None:
    follower = Follower()
    rng = np.random.default_rng(0)
    anchor, frame = (flow_picture(rng.integers(0, 256, size, np.uint8), 1) for _ in range(2))
    follower.start(anchor)
    assert min(anchor.shape) >= 32
    assert np.isfinite(carry(np.ones((*size, 2), np.float32), follower.flow(frame))).all()


def test_a_portrait_picture_has_160_columns() -> None:
    assert flow_picture(texture(640, 360), 1).shape == (284, 160)


def test_ten_bits_give_the_same_flow_picture_as_eight() -> None:
    luma = texture(360, 640)
    eight, ten = flow_picture(luma, 1), flow_picture(luma.astype(np.uint16) * 4, 4)
    assert ten.dtype == np.uint8
    assert np.abs(eight.astype(int) - ten).max() <= 1


def test_ten_bits_give_the_same_flow_colour_as_eight_at_half_the_size_of_the_picture() -> None:
    luma, cb, cr = texture(640, 360), texture(320, 180), texture(320, 180)[::-1]
    eight = Planes(luma, cb, cr, 8)
    ten = Planes(*(plane.astype(np.uint16) * 4 for plane in eight), 10)
    for low, high in zip(flow_colour(eight), flow_colour(ten), strict=True):
        assert low.shape == (142, 80)
        np.testing.assert_allclose(low, high, atol=1.0)
    assert np.abs(flow_colour(eight)[0] - flow_colour(eight)[1]).mean() > 1.0


def test_shrinking_averages_instead_of_skipping() -> None:
    checks = np.indices((360, 640)).sum(axis=0).astype(np.uint8) % 2 * 200
    assert np.abs(shrink(checks, 80, 142).astype(int) - 100).max() <= 1


def test_another_scene_is_a_cut() -> None:
    assert is_cut(panned(0), panned(0, seed=5))
    assert is_cut(np.zeros((160, 240), np.uint8), np.full((160, 240), 200, np.uint8))


def test_a_fast_pan_and_a_fade_are_no_cuts() -> None:
    assert not is_cut(panned(0), panned(16))
    assert not is_cut(panned(0), (panned(0) * 0.93).astype(np.uint8))
    assert not is_cut(np.full((160, 240), 18, np.uint8), np.full((160, 240), 16, np.uint8))


def test_hard_cuts_of_a_real_clip_are_found_and_nothing_else() -> None:
    assert cuts_of("street_bikes_cuts.mp4") == [30, 76, 137, 187, 242]


@pytest.mark.parametrize("clip", ["selfie_cyclist.mp4", "airplane_badaudio.mp4"])
def test_shaky_hands_and_a_fade_to_black_are_no_cuts(clip: str) -> None:
    assert cuts_of(clip) == []


def cuts_of(clip: str) -> list[int]:
    path = MEDIA / clip
    if not path.exists():
        pytest.skip("the real clips are not here")
    cuts, before = [], None
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            picture = flow_picture(frame.to_ndarray(format="gray"), 1)
            if before is not None and is_cut(before, picture):
                cuts.append(index)
            before = picture
    return cuts


def test_a_flow_at_its_own_size_stays_as_it_is_in_memory_of_its_own() -> None:
    flow = np.random.default_rng(0).normal(size=(40, 60, 2)).astype(np.float32)
    scaled = scaled_flow(flow, 40, 60)
    assert np.array_equal(scaled, flow)
    assert not np.shares_memory(scaled, flow)
