"""A face cut out upright, and what is drawn there put back into the frame."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.face_canvas import (
    CORNERS,
    CROP_SIDE,
    MARGIN,
    SIDE,
    Alignment,
    Patch,
    after,
    alignment_of,
    cut_out,
    inverse,
    moved,
    patch,
    scale_of,
    similarity_between,
)
from pipeline.face_change import BOX, ellipse
from pipeline.planes import Planes

# Of ArcFace, in its crop of 112 pixels.
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655),
     (70.7299, 92.2041)]
)  # fmt: skip
PLACES = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(float)


def turned(angle: float, scale: float, shift: tuple[float, float]) -> Alignment:
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]])


def face_at(x: float, y: float, scale: float, angle: float = 0.0) -> Alignment:
    """Return from the frame to the canvas, whose middle lies at x, y, `scale` pixels a pixel."""
    back = turned(angle, scale, (0.0, 0.0))
    back[:, 2] = (x, y) - back[:, :2] @ ((SIDE - 1) / 2, (SIDE - 1) / 2)
    return inverse(back)


def sloping(height: int, width: int, depth: int = 8) -> Planes:
    """A picture whose levels rise to the right and downwards, as `slope` has them."""
    chroma = (height + 1) // 2, (width + 1) // 2
    planes = []
    for index, (rows, columns) in enumerate(((height, width), chroma, chroma)):
        share = 1 if index == 0 else 2
        y, x = np.mgrid[:rows, :columns] * share + (share - 1) / 2
        level = slope(index, x, y, height, width) * (1 << (depth - 8))
        planes.append(np.rint(level).astype(np.uint8 if depth == 8 else np.uint16))
    return Planes(*planes, depth=depth)


def slope(
    index: int, x: NDArray[np.float64], y: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float64]:
    """Return the levels of Y, Cb or Cr at places of the frame."""
    right, down = ((0.6, 0.3), (0.2, 0.6), (-0.4, 0.2))[index]
    return 128 + 100 * (right * (2 * x / width - 1) + down * (2 * y / height - 1))


# -- similarities ---------------------------------------------------------------------------


def test_a_similarity_is_found_again_from_where_it_takes_points() -> None:
    wanted = turned(0.7, 1.8, (30.0, -12.0))
    assert similarity_between(TEMPLATE, moved(TEMPLATE, wanted)) == pytest.approx(wanted)
    assert scale_of(wanted) == pytest.approx(1.8)
    assert after(inverse(wanted), wanted) == pytest.approx(np.eye(2, 3), abs=1e-9)


def test_the_second_similarity_comes_after_the_first() -> None:
    first, second = turned(0.3, 2.0, (5.0, 1.0)), turned(-1.0, 0.5, (0.0, 9.0))
    expected = moved(moved(TEMPLATE, first), second)
    assert moved(TEMPLATE, after(second, first)) == pytest.approx(expected)


def test_points_that_no_similarity_takes_there_are_met_in_the_least_squares() -> None:
    rng = np.random.default_rng(0)
    others = moved(TEMPLATE, turned(0.2, 1.3, (4.0, 5.0))) + rng.normal(0, 3, (5, 2))
    found = similarity_between(TEMPLATE, others)

    def error(alignment: Alignment) -> float:
        return float(np.square(moved(TEMPLATE, alignment) - others).sum())

    for place in np.ndindex(2, 3):
        if place[1] == 2:
            nudged = found.copy()
            nudged[place] += 0.01
            assert error(nudged) > error(found)
    for nudge in (turned(0.01, 1.0, (0.0, 0.0)), turned(0.0, 1.01, (0.0, 0.0))):
        assert error(after(found, nudge)) > error(found)


def test_points_on_one_spot_give_a_shift() -> None:
    spot = np.full((5, 2), 7.0)
    found = similarity_between(spot, TEMPLATE)
    assert found == pytest.approx(turned(0.0, 1.0, tuple(TEMPLATE.mean(axis=0) - 7)))


def test_landmarks_come_to_the_template_in_the_middle_of_the_canvas() -> None:
    landmarks = moved(TEMPLATE, turned(-0.4, 3.1, (400.0, 210.0)))
    assert moved(landmarks, alignment_of(landmarks)) == pytest.approx(TEMPLATE + MARGIN)
    assert SIDE == CROP_SIDE + 2 * MARGIN


# -- cut out --------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("size", [(480, 640), (481, 639)])
@pytest.mark.parametrize("scale", [0.2, 0.9, 1.3, 2.2])
def test_a_face_of_any_size_has_the_levels_of_its_places(
    scale: float, size: tuple[int, int], depth: int
) -> None:
    alignment = face_at(330.0, 235.0, scale, 0.3)
    canvases = cut_out(sloping(*size, depth), alignment)
    places = moved(PLACES.reshape(-1, 2), inverse(alignment)).T.reshape(2, SIDE, SIDE)
    assert canvases.dtype == np.float32
    for index, canvas in enumerate(canvases):
        expected = slope(index, *places, *size)
        inside = (places >= 4).all(axis=0) & (places[0] < size[1] - 4) & (places[1] < size[0] - 4)
        assert inside.mean() > 0.9
        # Levels of planes are rounded. Half a pixel off would be more in the mean.
        assert np.abs(canvas - expected)[inside].max() < 0.5 * 2.0 ** (8 - depth) + 0.1
        assert abs((canvas - expected)[inside].mean()) < 0.05


def test_a_large_face_is_averaged_and_not_picked_from() -> None:
    """Lines one pixel wide, black and white in turn, are grey on a canvas with fewer pixels."""
    luma = np.zeros((900, 900), np.uint8)
    luma[:, ::2] = 200
    grey = np.full((450, 450), 128, np.uint8)
    luma_canvas, *_ = cut_out(Planes(luma, grey, grey, 8), face_at(450.0, 450.0, 4.5))
    assert np.abs(luma_canvas - 100)[4:-4, 4:-4].max() < 15


@pytest.mark.parametrize("place", [(0.0, 0.0), (-400.0, 60.0), (1000.0, 900.0), (100.0, -300.0)])
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_where_a_face_lies_outside_the_nearest_pixels_go_on(
    place: tuple[float, float], scale: float
) -> None:
    size = 97, 121
    alignment = face_at(*place, scale)
    canvases = cut_out(sloping(*size), alignment)
    x, y = moved(PLACES.reshape(-1, 2), inverse(alignment)).T.reshape(2, SIDE, SIDE)
    x, y = x.clip(0, size[1] - 1), y.clip(0, size[0] - 1)
    for index, canvas in enumerate(canvases):
        # Near the edge a pixel of a halved picture stands for several.
        assert np.abs(canvas - slope(index, x, y, *size)).max() < 2.5 + 1.5 * scale


def test_a_picture_of_a_few_pixels_can_be_cut_from() -> None:
    assert cut_out(sloping(2, 2), face_at(1.0, 1.0, 0.1)).shape == (3, SIDE, SIDE)
    assert cut_out(sloping(1, 3), face_at(1.0, 0.0, 5.0)).shape == (3, SIDE, SIDE)


# -- drawn back ---------------------------------------------------------------------------------


def blob(x: float, y: float) -> NDArray[np.float32]:
    distance = np.hypot(PLACES[..., 0] - x, PLACES[..., 1] - y)
    return (9 * np.exp(-((distance / 4) ** 2))).astype(np.float32)


def in_frame(found: Patch, height: int, width: int) -> NDArray[np.float32]:
    whole = np.zeros((height, width), np.float32)
    down, across = found.change.shape
    rows, columns = slice(found.y, found.y + down), slice(found.x, found.x + across)
    whole[rows, columns] = found.change
    return whole


def everything_kept() -> NDArray[np.float32]:
    return np.ones((SIDE, SIDE), np.float32)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("landmark", range(5))
def test_what_is_drawn_at_a_landmark_lands_at_it(landmark: int, scale: float) -> None:
    landmarks = moved(TEMPLATE, turned(0.25, scale, (181.3, 90.6)))
    drawn, alignment = blob(*TEMPLATE[landmark] + MARGIN), alignment_of(landmarks)
    found = patch(drawn, everything_kept(), CORNERS, alignment, 500, 601)
    assert found is not None
    whole = in_frame(found, 500, 601)
    y, x = np.mgrid[:500, :601]
    centre = np.array([(whole * x).sum(), (whole * y).sum()]) / whole.sum()
    assert centre == pytest.approx(landmarks[landmark], abs=0.1)
    # As wide as the face is larger.
    assert whole.sum() == pytest.approx(9 * math.pi * (4 * scale) ** 2, rel=0.05)


@pytest.mark.parametrize(
    ("x", "y"), [(0.0, 100.0), (160.0, 100.0), (80.0, 0.0), (80.0, 200.0), (-30.0, 231.0)]
)
def test_a_face_at_an_edge_is_clipped_and_not_moved(x: float, y: float) -> None:
    height, width = 201, 161
    alignment = face_at(x, y, 0.8, 0.4)
    change = np.linspace(-5, 5, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    found = patch(change, everything_kept(), CORNERS, alignment, height, width)
    assert found is not None
    assert found.x >= 0
    assert found.y >= 0
    assert found.x + found.change.shape[1] <= width
    assert found.y + found.change.shape[0] <= height
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(change, alignment, (width, height), flags=flags)
    assert np.abs(in_frame(found, height, width) - expected).max() < 0.15


@pytest.mark.parametrize(
    ("x", "y"), [(-90.0, 50.0), (250.0, 50.0), (80.0, -90.0), (80.0, 210.0), (-1e6, 1e7)]
)
def test_a_face_outside_gives_nothing(x: float, y: float) -> None:
    alignment = face_at(x, y, 0.9)
    assert patch(blob(88, 88), everything_kept(), CORNERS, alignment, 120, 160) is None


def test_around_the_canvas_everything_is_kept() -> None:
    gone = np.zeros((SIDE, SIDE), np.float32)
    found = patch(gone, gone, CORNERS, face_at(100.0, 100.0, 0.5, 0.8), 200, 200)
    assert found is not None
    assert found.kept[0, 0] == 1
    middle = found.kept[found.kept.shape[0] // 2, found.kept.shape[1] // 2]
    assert middle == 0


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.1])
@pytest.mark.parametrize("angle", [0.0, 0.8, -1.6])
@pytest.mark.parametrize("place", [(320.0, 301.5), (30.3, 12.0), (639.0, 590.0)])
def test_nothing_of_the_ellipse_is_cut_off_by_its_box(
    place: tuple[float, float], angle: float, scale: float
) -> None:
    height, width = 601, 640
    drawn = ellipse(torch.device("cpu")).numpy()
    alignment = face_at(*place, scale, angle)
    found, whole = (patch(drawn, 1 - drawn, c, alignment, height, width) for c in (BOX, CORNERS))
    assert found is not None
    assert whole is not None
    assert found.change.size < 0.95 * whole.change.size  # that is what the box is for
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(drawn, alignment, (width, height), flags=flags)
    ours = in_frame(found, height, width)
    assert ours.max() > 0.9
    # OpenCV interpolates at 1 / 32 of a pixel, and rounds otherwise from another corner.
    assert np.abs(ours - expected).max() < 0.02
    assert np.abs(found.kept + found.change - 1).max() < 1e-5


# -- laid ----------------------------------------------------------------------------------


def plain(height: int, width: int, change: float, kept: float) -> Patch:
    """Return an even patch, its corner at 4, 2."""
    return Patch(4, 2, *(np.full((height, width), v, np.float32) for v in (change, kept)))


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_a_patch_stands_in_for_the_change_or_is_added_where_that_is_kept(kind: type) -> None:
    for kept, expected in ((0.0, 6), (1.0, 16), (0.5, 11)):
        whole = np.full((20, 30), 10, kind)
        plain(5, 7, change=6.0, kept=kept).lay(whole, 1.0, peak=50)
        assert (whole[2:7, 4:11] == expected).all()
        whole[2:7, 4:11] = 10
        assert (whole == 10).all()


def test_a_patch_is_in_units_of_the_plane_and_held_to_the_peak() -> None:
    whole = np.full((20, 30), 10, np.int16)
    plain(5, 7, change=-6.0, kept=0.0).lay(whole, 4.0, peak=200)
    assert (whole[2:7, 4:11] == -24).all()
    for change, expected in ((300.0, 50), (-300.0, -50)):
        small = np.full((20, 30), 10, np.int8)
        plain(5, 7, change=change, kept=1.0).lay(small, 1.0, peak=50)
        assert (small[2:7, 4:11] == expected).all()
