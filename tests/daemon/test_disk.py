"""Room on the disks: what counts as none, and that asking costs nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.config import load_config
from daemon.disk import DiskWatch, free_gb, in_words, shortage
from daemon.disks import Disks
from daemon.health import trouble_of
from daemon.logs import configure_logs, reset_logs
from daemon.mounts import mount_of


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    configure_logs(tmp_path / "logs")
    yield tmp_path / "logs"
    reset_logs()


def statvfs(free_bytes: float, files: int = 1000, free_files: int = 500) -> os.statvfs_result:
    blocks = int(free_bytes // 4096)
    return os.statvfs_result(
        (4096, 4096, 10**9, blocks, blocks, files, free_files, free_files, 0, 255)
    )


def test_free_is_what_the_system_says(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert free_gb(tmp_path) == pytest.approx(found.f_bavail * found.f_frsize / 2**30, abs=0.5)


def test_less_than_the_bound_is_a_problem_that_names_the_folder(tmp_path: Path) -> None:
    watch = DiskWatch({"temp": tmp_path}, min_free_gb=1e6)
    (problem,) = watch.check()
    assert "temp" in problem
    assert str(tmp_path) in problem
    assert "min_free_gb" in problem
    assert not watch.has_room


def test_a_full_disk_has_no_room_however_low_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each task of the queue would begin and fail."""
    watch = DiskWatch({"temp": tmp_path}, min_free_gb=0)
    monkeypatch.setattr(os, "statvfs", lambda path: statvfs(1 << 19))
    assert watch.check() == (f"temp: {tmp_path} is full; make room.",)
    assert not watch.has_room
    monkeypatch.setattr(os, "statvfs", lambda path: statvfs(1 << 20))
    assert watch.check() == ()


def test_little_room_is_told_in_a_unit_that_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = os.statvfs_result((4096, 4096, 1 << 31, 5000, 5000, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: found)
    (problem,) = DiskWatch({"temp": tmp_path}, min_free_gb=1).check()
    assert "has 20 MB free" in problem
    assert [in_words(gb) for gb in (7.54, 1, 0.5, 0, -3)] == [
        "7.5 GB",
        "1.0 GB",
        "512 MB",
        "0 MB",
        "0 MB",
    ]


def test_a_file_system_that_does_not_tell_is_not_taken_for_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FUSE answers where a file system has no answer of its own."""
    found = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: found)
    watch = DiskWatch({"temp": tmp_path}, min_free_gb=5)
    assert watch.check() == ()
    assert watch.has_room
    assert watch.free_gb["temp"] is None
    assert free_gb(tmp_path) is None
    assert shortage(tmp_path, 5) is None
    assert trouble_of(tmp_path) is None


def test_enough_is_no_problem(tmp_path: Path) -> None:
    watch = DiskWatch({"temp": tmp_path}, min_free_gb=0)
    assert watch.check() == ()
    assert watch.has_room
    assert watch.free_gb["temp"] == pytest.approx(free_gb(tmp_path), abs=0.5)


def test_a_folder_that_vanished_is_a_problem(tmp_path: Path) -> None:
    watch = DiskWatch({"outbox": tmp_path / "share", "state": tmp_path}, min_free_gb=0)
    (problem,) = watch.check()
    assert "outbox" in problem
    assert watch.free_gb["outbox"] is None
    assert not watch.has_room
    (tmp_path / "share").mkdir()
    assert not watch.has_room  # as it was when it was looked at
    assert watch.check() == ()
    assert watch.has_room


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_a_file_in_the_place_of_a_folder_is_told_as_that(tmp_path: Path, mode: int) -> None:
    place = tmp_path / "outbox"
    place.touch(mode)
    watch = DiskWatch({"outbox": place}, min_free_gb=0)
    assert watch.check() == (f"outbox: {place} cannot be used (Not a directory); bring it back.",)
    assert not watch.has_room
    place.unlink()
    place.mkdir()
    assert watch.check() == ()


def test_a_folder_that_may_be_written_and_not_read_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a drop box is: nothing below it can be opened as it is done here, nor be flushed."""
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.R_OK)
    (problem,) = DiskWatch({"outbox": tmp_path}, 0.0).check()
    assert problem == (f"outbox: {tmp_path} may not be read and written by this user; mend that.")


