"""What is remembered of folders is what lies in them, and is read no more often than needed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from spools import Clock

from daemon.task_id import TaskIds, creation_day
from daemon.web import shelf_memory
from daemon.web.shelf_memory import FolderMemory, ShelfMemory, read_owners

IDS = TaskIds(Clock())
DAY = "2026-11-24"


def put(folder: Path, task_id: str | None = None, **values: Any) -> str:
    """Write a record as the spool does: under a temporary name, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    task_id = task_id or IDS.new()
    temporary = folder / f".{task_id}.json.tmp"
    temporary.write_text(json.dumps(values))
    temporary.rename(folder / f"{task_id}.json")
    return task_id


def age(folder: Path) -> None:
    """Have a folder look as if it had last been changed a while ago."""
    moment = time.time_ns() - 10_000_000_000
    os.utime(folder, ns=(moment, moment))


class Counted:
    """Counts the calls of a function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.count = 0
        self._call = getattr(module, name)
        monkeypatch.setattr(module, name, self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return self._call(*arguments, **options)


def seen(memory: FolderMemory) -> list[str]:
    memory.look()
    return list(memory.task_ids)


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    memory = FolderMemory(str(tmp_path / "none"))
    assert seen(memory) == []
    task_id = put(tmp_path / "none")
    assert seen(memory) == [task_id]
    (tmp_path / "none" / f"{task_id}.json").unlink()
    (tmp_path / "none").rmdir()
    assert seen(memory) == []


def test_a_file_in_the_place_of_a_folder_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "day").touch()
    assert seen(FolderMemory(str(tmp_path / "day"))) == []


def test_records_are_seen_oldest_first_and_nothing_else_is(tmp_path: Path) -> None:
    ids = [put(tmp_path) for _ in range(5)]
    other = IDS.new()
    for name in (f".{other}.json.x.tmp", f"{other}.json.old", f"{other}.jsox", "notes.json", other):
        (tmp_path / name).touch()
    assert seen(FolderMemory(str(tmp_path))) == ids


def test_a_record_in_another_days_folder_is_not_seen(tmp_path: Path) -> None:
    task_id = put(tmp_path)
    assert seen(FolderMemory(str(tmp_path), creation_day(task_id))) == [task_id]
    assert seen(FolderMemory(str(tmp_path), "2026-11-23")) == []


def test_a_folder_that_has_not_changed_is_not_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path)
    age(tmp_path)
    memory = FolderMemory(str(tmp_path))
    lists = Counted(monkeypatch, shelf_memory.os, "listdir")
    for _ in range(5):
        memory.look()
    assert lists.count == 1


def test_a_change_within_the_same_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    memory = FolderMemory(str(tmp_path))
    first = put(tmp_path)
    moment = time.time_ns()
    os.utime(tmp_path, ns=(moment, moment))
    assert seen(memory) == [first]
    second = put(tmp_path)
    os.utime(tmp_path, ns=(moment, moment))
    assert seen(memory) == [first, second]


def test_the_owner_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [put(tmp_path, user_id="alice") for _ in range(3)]
    put(tmp_path, user_id="bob")
    put(tmp_path)
    memory = FolderMemory(str(tmp_path))
    memory.look()
    opened = Counted(monkeypatch, shelf_memory.os, "open")
    for _ in range(3):
        assert list(memory.of_user("alice")) == ours
        assert list(memory.of_user("carol")) == []
    assert opened.count == 5


def test_a_new_record_has_only_its_own_owner_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = FolderMemory(str(tmp_path))
    first = put(tmp_path, user_id="alice")
    memory.look()
    assert list(memory.of_user("alice")) == [first]
    second = put(tmp_path, user_id="alice")
    opened = Counted(monkeypatch, shelf_memory.os, "open")
    memory.look()
    assert list(memory.of_user("alice")) == [first, second]
    assert opened.count == 1


def test_a_rewritten_record_is_asked_again_for_its_owner(tmp_path: Path) -> None:
    memory = FolderMemory(str(tmp_path))
    task_id = put(tmp_path, user_id="alice")
    memory.look()
    assert list(memory.of_user("alice")) == [task_id]
    put(tmp_path, task_id, user_id="bob")
    memory.look()
    assert list(memory.of_user("alice")) == []
    assert list(memory.of_user("bob")) == [task_id]


def test_an_inode_that_is_used_again_hides_no_change(tmp_path: Path) -> None:
    task_id = put(tmp_path, user_id="alice")
    memory = FolderMemory(str(tmp_path))
    memory.look()
    assert list(memory.of_user("alice")) == [task_id]
    (tmp_path / f"{task_id}.json").write_text('{"user_id": "bob"}')
    put(tmp_path)
    memory.look()
    assert list(memory.of_user("bob")) == [task_id]


def test_many_owners_are_looked_at_again_only_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_memory, "_FEW_OWNERS", 3)
    now = 100.0
    monkeypatch.setattr(shelf_memory.time, "monotonic", lambda: now)
    memory = FolderMemory(str(tmp_path))
    ids = [put(tmp_path, user_id="alice") for _ in range(5)]
    memory.look()
    assert list(memory.of_user("alice")) == ids
    now += 0.1
    memory.look()
    assert list(memory.of_user("alice")) == ids  # this looked at them
    put(tmp_path, ids[0], user_id="bob")
    now += 1.0
    memory.look()
    assert list(memory.of_user("bob")) == []
    now += 1.0
    memory.look()
    assert list(memory.of_user("bob")) == ids[:1]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"user_id": 7}', b"\xff", b"[" * 100_000])
def test_a_record_that_cannot_be_read_is_nobodys(tmp_path: Path, content: bytes) -> None:
    ours = put(tmp_path, user_id="alice")
    (tmp_path / f"{IDS.new()}.json").write_bytes(content)
    memory = FolderMemory(str(tmp_path))
    memory.look()
    assert list(memory.of_user("alice")) == [ours]
    assert memory.unknown(memory.task_ids) == []


def test_what_is_no_file_is_nobodys_and_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"{IDS.new()}.json")
    (tmp_path / f"{IDS.new()}.json").symlink_to(tmp_path)
    (tmp_path / f"{IDS.new()}.json").mkdir()
    memory = FolderMemory(str(tmp_path))
    memory.look()
    assert list(memory.of_user("alice")) == []


def test_owners_may_be_read_in_steps_while_the_folder_changes(tmp_path: Path) -> None:
    ids = [put(tmp_path, user_id="alice") for _ in range(3)]
    memory = FolderMemory(str(tmp_path))
    memory.look()
    looks, owners = memory.looks, read_owners(str(tmp_path), ids[:2])
    (tmp_path / f"{ids[0]}.json").unlink()
    put(tmp_path, ids[1], user_id="bob")
    memory.look()
    memory.learn(owners, looks)
    assert memory.unknown(memory.task_ids) == [ids[2]]
    assert list(memory.maybe_of("bob")) == ids[1:]  # what was read before is not believed
    assert list(memory.of_user("bob")) == [ids[1]]
    assert list(memory.of_user("alice")) == [ids[2]]
    assert memory.may_be_of("bob", ids[1])
    assert not memory.may_be_of("alice", ids[1])


def test_where_most_owners_are_unknown_all_may_be_anybodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_memory, "_MOST_UNKNOWN", 2)
    ids = [put(tmp_path, user_id="alice") for _ in range(4)]
    memory = FolderMemory(str(tmp_path))
    memory.look()
    assert list(memory.maybe_of("bob")) == ids
    memory.learn(read_owners(str(tmp_path), ids[:2]), memory.looks)
    assert list(memory.maybe_of("bob")) == ids[2:]


def test_a_shelf_has_the_records_of_its_days_and_those_without_one(tmp_path: Path) -> None:
    old = TaskIds(Clock(Clock().now.replace(day=1))).new()
    put(tmp_path / "2026-11-01", old, user_id="alice")
    loose, home = put(tmp_path, user_id="alice"), put(tmp_path / DAY, user_id="bob")
    (tmp_path / "notes").mkdir()
    shelf = ShelfMemory(str(tmp_path))
    shelf.look_at_all()
    for folder in shelf.folders:
        folder.of_user("bob")  # owners are known from here on
    assert shelf.days == {"2026-11-01", DAY}
    of_day = {task_id: folder.path for folder, ids in shelf.runs(DAY, None) for task_id in ids}
    assert of_day == {loose: str(tmp_path), home: str(tmp_path / DAY)}
    assert [task_id for _, ids in shelf.runs(DAY, "bob") for task_id in ids] == [home]
    assert [task_id for _, ids in shelf.runs("2026-11-01", "alice") for task_id in ids] == [old]


def test_a_day_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    task_id = put(tmp_path / DAY)
    shelf = ShelfMemory(str(tmp_path))
    shelf.look_at_all()
    (tmp_path / DAY / f"{task_id}.json").unlink()
    (tmp_path / DAY).rmdir()
    shelf.look()
    assert shelf.days == set()
    assert [ids for _, ids in shelf.runs(DAY, None) if ids] == []
