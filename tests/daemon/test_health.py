"""What the service tells of itself, and what others make of its silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from spools import Clock

from daemon import health
from daemon.health import Health, InboxHealth, ServiceStatus, Workers, problems_now
from daemon.locks import service_lock

NOW = Clock().now
TOLD = Health(
    pid=4711,
    started_at=NOW - timedelta(hours=1),
    updated_at=NOW,
    status=ServiceStatus.RUNNING,
    workers=Workers(size=2, ready=2, busy=1),
    inboxes={"main": InboxHealth("/in", True, "inotify", mount="/in ext4")},
    free_gb={"temp": 12.5, "outbox": None},
    problems=("temp: no room",),
    url="http://127.0.0.1:8000/",
    mounts={"/out": "/out ext4"},
    statuses_until=NOW - timedelta(minutes=5),
    retention_held_until=NOW + timedelta(hours=3),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    health.write(tmp_path, TOLD)
    assert health.read(tmp_path) == TOLD
    assert [p.name for p in tmp_path.iterdir()] == ["service.json"]
    values = json.loads((tmp_path / "service.json").read_text())
    assert values["status"] == "running"
    assert values["workers"] == {"size": 2, "ready": 2, "busy": 1}
    health.write(tmp_path, replace(TOLD, free_gb={"temp": 12.3456}))
    assert json.loads((tmp_path / "service.json").read_text())["free_gb"] == {"temp": 12.35}


def test_a_folder_with_an_undecodable_name_can_be_told_of(tmp_path: Path) -> None:
    told = replace(TOLD, inboxes={"main": InboxHealth("/in/\udcff", False, "rescan", "gone")})
    health.write(tmp_path, told)
    assert health.read(tmp_path) == told


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b'{"pid": "x"}', b"\xff", b'{"pid": 1, "workers": 3}'],
)
def test_what_makes_no_sense_is_as_if_nothing_had_been_told(tmp_path: Path, content: bytes) -> None:
    assert health.read(tmp_path) is None
    (tmp_path / "service.json").write_bytes(content)
    assert health.read(tmp_path) is None


def test_a_time_without_its_offset_makes_no_sense(tmp_path: Path) -> None:
    values = TOLD.as_dict() | {"updated_at": NOW.replace(tzinfo=None).isoformat()}
    (tmp_path / "service.json").write_text(json.dumps(values))
    assert health.read(tmp_path) is None


def test_the_end_keeps_where_the_inboxes_lay(tmp_path: Path) -> None:
    health.end(tmp_path)
    assert health.read(tmp_path) is None
    health.write(tmp_path, TOLD)
    health.end(tmp_path)
    left = health.read(tmp_path)
    assert left is not None
    assert (left.status, left.inboxes) == (ServiceStatus.STOPPED, TOLD.inboxes)
    assert (left.free_gb, left.problems, left.url) == ({}, (), None)
    assert not health.is_fresh(left, NOW)
    assert "No service runs" in problems_now(left, NOW, is_alive=False)[0]


# --- What others make of it ---


def test_a_service_that_was_heard_of_just_now_tells_its_problems_itself() -> None:
    for is_alive in (True, False):  # it may run in another container
        assert problems_now(TOLD, NOW + timedelta(seconds=15), is_alive) == TOLD.problems
        assert problems_now(TOLD, NOW + timedelta(seconds=16), is_alive) != TOLD.problems


def test_a_silent_process_hangs() -> None:
    (problem,) = problems_now(TOLD, NOW + timedelta(seconds=37), is_alive=True)
    assert "4711" in problem
    assert "37 s" in problem


def test_a_clock_that_was_set_back_is_no_news_from_the_future() -> None:
    assert "not been heard of" in problems_now(TOLD, NOW - timedelta(hours=1), is_alive=True)[0]


def test_without_a_process_no_service_runs() -> None:
    for told in (None, TOLD):
        (problem,) = problems_now(told, NOW + timedelta(seconds=37), is_alive=False)
        assert "No service runs" in problem
        assert "serve" in problem


def test_a_service_that_is_starting_has_not_told_yet() -> None:
    for told in (None, replace(TOLD, status=ServiceStatus.STOPPED)):
        assert "not told yet" in problems_now(told, NOW, is_alive=True)[0]


def test_damaged_records_are_a_problem_that_says_what_to_do(tmp_path: Path) -> None:
    assert health.records_to_mend([]) == ()
    (one,) = health.records_to_mend([tmp_path / "a.json"])
    (two,) = health.records_to_mend([tmp_path / "a.json", tmp_path / "b.json"])
    assert one.startswith("A record lies")
    assert two.startswith("2 records lie")
    assert str(tmp_path) in two
    assert "a.json" in two


# --- A state that keeps the service from telling anything ---


def test_a_state_that_nothing_can_be_written_to_is_why_a_service_is_silent() -> None:
    """To start it again would help nobody."""
    silent, trouble = NOW + timedelta(seconds=37), "state: /state is full; make room."
    for told in (TOLD, None):
        for is_alive in (True, False):
            assert problems_now(told, silent, is_alive, trouble) == (trouble,)
    assert problems_now(TOLD, NOW, True, trouble) == TOLD.problems


def test_what_is_wrong_with_a_state_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health.trouble_of(tmp_path) is None
    gone = tmp_path / "gone"
    assert health.trouble_of(gone) == (
        f"state: {gone} cannot be used (No such file or directory); bring it back."
    )
    room = os.statvfs(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", lambda path: _room(room, f_bavail=0))
        assert health.trouble_of(tmp_path) == f"state: {tmp_path} is full; make room."
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert health.trouble_of(tmp_path) == (
        f"state: {tmp_path} may not be read and written by this user; mend that."
    )
    monkeypatch.setattr(os, "statvfs", lambda path: _room(room, f_flag=os.ST_RDONLY, f_bavail=0))
    assert health.trouble_of(tmp_path) == f"state: {tmp_path} is read-only; mend that."


def test_a_state_that_cannot_be_read_is_as_if_nothing_had_been_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(Path, "read_bytes", refused)
    assert health.read(tmp_path) is None
    assert not health.is_process_alive(tmp_path)


def _room(real: os.statvfs_result, **changed: int) -> os.statvfs_result:
    names = [name for name in dir(real) if name.startswith("f_")]
    return cast(
        os.statvfs_result, SimpleNamespace(**{n: getattr(real, n) for n in names} | changed)
    )


# --- Is there a process? ---


def test_the_process_that_holds_the_state_is_alive_until_it_ends(tmp_path: Path) -> None:
    assert not health.is_process_alive(tmp_path)
    code = (
        "import sys; from pathlib import Path; from daemon.locks import service_lock\n"
        "with service_lock(Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "service.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin
    assert process.stdout
    process.stdout.readline()
    assert health.is_process_alive(tmp_path)
    process.kill()
    process.wait()
    assert not health.is_process_alive(tmp_path)


def test_a_process_of_another_user_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pid: int, number: int) -> None:
        assert (pid, number) == (4711, 0)
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "service.lock").write_bytes(b"4711")
    monkeypatch.setattr(os, "kill", refused)
    assert health.is_process_alive(tmp_path)


def test_asking_never_takes_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    with service_lock(tmp_path / "service.lock"):
        monkeypatch.setattr(fcntl, "flock", None)  # whoever calls it fails
        assert health.is_process_alive(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"0", b"-1", b"99999999999999999999"])
def test_a_lock_that_names_no_process_is_nobodys(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "service.lock").write_bytes(content)
    assert not health.is_process_alive(tmp_path)
