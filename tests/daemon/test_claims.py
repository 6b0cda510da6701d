"""A file that is found ready becomes a task, whole and once, or stays where it was."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from spools import leftovers

from daemon import claim_moves, claims
from daemon.claim_file import Claim, encode, read_claim
from daemon.claims import Claims, Found
from daemon.originals import OWN_FOLDER
from daemon.spool import Spool
from daemon.spool_errors import QueueFull, RecordDamaged
from daemon.stability import Stamp
from daemon.task import Failure, Status, Submission, Task
from daemon.task_id import creation_day
from pipeline.parameters import Parameters

CONTENT = b"the video's bytes"
DEFAULTS = Parameters(epsilon=0.08)
GIGABYTE = 1 << 30


class House:
    """An inbox, an outbox, a state, and who takes the files."""

    def __init__(self, folder: Path) -> None:
        self.inbox = folder / "inbox"
        self.inbox.mkdir(exist_ok=True)
        self.outbox = folder / "outbox"
        self.spool = Spool(folder / "state")
        self.claims = self.make()

    def make(self, max_pending: int = 100, max_bytes: int = GIGABYTE) -> Claims:
        return Claims("main", self.inbox, self.outbox, DEFAULTS, self.spool, max_pending, max_bytes)

    @property
    def own(self) -> Path:
        return self.inbox / OWN_FOLDER

    def home(self, task_id: str) -> Path:
        return self.own / "originals" / creation_day(task_id) / task_id

    def drop(
        self, name: str = "clip.mp4", subfolder: str = "", sidecar: str | None = None
    ) -> Found:
        folder = self.inbox / subfolder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(CONTENT)
        if sidecar is not None:
            (folder / f"{name}.yaml").write_text(sidecar)
        stamp = Stamp.of(os.lstat(folder / name))
        return Found(subfolder, name, None if sidecar is None else f"{name}.yaml", stamp)

    def visible(self) -> list[str]:
        """What people see in the inbox."""
        paths = (path.relative_to(self.inbox) for path in self.inbox.rglob("*"))
        return sorted(str(p) for p in paths if p.parts[0] != OWN_FOLDER)

    def under_way(self) -> list[str]:
        folder = self.own / "claiming"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def kept(self) -> list[str]:
        """The files that were taken."""
        return sorted(p.name for p in self.own.glob("originals/*/*/*"))

    def is_untouched(self) -> bool:
        """Is nothing of a claim left?"""
        homes = list(self.own.glob("originals/*/*"))
        return homes == [] and self.under_way() == [] and self.spool.pending_ids() == ()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "64k") -> Iterator[None]:
    """Mount a file system of its own over a folder, where that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def taken(house: House, found: Found) -> Task:
    task = house.claims.claim(found)
    assert task is not None
    return task


def test_a_claimed_file_is_a_task_and_lies_in_a_folder_of_its_own(house: House) -> None:
    task = taken(house, house.drop("holiday.mov", "alice/2026"))
    home = house.home(task.task_id)
    assert house.spool.get(task.task_id) == task
    assert task.status is Status.PENDING
    assert task.input_video == "holiday.mov"
    assert task.original == str(home / "holiday.mov")
    assert (task.sidecar, task.inbox, task.subfolder) == (None, "main", "alice/2026")
    assert task.outbox == str(house.outbox)
    assert task.parameters == DEFAULTS.model_copy(update={"user_id": "alice"})
    assert (home / "holiday.mov").read_bytes() == CONTENT
    assert house.visible() == ["alice", "alice/2026"]
    assert house.under_way() == []


def test_the_sidecar_goes_with_its_video(house: House) -> None:
    task = taken(house, house.drop(sidecar="epsilon: 0.2\nuser_id: bob"))
    home = house.home(task.task_id)
    assert task.sidecar == str(home / "clip.mp4.yaml")
    assert (home / "clip.mp4.yaml").read_text() == "epsilon: 0.2\nuser_id: bob"
    assert task.parameters == Parameters(epsilon=0.2, user_id="bob")
    assert house.visible() == []


