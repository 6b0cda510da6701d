"""Events of the real kernel: what is told of them, and when there can be none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from services import PATIENCE_SECONDS, wait_until

from daemon import watch as watch_module
from daemon.hints import Hints
from daemon.stability import Event
from daemon.watch import Watch, WatchUnavailable

ROOT = Path(__file__).parents[2]


class Told(Hints):
    """Hints of which all that was ever told can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[tuple[str, Event]] = []
        self.folders: list[str] = []
        self.ends: list[str] = []
        self.losses = 0
        self.is_gone = False
        self._told = threading.Condition()

    def file(self, path: str, event: Event) -> None:
        with self._told:
            self.files.append((path, event))
            self._told.notify_all()

    def folder(self, path: str) -> None:
        with self._told:
            self.folders.append(path)
            self._told.notify_all()

    def lost(self) -> None:
        with self._told:
            self.losses += 1
            self._told.notify_all()

    def end(self, reason: str) -> None:
        with self._told:
            self.ends.append(reason)
            self._told.notify_all()

    def gone(self) -> None:
        with self._told:
            self.is_gone = True
            self._told.notify_all()

    def wait(self) -> None:
        with self._told:
            self._told.wait(0.1)

    def of(self, path: str) -> list[Event]:
        """Return what was told of a file, equal ones in a row once."""
        told = [event for p, event in self.files if p == path]
        return [e for i, e in enumerate(told) if i == 0 or told[i - 1] is not e]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "inbox"
    root.mkdir()
    return root


@pytest.fixture
def watch(root: Path, told: Told) -> Iterator[Watch]:
    watch = Watch(root, told)
    yield watch
    watch.close()


def all_told(root: Path, told: Told) -> None:
    """Wait until everything that happened so far has been told."""
    last = root / f"last-{time.monotonic_ns()}.mp4"
    last.touch()
    wait_for(told, lambda: (last.name, Event.CLOSED) in told.files)


def wait_for(told: Told, is_so: object) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline, (told.files, told.folders, told.ends)
        told.wait()


@pytest.mark.usefixtures("watch")
class TestFiles:
    def test_written_and_closed(self, root: Path, told: Told) -> None:
        with (root / "a.mp4").open("wb") as file:
            file.write(b"x")
            file.flush()
        all_told(root, told)
        assert told.of("a.mp4") == [Event.CREATED, Event.WRITING, Event.CLOSED]

    def test_still_being_written(self, root: Path, told: Told) -> None:
        with (root / "a.mp4").open("wb") as file:
            file.write(b"x")
            file.flush()
            all_told(root, told)
            assert told.of("a.mp4") == [Event.CREATED, Event.WRITING]

    def test_moved_in_from_elsewhere(self, root: Path, told: Told) -> None:
        (root.parent / "a.mp4").touch()
        os.rename(root.parent / "a.mp4", root / "a.mp4")
        all_told(root, told)
        assert told.of("a.mp4") == [Event.MOVED_IN]

    def test_renamed_from_an_unfinished_name(self, root: Path, told: Told) -> None:
        (root / "a.mp4.part").write_bytes(b"x")
        os.rename(root / "a.mp4.part", root / "a.mp4")
        all_told(root, told)
        assert told.of("a.mp4") == [Event.MOVED_IN]
        assert told.of("a.mp4.part") == []

    def test_linked_in(self, root: Path, told: Told) -> None:
        (root.parent / "a.mp4").write_bytes(b"x")
        os.link(root.parent / "a.mp4", root / "a.mp4")
        os.unlink(root.parent / "a.mp4")
        all_told(root, told)
        assert told.of("a.mp4") == [Event.CREATED]

    def test_removed_and_moved_away(self, root: Path, told: Told) -> None:
        for name in ("a.mp4", "b.mp4"):
            (root / name).touch()
        (root / "a.mp4").unlink()
        os.rename(root / "b.mp4", root.parent / "b.mp4")
        all_told(root, told)
        assert told.of("a.mp4")[-1] is Event.GONE
        assert told.of("b.mp4")[-1] is Event.GONE

    def test_reading_tells_nothing(self, root: Path, told: Told) -> None:
        (root / "a.mp4").write_bytes(b"x")
        all_told(root, told)
        before = list(told.files)
        (root / "a.mp4").read_bytes()
        (root / "a.mp4").chmod(0o600)
        time.sleep(0.05)
        assert told.files == before

    @pytest.mark.parametrize("name", ["new\nline.mp4", "not utf-8 \udcff.mp4", "x" * 251 + ".mp4"])
    def test_any_name(self, root: Path, told: Told, name: str) -> None:
        (root / name).touch()
        all_told(root, told)
        assert told.of(name) == [Event.CREATED, Event.CLOSED]

    def test_a_busy_writer_is_not_told_of_at_each_write(self, root: Path, told: Told) -> None:
        writes = 1000
        with (root / "a.mp4").open("wb", buffering=0) as file:
            for _ in range(writes):
                file.write(b"x" * 100)
                time.sleep(0.0001)  # so that each could be told by itself
        all_told(root, told)
        assert sum(path == "a.mp4" for path, _ in told.files) < writes / 4


