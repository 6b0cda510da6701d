"""Status files: what is marked is written, and one outbox that refuses holds up no other."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from services import wait_until
from translations import is_known

from daemon import outbox, outbox_writer, status_writer
from daemon.logs import configure_logs, reset_logs
from daemon.outbox import StatusFiles, status_path
from daemon.spool import Spool
from daemon.status_writer import StatusWriter
from daemon.task import Submission, Task


class House:
    """A spool, a good outbox, and one in whose place a file lies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = Spool(folder / "state")
        self.bad = folder / "bad"
        self.bad.write_text("no folder")
        self.now = 0.0
        self.files = StatusFiles(self.spool, "en", dict)
        self.queue: list[str] = []

    def submit(self, outbox: str, subfolder: str = "", video: str = "clip.mov") -> Task:
        task = self.spool.submit(
            Submission(
                task_id=self.spool.new_id(),
                input_video=video,
                original=f"/inbox/{video}",
                outbox=str(self.folder / outbox),
                subfolder=subfolder,
            ),
            100_000,
        )
        self.queue.append(task.task_id)
        return task

    def writer(self, files: StatusFiles | None = None) -> StatusWriter:
        return StatusWriter(files or self.files, lambda: self.queue, lambda: self.now)

    def place(self, task: Task) -> int | None:
        try:
            return json.loads(status_path(task).read_bytes())["queue_position"]
        except FileNotFoundError:
            return None


class Files:
    """Says of each task what the test wants, in the place of `StatusFiles`."""

    def __init__(self, refresh: Callable[[str], None]) -> None:
        self._refresh = refresh

    def refresh(self, task_id: str, place: int | None, known: Any) -> None:
        self._refresh(task_id)

    def task(self, task_id: str) -> Any:
        return SimpleNamespace(outbox=f"/outbox of {task_id}")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    configure_logs(tmp_path / "logs")
    yield tmp_path / "logs"
    reset_logs()


def refused(writer: StatusWriter) -> list[str]:
    return [task_id for of in list(writer._writers.values()) for task_id in list(of._refused)]


def marked(writer: StatusWriter) -> bool:
    lanes = list(writer._writers.values())
    return bool(writer._marked or any(lane._marked or lane._batch for lane in lanes))


@contextmanager
def running(writer: StatusWriter) -> Iterator[StatusWriter]:
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


def test_what_is_marked_is_written(house: House) -> None:
    task = house.submit("good")
    with running(house.writer()) as writer:
        writer.mark(task.task_id)
        wait_until(lambda: house.place(task) == 1, "written")


def test_tasks_that_are_refused_do_not_hold_up_the_others(house: House) -> None:
    bad = [house.submit("bad") for _ in range(6)]
    good = house.submit("good")
    writer = house.writer()
    for task in (*bad, good):
        writer.mark(task.task_id)
    with running(writer):
        wait_until(lambda: house.place(good) == 7, "written")
        for task in bad:
            writer.mark(task.task_id)
        later = house.submit("good")
        writer.mark(later.task_id)
        wait_until(lambda: house.place(later) == 8, "written")


def test_a_task_that_was_refused_is_tried_again_when_its_time_has_come(house: House) -> None:
    task = house.submit("bad")
    writer = house.writer()
    writer.mark(task.task_id)
    with running(writer):
        wait_until(lambda: refused(writer), "refused")
        house.bad.unlink()
        writer.mark(task.task_id)
        wait_until(lambda: not marked(writer), "heeded")
        assert house.place(task) is None  # not at each of its changes
        house.now += 6
        wait_until(lambda: house.place(task) == 1, "written")
        assert writer.trouble is None


def test_it_is_behind_until_all_is_written(house: House) -> None:
    task = house.submit("bad")
    writer = house.writer()
    assert not writer.is_behind
    writer.mark(task.task_id)
    assert writer.is_behind
    with running(writer):
        wait_until(lambda: refused(writer), "refused")
        assert writer.is_behind
        house.bad.unlink()
        house.now += 6
        wait_until(lambda: not writer.is_behind, "written")


def test_an_outbox_that_refuses_for_long_is_told_as_trouble(house: House) -> None:
    task = house.submit("bad")
    writer = house.writer()
    writer.mark(task.task_id)
    with running(writer):
        wait_until(lambda: refused(writer), "refused")
        assert writer.trouble is None
        house.now += 31
        # Not at once: it is just being tried again.
        wait_until(lambda: "1 cannot be written" in str(writer.trouble), "trouble")


