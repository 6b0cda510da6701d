"""Names of tasks, and what a record means in its folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.task import (
    MAX_INTERRUPTIONS,
    TRANSITIONS,
    Failure,
    Progress,
    Status,
    Task,
    as_it_counts,
    cancelled,
    claimed,
    completed,
    end_written,
    failed,
    interrupted,
    may_become,
    postponed,
    spent,
    tried_again,
    with_progress,
)
from daemon.task_id import TaskIds, created_at, creation_day, is_task_id, lowest_id

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
REASON = Failure("worker_died", "The process that worked on holiday.mov was killed.")


def task(status: Status = Status.PENDING, **fields: object) -> Task:
    values: dict = {
        "task_id": "id",
        "status": status,
        "created_at": NOON,
        "input_video": "holiday.mov",
        "original": "/in/holiday.mov",
        "outbox": "/out",
    }
    return Task(**(values | fields))


def running(**fields: object) -> Task:
    return task(Status.PROCESSING, **{"token": "t", "attempts": 1, "started_at": NOON} | fields)


# --- Names ---


@given(st.lists(st.integers(-5, 5), max_size=50))
def test_names_rise_whatever_the_clock_does(steps: list[int]) -> None:
    now = NOON
    names = []

    def clock() -> datetime:
        return now

    ids = TaskIds(clock)
    for step in steps:
        now += timedelta(milliseconds=step)
        names.append(ids.new())
    assert names == sorted(set(names))
    assert all(map(is_task_id, names))


def test_a_name_tells_when_and_on_which_day_of_utc_it_was_made() -> None:
    moscow = timezone(timedelta(hours=3))
    name = TaskIds(lambda: datetime(2026, 11, 24, 1, 30, 0, 123000, moscow)).new()
    assert created_at(name) == datetime(2026, 11, 23, 22, 30, 0, 123000, UTC)
    assert creation_day(name) == "2026-11-23"


def test_a_name_is_a_uuid_of_version_7() -> None:
    from uuid import UUID

    value = UUID(TaskIds(lambda: NOON).new())
    assert (value.version, value.variant) == (7, "specified in RFC 4122")


def test_names_of_two_processes_differ_in_all_but_the_highest_of_74_bits() -> None:
    names = [int(TaskIds(lambda: NOON).new().replace("-", ""), 16) for _ in range(400)]
    either = 0
    for name in names:
        either |= name ^ names[0]
    assert either.bit_count() == 73


def test_the_next_name_of_a_millisecond_is_not_to_be_guessed_from_the_last() -> None:
    ids = TaskIds(lambda: NOON)
    numbers = [int(ids.new().replace("-", "")[-15:], 16) for _ in range(50)]
    gaps = [b - a for a, b in zip(numbers, numbers[1:], strict=False)]
    assert len(set(gaps)) == len(gaps)
    assert max(map(abs, gaps)) > 1 << 55


@pytest.mark.parametrize(
    "text",
    ["", "..", "../../etc/passwd", "019ab2c4", "019AB2C4-0000-7000-8000-000000000000", "x" * 36],
)
def test_what_is_no_name_is_told(text: str) -> None:
    assert not is_task_id(text)


def test_the_lowest_name_lies_below_all_of_its_millisecond_and_above_the_one_before() -> None:
    earlier = TaskIds(lambda: NOON - timedelta(milliseconds=1)).new()
    assert earlier < lowest_id(NOON) < TaskIds(lambda: NOON).new()


# --- Transitions ---


def test_only_these_transitions_are_allowed() -> None:
    allowed = {(a.value, b.value) for a in Status for b in Status if may_become(a, b)}
    assert allowed == {
        ("pending", "processing"),
        ("pending", "cancelled"),
        ("processing", "pending"),
        ("processing", "completed"),
        ("processing", "failed"),
        ("processing", "cancelled"),
        ("failed", "pending"),
        ("cancelled", "pending"),
    }
    assert set(TRANSITIONS) == set(Status)


def test_attempts_count_starts() -> None:
    first = claimed(task(), "a", NOON)
    assert first.attempts == 1
    again = spent(first, REASON, 2, NOON)
    assert (again.attempts, again.token, again.error_message) == (1, None, REASON.message)
    assert claimed(again, "b", NOON).attempts == 2


def test_the_last_attempt_fails_the_task_with_its_reason() -> None:
    last = spent(running(attempts=2), REASON, 2, NOON)
    assert end_written(last) is Status.FAILED
    assert (last.error_code, last.error_message) == (REASON.code, REASON.message)


def test_an_interruption_spends_no_attempt() -> None:
    back = interrupted(running(attempts=2, processed_frames=7), NOON)
    assert (back.attempts, back.interruptions, back.processed_frames) == (1, 1, None)
    assert end_written(back) is None


def test_waiting_for_an_outbox_spends_neither_an_attempt_nor_an_interruption() -> None:
    back = postponed(running(attempts=2, interruptions=4, processed_frames=7))
    assert (back.attempts, back.interruptions, back.processed_frames) == (1, 4, None)
    assert (back.token, end_written(back)) == (None, None)


def test_the_fifth_interruption_fails_the_task() -> None:
    assert MAX_INTERRUPTIONS == 5
    ended = interrupted(running(interruptions=4), NOON)
    assert end_written(ended) is Status.FAILED
    assert ended.error_code == "interrupted"
    assert "holiday.mov" in (ended.error_message or "")
    assert "cut short 5 times" in (ended.error_message or "")
    assert end_written(interrupted(running(interruptions=3), NOON)) is None


def test_each_end_can_be_told_from_the_fields_that_were_written_for_it() -> None:
    tried = running(error_code="x", error_message="y", output_video="z", report={})
    assert end_written(tried) is None
    assert end_written(failed(tried, REASON, NOON)) is Status.FAILED
    assert end_written(cancelled(tried, NOON)) is Status.CANCELLED
    assert end_written(completed(tried, "out.mp4", {}, NOON)) is Status.COMPLETED


def test_a_failed_task_names_no_result_and_a_completed_one_no_error() -> None:
    torn = running(error_code="x", error_message="y", output_video="z", report={})
    assert failed(torn, REASON, NOON).output_video is None
    done = completed(torn, "out.mp4", {"frames": 9}, NOON)
    assert (done.error_code, done.progress, done.total_frames) == (None, 100.0, 9)


def test_a_pending_record_that_has_ended_before_counts_as_new() -> None:
    """An operator's `mv` from failed/ or cancelled/: attempts from 0."""
    moved = task(
        attempts=2, interruptions=4, token="t", completed_at=NOON, error_code="x", progress=40.0
    )
    assert as_it_counts(moved) == task(retries=1)


