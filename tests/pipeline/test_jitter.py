"""Which times of blocks of sound count, and which only jitter."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.jitter import Block, Settler
from pipeline.timeline import AudioClock, Gap

RATE = 1000
LENGTH = 20  # samples of a block, and milliseconds


def settled(times: list[int | None]) -> list[Block]:
    """Return what becomes of blocks with these times, in milliseconds."""
    settler = Settler(RATE)
    blocks = [
        Block(None if t is None else Fraction(t, 1000), np.full((1, LENGTH), n, np.float32))
        for n, t in enumerate(times)
    ]
    out = [given for block in blocks for given in settler.settled(block)]
    return [*out, *settler.finish()]


def gaps(times: list[int | None]) -> list[Gap]:
    """Return what is done before each of them."""
    clock = AudioClock(RATE, Fraction(0))
    return [clock.place(block.time, LENGTH) for block in settled(times)]


def test_times_that_jitter_move_nothing() -> None:
    random = Random(1)
    times = [0, *(LENGTH * n + random.randint(-19, 19) for n in range(1, 500))]
    assert set(gaps(times)) == {Gap(0, 0)}


def test_a_single_block_far_off_moves_nothing() -> None:
    times = [LENGTH * n for n in range(50)]
    times[20] += 5000
    assert set(gaps(times)) == {Gap(0, 0)}


def test_a_hole_is_filled_where_it_is() -> None:
    times = [LENGTH * n + (21 if n >= 20 else 0) for n in range(100)]
    assert gaps(times) == [Gap(21 if n == 20 else 0, 0) for n in range(100)]


def test_an_overlap_is_dropped_where_it_is() -> None:
    times = [LENGTH * n - (15 if n >= 20 else 0) for n in range(100)]
    assert gaps(times) == [Gap(0, 15 if n == 20 else 0) for n in range(100)]


def test_blocks_crowded_behind_a_pause_do_not_begin_in_the_midst_of_it() -> None:
    """As FFmpeg moves times that lie before a single wrong one: each is a tick after the last."""
    times = [LENGTH * n for n in range(20)] + [3400 + n for n in range(100)]
    assert gaps(times)[20] == Gap(3000, 0)


def test_a_hole_among_times_that_jitter_is_filled() -> None:
    random = Random(1)
    times = [0, *(LENGTH * n + random.randint(-9, 9) for n in range(1, 100))]
    late = [t + (1000 if n >= 50 else 0) for n, t in enumerate(times)]
    assert [n for n, gap in enumerate(gaps(late)) if gap != Gap(0, 0)] == [50]
    assert sum(gap.silence for gap in gaps(late)) == 1000 + times[50] - 50 * LENGTH


def test_what_is_late_at_the_end_stays_late() -> None:
    assert [gap.silence for gap in gaps([0, 20, 40, 500])] == [0, 0, 0, 440]


def test_sound_with_pauses_everywhere_keeps_them() -> None:
    times = [400 * n for n in range(20)]
    assert [gap.silence for gap in gaps(times)] == [0, *[380] * 19]


def test_where_one_block_waits_the_next_without_a_time_follows_it() -> None:
    assert [gap.silence for gap in gaps([0, 500, None, 540, 560])] == [0, 480, 0, 0, 0]


@given(st.lists(st.none() | st.integers(-3000, 10_000), max_size=150))
def test_no_block_is_lost_or_changes_its_turn(times: list[int | None]) -> None:
    found = [int(block.samples[0, 0]) for block in settled(times)]
    assert found == list(range(len(times)))
