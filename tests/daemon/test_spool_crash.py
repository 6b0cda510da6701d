"""
Killed before each single step, in every act, on file systems of both kinds.

A child process does the act and ends itself (`os._exit`) before its n-th call that changes the
disk, for every n until the act comes through. Then the service starts again.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kills import killed_before
from spools import (
    REASON,
    REPORT,
    Clock,
    claim_oldest,
    claimed,
    failed,
    leftovers,
    records,
    submission,
    submitted,
)

from daemon import atomic, record_store
from daemon.recovery import Recovery
from daemon.spool import Spool
from daemon.spool_errors import UnknownTask
from daemon.task import Failure, Status, Task

LOST = Failure("worker_died", "killed")


@dataclass(frozen=True)
class Act:
    """
    One act and where it may leave its task when it is cut short and the service starts again.

    `prepare` returns the task's name and token (the token is "" where there is none).
    """

    name: str
    prepare: Callable[[Spool], tuple[str, str]]
    do: Callable[[Spool, str, str, Path], object]
    may_be: tuple[Status | None, ...]


def _waiting(spool: Spool) -> tuple[str, str]:
    return submitted(spool), ""


def _moved_back(spool: Spool) -> tuple[str, str]:
    task_id = failed(spool)
    spool.retry(task_id)
    return task_id, ""


def _failed(spool: Spool) -> tuple[str, str]:
    return failed(spool), ""


def _often_interrupted(spool: Spool) -> tuple[str, str]:
    task_id = submitted(spool)
    for _ in range(4):
        spool.requeue(task_id, spool.claim(task_id).token or "")
    return task_id, spool.claim(task_id).token or ""


def _second_attempt(spool: Spool) -> tuple[str, str]:
    task_id, token = claimed(spool)
    spool.spend_attempt(task_id, token, LOST, 2)
    return task_id, spool.claim(task_id).token or ""


def _absent(spool: Spool) -> tuple[str, str]:
    return spool.new_id(), ""


def _submit(spool: Spool, task_id: str, token: str, outbox: Path) -> None:
    fields = vars(submission(spool)) | {"task_id": task_id}
    spool.submit(type(submission(spool))(**fields), 9)


def _complete(spool: Spool, task_id: str, token: str, outbox: Path) -> None:
    working = outbox / "working"
    working.write_bytes(b"result")
    spool.complete(
        task_id,
        token,
        f"{task_id}.mp4",
        REPORT,
        lambda: atomic.move_atomically(working, outbox / f"{task_id}.mp4"),
    )


PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED = Status
ACTS = (
    Act("submit", _absent, _submit, (None, PENDING)),
    Act("claim", _waiting, lambda s, i, t, o: s.claim(i), (PENDING,)),
    Act("claim again", _moved_back, lambda s, i, t, o: s.claim(i), (PENDING,)),
    Act("requeue", claimed, lambda s, i, t, o: s.requeue(i, t), (PENDING,)),
    Act("requeue, too often", _often_interrupted, lambda s, i, t, o: s.requeue(i, t), (FAILED,)),
    Act("postpone", claimed, lambda s, i, t, o: s.postpone(i, t), (PENDING,)),
    Act("spend", claimed, lambda s, i, t, o: s.spend_attempt(i, t, LOST, 2), (PENDING,)),
    Act(
        "spend the last",
        _second_attempt,
        lambda s, i, t, o: s.spend_attempt(i, t, LOST, 2),
        (PENDING, FAILED),
    ),
    Act("fail", claimed, lambda s, i, t, o: s.fail(i, t, REASON), (PENDING, FAILED)),
    Act("complete", claimed, _complete, (PENDING, COMPLETED)),
    Act("cancel waiting", _waiting, lambda s, i, t, o: s.cancel(i), (PENDING, CANCELLED)),
    Act("cancel running", claimed, lambda s, i, t, o: s.cancel(i), (PENDING, CANCELLED)),
    Act("retry", _failed, lambda s, i, t, o: s.retry(i), (FAILED, PENDING)),
    Act("remove", _failed, lambda s, i, t, o: s.remove(i, lambda task: None), (FAILED, None)),
)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Still a step to be killed at; that it comes where it must is shown by test_atomic."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=["flags", "links"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    def refused(*args: Any) -> None:
        raise OSError(errno.EINVAL, "the flag is not known here")

    if request.param == "links":
        monkeypatch.setattr(atomic, "_renameat2", refused)
    return str(request.param)


@dataclass(frozen=True)
class House:
    """A state and an outbox."""

    folder: Path
    clock: Clock

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "state", self.clock)

    @property
    def outbox(self) -> Path:
        return self.folder / "outbox"

    def has_result(self, task: Task) -> bool:
        return (self.outbox / str(task.output_video)).exists()

    def start(self) -> Recovery:
        return self.spool.recover(self.has_result)

    def copy(self, folder: Path) -> House:
        shutil.copytree(self.folder, folder)
        return House(folder, self.clock)


def check(house: House, task_id: str, allowed: tuple[Status | None, ...]) -> Status | None:
    """Check that nothing is lost, doubled or half; return where the task is."""
    state = house.folder / "state"
    assert leftovers(state) == []
    assert list(house.spool.damaged()) == []
    assert list((state / "processing").rglob("*.json")) == []
    found = records(state).get(task_id, [])
    assert len(found) <= 1
    status = found[0] if found else None
    assert status in allowed
    assert (house.outbox / f"{task_id}.mp4").exists() == (status is Status.COMPLETED)
    if status is None:
        with pytest.raises(UnknownTask):
            house.spool.get(task_id)
    else:
        _check_fields(house.spool.get(task_id), status)
    return status


def _check_fields(task: Task, status: Status) -> None:
    assert task.status is status
    assert task.attempts <= 2
    assert (task.completed_at is None) == (status is Status.PENDING)
    assert (task.output_video is None) == (status is not Status.COMPLETED)
    if status is Status.FAILED:
        assert task.error_message


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_killed_before_any_step_of_an_act(tmp_path: Path, file_system: str, act: Act) -> None:
    before = House(tmp_path / "before", Clock())
    before.outbox.mkdir(parents=True)
    task_id, token = act.prepare(before.spool)
    seen: set[Status | None] = set()
    step, was_killed = 0, True
    while was_killed:
        step += 1
        house = before.copy(tmp_path / str(step))
        spool = house.spool
        was_killed = killed_before(
            step, lambda spool=spool, out=house.outbox: act.do(spool, task_id, token, out)
        )
        house.start()
        seen.add(check(house, task_id, act.may_be))
        # A second start changes nothing, and the work goes on to its end.
        held = {p: p.read_bytes() for p in house.folder.rglob("*.json")}
        house.start()
        assert {p: p.read_bytes() for p in house.folder.rglob("*.json")} == held
        if Status.PENDING in records(house.folder / "state").get(task_id, []):
            again = house.spool.claim(task_id)
            _complete(house.spool, task_id, again.token or "", house.outbox)
            check(house, task_id, (Status.COMPLETED,))
        shutil.rmtree(house.folder)
    assert step > 4
    assert seen == set(act.may_be)  # the stop was injected on both sides of the act


def test_killed_before_any_step_of_the_start_itself(tmp_path: Path, file_system: str) -> None:
    before = House(tmp_path / "before", Clock())
    before.outbox.mkdir(parents=True)
    first, _ = claimed(before.spool)
    second, token = claimed(before.spool)
    with pytest.raises(OSError, match="gone"):
        _torn(before.spool, second, token)
    (before.outbox / f"{second}.mp4").write_bytes(b"result")
    third, token = claimed(before.spool)
    with pytest.raises(OSError, match="gone"):
        _torn(before.spool, third, token)
    step, was_killed = 0, True
    while was_killed:
        step += 1
        house = before.copy(tmp_path / str(step))
        spool = house.spool
        was_killed = killed_before(
            step, lambda spool=spool, house=house: spool.recover(house.has_result)
        )
        house.start()
        check(house, first, (Status.PENDING,))
        check(house, second, (Status.COMPLETED,))
        check(house, third, (Status.PENDING,))
        assert house.spool.get(first).interruptions == 1
        shutil.rmtree(house.folder)
    assert step > 20


def test_a_disk_that_refuses_at_the_start_keeps_nobody_else_from_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full, it can still rename; what would have to be written is left for later."""
    house = House(tmp_path, Clock())
    house.outbox.mkdir()
    lost, _ = claimed(house.spool)
    published, token = claimed(house.spool)
    with pytest.raises(OSError, match="gone"):
        _torn(house.spool, published, token)
    (house.outbox / f"{published}.mp4").write_bytes(b"result")

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(record_store, "rewrite", full)
        recovery = house.start()
    assert list(recovery.left) == [lost]
    assert "No space left" in recovery.left[lost]
    check_status = {name: house.spool.get(name).status for name in (lost, published)}
    assert check_status == {lost: Status.PROCESSING, published: Status.COMPLETED}
    assert house.start().left == {}
    check(house, lost, (Status.PENDING,))


