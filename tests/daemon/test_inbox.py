"""An inbox's thread with real files, real events, real claims and a real spool."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from services import PATIENCE_SECONDS, wait_until

from daemon import inbox as inbox_module
from daemon import watch as watch_module
from daemon.claims import Claims, Found
from daemon.inbox import InboxWatcher, Rules, WatcherHealth
from daemon.spool import Spool
from daemon.spool_errors import QueueFull
from daemon.task import Status, Task
from daemon.watch import Watch, WatchUnavailable
from pipeline.boxes import completeness
from pipeline.parameters import Parameters

EXTENSIONS = (".mp4", ".mov", ".avi", ".mkv", ".webm")
QUICK: dict[str, Any] = {
    "settle_s": 0.2,
    "sidecar_grace_s": 0.05,
    "incomplete_wait_s": 600.0,
    "rescan_s": 0.15,
    "extensions": EXTENSIONS,
}


class House:
    """An inbox that is watched, and all that it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "inbox"
        self.spool = Spool(folder / "state")
        self.accepted: list[Task] = []
        self.may_claim = True
        self.watcher: InboxWatcher | None = None
        self.claims = self._claims()

    def start(self, known_mount: str | None = None, **rules: Any) -> None:
        self.watcher = InboxWatcher(
            "main",
            self.root,
            Rules(**{**QUICK, **rules}),
            self.claims,
            lambda: self.may_claim,
            is_truncated,
            self.accepted.append,
            known_mount=known_mount,
            min_free_gb=0.001,
        )
        self.watcher.start()

    def start_and_look(self, **rules: Any) -> None:
        self.start(**rules)
        wait_until(lambda: self.health.is_available, "available")
        watcher = self.watcher
        # It says so before it goes through the files, and would find what is dropped meanwhile.
        wait_until(lambda: watcher is not None and watcher._busy_since is None, "looked")

    def stop(self) -> None:
        if self.watcher is not None:
            self.watcher.stop()
            self.watcher.join(PATIENCE_SECONDS)
            self.watcher = None

    @property
    def health(self) -> WatcherHealth:
        assert self.watcher is not None
        return self.watcher.health()

    @property
    def taken(self) -> list[str]:
        return [os.path.join(task.subfolder, task.input_video) for task in self.accepted]

    def wait_for(self, *names: str, patience: float = PATIENCE_SECONDS) -> None:
        wait_until(
            lambda: len(self.accepted) >= len(names), f"{names} taken, not {self.taken}", patience
        )
        assert sorted(self.taken) == sorted(names)

    def content(self, name: str) -> bytes:
        (task,) = (t for t in self.accepted if os.path.join(t.subfolder, t.input_video) == name)
        return Path(task.original).read_bytes()

    def _claims(self, max_pending: int = 1_000_000) -> Claims:
        return Claims(
            "main",
            self.root,
            self.folder / "outbox",
            Parameters(),
            self.spool,
            max_pending,
            1 << 40,
        )

    def allow(self, max_pending: int) -> None:
        self.claims = self._claims(max_pending)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "_HOLD_S", 0.2)
    monkeypatch.setattr(inbox_module, "_POLL_S", 0.2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def house(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[House]:
    caplog.set_level(logging.INFO)
    house = House(tmp_path)
    house.root.mkdir()
    yield house
    house.stop()


def is_truncated(path: Path) -> bool:
    return completeness(path).is_truncated


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    lines = [r.msg for r in caplog.records if isinstance(r.msg, dict)]
    return [line for line in lines if event in line["event"]]


def mp4() -> bytes:
    """Return what states its own length as a video does."""
    media = os.urandom(200_000)
    boxes = ((b"ftyp", b"isom" + bytes(4)), (b"moov", bytes(100)), (b"mdat", media))
    return b"".join((8 + len(body)).to_bytes(4, "big") + kind + body for kind, body in boxes)


def writer(code: str, path: Path) -> subprocess.Popen[bytes]:
    """Let another process write; `path` and `time` are known to it."""
    start = "import os, sys, time; path = sys.argv[1]\n"
    return subprocess.Popen([sys.executable, "-c", start + code, str(path)])


# --- How files come ---


def test_files_that_are_there_at_the_start_are_taken(house: House) -> None:
    (house.root / "alice/trip").mkdir(parents=True)
    (house.root / "alice/trip/a.mp4").write_bytes(b"a")
    (house.root / "b.MOV").write_bytes(b"b")
    house.start()
    house.wait_for("alice/trip/a.mp4", "b.MOV")
    assert house.content("alice/trip/a.mp4") == b"a"
    assert {t.status for t in house.accepted} == {Status.PENDING}
    assert [t.user_id for t in house.accepted if t.subfolder] == ["alice"]


def test_a_file_moved_in_is_taken_without_waiting_for_it_to_settle(house: House) -> None:
    house.start_and_look(settle_s=3600, rescan_s=3600)
    (house.folder / "a.mp4").write_bytes(b"a")
    os.rename(house.folder / "a.mp4", house.root / "a.mp4")
    house.wait_for("a.mp4")


def test_a_copied_file_is_taken_without_waiting_for_it_to_settle(house: House) -> None:
    house.start_and_look(settle_s=3600, rescan_s=3600)
    (house.folder / "a.mp4").write_bytes(b"a" * 1_000_000)
    shutil.copy(house.folder / "a.mp4", house.root / "a.mp4")
    house.wait_for("a.mp4")
    assert house.content("a.mp4") == b"a" * 1_000_000


def test_an_unfinished_name_is_taken_when_it_is_renamed(house: House) -> None:
    house.start_and_look(settle_s=3600, rescan_s=3600)
    (house.root / "a.mp4.part").write_bytes(b"a")
    (house.root / "b.mp4").write_bytes(b"b")
    house.wait_for("b.mp4")
    os.rename(house.root / "a.mp4.part", house.root / "a.mp4")
    house.wait_for("a.mp4", "b.mp4")


def test_a_file_linked_in_is_taken_when_it_has_settled(house: House) -> None:
    house.start_and_look(rescan_s=3600)
    (house.root / "upload.filepart").write_bytes(b"a")
    os.link(house.root / "upload.filepart", house.root / "a.mp4")
    os.unlink(house.root / "upload.filepart")
    house.wait_for("a.mp4")


def test_folders_that_come_with_their_files(house: House) -> None:
    house.start_and_look(rescan_s=3600)
    (house.folder / "new/deep").mkdir(parents=True)
    (house.folder / "new/deep/a.mp4").write_bytes(b"a")
    os.rename(house.folder / "new", house.root / "new")
    (house.root / "x/y/z").mkdir(parents=True)
    (house.root / "x/y/z/b.mp4").write_bytes(b"b")
    (house.root / "folder.mp4").mkdir()
    house.wait_for("new/deep/a.mp4", "x/y/z/b.mp4")


# Their pauses are longer than a file must have been still, or they close it in between.
WRITERS = {
    "slowly": """
with open(path, "wb", buffering=0) as file:
    for _ in range(4):
        file.write(b"x" * 1000)
        time.sleep(0.4)
""",
    "into preallocated space": """
file = os.open(path, os.O_CREAT | os.O_RDWR)
os.posix_fallocate(file, 0, 4000)
for place in range(4):
    time.sleep(0.4)
    os.pwrite(file, b"x" * 1000, place * 1000)
""",
    "reopened for each chunk": """
for _ in range(40):
    with open(path, "ab") as file:
        file.write(b"x" * 100)
    time.sleep(0.1)
""",
}


def test_files_that_are_being_written_are_waited_for(house: House) -> None:
    house.start_and_look(sidecar_grace_s=3.0)  # a busy machine keeps a writer waiting, too
    writers = [writer(code, house.root / f"{name}.mp4") for name, code in WRITERS.items()]
    house.wait_for(*(f"{name}.mp4" for name in WRITERS))
    assert [process.wait() for process in writers] == [0, 0, 0]
    for name in WRITERS:
        assert house.content(f"{name}.mp4") == b"x" * 4000


def test_a_slow_writer_from_before_the_start_is_waited_for(house: House) -> None:
    code = """
with open(path, "wb", buffering=0) as file:
    file.write(b"x" * 1000)
    time.sleep(0.8)
    file.write(b"x" * 1000)
"""
    with writer(code, house.root / "a.mp4"):
        wait_until((house.root / "a.mp4").exists, "begun")
        house.start()
        house.wait_for("a.mp4")
    assert house.content("a.mp4") == b"x" * 2000


def test_half_a_video_waits_until_it_is_completed(house: House) -> None:
    house.start_and_look()
    whole = mp4()
    (house.root / "a.mp4").write_bytes(whole[:100_000])
    (house.root / "b.mp4").write_bytes(whole)
    house.wait_for("b.mp4")
    time.sleep(0.4)
    assert house.taken == ["b.mp4"]
    with (house.root / "a.mp4").open("ab") as file:
        file.write(whole[100_000:])
    house.wait_for("a.mp4", "b.mp4")
    assert house.content("a.mp4") == whole


def test_half_a_video_that_is_never_completed_is_taken_in_the_end(house: House) -> None:
    house.start_and_look(incomplete_wait_s=0.6)
    began = time.monotonic()
    (house.root / "a.mp4").write_bytes(mp4()[:100_000])
    house.wait_for("a.mp4")
    assert time.monotonic() - began > 0.6


def test_names_of_all_kinds(house: House) -> None:
    names = ["new\nline.mp4", "not utf-8 \udcff.mp4", "x" * 251 + ".mp4", " .mp4", "-rf *.mp4"]
    house.start_and_look()
    for name in names:
        (house.root / name).touch()
    house.wait_for(*names)


def test_sidecars_before_during_and_not_at_all(house: House) -> None:
    house.start_and_look(sidecar_grace_s=3.0)
    (house.root / "before.mp4.yaml").write_text("epsilon: 0.05")
    (house.root / "before.mp4").touch()
    (house.root / "after.mp4").touch()
    time.sleep(0.2)
    (house.root / "after.yaml").write_text("epsilon: 0.06")
    (house.root / "none.mp4").touch()
    house.wait_for("before.mp4", "after.mp4", "none.mp4")
    epsilons = {t.input_video: t.parameters.epsilon for t in house.accepted}
    assert epsilons == {"before.mp4": 0.05, "after.mp4": 0.06, "none.mp4": Parameters().epsilon}


def test_links_and_fifos_are_never_touched(house: House) -> None:
    (house.folder / "elsewhere").mkdir()
    (house.folder / "elsewhere/a.mp4").write_bytes(b"a")
    (house.root / "a.mp4").symlink_to(house.folder / "elsewhere/a.mp4")
    (house.root / "folder").symlink_to(house.folder / "elsewhere")
    os.mkfifo(house.root / "fifo.mp4")
    house.start_and_look()
    (house.root / "b.mp4").write_bytes(b"b")
    house.wait_for("b.mp4")
    time.sleep(0.5)
    assert house.taken == ["b.mp4"]
    assert sorted(os.listdir(house.root)) == [".media-cleaner", "a.mp4", "fifo.mp4", "folder"]
    assert (house.folder / "elsewhere/a.mp4").read_bytes() == b"a"


def test_many_files_at_once(house: House) -> None:
    house.start_and_look()
    names = [f"{number % 10}/{number}.mp4" for number in range(300)]
    for number in range(10):
        (house.root / str(number)).mkdir()
    for name in names:
        (house.root / name).touch()
    house.wait_for(*names)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2000, 30_000])
