"""Where the chroma samples of a picture lie, and that a protected copy says the same."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import Video, make_video

from pipeline.chroma import CENTRE, LEFT, TOP, TOP_LEFT, UNSPECIFIED, chroma_location
from pipeline.parameters import Parameters
from pipeline.planes import plane_view, planes_of
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


@pytest.mark.parametrize(
    ("codec", "pixel_format", "location"),
    [
        ("prores_ks", "yuv444p10le", CENTRE),
        ("png", "rgb24", CENTRE),
        ("libx264", "yuv444p", LEFT),
        ("libx265", "yuv444p10le", CENTRE),
        ("mpeg2video", "yuv422p", TOP_LEFT),
        ("mjpeg", "yuvj422p", CENTRE),
        ("prores_ks", "yuv422p10le", UNSPECIFIED),
    ],
)
def test_what_becomes_four_two_zero_says_where_it_lies(
    tmp_path: Path, codec: str, pixel_format: str, location: int
) -> None:
    """Otherwise colour stands half a pixel beside its luma."""
    clip, copy = tmp_path / "clip.mov", tmp_path / "out.mp4"
    write_colour_slopes(clip, codec, pixel_format, column=0.5 if location == CENTRE else 0)
    protect(clip, copy, Parameters(), Settings(preset="ultrafast", crf=1))
    assert located(copy) == (location or LEFT)
    with av.open(str(copy)) as container:
        picture = planes_of(next(container.decode(video=0)))
    amid = range(4, 20)
    columns = np.array([picture.cb[4:20, i].mean() / picture.level / 2 - 40 - 2 * i for i in amid])
    rows = np.array([picture.cr[i, 4:20].mean() / picture.level / 2 - 40 - 2 * i for i in amid])
    assert abs(columns.mean() - (0.5 if location == CENTRE else 0)) < 0.15
    assert abs(rows.mean() - (0 if location == TOP_LEFT else 0.5)) < 0.15


def write_colour_slopes(path: Path, codec: str, pixel_format: str, column: float) -> None:
    """
    Write 64 x 64 pixels with Cb = 80 + 2 * column and Cr = 80 + 2 * row.

    Args:
        column: of the first sample where there is one for two columns.
    """
    slope = np.arange(64)
    is_halved = "422" in pixel_format
    frame = av.VideoFrame(64, 64, pixel_format.removesuffix("10le") if is_halved else "yuv444p")
    luma, cb, cr = (plane_view(plane, 8) for plane in frame.planes)
    luma[:] = 128
    cb[:] = 80 + 2 * (slope[::2] + column if is_halved else slope)
    cr[:] = 80 + 2 * slope[:, None]
    frame = frame.reformat(format=pixel_format)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"b": "20000000", "qmin": "1", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixel_format
        for number in range(3):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


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