@pytest.mark.parametrize(
    ("number", "is_named"),
    [(errno.EROFS, True), (errno.ENOSPC, True), (errno.ENOSPC, False)],  # not by write(2)
)
def test_a_folder_of_the_outbox_that_refuses_is_named(
    house: House, monkeypatch: pytest.MonkeyPatch, number: int, is_named: bool
) -> None:
    """One user's may, and the others not; the outbox itself where the system names nothing."""
    task = house.submit("good", subfolder="anna")

    def refuse(path: Path, data: bytes) -> None:
        names = (str(path.with_name(f".{path.name}.x.tmp")),) if is_named else ()
        raise OSError(number, os.strerror(number), *names)

    monkeypatch.setattr(outbox, "write_volatile", refuse)
    writer = house.writer()
    writer.mark(task.task_id)
    with running(writer):
        wait_until(lambda: refused(writer), "refused")
        house.now += 31
        folder = house.folder / "good" / ("anna" if is_named else "")
        told = f"1 cannot be written: {folder}: {os.strerror(number)}"
        wait_until(lambda: told in str(writer.trouble), "trouble")
        assert is_known(f"status files: {writer.trouble}")


def test_a_name_that_the_outbox_cannot_hold_is_told_once_and_is_no_trouble_of_the_outbox(
    house: House, monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    """FAT, exFAT and NTFS have no names with a colon; that stays so however often it is tried."""
    write = outbox.write_volatile

    def refuse_colons(path: Path, data: bytes) -> None:
        if ":" in path.name:
            temporary = path.with_name(f".{path.name}.x.tmp")
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(temporary))
        write(path, data)

    monkeypatch.setattr(outbox, "write_volatile", refuse_colons)
    bad, good = house.submit("good", video="12:30.mp4"), house.submit("good")
    writer = house.writer()
    for _ in range(2):
        for task in (bad, good):
            writer.mark(task.task_id)
    with running(writer):
        wait_until(lambda: house.place(good) == 2, "written")
        wait_until(lambda: not writer.is_behind, "nothing is to be done")
        house.now += 31
        assert writer.trouble is None
    lines = (logs / "server.log").read_text().splitlines()
    (told,) = [line for line in lines if "cannot hold the name" in line]
    assert bad.task_id in told


def test_an_outbox_that_hangs_is_told_as_trouble_and_the_end_does_not_wait_for_it(
    house: House,
) -> None:
    begun, gate = threading.Event(), threading.Event()

    def hang(task_id: str) -> None:
        begun.set()
        gate.wait(120)

    writer = house.writer(Files(hang))  # type: ignore[arg-type]
    writer.start()
    writer.mark("x")
    assert begun.wait(60)
    assert writer.trouble is None
    house.now += 31
    assert "/outbox of x has not answered for 31 s" in str(writer.trouble)
    ended = time.monotonic()
    writer.stop(timeout=0.1)
    assert time.monotonic() - ended < 60
    gate.set()


def test_an_outbox_that_hangs_holds_up_no_other(house: House) -> None:
    begun, gate = threading.Event(), threading.Event()
    written: list[str] = []

    def refresh(task_id: str) -> None:
        if task_id == "hangs":
            begun.set()
            gate.wait(120)
        written.append(task_id)

    writer = house.writer(Files(refresh))  # type: ignore[arg-type]
    with running(writer):
        writer.mark("hangs")
        assert begun.wait(60)
        for turn in range(3):
            writer.mark(f"good {turn}")
            wait_until(lambda: f"good {turn}" in written, "written")  # noqa: B023
        assert "hangs" not in written
        gate.set()
    assert "hangs" in written


def test_however_many_outboxes_there_are_there_are_few_threads(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_writer, "_MOST_OUTBOXES", 3)
    written: list[str] = []
    writer = house.writer(Files(written.append))  # type: ignore[arg-type]
    before = threading.active_count()
    with running(writer):
        for number in range(20):
            writer.mark(str(number))
        wait_until(lambda: len(written) == 20, "written")
        assert threading.active_count() <= before + 1 + 3 + 1
    assert threading.active_count() <= before


