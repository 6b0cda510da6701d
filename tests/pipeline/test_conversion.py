"""What a frame becomes before it is encoded. `test_protect.py` has what comes of it."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from pipeline.conversion import to_working_format
from pipeline.media import FieldOrder
from pipeline.parameters import Parameters
from pipeline.plan import plan_output
from pipeline.planes import Planes, planes_of
from pipeline.settings import Settings
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
