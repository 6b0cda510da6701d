from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator

import pytest

from pipeline import stages
from pipeline.errors import Cancelled
from pipeline.stages import run_stages


def nothing() -> list[int]:
    return []


def never() -> bool:
    return False


class Sink:
    """Notes what it is told."""

    def __init__(self, write: Callable[[int], None] = lambda _: None) -> None:
        self.results: list[int] = []
        self.ends: list[str] = []
        self._write = write

    def write(self, result: int) -> None:
        self._write(result)
        self.results.append(result)

    def close(self) -> None:
        self.ends.append("closed")

    def abandon(self) -> None:
        self.ends.append("abandoned")


def numbers(count: int) -> Generator[int, None, None]:
    yield from range(count)


def test_everything_comes_out_once_and_in_order() -> None:
    sink = Sink()
    run_stages(
        numbers(1000), lambda n: [2 * n, 2 * n + 1], lambda: [-1], sink, depth=3, cancelled=never
    )
    assert sink.results == [*range(2000), -1]
    assert sink.ends == ["closed"]


def test_a_slow_consumer_holds_the_producer_back() -> None:
    made = 0
    gate = threading.Event()

    def produce() -> Generator[int, None, None]:
        nonlocal made
        for n in range(100):
            made += 1
            yield n

    def consume(_: int) -> None:
        gate.wait(60)

    runner = threading.Thread(
        target=run_stages,
        args=(produce(), lambda n: [n], nothing, Sink(consume)),
        kwargs={"depth": 2, "cancelled": never},
    )
    runner.start()
    deadline = time.monotonic() + 60
    while made < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert made <= 8  # two queues of two, one item in each of three stages, one more asked for
    gate.set()
    runner.join(60)
    assert made == 100


@pytest.mark.parametrize("stage", ["produce", "transform", "finish", "consume"])
def test_the_first_error_reaches_the_caller_and_stops_all(stage: str) -> None:
    before = threading.active_count()

    def fail_in(name: str) -> None:
        if name == stage:
            raise KeyError(stage)

    def produce() -> Generator[int, None, None]:
        yield from range(50)
        fail_in("produce")

    def transform(n: int) -> list[int]:
        fail_in("transform")
        return [n]

    def finish() -> list[int]:
        fail_in("finish")
        return []

    sink = Sink(lambda _: fail_in("consume"))
    with pytest.raises(KeyError, match=stage):
        run_stages(produce(), transform, finish, sink, depth=2, cancelled=never)
    assert threading.active_count() <= before
    assert sink.ends == ["abandoned"]


@pytest.mark.parametrize("stuck_in", ["produce", "write", "close"])
def test_a_stuck_stage_is_left_behind_and_closes_its_own_when_it_comes_back(
    stuck_in: str,
) -> None:
    stuck, closed_by = threading.Event(), []
    start = time.monotonic()

    def wait_in(place: str) -> None:
        if place == stuck_in:
            stuck.wait(60)

    def produce() -> Generator[int, None, None]:
        try:
            for n in range(10):
                wait_in("produce")
                yield n
        finally:
            closed_by.append(threading.current_thread().name)

    class Stuck(Sink):
        def close(self) -> None:
            wait_in("close")

        def abandon(self) -> None:
            closed_by.append(threading.current_thread().name)

    sink = Stuck(lambda _: wait_in("write"))
    with pytest.raises(Cancelled):
        run_stages(
            produce(),
            lambda n: [n],
            nothing,
            sink,
            depth=20,
            cancelled=lambda: time.monotonic() - start > 0.2,
        )
    assert time.monotonic() - start < 20  # within a second or so of a machine that is not busy
    assert stages._FAREWELL_SECONDS + 2 * stages._POLL_SECONDS < 2  # as is promised
    stuck.set()
    deadline = time.monotonic() + 60
    while len(closed_by) < (1 if stuck_in == "close" else 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(closed_by) <= {"feed", "drain"}
    assert ("feed" in closed_by) or stuck_in != "produce"
