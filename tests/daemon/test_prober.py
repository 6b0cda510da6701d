"""Uploads are looked at by a process that can do no harm, and may come to harm."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from media import Video, make_video
from services import ROOT, open_files, wait_until

from daemon import probe_process
from daemon.asked_process import AskedProcess, NoProcess
from daemon.prober import Prober, Refusal
from pipeline.settings import Limits


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    prober = Prober(Limits())
    yield prober
    prober.close()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def refusal(prober: Prober, path: Path) -> Refusal | None:
    with opened(path) as descriptor:
        return prober.refusal(descriptor)


def pid_of(prober: Prober) -> int:
    pid = prober._process.pid
    assert pid is not None
    return pid


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "holiday.mp4", Video(frames=5))


# --- What is a video ---


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
def test_a_video_is_taken(prober: Prober, tmp_path: Path, name: str) -> None:
    assert refusal(prober, make_video(tmp_path / name, Video(frames=3))) is None


def test_a_file_without_a_name_is_looked_at(prober: Prober, video: Path, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)
    os.write(descriptor, video.read_bytes())
    with opened(Path(f"/proc/self/fd/{descriptor}")) as again:
        assert prober.refusal(again) is None
    os.close(descriptor)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty; copy it again."),
        (b"<html>not found</html>", "is not a video we can read; check that it plays"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "is not a video we can read"),
        (b"#EXTM3U\n#EXTINF:10\nhttp://127.0.0.1/x.ts\n", "is not a video we can read"),
    ],
)
def test_what_is_none_is_refused_with_the_rest_of_a_sentence(
    prober: Prober, tmp_path: Path, data: bytes, reason: str
) -> None:
    path = tmp_path / "holiday.mp4"
    path.write_bytes(data)
    found = refusal(prober, path)
    assert found is not None
    assert found.code == "unreadable_media"
    assert found.reason.startswith(reason)


def test_a_video_without_its_index_is_refused(prober: Prober, video: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(video.read_bytes()[:2000])
    found = refusal(prober, path)
    assert found == Refusal("unreadable_media", "ends before its index; copy it again.")


def test_the_operators_limits_hold(video: Path) -> None:
    prober = Prober(Limits(max_pixels=1000))
    found = refusal(prober, video)
    prober.close()
    assert found is not None
    assert found.code == "limit_exceeded"
    assert found.reason.startswith("is 320x240, 76800 pixels; at most 1000")


# --- The process ---


def test_the_process_can_write_nothing_and_has_bounded_memory(prober: Prober, video: Path) -> None:
    refusal(prober, video)
    limits = Path(f"/proc/{pid_of(prober)}/limits").read_text()
    values = {row[:25].strip(): row[26:46].strip() for row in limits.splitlines()}
    assert values["Max file size"] == values["Max core file size"] == "0"
    assert values["Max open files"] == "64"
    assert values["Max address space"] != "unlimited"
    status = Path(f"/proc/{pid_of(prober)}/status").read_text()
    assert "NoNewPrivs:\t1" in status


def test_the_process_keeps_no_file_open(prober: Prober, video: Path) -> None:
    refusal(prober, video)
    for _ in range(10):
        refusal(prober, video)
    # Three standard ones, the pipe, and that once more while it waits.
    wait_until(lambda: len(open_files(pid_of(prober))) <= 5, "it holds no more")


def test_one_process_answers_many_threads(prober: Prober, video: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(b"no video")
    found: dict[int, Refusal | None] = {}

    def ask(number: int) -> None:
        found[number] = refusal(prober, other if number % 2 else video)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] is not None for n in range(10)] == [False, True] * 5


def test_a_process_that_died_is_replaced(prober: Prober, video: Path) -> None:
    refusal(prober, video)
    first = pid_of(prober)
    os.kill(first, signal.SIGKILL)
    assert refusal(prober, video) is None
    assert pid_of(prober) != first


def test_the_process_outlives_the_thread_that_asked_first(video: Path) -> None:
    prober = Prober(Limits())
    thread = threading.Thread(target=refusal, args=(prober, video))
    thread.start()
    thread.join()
    first = pid_of(prober)
    time.sleep(0.1)
    assert refusal(prober, video) is None
    assert pid_of(prober) == first
    prober.close()


def test_the_process_ends_with_its_prober(video: Path) -> None:
    prober = Prober(Limits())
    refusal(prober, video)
    pid = pid_of(prober)
    prober.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "end")
    with pytest.raises(RuntimeError):
        refusal(prober, video)


def test_a_file_that_holds_the_process_up_is_refused_in_time(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prober = Prober(Limits())
    refusal(prober, video)
    os.kill(pid_of(prober), signal.SIGSTOP)
    with monkeypatch.context() as hasty:
        hasty.setattr(prober._process, "_timeout_seconds", 0.3)
        found = refusal(prober, video)
    assert found is not None
    assert found.code == "unreadable_media"
    assert refusal(prober, video) is None
    prober.close()


def test_a_file_that_kills_the_process_twice_is_refused(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prober = Prober(Limits())
    send = AskedProcess._asked_once
    killed: list[int] = []

    def lethal(self: AskedProcess, child: object, question: object) -> bytes:
        killed.append(pid_of(prober))
        os.kill(killed[-1], signal.SIGSEGV)
        return send(self, child, question)  # type: ignore[arg-type]

    monkeypatch.setattr(AskedProcess, "_asked_once", lethal)
    found = refusal(prober, video)
    monkeypatch.undo()
    assert found is not None
    assert found.code == "unreadable_media"
    assert len(set(killed)) == 2
    assert refusal(prober, video) is None
    prober.close()


def test_a_process_that_cannot_start_is_not_the_files_fault(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.prober._MODULE", "daemon.no_such_module")
    prober = Prober(Limits())
    with pytest.raises(NoProcess):
        refusal(prober, video)
    prober.close()


def test_a_code_of_the_processs_own_making_is_not_passed_on(
    prober: Prober, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AskedProcess, "ask", lambda *_: b"made_up\0\xff is odd")
    assert refusal(prober, video) == Refusal("unreadable_media", "\N{REPLACEMENT CHARACTER} is odd")


@pytest.mark.parametrize(
    "answer",
    [
        *(b"v", b"vx\npng", b"v[]\npng", b"v{}\npng", b'v{"seconds": null, "duration": 1}\n'),
        b'v{"seconds": ' + b"9" * 400 + b', "duration": 1}\n',
    ],
)
def test_what_is_no_picture_is_none(
    prober: Prober, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(AskedProcess, "ask", lambda *_: answer)
    found = prober.still(0, Fraction(0))
    assert isinstance(found, Refusal)
    assert "damaged" not in found.reason


def test_memory_that_a_file_takes_is_bounded(video: Path, tmp_path: Path) -> None:
    """A frame does not fit, however few threads decode it; the process says so and lives on."""
    path = make_video(tmp_path / "large.mp4", Video(width=3840, height=2160, frames=2))
    prober = Prober(dataclasses.replace(Limits(), worker_memory_gb=1 / 128))
    found = refusal(prober, path)
    assert found is not None
    assert found.code in ("out_of_memory", "unreadable_media")
    prober.close()


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ValueError("odd"), b"unreadable_media\0is damaged (ValueError); check that it plays."),
        (MemoryError(), b"out_of_memory\0needs more memory than limits.worker_memory_gb allows."),
    ],
)
def test_whatever_a_file_does_to_a_decoder_there_is_an_answer(
    error: Exception, answer: bytes
) -> None:
    def look(path: Path) -> None:
        raise error

    assert probe_process._answer(0, look) == answer


def test_the_web_imports_nothing_heavy() -> None:
    code = "import daemon.prober, sys; print({'av', 'torch', 'cv2', 'numpy'} & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"
