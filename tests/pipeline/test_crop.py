"""The part of a coded picture that its container says to show."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import Video, make_video

from pipeline import mp4
from pipeline.crop import Crop, stated_crops
from pipeline.elements import walk_elements
from pipeline.media import FieldOrder
from pipeline.pairing import chosen_frames
from pipeline.parameters import Parameters
from pipeline.planes import Planes, planes_of
from pipeline.probe import probe
from pipeline.protect import protect
from pipeline.settings import Limits, Settings
from pipeline.verify import compare

FAST = Settings(preset="ultrafast", threads=1)
SMALL = Video(width=128, height=96, frames=8, colour=(1, 1, 1, 1))
SHOWN = Crop(128, 96, 16, 8, 104, 76)


def test_a_clean_aperture_is_what_is_shown(tmp_path: Path) -> None:
    clip = cropped_mp4(tmp_path / "clip.mp4", SHOWN)
    assert stated_crops(clip) == [SHOWN]
    assert_only_shown(clip, make_video(tmp_path / "whole.mp4", SMALL))


def test_the_crop_of_matroska_is_what_is_shown(tmp_path: Path) -> None:
    clip = cropped_matroska(tmp_path / "clip.mkv", SHOWN)
    assert stated_crops(clip) == [SHOWN]
    assert_only_shown(clip, make_video(tmp_path / "whole.mkv", SMALL))


def test_an_edge_between_two_samples_of_chroma_is_kept(tmp_path: Path) -> None:
    shown = Crop(128, 96, 15, 7, 105, 77)
    clip = cropped_matroska(tmp_path / "clip.mkv", shown)
    whole = make_video(tmp_path / "whole.mkv", SMALL)
    picture = first_planes(clip)
    assert np.array_equal(picture.luma, first_planes(whole).luma[7 : 7 + 77, 15 : 15 + 105])
    assert picture.cb.shape == (39, 53)


@pytest.mark.parametrize(
    ("pixel_format", "top", "first_line"),
    [("yuv420p", 6, 4), ("yuv420p", 7, 4), ("yuv420p", 8, 8), ("yuv422p", 6, 6), ("yuv422p", 7, 6)],
)
def test_the_shown_part_of_an_interlaced_picture_begins_with_its_upper_field(
    tmp_path: Path, pixel_format: str, top: int, first_line: int
) -> None:
    """In chroma too; otherwise fields would change places, or luma have the other's colours."""
    video = replace(SMALL, pixel_format=pixel_format, fields="tff")
    clip = cropped_matroska(tmp_path / "clip.mkv", Crop(128, 96, 16, top, 104, 84 - top), video)
    found = probe(clip, Limits()).video
    assert found.crop == Crop(128, 96, 16, first_line, 104, 84 - first_line)
    assert (found.height, found.field_order) == (84 - first_line, FieldOrder.TOP_FIRST)


def test_an_interlaced_picture_of_which_all_is_shown_then_is_not_cropped(tmp_path: Path) -> None:
    video = replace(SMALL, fields="tff")
    clip = cropped_matroska(tmp_path / "clip.mkv", Crop(128, 96, 0, 2, 128, 94), video)
    found = probe(clip, Limits()).video
    assert (found.width, found.height, found.crop) == (128, 96, None)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_a_protected_copy_looks_like_the_shown_part(tmp_path: Path, name: str) -> None:
    make = cropped_matroska if name.endswith("mkv") else cropped_mp4
    original = make(tmp_path / name, SHOWN)
    outcome = protect(original, None, Parameters(), FAST)
    video = probe(outcome.output, Limits()).video
    assert (video.width, video.height, video.crop) == (104, 76, None)
    assert video.sample_aspect == probe(original, Limits()).video.sample_aspect
    found = compare(original, outcome.output)
    assert found.picture.psnr_db > 30
    assert not [note for note in found.notes if "became" in note]


def test_the_padding_of_a_protected_copy_stays_hidden_when_it_is_protected_again(
    tmp_path: Path,
) -> None:
    odd = make_video(
        tmp_path / "odd.mkv",
        Video(width=101, height=75, frames=8, codec="ffv1", pixel_format="yuv444p"),
    )
    once = protect(odd, tmp_path / "once.mp4", Parameters(), FAST).output
    twice = protect(once, tmp_path / "twice.mp4", Parameters(), FAST).output
    for path in (once, twice):
        assert stated_crops(path) == [Crop(102, 76, 0, 0, 101, 75)]
        video = probe(path, Limits()).video
        assert (video.width, video.height) == (101, 75)
    assert compare(odd, twice).picture.psnr_db > 25


