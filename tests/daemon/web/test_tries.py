"""An address has so many tries within a minute."""

from __future__ import annotations

import pytest

from daemon.web.addresses import address_of
from daemon.web.tries import Tries

HERE, THERE = address_of("198.51.100.7"), address_of("198.51.100.8")


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tries(clock: Clock) -> Tries:
    return Tries(3, 60.0, clock)


def test_after_its_share_an_address_waits(tries: Tries, clock: Clock) -> None:
    for _ in range(3):
        assert tries.note(HERE) is None
        clock.now += 10
    assert tries.note(HERE) == 30
    assert tries.note(THERE) is None
    clock.now += 29.5
    assert tries.note(HERE) == 1
    clock.now += 0.5
    assert tries.note(HERE) is None
    assert tries.note(HERE) == 10


def test_what_is_refused_does_not_make_it_longer(tries: Tries, clock: Clock) -> None:
    for _ in range(3):
        tries.note(HERE)
    for _ in range(100):
        clock.now += 0.5
        assert tries.note(HERE) is not None
    clock.now += 10
    assert tries.note(HERE) is None


def test_a_network_of_ipv6_is_one_address(tries: Tries) -> None:
    for number in range(3):
        assert tries.note(address_of(f"2001:db8::{number}:1")) is None
    assert tries.note(address_of("2001:db8::ffff")) is not None
    assert tries.note(address_of("2001:db8:0:1::1")) is None


def test_a_peer_without_an_address_is_counted_too(tries: Tries) -> None:
    assert [tries.note(None) for _ in range(4)] == [None, None, None, 60]


def test_memory_is_bounded(tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.web.tries._MOST_SOURCES", 10)
    for _ in range(3):
        tries.note(HERE)
    for number in range(9):
        tries.note(address_of(f"203.0.113.{number}"))
    assert tries.note(HERE) is not None  # heard of lately
    for number in range(100):
        tries.note(address_of(f"203.0.113.{number}"))
    assert len(tries._times) == 10
    assert tries.note(HERE) is None
