"""A process of its own looks into files; whatever becomes of it, there is an answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from daemon import asked_process
from daemon import child as child_module
from daemon import inspector as module
from daemon.child import Child
from daemon.inspector import Inspector

WHOLE_MP4 = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08moov" + b"\0\0\0\x10mdat" + b"12345678"
# Child modules that stand in for a process that has come to grief.
SILENT = """
import time
from daemon.child import child_connection
connection = child_connection()
connection.send_bytes(b"ready")
time.sleep(60)
"""
DYING = """
import os
from daemon.child import child_connection
connection = child_connection()
connection.send_bytes(b"ready")
connection.recv_bytes()
os.kill(os.getpid(), 9)
"""
TALKATIVE = """
from daemon.child import child_connection
connection = child_connection()
connection.send_bytes(b"ready")
connection.recv_bytes()
connection.send_bytes(bytes(100_000))
connection.recv_bytes()
"""
HALTING = """
import os, time
from daemon.child import child_connection
connection = child_connection()
connection.send_bytes(b"ready")
connection.recv_bytes()
os.write(connection.fileno(), bytes([0, 0, 0, 9]) + b"half")
time.sleep(60)
"""


class Lines:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, event: str, **facts: Any) -> None:
        self.lines.append({"event": event, **facts})


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    monkeypatch.setattr(module, "server_log", lambda: lines)
    return lines


@pytest.fixture
def inspector() -> Iterator[Inspector]:
    started = Inspector()
    yield started
    started.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """The processes that were started."""
    children: list[Child] = []

    def start(name: str) -> Child:
        children.append(Child(name))
        return children[-1]

    monkeypatch.setattr(asked_process, "Child", start)
    return children


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Returns what has another module run in the place of the next inspector's."""

    def install(code: str) -> None:
        (tmp_path / "stand_in.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(module, "_MODULE", "stand_in")

    return install


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_file_that_says_it_goes_on_is_truncated(tmp_path: Path, inspector: Inspector) -> None:
    assert not inspector.is_truncated(written(tmp_path / "whole.mp4", WHOLE_MP4))
    assert inspector.is_truncated(written(tmp_path / "half.mp4", WHOLE_MP4[:-4]))
    assert inspector.is_truncated(written(tmp_path / "zeros.mp4", bytes(1000)))


def test_of_a_file_that_is_no_container_nothing_is_known_to_be_missing(
    tmp_path: Path, inspector: Inspector
) -> None:
    assert not inspector.is_truncated(written(tmp_path / "text.mp4", b"not a video at all"))
    assert not inspector.is_truncated(written(tmp_path / "empty.mp4", b""))


@pytest.mark.parametrize("name", [b"new\nline.mp4", b"\xff\xfe.mp4", b"x" * 251 + b".mp4"])
def test_any_name_is_looked_at(tmp_path: Path, inspector: Inspector, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    assert inspector.is_truncated(written(path, WHOLE_MP4[:-4]))


def test_what_cannot_be_read_is_not_called_truncated_and_is_told_once(
    tmp_path: Path, inspector: Inspector, log: Lines
) -> None:
    for number in range(3):
        assert not inspector.is_truncated(tmp_path / f"{'x' * 300}{number}.mp4")
    assert [line["path"] for line in log.lines] == [str(tmp_path / f"{'x' * 300}0.mp4")]
    assert log.lines[0]["reason"] == "File name too long"
    assert not inspector.is_truncated(tmp_path)
    assert log.lines[1]["reason"] == "not a file"
    assert inspector.is_truncated(written(tmp_path / "half.mp4", WHOLE_MP4[:-4]))


def test_a_file_that_was_moved_on_meanwhile_is_no_trouble(
    tmp_path: Path, inspector: Inspector, log: Lines
) -> None:
    assert not inspector.is_truncated(tmp_path / "gone.mp4")
    assert not inspector.is_truncated(tmp_path / "gone" / "too.mp4")
    assert log.lines == []


def test_links_and_pipes_are_neither_followed_nor_waited_for(
    tmp_path: Path, inspector: Inspector, log: Lines
) -> None:
    half = written(tmp_path / "half.mp4", WHOLE_MP4[:-4])
    (tmp_path / "link.mp4").symlink_to(half)
    os.mkfifo(tmp_path / "pipe.mp4")
    assert not inspector.is_truncated(tmp_path / "link.mp4")
    assert not inspector.is_truncated(tmp_path / "pipe.mp4")
    assert len(log.lines) == 2
    assert not [line for line in log.lines if "no answer" in line["reason"]]


def test_one_process_answers_all_questions(
    tmp_path: Path, started: list[Child], inspector: Inspector
) -> None:
    half = written(tmp_path / "half.mp4", WHOLE_MP4[:-4])
    whole = written(tmp_path / "whole.mp4", WHOLE_MP4)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(inspector.is_truncated, [half, whole] * 100))
    assert answers == [True, False] * 100
    assert len(started) == 1


def test_the_process_outlives_the_thread_that_asked_first(
    tmp_path: Path, started: list[Child], inspector: Inspector
) -> None:
    half = written(tmp_path / "half.mp4", WHOLE_MP4[:-4])
    for _ in range(3):
        asker = threading.Thread(target=inspector.is_truncated, args=[half])
        asker.start()
        asker.join()
    assert inspector.is_truncated(half)
    assert len(started) == 1
    assert started[0].is_alive


def test_a_process_that_was_killed_is_replaced_and_the_answer_comes(
    tmp_path: Path, started: list[Child], inspector: Inspector, log: Lines
) -> None:
    half = written(tmp_path / "half.mp4", WHOLE_MP4[:-4])
    assert inspector.is_truncated(half)
    os.kill(started[0].pid, signal.SIGKILL)
    assert inspector.is_truncated(half)
    assert len(started) == 2
    assert log.lines == []


def test_a_file_that_kills_whoever_looks_is_nobodys_but_a_workers(
    tmp_path: Path,
    stand_in: Callable[[str], None],
    started: list[Child],
    log: Lines,
) -> None:
    stand_in(DYING)
    inspector = Inspector()
    assert not inspector.is_truncated(tmp_path / "hostile.mp4")
    assert not inspector.is_truncated(tmp_path / "hostile too.mp4")
    assert len(started) == 4
    assert [line["path"] for line in log.lines] == [str(tmp_path / "hostile.mp4")]
    inspector.close()


def test_a_question_that_takes_too_long_is_given_up(
    tmp_path: Path, stand_in: Callable[[str], None], started: list[Child], log: Lines
) -> None:
    stand_in(SILENT)
    inspector = Inspector(timeout_seconds=0.2)
    before = time.monotonic()
    assert not inspector.is_truncated(tmp_path / "hanging.mp4")
    assert time.monotonic() - before < 50
    assert "0.2 s" in log.lines[0]["reason"]
    assert [child.is_alive for child in started] == [False]
    inspector.close()


def test_a_process_that_stops_within_an_answer_is_given_up(
    tmp_path: Path,
    stand_in: Callable[[str], None],
    started: list[Child],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child_module, "_MESSAGE_SECONDS", 1)
    stand_in(HALTING)
    inspector = Inspector()
    answers: list[bool] = []
    asking = threading.Thread(
        target=lambda: answers.append(inspector.is_truncated(tmp_path / "x.mp4")), daemon=True
    )
    asking.start()
    asking.join(30.0)
    assert answers == [False]
    assert not any(child.is_alive for child in started)
    inspector.close()


def test_an_answer_that_is_none_is_not_read(
    tmp_path: Path, stand_in: Callable[[str], None], log: Lines
) -> None:
    stand_in(TALKATIVE)
    inspector = Inspector()
    assert not inspector.is_truncated(tmp_path / "x.mp4")
    assert len(log.lines) == 1
    inspector.close()


def test_where_no_process_is_to_be_had_there_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inspector: Inspector, log: Lines
) -> None:
    def none(name: str) -> Child:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asked_process, "Child", none)
    assert not inspector.is_truncated(tmp_path / "x.mp4")
    assert "temporarily" in log.lines[0]["reason"]