def test_a_pending_record_with_a_token_has_not_been_started() -> None:
    cut_short = task(attempts=2, token="t", started_at=NOON, interruptions=3)
    assert as_it_counts(cut_short) == task(attempts=1, interruptions=3)


def test_a_processing_record_on_its_way_to_an_end_still_processes() -> None:
    assert as_it_counts(completed(running(), "out.mp4", {}, NOON)).output_video is None
    assert as_it_counts(failed(running(), REASON, NOON)).completed_at is None


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_an_ended_record_counts_as_it_is(status: Status) -> None:
    ended = task(status, completed_at=NOON, token="t", attempts=1, error_code="x")
    assert as_it_counts(ended) is ended


def test_what_counts_counts_the_same_when_it_is_looked_at_again() -> None:
    for status in Status:
        for token in (None, "t"):
            for moment in (None, NOON):
                once = as_it_counts(task(status, token=token, completed_at=moment, attempts=1))
                assert as_it_counts(once) == once


def test_a_task_that_is_tried_again_keeps_what_it_is() -> None:
    old = task(Status.FAILED, attempts=2, completed_at=NOON, unknown={"colour": "red"})
    new = tried_again(old)
    assert (new.attempts, new.unknown, new.original) == (0, {"colour": "red"}, old.original)


def test_progress_of_another_attempt_does_not_count() -> None:
    assert with_progress(running(), Progress("t", 50.0, 5, 10)).progress == 50.0
    assert with_progress(running(), Progress("old", 50.0, 5, 10)) == running()
    assert with_progress(running(), None) == running()
