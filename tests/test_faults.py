"""
What befalls a machine while the service works: disks that fill up, are locked, come back.

Whatever it is: what was accepted is not lost, no result is made twice or shown half, /health says
what is wrong and what to do, the log stays readable, and when the fault is gone the work goes on
by itself.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fault_house import FaultHouse, fault_house, why_no_disks
from media import Video, make_video
from onlooker import Onlooker, digest
from services import running, wait_until

pytestmark = pytest.mark.skipif(bool(why_no_disks()), reason=str(why_no_disks()))

WAITING = ("one.mp4", "two.mp4", "three.mp4")
# Some faults last longer in the long run than it takes to be told of.
HOLD_SECONDS = 20.0
# Of one fault, its end and all that happens to five tasks meanwhile.
MOST_LOG_LINES = 30


@dataclass(frozen=True)
class Fault:
    """
    What happens to which folder, and what /health says.

    Attributes:
        may_fail: may a task that ran when it happened fail for it?
    """

    name: str
    begin: Callable[[FaultHouse], AbstractContextManager[None]]
    told: tuple[str, ...]
    may_fail: bool = False
    seconds: float = HOLD_SECONDS

    def __str__(self) -> str:
        return self.name


def full(place: str, seconds: float = HOLD_SECONDS) -> Fault:
    words = (f"/mnt/{place}", "make room")
    may_fail = place in ("temp", "outbox")
    return Fault(f"full {place}", lambda house: house.full(place), words, may_fail, seconds)


def read_only(place: str) -> Fault:
    words = (f"/mnt/{place} is read-only",)
    return Fault(f"read-only {place}", lambda house: house.read_only(place), words)


def forbidden(place: str, mode: int, seconds: float = HOLD_SECONDS) -> Fault:
    words = (f"/mnt/{place}", "may not be", "by this user")
    name = f"{place} with mode {mode:o}"
    return Fault(name, lambda house: house.forbidden(place, mode), words, False, seconds)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_video(folder / "short.mp4", Video(frames=10, width=160, height=120))
    make_video(folder / "long.mp4", Video(frames=1000, width=640, height=360))
    return folder


@pytest.fixture
def house() -> Iterator[FaultHouse]:
    with fault_house(is_root=False) as house:
        yield house
        print((house.folder / "console.txt").read_text())  # shown where the test failed


@pytest.mark.parametrize("fault", [full("temp", 3.0), forbidden("state", 0, 3.0)], ids=str)
def test_a_fault_costs_time_and_nothing_else(house: FaultHouse, clips: Path, fault: Fault) -> None:
    check(house, clips, fault)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        *map(full, ("inbox", "outbox", "state", "temp")),
        *map(read_only, ("inbox", "outbox", "state", "temp")),
        *(forbidden(place, 0o555) for place in ("inbox", "outbox", "state", "temp")),
        *(forbidden(place, 0) for place in ("inbox", "outbox", "state", "temp")),
    ],
    ids=str,
)
def test_so_does_every_other(house: FaultHouse, clips: Path, fault: Fault) -> None:
    check(house, clips, fault)


def check(house: FaultHouse, clips: Path, fault: Fault) -> None:
    with running(house):
        wait_until(house.is_well, "all is well")
        onlooker = Onlooker(house.outbox)
        put(clips / "long.mp4", house, "runs.mp4")
        wait_until(lambda: task(house, "runs.mp4").get("processed_frames"), "the work has begun")
        for name in WAITING:
            put(clips / "short.mp4", house, name)
        wait_until(lambda: len(house.by_video()) == 1 + len(WAITING), "all are accepted")
        pid, lines = house.health()["pid"], house.log_count()
        with fault.begin(house):
            is_in = dropped(clips / "short.mp4", house, "late.mp4")
            house.wait_for_problem(*fault.told)
            time.sleep(fault.seconds)
        if not is_in:
            put(clips / "short.mp4", house, "late.mp4")
        names = ("runs.mp4", *WAITING, "late.mp4")
        wait_until(lambda: all(ended(house, name) for name in names), "all have come to an end")
        wait_until(house.is_well, f"all is well again; {house.problems()}")
        assert house.log_count() - lines <= MOST_LOG_LINES
        assert house.health()["pid"] == pid  # nobody had to start it again
        try_failed_again(house, fault)
        assert house.stop() == 0
        onlooker.stop()
    check_results(house, onlooker, names)


def try_failed_again(house: FaultHouse, fault: Fault) -> None:
    """
    Only what ran may have failed, and says why and what to do.

    That may be two: where a full disk ended the first, its half result goes, and in that room
    another may begin before the fault takes that too.
    """
    failed = [t for t in house.by_video().values() if t["status"] == "failed"]
    names = {t["input_video"] for t in failed}
    assert not names or "runs.mp4" in names and len(names) <= 2
    for one in failed:
        assert fault.may_fail
        assert one["error_code"] == "disk_full"
        assert "make room" in one["error_message"]
        assert house.run("retry", one["task_id"]).returncode == 0
        house.wait_for(one["input_video"], "completed")


def check_results(house: FaultHouse, onlooker: Onlooker, names: tuple[str, ...]) -> None:
    tasks = house.by_video()
    assert sorted(tasks) == sorted(names)
    assert {t["status"] for t in tasks.values()} == {"completed"}
    assert {t["attempts"] for t in tasks.values()} == {1}
    results = house.results()
    assert Counter(p.name.split("_")[0] for p in results) == Counter(
        t["task_id"] for t in tasks.values()
    )
    assert onlooker.complaints == []
    assert {path: digest(path) for path in results} == onlooker.seen
    assert [p for p in house.outbox.rglob(".*") if p.suffix == ".part"] == []
    assert os.listdir(house.state / "damaged") == []


# --- What the checks are made of ---


def put(clip: Path, house: FaultHouse, name: str) -> None:
    shutil.copyfile(clip, house.inbox / name)


def dropped(clip: Path, house: FaultHouse, name: str) -> bool:
    """Drop a file if there is room; return whether it is there as a whole."""
    try:
        put(clip, house, name)
    except OSError:
        return False
    return True


def task(house: FaultHouse, video: str) -> dict[str, Any]:
    return house.by_video().get(video, {})


def ended(house: FaultHouse, video: str) -> bool:
    return task(house, video).get("status") in ("completed", "failed", "cancelled")
