"""Which files of an inbox may be taken, with a clock that is moved by hand and real files."""

from __future__ import annotations

import logging
import os
import socket
import stat
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon import candidates as candidates_module
from daemon.candidates import Candidates, Rules
from daemon.claims import Found
from daemon.scan import files_below
from daemon.stability import Event, Stamp

RULES = Rules(
    settle_s=5, sidecar_grace_s=2, incomplete_wait_s=600, rescan_s=10, extensions=(".mp4", ".mov")
)
SCANNED = 2 + 5.0  # settled, and no sidecar came


class Inbox:
    """Candidates whose clock, scans and events are moved by hand."""

    def __init__(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.root = root
        self.now = 1000.0
        self.truncated: set[str] = set()
        self._caplog = caplog
        self.candidates = Candidates("main", root, RULES, lambda path: path.name in self.truncated)

    def write(self, path: str, content: str = "x") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(content)

    def scan(self) -> None:
        seen = set(files_below(self.root, "", self.candidates.cannot_enter))
        for path in seen:
            self.candidates.saw(path, self.now)
        self.candidates.missed(seen, self.now)

    def hear(self, path: str, event: Event) -> None:
        self.candidates.heard(path, event, self.now, self.now)

    def drop(self, path: str, content: str = "x") -> None:
        """Write a file and tell of its closing."""
        self.write(path, content)
        self.hear(path, Event.CLOSED)

    def move_in(self, path: str, content: str = "x") -> None:
        self.write(path, content)
        self.hear(path, Event.MOVED_IN)

    def forward(self, seconds: float) -> None:
        """Let time pass, and look whenever it is due."""
        end = self.now + seconds
        while (at := self.candidates.next_look()) is not None and at <= end:
            self.now = max(self.now, at)
            self.candidates.look(self.now, most=1)
        self.now = end

    def ready(self) -> Found | None:
        self.forward(0)
        return self.candidates.take_ready(self.now)

    def take(self, task_id: str = "the task") -> tuple[str, str | None] | None:
        """Take the next one as a claim would; return its name and its sidecar's."""
        found = self.ready()
        if found is None:
            return None
        folder = self.root / found.subfolder
        assert found.stamp == Stamp.of(os.lstat(folder / found.video))
        (folder / found.video).unlink()
        if found.sidecar:
            (folder / found.sidecar).unlink()
        self.candidates.taken(found, task_id, self.now)
        return os.path.join(found.subfolder, found.video), found.sidecar

    def told(self, event: str = "") -> list[dict[str, Any]]:
        """Return what was logged."""
        lines = [r.msg for r in self._caplog.records if isinstance(r.msg, dict)]
        return [line for line in lines if event in line["event"]]


@pytest.fixture
def inbox(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Inbox:
    caplog.set_level(logging.INFO)
    root = tmp_path / "inbox"
    root.mkdir()
    return Inbox(root, caplog)


# --- Videos ---


def test_a_file_that_is_there_is_ready_when_it_has_settled_and_no_sidecar_came(
    inbox: Inbox,
) -> None:
    inbox.write("alice/trip/clip.mp4")
    inbox.scan()
    inbox.forward(SCANNED - 0.1)
    assert inbox.ready() is None
    inbox.forward(0.1)
    assert inbox.take() == ("alice/trip/clip.mp4", None)
    assert inbox.ready() is None


def test_one_moved_in_waits_only_for_a_sidecar(inbox: Inbox) -> None:
    inbox.move_in("clip.mp4")
    inbox.forward(1.9)
    assert inbox.ready() is None
    inbox.forward(0.1)
    assert inbox.take() == ("clip.mp4", None)


def test_the_longest_ready_comes_first(inbox: Inbox) -> None:
    for name in ("c", "a", "b"):
        inbox.move_in(f"{name}.mp4")
        inbox.forward(1)
    inbox.forward(10)
    assert [inbox.take() for _ in range(3)] == [(f"{n}.mp4", None) for n in "cab"]


def test_one_that_changes_while_it_waits_to_be_taken_is_not_taken(inbox: Inbox) -> None:
    inbox.move_in("clip.mp4")
    inbox.forward(60)
    inbox.write("clip.mp4", "longer")
    assert inbox.ready() is None
    inbox.forward(SCANNED)
    assert inbox.take() == ("clip.mp4", None)


def test_one_that_somebody_has_open_is_not_taken(inbox: Inbox) -> None:
    with (inbox.root / "clip.mp4").open("w"):
        inbox.scan()
        inbox.forward(3600)
        assert inbox.ready() is None
    inbox.forward(SCANNED + 5)
    assert inbox.take() == ("clip.mp4", None)


def test_one_that_goes_is_forgotten(inbox: Inbox) -> None:
    inbox.move_in("clip.mp4")
    (inbox.root / "clip.mp4").unlink()
    inbox.forward(10)
    assert inbox.ready() is None
    assert inbox.candidates.next_look() is None


def test_a_truncated_one_waits_and_is_then_taken_all_the_same(inbox: Inbox) -> None:
    inbox.truncated.add("clip.mp4")
    inbox.move_in("clip.mp4")
    inbox.forward(590)
    assert inbox.ready() is None
    inbox.forward(12)
    assert inbox.take() == ("clip.mp4", None)


def test_a_video_that_waits_for_its_rest_is_named_once_with_until_when(inbox: Inbox) -> None:
    inbox.truncated.add("clip.mp4")
    inbox.move_in("clip.mp4")
    inbox.forward(100)
    inbox.scan()
    inbox.drop("clip.mp4", "some more")
    inbox.forward(100)
    (line,) = inbox.told("video is not whole yet")
    assert line["file"] == "clip.mp4"
    until = datetime.fromisoformat(line["taken_at"])
    assert timedelta(seconds=540) < until - datetime.now().astimezone() <= timedelta(seconds=600)


def test_a_whole_video_is_not_named_as_one_that_waits(inbox: Inbox) -> None:
    inbox.drop("clip.mp4")
    inbox.forward(100)
    assert inbox.told("video is not whole yet") == []


def test_an_empty_video_is_taken_like_others(inbox: Inbox) -> None:
    inbox.drop("clip.mp4", "")
    inbox.forward(4)
    assert inbox.take() == ("clip.mp4", None)


def test_a_claim_that_found_it_changed_starts_the_wait_anew(inbox: Inbox) -> None:
    inbox.move_in("clip.mp4")
    inbox.forward(2)
    found = inbox.ready()
    assert found is not None
    inbox.candidates.changed(found, inbox.now)
    inbox.hear("clip.mp4", Event.GONE)
    inbox.hear("clip.mp4", Event.MOVED_IN)  # it was put back
    inbox.forward(SCANNED - 0.1)
    assert inbox.ready() is None
    inbox.forward(0.1)
    assert inbox.take() == ("clip.mp4", None)


def test_one_of_which_nothing_is_told_keeps_its_place(inbox: Inbox) -> None:
    inbox.move_in("a.mp4")
    inbox.forward(1)
    inbox.move_in("b.mp4")
    inbox.forward(2)
    for _ in range(20):
        found = inbox.ready()
        assert found is not None
        assert found.video == "a.mp4"
        inbox.forward(10)
    assert len(inbox.candidates._ready) == 2  # however long the queue is full
    assert inbox.take() == ("a.mp4", None)


def test_one_that_a_full_disk_refuses_is_tried_again_soon(inbox: Inbox) -> None:
    """It is not the file's fault, and the disk may have been full for a day."""
    inbox.move_in("good.mp4")
    inbox.forward(2)
    for _ in range(20):
        found = inbox.ready()
        assert found is not None
        inbox.candidates.failed(found, OSError(28, "No space left on device"), inbox.now)
        assert inbox.ready() is None
        inbox.forward(11)
    assert [line["file"] for line in inbox.told("file cannot be taken")] == ["good.mp4"]
    assert inbox.take() == ("good.mp4", None)


def test_one_that_cannot_be_taken_is_tried_again_more_and_more_seldom(inbox: Inbox) -> None:
    inbox.move_in("bad.mp4")
    inbox.forward(2)
    tries = 0
    for _ in range(3600):
        if (found := inbox.ready()) is not None:
            inbox.candidates.failed(found, OSError(5, "Input/output error"), inbox.now)
            tries += 1
        inbox.forward(1)
    assert 7 <= tries <= 15
    assert [line["file"] for line in inbox.told("file cannot be taken")] == ["bad.mp4"]


@pytest.mark.parametrize(("name", "of"), [("bad.mp4", "."), ("anna/bad.mp4", "anna")])
def test_where_one_cannot_be_taken_and_why_is_told_in_words(
    inbox: Inbox, name: str, of: str
) -> None:
    (inbox.root / "anna").mkdir()
    inbox.move_in(name)
    inbox.forward(2)
    found = inbox.ready()
    assert found is not None
    inbox.candidates.failed(found, OSError(13, "Permission denied"), inbox.now)
    (line,) = inbox.told("file cannot be taken")
    assert (line["of"], line["file"]) == (f"{of}: Permission denied", name)


def test_lost_events_only_cost_time(inbox: Inbox) -> None:
    inbox.drop("clip.mp4")
    inbox.candidates.lose_events(inbox.now)
    inbox.forward(SCANNED - 0.1)
    assert inbox.ready() is None
    inbox.forward(0.1)
    assert inbox.take() == ("clip.mp4", None)


def test_without_events_any_more_what_was_being_written_settles(inbox: Inbox) -> None:
    inbox.write("clip.mp4")
    inbox.hear("clip.mp4", Event.WRITING)
    inbox.candidates.forget_events(inbox.now)
    inbox.forward(SCANNED)
    assert inbox.take() == ("clip.mp4", None)


def test_a_scan_takes_up_again_what_was_lost_sight_of(inbox: Inbox) -> None:
    inbox.move_in("clip.mp4")
    inbox.forward(2)
    assert inbox.ready() is not None  # and nobody says what became of it
    inbox.scan()
    inbox.forward(10)
    assert inbox.take() == ("clip.mp4", None)


@pytest.mark.parametrize("name", ["new\nline", "not utf-8 \udcff", "x" * 251, "$(rm -rf)"])
def test_any_name_is_taken_and_stops_no_other(inbox: Inbox, name: str) -> None:
    inbox.move_in(f"{name}.mp4")
    inbox.move_in("zzz.mp4")
    inbox.forward(2)
    assert {inbox.take(), inbox.take()} == {(f"{name}.mp4", None), ("zzz.mp4", None)}


# --- Sidecars ---


@pytest.mark.parametrize("name", ["clip.mp4.yaml", "clip.mp4.yml", "clip.yaml", "clip.yml"])
def test_a_sidecar_that_is_there_lets_its_video_go_at_once(inbox: Inbox, name: str) -> None:
    inbox.drop(name)
    inbox.forward(60)
    inbox.move_in("clip.mp4")
    assert inbox.take() == ("clip.mp4", name)


def test_the_best_of_several_sidecars_is_taken(inbox: Inbox) -> None:
    for name in ("clip.yml", "clip.yaml", "clip.mp4.yml", "clip.mp4.yaml"):
        inbox.drop(name)
    inbox.forward(60)
    inbox.move_in("clip.mp4")
    assert inbox.take() == ("clip.mp4", "clip.mp4.yaml")


def test_a_sidecar_that_comes_after_the_video_lets_it_go_when_it_is_whole(inbox: Inbox) -> None:
    inbox.move_in("a/clip.mp4")
    inbox.forward(1)
    inbox.drop("a/clip.mp4.yaml")
    inbox.forward(0.4)
    assert inbox.ready() is None
    inbox.forward(0.1)
    assert inbox.take() == ("a/clip.mp4", "clip.mp4.yaml")


def test_a_video_waits_for_a_sidecar_that_is_being_written(inbox: Inbox) -> None:
    inbox.move_in("clip.mp4")
    with (inbox.root / "clip.mp4.yaml").open("w") as file:
        file.write("epsilon: ")
        file.flush()
        inbox.hear("clip.mp4.yaml", Event.WRITING)
        inbox.forward(100)
        assert inbox.ready() is None
    inbox.hear("clip.mp4.yaml", Event.CLOSED)
    inbox.forward(0.5)
    assert inbox.take() == ("clip.mp4", "clip.mp4.yaml")


def test_a_sidecar_of_which_no_event_told_is_found_all_the_same(inbox: Inbox) -> None:
    inbox.move_in("clip.mp4")
    inbox.write("clip.mp4.yaml")
    inbox.forward(4.9)
    assert inbox.ready() is None
    inbox.forward(0.1)
    assert inbox.take() == ("clip.mp4", "clip.mp4.yaml")


def test_a_link_or_a_folder_is_no_sidecar(inbox: Inbox) -> None:
    (inbox.root / "clip.mp4.yaml").symlink_to("/etc/hostname")
    (inbox.root / "clip.yaml").mkdir()
    inbox.move_in("clip.mp4")
    inbox.forward(2)
    assert inbox.take() == ("clip.mp4", None)


@pytest.mark.parametrize("what", ["a symbolic link", "a FIFO", "a folder"])
@pytest.mark.parametrize("name", ["clip.mp4.yaml", "clip.yml"])
def test_what_lies_in_a_sidecars_place_and_is_no_file_is_told_to_the_claim(
    inbox: Inbox, name: str, what: str
) -> None:
    make = {
        "a symbolic link": lambda path: path.symlink_to("/etc/hostname"),
        "a FIFO": os.mkfifo,
        "a folder": os.mkdir,
    }
    make[what](inbox.root / name)
    inbox.move_in("clip.mp4")
    inbox.forward(2)
    found = inbox.ready()
    assert found is not None
    assert (found.video, found.sidecar) == ("clip.mp4", None)
    assert found.refused == f"{name} is {what}, not a file, and so is not read."


def test_what_is_no_file_in_a_better_sidecars_place_is_named_beside_the_one_taken(
    inbox: Inbox,
) -> None:
    (inbox.root / "clip.mp4.yaml").symlink_to("/etc/hostname")
    inbox.drop("clip.yaml")
    inbox.move_in("clip.mp4")
    inbox.forward(2)
    assert inbox.take("task 7") == ("clip.mp4", "clip.yaml")
    (line,) = inbox.told("sidecar cannot be read")
    assert (line["file"], line["used"], line["task_id"]) == (
        "clip.mp4.yaml",
        "clip.yaml",
        "task 7",
    )


def test_a_link_in_a_sidecars_place_that_became_a_file_is_named_no_more(inbox: Inbox) -> None:
    (inbox.root / "clip.mp4.yaml").symlink_to("/etc/hostname")
    inbox.move_in("clip.mp4")
    inbox.forward(1)
    (inbox.root / "clip.mp4.yaml").unlink()
    inbox.move_in("clip.mp4.yaml")
    inbox.forward(10)
    assert inbox.take() == ("clip.mp4", "clip.mp4.yaml")
    assert inbox.told("sidecar cannot be read") == []


def test_the_sidecar_that_was_not_used_of_two_is_named_as_that(inbox: Inbox) -> None:
    for name in ("clip.yaml", "clip.mp4.yaml"):
        inbox.drop(name)
    inbox.move_in("clip.mp4")
    inbox.forward(1)
    assert inbox.take("task 7") == ("clip.mp4", "clip.mp4.yaml")
    inbox.forward(700)
    inbox.scan()
    inbox.forward(700)
    (line,) = inbox.told("sidecar")
    assert line["event"] == "sidecar not used, its video had another"
    assert (line["file"], line["used"], line["task_id"]) == (
        "clip.yaml",
        "clip.mp4.yaml",
        "task 7",
    )


def test_a_sidecar_in_another_folder_is_no_sidecar(inbox: Inbox) -> None:
    inbox.drop("clip.mp4.yaml")
    inbox.forward(60)
    inbox.move_in("a/clip.mp4")
    inbox.forward(2)
    assert inbox.take() == ("a/clip.mp4", None)


def test_a_sidecar_that_fits_two_videos_is_applied_to_neither_also_later(inbox: Inbox) -> None:
    inbox.drop("clip.yaml")
    inbox.drop("clip.mp4")
    inbox.drop("clip.mov")
    inbox.forward(60)
    inbox.scan()
    assert inbox.take() == ("clip.mp4", None)
    inbox.forward(700)
    inbox.scan()
    assert inbox.take() == ("clip.mov", None)
    inbox.forward(2000)
    contests = inbox.told("sidecar fits two videos")
    assert [line["videos"] for line in contests] == [["clip.mov", "clip.mp4"]]
    assert inbox.told("sidecar without") == inbox.told("sidecar came after") == []


def test_a_contest_counts_also_where_one_video_has_a_sidecar_of_its_own(inbox: Inbox) -> None:
    for name in ("clip.yaml", "clip.mp4.yaml", "clip.mp4", "clip.mov"):
        inbox.drop(name)
    inbox.forward(60)
    assert {inbox.take(), inbox.take()} == {("clip.mp4", "clip.mp4.yaml"), ("clip.mov", None)}


def test_the_second_video_is_seen_though_nobody_has_told_of_it(inbox: Inbox) -> None:
    inbox.write("clip.MOV")
    inbox.drop("clip.yaml")
    inbox.forward(60)
    inbox.move_in("clip.mp4")
    inbox.forward(2)
    assert inbox.take() == ("clip.mp4", None)


def test_what_is_no_video_does_not_contest(inbox: Inbox) -> None:
    (inbox.root / "clip.mov").symlink_to("clip.mp4")
    inbox.write("clip.mkv")  # not among the extensions here
    inbox.drop("clip.yaml")
    inbox.forward(60)
    inbox.move_in("clip.mp4")
    assert inbox.take() == ("clip.mp4", "clip.yaml")


def test_a_sidecar_that_is_dropped_again_after_a_contest_counts(inbox: Inbox) -> None:
    for name in ("clip.yaml", "clip.mp4", "clip.mov"):
        inbox.drop(name)
    inbox.forward(60)
    inbox.take()
    inbox.take()
    inbox.drop("clip.yaml", "epsilon: 0.05")
    inbox.move_in("clip.mp4")
    inbox.forward(1)
    assert inbox.take() == ("clip.mp4", "clip.yaml")


def test_a_sidecar_with_the_whole_name_of_a_video_is_no_others(inbox: Inbox) -> None:
    inbox.drop("clip.mp4.yaml")
    inbox.forward(60)
    inbox.move_in("clip.mp4.mov")
    inbox.move_in("clip.mp4")
    inbox.forward(2)
    assert {inbox.take(), inbox.take()} == {("clip.mp4", "clip.mp4.yaml"), ("clip.mp4.mov", None)}
    assert inbox.told("fits two") == []


def test_a_sidecar_whose_video_never_comes_is_named_once(inbox: Inbox) -> None:
    inbox.drop("clip.mp4.yaml")
    inbox.forward(590)
    assert inbox.told() == []
    for _ in range(100):
        inbox.scan()
        inbox.forward(60)
    assert [line["file"] for line in inbox.told("sidecar without a video")] == ["clip.mp4.yaml"]


def test_a_sidecar_that_was_named_still_serves_a_video_that_comes(inbox: Inbox) -> None:
    inbox.drop("clip.mp4.yaml")
    inbox.forward(3600)
    inbox.move_in("clip.mp4")
    assert inbox.take() == ("clip.mp4", "clip.mp4.yaml")


@pytest.mark.parametrize("name", ["clip.mp4.yaml", "clip.yaml"])
def test_a_sidecar_that_comes_after_the_claim_is_named_with_the_task(
    inbox: Inbox, name: str
) -> None:
    inbox.move_in("clip.mp4")
    inbox.forward(2)
    inbox.take("task 7")
    inbox.drop(name)
    inbox.forward(30)
    (line,) = inbox.told("sidecar came after its video was taken")
    assert (line["file"], line["task_id"]) == (name, "task 7")
    assert (inbox.root / name).exists()


def test_a_sidecar_left_by_a_video_that_went_is_named(inbox: Inbox) -> None:
    inbox.drop("clip.mp4.yaml")
    inbox.write("clip.mp4")
    inbox.hear("clip.mp4", Event.WRITING)
    inbox.forward(5)
    (inbox.root / "clip.mp4").unlink()
    inbox.hear("clip.mp4", Event.GONE)
    inbox.forward(700)
    assert len(inbox.told("sidecar without a video")) == 1


# --- What is never taken ---


def test_what_is_no_video_is_named_once_after_settling_and_left(inbox: Inbox) -> None:
    inbox.write("notes.txt")
    inbox.scan()
    inbox.forward(4.9)
    assert inbox.told() == []
    for _ in range(10):
        inbox.forward(10)
        inbox.scan()
    inbox.hear("notes.txt", Event.WRITING)
    inbox.forward(60)
    assert [line["file"] for line in inbox.told("left where it is")] == ["notes.txt"]
    assert (inbox.root / "notes.txt").exists()


@pytest.mark.parametrize("has_events", [True, False])
def test_what_came_again_is_named_again(inbox: Inbox, has_events: bool) -> None:
    for _ in range(2):
        inbox.write("notes.txt")
        if has_events:
            inbox.hear("notes.txt", Event.CLOSED)
        inbox.scan()
        inbox.forward(10)
        (inbox.root / "notes.txt").unlink()
        if has_events:
            inbox.hear("notes.txt", Event.GONE)
        inbox.scan()
        inbox.forward(1)
    assert len(inbox.told("left where it is")) == 2


def test_links_fifos_and_sockets_are_named_and_never_taken(inbox: Inbox) -> None:
    inbox.write("real.mp4")
    (inbox.root / "link.mp4").symlink_to("real.mp4")
    (inbox.root / "dangling.mp4").symlink_to("nowhere")
    os.mkfifo(inbox.root / "fifo.mp4")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(inbox.root / "socket.mp4"))
        for _ in range(3):
            inbox.scan()
            inbox.forward(60)
    assert inbox.take() == ("real.mp4", None)
    assert inbox.take() is None
    assert {line["file"]: line["reason"] for line in inbox.told("left where it is")} == {
        "link.mp4": "a symbolic link",
        "dangling.mp4": "a symbolic link",
        "fifo.mp4": "a FIFO",
        "socket.mp4": "a socket",
    }
    assert len(inbox.told()) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make devices")
def test_a_device_is_named_and_never_taken(inbox: Inbox) -> None:
    os.mknod(inbox.root / "null.mp4", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    inbox.scan()
    inbox.forward(60)
    assert inbox.take() is None
    assert [line["reason"] for line in inbox.told()] == ["a device"]


def test_a_video_in_the_place_of_a_link_is_taken(inbox: Inbox) -> None:
    (inbox.root / "clip.mp4").symlink_to("nowhere")
    inbox.scan()
    inbox.forward(60)
    (inbox.root / "clip.mp4").unlink()
    inbox.write("clip.mp4")
    inbox.scan()
    inbox.forward(SCANNED)
    assert inbox.take() == ("clip.mp4", None)


def test_a_folder_named_like_a_video_is_a_folder(inbox: Inbox) -> None:
    inbox.write("folder.mp4/clip.mp4")
    inbox.hear("folder.mp4", Event.GONE)
    inbox.scan()
    inbox.forward(60)
    assert inbox.take() == ("folder.mp4/clip.mp4", None)
    assert inbox.take() is None
    assert inbox.told() == []


def test_unfinished_names_are_neither_looked_at_nor_named(inbox: Inbox) -> None:
    for name in ("clip.mp4.part", ".clip.mp4", "~clip.mp4", "clip.yaml.tmp", "@eaDir/x.mp4"):
        inbox.write(name)
    inbox.scan()
    assert inbox.candidates.next_look() is None
    assert inbox.told() == []


def test_of_very_many_strangers_only_some_are_remembered(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates_module, "_MOST_STRANGERS", 5)
    for number in range(50):
        inbox.write(f"{number}.txt")
    inbox.write("clip.mp4")
    for _ in range(3):
        inbox.scan()
        inbox.forward(60)
    assert inbox.take() == ("clip.mp4", None)
    assert len(inbox.told("left where it is")) == 5
    assert len(inbox.told("too many files")) == 1


def test_a_folder_that_cannot_be_entered_is_named_once(inbox: Inbox) -> None:
    for _ in range(5):
        inbox.candidates.cannot_enter("secret", "Permission denied")
    assert [line["of"] for line in inbox.told()] == ["secret"]


def test_the_effort_grows_with_the_files_and_not_faster(inbox: Inbox) -> None:
    def seconds(count: int) -> float:
        folder = str(count)
        for number in range(count):
            inbox.write(f"{folder}/{number}.mp4")
        began = time.process_time()
        inbox.scan()
        inbox.forward(60)
        while inbox.take():
            pass
        return time.process_time() - began

    seconds(100)
    assert seconds(1000) < 30 * seconds(100)


# --- Looking that takes long ---


class SlowLooks:
    """Candidates that need so many seconds to look into a file."""

    def __init__(self, root: Path, seconds: float) -> None:
        self.root = root
        self.clock = 0.0
        self.looked_into: list[str] = []
        self._seconds = seconds
        self.candidates = Candidates("main", root, RULES, self._answer, lambda: self.clock)

    def move_in(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).write_text(path)
            self.candidates.heard(path, Event.MOVED_IN, 0, 0)

    def _answer(self, path: Path) -> bool:
        self.clock += self._seconds
        self.looked_into.append(path.name)
        return False


def test_files_are_looked_into_for_half_a_second_at_a_stretch(tmp_path: Path) -> None:
    """Between two stretches something is taken."""
    slow = SlowLooks(tmp_path, seconds=0.2)
    slow.move_in(*(f"{number}.mp4" for number in range(10)))
    slow.candidates.look(2, most=100)
    assert len(slow.looked_into) == 3
    assert slow.candidates.next_look() == 0
    assert slow.candidates.take_ready(2) is not None


def test_one_that_takes_longer_is_looked_into_all_the_same(tmp_path: Path) -> None:
    slow = SlowLooks(tmp_path, seconds=5)
    slow.move_in("a.mp4", "b.mp4")
    slow.candidates.look(2, most=100)
    slow.candidates.look(2, most=100)
    assert len(slow.looked_into) == 2


def test_a_file_of_many_names_is_looked_into_once(tmp_path: Path) -> None:
    slow = SlowLooks(tmp_path, seconds=0)
    slow.move_in("a.mp4")
    for number in range(20):
        os.link(tmp_path / "a.mp4", tmp_path / f"{number}.mp4")
        slow.candidates.heard(f"{number}.mp4", Event.MOVED_IN, 0, 0)
    slow.candidates.look(2, most=100)
    assert len(slow.looked_into) == 1
    (tmp_path / "a.mp4").write_text("another content")
    slow.candidates.heard("a.mp4", Event.MOVED_IN, 2, 2)
    slow.candidates.look(4, most=100)
    assert len(slow.looked_into) == 2


def test_only_so_many_answers_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates_module, "_MOST_ANSWERS", 3)
    slow = SlowLooks(tmp_path, seconds=0)
    slow.move_in("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4")
    slow.candidates.look(2, most=100)
    for name in "ae":
        os.link(tmp_path / f"{name}.mp4", tmp_path / f"{name}.mov")
        slow.candidates.heard(f"{name}.mov", Event.MOVED_IN, 2, 2)
    slow.candidates.look(4, most=100)
    assert slow.looked_into[5:] == ["a.mov"]
