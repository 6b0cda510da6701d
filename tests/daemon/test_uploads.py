"""A file that arrives: nothing of it before it is accepted, all of it afterwards."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from kills import killed_before
from spools import record, records

from daemon import uploaded_file
from daemon import uploads as module
from daemon.inbox_place import InboxUnavailable
from daemon.outbox import StatusFiles
from daemon.spool import Spool
from daemon.spool_errors import QueueFull, RecordDamaged, TaskBusy
from daemon.task import Status
from daemon.task_id import creation_day
from daemon.uploaded_file import TooLarge, safe_name
from daemon.uploads import NoRoom, Uploads, sweep
from pipeline.parameters import Parameters

VIDEO = b"not looked at here " * 100


class House:
    """Folders, a spool on them, and what receives uploads."""

    def __init__(self, folder: Path) -> None:
        self.inbox, self.outbox, self.state = (folder / n for n in ("inbox", "outbox", "state"))
        self.spool = Spool(self.state)

    def uploads(self, **changed: Any) -> Uploads:
        values = {
            "inbox": self.inbox,
            "outbox": self.outbox,
            "spool": self.spool,
            "statuses": StatusFiles(self.spool, "ru", dict),
            "max_pending": 100,
            "max_bytes": 1 << 20,
            "min_free_gb": 0.0,
            "needs_room": (),
            "known_mount": lambda: None,
        }
        uploads = Uploads(**{**values, **changed})
        uploads.check_room()
        return uploads

    def accept(self, name: str = "holiday.mp4", data: bytes = VIDEO, **changed: Any) -> str:
        parameters = changed.pop("parameters", Parameters())
        uploads = self.uploads(**changed)
        with uploads.new_file() as file:
            file.write(data)
            return uploads.accept(file, name, parameters, self.spool.new_id()).task_id

    def own_files(self) -> list[Path]:
        own = self.inbox / ".media-cleaner"
        return sorted(path for path in own.rglob("*") if path.is_file())

    def own_folders(self) -> list[Path]:
        own = self.inbox / ".media-cleaner" / "originals"
        return sorted(path for path in own.glob("*/*"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def unnamed_files_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), str(folder))

    monkeypatch.setattr(uploaded_file, "_unnamed", refuse)


@pytest.fixture(params=["unnamed", "named"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "named":
        unnamed_files_are_unknown(monkeypatch)
    return str(request.param)


# --- Accepted ---


@pytest.mark.usefixtures("either_way")
def test_an_accepted_file_lies_in_its_tasks_own_folder_and_is_in_the_queue(house: House) -> None:
    task_id = house.accept("Отпуск 1.mp4", parameters=Parameters(user_id="alice", epsilon=0.2))
    task = house.spool.get(task_id)
    day = creation_day(task_id)
    place = house.inbox / ".media-cleaner" / "originals" / day / task_id / "Отпуск 1.mp4"
    assert house.own_files() == [place]
    assert place.read_bytes() == VIDEO
    assert (task.original, task.input_video) == (str(place), "Отпуск 1.mp4")
    assert (task.status, task.inbox, task.subfolder) == (Status.PENDING, None, "alice")
    assert (task.outbox, task.parameters.epsilon) == (str(house.outbox), 0.2)


def test_an_accepted_file_has_a_status_file_at_once(house: House) -> None:
    task_id = house.accept(parameters=Parameters(user_id="alice"))
    (path,) = house.outbox.rglob("*.status.json")
    assert path == house.outbox / "alice" / f"{task_id}_holiday.status.json"


def test_an_outbox_that_cannot_be_written_does_not_undo_what_was_accepted(house: House) -> None:
    house.outbox.write_text("a file in the place of the folder")
    assert house.spool.get(house.accept()).status is Status.PENDING


def test_nobody_but_the_operators_group_may_read_an_upload(house: House) -> None:
    house.accept()
    (path,) = house.own_files()
    assert path.stat().st_mode & 0o007 == 0
    assert path.parent.stat().st_mode & 0o007 == 0


def test_a_video_is_written_once(house: House) -> None:
    with house.uploads().new_file() as file:
        before = _written_by_us()
        file.write(b"x" * 500_000)
        written = _written_by_us() - before
    assert 500_000 <= written < 510_000


def _written_by_us() -> int:
    rows = Path("/proc/self/io").read_text().splitlines()
    return int(next(row.split()[1] for row in rows if row.startswith("wchar")))


@pytest.mark.usefixtures("either_way")
def test_bytes_mark_and_name_are_durable_before_the_task_is_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is answered must not lose its video to a loss of power."""
    flushed: list[int] = []
    before_the_task: list[int] = []
    real_fsync, real_submit = os.fsync, house.spool.submit

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        flushed.append(os.fstat(descriptor).st_ino)

    def submit(*words: Any) -> Any:
        before_the_task.extend(flushed)
        return real_submit(*words)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(house.spool, "submit", submit)
    house.accept()
    (video,) = house.own_files()
    marks = house.inbox / ".media-cleaner" / "uploads"
    order = [before_the_task.index(path.stat().st_ino) for path in (video, marks, video.parent)]
    assert order == sorted(order)