def test_very_many_files_at_once(house: House, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    house.start_and_look()
    for number in range(count):
        (house.root / f"{number}.mp4").touch()
    house.wait_for(*(f"{number}.mp4" for number in range(count)), patience=600)
    assert os.listdir(house.root) == [".media-cleaner"]


# --- When nothing may be taken ---


def test_while_nothing_may_be_taken_files_wait(house: House) -> None:
    house.may_claim = False
    house.start_and_look()
    (house.root / "a.mp4").touch()
    time.sleep(0.4)
    assert house.taken == []
    house.may_claim = True
    house.wait_for("a.mp4")


def test_a_full_queue_leaves_files_and_is_told_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.allow(max_pending=2)
    house.start_and_look()
    for number in range(5):
        (house.root / f"{number}.mp4").touch()
    wait_until(lambda: len(house.accepted) == 2, "two taken")
    time.sleep(0.4)
    assert len([name for name in os.listdir(house.root) if name.endswith(".mp4")]) == 3
    assert len(told(caplog, "queue is full")) == 1
    for task in house.accepted[:2]:
        house.spool.cancel(task.task_id)
    wait_until(lambda: len(house.accepted) == 4, "two more taken")


class Failing:
    """Claims that go wrong for some files."""

    def __init__(self, claims: Claims, error: Exception) -> None:
        self._claims = claims
        self._error = error
        self.tried: list[str] = []

    @contextlib.contextmanager
    def session(self) -> Iterator[Callable[[Found], Task | None]]:
        yield self.claim

    def claim(self, found: Found) -> Task | None:
        self.tried.append(found.video)
        if found.video.startswith("bad"):
            raise self._error
        return self._claims.claim(found)

    def recover(self) -> list[Task]:
        return self._claims.recover()

    @property
    def are_left(self) -> bool:
        return self._claims.are_left


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("a mistake")])
def test_a_file_that_cannot_be_taken_stops_no_other_and_floods_nothing(
    house: House, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    failing = Failing(house.claims, error)
    house.claims = failing  # type: ignore[assignment]
    house.start_and_look()
    for name in ("bad 1.mp4", "bad 2.mp4", "good.mp4"):
        (house.root / name).touch()
    house.wait_for("good.mp4")
    time.sleep(0.4)
    assert sorted(failing.tried) == ["bad 1.mp4", "bad 2.mp4", "good.mp4"]
    assert len(told(caplog, "file cannot be taken")) == 1


def test_an_inbox_where_nothing_can_be_taken_is_not_tried_at_full_speed(house: House) -> None:
    failing = Failing(house.claims, OSError(28, "No space left on device"))
    house.claims = failing  # type: ignore[assignment]
    for number in range(100):
        (house.root / f"bad {number}.mp4").touch()
    began = time.monotonic()
    house.start_and_look()
    wait_until(lambda: bool(failing.tried), "tried")
    time.sleep(0.6)
    most = 4 + (time.monotonic() - began) / inbox_module._HOLD_S
    assert len(failing.tried) <= most < 100


def test_a_full_queue_that_is_found_out_late_keeps_the_order(house: House) -> None:
    class Full(Failing):
        is_full = True

        def claim(self, found: Found) -> Task | None:
            if self.is_full:
                raise QueueFull(0)
            return super().claim(found)

    full = Full(house.claims, OSError())
    house.claims = full  # type: ignore[assignment]
    house.start_and_look()
    for name in "cab":
        (house.root / f"{name}.mp4").touch()
        time.sleep(0.05)
    time.sleep(0.5)
    full.is_full = False
    house.wait_for("a.mp4", "b.mp4", "c.mp4")
    assert full.tried == ["c.mp4", "a.mp4", "b.mp4"]


# --- Events and their absence ---


def unwatchable(root: Path, hints: object) -> Watch:
    raise WatchUnavailable("the table is full")


def test_without_events_files_are_found_by_scans(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "Watch", unwatchable)
    house.start_and_look(rescan_s=3600)
    assert (house.health.watching, house.health.reason) == ("polling", "the table is full")
    assert (house.health.is_available, house.health.is_well) == (True, False)
    (house.root / "a.mp4").touch()
    house.wait_for("a.mp4")
    assert len(told(caplog, "inbox is polled")) == 1


def test_events_are_tried_again_and_come_back(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inbox_module, "Watch", unwatchable)
    monkeypatch.setattr(inbox_module, "_WATCH_AGAIN_S", 0.1)
    house.start_and_look()
    time.sleep(0.4)
    assert house.health.watching == "polling"
    monkeypatch.setattr(inbox_module, "Watch", Watch)
    wait_until(lambda: house.health.watching == "events", "events again")
    assert house.health.reason is None
    wait_until(lambda: len(told(caplog, "inbox is polled")) == 2, "that it is over")


def test_a_quiet_inbox_is_not_taken_for_a_hung_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "_HUNG_AFTER_S", 0.1)
    house.start_and_look(rescan_s=3600)
    time.sleep(0.5)
    assert house.health.is_available