def test_where_there_was_no_thread_for_it_the_next_question_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inspector: Inspector, log: Lines
) -> None:
    """Whoever asked from then on waited for ever."""

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    half = written(tmp_path / "half.mp4", WHOLE_MP4[:-4])
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        assert not inspector.is_truncated(half)
    assert "thread" in log.lines[0]["reason"]
    assert inspector.is_truncated(half)


def test_the_process_is_bounded(tmp_path: Path, started: list[Child], inspector: Inspector) -> None:
    inspector.is_truncated(written(tmp_path / "half.mp4", WHOLE_MP4[:-4]))
    limits = Path(f"/proc/{started[0].pid}/limits").read_text()
    bounds = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert bounds["Max file size"] == "0"
    assert bounds["Max core file size"] == "0"
    assert bounds["Max processes"] == "0"
    assert bounds["Max open files"] == "16"
    assert int(bounds["Max address space"]) < 300 << 20
    assert "NoNewPrivs:\t1" in Path(f"/proc/{started[0].pid}/status").read_text()


def test_a_closed_inspector_leaves_no_process_and_answers_no_more(
    tmp_path: Path, started: list[Child]
) -> None:
    inspector = Inspector()
    inspector.is_truncated(written(tmp_path / "half.mp4", WHOLE_MP4[:-4]))
    inspector.close()
    assert not Path(f"/proc/{started[0].pid}").exists()
    with pytest.raises(RuntimeError, match="closed"):
        inspector.is_truncated(tmp_path / "half.mp4")