def test_a_crop_that_the_codec_has_made_itself_is_not_made_again(tmp_path: Path) -> None:
    """Muxers of Blu-rays told of the 1088 lines that 1080 are coded as, and of 8 to crop."""
    video = Video(width=128, height=90, frames=4, colour=(1, 1, 1, 1))
    clip = cropped_matroska(tmp_path / "clip.mkv", Crop(128, 90, 0, 0, 128, 84), video)
    data = bytearray(clip.read_bytes())
    with clip.open("rb") as file:
        height = next(e for e in walk_elements(file) if e.kind == "PixelHeight")
    data[height.payload_offset] = 96
    clip.write_bytes(data)
    assert stated_crops(clip) == [Crop(128, 96, 0, 0, 128, 90)]
    shown = probe(clip, Limits()).video
    assert (shown.width, shown.height, shown.crop) == (128, 90, None)


@pytest.mark.parametrize(
    "clap",
    [
        (128, 1, 96, 1, 0, 1, 0, 1),  # the whole picture
        (104, 0, 76, 1, 0, 1, 0, 1),
        (104, 1, 76, 1, 40, 1, 0, 1),  # beyond the right edge
        (200, 1, 76, 1, 0, 1, 0, 1),
        (0, 1, 76, 1, 0, 1, 0, 1),
    ],
)
def test_nonsense_crops_nothing(tmp_path: Path, clap: tuple[int, ...]) -> None:
    clip = make_video(tmp_path / "clip.mp4", SMALL)
    mp4.insert_in_video_entry(clip, [box(struct.pack(">IIIIiIiI", *clap))])
    assert stated_crops(clip) == [None]


def test_a_box_that_breaks_off_crops_nothing(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", SMALL)
    mp4.insert_in_video_entry(clip, [box(bytes(12))])
    assert stated_crops(clip) == [None]


def test_other_containers_crop_nothing(tmp_path: Path) -> None:
    for name in ("clip.avi", "clip.ts"):
        assert stated_crops(make_video(tmp_path / name, SMALL)) == []


def assert_only_shown(clip: Path, whole: Path) -> None:
    video = probe(clip, Limits()).video
    assert (video.width, video.height, video.crop) == (SHOWN.width, SHOWN.height, SHOWN)
    info = probe(clip, Limits())
    frames = list(chosen_frames(info, list(range(SMALL.frames)), Limits()))
    times = [
        frame.pts * (frame.time_base or Fraction(0)) for frame in frames if frame.pts is not None
    ]
    assert len(times) == SMALL.frames
    assert times[1] - times[0] == Fraction(1, 25)
    for found, before in zip(planes_of(frames[0]), first_planes(whole), strict=True):
        scale = before.shape[0] / SHOWN.coded_height
        top, left, height, width = (
            round(n * scale) for n in (SHOWN.top, SHOWN.left, SHOWN.height, SHOWN.width)
        )
        assert np.array_equal(found, before[top : top + height, left : left + width])


def first_planes(path: Path) -> Planes:
    (frame,) = chosen_frames(probe(path, Limits()), [0], Limits())
    return planes_of(frame).copy()


def cropped_mp4(path: Path, crop: Crop) -> Path:
    make_video(path, SMALL)
    offsets = (
        2 * crop.left + crop.width - crop.coded_width,
        2 * crop.top + crop.height - crop.coded_height,
    )
    numbers = (crop.width, 1, crop.height, 1, offsets[0], 2, offsets[1], 2)
    mp4.insert_in_video_entry(path, [box(struct.pack(">IIIIiIiI", *numbers))])
    return path


def box(payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), b"clap") + payload


def cropped_matroska(path: Path, crop: Crop, video: Video = SMALL) -> Path:
    """Write a clip whose crop stands where its colour was described."""
    make_video(path, video)
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        colour = next(e for e in walk_elements(file) if e.kind == "Colour")
    edges = {
        0x54AA: crop.coded_height - crop.top - crop.height,
        0x54BB: crop.top,
        0x54CC: crop.left,
        0x54DD: crop.coded_width - crop.left - crop.width,
    }
    elements = b"".join(number.to_bytes(2) + bytes([0x81, edge]) for number, edge in edges.items())
    rest = colour.end - colour.offset - len(elements)
    void = bytes([0xEC, 0x80 | (rest - 2)]) + bytes(rest - 2)
    data[colour.offset : colour.end] = elements + void
    path.write_bytes(data)
    return path
