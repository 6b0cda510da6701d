"""The index answers as the spool would, whoever has changed what, and leaks nobody's task."""

from __future__ import annotations

import os
import queue
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services import wait_until
from spools import REASON, REPORT, Clock, record, submission

from daemon.spool import Spool
from daemon.task import Progress, Status
from daemon.web import index as index_module
from daemon.web import shelf_memory
from daemon.web.index import Index
from pipeline.parameters import Parameters

USERS = ("alice", "bob", None)
WAITS = Status.PENDING


class House:
    """A spool, and the index of another process on it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.clock = Clock()
        self.spool = Spool(state, self.clock)
        self.index = Index(state, Spool(state, self.clock))

    def submit(self, user_id: str | None = None) -> str:
        self.clock.forward(seconds=1)
        return self.spool.submit(submission(self.spool, user_id=user_id), 1_000_000).task_id

    def complete(self, user_id: str | None = None) -> str:
        task = self.spool.claim(self.submit(user_id))
        assert task.token
        self.spool.complete(task.task_id, task.token, "x.mp4", REPORT, lambda: None)
        return task.task_id

    def listed(self, **wanted: Any) -> list[str]:
        return [task.task_id for task in self.index.newest(**wanted).tasks]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "state")


def test_what_was_just_accepted_is_there(house: House) -> None:
    for _ in range(20):
        task_id = house.submit()
        assert house.listed(limit=1) == [task_id]
        assert house.index.queue().position(task_id) == len(house.index.queue())


def test_a_page_begins_below_the_last_one(house: House) -> None:
    ids = [house.submit() for _ in range(7)][::-1]
    house.clock.forward(days=1)
    ids = [house.complete() for _ in range(3)][::-1] + ids
    pages, before = [], None
    while page := house.listed(limit=4, before=before):
        pages.append(page)
        before = page[-1]
    assert pages == [ids[:4], ids[4:8], ids[8:]]


def test_a_task_is_shown_as_it_is_by_now(house: House) -> None:
    task = house.spool.claim(house.submit())
    assert task.token
    for percent in (10.0, 20.0):
        progress = Progress(task.token, percent, 1, 10)
        house.spool.write_progress(task.task_id, progress)
        assert house.index.newest().tasks[0].progress == percent
    house.spool.fail(task.task_id, task.token, REASON)
    assert house.index.newest().tasks[0].error_message == REASON.message
    house.spool.retry(task.task_id)
    assert house.index.newest().tasks[0].status is Status.PENDING
    house.spool.cancel(task.task_id)
    assert house.index.newest().tasks[0].status is Status.CANCELLED
    house.spool.remove(task.task_id, lambda task: None)
    assert house.listed() == []


def test_a_task_that_has_not_changed_is_not_read_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [house.complete(), house.submit()]
    assert house.listed() == ids[::-1]
    monkeypatch.setattr(Spool, "get", None)
    monkeypatch.setattr(Spool, "get_at", None)
    assert house.listed() == ids[::-1]


def test_a_task_of_another_user_is_never_shown(house: House) -> None:
    """Not even where the index still believes that it is theirs."""
    task_id = house.submit("alice")
    path = record(house.state, task_id)
    os.utime(path.parent, (1, 1))  # long unchanged
    assert house.listed(user_id="alice") == [task_id]
    path.write_text(path.read_text().replace('"alice"', '"bob"'))  # the folder does not tell
    assert house.listed(user_id="alice") == []


def test_a_task_that_changes_hands_is_found_with_its_new_owner(house: House) -> None:
    task = house.spool.claim(house.submit("alice"))
    assert task.token
    assert house.listed(user_id="alice") == [task.task_id]
    parameters = Parameters(user_id="bob")
    house.spool.set_parameters(task.task_id, task.token, parameters, None)
    assert house.listed(user_id="alice") == []
    assert house.listed(user_id="bob") == [task.task_id]
    assert house.index.counts("bob")[Status.PROCESSING] == 1


def test_a_damaged_record_is_told_of_once_and_hides_no_other(house: House) -> None:
    ids = [house.submit() for _ in range(3)]
    record(house.state, ids[1]).write_bytes(b"{")
    page = house.index.newest()
    assert [task.task_id for task in page.tasks] == [ids[2], ids[0]]
    assert [error.task_id for error in page.damaged] == [ids[1]]
    assert house.index.newest().damaged == ()


def test_a_record_in_two_folders_is_one_task(house: House) -> None:
    task_id = house.complete()
    path = record(house.state, task_id)
    copy = house.state / "failed" / path.parent.name / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    assert house.listed() == [task_id]
    assert house.listed(status=Status.FAILED) == []
    assert house.listed(status=Status.COMPLETED) == [task_id]


def test_an_operators_move_is_seen_with_and_without_a_day(house: House) -> None:
    task_id = house.submit("alice")
    house.spool.cancel(task_id)
    assert house.listed(status=Status.CANCELLED) == [task_id]
    path = record(house.state, task_id)
    path.rename(house.state / "pending" / path.name)
    assert house.listed(status=Status.PENDING, user_id="alice") == [task_id]
    assert house.listed(status=Status.CANCELLED) == []
    assert house.index.queue().position(task_id) == 1
    assert house.index.counts()[Status.PENDING] == 1


def test_the_queue_goes_by_age_over_all_days(house: House) -> None:
    first = house.submit()
    house.clock.forward(days=2)
    second, third = house.submit(), house.submit()
    queue = house.index.queue()
    assert [queue.position(task_id) for task_id in (first, second, third)] == [1, 2, 3]
    assert (len(queue), queue.oldest) == (3, first)
    house.spool.claim(first)
    assert house.index.queue().position(third) == 2


def test_an_empty_queue_has_no_oldest(house: House) -> None:
    queue = house.index.queue()
    assert (len(queue), queue.oldest) == (0, None)


def test_owners_are_read_beforehand(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [house.complete("alice") for _ in range(250)]
    house.index.warm_up()
    house.index.warm_up()
    wait_until(lambda: "index" not in [t.name for t in threading.enumerate()], "warm")
    monkeypatch.setattr("daemon.web.shelf_memory._owner", None)
    assert house.index.counts("alice")[Status.COMPLETED] == len(ids)


def test_nobody_waits_while_owners_are_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [house.submit("alice") for _ in range(3)]
    is_reading, may_go_on = threading.Event(), threading.Event()

    def read_slowly(folder: str, task_ids: Any) -> Any:
        is_reading.set()
        may_go_on.wait(60)
        return shelf_memory.read_owners(folder, task_ids)

    monkeypatch.setattr(index_module, "read_owners", read_slowly)
    asked: list[int] = []
    asker = threading.Thread(target=lambda: asked.append(house.index.counts("alice")[WAITS]))
    house.index.warm_up()
    asker.start()
    try:
        assert is_reading.wait(60)
        answers = queue.SimpleQueue[Any]()
        others = threading.Thread(
            target=lambda: answers.put(
                (house.listed(), len(house.index.queue()), house.index.counts()[WAITS])
            ),
            daemon=True,
        )
        others.start()
        assert answers.get(timeout=60) == (ids[::-1], 3, 3)
        assert asked == []
    finally:
        may_go_on.set()
        asker.join()
    assert asked == [3]


def test_only_as_many_owners_are_read_as_a_page_needs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_memory, "_MOST_UNKNOWN", 10)
    ids = [house.submit(USERS[n % 2]) for n in range(300)]
    read: list[str] = []

    def read_and_count(folder: str, task_ids: Any) -> Any:
        read.extend(task_ids)
        return shelf_memory.read_owners(folder, task_ids)

    monkeypatch.setattr(index_module, "read_owners", read_and_count)
    assert house.listed(user_id="alice", limit=5) == ids[-2::-2][:5]
    assert len(read) == 100
    assert len(house.listed(user_id="alice", limit=500)) == 150
    assert sorted(read) == ids


# --- The same as the spool, whatever happens ---


def acts(house: House, dice: random.Random) -> None:
    """Do something to some task, as commands, workers, operators and the nights do."""
    tasks = house.spool.list(limit=1000).tasks
    if not tasks or dice.random() < 0.3:
        house.submit(dice.choice(USERS))
        if dice.random() < 0.1:
            house.clock.forward(hours=dice.choice([1, 12, 30]))
        return
    task = dice.choice(tasks)
    name, token = task.task_id, task.token or ""
    if task.status is Status.PENDING:
        dice.choice([house.spool.claim, house.spool.cancel])(name)
    elif task.status is Status.PROCESSING:
        parameters = Parameters(user_id=dice.choice(USERS))
        dice.choice(
            [
                lambda: house.spool.set_parameters(name, token, parameters, None),
                lambda: house.spool.requeue(name, token),
                lambda: house.spool.fail(name, token, REASON),
                lambda: house.spool.complete(name, token, "x.mp4", REPORT, lambda: None),
            ]
        )()
    elif task.status is not Status.COMPLETED and dice.random() < 0.5:
        dice.choice([lambda: house.spool.retry(name), lambda: move_by_hand(house, name)])()
    elif dice.random() < 0.3:
        house.spool.remove(name, lambda task: None)


def move_by_hand(house: House, task_id: str) -> None:
    path = record(house.state, task_id)
    path.rename(house.state / "pending" / path.name)


def questions(house: House) -> Iterator[dict[str, Any]]:
    ids = [task.task_id for task in house.spool.list(limit=1000).tasks]
    for user_id in (None, "alice", "carol"):
        for status in (None, *Status):
            yield {"user_id": user_id, "status": status, "limit": 5}
            if ids:
                yield {"user_id": user_id, "status": status, "before": ids[len(ids) // 2]}


@pytest.mark.parametrize("seed", range(4))
def test_the_index_says_what_the_spool_says(
    house: House, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:  # as where there are many tasks
        monkeypatch.setattr(index_module, "_OWNERS_AT_ONCE", 2)
        monkeypatch.setattr(shelf_memory, "_MOST_UNKNOWN", 1)
    dice = random.Random(seed)
    for _ in range(60):
        for _ in range(dice.choice([1, 1, 5])):
            acts(house, dice)
        for question in questions(house):
            assert house.index.newest(**question) == house.spool.list(**question)
        assert house.index.counts() == house.spool.counts()
        assert len(house.index.queue()) == len(house.spool.pending_ids())


def test_no_task_is_missed_while_others_move_it(house: House) -> None:
    ids = {house.submit("alice") for _ in range(30)}
    is_over = threading.Event()

    def move() -> None:
        dice = random.Random(1)
        while not is_over.is_set():
            task = house.spool.get(dice.choice(sorted(ids)))
            if task.status is Status.PENDING:
                house.spool.claim(task.task_id)
            elif task.status is Status.PROCESSING and task.token:
                if task.interruptions < 3:
                    house.spool.requeue(task.task_id, task.token)
                else:
                    house.spool.fail(task.task_id, task.token, REASON)
            else:
                house.spool.retry(task.task_id)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        for number in range(150):
            user_id = "alice" if number % 2 else None
            assert set(house.listed(user_id=user_id, limit=100)) == ids
    finally:
        is_over.set()
        thread.join()
