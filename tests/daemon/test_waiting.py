"""The queue in memory: what came, what went, and who is oldest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spools import Clock, submitted

from daemon.fairness import Lane
from daemon.spool import Spool
from daemon.task import Task
from daemon.waiting import Waiting


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    spool = Spool(tmp_path / "state", Clock())
    users = ("alice", "bob", None)
    return [spool.get(submitted(spool, user_id=users[n % 3])) for n in range(6)]


def test_each_lane_offers_its_oldest(tasks: list[Task]) -> None:
    waiting = Waiting()
    for task in reversed(tasks):
        waiting.add(task)
    assert waiting.oldest == {
        Lane(None, "alice"): tasks[0].task_id,
        Lane(None, "bob"): tasks[1].task_id,
        Lane(None, None): tasks[2].task_id,
    }
    waiting.remove(tasks[0].task_id)
    assert waiting.oldest[Lane(None, "alice")] == tasks[3].task_id
    waiting.remove(tasks[3].task_id)
    assert Lane(None, "alice") not in waiting.oldest


def test_a_new_list_tells_what_came_and_what_went(tasks: list[Task]) -> None:
    waiting = Waiting()
    ids = [task.task_id for task in tasks]
    assert waiting.listed(ids[:3]) == (set(ids[:3]), set())
    waiting.add(tasks[1])
    assert waiting.listed(ids[2:4]) == ({ids[3]}, set(ids[:2]))
    assert waiting.oldest == {}
    assert waiting.ids == ids[2:4]


def test_records_are_asked_for_oldest_first_and_a_few_at_a_time(tasks: list[Task]) -> None:
    waiting = Waiting()
    ids = [task.task_id for task in tasks]
    waiting.listed(reversed(ids))
    waiting.add(tasks[0])
    assert waiting.unread(2, now=0.0) == ids[1:3]


def test_what_rests_is_not_asked_for_until_its_time(tasks: list[Task]) -> None:
    waiting = Waiting()
    ids = [task.task_id for task in tasks]
    waiting.rest(ids[0], until=30.0)  # before it is listed
    waiting.listed(ids[:3])
    waiting.rest(ids[1], until=10.0)
    assert waiting.unread(9, now=9.0) == ids[2:3]
    assert waiting.unread(9, now=10.0) == ids[1:3]
    assert waiting.ids == ids[:3]
    waiting.rest(ids[3], until=99.0)
    waiting.listed(ids[1:3])
    waiting.listed(ids[:4])  # what comes again is as new, and what was not listed is forgotten
    assert waiting.unread(9, now=10.0) == ids[:4]


@given(st.lists(st.tuples(st.sampled_from("ar"), st.integers(0, 5)), max_size=40))
def test_ids_stay_sorted_and_single(steps: list[tuple[str, int]]) -> None:
    waiting, model = Waiting(), set()
    for act, number in steps:
        task_id = f"{number}"
        if act == "a":
            waiting.add(_Named(task_id))  # type: ignore[arg-type]
            model.add(task_id)
        else:
            waiting.remove(task_id)
            model.discard(task_id)
        assert list(waiting.ids) == sorted(model)


class _Named:
    """As much of a task as `Waiting` looks at."""

    inbox = user_id = None

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
