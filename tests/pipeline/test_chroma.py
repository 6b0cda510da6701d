"""Where the chroma samples of a picture lie, and that a protected copy says the same."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from media import Video, make_video

from pipeline.chroma import CENTRE, LEFT, TOP, TOP_LEFT, UNSPECIFIED, chroma_location
from pipeline.parameters import Parameters
from pipeline.probe import probe
from pipeline.protect import protect
from pipeline.settings import Limits, Settings

FAST = Settings(preset="ultrafast", threads=1)
# What x264 and x265 call them.
NUMBER = {LEFT: 0, CENTRE: 1, TOP_LEFT: 2, TOP: 3}


def h264(location: int) -> Video:
    options = {"x264-params": f"chromaloc={NUMBER[location]}"}
    return Video(width=128, height=96, frames=4, options=options)


def hevc(location: int) -> Video:
    options = {"x265-params": f"log-level=none:chromaloc={NUMBER[location]}"}
    return Video(
        width=128,
        height=96,
        frames=4,
        codec="libx265",
        pixel_format="yuv420p10le",
        options=options,
        colour=(9, 16, 9, 1),
    )


def jpeg(width: int) -> Video:
    return Video(width=width, height=96, frames=4, codec="mjpeg", pixel_format="yuvj420p")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
@pytest.mark.parametrize("location", NUMBER)
def test_it_is_read_from_any_container(tmp_path: Path, name: str, location: int) -> None:
    for video in (h264(location), hevc(location)):
        clip = make_video(tmp_path / name, video)
        assert probe(clip, Limits()).video.chroma_location == location


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize(
    ("video", "location"),
    [
        (h264(CENTRE), CENTRE),
        (h264(TOP_LEFT), TOP_LEFT),
        (h264(LEFT), LEFT),
        (hevc(TOP_LEFT), TOP_LEFT),
        (jpeg(128), CENTRE),
    ],
)
def test_a_protected_copy_keeps_it(tmp_path: Path, video: Video, location: int, out: str) -> None:
    clip = make_video(tmp_path / "clip.mov", video)
    copy = protect(clip, tmp_path / out, Parameters(), FAST).output
    assert located(copy) == location


def test_an_odd_picture_keeps_it_in_matroska(tmp_path: Path) -> None:
    """VP9 itself has no word for it."""
    clip = make_video(tmp_path / "clip.mov", jpeg(127))
    assert located(protect(clip, tmp_path / "out.mkv", Parameters(), FAST).output) == CENTRE


def test_of_other_pictures_than_four_two_zero_nothing_is_said(tmp_path: Path) -> None:
    video = Video(width=128, height=96, frames=2, pixel_format="yuv444p")
    assert probe(make_video(tmp_path / "clip.mp4", video), Limits()).video.chroma_location == (
        UNSPECIFIED
    )


def test_of_a_codec_that_matroska_does_not_take_nothing_is_said(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.flv", Video(width=128, height=96, frames=2, codec="flv"))
    assert located(clip) == UNSPECIFIED


def located(path: Path) -> int:
    with av.open(str(path)) as container:
        return chroma_location(container.streams.video[0])


@pytest.mark.parametrize(
    ("codec", "size", "location"), [("dvvideo", (720, 576), TOP_LEFT), ("h263", (176, 144), CENTRE)]
)
def test_codecs_that_matroska_does_not_take_keep_it(
    tmp_path: Path, codec: str, size: tuple[int, int], location: int
) -> None:
    width, height = size
    video = Video(width=width, height=height, frames=3, codec=codec, rate=Fraction(25))
    clip = make_video(tmp_path / "clip.avi", video)
    assert probe(clip, Limits()).video.chroma_location == location
    output = protect(clip, tmp_path / "out.mp4", Parameters(), FAST).output
    assert probe(output, Limits()).video.chroma_location == location
