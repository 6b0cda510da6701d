"""
SIGKILL of the service and all its children at random moments, five tasks in flight.

Whatever the moment: nothing that was dropped is lost, nothing has two results, nothing half is
ever visible, and the next start goes on by itself.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from media import Video, make_video
from onlooker import Onlooker, digest
from services import ServiceHouse, running, wait_until

IN_FLIGHT = 5


def in_flight(house: ServiceHouse, dropped: int) -> int:
    ended = [t for t in house.by_video().values() if t["status"] in ("completed", "failed")]
    return dropped - len(ended)


def is_working(house: ServiceHouse) -> bool:
    """Does this service work on something? Status files of the one before may say so too."""
    since = datetime.fromisoformat(house.health()["started_at"])
    working = [t for t in house.statuses().values() if t["status"] == "processing"]
    return any(datetime.fromisoformat(t["started_at"]) > since for t in working)


def statuses(house: ServiceHouse) -> list[str]:
    return [task["status"] for task in house.statuses().values()]


@pytest.mark.parametrize(
    ("kills", "seed"),
    [(5, 1), pytest.param(100, 2, marks=pytest.mark.slow)],
)
def test_killed_at_random_moments(tmp_path: Path, kills: int, seed: int) -> None:
    clip = make_video(tmp_path / "clip.mp4", Video(frames=75, width=160, height=120))
    house = ServiceHouse(tmp_path / "house", workers=2)
    house.inbox.mkdir()
    house.outbox.mkdir()
    onlooker = Onlooker(house.outbox)
    rng, dropped = random.Random(seed), 0

    def left() -> int:
        return in_flight(house, dropped)

    interrupted_at: Counter[str] = Counter()
    for _ in range(kills):
        while left() < IN_FLIGHT:
            dropped += 1
            _drop(clip, house, f"{dropped}.mp4")
        with running(house):
            if rng.random() < 0.7:  # else while it starts
                wait_until(lambda: is_working(house) or not left(), "work")
            time.sleep(rng.uniform(0, 1.0))
            interrupted_at.update(statuses(house))
            house.kill()
    with running(house):
        wait_until(lambda: not left(), "all is done")
        assert house.stop() == 0
    # What the kills left of status files is swept at a start when it is a minute old.
    for path in house.outbox.rglob(".*"):
        os.utime(path, (0, 0))
    with running(house):
        wait_until(lambda: not list(house.outbox.rglob(".*")), "what is left is swept")
        assert house.stop() == 0
    onlooker.stop()
    print(f"{kills} kills, {dropped} videos; statuses when killed: {dict(interrupted_at)}")
    _check(house, onlooker, dropped)


def _drop(clip: Path, house: ServiceHouse, name: str) -> None:
    aside = house.folder / "aside"
    aside.write_bytes(clip.read_bytes())
    os.rename(aside, house.inbox / name)


def _check(house: ServiceHouse, onlooker: Onlooker, dropped: int) -> None:
    assert onlooker.complaints == []
    tasks = house.statuses().values()
    assert sorted(t["input_video"] for t in tasks) == sorted(
        f"{n}.mp4" for n in range(1, dropped + 1)
    )
    completed = {t["task_id"]: t for t in tasks if t["status"] == "completed"}
    others = [t for t in tasks if t["status"] != "completed"]
    # Only what was interrupted five times may fail.
    assert all((t["status"], t["error_code"]) == ("failed", "interrupted") for t in others)
    results = house.results()
    assert Counter(p.name.split("_")[0] for p in results) == Counter(list(completed))
    assert {path: digest(path) for path in results} == onlooker.seen
    assert os.listdir(house.folder / "temp") == []
    assert os.listdir(house.state / "damaged") == []
    assert all(t["attempts"] == 1 for t in completed.values())
