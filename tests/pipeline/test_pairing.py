"""Which frame belongs to which, and both on common ground."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import UnreadableMedia
from pipeline.media import VideoTrack
from pipeline.pairing import (
    chosen_frames,
    common_planes,
    frame_times,
    is_padded,
    pair_frames,
)
from pipeline.planes import planes_of
from pipeline.probe import probe
from pipeline.settings import Limits


def _frame(width: int, height: int, form: str, value: int) -> av.VideoFrame:
    """A frame whose every byte (or 10-bit sample) is `value`."""
    frame = av.VideoFrame(width, height, form)
    for plane in frame.planes:
        kind = np.uint16 if form.endswith("10le") else np.uint8
        plane.update(np.full(plane.buffer_size // kind().itemsize, value, kind).tobytes())
    return frame


def _clip(path: Path, ticks: list[int], size: tuple[int, int] = (64, 48)) -> Path:
    """A lossless clip at `ticks` of 1/1000 s; frame i has the luma 50 + i."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, tick in enumerate(ticks):
            frame = _frame(*size, "yuv420p", 50 + index)
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _ways(tmp_path: Path) -> tuple[VideoTrack, VideoTrack]:
    track = probe(_clip(tmp_path / "upright.mkv", [0]), Limits()).video
    return track, track


def test_equal_counts_are_paired_by_number_whatever_the_times() -> None:
    pairing = pair_frames(np.arange(5.0), np.arange(0.0, 10.0, 2.0), 30)

    assert pairing.alignment == "index"
    assert pairing.pairs == ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4))


def test_samples_spread_from_the_first_frame_to_the_last() -> None:
    times = np.arange(1000) / 25.0

    pairs = pair_frames(times, times, 30).pairs

    assert len(pairs) == 30
    assert (pairs[0], pairs[-1]) == ((0, 0), (999, 999))
    assert max(np.diff([first for first, _ in pairs])) <= 35


def test_different_counts_are_paired_by_time() -> None:
    original = np.arange(50) / 50.0
    protected = np.arange(25) / 25.0  # every second frame

    pairing = pair_frames(original, protected, 10)

    assert pairing.alignment == "time"
    assert len(pairing.pairs) == 10
    assert all(first == 2 * second for first, second in pairing.pairs)


def test_only_the_length_that_both_have_is_paired() -> None:
    pairs = pair_frames(np.arange(100) / 25.0, np.arange(40) / 25.0, 10).pairs

    assert pairs[-1] == (39, 39)


def test_one_frame_can_be_paired() -> None:
    assert pair_frames(np.zeros(1), np.zeros(1), 30).pairs == ((0, 0),)
    assert pair_frames(np.zeros(1), np.arange(3.0), 30).pairs == ((0, 0),)


def test_times_are_those_of_the_file(tmp_path: Path) -> None:
    info = probe(_clip(tmp_path / "a.mkv", [0, 40, 100, 700]), Limits())

    times = frame_times(info, Limits())

    assert times.seconds.tolist() == [0, 0.04, 0.1, 0.7]
    assert times.damaged_packets == 0
    assert not times.ended_early


def test_chosen_frames_come_by_number_and_again_if_asked_twice(tmp_path: Path) -> None:
    info = probe(_clip(tmp_path / "a.mkv", list(range(0, 400, 40))), Limits())

    found = [planes_of(f).luma[0, 0] for f in chosen_frames(info, [0, 3, 3, 9], Limits())]

    assert found == [50, 53, 53, 59]


def test_a_file_with_fewer_frames_than_were_counted_is_told(tmp_path: Path) -> None:
    """As decoders with several threads may give of damaged packets."""
    info = probe(_clip(tmp_path / "a.mkv", list(range(0, 400, 40))), Limits())

    with pytest.raises(UnreadableMedia, match="a.mkv is so damaged"):
        list(chosen_frames(info, [0, 10], Limits()))


TIMES = st.lists(st.floats(-100, 100), min_size=1, max_size=30).map(np.array)


@given(TIMES, TIMES, st.integers(1, 40))
def test_pairs_ascend_whatever_times_a_damaged_file_states(
    original: NDArray[np.float64], protected: NDArray[np.float64], most: int
) -> None:
    pairs = pair_frames(original, protected, most).pairs

    assert pairs
    for numbers, times in zip(zip(*pairs, strict=True), (original, protected), strict=True):
        assert list(numbers) == sorted(numbers)
        assert numbers[-1] < len(times)


