"""Jobs by the clock: they come again, whatever one of them does."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger

from daemon.logs import configure_logs, reset_logs
from daemon.schedule import ClockWatch, Daily, Every, Schedule, _Again

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def logs(tmp_path: Path) -> Iterator[Path]:
    configure_logs(tmp_path / "logs")
    yield tmp_path / "logs"
    reset_logs()


class Runs:
    """A job that counts its runs, and may fail or hang in them."""

    def __init__(self, fails: bool = False) -> None:
        self.count = 0
        self.fails = fails
        self.may_end = threading.Event()
        self.may_end.set()
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()
        self.may_end.wait(PATIENCE)
        if self.fails:
            raise RuntimeError("a share is gone")

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, PATIENCE)


def started(*jobs: Every | Daily) -> Schedule:
    schedule = Schedule(jobs)
    schedule.start()
    return schedule


@pytest.mark.parametrize("zone", ["MSK-3", "No/Where", "/etc", ""])
def test_a_zone_that_is_none_keeps_no_job_from_its_time(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setattr("tzlocal.unix._cache_tz", None)
    time.tzset()
    try:
        job = Runs()
        schedule = started(Every("rescan", 0.02, job))
        job.wait_for(1)
        schedule.stop()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_job_comes_again_and_again_until_the_stop() -> None:
    job = Runs()
    schedule = started(Every("rescan", 0.02, job))
    job.wait_for(3)
    schedule.stop()
    job.may_end.wait()
    count = job.count
    time.sleep(0.1)
    assert job.count <= count + 1


def test_a_job_that_raises_is_one_line_of_error_and_comes_again(logs: Path) -> None:
    job = Runs(fails=True)
    schedule = started(Every("rescan", 0.02, job))
    job.wait_for(2)
    schedule._scheduler.shutdown(wait=True)
    lines = [json.loads(line) for line in (logs / "server.log").read_text().splitlines()]
    assert lines
    assert {(line["level"], line["event"], line["job"]) for line in lines} == {
        ("ERROR", "a scheduled job failed", "rescan")
    }
    assert len(lines) <= job.count
    assert lines[0]["exception"].endswith("RuntimeError: a share is gone")


def test_a_job_that_hangs_never_overlaps_with_itself_and_holds_up_no_other(logs: Path) -> None:
    slow, quick = Runs(), Runs()
    slow.may_end.clear()
    schedule = started(Every("slow", 0.02, slow), Every("quick", 0.02, quick))
    slow.wait_for(1)
    quick.wait_for(5)
    assert slow.count == 1
    slow.may_end.set()
    slow.wait_for(2)
    schedule.stop()
    assert not (logs / "server.log").exists()  # turns that were left out flood nothing


def test_a_daily_job_comes_at_its_hour_of_local_time() -> None:
    schedule = started(Daily("retention", 2, Runs()))
    moment = schedule._scheduler.get_job("retention").next_run_time
    schedule.stop()
    assert (moment.hour, moment.minute) == (2, 0)
    assert moment.utcoffset() == datetime.fromtimestamp(moment.timestamp()).astimezone().utcoffset()


def test_a_machine_that_slept_through_the_hour_makes_up_for_it() -> None:
    job = Runs()
    schedule = started(Daily("retention", 2, job))
    missed = datetime.now().astimezone() - timedelta(hours=7)
    schedule._scheduler.modify_job("retention", next_run_time=missed)
    job.wait_for(1)
    schedule.stop()


def test_turns_that_were_missed_are_made_up_for_by_one() -> None:
    job = Runs()

    def last() -> None:
        scheduler.pause()  # lest more turns come before the test has looked
        job()

    scheduler = Schedule([Every("rescan", 0.05, last)])._scheduler
    scheduler.start(paused=True)
    time.sleep(0.3)
    scheduler.resume()
    job.wait_for(1)
    scheduler.shutdown(wait=True)
    assert job.count == 1


@pytest.mark.parametrize(
    ("hour", "minute", "fold"),
    [(1, 59, 0), (2, 30, 0), (2, 59, 0), (2, 0, 1), (2, 30, 1), (3, 0, 0)],
)
@pytest.mark.parametrize("pause", [10.0, 3600.0, 25 * 3600.0])
def test_the_next_turn_is_as_far_off_as_ever_when_summer_time_ends(
    hour: int, minute: int, fold: int, pause: float
) -> None:
    now = datetime(2026, 10, 25, hour, minute, 55, fold=fold, tzinfo=ZoneInfo("Europe/Berlin"))
    following = _Again(pause).get_next_fire_time(None, now)
    assert following.timestamp() - now.timestamp() == pause


@pytest.mark.parametrize("seconds", [0.2, 1200.0])
def test_an_hour_that_comes_twice_is_not_planned_for_ever(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """APScheduler before 3.11.2 took all memory then."""
    zone = ZoneInfo("Europe/Berlin")
    monkeypatch.setattr("daemon.schedule._local_zone", lambda: zone)
    scheduler = Schedule([Daily("retention", 2, Runs())])._scheduler
    scheduler.start(paused=True)
    turn = datetime(2026, 10, 25, 2, tzinfo=zone)
    job = scheduler.modify_job("retention", next_run_time=turn)
    plan, plans = CronTrigger.get_next_fire_time, itertools.count()

    def planned(self: CronTrigger, previous: datetime, now: datetime) -> datetime:
        assert next(plans) < 10
        following: datetime = plan(self, previous, now)
        return following

    monkeypatch.setattr(CronTrigger, "get_next_fire_time", planned)
    assert job._get_run_times(turn + timedelta(seconds=seconds)) == [turn]
    scheduler.shutdown()


# --- The clock is set ---


def test_a_clock_that_is_set_is_noticed_once_and_a_correction_is_not() -> None:
    clock, steady = [1_000_000.0], [50.0]
    watch = ClockWatch(lambda: clock[0], lambda: steady[0])
    for passed, expected in (
        (10.0, 0.0),
        (9.5, 0.0),
        (-3600.0, -3610.0),
        (10.0, 0.0),
        (70.0, 60.0),
    ):
        clock[0] += passed
        steady[0] += 10.0
        assert watch.seconds_set() == pytest.approx(expected)


def test_a_clock_that_is_set_forward_by_years_makes_up_for_one_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a machine without a battery, which begins in 1970."""
    job = Runs()
    schedule = started(Every("rescan", 0.05, job))
    job.wait_for(1)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=365 * 56)

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Later)
    seen = job.count
    job.wait_for(seen + 3)
    began = time.monotonic()
    schedule.stop()
    assert time.monotonic() - began < PATIENCE
    assert job.count < seen + 100
