"""A still is the frame that a player would show at a moment."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import Video, make_video

from pipeline.errors import LimitExceeded, UnreadableMedia
from pipeline.probe import probe
from pipeline.settings import Limits
from pipeline.shown import displayed
from pipeline.still import Still, still


def taken(path: Path, moment: str, limits: Limits | None = None) -> Still:
    return still(path, Fraction(moment), limits or Limits())


def picture(found: Still) -> Any:
    return cv2.imdecode(np.frombuffer(found.png, np.uint8), cv2.IMREAD_COLOR)


def frames(path: Path) -> list[Any]:
    track = probe(path, Limits()).video
    with av.open(str(path)) as container:
        return [displayed(frame, track) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        *(("0", 0), ("0.039", 1), ("0.04", 1), ("0.079", 2)),
        *(("1.5", 37), ("1.96", 49), ("2", 49), ("99", 49)),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_the_frame_shown_at_a_moment(tmp_path: Path, name: str, moment: str, number: int) -> None:
    """A moment may be told rounded down; then the frame is meant that begins with it."""
    path = make_video(tmp_path / name, Video(frames=50, options={"g": "20", "bf": "2"}))
    found = taken(path, moment)
    assert np.array_equal(picture(found), frames(path)[number])
    assert found.seconds == pytest.approx(number / 25, abs=0.001)
    assert found.duration == pytest.approx(2.0, abs=0.05)


def test_frames_of_a_variable_rate(tmp_path: Path) -> None:
    video = Video(frames=4, time_base=Fraction(1, 1000), times=[0, 100, 900, 1000])
    path = make_video(tmp_path / "a.mkv", video)
    for moment, seconds in (("0.05", 0.0), ("0.5", 0.1), ("0.89", 0.1), ("0.95", 0.9), ("5", 1.0)):
        assert taken(path, moment).seconds == pytest.approx(seconds)


def test_reordered_frames_between_empty_chunks_of_avi(tmp_path: Path) -> None:
    """As they lie in the protected video, beside which the still is shown."""
    options = {"bf": "2", "g": "12"}
    times = [2 * n for n in range(100)]
    video = Video(96, 64, 100, Fraction(50), "mpeg4", times=times, options=options)
    path = make_video(tmp_path / "a.avi", video)
    for moment, number in (("1.0", 25), ("3.2", 80)):
        found = taken(path, moment)
        assert np.array_equal(picture(found), frames(path)[number])
        assert found.seconds == pytest.approx(number / 25, abs=0.001)


def test_the_shortest_frames_are_told_apart(tmp_path: Path) -> None:
    """Asked for when a frame begins, it is that one, in whichever container."""
    video = Video(frames=6, time_base=Fraction(1, 240), times=list(range(6)))
    for name in ("a.mp4", "a.mkv"):
        path = make_video(tmp_path / name, video)
        for number in range(6):
            moment = f"{number / 240:.3f}"
            assert taken(path, moment).seconds == pytest.approx(number / 240, abs=0.001)


def test_a_video_that_begins_late(tmp_path: Path) -> None:
    video = Video(frames=5, time_base=Fraction(1, 1000), times=[5000, 5040, 5080, 5120, 5160])
    path = make_video(tmp_path / "a.mkv", video)
    assert taken(path, "0.09").seconds == pytest.approx(0.08)


def test_a_turned_video_is_shown_upright(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", Video(width=320, height=240, rotation=90))
    assert picture(taken(path, "0")).shape == (320, 240, 3)


def test_wide_pixels_are_shown_wide(tmp_path: Path) -> None:
    video = Video(width=320, height=240, sample_aspect=Fraction(4, 3))
    path = make_video(tmp_path / "a.mp4", video)
    assert picture(taken(path, "0")).shape == (240, 427, 3)


def test_what_has_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x" * 1000)
    with pytest.raises(UnreadableMedia):
        taken(path, "0")
    large = make_video(tmp_path / "b.mp4", Video())
    with pytest.raises(LimitExceeded):
        taken(large, "0", Limits(max_pixels=100))
