"""How many more tasks may enter, counted now and then."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daemon import pending_limit
from daemon.pending_limit import PendingLimit


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only item."""
    moment = [1000.0]
    monkeypatch.setattr(pending_limit, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    return moment


def test_no_more_enter_than_there_are_places_for(now: list[float]) -> None:
    pending = 90
    limit = PendingLimit(lambda: pending)
    while limit.has_room(100):
        pending += 1
    assert pending == 100


def test_places_that_were_found_are_looked_for_anew_after_a_second(now: list[float]) -> None:
    """Others fill them meanwhile."""
    pending = 0
    limit = PendingLimit(lambda: pending)
    assert limit.has_room(1000)
    pending = 1000
    now[0] += 1.1
    assert not limit.has_room(1000)