# --- Not accepted ---


@pytest.mark.usefixtures("either_way")
def test_nothing_is_left_of_a_file_that_is_not_accepted(house: House) -> None:
    with house.uploads().new_file() as file:
        file.write(VIDEO)
    assert house.own_files() == []


@pytest.mark.usefixtures("either_way")
def test_nothing_is_left_where_the_queue_is_full(house: House) -> None:
    house.accept(max_pending=1)
    with pytest.raises(QueueFull):
        house.accept(max_pending=1)
    assert len(house.own_files()) == len(house.own_folders()) == len(records(house.state)) == 1


@pytest.mark.usefixtures("either_way")
def test_nothing_is_left_where_the_record_cannot_be_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(house.spool, "submit", refuse)
    with pytest.raises(OSError, match="No space"):
        house.accept()
    assert house.own_files() == house.own_folders() == []


def test_what_cannot_be_removed_at_once_is_swept_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(module, "remove_folder", refuse)
        with pytest.raises(QueueFull):
            house.accept(max_pending=0)
    assert len(house.own_folders()) == 1
    assert sweep(house.inbox, house.spool, time.time() + 601) == 1
    assert house.own_files() == house.own_folders() == []


def test_a_task_that_is_there_after_all_keeps_its_file(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record was renamed to its place, and only flushing the folder failed."""
    submit = house.spool.submit

    def submit_and_fail(*arguments: Any) -> None:
        submit(*arguments)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(house.spool, "submit", submit_and_fail)
    with pytest.raises(OSError, match="Input/output"):
        house.accept()
    (task_id,) = records(house.state)
    assert Path(house.spool.get(task_id).original).read_bytes() == VIDEO


@pytest.mark.parametrize("trouble", [OSError(errno.EIO, "Input/output error"), TaskBusy("x")])
def test_where_nobody_can_tell_whether_there_is_a_task_its_file_stays_until_somebody_can(
    house: House, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    submit = house.spool.submit

    def submit_and_fail(*arguments: Any) -> None:
        submit(*arguments)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def refuse(task_id: str) -> Any:
        raise trouble

    with monkeypatch.context() as patched:
        patched.setattr(house.spool, "submit", submit_and_fail)
        patched.setattr(house.spool, "get", refuse)
        with pytest.raises(OSError, match="Input/output"):
            house.accept()
        kept = house.own_files()
        assert sweep(house.inbox, house.spool, time.time() + 601) == 0
        assert house.own_files() == kept
    (task_id,) = records(house.state)
    assert len(kept) == 2  # the video, and the mark that tells of it
    assert sweep(house.inbox, house.spool, time.time() + 601) == 1
    assert house.own_files() == [Path(house.spool.get(task_id).original)]


def test_a_file_with_more_bytes_than_allowed_is_given_up_as_soon_as_it_has_them(
    house: House,
) -> None:
    with house.uploads(max_bytes=1000).new_file() as file:
        file.write(b"x" * 1000)
        with pytest.raises(TooLarge):
            file.write(b"x")


def test_room_is_looked_for_before_and_now_and_then_while_a_file_arrives(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploaded_file, "_LOOK_BYTES", 1000)
    free = [10.0]
    monkeypatch.setattr(module, "free_gb", lambda folder: free[0])
    uploads = house.uploads(min_free_gb=5)
    uploads.check_room(coming_bytes=4 << 30)
    with pytest.raises(NoRoom):
        uploads.check_room(coming_bytes=6 << 30)
    with uploads.new_file() as file:
        file.write(b"x" * 1500)
        free[0] = 4.0
        file.write(b"x" * 500)
        with pytest.raises(NoRoom):
            file.write(b"x" * 1000)


def test_a_full_disk_takes_nothing_however_low_the_bound(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_gb", lambda folder: 1 / 2048)
    with pytest.raises(NoRoom):
        house.uploads(min_free_gb=0).check_room()


def test_a_file_system_that_does_not_tell_its_room_is_not_taken_for_full(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_gb", lambda folder: None)
    house.uploads(min_free_gb=5).check_room(coming_bytes=4 << 30)


def test_any_folder_that_is_needed_may_lack_room(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = house.uploads(min_free_gb=5, needs_room=(house.outbox, house.state))
    monkeypatch.setattr(module, "free_gb", lambda folder: 0.0 if folder == house.state else 10.0)
    with pytest.raises(NoRoom, match="state"):
        uploads.check_room()


def test_what_is_coming_comes_to_the_inbox_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = house.uploads(min_free_gb=5, needs_room=(house.outbox,))
    monkeypatch.setattr(module, "free_gb", lambda folder: 5.5 if folder == house.outbox else 10.0)
    house.outbox.mkdir()
    uploads.check_room(coming_bytes=1 << 30)


def test_an_inbox_that_was_taken_away_is_not_made_again(house: House) -> None:
    uploads = house.uploads()
    house.inbox.rmdir()
    with pytest.raises(InboxUnavailable):
        uploads.check_room()
    assert not house.inbox.exists()


def test_the_place_of_a_share_that_is_away_is_not_filled(house: House) -> None:
    house.inbox.mkdir()
    with pytest.raises(InboxUnavailable, match="nothing is mounted"):
        house.uploads(known_mount=lambda: str(house.inbox))


def test_a_link_in_the_place_of_our_folder_is_not_followed(house: House, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    house.inbox.mkdir()
    (house.inbox / ".media-cleaner").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InboxUnavailable, match="is a link"), house.uploads().new_file():
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_of_ours_that_somebody_else_may_change_takes_no_upload(house: House) -> None:
    house.accept()
    (house.inbox / ".media-cleaner").chmod(0o777)
    with pytest.raises(InboxUnavailable, match="media-cleaner"), house.uploads().new_file():
        pass


def test_who_looks_at_a_file_cannot_write_to_it(house: House) -> None:
    with house.uploads().new_file() as file:
        file.write(VIDEO)
        with file.opened() as descriptor:
            assert os.pread(descriptor, len(VIDEO), 0) == VIDEO
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.write(descriptor, b"x")


# --- Killed ---


@pytest.mark.usefixtures("either_way")
def test_killed_before_any_step_an_upload_is_a_task_with_its_file_or_leaves_nothing(
    tmp_path: Path,
) -> None:
    outcomes = set()
    for step in range(1, 100):
        house = House(tmp_path / str(step))
        house.uploads()
        was_killed = killed_before(step, house.accept)
        sweep(house.inbox, house.spool, time.time() + 601)
        found = records(house.state)
        files = house.own_files()
        assert [Path(house.spool.get(task_id).original) for task_id in found] == files
        assert all(path.read_bytes() == VIDEO for path in files)
        assert len(house.own_folders()) == len(found)
        outcomes.add(len(found))
        if not was_killed:
            break
    assert outcomes == {0, 1}
    assert step > 10


def test_a_sweep_leaves_alone_what_is_young_or_held(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    unnamed_files_are_unknown(monkeypatch)
    with house.uploads().new_file() as file:
        file.write(VIDEO)
        assert sweep(house.inbox, house.spool, time.time() + 3600) == 0
        assert len(house.own_files()) == 1
    left = house.inbox / ".media-cleaner" / "uploads" / f"{'0' * 32}.part"
    left.write_bytes(VIDEO)
    assert sweep(house.inbox, house.spool, time.time()) == 0
    assert sweep(house.inbox, house.spool, time.time() + 601) == 1
    assert house.own_files() == []


def test_a_share_without_locks_takes_uploads_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    unnamed_files_are_unknown(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", refuse)
        with house.uploads().new_file() as file:
            file.write(VIDEO)
            assert sweep(house.inbox, house.spool, time.time() + 599) == 0
            assert len(house.own_files()) == 1
            assert sweep(house.inbox, house.spool, time.time() + 601) == 1
    assert Path(house.spool.get(house.accept()).original).is_file()


def test_a_sweep_touches_nothing_but_what_uploads_left(house: House, tmp_path: Path) -> None:
    task_id = house.accept()
    dropped = house.spool.new_id()
    folder = house.inbox / ".media-cleaner" / "originals" / creation_day(dropped) / dropped
    folder.mkdir()
    (folder / "dropped.mp4").write_bytes(VIDEO)
    uploads = house.inbox / ".media-cleaner" / "uploads"
    (uploads / "notes.txt").write_text("somebody's")
    (uploads / house.spool.new_id()).symlink_to(tmp_path)
    (uploads / house.spool.new_id()).mkdir()
    (uploads / task_id).write_bytes(b"")  # killed after the task was there
    assert sweep(house.inbox, house.spool, time.time() + 601) == 1
    assert Path(house.spool.get(task_id).original).is_file()
    assert (folder / "dropped.mp4").is_file()
    assert len(list(uploads.iterdir())) == 3


@pytest.mark.parametrize("what", ["damaged", "set aside", "misplaced"])
def test_a_sweep_keeps_the_file_of_a_task_whose_record_may_come_back(
    house: House, what: str
) -> None:
    """A mark may outlast the task's acceptance: its removal is not flushed."""
    task_id = house.accept()
    original = Path(house.spool.get(task_id).original)
    found = record(house.state, task_id)
    if what == "misplaced":
        there = house.state / "pending" / "2020-01-01"
        there.mkdir()
        found.rename(there / found.name)
    else:
        found.write_bytes(b"{")
    if what == "set aside":
        with pytest.raises(RecordDamaged):
            house.spool.get(task_id)
    mark = house.inbox / ".media-cleaner" / "uploads" / task_id
    mark.touch()
    assert sweep(house.inbox, house.spool, time.time() + 601) == 1
    assert not mark.exists()
    assert original.read_bytes() == VIDEO


def test_a_sweep_of_an_inbox_without_uploads_finds_nothing(house: House) -> None:
    house.inbox.mkdir()
    assert sweep(house.inbox, house.spool, time.time()) == 0
    house.inbox.rmdir()
    with pytest.raises(FileNotFoundError):
        sweep(house.inbox, house.spool, time.time())


# --- Names ---


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("holiday.mp4", "holiday.mp4"),
        ("Отпуск 🏖.mp4", "Отпуск 🏖.mp4"),
        ("../../etc/passwd.mp4", "passwd.mp4"),
        ("C:\\Users\\me\\clip.mov", "clip.mov"),
        ("a\nb\x00c\x85.mp4", "a_b_c_.mp4"),
        ("/", ""),
        ("ж" * 200 + ".webm", "ж" * 125 + ".webm"),
        ("x." + "y" * 400, ("x." + "y" * 400)[:255]),
    ],
)
def test_a_clients_name_becomes_one_that_can_stand_in_a_folder(given: str, safe: str) -> None:
    assert safe_name(given) == safe
    assert len(safe.encode()) <= 255
