"""Original, protected and their difference in one picture."""

from __future__ import annotations

import errno
import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.errors import OutputFailed, UnreadableMedia
from pipeline.planes import planes_of
from pipeline.probe import probe
from pipeline.settings import Limits
from pipeline.shown import displayed
from pipeline.sidebyside import picture, side_by_side

GAP = 4


def _clip(
    path: Path,
    levels: list[int],
    size: tuple[int, int] = (160, 96),
    turned: int = 0,
    aspect: Fraction | None = None,
) -> Path:
    """Grey frames, 40 ms each, whose left third is darker by 40."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt, stream.options = "yuv420p", {"qp": "0"}
        if turned:
            stream.set_display_rotation(turned)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for index, level in enumerate(levels):
            frame = av.VideoFrame(*size, "yuv420p")
            planes = planes_of(frame)
            planes.luma[:] = level
            planes.luma[:, : size[0] // 3] = level - 40
            planes.cb[:] = planes.cr[:] = 128
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _panels(png: Path, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = cv2.imread(str(png))
    assert image is not None
    assert image.shape[1] == 3 * width + 2 * GAP
    rows = image[-height:]
    first, second, third = (rows[:, at : at + width] for at in (0, width + GAP, 2 * (width + GAP)))
    return first, second, third


def _shown(level: int) -> int:
    """What limited-range luma looks like on a screen."""
    return round((level - 16) * 255 / 219)


def test_the_three_panels_are_original_protected_and_amplified_difference(tmp_path: Path) -> None:
    png = tmp_path / "out.png"

    picture(_clip(tmp_path / "a.mp4", [120] * 5), _clip(tmp_path / "b.mp4", [125] * 5), png)

    first, second, third = _panels(png, 160, 96)
    assert abs(int(first[50, 120, 0]) - _shown(120)) <= 2
    assert abs(int(first[50, 20, 0]) - _shown(80)) <= 2
    assert abs(int(second[50, 120, 0]) - _shown(125)) <= 2
    change = int(second[50, 120, 0]) - int(first[50, 120, 0])
    assert (third[50, 120] == 128 + 8 * change).all()
    assert change > 3


def test_labels_stand_above_the_panels(tmp_path: Path) -> None:
    png = tmp_path / "out.png"

    picture(_clip(tmp_path / "a.mp4", [120]), _clip(tmp_path / "b.mp4", [120]), png)

    image = cv2.imread(str(png))
    assert image is not None
    strip = image[:-96]
    for at in (0, 160 + GAP, 2 * (160 + GAP)):
        assert strip[:, at : at + 160].max() > 150


def test_equal_videos_have_a_grey_difference(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4", [120] * 3)

    picture(path, path, tmp_path / "out.png")

    assert (_panels(tmp_path / "out.png", 160, 96)[2] == 128).all()


def test_the_frame_that_changed_most_is_shown(tmp_path: Path) -> None:
    original = _clip(tmp_path / "a.mp4", [100, 110, 120, 130, 140])
    protected = _clip(tmp_path / "b.mp4", [101, 111, 121, 137, 141])

    picture(original, protected, tmp_path / "out.png")

    first, _, _ = _panels(tmp_path / "out.png", 160, 96)
    assert abs(int(first[50, 120, 0]) - _shown(130)) <= 2


def test_the_middle_of_equal_videos_is_shown(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4", [100, 110, 120, 130, 140])

    picture(path, path, tmp_path / "out.png")

    first, _, _ = _panels(tmp_path / "out.png", 160, 96)
    assert abs(int(first[50, 120, 0]) - _shown(120)) <= 2


def test_a_turned_video_is_shown_as_it_is_displayed(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4", [120], turned=-90)

    picture(path, path, tmp_path / "out.png")

    first, _, _ = _panels(tmp_path / "out.png", 96, 160)
    assert first[20, 50, 0] < first[120, 50, 0] - 20  # the dark left is now the top


def test_wide_pixels_are_shown_wide(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4", [120], aspect=Fraction(4, 3))

    picture(path, path, tmp_path / "out.png")

    first, _, _ = _panels(tmp_path / "out.png", 213, 96)
    assert first[50, 60, 0] < first[50, 80, 0] - 20


def test_tall_pixels_are_shown_tall(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4", [120], aspect=Fraction(8, 9))
    with av.open(str(path)) as source:
        frame = next(source.decode(video=0))

    assert displayed(frame, probe(path, Limits()).video).shape == (108, 160, 3)


def test_large_pictures_are_shrunk_to_fit() -> None:
    large = np.full((1080, 1920, 3), 90, np.uint8)

    shown = side_by_side(large, large)

    assert shown.shape[1] == 3 * 1277 + 2 * GAP <= 3840
    assert (shown[-718:, -1277:] == 128).all()


@pytest.mark.parametrize("width", [2, 16, 40, 176])
def test_small_pictures_have_room_for_their_labels(width: int) -> None:
    small = np.full((10, width, 3), 90, np.uint8)

    assert side_by_side(small, small).shape[1] == 3 * width + 2 * GAP


def test_a_protected_picture_of_another_size_is_scaled() -> None:
    original = np.full((60, 100, 3), 90, np.uint8)

    shown = side_by_side(original, np.full((30, 50, 3), 90, np.uint8))

    assert (shown[-60:, -100:] == 128).all()


def test_padding_of_an_odd_size_is_cut_off(tmp_path: Path) -> None:
    odd = np.random.default_rng(0).integers(0, 256, (63, 95, 3), np.uint8)
    even = cv2.copyMakeBorder(odd, 0, 1, 0, 1, cv2.BORDER_CONSTANT)
    paths = [tmp_path / "a.mkv", tmp_path / "b.mkv"]
    for path, image in zip(paths, (odd, even), strict=True):
        with av.open(str(path), "w") as output:
            stream = output.add_stream("ffv1", rate=25)
            stream.height, stream.width = image.shape[:2]
            stream.pix_fmt = "bgr0"
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
            output.mux(stream.encode(None))

    picture(*paths, tmp_path / "out.png")

    assert (_panels(tmp_path / "out.png", 95, 63)[2] == 128).all()


def test_nothing_is_left_where_the_picture_cannot_be_written(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4", [120])
    taken = tmp_path / "folder.png"
    taken.mkdir()

    with pytest.raises(OutputFailed, match=r"folder\.png"):
        picture(path, path, taken)
    with pytest.raises(OutputFailed, match="absent"):
        picture(path, path, tmp_path / "absent" / "out.png")

    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "folder.png"]


def test_why_the_picture_cannot_be_written_is_told_where_nothing_can_be_removed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only disk says so of a file too that is not there."""

    def read_only(path: Path, *words: object, **named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    path = _clip(tmp_path / "a.mp4", [120])
    monkeypatch.setattr(Path, "write_bytes", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(OutputFailed, match="cannot be written: Read-only"):
        picture(path, path, tmp_path / "out.png")


def test_an_unreadable_file_is_named_and_no_picture_made(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4", [120])

    with pytest.raises(UnreadableMedia, match=r"gone\.mp4"):
        picture(path, tmp_path / "gone.mp4", tmp_path / "out.png")

    assert not (tmp_path / "out.png").exists()
