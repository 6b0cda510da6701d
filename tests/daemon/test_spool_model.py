"""Any acts in any order, an operator's and the end of the service among them, against a model."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from spools import REASON, REPORT, Clock, claim_oldest, leftovers, record, records, submission

from daemon.spool import Spool
from daemon.spool_errors import QueueFull, StaleAttempt, UnknownTask, WrongStatus
from daemon.task import Failure, Progress, Status

LOST = Failure("worker_died", "killed")
MAX_PENDING = 4
MAX_ATTEMPTS = 2


@dataclass
class Expected:
    """What the model knows of a task."""

    status: Status = Status.PENDING
    attempts: int = 0
    interruptions: int = 0
    token: str = ""
    user_id: str | None = None
    percent: float = 0.0

    def put_back(self) -> None:
        self.status, self.token, self.percent = Status.PENDING, "", 0.0

    def try_again(self) -> None:
        self.put_back()
        self.attempts = self.interruptions = 0

    def interrupt(self) -> None:
        self.interruptions += 1
        if self.interruptions == 5:
            self.status = Status.FAILED
        else:
            self.put_back()
            self.attempts -= 1


class SpoolMachine(RuleBasedStateMachine):
    """A spool and what it should say."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.spool = Spool(self.folder, self.clock)
        self.model: dict[str, Expected] = {}
        self.published: list[str] = []
        self.no_fsync = mock.patch.object(os, "fsync")
        self.no_fsync.start()

    def teardown(self) -> None:
        self.no_fsync.stop()
        shutil.rmtree(self.folder)

    def some(self, number: int) -> tuple[str, Expected]:
        names = sorted(self.model)
        name = names[number % len(names)]
        return name, self.model[name]

    def is_running(self, task: Expected) -> bool:
        return task.status is Status.PROCESSING

    @rule(hours=st.integers(0, 30))
    def time_passes(self, hours: int) -> None:
        self.clock.forward(hours=hours)

    @rule()
    def the_service_is_killed_and_starts(self) -> None:
        self.spool = Spool(self.folder, self.clock)
        self.spool.recover(lambda task: False)
        for task in self.model.values():
            if self.is_running(task):
                task.interrupt()

    @rule(user_id=st.sampled_from([None, "alice", "bob"]))
    def submit(self, user_id: str | None) -> None:
        asked = submission(self.spool, user_id=user_id)
        waiting = sum(task.status is Status.PENDING for task in self.model.values())
        if waiting >= MAX_PENDING:
            with pytest.raises(QueueFull):
                self.spool.submit(asked, MAX_PENDING)
        else:
            self.spool.submit(asked, MAX_PENDING)
            self.model[asked.task_id] = Expected(user_id=user_id)

    @rule()
    def begin_the_oldest(self) -> None:
        waiting = [n for n in sorted(self.model) if self.model[n].status is Status.PENDING]
        task = claim_oldest(self.spool)
        if not waiting:
            assert task is None
            return
        assert task is not None
        assert task.task_id == waiting[0]
        expected = self.model[task.task_id]
        expected.status, expected.token = Status.PROCESSING, task.token or ""
        expected.attempts += 1

    @precondition(lambda self: self.model)
    @rule(number=st.integers(0, 99), percent=st.floats(0, 100))
    def tell_progress(self, number: int, percent: float) -> None:
        name, task = self.some(number)
        if self.is_running(task):
            self.spool.write_progress(name, Progress(task.token, percent, 1, None))
            task.percent = percent

    @precondition(lambda self: self.model)
    @rule(number=st.integers(0, 99))
    def complete(self, number: int) -> None:
        name, task = self.some(number)

        def publish() -> None:
            assert name not in self.published
            self.published.append(name)

        if self.is_running(task):
            self.spool.complete(name, task.token, "x.mp4", REPORT, publish)
            task.status, task.percent = Status.COMPLETED, 100.0
        else:
            with pytest.raises(StaleAttempt):
                self.spool.complete(name, task.token, "x.mp4", REPORT, publish)

    @precondition(lambda self: self.model)
    @rule(number=st.integers(0, 99))
    def fail(self, number: int) -> None:
        name, task = self.some(number)
        if self.is_running(task):
            self.spool.fail(name, task.token, REASON)
            task.status = Status.FAILED
        else:
            with pytest.raises(StaleAttempt):
                self.spool.fail(name, task.token, REASON)

    @precondition(lambda self: self.model)
    @rule(number=st.integers(0, 99))
    def lose_a_worker(self, number: int) -> None:
        name, task = self.some(number)
        if self.is_running(task):
            self.spool.spend_attempt(name, task.token, LOST, MAX_ATTEMPTS)
            if task.attempts >= MAX_ATTEMPTS:
                task.status = Status.FAILED
            else:
                task.put_back()

    @precondition(lambda self: self.model)
    @rule(number=st.integers(0, 99))
    def drain(self, number: int) -> None:
        name, task = self.some(number)
        if self.is_running(task):
            self.spool.requeue(name, task.token)
            task.interrupt()

    @precondition(lambda self: self.model)
    @rule(number=st.integers(0, 99))
    def cancel(self, number: int) -> None:
        name, task = self.some(number)
        if task.status in (Status.PENDING, Status.PROCESSING):
            self.spool.cancel(name)
            task.status = Status.CANCELLED
        else:
            with pytest.raises(WrongStatus):
                self.spool.cancel(name)

    @precondition(lambda self: self.model)
    @rule(number=st.integers(0, 99), by_hand=st.booleans(), in_day=st.booleans())
    def retry(self, number: int, by_hand: bool, in_day: bool) -> None:
        name, task = self.some(number)
        if task.status not in (Status.FAILED, Status.CANCELLED):
            with pytest.raises(WrongStatus):
                self.spool.retry(name)
            return
        if by_hand:
            path = record(self.folder, name)
            day = path.parent.name if in_day else ""
            path.rename(self.folder / "pending" / day / path.name)
        else:
            self.spool.retry(name)
        task.try_again()

    @precondition(lambda self: self.model)
    @rule(number=st.integers(0, 99))
    def remove(self, number: int) -> None:
        name, task = self.some(number)
        if task.status in (Status.PENDING, Status.PROCESSING):
            with pytest.raises(WrongStatus):
                self.spool.remove(name, lambda task: None)
            return
        self.spool.remove(name, lambda task: None)
        del self.model[name]
        with pytest.raises(UnknownTask):
            self.spool.get(name)

    @invariant()
    def each_task_lies_where_it_should(self) -> None:
        assert records(self.folder) == {n: [t.status] for n, t in self.model.items()}
        assert leftovers(self.folder) == []
        assert list(self.spool.damaged()) == []

    @invariant()
    def each_task_reads_as_it_should(self) -> None:
        for name, expected in self.model.items():
            task = self.spool.get(name)
            assert (task.status, task.attempts) == (expected.status, expected.attempts)
            assert (task.interruptions, task.progress) == (
                expected.interruptions,
                expected.percent,
            )
            assert (task.completed_at is not None) == task.is_ended
            assert (task.output_video is not None) == (task.status is Status.COMPLETED)
            assert self.spool.may_publish(name, expected.token) == self.is_running(expected)

    @invariant()
    def listings_agree(self) -> None:
        newest = sorted(self.model, reverse=True)
        assert [t.task_id for t in self.spool.list().tasks] == newest
        for status in Status:
            of_it = [n for n in newest if self.model[n].status is status]
            assert [t.task_id for t in self.spool.list(status=status).tasks] == of_it
            assert self.spool.counts()[status] == len(of_it)
        bobs = [n for n in newest if self.model[n].user_id == "bob"]
        assert [t.task_id for t in self.spool.list(user_id="bob").tasks] == bobs
        waiting = [n for n in reversed(newest) if self.model[n].status is Status.PENDING]
        assert list(self.spool.pending_ids()) == waiting


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