def test_a_task_whose_outbox_is_away_at_the_start_is_left(tmp_path: Path) -> None:
    """Nobody can tell whether its result is there; to work on it anew would make it twice."""
    house = House(tmp_path, Clock())
    house.outbox.mkdir()
    task_id, token = claimed(house.spool)
    with pytest.raises(OSError, match="gone"):
        _torn(house.spool, task_id, token)
    (house.outbox / f"{task_id}.mp4").write_bytes(b"result")

    def away(task: Task) -> bool:
        raise OSError(errno.EAGAIN, "the outbox is away")

    assert list(house.spool.recover(away).left) == [task_id]
    assert house.start().left == {}
    check(house, task_id, (Status.COMPLETED,))


def _torn(spool: Spool, task_id: str, token: str) -> None:
    """Leave a task as a service killed in the middle of publishing does."""

    def gone() -> None:
        raise OSError("gone")

    spool.complete(task_id, token, f"{task_id}.mp4", REPORT, gone)


def test_a_task_cut_short_in_every_way_comes_to_its_end(tmp_path: Path) -> None:
    """Fifty kills, each somewhere in a whole life of a task; nothing is made twice."""
    house = House(tmp_path, Clock())
    house.outbox.mkdir()
    names = [submitted(house.spool) for _ in range(3)]

    def life() -> None:
        while task := claim_oldest(house.spool):
            _complete(house.spool, task.task_id, task.token or "", house.outbox)

    for step in range(1, 51):
        killed_before(1 + step * 7 % 60, life)
        house.start()
        for task_id in names:
            check(house, task_id, (Status.PENDING, Status.COMPLETED, Status.FAILED))
        for task_id in names:
            if house.spool.get(task_id).status is Status.FAILED:
                assert house.spool.get(task_id).error_code == "interrupted"
                house.spool.retry(task_id)
    life()
    assert [house.spool.get(n).status for n in names] == [Status.COMPLETED] * 3
