from __future__ import annotations

from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.timeline import (
    AudioClock,
    DecodingOrder,
    Gap,
    JoinedClock,
    PacketClock,
    Placed,
    StatedTimes,
    VideoClock,
    decoding_times,
)

MILLISECOND = Fraction(1, 1000)


def test_frames_lie_where_the_file_says_less_its_start() -> None:
    clock = VideoClock(MILLISECOND, Fraction(33, 1000), Fraction(30))
    assert [clock.place(p, 33) for p in (33, 66, 500)] == [
        Placed(0, 33),
        Placed(33, 33),
        Placed(467, 33),
    ]


def test_the_origin_is_a_whole_tick_and_never_after_what_begins_first() -> None:
    """Sound that begins within a tick of the picture's clock keeps its beginning."""
    clock = VideoClock(Fraction(1, 25), Fraction(7, 100), Fraction(25))
    assert clock.origin == 1
    assert clock.place(2, None).pts == 1


def test_a_frame_without_a_timestamp_follows_the_one_before() -> None:
    clock = VideoClock(MILLISECOND, Fraction(0), Fraction(25))
    assert [clock.place(p, None).pts for p in (None, None, 100, None)] == [0, 40, 100, 140]


@given(st.lists(st.none() | st.integers(-(10**6), 10**6), min_size=1, max_size=50))
def test_places_always_rise(times: list[int | None]) -> None:
    clock = VideoClock(MILLISECOND, Fraction(0), Fraction(25))
    placed = [clock.place(t, 0) for t in times]
    assert all(b.pts > a.pts for a, b in zip(placed, placed[1:], strict=False))
    assert all(p.duration > 0 for p in placed)


def test_equal_timestamps_are_parted_and_counted() -> None:
    clock = VideoClock(MILLISECOND, Fraction(0), Fraction(25))
    assert [clock.place(p, 40).pts for p in (0, 0, 40)] == [0, 1, 40]
    assert clock.moved == 1


def test_jitter_of_a_millisecond_makes_neither_gap_nor_overlap() -> None:
    clock = AudioClock(48000, Fraction(0))
    times = [Fraction(round(1000 * n * 1024 / 48000), 1000) for n in range(500)]
    assert {clock.place(t, 1024) for t in times} == {Gap(0, 0)}


def test_a_gap_becomes_silence_and_an_overlap_is_dropped() -> None:
    clock = AudioClock(1000, Fraction(0))
    assert clock.place(Fraction(0), 100) == Gap(0, 0)
    assert clock.place(Fraction(3, 10), 100) == Gap(200, 0)
    assert clock.place(Fraction(35, 100), 100) == Gap(0, 50)
    assert clock.place(Fraction(45, 100), 100) == Gap(0, 0)
    assert clock.dropped == 50


def test_what_lies_before_the_origin_is_dropped() -> None:
    clock = AudioClock(1000, Fraction(1))
    assert clock.place(Fraction(95, 100), 100) == Gap(0, 50)
    assert clock.start == 0


@pytest.mark.parametrize(
    ("length", "origin"),
    [(331, 1000), (400, 2500)],
    ids=["a block begins just before the origin", "the track begins long before it"],
)
def test_sound_is_followed_up_to_the_origin(length: int, origin: int) -> None:
    clock = AudioClock(1000, Fraction(origin, 1000))
    gaps = [clock.place(Fraction(at, 1000), length) for at in range(0, 4000, length)]
    assert {gap.silence for gap in gaps} == {0}
    assert sum(gap.dropped for gap in gaps) == origin
    assert clock.start == 0


def test_a_late_track_begins_late() -> None:
    clock = AudioClock(1000, Fraction(1))
    assert clock.place(Fraction(3, 2), 100) == Gap(0, 0)
    assert clock.start == 500


