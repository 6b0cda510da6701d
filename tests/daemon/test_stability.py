"""When a file is whole: looks, events and seconds are told, nothing is waited for."""

from __future__ import annotations

import pytest

from daemon.stability import Event, Probes, Quiet, Stamp, Tracker, ready_at

QUIET = Quiet(closed_s=2, settle_s=5, incomplete_s=600)
NOBODY, SOMEBODY, UNKNOWN = False, True, None


class File:
    """A file that is looked at and asked about."""

    def __init__(self) -> None:
        self.tracker = Tracker(QUIET)
        self.stamp = Stamp(1, 2, 1000, 0)
        self.is_open: bool | None = UNKNOWN
        self.is_truncated = False
        self.asked = 0

    def at(self, now: float) -> float:
        """Look at it, and return since when it is whole or when to look again."""
        self.tracker.look(self.stamp, now)
        return self.tracker.whole_at(now, Probes(lambda: self.is_open, self._truncated))

    def grow(self, size: int = 100) -> None:
        self.stamp = Stamp(1, 2, self.stamp.size + size, self.stamp.mtime_ns + 1)

    def touch(self) -> None:
        self.stamp = Stamp(1, 2, self.stamp.size, self.stamp.mtime_ns - 10**18)

    def _truncated(self) -> bool:
        self.asked += 1
        return self.is_truncated


@pytest.fixture
def file() -> File:
    return File()


# --- Nothing is known of it: there at the start, polled, events lost ---


def test_without_events_it_must_be_still_between_two_looks(file: File) -> None:
    assert file.at(100) == 105
    assert file.at(104) == 105
    assert file.at(105) == 105


def test_the_first_look_never_suffices_however_old_the_file_says_it_is(file: File) -> None:
    file.stamp = Stamp(1, 2, 1000, -(10**18))
    assert file.at(1_000_000) == 1_000_005


def test_each_change_starts_the_wait_anew(file: File) -> None:
    file.at(100)
    file.grow()
    assert file.at(104) == 109
    file.touch()  # a preallocated copy: only its time moves
    assert file.at(109) == 114
    assert file.at(114) == 114


def test_another_file_of_that_name_starts_the_wait_anew(file: File) -> None:
    file.at(100)
    file.stamp = Stamp(1, 3, 1000, 0)
    assert file.at(105) == 110


# --- Moved in ---


def test_what_was_moved_in_is_whole_at_once(file: File) -> None:
    file.tracker.notice(Event.MOVED_IN, 100)
    assert file.at(100.1) == 100


def test_what_was_written_to_after_it_was_moved_in_is_not(file: File) -> None:
    file.tracker.notice(Event.MOVED_IN, 100)
    file.tracker.notice(Event.WRITING, 100.05)
    assert file.at(100.1) > 100.1


def test_a_change_that_no_event_told_of_takes_the_trust_away(file: File) -> None:
    file.tracker.notice(Event.MOVED_IN, 100)
    file.at(100.1)
    file.grow()
    assert file.at(101) == 106


def test_a_time_that_is_set_after_moving_waits_as_after_closing(file: File) -> None:
    file.tracker.notice(Event.MOVED_IN, 100)
    file.at(100.1)
    file.touch()
    assert file.at(101) == 103


# --- Closed after writing ---


def test_what_was_closed_must_be_left_so_for_a_while(file: File) -> None:
    file.tracker.notice(Event.CREATED, 100)
    file.tracker.notice(Event.WRITING, 101)
    file.tracker.notice(Event.CLOSED, 102)
    assert file.at(102) == 104
    assert file.at(104) == 104


def test_reopening_for_each_chunk_starts_the_wait_anew(file: File) -> None:
    for second in range(100, 120):
        file.tracker.notice(Event.WRITING, second)
        file.grow()
        file.tracker.notice(Event.CLOSED, second + 0.5)
        assert file.at(second + 0.6) == second + 2.5


def test_writing_after_closing_waits_for_the_next_closing(file: File) -> None:
    file.tracker.notice(Event.CLOSED, 100)
    file.at(100)
    file.tracker.notice(Event.WRITING, 101)
    file.grow()
    assert file.at(102) > 104
    file.tracker.notice(Event.CLOSED, 103)
    assert file.at(103) == 105


def test_a_time_set_after_closing_is_a_change(file: File) -> None:
    file.tracker.notice(Event.CLOSED, 100)
    file.at(100)
    file.touch()
    assert file.at(101) == 103


def test_growth_that_no_event_told_of_after_closing_must_settle(file: File) -> None:
    file.tracker.notice(Event.CLOSED, 100)
    file.at(100)
    file.grow()
    assert file.at(102) == 107


def test_another_file_in_the_place_of_one_that_was_closed_must_settle(file: File) -> None:
    """Its event is still on its way, and may be that it is written to."""
    file.tracker.notice(Event.CLOSED, 100)
    file.at(100)
    file.stamp = Stamp(1, 3, 1000, 0)
    assert file.at(102) == 107


# --- Written to and not closed ---


def test_an_open_file_waits_for_ever_as_long_as_somebody_has_it_open(file: File) -> None:
    file.is_open = SOMEBODY
    file.tracker.notice(Event.WRITING, 100)
    now = 100.0
    for _ in range(1000):
        again = file.at(now)
        assert again > now
        now = again
    assert now > 1000