def test_where_folders_lie_is_told_as_it_was_when_asked(tmp_path: Path) -> None:
    """Threads that write status files go through it while another one looks for the first time."""
    watch = DiskWatch({"outbox": tmp_path}, 0.0)
    told = watch.mounts
    watch.check()
    assert not told
    assert watch.mounts.keys() == {str(tmp_path)}


def test_a_disk_that_is_out_of_files_has_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = DiskWatch({"temp": tmp_path}, min_free_gb=1)
    monkeypatch.setattr(os, "statvfs", lambda path: statvfs(2**40, files=1000, free_files=3))
    assert "inodes" in watch.check()[0]
    monkeypatch.setattr(os, "statvfs", lambda path: statvfs(2**40, files=0, free_files=0))
    assert watch.check() == ()


def test_asking_does_not_look_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = DiskWatch({"temp": tmp_path}, min_free_gb=1)
    looks: list[Path] = []

    def looked(path: Path) -> os.statvfs_result:
        looks.append(path)
        return statvfs(2**40)

    monkeypatch.setattr(os, "statvfs", looked)
    assert not watch.has_room  # nobody knows yet
    assert watch.problems == ()
    watch.check()
    looks.clear()
    for _ in range(100):
        assert watch.has_room
    assert not looks


def test_a_folder_that_does_not_answer_is_a_problem_and_nobody_else_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, begun, gate = [0.0], threading.Event(), threading.Event()
    watch = DiskWatch({"outbox": tmp_path}, min_free_gb=0, clock=lambda: now[0])
    watch.check()
    look = os.statvfs

    def hanging(path: Path) -> os.statvfs_result:
        begun.set()
        gate.wait(60)
        return look(path)

    monkeypatch.setattr(os, "statvfs", hanging)
    looking = threading.Thread(target=watch.check)
    looking.start()
    assert begun.wait(60)
    assert watch.has_room  # as it was, for a while
    now[0] += 21
    assert not watch.has_room
    (problem,) = watch.problems
    assert f"{tmp_path} has not answered for 21 s" in problem
    gate.set()
    looking.join(60)
    assert watch.has_room


def test_a_disk_that_fills_up_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    watch = DiskWatch({"temp": tmp_path}, min_free_gb=1)
    for free in (2**40, 2**29, 2**28, 2**27, 2**40):
        monkeypatch.setattr(os, "statvfs", lambda path, free=free: statvfs(free))
        watch.check()
    lines = (logs / "server.log").read_text().splitlines()
    assert len(lines) == 2
    assert '"no room for new work"' in lines[0]
    assert '"no room for new work: over"' in lines[1]


def test_mounts_are_as_they_are_now_and_only_of_folders_that_the_configuration_names(
    tmp_path: Path,
) -> None:
    """What another disk's watch had been told of a folder stood for what it is."""
    for name in ("temp", "state", "out", "out2"):
        (tmp_path / name).mkdir()
    settings = "outbox: out\ninboxes: [{name: a, inbox: in, outbox: out2}]\n"
    (tmp_path / "config.yaml").write_text(settings)
    known = {str(tmp_path / name): "/elsewhere" for name in ("out", "decommissioned")}
    disks = Disks(load_config(tmp_path / "config.yaml"), known)
    for disk in disks.all:
        disk.check()
    mount = mount_of(tmp_path)
    assert mount is not None
    names = ("temp", "state", "out", "out2")
    assert disks.mounts == {str(tmp_path / name): mount.point for name in names}
