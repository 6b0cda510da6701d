"""What is known of a file."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pipeline.media import PictureEnd


@pytest.mark.parametrize(
    ("duration", "are_made_up", "length"),
    [
        pytest.param(0, False, 400, id="the file's end tells what the last frame does not"),
        pytest.param(200, False, 200, id="it says so itself, as mkvmerge has it do"),
        pytest.param(200, True, 400, id="FFmpeg only says so"),
    ],
)
def test_the_last_frame_lasts_as_long_as_it_says_or_to_the_files_end(
    duration: int, are_made_up: bool, length: int
) -> None:
    end = PictureEnd(Fraction(1), are_made_up)
    assert end.length_of_last(600, duration, Fraction(1, 1000)) == length


@pytest.mark.parametrize("seconds", [1, 2**31])
def test_an_end_that_the_last_frame_cannot_reach_tells_nothing(seconds: int) -> None:
    """MP4 has 31 bits for a frame's length."""
    end = PictureEnd(Fraction(seconds), are_lengths_made_up=True)
    assert end.length_of_last(1200, 200, Fraction(1, 1000)) == 200
