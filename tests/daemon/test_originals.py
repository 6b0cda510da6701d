"""An original is opened where it was put, whatever strangers build beside it meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.attempts import AttemptRules, Attempts, InboxPlace
from daemon.held_folder import held_new_folder
from daemon.originals import held_home, held_original, own_place
from daemon.spool import Spool
from daemon.task import Submission, Task
from pipeline.parameters import Parameters
from pipeline.settings import Settings

VIDEO = "config.mp4"


class House:
    """An inbox with one accepted file, and who begins attempts at it."""

    def __init__(self, folder: Path) -> None:
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.spool = Spool(folder / "state")
        self.task = self._submitted(folder / "outbox")
        rules = AttemptRules(
            temp=folder / "temp",
            settings=Settings(),
            max_attempts=2,
            max_bytes=1000,
            inboxes={"main": InboxPlace(self.inbox, Parameters())},
        )
        self.attempts = Attempts(
            self.spool,
            rules,
            lambda task_id: None,
            lacks_room=lambda task: False,
            is_outbox_away=lambda task: False,
            is_inbox_away=lambda task: False,
        )

    @property
    def original(self) -> Path:
        return Path(self.task.original)

    def swap(self, mode: int = 0o750) -> Path:
        """Build another folder in the place of ours, as who may write to the inbox can."""
        (self.inbox / ".media-cleaner").rename(self.inbox / "moved")
        day = own_place(self.task.task_id).parent
        with held_new_folder(self.inbox, *day.parts, mode=0o750):
            (self.inbox / ".media-cleaner").chmod(mode)
        return self.original.parent

    def _submitted(self, outbox: Path) -> Task:
        task_id = self.spool.new_id()
        place = own_place(task_id)
        with held_new_folder(self.inbox, *place.parts, mode=0o750) as home:
            (home / VIDEO).write_bytes(b"video")
        submission = Submission(
            task_id=task_id,
            input_video=VIDEO,
            original=str(self.inbox / place / VIDEO),
            inbox="main",
            outbox=str(outbox),
            parameters=Parameters(),
        )
        return self.spool.submit(submission, 10)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / VIDEO).write_bytes(b"secret")
    (folder / "config.yaml").write_text("the service's own configuration")
    return folder


def test_an_original_is_opened_by_its_own_name(house: House) -> None:
    with held_original(house.original) as path:
        assert path.name == VIDEO
        assert path.read_bytes() == b"video"


def test_a_folder_that_is_swapped_meanwhile_is_still_the_one(house: House, outside: Path) -> None:
    with held_original(house.original) as path:
        house.swap().symlink_to(outside)
        assert path.read_bytes() == b"video"


def test_no_link_in_the_place_of_its_folder_is_followed(house: House, outside: Path) -> None:
    house.swap().symlink_to(outside)
    with pytest.raises(NotADirectoryError) as caught, held_home(house.original):
        pass
    assert caught.value.filename == str(house.original.parent)


def test_a_link_in_its_own_place_is_not_followed_either(house: House, outside: Path) -> None:
    house.original.unlink()
    house.original.symlink_to(outside / VIDEO)
    with (
        pytest.raises(OSError, match="is a link or no file") as caught,
        held_original(house.original),
    ):
        pass
    assert caught.value.filename == str(house.original)


def test_a_folder_that_a_stranger_built_is_refused(house: House) -> None:
    house.swap(mode=0o777).mkdir()
    house.original.write_bytes(b"another video")
    with pytest.raises(PermissionError) as caught, held_original(house.original):
        pass
    assert caught.value.filename == str(house.inbox / ".media-cleaner")


def test_one_that_is_gone_is_told_by_its_real_path(house: House) -> None:
    house.original.unlink()
    with pytest.raises(FileNotFoundError) as caught, held_original(house.original):
        pass
    assert caught.value.filename == str(house.original)


def test_one_that_was_put_elsewhere_by_hand_is_opened(outside: Path) -> None:
    with held_original(outside / VIDEO) as path:
        assert path.read_bytes() == b"secret"


def test_a_retry_neither_reads_nor_replaces_a_sidecar_through_a_link(
    house: House, outside: Path
) -> None:
    """The sidecar that was dropped again would take the place of any file of that name."""
    house.spool.cancel(house.task.task_id)
    house.swap().symlink_to(outside)
    (house.inbox / "config.yaml").write_text("epsilon: 0.1")
    house.spool.retry(house.task.task_id)
    attempt = house.attempts.begin(house.task.task_id)
    assert attempt is not None  # its worker will say what is wrong
    assert attempt.task.parameters == Parameters()
    assert (outside / "config.yaml").read_text() == "the service's own configuration"
    assert (house.inbox / "config.yaml").exists()


def test_a_retry_takes_the_sidecar_that_was_dropped_again(house: House) -> None:
    house.spool.cancel(house.task.task_id)
    (house.inbox / "config.yaml").write_text("epsilon: 0.1")
    house.spool.retry(house.task.task_id)
    attempt = house.attempts.begin(house.task.task_id)
    assert attempt is not None
    assert attempt.task.parameters.epsilon == 0.1
    assert attempt.task.sidecar == str(house.original.with_name("config.yaml"))
    assert os.listdir(house.inbox) == [".media-cleaner"]


def test_the_size_of_what_a_link_leads_to_does_not_count(house: House, outside: Path) -> None:
    (outside / VIDEO).write_bytes(b"x" * 1001)
    house.original.unlink()
    house.original.symlink_to(outside / VIDEO)
    assert house.attempts.begin(house.task.task_id) is not None


def test_one_that_is_too_large_fails(house: House) -> None:
    house.original.write_bytes(b"x" * 1001)
    assert house.attempts.begin(house.task.task_id) is None
    assert house.spool.get(house.task.task_id).error_code == "limit_exceeded"
