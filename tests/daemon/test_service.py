"""
The whole service with real workers: what people drop, what operators do, and what is killed.

Each test starts services of its own but for those on `house`, which share one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from media import Audio, Video, make_video
from services import PATIENCE_SECONDS, ServiceHouse, running, wait_until

from daemon import machine
from daemon.commands import serve
from daemon.errors import UsageError

SHORT = Video(frames=10, width=160, height=120)
# By how much a machine of tests may be slower than one that does nothing else.
BUSY = 10
# Some seconds of work, so that there is time to interfere.
LONG = Video(frames=900, width=640, height=360)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_video(folder / "short.mp4", SHORT)
    make_video(folder / "long.mp4", LONG)
    return folder


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceHouse]:
    house = ServiceHouse(tmp_path_factory.mktemp("house"), workers=2)
    with running(house):
        yield house


def drop(clip: Path, house: ServiceHouse, name: str, sidecar: str | None = None) -> None:
    """Copy a clip as `cp` does, its sidecar before it."""
    target = house.inbox / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if sidecar is not None:
        target.with_name(target.name + ".yaml").write_text(sidecar)
    shutil.copyfile(clip, target)


def started(house: ServiceHouse, video: str) -> None:
    """Wait until the work on a video has got somewhere."""
    wait_until(lambda: house.by_video().get(video, {}).get("processed_frames"), f"{video} runs")


# --- What people drop ---


def test_a_dropped_video_is_protected_with_what_its_sidecar_says(
    house: ServiceHouse, clips: Path
) -> None:
    before = (clips / "short.mp4").read_bytes()
    drop(clips / "short.mp4", house, "alice/lake/one.mp4", "epsilon: 0.2\nnotes: für Oma\n")
    task = house.wait_for("one.mp4", "completed")
    assert (task["epsilon"], task["notes"], task["user_id"]) == (0.2, "für Oma", "alice")
    folder = house.outbox / "alice/lake"
    name = f"{task['task_id']}_one"
    left = [f"{name}.status.json", f"{name}_protected.mp4"]
    wait_until(lambda: sorted(os.listdir(folder)) == left, "nothing but these two")
    assert task["report"]["frames"] == 10
    assert not list(house.inbox.glob("alice/lake/*"))
    (original,) = house.inbox.glob(f".media-cleaner/originals/*/{task['task_id']}/one.mp4")
    assert original.read_bytes() == before
    shown = house.run("--json", "status", task["task_id"])
    assert json.loads(shown.stdout) == task


def test_strip_keeps_the_container_and_the_packets(house: ServiceHouse) -> None:
    house.inbox.mkdir(exist_ok=True)
    (house.inbox / "two.mkv.yaml").write_text("mode: strip\n")
    make_video(house.inbox / "two.mkv", Video(frames=10, audio=[Audio()], tags={"title": "x"}))
    task = house.wait_for("two.mkv", "completed")
    assert task["output_video"].endswith("_two_protected.mkv")


def test_a_wrong_sidecar_fails_the_task_and_a_corrected_one_mends_it(
    house: ServiceHouse, clips: Path
) -> None:
    drop(clips / "short.mp4", house, "three.mp4", "epsilon: 9\n")
    task = house.wait_for("three.mp4", "failed")
    assert "three.mp4.yaml" in task["error_message"]
    assert "0.04" in task["error_message"]
    assert house.run("retry", task["task_id"]).returncode == 0
    wait_until(lambda: house.by_video()["three.mp4"]["attempts"] == 1, "tried again")
    assert house.wait_for("three.mp4", "failed")["error_message"] == task["error_message"]
    (house.inbox / "three.mp4.yaml").write_text("epsilon: 0.05\n")
    assert house.run("retry", task["task_id"]).returncode == 0
    assert house.wait_for("three.mp4", "completed")["epsilon"] == 0.05


def test_what_is_no_video_fails_with_its_reason_in_one_line_of_the_log(
    house: ServiceHouse,
) -> None:
    house.inbox.mkdir(exist_ok=True)
    (house.inbox / "four.mp4").write_bytes(b"no video at all")
    task = house.wait_for("four.mp4", "failed")
    assert (task["error_code"], task["attempts"]) == ("unreadable_media", 1)
    assert "four.mp4" in task["error_message"]

    def errors() -> int:
        both = house.log_lines("queue.log") + house.log_lines("server.log")
        lines = [line for line in both if line.get("task_id") == task["task_id"]]
        return [line["level"] for line in lines].count("ERROR")

    wait_until(errors, "it is in the log")  # which may come after the status file
    assert errors() == 1


def test_a_cancelled_task_stops_at_once_and_leaves_no_file(
    house: ServiceHouse, clips: Path
) -> None:
    """Within 2 s where the machine is idle: `test_dispatcher` has that on a clock of its own."""
    drop(clips / "long.mp4", house, "five.mp4")
    started(house, "five.mp4")
    task_id = house.by_video()["five.mp4"]["task_id"]
    asked = time.monotonic()
    assert house.run("cancel", task_id).returncode == 0
    house.wait_for("five.mp4", "cancelled")
    wait_until(lambda: not list((house.folder / "temp").glob(f"{task_id}*")), "stopped")
    assert time.monotonic() - asked < 2.0 * BUSY
    assert not list(house.outbox.rglob(f"*{task_id}*_protected*"))
    assert house.wait_for("five.mp4", "cancelled")


def test_a_record_moved_back_by_hand_is_tried_again(house: ServiceHouse) -> None:
    house.inbox.mkdir(exist_ok=True)
    (house.inbox / "six.mp4").write_bytes(b"no video at all")
    task = house.wait_for("six.mp4", "failed")
    (record,) = (house.state / "failed").rglob(f"{task['task_id']}.json")
    record.rename(house.state / "pending" / record.name)
    again = wait_until(
        lambda: (t := house.by_video()["six.mp4"])["completed_at"] != task["completed_at"] and t,
        "tried again",
    )
    assert house.wait_for("six.mp4", "failed")["attempts"] == 1
    assert again["task_id"] == task["task_id"]


def test_a_killed_worker_costs_its_own_task_one_attempt(house: ServiceHouse, clips: Path) -> None:
    wait_until(lambda: house.health()["workers"]["ready"] == 2, "both workers are warm")
    for name in ("seven.mp4", "eight.mp4"):
        drop(clips / "long.mp4", house, name)
    for name in ("seven.mp4", "eight.mp4"):
        started(house, name)
    os.kill(house.workers()[0], signal.SIGKILL)
    tasks = [house.wait_for(name, "completed") for name in ("seven.mp4", "eight.mp4")]
    assert sorted(task["attempts"] for task in tasks) == [1, 2]
    lost = [line for line in house.log_lines("queue.log") if line["event"] == "attempt lost"]
    assert "SIGKILL" in lost[-1]["reason"]


# --- What operators do ---


def test_values_that_cannot_be_are_named_before_anything_is_begun(tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path)
    for option, value in [
        *(("--host", ""), ("--port", "65536"), ("--workers", "0")),
        *(("--port", "8_000"), ("--port", " 0"), ("--workers", "1_0"), ("--workers", "٢")),
    ]:
        answer = house.run("serve", option, value)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert option in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
    assert not house.state.exists()


def test_more_workers_than_the_memory_holds_are_not_begun_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_memory_bytes", lambda: 8 << 30)
    monkeypatch.setattr(serve, "pass_none_on", lambda: None)
    monkeypatch.setattr(serve, "_serve", lambda arguments, signals: None)
    arguments = argparse.Namespace(workers=40, host=None, port=None)
    serve.run(arguments)
    arguments.workers = 1000
    with pytest.raises(UsageError, match="--workers is 1000, .* at most 48; set fewer"):
        serve.run(arguments)


def test_a_second_service_on_the_same_state_refuses(house: ServiceHouse) -> None:
    lines = len(house.log_lines("server.log"))
    second = house.run("serve")
    assert second.returncode == 1
    assert "works on" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert len(house.log_lines("server.log")) == lines


def test_paused_nothing_is_begun_and_after_resume_it_goes_on(
    house: ServiceHouse, clips: Path
) -> None:
    assert house.run("pause").returncode == 0
    drop(clips / "short.mp4", house, "nine.mp4")
    house.wait_for("nine.mp4", "pending")
    wait_until(lambda: house.by_video()["nine.mp4"]["queue_position"] == 1, "it is the first")
    time.sleep(1.0)
    assert house.by_video()["nine.mp4"]["status"] == "pending"
    assert house.run("resume").returncode == 0
    house.wait_for("nine.mp4", "completed")


def test_every_line_about_a_task_bears_its_name(house: ServiceHouse) -> None:
    levels = set()
    for name in ("queue.log", "server.log"):
        for line in house.log_lines(name):
            levels.add(line["level"])
            assert line["timestamp"][-6] in "+-" or line["timestamp"].endswith("Z")
            assert "task_id" in line or name == "server.log", line
    assert "INFO" in levels
    assert all(level.isupper() for level in levels)


def test_sigterm_puts_back_what_does_not_end_in_time(tmp_path: Path, clips: Path) -> None:
    house = ServiceHouse(tmp_path, drain_s=0.2)
    with running(house):
        drop(clips / "long.mp4", house, "clip.mp4")
        started(house, "clip.mp4")
        assert house.stop() == 0
    task = house.by_video()["clip.mp4"]
    assert (task["status"], task["attempts"]) == ("pending", 0)
    assert os.listdir(tmp_path / "temp") == []
    assert house.results() == []
    with running(house):
        assert house.wait_for("clip.mp4", "completed")["attempts"] == 1


def test_sigterm_lets_finish_what_can_and_begins_nothing_new(tmp_path: Path, clips: Path) -> None:
    house = ServiceHouse(tmp_path, drain_s=PATIENCE_SECONDS - 10)
    with running(house):
        drop(clips / "long.mp4", house, "first.mp4")
        started(house, "first.mp4")
        drop(clips / "short.mp4", house, "second.mp4")
        house.wait_for("second.mp4", "pending")
        assert house.stop() == 0
    tasks = house.by_video()
    assert [tasks[n]["status"] for n in ("first.mp4", "second.mp4")] == ["completed", "pending"]


def test_a_drain_finishes_what_runs_and_takes_nothing_new(tmp_path: Path, clips: Path) -> None:
    house = ServiceHouse(tmp_path)
    with running(house):
        drop(clips / "long.mp4", house, "first.mp4")
        started(house, "first.mp4")
        assert house.run("drain").returncode == 0
        drop(clips / "short.mp4", house, "second.mp4")
        house.wait_for("first.mp4", "completed")
        time.sleep(1.5)
        assert "second.mp4" not in house.by_video()
        assert (house.inbox / "second.mp4").exists()
        wait_until(lambda: house.health()["status"] == "draining", "draining")
        assert house.run("resume").returncode == 0
        house.wait_for("second.mp4", "completed")


def test_sighup_takes_over_a_new_configuration_but_not_a_wrong_one(
    tmp_path: Path, clips: Path
) -> None:
    house = ServiceHouse(tmp_path)
    with running(house):
        house.configure(epsilon=5)
        house.send(signal.SIGHUP)
        wait_until(
            lambda: any("epsilon" in str(line) for line in house.log_lines("server.log")), "told"
        )
        inboxes = [
            {"name": "main", "inbox": "inbox"},
            {"name": "studio", "inbox": "in2", "outbox": "out2", "defaults": {"epsilon": 0.07}},
        ]
        house.configure(inboxes=inboxes, language="en")
        house.send(signal.SIGHUP)
        wait_until(lambda: "studio" in house.health()["inboxes"], "taken over")
        drop(clips / "short.mp4", house, "../in2/clip.mp4")
        (status,) = wait_until(lambda: list((tmp_path / "out2").glob("*.status.json")), "accepted")
        wait_until(lambda: json.loads(status.read_bytes())["status"] == "completed", "protected")
        task = json.loads(status.read_bytes())
        assert (task["epsilon"], task["status_text"]) == (0.07, "✅ Completed")


def test_drops_beyond_max_pending_wait_in_the_inbox(tmp_path: Path, clips: Path) -> None:
    house = ServiceHouse(tmp_path, max_pending=2)
    (tmp_path / "state").mkdir(parents=True)
    (tmp_path / "state/pause").touch()
    with running(house):
        for number in range(5):
            drop(clips / "short.mp4", house, f"{number}.mp4")
        wait_until(lambda: len(house.by_video()) == 2, "two are taken")
        time.sleep(2.5)
        assert len(house.by_video()) == 2
        assert len(list(house.inbox.glob("*.mp4"))) == 3
        house.run("resume")
        for number in range(5):
            house.wait_for(f"{number}.mp4", "completed")


# --- What is killed ---


def test_a_killed_service_takes_its_workers_along_and_the_next_finishes(
    tmp_path: Path, clips: Path
) -> None:
    house = ServiceHouse(tmp_path)
    with running(house):
        drop(clips / "long.mp4", house, "clip.mp4")
        drop(clips / "short.mp4", house, "next.mp4")
        started(house, "clip.mp4")
        children = house.children()
        house.send(signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "gone")
        house.kill()
    with running(house):
        tasks = [house.wait_for(name, "completed") for name in ("clip.mp4", "next.mp4")]
    assert [task["attempts"] for task in tasks] == [1, 1]
    assert len(house.results()) == 2


def killed_before_the_status_file(house: ServiceHouse, clips: Path) -> dict[str, Any]:
    """Leave a completed task, which is returned, whose status file still says `processing`."""
    with running(house):
        drop(clips / "short.mp4", house, "clip.mp4")
        task = house.wait_for("clip.mp4", "completed")
        (status,) = house.outbox.glob("*.status.json")
        house.kill()
    status.write_text(json.dumps({**task, "status": "processing", "completed_at": None}))
    return task


def test_a_status_file_that_was_not_written_any_more_is_made_right_at_the_next_start(
    tmp_path: Path, clips: Path
) -> None:
    """As when the service is killed between the end of a task and the status file."""
    house = ServiceHouse(tmp_path)
    task = killed_before_the_status_file(house, clips)
    with running(house):
        assert house.wait_for("clip.mp4", "completed") == task


def test_a_status_file_that_was_refused_for_long_is_made_right_at_the_next_start(
    tmp_path: Path, clips: Path
) -> None:
    """As when an outbox has been away for the last ten minutes of the service."""
    house = ServiceHouse(tmp_path)
    task = killed_before_the_status_file(house, clips)
    told = json.loads((house.state / "service.json").read_text())
    told["statuses_until"] = told["started_at"]
    later = datetime.fromisoformat(told["updated_at"]) + timedelta(minutes=10)
    told["updated_at"] = later.isoformat()
    (house.state / "service.json").write_text(json.dumps(told))
    with running(house):
        assert house.wait_for("clip.mp4", "completed") == task


def test_a_stopped_worker_costs_its_own_task_one_attempt(tmp_path: Path, clips: Path) -> None:
    house = ServiceHouse(tmp_path, workers=2, stall_s=8)
    with running(house):
        wait_until(lambda: house.health()["workers"]["ready"] == 2, "both workers are warm")
        for name in ("a.mp4", "b.mp4"):
            drop(clips / "long.mp4", house, name)
        for name in ("a.mp4", "b.mp4"):
            started(house, name)
        os.kill(house.workers()[0], signal.SIGSTOP)
        tasks = [house.wait_for(name, "completed") for name in ("a.mp4", "b.mp4")]
    assert sorted(task["attempts"] for task in tasks) == [1, 2]


def test_a_worker_that_dies_again_and_again_fails_the_task(tmp_path: Path, clips: Path) -> None:
    house = ServiceHouse(tmp_path)
    with running(house):
        drop(clips / "long.mp4", house, "clip.mp4")
        for attempt in (1, 2):
            wait_until(
                lambda attempt=attempt: (
                    (t := house.by_video().get("clip.mp4", {}))
                    and t["attempts"] == attempt
                    and t["processed_frames"]
                ),
                f"attempt {attempt}",
            )
            os.kill(house.workers()[0], signal.SIGKILL)
        task = house.wait_for("clip.mp4", "failed")
    assert (task["error_code"], task["attempts"]) == ("worker_died", 2)