def test_a_wrong_sidecar_makes_a_task_that_has_failed_and_keeps_both_files(house: House) -> None:
    task = taken(house, house.drop(subfolder="alice", sidecar="epsilon: 9"))
    assert task.status is Status.FAILED
    assert task.error_code == "invalid_parameter"
    assert "clip.mp4.yaml: epsilon is '9'" in str(task.error_message)
    assert task.user_id == "alice"
    assert house.spool.get(task.task_id) == task
    assert house.kept() == ["clip.mp4", "clip.mp4.yaml"]
    assert house.spool.retry(task.task_id).status is Status.PENDING


def test_a_file_that_is_too_large_makes_a_task_that_has_failed(house: House) -> None:
    house.claims = house.make(max_bytes=len(CONTENT) - 1)
    task = taken(house, house.drop())
    assert (task.status, task.error_code) == (Status.FAILED, "limit_exceeded")
    assert "max_video_size_gb" in str(task.error_message)
    assert house.kept() == ["clip.mp4"]
    house.claims = house.make(max_bytes=len(CONTENT))
    assert taken(house, house.drop()).status is Status.PENDING


@pytest.mark.parametrize(
    "name", [b"new\nline.mp4", b"\xff\xfe \xd0.mp4", b"x" * 251 + b".mp4", b"'\"\\.mp4", b" .mp4"]
)
def test_a_name_of_any_bytes_is_kept_as_it_is(house: House, name: bytes) -> None:
    subfolder = "\udcffolder\n"
    task = taken(house, house.drop(os.fsdecode(name), subfolder))
    assert [os.fsencode(n) for n in os.listdir(house.home(task.task_id))] == [name]
    again = house.spool.get(task.task_id)
    assert os.fsencode(again.input_video) == name
    assert again.subfolder == subfolder
    assert Path(again.original).read_bytes() == CONTENT


def test_what_is_ours_is_closed_to_strangers(house: House) -> None:
    taken(house, house.drop())
    assert stat.S_IMODE(house.own.stat().st_mode) & 0o027 == 0


# --- Not taken ---


def _gone(house: House, found: Found) -> None:
    (house.inbox / found.video).unlink()


def _folder_gone(house: House, found: Found) -> None:
    house.inbox.rename(house.inbox.with_name("away"))


def _written_to(house: House, found: Found) -> None:
    with (house.inbox / found.video).open("ab") as file:
        file.write(b"more")


def _replaced(house: House, found: Found) -> None:
    other = house.inbox / "other"
    other.write_bytes(CONTENT)
    os.utime(other, ns=(found.stamp.mtime_ns, found.stamp.mtime_ns))
    other.rename(house.inbox / found.video)


def _linked(house: House, found: Found) -> None:
    (house.inbox / found.video).rename(house.inbox / "elsewhere")
    (house.inbox / found.video).symlink_to("elsewhere")


def _sidecar_gone(house: House, found: Found) -> None:
    (house.inbox / str(found.sidecar)).unlink()


def _sidecar_linked(house: House, found: Found) -> None:
    _sidecar_gone(house, found)
    (house.inbox / str(found.sidecar)).symlink_to("/etc/hostname")


