from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.errors import Cancelled
from pipeline.stages import run_stages


def nothing() -> list[int]:
    return []


def never() -> bool:
    return False


def test_everything_comes_out_once_and_in_order() -> None:
    out: list[int] = []
    run_stages(
        range(1000),
        lambda n: [2 * n, 2 * n + 1],
        lambda: [-1],
        out.append,
        depth=3,
        cancelled=never,
    )
    assert out == [*range(2000), -1]


def test_a_slow_consumer_holds_the_producer_back() -> None:
    made = 0
    gate = threading.Event()

    def produce() -> Iterator[int]:
        nonlocal made
        for n in range(100):
            made += 1
            yield n

    def consume(_: int) -> None:
        gate.wait(5)

    runner = threading.Thread(
        target=run_stages,
        args=(produce(), lambda n: [n], nothing, consume),
        kwargs={"depth": 2, "cancelled": never},
    )
    runner.start()
    deadline = time.monotonic() + 5
    while made < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert made <= 8  # two queues of two, one item in each of three stages, one more asked for
    gate.set()
    runner.join(5)
    assert made == 100


@pytest.mark.parametrize("stage", ["produce", "transform", "finish", "consume"])
def test_the_first_error_reaches_the_caller_and_stops_all(stage: str) -> None:
    before = threading.active_count()

    def fail_in(name: str) -> None:
        if name == stage:
            raise KeyError(stage)

    def produce() -> Iterator[int]:
        yield from range(50)
        fail_in("produce")

    def transform(n: int) -> list[int]:
        fail_in("transform")
        return [n]

    def finish() -> list[int]:
        fail_in("finish")
        return []

    with pytest.raises(KeyError, match=stage):
        run_stages(
            produce(), transform, finish, lambda _: fail_in("consume"), depth=2, cancelled=never
        )
    assert threading.active_count() == before


def test_cancelling_returns_soon_although_a_stage_is_stuck() -> None:
    stuck = threading.Event()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        run_stages(
            range(10),
            lambda n: [n],
            nothing,
            lambda _: (stuck.wait(10), None)[1],
            depth=2,
            cancelled=lambda: time.monotonic() - start > 0.2,
        )
    assert time.monotonic() - start < 2
    stuck.set()
