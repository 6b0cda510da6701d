"""Many tasks that wait, with a real service: all are accepted, none is lost, each is done once."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from media import Video, make_video
from onlooker import Onlooker
from services import ServiceHouse, running, wait_until

# The least work, since the queue is what is tried.
QUICK_TASKS = {"mode": "strip"}


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_thousands_wait_through_a_kill_and_are_done_once(tmp_path: Path, count: int) -> None:
    clip = make_video(tmp_path / "clip.mp4", Video(frames=3, width=64, height=64))
    house = ServiceHouse(tmp_path / "house", workers=2, defaults=QUICK_TASKS)
    house.outbox.mkdir()
    onlooker = Onlooker(house.outbox)
    patience = 120.0 + count / 2
    with running(house):
        assert house.run("pause").returncode == 0
        for number in range(count):
            drop(clip, house, f"{number}.mp4")
        wait_until(lambda: pending(house) == count, "all are accepted", patience)
        assert house.health()["problems"] == []
        assert house.run("resume").returncode == 0
        wait_until(house.results, "the first result")
        house.kill()
    with running(house):
        wait_until(lambda: len(completed(house)) == count, "all are done", patience)
        # The last words of a service take some seconds at most; the next one writes the rest.
        wait_until(lambda: told(house) == {"completed"}, "all are told of")
        began = time.monotonic()
        assert house.stop() == 0
        assert time.monotonic() - began < 30
    onlooker.stop()
    assert onlooker.complaints == []
    results = Counter(path.name.split("_")[0] for path in house.results())
    assert results == Counter(completed(house))
    assert sorted(house.by_video()) == sorted(f"{number}.mp4" for number in range(count))
    assert os.listdir(house.folder / "temp") == []


def drop(clip: Path, house: ServiceHouse, name: str) -> None:
    aside = house.folder / "aside"
    shutil.copyfile(clip, aside)
    house.inbox.mkdir(exist_ok=True)
    os.rename(aside, house.inbox / name)


def pending(house: ServiceHouse) -> int:
    return sum(1 for _ in (house.state / "pending").rglob("*.json"))


def told(house: ServiceHouse) -> set[str]:
    return {task["status"] for task in house.statuses().values()}


def completed(house: ServiceHouse) -> list[str]:
    """Return the completed tasks, each as often as it has a record."""
    return [path.stem for path in (house.state / "completed").rglob("*.json")]
