"""The names of tasks."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from daemon.task_id import TaskIds, created_at, creation_day, is_task_id


def test_a_name_tells_its_day_in_utc() -> None:
    moment = datetime(2026, 11, 24, 23, 59, 59, 999000, UTC)
    name = TaskIds(lambda: moment).new()
    assert is_task_id(name)
    assert created_at(name) == moment
    assert creation_day(name) == "2026-11-24"


def test_the_next_day_begins_at_midnight() -> None:
    assert creation_day(TaskIds(lambda: datetime(2026, 11, 25, tzinfo=UTC)).new()) == "2026-11-25"


def test_what_has_no_day_is_no_name() -> None:
    """Python's years end with 9999; a file of such a name must not stop a listing."""
    assert is_task_id("dfffffff-ffff-7fff-bfff-ffffffffffff")
    assert creation_day("dfffffff-ffff-7fff-bfff-ffffffffffff") == "9774-08-21"
    assert not is_task_id("ffffffff-ffff-7fff-bfff-ffffffffffff")


def test_names_of_one_moment_keep_it_whatever_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "randbits", lambda bits: (1 << bits) - 1)
    moment = datetime(2026, 11, 24, 12, tzinfo=UTC)
    ids = TaskIds(lambda: moment)
    names = [ids.new() for _ in range(100)]
    assert sorted(set(names)) == names
    assert {created_at(name) for name in names} == {moment}


def test_names_go_on_where_the_clock_is_corrected() -> None:
    moment = datetime(2026, 11, 24, 12, tzinfo=UTC)
    times = iter([moment, moment - timedelta(minutes=1)])
    ids = TaskIds(lambda: next(times))
    assert ids.new() < ids.new()


def test_names_tell_the_right_day_as_soon_as_a_wrong_clock_is_set_right() -> None:
    """Else what ends from then on would be removed for its age only when that day has come."""
    moment = datetime(2026, 11, 24, 12, tzinfo=UTC)
    times = iter([moment.replace(year=2027), moment])
    ids = TaskIds(lambda: next(times))
    assert creation_day(ids.new()) == "2027-11-24"
    assert created_at(ids.new()) == moment
