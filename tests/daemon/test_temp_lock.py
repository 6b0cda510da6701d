"""A folder of attempts is one service's alone."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

import pytest

from daemon import temp_lock
from daemon.errors import ConfigError
from daemon.temp_lock import TempLocks


@pytest.fixture
def temp(tmp_path: Path) -> Path:
    path = tmp_path / "temp"
    path.mkdir()
    return path


def test_a_second_service_is_refused_and_told_of_the_first(temp: Path) -> None:
    first, second = TempLocks(), TempLocks()
    first.hold(temp)
    with pytest.raises(ConfigError) as refused:
        second.hold(temp)
    assert "temp: another service" in refused.value.message
    assert f"works in {temp}; name a folder" in refused.value.message
    assert os.listdir(temp) == []
    first.close()
    second.hold(temp)
    second.close()


def test_nothing_is_held_that_comes_after_the_close(temp: Path) -> None:
    """From a thread that was on its way, as when the share answers at last."""
    locks = TempLocks()
    locks.close()
    locks.hold(temp)
    with contextlib.closing(TempLocks()) as other:
        other.hold(temp)


def test_holding_it_twice_by_any_path_is_nothing_new(temp: Path) -> None:
    locks = TempLocks()
    link = temp.with_name("link")
    link.symlink_to(temp)
    locks.hold(temp)
    locks.hold(link)
    locks.close()


def test_one_that_was_held_before_stays_held_beside_the_new_one(temp: Path) -> None:
    locks = TempLocks()
    other = temp.with_name("other")
    other.mkdir()
    locks.hold(temp)
    locks.hold(other)
    for folder in (temp, other):
        with pytest.raises(ConfigError):
            TempLocks().hold(folder)
    locks.close()


def test_the_process_is_named_where_the_kernel_tells(
    temp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = temp.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    locks = tmp_path / "locks"
    locks.write_text(
        "1: POSIX  ADVISORY  READ 5 08:65:2097547 128 128\n"
        f"2: FLOCK  ADVISORY  WRITE 4711 {device}:{status.st_ino} 0 EOF\n"
    )
    monkeypatch.setattr(temp_lock, "_LOCKS", locks)
    first = TempLocks()
    first.hold(temp)
    with pytest.raises(ConfigError, match=r"another service \(process 4711\) works in"):
        TempLocks().hold(temp)
    first.close()


def test_a_folder_that_cannot_be_locked_is_refused_in_words(
    temp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match="temp: .*cannot be locked"):
        TempLocks().hold(temp)
    assert set(os.listdir("/proc/self/fd")) <= set(before)


def test_a_folder_that_may_not_be_used_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="temp: .*cannot be used"):
        TempLocks().hold(tmp_path / "absent")
