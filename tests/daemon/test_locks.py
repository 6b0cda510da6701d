"""One service on a state, one process at a time on a task."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from services import PATIENCE_SECONDS

from daemon.locks import service_lock, task_lock
from daemon.spool_errors import ServiceRunning, TaskBusy


def child(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


@contextlib.contextmanager
def held_elsewhere(lock: AbstractContextManager[None]) -> Iterator[int]:
    """Have another process hold a lock; give its pid; kill it at the end."""
    reading, writing = os.pipe()

    def work() -> None:
        with lock:
            os.write(writing, b"x")
            signal.pause()

    pid = child(work)
    try:
        assert os.read(reading, 1) == b"x"
        yield pid
    finally:
        os.close(reading)
        os.close(writing)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_who_holds_a_state_notices_another_in_its_place(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with service_lock(state / "service.lock") as is_replaced:
        assert not is_replaced()
        state.rename(tmp_path / "old")
        assert not is_replaced()  # it is away, and may come back
        state.mkdir()
        assert is_replaced()
        (state / "service.lock").touch()
        assert is_replaced()


def test_a_full_disk_keeps_no_service_from_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "service.lock"
    monkeypatch.setattr(os, "pwrite", full)
    with service_lock(path), pytest.raises(ServiceRunning, match="unknown"), service_lock(path):
        pass


def test_a_second_service_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "service.lock"
    with (
        service_lock(path),
        pytest.raises(ServiceRunning, match=f"process {os.getpid()}"),
        service_lock(path),
    ):
        pass
    with service_lock(path):
        pass


def test_a_killed_service_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "service.lock"
    with (
        held_elsewhere(service_lock(path)) as pid,
        pytest.raises(ServiceRunning, match=f"process {pid}"),
        service_lock(path),
    ):
        pass
    with service_lock(path):
        pass


def test_a_lock_leaves_no_file(tmp_path: Path) -> None:
    with task_lock(tmp_path, "a"):
        assert os.listdir(tmp_path) == ["a.lock"]
    assert os.listdir(tmp_path) == []


def test_a_killed_process_holds_no_task(tmp_path: Path) -> None:
    with (
        held_elsewhere(task_lock(tmp_path, "a")),
        pytest.raises(TaskBusy),
        task_lock(tmp_path, "a", 0.01),
    ):
        pass
    with task_lock(tmp_path, "a", 0):
        pass


def test_a_stopped_process_delays_only_its_own_task(tmp_path: Path) -> None:
    with held_elsewhere(task_lock(tmp_path, "a")) as pid:
        os.kill(pid, signal.SIGSTOP)
        with task_lock(tmp_path, "b", 0):
            pass
        with pytest.raises(TaskBusy), task_lock(tmp_path, "a", 0.01):
            pass


def test_what_is_raised_inside_lets_the_lock_go(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), task_lock(tmp_path, "a"):
        raise RuntimeError
    with task_lock(tmp_path, "a", 0):
        pass


def test_a_file_that_cannot_be_removed_lets_the_lock_go(tmp_path: Path) -> None:
    """As on a disk that turned read-only for a while."""
    locks, old = tmp_path / "locks", tmp_path / "old"
    locks.mkdir()
    with task_lock(locks, "a"):
        locks.rename(old)
        locks.write_text("in its place")
    locks.unlink()
    old.rename(locks)
    with task_lock(locks, "a", 0.0):
        assert os.listdir(locks) == ["a.lock"]
    assert os.listdir(locks) == []


def test_a_file_system_without_locks_takes_no_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refused)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No locks"), task_lock(tmp_path, "a"):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_never_two_hold_a_task(tmp_path: Path) -> None:
    """Each holder removes the file that the others wait on, so they must not trust it."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    locks = tmp_path / "locks"
    locks.mkdir()

    def count() -> None:
        for _ in range(150):
            with task_lock(locks, "a", PATIENCE_SECONDS):
                counter.write_text(str(int(counter.read_text()) + 1))

    def in_threads() -> None:
        threads = [threading.Thread(target=count) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for pid in [child(in_threads) for _ in range(2)]:
        assert os.waitpid(pid, 0)[1] == 0
    assert int(counter.read_text()) == 2 * 2 * 150
    assert os.listdir(locks) == []