def test_a_file_without_a_decodable_frame_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(1000))

    with pytest.raises(UnreadableMedia, match=r"noise\.mp4"):
        probe(path, Limits())


def test_padding_is_told_from_another_size() -> None:
    assert is_padded((321, 241), (322, 242))
    assert is_padded((321, 240), (322, 240))
    assert not is_padded((320, 240), (320, 240))
    assert not is_padded((321, 241), (321, 241))
    assert not is_padded((320, 240), (322, 242))
    # Interlaced, whose height becomes a multiple of four.
    assert is_padded((320, 486), (320, 488))
    assert is_padded((321, 241), (322, 244))
    assert not is_padded((320, 486), (320, 492))
    assert not is_padded((320, 486), (318, 488))


def test_padding_is_cropped_and_not_scaled(tmp_path: Path) -> None:
    original = _frame(33, 17, "yuv420p", 90)
    protected = _frame(34, 18, "yuv420p", 90)
    planes_of(protected).luma[:, 33:] = 250
    planes_of(protected).luma[17:] = 250

    a, b = common_planes(original, protected, _ways(tmp_path))

    assert [p.shape for p in a] == [p.shape for p in b] == [(17, 33), (9, 17), (9, 17)]
    assert b.luma.max() == 90


def test_another_size_is_scaled_to_the_originals(tmp_path: Path) -> None:
    ways = _ways(tmp_path)

    a, b = common_planes(_frame(64, 48, "yuv420p", 90), _frame(32, 24, "yuv420p", 90), ways)

    assert a.luma.shape == b.luma.shape
    assert np.ptp(b.luma) == 0
    assert b.luma[0, 0] == 90


def test_full_and_limited_range_meet_in_the_originals(tmp_path: Path) -> None:
    full = _frame(64, 48, "yuvj420p", 255)
    limited = _frame(64, 48, "yuv420p", 235)
    for frame in (full, limited):
        planes_of(frame).cb[:] = planes_of(frame).cr[:] = 128

    for original, protected, white in ((full, limited, 255), (limited, full, 235)):
        a, b = common_planes(original, protected, _ways(tmp_path))
        assert a.luma[5, 5] == b.luma[5, 5] == white


def test_grey_of_limited_range_meets_a_copy_of_the_same_levels(tmp_path: Path) -> None:
    grey, copy = _frame(64, 48, "gray", 40), _frame(64, 48, "yuv420p", 128)
    planes_of(copy).luma[:] = 40
    grey.color_range = copy.color_range = 1

    for frames in ((grey, copy), (copy, grey)):
        a, b = common_planes(*frames, _ways(tmp_path))
        assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))
        assert a.luma[5, 5] == 40


@pytest.mark.parametrize(
    "form", ["yuv444p", "yuvj422p", "nv12", "yuva420p", "yuv422p10le", "gray", "rgb24", "gbrp"]
)
def test_every_format_equals_itself(tmp_path: Path, form: str) -> None:
    frame = _frame(64, 48, form, 90)

    a, b = common_planes(frame, frame, _ways(tmp_path))

    assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize(("matrix", "tag"), [("ITU601", 5), ("ITU709", 1)])
def test_rgb_is_compared_by_the_matrix_of_its_copy(tmp_path: Path, matrix: str, tag: int) -> None:
    """The wrong one is levels away."""
    original = _frame(64, 48, "rgb24", 0)
    np.frombuffer(original.planes[0], np.uint8)[:] = [200, 90, 40] * 64 * 48
    copy = original.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range="MPEG")
    copy.colorspace = tag

    a, b = common_planes(original, copy, _ways(tmp_path))

    assert all(np.abs(p.astype(int) - q).max() <= 1 for p, q in zip(a, b, strict=True))


def test_rgb_equals_what_a_limited_range_copy_of_it_holds(tmp_path: Path) -> None:
    original = _frame(64, 48, "rgb24", 200)
    copy = original.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")

    a, b = common_planes(original, copy, _ways(tmp_path))

    assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))