CHANGES = [
    _gone, _folder_gone, _written_to, _replaced, _linked, _sidecar_gone, _sidecar_linked
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_a_file_that_is_no_longer_as_it_was_found_is_left_alone(
    house: House, change: Callable[[House, Found], None]
) -> None:
    found = house.drop(sidecar="epsilon: 0.1")
    change(house, found)
    before = house.visible()
    assert house.claims.claim(found) is None
    assert house.visible() == before
    assert house.is_untouched()


@pytest.mark.parametrize("name", ["link", "file"])
def test_no_link_in_a_folders_place_is_followed(house: House, tmp_path: Path, name: str) -> None:
    found = house.drop(subfolder="alice")
    (house.inbox / "alice").rename(tmp_path / "outside")
    if name == "link":
        (house.inbox / "alice").symlink_to(tmp_path / "outside")
    else:
        (house.inbox / "alice").touch()
    assert house.claims.claim(found) is None
    assert (tmp_path / "outside/clip.mp4").exists()


class Meanwhile:
    """Something that happens between the video's rename and the second look at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
        self._act: Callable[[], object] | None = act
        self._move = claim_moves.move_atomically
        monkeypatch.setattr(claim_moves, "move_atomically", self._moved)

    def _moved(self, source: Path, target: Path) -> None:
        self._move(source, target)
        if self._act is not None:
            act, self._act = self._act, None
            act()


def test_a_file_written_to_in_the_moment_of_its_claim_is_put_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = house.drop(sidecar="epsilon: 0.1")
    with (house.inbox / "clip.mp4").open("ab", buffering=0) as file:
        monkeypatch.setattr(claim_moves, "is_open_for_writing", lambda path: None)
        Meanwhile(monkeypatch, lambda: file.write(b"more"))
        assert house.claims.claim(found) is None
    assert (house.inbox / "clip.mp4").read_bytes() == CONTENT + b"more"
    assert house.visible() == ["clip.mp4", "clip.mp4.yaml"]
    assert house.is_untouched()


def test_a_file_that_somebody_has_open_for_writing_is_put_back(house: House) -> None:
    found = house.drop()
    with (house.inbox / "clip.mp4").open("ab"):
        if claim_moves.is_open_for_writing(house.inbox / "clip.mp4") is None:
            pytest.skip("this file system does not tell who writes")
        assert house.claims.claim(found) is None
    assert house.visible() == ["clip.mp4"]
    assert house.is_untouched()
    assert taken(house, found).status is Status.PENDING


def test_a_sidecar_that_goes_in_that_moment_takes_the_video_back_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = house.drop(sidecar="epsilon: 0.1")
    Meanwhile(monkeypatch, (house.inbox / "clip.mp4.yaml").unlink)
    assert house.claims.claim(found) is None
    assert house.visible() == ["clip.mp4"]
    assert house.is_untouched()


@pytest.mark.parametrize("sidecar", [None, "epsilon: 0.1"])
def test_a_file_whose_place_was_taken_meanwhile_stays_claimed(
    house: House, monkeypatch: pytest.MonkeyPatch, sidecar: str | None
) -> None:
    found = house.drop(sidecar=sidecar)

    def replace() -> None:
        (house.inbox / "clip.mp4").write_bytes(b"another video")
        with next(house.own.glob("originals/*/*/clip.mp4")).open("ab") as file:
            file.write(b"more")

    Meanwhile(monkeypatch, replace)
    task = taken(house, found)
    assert Path(task.original).read_bytes() == CONTENT + b"more"
    assert (house.inbox / "clip.mp4").read_bytes() == b"another video"
    # The sidecar that lies there is the other one's now.
    assert task.status is (Status.PENDING if sidecar is None else Status.FAILED)
    assert len(house.visible()) == (1 if sidecar is None else 2)
    assert house.under_way() == []


def test_a_video_that_cannot_be_put_back_keeps_its_sidecar(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = house.spool.submit

    def refuse_once(
        submission: Submission, max_pending: int, failure: Failure | None = None
    ) -> Task:
        monkeypatch.setattr(house.spool, "submit", submit)
        (house.inbox / "clip.mp4").write_bytes(b"another video")
        raise QueueFull(max_pending)

    monkeypatch.setattr(house.spool, "submit", refuse_once)
    task = taken(house, house.drop(sidecar="epsilon: 0.1"))
    assert task.parameters.epsilon == 0.1
    assert house.kept() == ["clip.mp4", "clip.mp4.yaml"]
    assert house.visible() == ["clip.mp4"]


def test_a_file_whose_folder_was_removed_meanwhile_stays_claimed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = house.drop(subfolder="alice")

    def remove() -> None:
        next(house.own.glob("originals/*/*/clip.mp4")).write_bytes(b"written to")
        (house.inbox / "alice").rmdir()

    Meanwhile(monkeypatch, remove)
    assert Path(taken(house, found).original).read_bytes() == b"written to"


# --- Refused, or broken off ---


def test_a_full_queue_is_found_out_before_anything_is_moved(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.claims = house.make(max_pending=2)
    for name in ("a.mp4", "b.mp4"):
        taken(house, house.drop(name))
    found = house.drop("c.mp4")
    monkeypatch.setattr(claims, "write_new", None)  # no step is begun
    with pytest.raises(QueueFull):
        house.claims.claim(found)
    assert house.visible() == ["c.mp4"]


@pytest.mark.parametrize(
    "error", [QueueFull(3), OSError(errno.ENOSPC, "no space"), ValueError("unforeseen")]
)
def test_when_the_queue_refuses_everything_is_put_back(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(submission: Submission, max_pending: int, failure: Failure | None = None) -> Task:
        raise error

    found = house.drop(subfolder="alice", sidecar="epsilon: 0.1")
    with monkeypatch.context() as patch:
        patch.setattr(house.spool, "submit", refuse)
        with pytest.raises(type(error)):
            house.claims.claim(found)
    assert house.visible() == ["alice", "alice/clip.mp4", "alice/clip.mp4.yaml"]
    assert house.is_untouched()
    assert taken(house, found).parameters.epsilon == 0.1


def test_a_task_that_the_queue_has_in_spite_of_an_error_keeps_its_files(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the last flush: the record is there, but nobody knows for how long."""
    submit = house.spool.submit

    def half(submission: Submission, max_pending: int, failure: Failure | None = None) -> Task:
        submit(submission, max_pending, failure)
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(house.spool, "submit", half)
    with pytest.raises(OSError, match="I/O"):
        house.claims.claim(house.drop())
    (task,) = house.spool.list(status=Status.PENDING).tasks
    assert Path(task.original).read_bytes() == CONTENT
    assert house.under_way() == [f"{task.task_id}.json"]
    assert house.claims.recover() == []
    assert house.under_way() == []
    assert house.spool.list(status=Status.PENDING).tasks == (task,)


def test_a_full_disk_leaves_the_file_where_it_was(house: House) -> None:
    with small_disk(house.inbox):
        found = house.drop(sidecar="epsilon: 0.1")
        with contextlib.suppress(OSError):
            (house.inbox / "filler").write_bytes(bytes(1 << 20))
        with pytest.raises(OSError, match="No space left") as caught:
            house.claims.claim(found)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(house.inbox / "clip.mp4")
        assert house.visible() == ["clip.mp4", "clip.mp4.yaml", "filler"]
        assert house.is_untouched()
        (house.inbox / "filler").unlink()
        assert taken(house, found).parameters.epsilon == 0.1


def test_a_full_disk_of_the_queue_puts_the_file_back(tmp_path: Path, house: House) -> None:
    with small_disk(tmp_path / "state", "256k"):
        house = House(tmp_path)
        found = house.drop(sidecar="epsilon: 0.1")
        with contextlib.suppress(OSError):
            (tmp_path / "state/filler").write_bytes(bytes(1 << 20))
        with pytest.raises(OSError, match="into the queue: No space left"):
            house.claims.claim(found)
        assert house.visible() == ["clip.mp4", "clip.mp4.yaml"]
        assert house.is_untouched()
        (tmp_path / "state/filler").unlink()
        assert taken(house, found).parameters.epsilon == 0.1


def test_a_folder_on_another_file_system_is_told(house: House) -> None:
    (house.inbox / "share").mkdir()
    with small_disk(house.inbox / "share"):
        found = house.drop(subfolder="share")
        with pytest.raises(OSError, match="an inbox of its own") as caught:
            house.claims.claim(found)
        assert caught.value.filename == str(house.inbox / "share/clip.mp4")
        assert house.visible() == ["share", "share/clip.mp4"]
        assert house.is_untouched()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_inbox_that_may_not_be_written_is_told(house: House) -> None:
    found = house.drop()
    house.inbox.chmod(0o500)
    with pytest.raises(PermissionError) as caught:
        house.claims.claim(found)
    assert str(house.inbox) in str(caught.value)
    house.inbox.chmod(0o700)


@pytest.mark.parametrize("below", [(), ("claiming",), ("originals",)])
def test_a_link_in_the_place_of_our_own_folders_is_refused(
    house: House, tmp_path: Path, below: tuple[str, ...]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = house.own.joinpath(*below)
    link.parent.mkdir(mode=0o750, exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(NotADirectoryError, match="is a link or no folder") as caught:
        house.claims.claim(house.drop())
    assert caught.value.filename == str(link)
    assert house.visible() == ["clip.mp4"]
    assert list(outside.iterdir()) == []
    assert house.under_way() == []
    if below != ("originals",):
        with pytest.raises(NotADirectoryError):
            house.claims.recover()


def test_a_claim_that_cannot_be_closed_is_accepted_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.unlink

    def broken(path: Path, **given: Any) -> None:
        if Path(path).suffix == ".json":
            raise OSError(errno.EIO, "I/O error")
        real(path, **given)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", broken)
        task = taken(house, house.drop())
    assert house.under_way() == [f"{task.task_id}.json"]
    assert house.spool.list(status=Status.PENDING).tasks == (task,)
    assert house.claims.recover() == []
    assert house.under_way() == []


@pytest.mark.parametrize("below", ["", "claiming", "originals"])
def test_a_folder_of_ours_that_a_stranger_made_is_refused(house: House, below: str) -> None:
    """Who may write to the inbox may make one in advance, or move ours away and build another."""
    (house.own / below).mkdir(parents=True)
    house.own.chmod(0o777)
    with pytest.raises(PermissionError, match="may be written to by others") as caught:
        house.claims.claim(house.drop())
    assert caught.value.filename == str(house.own)
    assert house.visible() == ["clip.mp4"]
    with pytest.raises(PermissionError, match="chmod go-w"):
        house.claims.recover()
    house.own.chmod(0o750)
    assert taken(house, house.drop()).status is Status.PENDING


def test_a_sidecar_that_cannot_even_be_taken_makes_a_task_that_has_failed(house: House) -> None:
    reason = "clip.yaml is a symbolic link, not a file, and so is not read."
    task = taken(house, dataclasses.replace(house.drop(), refused=reason))
    assert (task.status, task.error_code) == (Status.FAILED, "invalid_sidecar")
    assert reason in (task.error_message or "")
    assert task.sidecar is None


def test_a_claim_that_was_cut_short_still_knows_that_its_sidecar_was_refused(house: House) -> None:
    claim = Claim(house.spool.new_id(), "", "clip.mp4", None, "it is a folder.")
    assert read_back(house.inbox / claim.file_name, claim) == claim


def read_back(path: Path, claim: Claim) -> Claim:
    path.write_bytes(encode(claim))
    return read_claim(path)


def test_a_sidecar_that_nobody_foresaw_makes_a_task_that_has_failed(house: House) -> None:
    task = taken(house, house.drop(sidecar="!!map [a, b]"))
    assert (task.status, task.error_code) == (Status.FAILED, "invalid_sidecar")
    assert "clip.mp4.yaml" in str(task.error_message)


# --- Two at once ---


def _claim(folder: Path, found: Found) -> str | None:
    task = House(folder).claims.claim(found)
    return task and task.task_id


@pytest.mark.parametrize("sidecar", [None, "epsilon: 0.1"])
def test_of_two_processes_one_gets_a_file(
    tmp_path: Path, house: House, sidecar: str | None
) -> None:
    with get_context("fork").Pool(2) as pool:
        for number in range(30):
            found = house.drop(f"{number}.mp4", sidecar=sidecar)
            won = pool.starmap(_claim, [(tmp_path, found)] * 2, chunksize=1)
            assert sorted(task_id is None for task_id in won) == [False, True]
    assert len(house.spool.list(status=Status.PENDING).tasks) == 30
    assert len(list(house.own.glob("originals/*/*"))) == 30
    assert len(house.kept()) == (30 if sidecar is None else 60)
    assert house.visible() == []
    assert house.under_way() == []
    assert leftovers(tmp_path / "state") == []


# --- Recovery ---


def half_done(
    house: House,
    video_moved: bool = True,
    sidecar: str | None = None,
    forged: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Leave a claim as a service that was killed does; return its task."""
    task_id = house.spool.new_id()
    found = house.drop(subfolder="alice", sidecar=sidecar)
    home = house.home(task_id)
    home.mkdir(parents=True)
    house.own.chmod(0o750)  # whatever the tests' umask is
    (house.own / "claiming").mkdir(exist_ok=True)
    if video_moved:
        (house.inbox / "alice/clip.mp4").rename(home / "clip.mp4")
    values = {
        "task_id": task_id,
        "subfolder": "alice",
        "video": "clip.mp4",
        "sidecar": found.sidecar,
        **forged,
    }
    (house.own / "claiming" / f"{task_id}.json").write_text(json.dumps(values))
    return task_id


def test_one_claim_that_cannot_be_finished_never_keeps_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = half_done(house), half_done(house)
    real = claims.read_claim

    def read(path: Path) -> Claim:
        if path.stem == first:
            raise KeyError("nobody foresaw this")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(claims, "read_claim", read)
        assert [task.task_id for task in house.claims.recover()] == [second]
    assert house.under_way() == [f"{first}.json"]
    assert [task.task_id for task in house.claims.recover()] == [first]


def test_what_is_no_claim_does_not_keep_the_others(house: House) -> None:
    task_id = half_done(house)
    (house.own / "claiming/.x.json.01234567.tmp").mkdir()
    (house.own / "claiming/folder.json").mkdir()
    (house.own / "claiming/folder.json/x").touch()
    assert [task.task_id for task in house.claims.recover()] == [task_id]


def test_where_there_is_nothing_nothing_is_recovered_or_made(house: House) -> None:
    assert house.claims.recover() == []
    assert os.listdir(house.inbox) == []
    house.inbox.rmdir()
    assert house.claims.recover() == []
    assert not house.inbox.exists()


def test_a_claim_that_moved_nothing_is_undone(house: House) -> None:
    half_done(house, video_moved=False)
    assert house.claims.recover() == []
    assert house.visible() == ["alice", "alice/clip.mp4"]
    assert house.is_untouched()


def test_a_claim_that_moved_the_video_is_finished(house: House) -> None:
    task_id = half_done(house, sidecar="epsilon: 0.1")
    (task,) = house.claims.recover()
    assert task.task_id == task_id
    assert task.parameters == Parameters(epsilon=0.1, user_id="alice")
    assert house.kept() == ["clip.mp4", "clip.mp4.yaml"]
    assert house.visible() == ["alice"]
    assert house.under_way() == []
    assert house.claims.recover() == []


def test_nothing_accepted_is_lost_to_a_full_queue(house: House) -> None:
    house.claims = house.make(max_pending=0)
    half_done(house)
    assert len(house.claims.recover()) == 1


def test_a_sidecar_that_is_gone_by_then_is_asked_for(house: House) -> None:
    half_done(house, sidecar="epsilon: 0.1")
    (house.inbox / "alice/clip.mp4.yaml").unlink()
    (task,) = house.claims.recover()
    assert (task.status, task.error_code) == (Status.FAILED, "invalid_sidecar")
    assert task.sidecar is None
    assert "clip.mp4.yaml" in str(task.error_message)


def test_a_folder_that_is_gone_by_then_does_not_matter(house: House) -> None:
    half_done(house)
    (house.inbox / "alice").rmdir()
    assert len(house.claims.recover()) == 1


def test_a_link_in_the_place_of_the_dropped_folder_is_not_followed(
    house: House, tmp_path: Path
) -> None:
    half_done(house, sidecar="epsilon: 0.1")
    (house.inbox / "alice").rename(tmp_path / "outside")
    (house.inbox / "alice").symlink_to(tmp_path / "outside")
    (task,) = house.claims.recover()
    assert task.status is Status.FAILED
    assert (tmp_path / "outside/clip.mp4.yaml").exists()


FORGED: list[dict[str, Any]] = [
    {"task_id": "../../../../etc/passwd"},
    {"task_id": "019ab2c4-0000-7000-8000-000000000000"},
    {"task_id": None},
    {"video": "../clip.mp4"},
    {"video": "a/clip.mp4"},
    {"video": ""},
    {"video": ".."},
    {"video": "clip\0.mp4"},
    {"video": "\ud800.mp4"},
    {"video": "x" * 256},
    {"video": 7},
    {"sidecar": "../../state/secret"},
    {"sidecar": "clip.mp4"},
    {"subfolder": "../outside"},
    {"subfolder": "/etc"},
    {"subfolder": "alice/../../outside"},
    {"subfolder": "alice/"},
    {"subfolder": "./alice"},
    {"subfolder": "."},
    {"subfolder": None},
]


@pytest.mark.parametrize("changes", FORGED, ids=str)
def test_a_forged_claim_moves_nothing_and_is_set_aside(
    house: House, changes: dict[str, Any]
) -> None:
    task_id = half_done(house, video_moved=False, forged=changes)
    good = half_done(house)
    before = {path: path.lstat().st_mode for path in house.inbox.rglob("*")}
    (task,) = house.claims.recover()
    assert task.task_id == good
    assert house.under_way() == [f"{task_id}.json.damaged"]
    after = {path: path.lstat().st_mode for path in house.inbox.rglob("*")}
    del before[house.own / "claiming" / f"{task_id}.json"]
    del before[house.own / "claiming" / f"{good}.json"]
    del after[house.own / "claiming" / f"{task_id}.json.damaged"]
    assert after == before
    assert house.claims.recover() == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b" " * 100_000, None]
)
def test_a_claim_that_cannot_be_read_is_set_aside_and_holds_up_nothing(
    house: House, content: bytes | None, tmp_path: Path
) -> None:
    good = half_done(house)
    name = f"{house.spool.new_id()}.json"
    path = house.own / "claiming" / name
    if content is None:
        (tmp_path / "secret").write_text("{}")
        path.symlink_to(tmp_path / "secret")
    else:
        path.write_bytes(content)
    (house.own / "claiming" / f"{name}.damaged").write_text("an older one")
    assert [task.task_id for task in house.claims.recover()] == [good]
    assert house.under_way() == [f"{name}.damaged", f"{name}.damaged.1"]


def test_what_lies_in_the_originals_place_but_is_no_file_is_not_taken(
    house: House, tmp_path: Path
) -> None:
    task_id = half_done(house)
    original = house.home(task_id) / "clip.mp4"
    original.unlink()
    original.symlink_to("/etc/hostname")
    assert house.claims.recover() == []
    assert house.under_way() == [f"{task_id}.json.damaged"]


def test_one_claim_that_cannot_be_finished_leaves_the_others_to_be(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = half_done(house), half_done(house)
    submit = house.spool.submit

    def picky(submission: Submission, max_pending: int, failure: Failure | None = None) -> Task:
        if submission.task_id == bad:
            raise OSError(errno.EIO, "I/O error")
        return submit(submission, max_pending, failure)

    with monkeypatch.context() as patch:
        patch.setattr(house.spool, "submit", picky)
        assert [task.task_id for task in house.claims.recover()] == [good]
    assert house.under_way() == [f"{bad}.json"]
    assert [task.task_id for task in house.claims.recover()] == [bad]


@pytest.mark.parametrize("is_set_aside", [False, True])
def test_a_task_whose_record_is_damaged_is_not_made_anew(house: House, is_set_aside: bool) -> None:
    """The start sets records aside before it sees to claims."""
    task_id = half_done(house)
    record = house.spool.submit(
        Submission(task_id=task_id, input_video="x", original="x", outbox="x"), 9
    )
    (path,) = house.spool._state.rglob(f"{record.task_id}.json")
    path.write_text("{")
    if is_set_aside:
        with pytest.raises(RecordDamaged):
            house.spool.get(task_id)
    assert house.claims.recover() == []
    assert house.under_way() == []
    assert len(list(house.spool.damaged())) == 1


def test_left_over_temporary_files_go_and_strangers_files_stay(house: House) -> None:
    half_done(house)
    claiming = house.own / "claiming"
    (claiming / f".{house.spool.new_id()}.json.0123abcd.tmp").touch()
    (claiming / "notes.txt").touch()
    house.claims.recover()
    assert house.under_way() == ["notes.txt"]