def test_a_file_whose_closing_was_lost_settles_where_nobody_has_it_open(file: File) -> None:
    file.is_open = NOBODY
    file.tracker.notice(Event.WRITING, 100)
    assert file.at(101) == 105
    assert file.at(105) == 105


def test_where_nobody_can_tell_it_waits_for_incomplete_wait(file: File) -> None:
    file.tracker.notice(Event.WRITING, 100)
    file.at(100)
    assert file.at(105) == 700
    assert file.at(699) == 700
    assert file.at(700) == 700


# --- Created, or linked ---


def test_a_linked_file_settles_though_nothing_is_ever_closed(file: File) -> None:
    file.tracker.notice(Event.CREATED, 100)
    assert file.at(100) == 105
    assert file.at(105) == 105


def test_an_empty_new_file_is_one_that_is_being_written(file: File) -> None:
    file.stamp = Stamp(1, 2, 0, 0)
    file.tracker.notice(Event.CREATED, 100)
    file.at(100)
    assert file.at(105) == 700
    file.tracker.notice(Event.CLOSED, 200)
    assert file.at(200) == 202


# --- Vetoes ---


@pytest.mark.parametrize("event", [None, Event.MOVED_IN, Event.CLOSED])
def test_whatever_events_say_a_file_that_is_open_for_writing_waits(
    file: File, event: Event | None
) -> None:
    file.is_open = SOMEBODY
    file.at(90)
    if event:
        file.tracker.notice(event, 100)
    file.at(100)
    assert file.at(110) > 110
    file.is_open = NOBODY
    again = file.at(111)
    assert again > 111
    assert file.at(again) == again


def test_a_truncated_file_waits_from_its_last_change_and_is_then_taken(file: File) -> None:
    file.is_truncated = True
    file.tracker.notice(Event.MOVED_IN, 100)
    assert file.at(100) == 700
    file.grow()
    assert file.at(400) == 405
    assert file.at(405) == 1000
    assert file.at(1000) == 1000


def test_a_truncated_file_that_is_completed_is_whole_as_any(file: File) -> None:
    file.is_truncated = True
    file.tracker.notice(Event.CLOSED, 100)
    file.at(100)
    assert file.at(102) == 700
    file.is_truncated = False
    file.grow()
    file.tracker.notice(Event.CLOSED, 300)
    assert file.at(300) == 302
    assert file.at(302) == 302


def test_the_container_is_asked_once_for_each_stamp_and_not_before_all_is_quiet(
    file: File,
) -> None:
    file.is_truncated = True
    file.at(100)
    assert file.asked == 0
    for now in (105, 106, 200, 700):
        file.at(now)
    assert file.asked == 1
    file.grow()
    file.at(701)
    file.at(706)
    assert file.asked == 2


# --- Lost events, and a file that was put back ---


def test_after_lost_events_what_was_whole_by_them_must_settle(file: File) -> None:
    file.tracker.notice(Event.CLOSED, 100)
    file.at(100)
    file.tracker.lose_events(101)
    assert file.at(101) == 106


def test_after_lost_events_what_was_being_written_still_is(file: File) -> None:
    file.tracker.notice(Event.WRITING, 100)
    file.tracker.lose_events(101)
    file.at(101)
    assert file.at(107) > 600


def test_where_there_are_no_events_any_more_it_settles(file: File) -> None:
    file.tracker.notice(Event.WRITING, 100)
    file.tracker.forget_events(101)
    assert file.at(101) == 106
    assert file.at(106) == 106


def test_being_put_back_does_not_count_as_being_moved_in(file: File) -> None:
    file.tracker.notice(Event.MOVED_IN, 100)
    file.at(100)
    file.tracker.put_back(101)
    file.tracker.notice(Event.GONE, 101.1)
    file.tracker.notice(Event.MOVED_IN, 101.2)
    assert file.at(101.3) == 106.3
    file.stamp = Stamp(1, 9, 5, 5)  # another file, moved in over it
    file.tracker.notice(Event.MOVED_IN, 102)
    assert file.at(102) == 102


@pytest.mark.parametrize("is_looked_at_before", [False, True])
def test_what_is_written_to_after_it_was_put_back_waits_for_its_closing(
    file: File, is_looked_at_before: bool
) -> None:
    file.tracker.notice(Event.MOVED_IN, 100)
    file.at(100)
    file.tracker.put_back(101)
    file.tracker.notice(Event.MOVED_IN, 101.1)
    if is_looked_at_before:
        file.at(101.2)
    file.tracker.notice(Event.WRITING, 102)
    file.at(102)
    assert file.at(107) == 702


# --- A video and its sidecar ---


@pytest.mark.parametrize(
    ("video_at", "sidecar_at", "ready"),
    [(100, None, 102), (100, 50, 100), (100, 101, 101), (100, 130, 130)],
)
def test_a_video_waits_for_its_sidecar_or_for_the_time_that_one_may_take(
    video_at: float, sidecar_at: float | None, ready: float
) -> None:
    assert ready_at(video_at, sidecar_at, grace_s=2) == ready
