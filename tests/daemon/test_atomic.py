"""Files are whole or absent: one suite for file systems with the kernel's flags and without."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon import atomic


@pytest.fixture(params=["flags", "links", "neither"], autouse=True)
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system can: renameat2's flags, hard links, or neither."""

    def refused(*args: Any, **options: Any) -> None:
        raise OSError(errno.EINVAL, "the flag is not known here")

    def no_links(*args: Any, **options: Any) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    if request.param != "flags":
        monkeypatch.setattr(atomic, "_renameat2", refused)
    if request.param == "neither":
        monkeypatch.setattr(os, "link", no_links)
    return str(request.param)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_new_file_is_there_whole(tmp_path: Path) -> None:
    atomic.write_new(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        atomic.write_new(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_file_is_replaced_by_what_is_written(tmp_path: Path) -> None:
    for data in (b"old", b"new"):
        atomic.write_atomically(tmp_path / "a", data)
        assert (tmp_path / "a").read_bytes() == data
        atomic.write_volatile(tmp_path / "b", data)
        assert (tmp_path / "b").read_bytes() == data
    assert names(tmp_path) == ["a", "b"]


def test_a_file_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    atomic.rewrite(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_a_file_that_was_moved_away_is_not_brought_back(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.rewrite(tmp_path / "a", b"new")
    assert names(tmp_path) == []


def test_a_file_that_is_moved_away_in_mid_rewriting_is_not_brought_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def moved_meanwhile(descriptor: int) -> None:
        if (tmp_path / "a").exists():
            os.rename(tmp_path / "a", tmp_path / "elsewhere")
        real(descriptor)

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", moved_meanwhile)
    with pytest.raises(FileNotFoundError):
        atomic.rewrite(tmp_path / "a", b"new")
    assert names(tmp_path) == ["elsewhere"]
    assert (tmp_path / "elsewhere").read_bytes() == b"old"


def test_moving_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        atomic.move_atomically(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"b"
    atomic.move_atomically(tmp_path / "a", tmp_path / "c")
    assert names(tmp_path) == ["b", "c"]


def test_a_dangling_link_is_not_replaced_either(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        atomic.move_atomically(tmp_path / "a", tmp_path / "b")


def test_of_many_who_move_one_file_one_does(tmp_path: Path) -> None:
    for turn in range(60):
        (tmp_path / "a").write_bytes(b"a")
        done: list[int] = []

        def move(number: int, turn: int = turn, done: list[int] = done) -> None:
            try:
                atomic.move_atomically(tmp_path / "a", tmp_path / f"{turn}-{number}")
            except FileNotFoundError:
                return
            done.append(number)

        threads = [threading.Thread(target=move, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert names(tmp_path) == [f"{turn}-{done[0]}"]
        (tmp_path / f"{turn}-{done[0]}").unlink()


def test_names_that_are_not_utf8_are_moved(tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"caf\xe9\n'\".mp4")
    source.write_bytes(b"a")
    atomic.move_atomically(source, source.with_name(source.name + "2"))
    assert names(tmp_path) == [source.name + "2"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    writes: list[Callable[[Path, bytes], None]] = [atomic.write_atomically, atomic.rewrite]
    for write in writes:
        with pytest.raises(OSError, match="full"):
            write(tmp_path / "a", b"new")
    with pytest.raises(OSError, match="full"):
        atomic.write_new(tmp_path / "b", b"new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_reader_sees_one_content_or_the_other(tmp_path: Path) -> None:
    contents = (b"a" * 50_000, b"b" * 50_000)
    path = tmp_path / "file"
    path.write_bytes(contents[0])
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        atomic.rewrite(path, contents[turn % 2])
        atomic.write_atomically(path, contents[turn % 2])
    stop.set()
    reader.join()
    assert seen <= set(contents)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in its order: each fsync by what it is of, each change of a name."""
    done: list[str] = []

    def traced(module: Any, name: str, word: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **options: Any) -> Any:
            answer = real(*args, **options)
            done.append(word)
            return answer

        monkeypatch.setattr(module, name, call)

    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("sync folder" if is_folder else "sync file")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    traced(atomic, "_rename_new", "rename")
    traced(atomic, "_exchange", "rename")
    return done


def test_content_is_durable_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, steps: list[str]
) -> None:
    atomic.write_new(tmp_path / "a", b"x")
    atomic.rewrite(tmp_path / "a", b"y")
    assert steps == ["sync file", "rename", "sync folder"] * 2


def test_a_move_syncs_both_folders(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "a").write_bytes(b"x")
    atomic.make_folder(tmp_path / "one" / "two")
    assert steps == ["sync folder", "sync folder"]
    steps.clear()
    atomic.move_atomically(tmp_path / "a", tmp_path / "one" / "two" / "a")
    assert steps == ["rename", "sync folder", "sync folder"]


def test_a_move_makes_the_new_name_durable_before_the_old_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of power in between may leave both names, never none."""
    synced: list[str] = []
    monkeypatch.setattr(atomic, "sync_folder", lambda path: synced.append(path.name))
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "old" / "a").write_bytes(b"x")
    atomic.move_atomically(tmp_path / "old" / "a", tmp_path / "new" / "a")
    assert synced == ["new", "old"]


def test_replacing_and_removing_are_durable(tmp_path: Path, steps: list[str]) -> None:
    atomic.write_atomically(tmp_path / "a", b"x")
    assert steps == ["sync file", "sync folder"]
    steps.clear()
    atomic.remove(tmp_path / "a")
    assert steps == ["sync folder"]


def test_a_temporary_file_tells_whose_it_is(tmp_path: Path, monkeypatch: Any) -> None:
    seen: list[str] = []
    monkeypatch.setattr(atomic, "_rename_new", lambda source, target: seen.append(source.name))
    atomic.write_new(tmp_path / "a.json", b"x")
    assert atomic.temporary_of(seen[0]) == "a.json"
    assert atomic.temporary_of("a.json") is None
    assert atomic.temporary_of(".hidden") is None


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    for _ in range(2):
        atomic.make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        atomic.make_folder(tmp_path / "file")


def test_a_removed_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    atomic.remove(tmp_path / "a")
    assert names(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        atomic.remove(tmp_path / "a")
