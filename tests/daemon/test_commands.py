"""The operator's commands, on a spool that lies there, as a person or a script calls them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from spools import REASON, REPORT, Clock, claimed, completed, failed, record, records, submission
from spools import submitted as submit

from daemon import health, record_store
from daemon.__main__ import main
from daemon.outbox import status_path
from daemon.records import encode
from daemon.spool import Spool
from daemon.task import Progress, Status
from daemon.task import completed as as_completed
from daemon.task import submitted as as_submitted

ROOT = Path(__file__).parents[2]
NOBODY = "01a20d6d-5a00-70dc-ab7a-227b1833c6b0"


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a configuration and a state."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDIA_CLEANER_CONFIG", raising=False)
    monkeypatch.setattr("daemon.__main__.raise_on_signals", lambda: None)
    (tmp_path / "config.yaml").write_text("language: en\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "outbox").mkdir()
    return tmp_path


@pytest.fixture
def spool(folder: Path) -> Spool:
    return Spool(folder / "state")


class Shell:
    """Calls commands in this process and keeps what they said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> str:
        """Run a command that must do its work; return what it said."""
        code, out, err = self.run(*words)
        assert (code, err) == (0, "")
        return out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))

    def refused(self, *words: str) -> str:
        """Run a command that must fail; return its one line of complaint."""
        code, out, err = self.run(*words)
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert err.startswith("media-cleaner: ")
        assert "not foreseen" not in err
        return err

    def run(self, *words: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def in_outbox(spool: Spool, folder: Path) -> str:
    """Submit a task whose results go to this folder's outbox."""
    asked = replace(submission(spool), outbox=str(folder / "outbox"), inbox="main")
    return spool.submit(asked, 1000).task_id


def test_a_disk_that_refuses_is_told_with_what_to_do(
    shell: Shell, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no question of who calls."""
    task_id = submit(spool)
    told = {
        errno.ENOSPC: "make room",
        errno.EROFS: "written",
        errno.EACCES: "service's user",
        errno.EISDIR: "move it away",
    }
    for number, words in told.items():

        def refused(path: Path, data: bytes, number: int = number) -> None:
            raise OSError(number, os.strerror(number))  # as write(2) says it: of no name

        monkeypatch.setattr(record_store, "rewrite", refused)
        said = shell.refused("cancel", task_id)
        assert words in said
        assert "state" in said
        assert "None" not in said


# --- status ---


def test_status_tells_everything_about_a_task(shell: Shell, spool: Spool) -> None:
    task_id, token = claimed(spool)
    spool.write_progress(task_id, Progress(token, 42.5, 425, 1000))
    said = shell("status", task_id)
    for words in (task_id, "⚙️ Processing", "holiday.mov", "42.5 %", "frame 425 of 1000"):
        assert words in said
    labels = {line.split("  ")[0] for line in said.splitlines()}
    assert {"task", "status", "video", "created", "started", "original", "parameters"} <= labels
    column = said.splitlines()[0].index(task_id)
    assert all(line[column - 1] == " " and line[column] != " " for line in said.splitlines())


def test_status_of_a_completed_task_has_the_report_and_whether_the_result_is_there(
    shell: Shell, spool: Spool
) -> None:
    said = shell("status", completed(spool))
    assert "/outbox/result.mp4 (not there)" in said
    assert "report psnr_db" in said
    assert "38.5" in said


@pytest.mark.parametrize("words", [("list",), ("stats",), ("cleanup", "--days", "1"), ("pause",)])
def test_whoever_may_not_enter_the_folder_of_the_state_is_told_whom_to_be(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    real = os.stat

    def closed(path: Any, *rest: Any, **named: Any) -> os.stat_result:
        if str(path) == str(folder / "state"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "stat", closed)
    assert shell.refused(*words) == (
        f"media-cleaner: the queue cannot be used: Permission denied ({folder / 'state'});"
        " call this as the service's user.\n"
    )


def test_a_command_in_a_folder_that_its_user_may_not_enter_asks_for_the_configuration(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `sudo -u media-cleaner` is called in root's home."""
    real = os.stat

    def closed(path: Any, *rest: Any, **named: Any) -> os.stat_result:
        if str(path) == "config.yaml":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "stat", closed)
    code, _, err = shell.run("list")
    assert code == 2
    assert "current folder cannot be read: Permission denied; name the configuration" in err


def test_status_of_a_task_whose_outbox_does_not_answer_is_told_all_the_same(
    shell: Shell, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the server of a share was set up anew."""
    task_id, real = completed(spool), os.stat

    def stale(path: Any, *words: Any, **named: Any) -> os.stat_result:
        if str(path) == "/outbox/result.mp4":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return real(path, *words, **named)

    monkeypatch.setattr(os, "stat", stale)
    assert "/outbox/result.mp4 (not there)" in shell("status", task_id)


def test_status_tells_what_was_done_to_faces(shell: Shell, spool: Spool) -> None:
    task_id, token = claimed(spool)
    faces = {"embedders": ["sface.onnx", "mine.pt"], "found": 12, "similarity": 0.31}
    spool.complete(task_id, token, "result.mp4", {"frames": 250, "faces": faces}, lambda: None)
    (line,) = [line for line in shell("status", task_id).splitlines() if "report faces" in line]
    assert line.endswith("  embedders sface.onnx; mine.pt, found 12, similarity 0.31")
    assert shell.json("status", task_id)["report"]["faces"] == faces


def test_check_config_tells_what_faces_are_worked_on_with(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.commands.check_config.network_problems", lambda settings: [])

    def row() -> str:
        lines = shell("check-config").splitlines()
        return next(line.split("  ", 1)[1].strip() for line in lines if line.startswith("faces "))

    assert row() == "none"
    assert shell.json("check-config")["settings"]["faces"] == {"detector": None, "embedders": []}
    paths = [str(folder / name) for name in ("yunet.onnx", "sface.onnx", "mine.pt")]
    for path in paths:
        Path(path).write_bytes(b"x")
    with (folder / "config.yaml").open("a") as file:
        file.write("faces: {detector: yunet.onnx, embedders: [sface.onnx, mine.pt]}\n")
    detector, *embedders = paths
    assert row() == f"detector {detector}, embedders {', '.join(embedders)}"
    told = shell.json("check-config")["settings"]["faces"]
    assert told == {"detector": detector, "embedders": embedders}


def test_check_config_tells_what_recognisers_of_speech_are_asked(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.commands.check_config.network_problems", lambda settings: [])

    def row() -> str:
        lines = shell("check-config").splitlines()
        return next(line.split("  ", 1)[1].strip() for line in lines if line.startswith("speech "))

    assert row() == "none"
    assert shell.json("check-config")["settings"]["speech"] == {"recognisers": []}
    paths = [str(folder / name) for name in ("tiny.ts", "base.ts")]
    for path in paths:
        Path(path).write_bytes(b"x")
    with (folder / "config.yaml").open("a") as file:
        file.write("speech: {recognisers: [tiny.ts, base.ts]}\n")
    assert row() == f"recognisers {', '.join(paths)}"
    assert shell.json("check-config")["settings"]["speech"] == {"recognisers": paths}


def test_check_config_does_not_say_that_a_link_leading_nowhere_will_be_made(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.commands.check_config.network_problems", lambda settings: [])
    (folder / "inbox").symlink_to("share/inbox")
    rows = shell("check-config").splitlines()
    assert f"{folder}/inbox (a link that leads nowhere)" in next(r for r in rows if "/inbox" in r)


def test_status_of_a_failed_task_says_why(shell: Shell, spool: Spool) -> None:
    said = shell("status", failed(spool))
    assert REASON.message in said
    assert REASON.code in said


def test_status_of_a_waiting_task_tells_its_place(shell: Shell, spool: Spool) -> None:
    submit(spool)
    second = submit(spool)
    assert "2 in the queue" in shell("status", second)
    assert shell.json("status", second)["queue_position"] == 2


def test_status_in_json_is_the_task_object(shell: Shell, spool: Spool) -> None:
    task_id = failed(spool)
    values = shell.json("status", task_id)
    assert (values["task_id"], values["status"]) == (task_id, "failed")
    assert datetime.fromisoformat(values["created_at"]).tzinfo is not None


def test_times_are_local(shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(datetime(2026, 11, 24, 23, 30, tzinfo=UTC))
    task_id = submit(Spool(folder / "state", clock))
    monkeypatch.setenv("TZ", "Asia/Yekaterinburg")
    time.tzset()
    try:
        assert "2026-11-25 04:30:00" in shell("status", task_id)
        assert "2026-11-25 04:30" in shell("list")
    finally:
        monkeypatch.undo()
        time.tzset()


# --- list ---


def test_list_shows_the_newest_first_in_columns(shell: Shell, spool: Spool) -> None:
    ids = [submit(spool), failed(spool), completed(spool)]
    head, *rows = shell("list").splitlines()
    assert head.split() == ["TASK", "STATUS", "DONE", "CREATED", "VIDEO"]
    assert [row.split()[0] for row in rows] == ids[::-1]
    assert [row.split()[1] for row in rows] == ["completed", "failed", "pending"]
    column = head.index("VIDEO")
    assert {row[column:] for row in rows} == {"holiday.mov"}


def test_list_is_chosen_by_user_status_and_page(shell: Shell, spool: Spool) -> None:
    alice = [submit(spool, user_id="alice") for _ in range(3)]
    other = submit(spool, user_id="bob")
    lost = failed(spool)

    def listed(*words: str) -> list[str]:
        found = shell.json("list", *words)
        assert found["count"] == len(found["tasks"])
        return [task["task_id"] for task in found["tasks"]]

    assert listed() == [lost, other, *alice[::-1]]
    assert listed("--user", "alice") == alice[::-1]
    assert listed("--status", "failed") == [lost]
    assert listed("--limit", "2") == [lost, other]
    assert listed("--limit", "2", "--before", other) == [alice[2], alice[1]]
    assert "USER" in shell("list")
    assert shell("list", "--user", "nobody") == "no tasks\n"


def columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def test_a_name_never_breaks_the_table(shell: Shell, spool: Spool) -> None:
    for name in (
        "two\nlines\x1b[2J.mov",
        "caf\udce9.mov",
        "\x1b" * 100,
        "長い名前" * 60 + ".mov",
        "a" * 250,
    ):
        submit(spool, name, user_id="u" * 64)
    rows = shell("list").splitlines()
    assert len(rows) == 6
    assert all(columns(row) <= 120 for row in rows)
    assert all(row.isprintable() for row in rows)


@pytest.mark.parametrize(
    "words",
    [
        *(("--limit", limit) for limit in ("0", "x", "1_0", " 5", "1e2", "٥")),
        *(("--user", user) for user in ("../x", "", "имя")),
        ("--before", "01a2"),
        ("--status", "done"),
    ],
)
def test_list_refuses_what_makes_no_sense(shell: Shell, words: tuple[str, ...]) -> None:
    code, out, err = shell.run("list", *words)
    assert (code, out) == (2, "")
    assert words[0] in err
    assert err.count("\n") == 1


def test_a_damaged_record_is_told_beside_the_listing(shell: Shell, spool: Spool) -> None:
    kept, broken = submit(spool), submit(spool)
    record(Path("state"), broken).write_text("{")
    code, out, err = shell.run("list", "--json")
    assert code == 0
    assert [task["task_id"] for task in json.loads(out)["tasks"]] == [kept]
    assert broken in err
    assert "damaged" in err
    assert any(broken in problem for problem in shell.json("stats")["problems"])


def test_a_sidecar_that_was_taken_away_is_shown_as_gone(
    shell: Shell, spool: Spool, tmp_path: Path
) -> None:
    sidecar = tmp_path / "clip.mov.yaml"
    sidecar.write_text("epsilon: 0.1")
    task = spool.submit(replace(submission(spool), sidecar=str(sidecar)), 100)
    assert "(gone)" not in shell("status", task.task_id)
    sidecar.unlink()
    assert f"{sidecar} (gone)" in shell("status", task.task_id)


def test_several_damaged_records_are_told_in_one_line(shell: Shell, spool: Spool) -> None:
    for _ in range(3):
        record(Path("state"), submit(spool)).write_text("{")
    code, _, err = shell.run("list")
    assert code == 0
    assert err.count("\n") == 1
    assert "3 records are damaged and lie in" in err


# --- stats ---


def told(updated_at: datetime, pid: int = 4711) -> health.Health:
    return health.Health(
        pid=pid,
        started_at=updated_at,
        updated_at=updated_at,
        status=health.ServiceStatus.RUNNING,
        workers=health.Workers(2, 2, 1),
        inboxes={"main": health.InboxHealth("/in", False, "rescan", "an empty mount point")},
        free_gb={"temp": 3.25},
        problems=("inbox main: an empty mount point",),
    )


def test_stats_counts_and_says_that_no_service_runs(shell: Shell, spool: Spool) -> None:
    for act in (submit, completed, failed, failed):
        act(spool)
    found = shell.json("stats")
    assert found["queue"] == {
        "total": 4,
        "pending": 1,
        "processing": 0,
        "completed": 1,
        "failed": 2,
        "cancelled": 0,
    }
    assert found["service"] is None
    assert "No service runs" in found["problems"][0]
    assert "No service runs" in shell("stats")


def test_stats_shows_what_the_service_tells(shell: Shell, spool: Spool) -> None:
    health.write(Path("state"), told(spool.now()))
    found = shell.json("stats")
    assert found["service"]["pid"] == 4711
    assert found["problems"] == ["inbox main: an empty mount point"]
    said = shell("stats")
    for words in ("running, process 4711", "1 busy, 2 ready of 2", "not available", "3.2 GB"):
        assert words in said


def test_a_service_that_has_gone_silent_is_no_service(shell: Shell, spool: Spool) -> None:
    health.write(Path("state"), told(spool.now() - timedelta(minutes=1)))
    assert shell.json("stats")["service"] is None
    (Path("state") / "service.lock").write_text(f"{os.getpid()}\n")
    found = shell.json("stats")
    assert found["service"]["pid"] == 4711
    assert "not been heard of" in found["problems"][0]


# --- cancel and retry ---


def test_cancel_and_retry_change_the_task_and_its_status_file(
    shell: Shell, spool: Spool, folder: Path
) -> None:
    task_id = in_outbox(spool, folder)
    file = status_path(spool.get(task_id))
    assert task_id in shell("cancel", task_id)
    assert spool.get(task_id).status is Status.CANCELLED
    assert json.loads(file.read_text())["status"] == "cancelled"
    assert shell.json("retry", task_id)["status"] == "pending"
    assert json.loads(file.read_text())["status"] == "pending"


def test_an_outbox_that_cannot_be_written_does_not_undo_the_act(
    shell: Shell, spool: Spool, folder: Path
) -> None:
    task_id = in_outbox(spool, folder)
    (folder / "outbox").rmdir()
    (folder / "outbox").write_text("in the way")
    code, out, err = shell.run("cancel", task_id)
    assert code == 0
    assert "cancelled" in out
    assert "status file" in err
    assert spool.get(task_id).status is Status.CANCELLED


def test_a_full_disk_of_the_outbox_is_told_by_its_folder(
    shell: Shell, spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = in_outbox(spool, folder)

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write does: it has no name

    monkeypatch.setattr("daemon.outbox.write_atomically", refuse)
    code, _, err = shell.run("cancel", task_id)
    assert code == 0
    assert str(folder / "outbox") in err
    assert "None" not in err


@pytest.mark.parametrize("name", ["status", "cancel", "retry"])
@pytest.mark.parametrize("task_id", [NOBODY, NOBODY[:8], "../x", ""])
def test_an_unknown_task_is_one_line(shell: Shell, name: str, task_id: str) -> None:
    assert "There is no task" in shell.refused(name, task_id)


def test_what_does_not_fit_the_status_is_refused(shell: Shell, spool: Spool) -> None:
    assert "completed" in shell.refused("cancel", completed(spool))
    assert "pending" in shell.refused("retry", submit(spool))


# --- cleanup ---


def test_cleanup_removes_ended_tasks_with_their_files(
    shell: Shell, spool: Spool, folder: Path
) -> None:
    task = spool.claim(in_outbox(spool, folder))
    (folder / "outbox" / "result.mp4").write_bytes(b"x" * 1000)
    spool.complete(task.task_id, str(task.token), "result.mp4", REPORT, lambda: None)
    waiting = in_outbox(spool, folder)
    assert shell.json("cleanup", "--days", "0.5")["deleted_tasks"] == 0
    found = shell.json("cleanup", "--days", "0")
    assert (found["deleted_tasks"], found["freed_bytes"], found["problems"]) == (1, 1000, [])
    assert records(folder / "state").keys() == {waiting}
    assert list((folder / "outbox").iterdir()) == []


def test_cleanup_that_leaves_something_says_so_and_fails(
    shell: Shell, spool: Spool, folder: Path
) -> None:
    spool.cancel(in_outbox(spool, folder))
    (folder / "outbox").rmdir()
    code, out, err = shell.run("cleanup", "--days", "0")
    assert code == 1
    assert out.startswith("tasks removed: 0,")
    assert f"{folder}/outbox is not there" in out
    assert err.count("\n") == 1
    assert "not everything" in err


def test_cleanup_leaves_tasks_of_an_outbox_whose_mount_is_away(
    shell: Shell, spool: Spool, folder: Path
) -> None:
    """The service tells where it lay mounted, and only the mount point is there now."""
    task_id = spool.cancel(in_outbox(spool, folder)).task_id
    outbox = str(folder / "outbox")
    health.write(Path("state"), replace(told(spool.now()), mounts={outbox: outbox}))
    code, out, _ = shell.run("cleanup", "--days", "0")
    assert code == 1
    assert f"nothing is mounted on {outbox}" in out
    assert records(folder / "state").keys() == {task_id}


def test_a_cancel_says_that_the_outbox_is_away_and_writes_nothing_in_its_place(
    shell: Shell, spool: Spool, folder: Path
) -> None:
    outbox = str(folder / "outbox")
    task_id = in_outbox(spool, folder)
    health.write(Path("state"), replace(told(spool.now()), mounts={outbox: outbox}))
    code, _, err = shell.run("cancel", task_id)
    assert code == 0
    assert "the status file was not written: nothing is mounted on" in err
    assert list((folder / "outbox").iterdir()) == []


def test_verify_says_what_may_not_be_read(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, closed = os.stat, str(folder / "closed")

    def stat(path: Any, *rest: Any, **named: Any) -> os.stat_result:
        if str(path).startswith(closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *rest, **named)

    (folder / "b.mp4").write_bytes(b"")
    with monkeypatch.context() as patched:
        # It would bind this process, and all that it starts.
        patched.setattr("daemon.commands.verify.limit_address_space", lambda _: None)
        patched.setattr(os, "stat", stat)
        said = shell.refused("verify", f"{closed}/a.mp4", str(folder / "b.mp4"))
        assert said == f"media-cleaner: {closed}/a.mp4 cannot be read: Permission denied.\n"
        words = ("verify", str(folder / "a.mp4"), str(folder / "b.mp4"))
        assert "not a file" in shell.refused(*words, "--picture", f"{closed}/p.png")


@pytest.mark.parametrize("days", ["-1", "3651", "nan", "inf", "week", "1_0", " 5", "٥", "1,5"])
def test_cleanup_refuses_days_that_make_no_sense(shell: Shell, days: str) -> None:
    code, _, err = shell.run("cleanup", "--days", days)
    assert code == 2
    assert "--days" in err


def test_cleanup_wants_to_be_told_how_much(shell: Shell) -> None:
    assert shell.run("cleanup")[0] == 2


# --- pause, drain, resume ---


def test_pause_drain_and_resume_say_what_is_so_now(shell: Shell, spool: Spool) -> None:
    claimed(spool)
    submit(spool)
    said = shell("pause")
    assert "running 1, waiting 1" in said
    assert "No service runs" in said
    assert spool.control.is_paused
    assert shell.json("stats")["intake"] == "paused"
    assert shell.json("drain") == {"intake": "draining", "queue": shell.json("stats")["queue"]}
    assert spool.control.is_draining
    assert shell.json("resume")["intake"] == "open"
    assert not spool.control.is_paused


# --- Where the queue is ---


def test_looking_makes_no_queue_where_there_was_none(shell: Shell, folder: Path) -> None:
    (folder / "config.yaml").write_text("state: elsewhere\n")
    for words in (
        ("list",),
        ("stats",),
        ("pause",),
        ("cancel", NOBODY),
        ("cleanup", "--days", "0"),
    ):
        code, out, err = shell.run(*words)
        assert (code, out) == (2, "")
        assert "no queue at" in err
        assert "--config" in err
    assert not (folder / "elsewhere").exists()


def test_a_configuration_that_is_not_there_is_an_error(shell: Shell) -> None:
    code, _, err = shell.run("list", "--config", "nowhere.yaml")
    assert code == 2
    assert "nowhere.yaml" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_state_of_another_user_is_one_line(shell: Shell, folder: Path) -> None:
    (folder / "state").chmod(0)
    try:
        assert "Permission denied" in shell.refused("list")
    finally:
        (folder / "state").chmod(0o755)


def test_a_state_that_cannot_be_used_is_one_line(shell: Shell, folder: Path) -> None:
    (folder / "state" / "pending").write_text("in the way")
    line = shell.refused("list")
    assert "move it away" in line
    assert "pending" in line


# --- Speed ---


def test_the_commands_import_nothing_heavy() -> None:
    names = ("status", "list", "stats", "cancel", "retry", "cleanup", "drain", "pause", "resume")
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module('daemon.commands.' + name)\n"
        "print([m for m in ('torch', 'av', 'cv2', 'scipy', 'numpy', 'structlog', 'asyncio',"
        " 'apscheduler', 'watchdog') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"


@pytest.mark.slow
def test_a_hundred_thousand_ended_tasks_are_listed_and_counted_at_once(
    shell: Shell, folder: Path
) -> None:
    clock = Clock()
    spool = Spool(folder / "state", clock)
    for number in range(100_000):
        clock.forward(seconds=26)
        task = as_completed(
            as_submitted(submission(spool), clock.now), "result.mp4", REPORT, clock.now
        )
        day = folder / "state" / "completed" / clock.now.date().isoformat()
        if number % 3000 == 0 or not day.exists():
            day.mkdir(exist_ok=True)
        (day / f"{task.task_id}.json").write_bytes(encode(task))
    shell("stats")  # what is imported is imported
    for words in (("list",), ("stats",), ("list", "--json", "--limit", "500")):
        began = time.process_time()
        shell(*words)
        assert time.process_time() - began < 0.3, words