@pytest.mark.usefixtures("watch")
class TestFolders:
    def test_a_new_one_is_watched_and_told_of(self, root: Path, told: Told) -> None:
        (root / "a/b/c").mkdir(parents=True)
        all_told(root, told)
        (root / "a/b/c/x.mp4").touch()
        wait_for(told, lambda: Event.CLOSED in told.of("a/b/c/x.mp4"))
        assert told.folders[0] == "a"

    def test_one_moved_in_is_watched_and_told_of(self, root: Path, told: Told) -> None:
        (root.parent / "a/b").mkdir(parents=True)
        os.rename(root.parent / "a", root / "a")
        all_told(root, told)
        (root / "a/b/x.mp4").touch()
        wait_for(told, lambda: Event.CLOSED in told.of("a/b/x.mp4"))
        assert told.folders == ["a"]

    def test_one_moved_within_is_known_by_its_new_name_only(self, root: Path, told: Told) -> None:
        (root / "a/b").mkdir(parents=True)
        all_told(root, told)
        os.rename(root / "a", root / "z")
        all_told(root, told)
        (root / "z/b/x.mp4").touch()
        wait_for(told, lambda: Event.CLOSED in told.of("z/b/x.mp4"))
        assert told.of("a/b/x.mp4") == []

    def test_one_moved_away_is_watched_no_longer(self, root: Path, told: Told) -> None:
        (root / "a/b").mkdir(parents=True)
        all_told(root, told)
        os.rename(root / "a", root.parent / "a")
        all_told(root, told)
        (root.parent / "a/b/x.mp4").touch()
        (root / "a").mkdir()
        all_told(root, told)
        assert not [path for path, _ in told.files if path.endswith("x.mp4")]

    def test_one_made_again_under_its_name_is_watched(self, root: Path, told: Told) -> None:
        for number in range(20):
            (root / "a").mkdir()
            (root / "a/b").mkdir()
            (root / "a/b" / f"{number}.mp4").touch()
            shutil.rmtree(root / "a")
        (root / "a").mkdir()
        all_told(root, told)
        (root / "a/x.mp4").touch()
        wait_for(told, lambda: Event.CLOSED in told.of("a/x.mp4"))

    @pytest.mark.parametrize("name", [".media-cleaner", "@eaDir", "x.tmp"])
    def test_those_left_alone_are_not_watched(self, root: Path, told: Told, name: str) -> None:
        (root / name / "originals").mkdir(parents=True)
        (root / name / "x.mp4").touch()
        (root / name / "originals/x.mp4").touch()
        all_told(root, told)
        assert [path for path, _ in told.files if not path.startswith("last-")] == []
        assert told.folders == []

    def test_links_to_folders_are_not_followed(self, root: Path, told: Told) -> None:
        (root.parent / "elsewhere").mkdir()
        (root / "link").symlink_to(root.parent / "elsewhere")
        (root.parent / "elsewhere/x.mp4").touch()
        all_told(root, told)
        assert told.of("link/x.mp4") == []


def test_folders_that_are_there_already_are_watched(root: Path, told: Told) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / ".media-cleaner/originals").mkdir(parents=True)
    watch = Watch(root, told)
    (root / "a/b/x.mp4").touch()
    wait_for(told, lambda: Event.CLOSED in told.of("a/b/x.mp4"))
    assert sorted(watch._watches) == ["", "a", "a/b"]
    watch.close()


def test_a_folder_that_is_renamed_while_it_is_found_is_watched_on(
    root: Path, told: Told, watch: Watch
) -> None:
    """Found by its new name, while the event that tells of the old one's end is on its way."""
    (root / "old").mkdir()
    all_told(root, told)
    with watch._lock:  # so that no event is heeded meanwhile
        (root / "old").rename(root / "new")
        watch._add_below("")
    all_told(root, told)
    (root / "new/a.mp4").touch()
    wait_for(told, lambda: Event.CLOSED in told.of("new/a.mp4"))


def test_a_root_behind_a_link_is_watched(root: Path, told: Told) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    watch = Watch(link, told)
    all_told(root, told)
    watch.close()


def test_no_hint_comes_after_the_close_and_nothing_is_left(root: Path, told: Told) -> None:
    Watch(root, told).close()  # what all watches share is there now
    before = left()
    for number in range(10):
        (root / str(number)).mkdir()
        Watch(root, told).close()
    (root / "a.mp4").touch()
    time.sleep(0.05)
    assert told.files == []
    wait_until(
        lambda: all(now <= then for now, then in zip(left(), before, strict=True)),
        "nothing is left",
    )


