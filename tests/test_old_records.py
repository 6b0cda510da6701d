"""
A state that another version left, or another clock: fields missing and unknown, times to come.

One real service starts on it, and works on what waits there as on its own.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from media import Video, make_video
from services import ServiceHouse, running, wait_until
from spools import record

from daemon.task_id import TaskIds, creation_day

NOW = datetime.now(UTC)
LONG_AGO, TO_COME = NOW - timedelta(days=900), NOW + timedelta(days=9000)


class OldState:
    """A house whose state is written by hand, before any service has run there."""

    def __init__(self, folder: Path, clip: Path) -> None:
        self.house = ServiceHouse(folder)
        self.clip = clip
        self.ids: dict[str, str] = {}

    def put(self, status: str, name: str, created: datetime = LONG_AGO, **fields: Any) -> None:
        """Write a record with the few fields that each has had, and `fields`."""
        task_id = TaskIds(lambda: created).new()
        original = self.house.inbox / ".media-cleaner/originals" / creation_day(task_id) / task_id
        original.mkdir(parents=True, mode=0o750)
        shutil.copyfile(self.clip, original / name)
        record = {
            "task_id": task_id,
            "created_at": created.isoformat(),
            "input_video": name,
            "original": str(original / name),
            "outbox": str(self.house.outbox),
            **fields,
        }
        path = self.house.state / status / creation_day(task_id) / f"{task_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
        self.ids[name] = task_id

    def record(self, name: str) -> Mapping[str, Any]:
        """Return what the one record of a task says."""
        value = json.loads(record(self.house.state, self.ids[name]).read_text())
        assert isinstance(value, dict)
        return value


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldState]:
    folder = tmp_path_factory.mktemp("old")
    clip = make_video(folder / "clip.mp4", Video(frames=5, width=160, height=120))
    old = OldState(folder / "house", clip)
    for status in ("pending", "failed", "cancelled", "completed"):
        old.put(status, f"old {status}.mp4")
    old.put("processing", "old processing.mp4", token="0" * 32, attempts=1)
    old.put("pending", "newer.mp4", shade="green", lanes=[1, {"a": None}], webhook=None)
    old.put("pending", "from tomorrow.mp4", TO_COME)
    old.put("pending", "odd.mp4", attempts="three")
    state = old.house.state
    (state / "progress").mkdir()
    (state / "progress" / f"{old.ids['old processing.mp4']}.json").write_text('{"percent": 12}')
    (state / "service.json").write_text(json.dumps({"pid": 1, "mood": "good"}))
    for path in state.rglob("*"):
        os.utime(path, (TO_COME.timestamp(),) * 2)
    with running(old.house):
        yield old


def test_what_waited_or_ran_is_done(old: OldState) -> None:
    names = ("old pending", "old processing", "newer", "from tomorrow")
    tasks = [old.house.wait_for(f"{name}.mp4", "completed") for name in names]
    results = [path.name.split("_")[0] for path in old.house.results()]
    assert sorted(results) == sorted(task["task_id"] for task in tasks)
    assert [task["interruptions"] for task in map(old.record, [f"{n}.mp4" for n in names])] == [
        *(0, 1, 0, 0)
    ]


def test_what_a_newer_version_wrote_is_kept(old: OldState) -> None:
    old.house.wait_for("newer.mp4", "completed")
    record = old.record("newer.mp4")
    assert (record["shade"], record["lanes"]) == ("green", [1, {"a": None}])


def test_what_had_ended_can_be_seen_and_tried_again(old: OldState) -> None:
    shown = json.loads(old.house.run("--json", "list", "--limit", "50").stdout)
    by_name = {task["input_video"]: task["status"] for task in shown["tasks"]}
    assert by_name["old completed.mp4"] == "completed"
    for status in ("failed", "cancelled"):
        assert by_name[f"old {status}.mp4"] == status
        task_id = old.ids[f"old {status}.mp4"]
        assert old.house.run("retry", task_id).returncode == 0
        old.house.wait_for(f"old {status}.mp4", "completed")


def test_one_that_is_no_record_is_named_and_stops_nothing(old: OldState) -> None:
    (damaged,) = wait_until(lambda: os.listdir(old.house.state / "damaged"), "set aside")
    assert damaged == f"{old.ids['odd.mp4']}.json"
    told = [x for x in old.house.log_lines("server.log") if x["event"] == "record damaged"]
    assert [line["reason"] for line in told] == ["its attempts is 'three'"]
    assert old.house.health()["problems"] == []


@pytest.mark.parametrize("moment", [0.0, TO_COME.timestamp()], ids=["1970", "to come"])
def test_the_time_of_a_dropped_file_counts_for_nothing(old: OldState, moment: float) -> None:
    name = f"of {moment:.0f}.mp4"
    aside = old.house.folder / name
    shutil.copyfile(old.clip, aside)
    os.utime(aside, (moment, moment))
    os.rename(aside, old.house.inbox / name)
    began = time.monotonic()
    old.house.wait_for(name, "completed")
    assert time.monotonic() - began < 60