def test_a_state_that_cannot_be_read_is_told_and_the_file_is_written_when_it_can(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = house.submit("good")
    writer = house.writer()
    with monkeypatch.context() as refusing, running(writer):
        refusing.setattr(house.spool, "get", raising(OSError(errno.EIO, "Input/output error")))
        writer.mark(task.task_id)
        wait_until(lambda: refused(writer), "refused")
        refusing.undo()
        house.now += 6
        wait_until(lambda: house.place(task) == 1, "written")


def raising(error: Exception) -> Callable[..., None]:
    def act(*words: object) -> None:
        raise error

    return act


def test_at_the_end_everything_is_tried_once(house: House) -> None:
    bad = [house.submit("bad") for _ in range(3)]
    writer = house.writer()
    for task in bad:
        writer.mark(task.task_id)
    writer.start()
    wait_until(lambda: len(refused(writer)) == 3, "refused")
    good = house.submit("good")
    house.bad.unlink()
    for task in (bad[0], good):
        writer.mark(task.task_id)
    writer.stop()
    assert [house.place(task) for task in (*bad, good)] == [1, 2, 3, 4]


def test_what_nobody_foresaw_about_a_task_holds_up_no_other(house: House, logs: Path) -> None:
    written: list[str] = []

    def refresh(task_id: str) -> None:
        if task_id == "bad":
            raise ZeroDivisionError
        written.append(task_id)

    writer = house.writer(Files(refresh))  # type: ignore[arg-type]
    with running(writer):
        writer.mark("bad")
        writer.mark("good")
        wait_until(lambda: "good" in written, "written")
    assert "ZeroDivisionError" in (logs / "server.log").read_text()


def test_what_nobody_foresaw_in_the_thread_does_not_end_it(
    house: House, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (status_writer, outbox_writer):
        monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)
    task = house.submit("good")
    writer = house.writer()
    names = house.queue
    house.queue = None  # type: ignore[assignment]
    with running(writer):
        writer.mark(task.task_id)
        wait_until(lambda: writer.trouble, "told")
        assert "TypeError" in str(writer.trouble)
        house.queue = names
        writer.mark(task.task_id)
        wait_until(lambda: house.place(task) == 1, "written")
        wait_until(lambda: writer.trouble is None, "well again")
    assert "TypeError" in (logs / "server.log").read_text()


def test_what_was_marked_when_there_was_no_thread_is_written_when_there_is_one(
    house: House, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end is marked once: its file would say `processing` until the next start, or for ever."""
    for module in (status_writer, outbox_writer):
        monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)
    real, left = outbox_writer.OutboxWriter.start, [2]

    def start(writer: outbox_writer.OutboxWriter) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("can't start new thread")
        real(writer)

    monkeypatch.setattr(outbox_writer.OutboxWriter, "start", start)
    one, other = house.submit("good"), house.submit("good too")
    house.queue.clear()  # they wait no longer, so nobody keeps their places up to date
    writer = house.writer()
    for task in (one, other):
        writer.mark(task.task_id)
    with running(writer):
        wait_until(lambda: house.place(one) and house.place(other), "written")
        wait_until(lambda: writer.trouble is None and not writer.is_behind, "well again")


def test_places_of_what_waits_are_brought_up_to_date_also_behind_refused_ones(
    house: House,
) -> None:
    first = house.submit("good")
    for _ in range(150):
        house.submit("bad")
    last = house.submit("good")
    writer = house.writer()
    for task_id in house.queue:
        writer.mark(task_id)
    with running(writer):
        wait_until(lambda: house.place(last) == 152, "written")
        house.queue.remove(first.task_id)
        house.now += 3
        writer.mark(house.queue[0])
        wait_until(lambda: house.place(last) == 151, "brought up to date")


def test_a_task_that_cannot_be_sorted_holds_up_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, good = house.submit("good"), house.submit("good")
    real = house.files.task

    def task(task_id: str) -> Task | None:
        if task_id == odd.task_id:
            raise ValueError("odd")
        return real(task_id)

    monkeypatch.setattr(house.files, "task", task)
    writer = house.writer()
    writer.mark(odd.task_id)
    writer.mark(good.task_id)
    writer.start()
    wait_until(lambda: house.place(good) == 2, "the other one is written")
    writer.stop()
