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
    hold.take_over(until, NOW)
    assert hold.look() == is_held
    assert hold.until(NOW) == (until if is_held else None)


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
