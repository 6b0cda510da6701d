"""Even ground bears next to nothing, however near the letters are; grain bears what it did."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.flatness import borne_by_flatness
from pipeline.planes import Planes
from tests.pipeline.test_video import change, from_luma, protect

ANY = 127


def slide(lines: int) -> NDArray[np.uint8]:
    """Dark letters on white, a share of `lines` high, 16 by 9, as a screen is recorded."""
    picture = np.full((720, 1280), 250, np.uint8)
    for row in range(4):
        place = (100, 150 + 140 * row)
        cv2.putText(picture, "Letters 0123456789", place, 0, 3.0, 30, 8, cv2.LINE_AA)
    return cv2.resize(picture, (lines * 16 // 9, lines), interpolation=cv2.INTER_AREA)


def ground_of(picture: NDArray[np.uint8], away: float) -> NDArray[np.bool_]:
    """Return where nothing but even ground is, up to `away` of the picture's lines around."""
    side = 2 * round(away * picture.shape[0]) + 1
    window = np.ones((side, side), np.uint8)
    ground: NDArray[np.bool_] = cv2.dilate(picture, window) == cv2.erode(picture, window)
    return ground


@pytest.mark.parametrize("lines", [360, 720, 1080, 2160])
def test_even_ground_bears_one_level_up_to_the_letters(lines: int) -> None:
    picture = slide(lines)
    borne = borne_by_flatness(picture, 1)
    assert borne.shape == picture.shape
    assert borne[ground_of(picture, 1 / 90)].max() == 1
    letters = (picture > 60) & (picture < 200)  # their edges
    assert borne[letters].min() == ANY


def test_grain_sets_no_limit() -> None:
    grain = np.random.default_rng(0).normal(120, 3, (360, 640))
    borne = borne_by_flatness(grain.round().astype(np.uint8), 1)
    assert (borne == ANY).mean() > 0.99


@pytest.mark.parametrize("depth", [10, 16])
def test_more_bits_bear_as_many_levels(depth: int) -> None:
    picture, level = slide(360), 1 << (depth - 8)
    deep = picture.astype(np.uint16) * level
    assert np.array_equal(borne_by_flatness(deep, level), borne_by_flatness(picture, 1))


@pytest.mark.parametrize("depth", [8, 10])
def test_a_slide_is_clean_around_its_letters(depth: int) -> None:
    picture = slide(720)
    frame = from_luma(picture)
    if depth == 10:
        frame = Planes(*(plane.astype(np.uint16) * 4 for plane in frame), depth=10)
    (protected,) = protect([frame])
    difference = np.abs(change(frame, protected)) / frame.level
    assert difference[ground_of(picture, 1 / 90)].max() <= 1
    assert difference.max() > 4
