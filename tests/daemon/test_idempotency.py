"""The same request twice is one task."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kills import killed_before
from spools import submission

from daemon.idempotency import Idempotency, OtherContent, sweep
from daemon.spool import Spool
from daemon.spool_errors import QueueFull, UnknownTask
from daemon.task import Task

WEEK_SECONDS = 7 * 24 * 3600.0


@dataclass
class House:
    folder: Path
    now: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.spool = Spool(self.folder / "state")
        self.entries = self.folder / "state" / "idempotency"
        self.idempotency = Idempotency(self.entries, lambda: self.now)

    def send(
        self, key: str = "k", digest: str = "d", caller: str = "alice", max_pending: int = 100
    ) -> str:
        def make(task_id: str) -> Task:
            values = submission(self.spool)
            object.__setattr__(values, "task_id", task_id)
            return self.spool.submit(values, max_pending)

        return self.idempotency.once(
            caller, key, digest, self.find, self.spool.new_id(), make
        ).task_id

    def find(self, task_id: str) -> Task | None:
        try:
            return self.spool.get(task_id)
        except UnknownTask:
            return None

    def count(self) -> int:
        return len(self.spool.pending_ids())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_same_key_gives_the_same_task(house: House) -> None:
    assert house.send() == house.send()
    assert house.count() == 1


def test_another_process_knows_it_too(house: House, tmp_path: Path) -> None:
    assert House(tmp_path).send() == house.send()


def test_another_key_or_another_caller_makes_another_task(house: House) -> None:
    tasks = {house.send(), house.send(key="other"), house.send(caller="bob")}
    assert len(tasks) == house.count() == 3


def test_caller_and_key_are_not_run_together(house: House) -> None:
    assert house.send(caller="ab", key="c") != house.send(caller="a", key="bc")


def test_a_key_that_was_used_for_something_else_is_refused(house: House) -> None:
    house.send()
    with pytest.raises(OtherContent):
        house.send(digest="other")
    assert house.count() == 1


def test_a_key_whose_task_was_never_made_is_free(house: House) -> None:
    with pytest.raises(QueueFull):
        house.send(max_pending=0)
    house.send(digest="other")
    assert house.count() == 1


def test_requests_at_once_make_one_task(house: House, tmp_path: Path) -> None:
    tasks: list[str] = []
    houses = [House(tmp_path) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda h=h: tasks.append(h.send())) for h in houses for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tasks) == 8
    assert len(set(tasks)) == house.count() == 1


def test_killed_before_any_step_a_repetition_makes_one_task(tmp_path: Path) -> None:
    for step in range(1, 100):
        house = House(tmp_path / str(step))
        was_killed = killed_before(step, house.send)
        house.send()
        assert house.count() == 1
        if not was_killed:
            break
    assert step > 5


def test_a_key_counts_for_a_week(house: House) -> None:
    first = house.send()
    house.now += WEEK_SECONDS - 60
    assert house.send() == first
    house.now += 120
    assert house.send() != first


def test_an_entry_that_cannot_be_read_counts_for_nothing(house: House) -> None:
    first = house.send()
    (entry,) = house.entries.glob("*.json")
    for damaged in (b"", b"{", b"[]", b'{"task_id": "x"}', b"\xff", b'"' + b"x" * 2000 + b'"'):
        entry.write_bytes(damaged)
        assert house.send() != first


def test_no_key_can_be_read_from_what_is_kept(house: House) -> None:
    house.send(key="secret-key", caller="alice")
    (entry,) = house.entries.iterdir()
    assert "secret" not in entry.name + entry.read_text()
    assert "alice" not in entry.name + entry.read_text()


def test_a_sweep_removes_what_is_older_than_a_week(house: House) -> None:
    house.send()
    (entry,) = house.entries.iterdir()
    (house.entries / ".x.json.00000000.tmp").write_text("left by a crash")
    assert sweep(house.entries, house.now + WEEK_SECONDS - 60) == 0
    assert sweep(house.entries, house.now + WEEK_SECONDS + 60) == 2
    assert list(house.entries.iterdir()) == []
    assert sweep(house.folder / "nothing", house.now) == 0
    assert not entry.exists()


def test_a_sweep_removes_no_lock_that_is_held(house: House) -> None:
    def look(task_id: str) -> Task:
        (lock,) = house.entries.glob("*.lock")
        os.utime(lock, (0, 0))
        swept.append(sweep(house.entries, house.now))
        return house.spool.submit(submission(house.spool), 100)

    swept: list[int] = []
    house.idempotency.once("alice", "k", "d", house.find, house.spool.new_id(), look)
    assert swept == [0]