@given(
    st.lists(
        st.tuples(st.none() | st.fractions(-2, 10, max_denominator=1000), st.integers(0, 500)),
        min_size=1,
        max_size=30,
    )
)
def test_the_run_is_never_negative(blocks: list[tuple[Fraction | None, int]]) -> None:
    clock = AudioClock(1000, Fraction(0))
    for time, samples in blocks:
        gap = clock.place(time, samples)
        assert gap.silence >= 0
        assert 0 <= gap.dropped <= samples


def test_a_clock_that_starts_anew_goes_on_where_it_was() -> None:
    clock = VideoClock(MILLISECOND, Fraction(0), Fraction(25))
    times = [*range(0, 2000, 40), *range(0, 2000, 40)]
    assert [clock.place(t, 40).pts for t in times] == list(range(0, 4000, 40))
    assert (clock.jumps, clock.moved) == (1, 0)


TENTH = Fraction(1, 10)


def joined(first: int, second: int, shifts: list[Fraction]) -> list[Fraction]:
    """Return in tenths of a second where blocks of one begin, of two recordings that begin at 0."""
    clock = JoinedClock(shifts)
    times = [n * TENTH for n in (*range(first), *range(second))]
    return [(time + clock.shift(time, TENTH)) / TENTH for time in times]


def _block(pts: int, duration: int, rate: int) -> av.AudioFrame:
    block = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    block.pts, block.duration, block.sample_rate = pts, duration, rate
    block.time_base = Fraction(1, 90_000)
    return block


def test_times_that_follow_from_the_length_at_another_rate_are_not_taken() -> None:
    times = StatedTimes(has_guessed_times=True)
    blocks = [(0, 2089, 48_000), (2090, 2089, 48_000), (4179, 2090, 48_000), (5760, 2090, 44_100)]
    found = [times.of(_block(*block)) for block in blocks]
    assert found == [0, None, None, Fraction(5760, 90_000)]


def test_times_that_a_file_states_are_taken_whatever_its_lengths_are() -> None:
    times = StatedTimes(has_guessed_times=False)
    assert [times.of(_block(2090 * n, 2090, 48_000)) for n in range(2)] == [
        0,
        Fraction(2090, 90_000),
    ]


def test_sound_goes_on_with_the_picture_where_the_clock_starts_anew() -> None:
    """Sound of the first recording ends half a second before its picture, or after it."""
    picture = [Fraction(0), Fraction(4)]
    assert joined(35, 20, picture) == [*range(35), *range(40, 60)]
    assert joined(45, 20, picture) == [*range(45), *range(40, 60)]


def test_sound_goes_on_by_itself_until_the_pictures_clock_starts_anew() -> None:
    shifts = [Fraction(0)]
    assert joined(35, 20, shifts) == list(range(55))
    clock = JoinedClock(shifts)
    clock.shift(Fraction(3), TENTH)
    assert clock.shift(Fraction(0), TENTH) == 31 * TENTH
    shifts.append(Fraction(4))
    assert clock.shift(TENTH, TENTH) == 4


def test_packets_go_on_with_the_picture_in_their_own_ticks() -> None:
    clock = JoinedClock([Fraction(0), Fraction(4)], Fraction(1, 90_000))
    assert [clock.shift(at, 9000) for at in (0, 9000, 270_000, 0)] == [0, 0, 0, 360_000]


def test_a_clock_starts_anew_behind_sound_without_times_too() -> None:
    clock = JoinedClock([Fraction(0)])
    clock.shift(Fraction(0), TENTH)
    for _ in range(29):
        assert clock.shift(None, TENTH) == 0
    assert clock.shift(Fraction(0), TENTH) == 3


TICKS = st.none() | st.integers(-(10**6), 10**6)


@given(st.lists(st.tuples(TICKS, TICKS, TICKS), min_size=1, max_size=50))
def test_packets_are_decoded_one_after_the_other_and_before_they_are_shown(
    said: list[tuple[int | None, int | None, int | None]],
) -> None:
    clock = PacketClock(MILLISECOND, "audio", "mp4")
    placed = [clock.place(*packet) for packet in said]
    assert all(b[1] > a[1] for a, b in zip(placed, placed[1:], strict=False))
    assert all(shown >= decoded for shown, decoded in placed)


