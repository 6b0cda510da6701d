"""How a coded picture is turned before it is shown."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.display import (
    UPRIGHT,
    Orientation,
    coded_points,
    orientation,
    upright,
    upright_planes,
)
from pipeline.planes import Planes
from pipeline.probe import probe
from pipeline.settings import Limits

PICTURE = np.array([[1, 2, 3], [4, 5, 6]])


def _matrix(a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    return (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        (_matrix(1, 0, 0, 1), [[1, 2, 3], [4, 5, 6]]),
        (_matrix(0, 1, -1, 0), [[4, 1], [5, 2], [6, 3]]),  # a quarter turn clockwise
        (_matrix(-1, 0, 0, -1), [[6, 5, 4], [3, 2, 1]]),
        (_matrix(0, -1, 1, 0), [[3, 6], [2, 5], [1, 4]]),
        (_matrix(-1, 0, 0, 1), [[3, 2, 1], [6, 5, 4]]),  # mirrored
        (_matrix(1, 0, 0, -1), [[4, 5, 6], [1, 2, 3]]),
        (_matrix(0, 1, 1, 0), [[1, 4], [2, 5], [3, 6]]),
        (_matrix(0, -1, -1, 0), [[6, 3], [5, 2], [4, 1]]),
        (None, [[1, 2, 3], [4, 5, 6]]),
    ],
)
def test_a_picture_is_shown_as_its_matrix_says(
    matrix: tuple[int, ...] | None, shown: list[list[int]]
) -> None:
    assert upright(PICTURE, orientation(matrix)).tolist() == shown


@pytest.mark.parametrize("flags", itertools.product((False, True), repeat=3))
def test_points_of_what_is_shown_are_found_in_what_is_coded(flags: tuple[bool, ...]) -> None:
    way = Orientation(*flags)
    shown = upright(PICTURE, way)
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]].reshape(2, -1) + 0.5  # pixels' centres
    back = np.floor(coded_points(np.stack((x, y), axis=1), way, *shown.shape)).astype(int)
    assert PICTURE[back[:, 1], back[:, 0]].tolist() == shown.ravel().tolist()


def test_two_mirrors_are_none() -> None:
    assert not UPRIGHT.is_mirror_image
    for matrix, mirrored in (((-1, 0, 0, 1), True), ((0, 1, -1, 0), False), ((0, 1, 1, 0), True)):
        assert orientation(_matrix(*matrix)).is_mirror_image == mirrored


def test_a_slanted_matrix_counts_as_the_nearest_quarter_turn() -> None:
    tilted = (64000, 9000, 0, -9000, 64000, 0, 0, 0, 1 << 30)

    assert orientation(tilted) == UPRIGHT


def test_all_planes_turn_together() -> None:
    picture = Planes(
        np.arange(24, dtype=np.uint8).reshape(4, 6),
        np.zeros((2, 3), np.uint8),
        np.ones((2, 3), np.uint8),
        8,
    )

    turned = upright_planes(picture, Orientation(True, True, False))

    assert turned.luma.shape == (6, 4)
    assert turned.cb.shape == turned.cr.shape == (3, 2)
    assert turned.luma[0].tolist() == picture.luma[::-1, 0].tolist()


def test_a_file_that_a_player_turns_clockwise_is_turned_clockwise(tmp_path: Path) -> None:
    """FFmpeg's rotation of -90 degrees is what phones call 90: clockwise."""
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.set_display_rotation(-90)
        output.mux(stream.encode(av.VideoFrame(64, 32, "yuv420p")))
        output.mux(stream.encode(None))

    way = orientation(probe(path, Limits()).video.display_matrix)

    assert upright(PICTURE, way).tolist() == [[4, 1], [5, 2], [6, 3]]