def test_a_share_is_polled(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module.mounts, "is_remote", lambda file_system: True)
    house.start_and_look()
    assert (house.health.watching, house.health.is_well) == ("polling", True)
    (house.root / "a.mp4").touch()
    house.wait_for("a.mp4")


def test_lost_events_only_cost_time(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.start_and_look(rescan_s=3600)
    assert house.watcher is not None
    with house.watcher._hints._changed:  # nothing can be told now, so the kernel's queue fills
        for number in range(200):
            (house.root / f"{number}.mp4").touch()
        watch = house.watcher._watch
        assert watch is not None
        watch._remove("")  # and what follows is lost
        (house.root / "new").mkdir()
        (house.root / "new/late.mp4").touch()
    house.watcher._hints.lost()
    house.wait_for(*(f"{number}.mp4" for number in range(200)), "new/late.mp4")
    assert len(told(caplog, "events were lost")) == 1
    (house.root / "new/after.mp4").touch()
    wait_until(lambda: "new/after.mp4" in house.taken, "taken after that")


def test_a_rescan_finds_what_no_event_told_of(house: House) -> None:
    house.start_and_look(rescan_s=3600)
    assert house.watcher is not None
    watch = house.watcher._watch
    assert watch is not None
    watch._remove("")
    (house.root / "a.mp4").touch()
    time.sleep(0.5)
    assert house.taken == []
    house.watcher.rescan()
    house.wait_for("a.mp4")


# --- Away, and back ---


def test_an_inbox_that_is_missing_at_the_start_is_made(house: House) -> None:
    house.root.rmdir()
    house.start_and_look()
    (house.root / "a.mp4").touch()
    house.wait_for("a.mp4")


def test_an_inbox_that_vanishes_is_not_made_again_and_is_taken_up_when_it_is_back(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.start_and_look()
    os.rename(house.root, house.folder / "away")
    wait_until(lambda: not house.health.is_available, "away")
    assert "No such file" in str(house.health.reason)
    (house.folder / "away/a.mp4").touch()
    time.sleep(0.4)
    assert not house.root.exists()
    os.rename(house.folder / "away", house.root)
    house.wait_for("a.mp4")
    (house.root / "b.mp4").touch()
    house.wait_for("a.mp4", "b.mp4")
    assert house.health.is_available
    wait_until(lambda: len(told(caplog, "inbox is not available")) == 2, "that it is over")


def test_another_folder_in_its_place_is_watched_anew(house: House) -> None:
    house.start_and_look()
    os.rename(house.root, house.folder / "old")
    house.root.mkdir()
    (house.root / "a.mp4").touch()
    house.wait_for("a.mp4")
    assert not (house.folder / "old/.media-cleaner").exists()


class Recovering(Failing):
    """Claims that count how often they were recovered."""

    recovered = 0

    def recover(self) -> list[Task]:
        self.recovered += 1
        return super().recover()


def test_what_was_claimed_half_is_finished_at_the_start_and_when_it_is_back(house: House) -> None:
    claims = house.claims = Recovering(house.claims, OSError())  # type: ignore[assignment]
    house.start_and_look()
    assert claims.recovered == 1
    os.rename(house.root, house.folder / "away")
    wait_until(lambda: not house.health.is_available, "away")
    os.rename(house.folder / "away", house.root)
    wait_until(lambda: house.health.is_available, "back")
    assert claims.recovered == 2


def test_what_a_failed_claim_left_is_finished_at_the_next_scan(house: House) -> None:
    claims = house.claims = Recovering(house.claims, OSError(5, "I/O error"))  # type: ignore[assignment]
    house.start_and_look()
    (house.root / "bad.mp4").touch()
    wait_until(lambda: claims.recovered == 2, "looked after")
    time.sleep(0.5)
    assert claims.recovered == 2


def test_what_cannot_be_finished_either_is_tried_at_each_scan_and_told_once(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the state cannot even be asked whether the task is known: nobody undoes anything."""
    house.start_and_look()
    asked: list[str] = []

    def refused(task_id: str) -> Task:
        asked.append(task_id)
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as closed:
        closed.setattr(house.spool, "get", refused)
        closed.setattr(house.spool, "submit", lambda submission, *rest: refused(submission.task_id))
        (house.root / "a.mp4").touch()
        wait_until(lambda: len(asked) >= 6, "tried again and again")
    house.wait_for("a.mp4")
    lines = told(caplog, "claim not finished")
    assert len(lines) == 2  # when it begins and when it is over
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == [
        "ERROR"
    ]


def test_an_inbox_with_little_room_is_not_well_and_files_are_taken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(house.root)
    nearly_full = os.statvfs_result((4096, 4096, 1 << 20, 9, 9, 0, 0, 0, 0, 255))
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", lambda path: nearly_full)
        house.start_and_look()
        (house.root / "a.mp4").touch()
        house.wait_for("a.mp4")
        wait_until(lambda: not house.health.is_well, "told")
        assert house.health.is_available
        assert "make room" in str(house.health.reason)
        full.setattr(os, "statvfs", lambda path: real)
        wait_until(lambda: house.health.is_well, "over")


def test_an_inbox_whose_claims_cannot_be_read_is_away(house: House) -> None:
    (house.root / ".media-cleaner").symlink_to(house.folder)
    (house.root / "a.mp4").touch()
    house.start()
    wait_until(lambda: "cannot be recovered" in str(house.health.reason), "away")
    assert not house.health.is_available
    (house.root / ".media-cleaner").unlink()
    house.wait_for("a.mp4")


def mount(folder: Path) -> None:
    command = ["mount", "-t", "tmpfs", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_share_that_goes_and_comes_back(house: House) -> None:
    mount(house.root)
    try:
        house.start_and_look()
        assert house.health.mount == str(house.root)
        (house.root / "a.mp4").touch()
        house.wait_for("a.mp4")
        unmount(house.root)
        wait_until(lambda: not house.health.is_available, "away")
        assert "nothing is mounted" in str(house.health.reason)
        (house.root / "hidden.mp4").touch()
        time.sleep(0.4)
        assert os.listdir(house.root) == ["hidden.mp4"]
        mount(house.root)
        (house.root / "b.mp4").touch()
        house.wait_for("a.mp4", "b.mp4")
        house.stop()
    finally:
        unmount(house.root)


def test_an_inbox_that_somebody_misses_is_away_before_the_next_scan(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.start_and_look(rescan_s=600)
    watcher = house.watcher
    assert watcher is not None
    assert not watcher.is_away()
    with monkeypatch.context() as closed:
        closed.setattr(watcher, "rescan", lambda: None)  # it is long in coming
        closed.setattr(os, "access", lambda path, mode: False)
        assert house.health.is_available
        assert watcher.is_away()
        assert not house.health.is_available
        assert "may not be read and written" in str(house.health.reason)
    watcher.rescan()
    wait_until(lambda: house.health.is_available, "there again")
    assert not watcher.is_away()


def test_an_inbox_in_which_our_own_folder_is_anybodys_is_away_as_soon_as_it_is_missed(
    house: House,
) -> None:
    """As after a `chmod -R g+w` of the inbox: what waits would fail, one after the other."""
    house.start_and_look(rescan_s=600)
    (house.root / "a.mp4").touch()
    house.wait_for("a.mp4")
    watcher = house.watcher
    assert watcher is not None
    assert not watcher.is_away()
    own = house.root / ".media-cleaner"
    own.chmod(0o770)
    assert watcher.is_away()
    assert not house.health.is_available
    wait_until(lambda: "cannot be recovered" in str(house.health.reason), "the watcher knows")
    assert "chmod go-w" in str(house.health.reason)
    own.chmod(0o750)
    watcher.rescan()
    wait_until(lambda: house.health.is_available, "there again")
    assert not watcher.is_away()


def test_nobody_waits_for_an_own_folder_that_was_taken_away(house: House) -> None:
    house.start_and_look()
    assert house.watcher is not None
    assert not house.watcher.is_away()


def test_a_share_that_is_mounted_anew_at_once_is_taken_up_again(house: House) -> None:
    """Its device and the number of its mount may be the same as before."""
    claims = house.claims = Recovering(house.claims, OSError())  # type: ignore[assignment]
    mount(house.root)
    try:
        house.start_and_look()
        assert house.watcher is not None
        with house.watcher._hints._changed:  # it looks before or after that, not in between
            unmount(house.root)
            mount(house.root)
        wait_until(lambda: claims.recovered == 2, "taken up again")
        (house.root / "a.mp4").touch()
        house.wait_for("a.mp4")
        house.stop()
    finally:
        unmount(house.root)


def test_a_share_that_is_away_at_the_start_is_known_from_the_last_run(house: House) -> None:
    mount(house.root)
    unmount(house.root)
    (house.root / "hidden.mp4").touch()
    house.start(known_mount=str(house.root))
    wait_until(lambda: "nothing is mounted" in str(house.health.reason), "away")
    time.sleep(0.4)
    assert os.listdir(house.root) == ["hidden.mp4"]
    assert house.health.mount == str(house.root)


# --- Health, and the end ---


def test_before_it_was_looked_at_an_inbox_is_not_available(house: House) -> None:
    house.start()
    assert house.health.name == "main"
    assert house.health.path == house.root
    wait_until(lambda: house.health.is_available, "available")
    assert house.health.reason is None


def test_an_inbox_that_hangs_says_so_and_holds_up_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, go_on = threading.Event(), threading.Event()
    real = inbox_module.files_below

    def files_below(*arguments: Any) -> Any:
        if hangs.is_set():
            go_on.wait(PATIENCE_SECONDS)
        return real(*arguments)

    monkeypatch.setattr(inbox_module, "files_below", files_below)
    monkeypatch.setattr(inbox_module, "_HUNG_AFTER_S", 0.5)
    house.start_and_look()
    hangs.set()
    wait_until(lambda: not house.health.is_available, "hung")
    assert "has not answered" in str(house.health.reason)
    watcher = house.watcher
    assert watcher is not None
    watcher.stop()
    watcher.join(0.2)  # returns
    go_on.set()
    house.stop()


def test_a_mistake_in_the_loop_is_told_and_does_not_end_it(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = inbox_module.files_below, [0]

    def files_below(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] <= 2:
            raise RuntimeError("a mistake")
        return real(*arguments)

    monkeypatch.setattr(inbox_module, "files_below", files_below)
    (house.root / "a.mp4").touch()
    house.start()
    house.wait_for("a.mp4")
    assert len(told(caplog, "inbox cannot be worked on")) == 1


def test_after_the_stop_nothing_is_taken_and_nothing_is_left_open(house: House) -> None:
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        house.start_and_look()
        house.stop()
    (house.root / "a.mp4").touch()
    time.sleep(0.4)
    assert house.taken == []
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert threading.active_count() <= threads
