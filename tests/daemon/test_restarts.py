"""Processes that do not come up are not started again and again at once."""

from __future__ import annotations

from daemon.restarts import Restarts


def test_pauses_grow_to_a_minute() -> None:
    restarts, now, pauses = Restarts(), 0.0, []
    for _ in range(8):
        assert restarts.may_start(now)
        restarts.failed("ended with exit code 1", now)
        pauses.append(restarts.due_at - now)
        assert not restarts.may_start(restarts.due_at - 0.001)
        now = restarts.due_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_several_that_fail_together_are_one_failure() -> None:
    restarts = Restarts()
    for _ in range(16):
        restarts.failed("ended with exit code 1", 5.0)
    assert restarts.due_at == 6.0


def test_one_that_comes_up_ends_the_trouble() -> None:
    restarts = Restarts()
    assert restarts.trouble is None
    restarts.failed("ended with exit code 1", 0.0)
    assert restarts.trouble == "a worker process ended with exit code 1"
    restarts.succeeded()
    assert restarts.trouble is None
    assert restarts.may_start(0.0)


def test_a_reason_is_news_once() -> None:
    restarts = Restarts()
    assert [restarts.failed(reason, 0.0) for reason in "aabab"] == [True, False, True, False, False]
    restarts.succeeded()
    assert restarts.failed("a", 0.0)