def left() -> tuple[int, int, int]:
    return len(os.listdir("/proc/self/fd")), threading.active_count(), watched_folders()


def watched_folders() -> int:
    """Return how many folders the kernel watches for this process."""
    texts = [path.read_text() for path in Path("/proc/self/fdinfo").iterdir() if path.exists()]
    return sum(text.count("inotify wd:") for text in texts)


# --- The end of it ---


def test_the_root_is_renamed(root: Path, told: Told, watch: Watch) -> None:
    os.rename(root, root.parent / "other")
    wait_for(told, lambda: told.is_gone)


def test_the_root_is_removed(root: Path, told: Told, watch: Watch) -> None:
    (root / "a").mkdir()
    shutil.rmtree(root)
    wait_for(told, lambda: told.is_gone)


def test_the_root_is_unmounted(root: Path, told: Told) -> None:
    command = ["mount", "-t", "tmpfs", "none", str(root)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    watch = Watch(root, told)
    subprocess.run(["umount", str(root)], check=True)  # being watched does not keep it busy
    wait_for(told, lambda: told.is_gone)
    watch.close()


def test_a_folder_that_goes_is_not_the_end(root: Path, told: Told, watch: Watch) -> None:
    (root / "a").mkdir()
    all_told(root, told)
    (root / "a").rmdir()
    all_told(root, told)
    assert told.ends == []
    assert not told.is_gone


def test_a_root_that_is_not_there(tmp_path: Path, told: Told) -> None:
    with pytest.raises(WatchUnavailable, match="No such file"):
        Watch(tmp_path / "missing", told)


def test_a_share_is_not_watched_since_it_tells_half(
    root: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module.mounts, "is_remote", lambda file_system: True)
    with pytest.raises(WatchUnavailable, match="tells nothing of what others write"):
        Watch(root, told)


class Blocked(Told):
    """Hints that are not taken until they may be."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()

    def file(self, path: str, event: Event) -> None:
        self.may_go_on.wait(PATIENCE_SECONDS)
        super().file(path, event)


def test_more_events_than_the_kernel_keeps_are_told_to_be_lost(root: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 50_000:
        pytest.skip("this kernel keeps too many events for a quick test")
    told = Blocked()
    watch = Watch(root, told)
    for number in range(most // 2 + 1000):  # two events each
        (root / f"{number}.mp4").touch()
    told.may_go_on.set()
    wait_for(told, lambda: told.losses)
    all_told(root, told)  # it goes on
    assert told.losses == 1
    watch.close()


# --- Exhausted tables, in a namespace of users where they can be made small ---

IN_NAMESPACE = """
import os, sys, threading
from pathlib import Path
sys.path.insert(0, os.getcwd())
from daemon.hints import Hints
from daemon.watch import InotifyFD, Watch, WatchUnavailable

def limit(name, most):
    Path(f"/proc/sys/user/max_inotify_{name}").write_text(str(most))

def descriptors():
    return len(os.listdir("/proc/self/fd"))

root = Path(sys.argv[1])
for number in range(5):
    (root / str(number)).mkdir()
"""


def in_namespace(root: Path, code: str) -> str:
    limit = "/proc/sys/user/max_inotify_watches"
    command = ["unshare", "-Ur"]
    try:
        subprocess.run(
            [*command, "sh", "-c", f"echo 99 > {limit}"], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no namespaces of users here")
    script = IN_NAMESPACE + textwrap.dedent(code)
    done = subprocess.run(
        [*command, sys.executable, "-c", script, str(root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_table_of_watches_is_told_at_the_start_and_nothing_stays_open(root: Path) -> None:
    said = in_namespace(
        root,
        """
        limit("watches", 3)
        InotifyFD.get_instance()
        before = descriptors()
        for _ in range(5):
            try:
                Watch(root, Hints())
            except WatchUnavailable as error:
                print(error.reason)
        assert descriptors() == before, (before, descriptors())
        limit("watches", 6)
        Watch(root, Hints()).close()
        """,
    )
    assert said.count("fs.inotify.max_user_watches") == 5


def test_a_table_that_is_full_for_a_later_folder_ends_the_watch(root: Path) -> None:
    said = in_namespace(
        root,
        """
        limit("watches", 7)
        hints = Hints()
        watch = Watch(root, hints)
        (root / "6th").mkdir()
        assert hints.take(60).folders == {"6th"}
        (root / "7th").mkdir()
        while (news := hints.take(60)).ended is None:
            pass
        print(news.ended)
        watch.close()
        """,
    )
    assert "fs.inotify.max_user_watches" in said


def test_too_many_queues_are_told(root: Path) -> None:
    said = in_namespace(
        root,
        """
        limit("instances", 0)
        try:
            Watch(root, Hints())
        except WatchUnavailable as error:
            print(error.reason)
        limit("instances", 1)
        Watch(root, Hints()).close()
        """,
    )
    assert "fs.inotify.max_user_instances" in said
