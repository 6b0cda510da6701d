"""Nothing is removed for a day after the clock was set forward, restarts or not."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from daemon.retention_hold import RetentionHold
from daemon.schedule import ClockWatch

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = 3600.0


class Machine:
    """A clock that can be set, and seconds that cannot."""

    def __init__(self) -> None:
        self.clock, self.steady = 1_000_000.0, 50.0

    def hold(self) -> RetentionHold:
        return RetentionHold(
            ClockWatch(lambda: self.clock, lambda: self.steady), lambda: self.steady
        )

    def pass_by(self, seconds: float) -> None:
        self.clock += seconds
        self.steady += seconds


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_clock_that_was_set_forward_holds_for_a_day(machine: Machine) -> None:
    hold = machine.hold()
    machine.pass_by(48 * HOUR)
    machine.clock += 0.5 * HOUR
    assert not hold.look()
    assert hold.until(NOW) is None
    machine.clock += 2 * HOUR
    assert hold.look()
    machine.pass_by(23 * HOUR)
    assert hold.look()
    assert hold.until(NOW) == NOW + timedelta(hours=1)
    machine.pass_by(1 * HOUR)
    assert not hold.look()


@pytest.mark.parametrize(
    ("hours", "is_held"), [(None, False), (-1, False), (1, True), (24, True), (25, False)]
)
def test_a_hold_goes_on_after_a_restart_unless_the_clock_was_set_back(
    machine: Machine, hours: int | None, is_held: bool
) -> None:
    hold = machine.hold()
    until = None if hours is None else NOW + timedelta(hours=hours)
    hold.take_over(until, NOW, NOW)
    assert hold.look() == is_held
    assert hold.until(NOW) == (until if is_held else None)


@pytest.mark.parametrize(
    ("hours", "is_held"), [(None, False), (-300 * 24, False), (0, False), (23, False), (25, True)]
)
def test_a_start_after_long_silence_holds_since_the_clock_may_have_been_set(
    machine: Machine, hours: int | None, is_held: bool
) -> None:
    hold = machine.hold()
    hold.take_over(None, None if hours is None else NOW - timedelta(hours=hours), NOW)
    assert hold.look() == is_held
    machine.pass_by(23 * HOUR)
    assert hold.look() == is_held
    machine.pass_by(1 * HOUR)
    assert not hold.look()


def test_a_machine_that_is_on_for_some_hours_a_week_removes_every_other_time(
    machine: Machine,
) -> None:
    """One day of second thoughts is enough, whether or not the machine was on for all of it."""
    now, until, seen = NOW, None, NOW - timedelta(weeks=1)
    held = []
    for _ in range(4):
        hold = machine.hold()
        hold.take_over(until, seen, now)
        held.append(hold.look())
        machine.pass_by(3 * HOUR)
        seen = now + timedelta(hours=3)
        until = hold.until(seen)
        now += timedelta(weeks=1)
    assert held == [True, False, True, False]


@pytest.mark.parametrize(("days", "is_held"), [(2, False), (29, False), (31, True), (365, True)])
def test_a_silence_too_long_for_any_habit_holds_again(
    machine: Machine, days: int, is_held: bool
) -> None:
    """A service that was stopped inside a hold may start with its clock a year ahead."""
    hold = machine.hold()
    seen = NOW - timedelta(days=days)
    hold.take_over(seen + timedelta(hours=23), seen, NOW)
    assert hold.look() == is_held
    machine.pass_by(24 * HOUR)
    assert not hold.look()


def test_threads_that_look_at_once_are_all_held(machine: Machine) -> None:
    """One of them alone sees the step."""
    hold = machine.hold()
    for _ in range(200):
        machine.pass_by(25 * HOUR)
        assert not hold.look()
        machine.clock += 2 * HOUR
        both = threading.Barrier(2)
        seen: list[bool] = []

        def look(both: threading.Barrier = both, seen: list[bool] = seen) -> None:
            both.wait()
            seen.append(hold.look())

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [True, True]
