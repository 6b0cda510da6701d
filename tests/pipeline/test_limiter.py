"""A carried change shrinks where the frame bears less than the anchor did, and never grows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.limiter import Limiter
from pipeline.motion import carry

STILL = np.zeros((160, 240, 2), np.float32)


def texture(seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=(160, 240)).astype(np.float32)
    return np.clip(120 + 60 * cv2.GaussianBlur(noise, (0, 0), 0.9), 0, 255).astype(np.uint8)


def left_half_flat() -> NDArray[np.uint8]:
    picture = texture()
    picture[:, :120] = 120
    return picture


def field(channels: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(256, 384, channels)).astype(np.float32)


def held(
    anchor: NDArray[np.uint8], frame: NDArray[np.uint8], change: NDArray[np.float32]
) -> NDArray[np.float32]:
    limiter = Limiter()
    limiter.start(anchor)
    return np.dstack(limiter.carry(layers(change), frame, STILL))


def layers(change: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return list(np.ascontiguousarray(change.transpose(2, 0, 1)))


@pytest.mark.parametrize("channels", [2, 3])
def test_a_change_all_but_vanishes_where_the_frame_has_become_flat(channels: int) -> None:
    change = field(channels)
    kept = np.abs(held(texture(), left_half_flat(), change)) / np.abs(change)
    assert kept[:, :170].max() < 0.05
    assert np.median(kept[:, 215:]) > 0.8


@pytest.mark.parametrize("channels", [2, 3])
def test_a_change_never_grows_where_the_frame_bears_more(channels: int) -> None:
    change = field(channels)
    assert (np.abs(held(left_half_flat(), texture(), change)) <= np.abs(change)).all()


@pytest.mark.parametrize("channels", [2, 3])
def test_a_frame_that_is_its_anchor_keeps_the_whole_change(channels: int) -> None:
    change = field(channels)
    assert np.array_equal(held(texture(), texture(), change), change)


def test_colour_is_held_by_the_bound_of_colour() -> None:
    ones = np.ones((256, 384, 3), np.float32)
    kept = held(texture(), left_half_flat(), ones)
    assert np.array_equal(kept[..., 1], kept[..., 2])
    rim = kept[:, 190:200].mean(axis=(0, 1))
    assert rim[1] < rim[0]


def test_a_bound_that_moved_with_the_picture_holds_nothing_back() -> None:
    wide = np.tile(left_half_flat(), (1, 2))
    limiter = Limiter()
    limiter.start(np.ascontiguousarray(wide[:, 8:248]))
    flow = STILL - np.float32([8, 0])  # the frame lies 8 pixels to the left in the scene
    change = field(2)
    frame = np.ascontiguousarray(wide[:, :240])
    held_back = np.dstack(limiter.carry(layers(change), frame, flow))
    inside = (slice(None), slice(40, -40))
    alone = carry(change, flow)
    assert np.abs(held_back)[inside].mean() > 0.9 * np.abs(alone)[inside].mean()


def test_a_limiter_without_an_anchor_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="anchor"):
        Limiter().carry(layers(field(2)), texture(), STILL)
