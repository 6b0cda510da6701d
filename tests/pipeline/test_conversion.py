"""What a frame becomes before it is encoded. `test_protect.py` has what comes of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from media import with_fields

from pipeline.conversion import to_working_format
from pipeline.media import FieldOrder
from pipeline.parameters import Parameters
from pipeline.plan import plan_output
from pipeline.planes import Planes, plane_view, planes_of
from pipeline.protect import protect
from pipeline.settings import Settings
from pipeline.shown import in_colour
from pipeline.verify import compare
from tests.pipeline.test_plan import PICTURE, info


@pytest.mark.parametrize(("width", "height"), [(33, 18), (32, 17), (33, 17)])
def test_padding_repeats_the_last_column_and_row(width: int, height: int) -> None:
    frame = numbered_lines(width, height)
    padded = as_encoded(frame, FieldOrder.PROGRESSIVE)
    assert padded.luma.shape == (18, width + width % 2)
    assert np.array_equal(padded.luma[:height, :width], planes_of(frame).luma)
    assert padded.luma[-1].tolist() == [height - 1] * padded.luma.shape[1]
    assert np.array_equal(padded.cb, planes_of(frame).cb)


@pytest.mark.parametrize(
    ("height", "last_lines", "last_of_chroma"),
    [(18, [16, 17, 16, 17], [107, 108, 107]), (17, [16, 15, 16, 15], [107, 108, 107])],
)
def test_padding_of_an_interlaced_picture_repeats_lines_of_the_same_field(
    height: int, last_lines: list[int], last_of_chroma: list[int]
) -> None:
    padded = as_encoded(numbered_lines(33, height), FieldOrder.TOP_FIRST)
    assert padded.luma.shape == (20, 34)
    assert padded.luma[16:].tolist() == [[line] * 34 for line in last_lines]
    assert padded.cb[7:].tolist() == padded.cr[7:].tolist() == [[n] * 17 for n in last_of_chroma]


def test_padding_of_a_single_interlaced_line_is_that_line() -> None:
    padded = as_encoded(numbered_lines(32, 1), FieldOrder.TOP_FIRST)
    assert padded.luma.shape == (4, 32)
    assert not padded.luma.any()


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "size", "rate"),
    [
        ("a.mkv", "mpeg2video", "yuv422p", (320, 240), Fraction(25)),
        ("a.avi", "dvvideo", "yuv411p", (720, 480), Fraction(30000, 1001)),
        # Its decoder marks no frame: the container alone says that there are fields.
        ("a.mov", "jpeg2000", "yuv422p", (320, 240), Fraction(25)),
    ],
)
def test_fields_keep_their_own_colour(
    tmp_path: Path, name: str, codec: str, pixel_format: str, size: tuple[int, int], rate: Fraction
) -> None:
    """A scaler that knew of no fields would lay the colour of one over the other."""
    original, protected = tmp_path / name, tmp_path / "b.mp4"
    options = {"flags": "+ildct+ilme", "q:v": "2"} if codec == "mpeg2video" else {}
    options |= {"field_order": "tt"}
    with av.open(str(original), "w") as out:
        stream = out.add_stream(codec, rate=rate, options=options)
        (stream.width, stream.height), stream.pix_fmt = size, pixel_format
        for number in range(5):
            frame = with_fields(two_colours(*size, pixel_format), "tff")
            frame.pts, frame.time_base = number, 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    protect(original, protected, Parameters(epsilon=0.04), Settings(preset="ultrafast", crf=5))
    with av.open(str(protected)) as container:
        cb = planes_of(next(container.decode(video=0))).cb.astype(int)
    assert np.median(np.abs(np.diff(cb, axis=0))) > 55
    assert compare(original, protected).picture.psnr_db > 38


def two_colours(width: int, height: int, pixel_format: str) -> av.VideoFrame:
    """Return a grey frame with one colour in its even lines and another in its odd ones."""
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, upper, lower in zip(frame.planes, (128, 90, 128), (128, 160, 128), strict=True):
        view = plane_view(plane, 8)
        view[0::2], view[1::2] = upper, lower
    return frame


def as_encoded(frame: av.VideoFrame, order: FieldOrder) -> Planes:
    picture = replace(PICTURE, width=frame.width, height=frame.height, field_order=order)
    plan = plan_output(info(picture), Parameters(), Settings(), ".mp4").video
    return planes_of(to_working_format(frame, plan))


def numbered_lines(width: int, height: int) -> av.VideoFrame:
    """Return a frame whose lines of luma are 0, 1, ..., those of chroma 100, 101, ..."""
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, first in zip(planes_of(frame), (0, 100, 100), strict=True):
        plane[:] = first + np.arange(len(plane), dtype=np.uint8)[:, None]
    return frame


def test_planes_of_a_picture_that_lies_upside_down() -> None:
    """As AMV's decoder gives it, and a filter that mirrors without moving a sample."""
    luma = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16)
    whole = np.concatenate([luma, np.full((8, 16), 90, np.uint8)])
    frame = av.VideoFrame.from_ndarray(whole, "yuv420p")
    graph = Graph()
    source = graph.add_buffer(width=16, height=16, format=frame.format, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    graph.push(frame)
    mirrored: Any = graph.pull()
    assert mirrored.planes[0].line_size < 0
    assert np.array_equal(planes_of(mirrored).luma, luma[::-1])
    assert (planes_of(mirrored).cb == 90).all()


@pytest.mark.parametrize("pixels", ["gray", "ya8", "gray10le", "monob"])
def test_grey_gets_no_cast(pixels: str) -> None:
    random = np.random.default_rng(0)
    colours = random.integers(0, 255, (32, 48, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(colours, "rgb24").reformat(format=pixels)
    track = replace(PICTURE, width=48, height=32, pixel_format=pixels)
    for full_range in (1, 2):
        colour = replace(track.colour, range=full_range)
        plan = plan_output(info(replace(track, colour=colour)), Parameters(), Settings()).video
        picture = planes_of(to_working_format(frame, plan))
        assert (picture.cb == 128 * picture.level).all()
        assert (picture.cr == 128 * picture.level).all()
        assert picture.luma.std() > 10


@pytest.mark.parametrize(("pixels", "depth"), [("gray", 8), ("gray10le", 10)])
@pytest.mark.parametrize("full_range", [1, 2])
@pytest.mark.parametrize("matrix", [1, 2, 14, 191])  # BT.709, none, ICtCp, reserved
def test_grey_keeps_its_levels_in_either_range_and_any_matrix(
    pixels: str, depth: int, full_range: int, matrix: int
) -> None:
    """As of monochrome HEVC and AV1."""
    frame = grey(pixels, depth)
    frame.color_range, frame.colorspace = full_range, matrix
    track = replace(PICTURE, width=64, height=32, pixel_format=pixels, depth=depth)
    colour = replace(track.colour, range=full_range)
    plan = plan_output(info(replace(track, colour=colour)), Parameters(), Settings()).video
    picture = planes_of(to_working_format(frame, plan))
    assert np.array_equal(picture.luma, plane_view(frame.planes[0], depth))
    assert (picture.cb == 128 * picture.level).all()
    assert frame.colorspace == matrix


def test_grey_of_limited_range_is_shown_from_black_to_white() -> None:
    frame = grey("gray", 8)
    frame.color_range = 1
    shown = in_colour(frame)
    assert (shown.min(), shown.max()) == (0, 255)
    frame.color_range = 2
    assert in_colour(frame).max() == 235


@pytest.mark.parametrize(
    ("pixels", "white"),
    [
        *(("bgr24", b"\xff\xff\xff"), ("rgb555le", b"\xff\x7f"), ("rgb555be", b"\x7f\xff")),
        *(("bgr555le", b"\xff\x7f"), ("rgb565le", b"\xff\xff"), ("bgr565be", b"\xff\xff")),
    ],
)
def test_white_of_any_rgb_is_white(pixels: str, white: bytes) -> None:
    """As raw AVI and 16-bit QuickTime have it."""
    frame = av.VideoFrame(64, 32, pixels)
    frame.planes[0].update(white * (frame.planes[0].buffer_size // len(white)))
    assert in_colour(frame).min() == 255
    track = replace(PICTURE, width=64, height=32, pixel_format=pixels)
    plan = plan_output(info(track), Parameters(), Settings()).video
    picture = planes_of(to_working_format(frame, plan))
    assert [int(plane.min()) for plane in picture] == [235, 128, 128]
    assert [int(plane.max()) for plane in picture] == [235, 128, 128]


def grey(pixels: str, depth: int) -> av.VideoFrame:
    """Return 64 x 32 grey pixels, from 16 to 235 levels of 8 bits."""
    frame = av.VideoFrame(64, 32, pixels)
    plane_view(frame.planes[0], depth)[:] = np.linspace(16, 235, 64).astype(int) << (depth - 8)
    return frame