def test_packets_in_order_keep_their_times() -> None:
    clock = PacketClock(MILLISECOND, "video", "mp4")
    said = [(40, -40, 40), (120, 0, 40), (80, 40, 40), (None, 80, 40), (3000, 120, 40)]
    assert [clock.place(*packet) for packet in said] == [
        *((40, -40), (120, 0), (80, 40), (80, 80), (3000, 120))
    ]


def test_packets_of_joined_recordings_go_on_where_the_first_ended() -> None:
    clock = PacketClock(MILLISECOND, "video", "mp4")
    said = [(n, n, 20) for n in (0, 20, 5000, 0, 20, 40)]
    assert [at for at, _ in map(lambda p: clock.place(*p), said)] == [0, 20, 5000, 5020, 5040, 5060]


def test_packets_a_little_out_of_order_are_parted_by_a_tick() -> None:
    clock = PacketClock(MILLISECOND, "video", "mp4")
    said = [(n, n, 20) for n in (0, 20, 10, 40)]
    assert [clock.place(*packet)[1] for packet in said] == [0, 20, 21, 40]


def test_packets_of_sound_out_of_order_are_parted_by_what_mp4_can_tell_apart() -> None:
    """It counts samples, MPEG-TS shorter ticks."""
    clock = PacketClock(Fraction(1, 90_000), "audio", "mp4", 44_100)
    said = [(n, n, 2090) for n in (0, 2090, 1000, 2000, 4180)]
    decoded = [clock.place(*packet)[1] for packet in said]
    samples = [round(at * Fraction(44_100, 90_000)) for at in decoded]
    assert samples == sorted(set(samples))
    assert decoded[-1] == 4180


@pytest.mark.parametrize("container", ["matroska", "webm"])
def test_packets_shorter_than_a_tick_keep_their_times(container: str) -> None:
    """TrueHD's take 5 / 6 ms, and Matroska counts whole ones."""
    clock = PacketClock(MILLISECOND, "audio", container)
    said = [round(n * 5 / 6) for n in range(1000)]
    assert [clock.place(n, n, 1)[1] for n in said] == said


@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_subtitles_begin_together_and_a_late_one_does_not_move_the_next(container: str) -> None:
    clock = PacketClock(MILLISECOND, "subtitle", container)
    said = [1000, 1000, 1000, 5000, 3000, 10_000, 20_000]
    assert [clock.place(n, n, 2000)[0] for n in said] == [
        *(1000, 1000, 1000, 5000, 5000, 10_000, 20_000)
    ]


def test_frames_whose_file_says_only_when_they_are_shown_keep_those_times() -> None:
    """As of Matroska with B-frames."""
    clock = PacketClock(MILLISECOND, "video", "matroska")
    said = [(0, None), (160, None), (80, None), (40, 40), (120, 80)]
    assert [clock.place(pts, dts, 40)[0] for pts, dts in said] == [pts for pts, _ in said]


@given(st.permutations(range(0, 400, 40)))
def test_decoding_times_are_the_latest_in_order(shown: list[int]) -> None:
    times = decoding_times(shown)
    assert times == sorted(times)
    slack = [at - time for at, time in zip(shown, times, strict=True)]
    assert min(slack) == 0


def test_frames_lie_as_far_apart_as_the_packets_that_let_them_out() -> None:
    order = DecodingOrder()
    times = [order.place(dts) for dts in (4, 6, 8, 14, 16, None, None)]
    assert times == [0, 2, 4, 10, 12, 14, 16]
    assert order.shortest == 2


def test_a_hole_before_the_last_frames_is_not_repeated_behind_it() -> None:
    order = DecodingOrder()
    assert [order.place(dts) for dts in (4, 6, 8, 308, None)] == [0, 2, 4, 304, 306]


def test_frames_that_all_come_at_the_end_have_no_times_of_decoding() -> None:
    order = DecodingOrder()
    assert [order.place(None) for _ in range(3)] == [0, None, None]
