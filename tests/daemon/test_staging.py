"""A finished file comes to where one rename publishes it, whole and flushed, or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.jobs import Job
from daemon.staging import (
    DiskFull,
    copy_beside_place,
    needs_copy,
    part_of,
    remove_part,
    told_as_disk_full,
)
from pipeline.errors import Cancelled, OutputFailed, is_caused_by
from pipeline.parameters import Parameters
from pipeline.settings import Settings

DATA = os.urandom(5 << 20)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        if os.stat(name).st_dev == tmp_path.stat().st_dev:
            pytest.skip("/dev/shm is no file system of its own")
        yield Path(name)


def job(tmp_path: Path, outbox: Path, subfolder: str = "") -> Job:
    folder = tmp_path / "id.token"
    folder.mkdir()
    return Job(
        task_id="id",
        token="token",
        original=tmp_path / "holiday.mov",
        folder=folder,
        outbox=outbox,
        subfolder=subfolder,
        parameters=Parameters(),
        settings=Settings(),
    )


def made(job: Job) -> Path:
    path = job.folder / "result.mp4"
    path.write_bytes(DATA)
    return path


def ignore(share: float) -> None:
    pass


def test_within_a_file_system_nothing_is_copied(tmp_path: Path) -> None:
    work = job(tmp_path, tmp_path)
    assert not needs_copy(work)
    assert sorted(os.listdir(tmp_path)) == ["id.token"]
    assert os.listdir(work.folder) == []


def test_to_another_file_system_it_is(tmp_path: Path, elsewhere: Path) -> None:
    work = job(tmp_path, elsewhere)
    assert needs_copy(work)
    assert os.listdir(elsewhere) == os.listdir(work.folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting is root's")
def test_between_two_mounts_of_one_file_system_too(tmp_path: Path) -> None:
    """Their device has the same number, and yet nothing can be renamed from one to the other."""
    there, mounted = tmp_path / "there", tmp_path / "mounted"
    there.mkdir()
    mounted.mkdir()
    if subprocess.run(["mount", "--bind", there, mounted], capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        assert mounted.stat().st_dev == tmp_path.stat().st_dev
        assert needs_copy(job(tmp_path, mounted))
        assert os.listdir(there) == []
    finally:
        subprocess.run(["umount", mounted], check=True)


def test_an_outbox_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match=r"holiday\.mov.*gone.*No such file") as raised:
        needs_copy(job(tmp_path, tmp_path / "gone"))
    assert raised.value.retryable


def test_nothing_is_written_through_a_link_in_the_outbox(tmp_path: Path, elsewhere: Path) -> None:
    """Strangers may put one there while the video is worked on."""
    (tmp_path / "precious").mkdir()
    (elsewhere / "alice").symlink_to(tmp_path / "precious")
    work = job(tmp_path, elsewhere, "alice")
    with pytest.raises(OutputFailed, match="is a link or no folder"):
        needs_copy(work)
    with pytest.raises(OutputFailed, match="is a link or no folder"):
        copy_beside_place(work, made(work), ignore, lambda: False)
    assert os.listdir(tmp_path / "precious") == []
    (tmp_path / "precious" / part_of(work).name).touch()
    with pytest.raises(NotADirectoryError):
        remove_part(work)
    assert os.listdir(tmp_path / "precious") == [part_of(work).name]


def test_what_lies_under_the_hidden_name_is_removed(tmp_path: Path, elsewhere: Path) -> None:
    work = job(tmp_path, elsewhere)
    part_of(work).touch()
    remove_part(work)
    remove_part(work)
    assert os.listdir(elsewhere) == []


def test_a_copy_has_every_byte_and_the_hidden_name(tmp_path: Path, elsewhere: Path) -> None:
    work, shares = job(tmp_path, elsewhere), []
    staged = copy_beside_place(work, made(work), shares.append, lambda: False)
    assert staged == part_of(work) == elsewhere / ".id.token.part"
    assert staged.read_bytes() == DATA
    assert shares == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert os.listdir(work.folder) == []


def test_a_copy_is_flushed_when_its_last_byte_is_written(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is published by a rename alone, which a loss of power must not leave without content."""
    flushed, real = [], os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        found = os.fstat(descriptor)
        flushed.append((found.st_ino, found.st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    work = job(tmp_path, elsewhere)
    staged = copy_beside_place(work, made(work), ignore, lambda: False)
    assert flushed[-1] == (staged.stat().st_ino, len(DATA))


def test_a_copy_can_be_called_off(tmp_path: Path, elsewhere: Path) -> None:
    work, shares = job(tmp_path, elsewhere), []
    with pytest.raises(Cancelled):
        copy_beside_place(work, made(work), shares.append, lambda: len(shares) == 2)
    assert shares == [0.2, 0.4]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting is root's")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        work = job(tmp_path, small)
        with pytest.raises(DiskFull, match=rf"holiday\.mov: the disk of {small} is full") as raised:
            copy_beside_place(work, made(work), ignore, lambda: False)
        assert raised.value.code == "disk_full"
        assert not raised.value.retryable
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_lack_of_room_is_found_behind_other_errors(number: int) -> None:
    full, failed, unlike = OSError(number, os.strerror(number)), OutputFailed("x"), ValueError("y")
    unlike.__context__, failed.__cause__ = failed, full
    with pytest.raises(DiskFull), told_as_disk_full("holiday.mov", Path("/temp")):
        raise unlike


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(PermissionError), told_as_disk_full("holiday.mov", Path("/temp")):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert not is_caused_by(first, (errno.ENOSPC,))
