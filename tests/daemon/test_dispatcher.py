"""
What is begun, in which order, and what becomes of each end.

Spool, attempts and folders are real; the pool is a script that says what workers would.
`test_service.py` has the real one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from spools import REASON, REPORT

from daemon.attempts import AttemptRules, Attempts, InboxPlace
from daemon.dispatcher import Dispatcher
from daemon.jobs import Done, Ended, Event, Job, Lost, Progressed, Refused
from daemon.spool import Spool
from daemon.task import Failure, Progress, Status, Submission, Task
from pipeline.parameters import Parameters
from pipeline.settings import Settings

LOST = Failure("worker_died", "the process that worked on clip.mov was killed")


@dataclass
class ScriptedPool:
    """Takes jobs and says of them what the test wants."""

    size: int = 2
    jobs: list[Job] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    @property
    def idle(self) -> int:
        return self.size - len(self.jobs)

    def begin(self, job: Job) -> None:
        self.jobs.append(job)

    def stop(self, token: str) -> None:
        self.stopped.append(token)
        (job,) = (job for job in self.jobs if job.token == token)
        self.say(Ended(job))

    def say(self, event: Event) -> None:
        if not isinstance(event, Progressed):
            self.jobs.remove(event.job)
        self.events.append(event)

    def poll(self, timeout: float) -> list[Event]:
        said, self.events = self.events, []
        return said

    def wake(self) -> None:
        """Nobody sleeps here."""


class House:
    """A dispatcher and everything around it, in one folder."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder = folder
        self.spool = Spool(folder / "state")
        self.pool = ScriptedPool(workers)
        self.changed: list[str] = []
        self.unavailable: set[str] = set()
        self.may_begin = True
        rules = AttemptRules(
            temp=folder / "temp",
            settings=Settings(),
            max_attempts=2,
            max_bytes=1000,
            inboxes={"main": InboxPlace(folder / "inbox", Parameters(epsilon=0.1))},
        )
        self.attempts = Attempts(self.spool, rules, self.changed.append)
        self.now = 1000.0
        self.dispatcher = Dispatcher(
            self.spool,
            self.pool,  # type: ignore[arg-type]
            self.attempts,
            self.changed.append,
            lambda: self.may_begin,
            lambda: self.unavailable,
            timeout_seconds=3600,
            clock=lambda: self.now,
        )

    def drop(self, name: str = "clip.mov", user: str | None = None, inbox: str = "main") -> Task:
        task_id = self.spool.new_id()
        original = self.folder / "inbox/.media-cleaner/originals/day" / task_id / name
        original.parent.mkdir(parents=True)
        original.write_bytes(b"video")
        return self.spool.submit(
            Submission(
                task_id=task_id,
                input_video=name,
                original=str(original),
                outbox=str(self.folder / "outbox"),
                inbox=inbox,
                subfolder="alice",
                parameters=Parameters(user_id=user),
            ),
            100,
        )

    def settle(self) -> None:
        """Turn until nothing is under way beside the main thread."""
        deadline = time.monotonic() + 10
        quiet = 0
        while quiet < 3:
            assert time.monotonic() < deadline
            self.now += 2.0  # everything is due
            self.dispatcher.turn(0)
            pending = self.dispatcher._beginning or self.dispatcher._ending or self.pool.events
            quiet = 0 if pending else quiet + 1
            time.sleep(0.001)

    def get(self, task: Task) -> Task:
        return self.spool.get(task.task_id)

    def finish(self, job: Job) -> None:
        staged = job.folder / "result.mp4"
        staged.write_bytes(b"protected")
        self.pool.say(Done(job, staged, ".mp4", REPORT))
        self.settle()

    @property
    def left_in_temp(self) -> list[str]:
        return os.listdir(self.folder / "temp")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.dispatcher.close()


def test_a_finished_job_is_published_and_its_folder_goes(house: House) -> None:
    task = house.drop()
    house.settle()
    (job,) = house.pool.jobs
    assert house.get(task).status is Status.PROCESSING
    assert (job.original.name, job.folder.parent) == ("clip.mov", house.folder / "temp")
    house.finish(job)
    done = house.get(task)
    assert done.status is Status.COMPLETED
    result = house.folder / "outbox" / str(done.output_video)
    assert result.read_bytes() == b"protected"
    assert result.parent.name == "alice"
    assert house.left_in_temp == []
    assert task.task_id in house.changed
    assert house.dispatcher.is_idle


def test_no_more_is_begun_than_there_are_workers_and_the_oldest_first(house: House) -> None:
    tasks = [house.drop(f"{n}.mov") for n in range(4)]
    house.settle()
    assert {j.task_id for j in house.pool.jobs} == {t.task_id for t in tasks[:2]}
    house.finish(house.pool.jobs[0])
    assert [house.get(t).status for t in tasks].count(Status.PROCESSING) == 2
    assert house.get(tasks[3]).status is Status.PENDING


def test_users_and_inboxes_take_turns(house: House) -> None:
    house.pool.size = 1
    for name in ("a1", "a2", "a3"):
        house.drop(name, "alice")
    house.drop("b1", "bob")
    house.drop("s1", None, "studio")
    order = []
    for _ in range(5):
        house.settle()
        (job,) = house.pool.jobs
        order.append(job.original.name)
        house.finish(job)
    assert order == ["a1", "s1", "b1", "a2", "a3"]


def test_tasks_of_an_inbox_that_is_away_wait(house: House) -> None:
    house.unavailable = {"main"}
    away, here = house.drop(), house.drop("x.mov", inbox="studio")
    house.settle()
    assert [job.task_id for job in house.pool.jobs] == [here.task_id]
    house.unavailable = set()
    house.settle()
    assert house.get(away).status is Status.PROCESSING


def test_nothing_is_begun_while_it_may_not(house: House) -> None:
    house.may_begin = False
    task = house.drop()
    house.dispatcher.add(task)
    house.settle()
    assert house.pool.jobs == []
    assert house.dispatcher.queue == (task.task_id,)


def test_a_refused_job_fails_at_once_and_says_why(house: House) -> None:
    task = house.drop()
    house.settle()
    house.pool.say(Refused(house.pool.jobs[0], REASON, False, None))
    house.settle()
    failed = house.get(task)
    assert (failed.status, failed.error_message) == (Status.FAILED, REASON.message)
    assert Path(failed.original).read_bytes() == b"video"
    assert house.left_in_temp == []


def test_a_lost_worker_costs_an_attempt_and_the_last_one_the_task(house: House) -> None:
    task = house.drop()
    house.settle()
    house.pool.say(Lost(house.pool.jobs[0], LOST))
    house.settle()
    assert (house.get(task).status, house.get(task).attempts) == (Status.PROCESSING, 2)
    house.pool.say(Lost(house.pool.jobs[0], LOST))
    house.settle()
    assert (house.get(task).status, house.get(task).error_code) == (Status.FAILED, "worker_died")


def test_a_retryable_reason_spends_an_attempt_too(house: House) -> None:
    task = house.drop()
    house.settle()
    house.pool.say(Refused(house.pool.jobs[0], REASON, True, None))
    house.settle()
    assert (house.get(task).status, house.get(task).attempts) == (Status.PROCESSING, 2)


def test_a_cancelled_task_is_stopped_and_publishes_nothing(house: House) -> None:
    task = house.drop()
    house.settle()
    job = house.pool.jobs[0]
    house.spool.cancel(task.task_id)
    house.settle()
    assert house.pool.stopped == [job.token]
    assert house.left_in_temp == []
    assert house.get(task).status is Status.CANCELLED
    assert not list((house.folder / "outbox").rglob("*_protected*"))


def test_a_result_that_comes_after_the_cancel_is_dropped(house: House) -> None:
    task = house.drop()
    house.settle()
    (job,) = house.pool.jobs
    staged = job.folder / "result.mp4"
    staged.write_bytes(b"protected")
    house.spool.cancel(task.task_id)
    house.pool.say(Done(job, staged, ".mp4", REPORT))
    house.settle()
    assert house.get(task).status is Status.CANCELLED
    assert not list((house.folder / "outbox").rglob("*_protected*"))
    assert house.left_in_temp == []


def test_an_attempt_that_takes_too_long_fails(house: House) -> None:
    task = house.drop()
    house.settle()
    house.now += 3601
    house.settle()
    failed = house.get(task)
    assert (failed.status, failed.error_code) == (Status.FAILED, "timed_out")
    assert "task_timeout_hours" in str(failed.error_message)


def test_what_is_put_back_has_spent_nothing(house: House) -> None:
    task = house.drop()
    house.settle()
    house.may_begin = False
    house.dispatcher.put_back_all()
    house.settle()
    back = house.get(task)
    assert (back.status, back.attempts, back.interruptions) == (Status.PENDING, 0, 1)
    assert house.dispatcher.is_idle


def test_progress_is_told(house: House) -> None:
    task = house.drop()
    house.settle()
    job = house.pool.jobs[0]
    house.changed.clear()
    house.pool.say(Progressed(job, Progress(job.token, 40.0, 10, 25)))
    house.settle()
    assert house.get(task).progress == 40.0
    assert task.task_id in house.changed


def test_a_video_that_is_too_large_fails_at_the_retry_too(house: House) -> None:
    task = house.drop()
    Path(task.original).write_bytes(b"x" * 1001)
    house.settle()
    failed = house.get(task)
    assert (failed.status, failed.error_code) == (Status.FAILED, "limit_exceeded")
    assert "max_video_size_gb" in str(failed.error_message)


def test_what_is_moved_by_hand_is_noticed(house: House) -> None:
    house.may_begin = False
    task = house.drop()
    house.settle()
    house.changed.clear()
    (record,) = (house.folder / "state/pending").rglob("*.json")
    record.rename(house.folder / "state/cancelled" / record.name)
    house.settle()
    assert house.changed == [task.task_id]
    assert house.dispatcher.queue == ()


def test_a_damaged_record_is_set_aside_and_the_next_one_done(house: House) -> None:
    task, other = house.drop("a.mov"), house.drop("b.mov")
    (record,) = (house.folder / "state/pending").rglob(f"{task.task_id}.json")
    record.write_text("{")
    house.settle()
    assert [job.task_id for job in house.pool.jobs] == [other.task_id]
    assert [p.name for p in house.spool.damaged()] == [f"{task.task_id}.json"]


def test_an_outbox_that_cannot_be_made_spends_the_attempts_and_fails(house: House) -> None:
    (house.folder / "outbox").write_text("no folder")
    task = house.drop()
    house.settle()
    failed = house.get(task)
    assert (failed.status, failed.error_code) == (Status.FAILED, "output_failed")
    assert "outbox" in str(failed.error_message)


def test_a_task_whose_end_could_not_be_written_is_put_back_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> Task:
        raise OSError(28, "No space left on device")

    task = house.drop()
    house.settle()
    monkeypatch.setattr(house.spool, "fail", full)
    house.pool.say(Refused(house.pool.jobs[0], REASON, False, None))
    house.settle()
    assert house.get(task).status is Status.PROCESSING  # it says so, but nobody is at it
    house.may_begin = False
    for _ in range(3):
        house.now += 11
        house.settle()
    assert (house.get(task).status, house.get(task).interruptions) == (Status.PENDING, 1)


def test_a_result_that_is_there_is_never_made_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses between the publishing and the record's last rename."""
    task = house.drop()
    house.settle()

    def refused(*words: object) -> Task:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(house.spool, "_published", refused)
    house.finish(house.pool.jobs[0])
    monkeypatch.undo()
    for _ in range(3):
        house.now += 11
        house.settle()
    done = house.get(task)
    assert done.status is Status.COMPLETED
    assert len(list((house.folder / "outbox").rglob("*_protected*"))) == 1


# --- A sidecar at a retry ---


def failed(house: House) -> Task:
    task = house.drop()
    house.settle()
    (job,) = house.pool.jobs
    house.pool.say(Refused(job, REASON, False, None))
    house.settle()
    return house.get(task)


def test_a_sidecar_dropped_again_is_read_at_the_retry(house: House) -> None:
    task = failed(house)
    dropped = house.folder / "inbox/alice/clip.mov.yaml"
    dropped.parent.mkdir()
    dropped.write_text("epsilon: 0.2\n")
    house.spool.retry(task.task_id)
    house.settle()
    (job,) = house.pool.jobs
    assert (job.parameters.epsilon, job.parameters.user_id) == (0.2, "alice")
    assert not dropped.exists()
    assert house.get(task).sidecar == str(job.original.parent / "clip.mov.yaml")


def test_a_sidecar_edited_in_place_is_read_at_the_retry(house: House) -> None:
    task = failed(house)
    (Path(task.original).parent / "clip.mov.yaml").write_text("epsilon: 0.05\n")
    house.spool.retry(task.task_id)
    house.settle()
    assert house.pool.jobs[0].parameters.epsilon == 0.05


def test_a_sidecar_that_is_still_wrong_fails_the_task_again(house: House) -> None:
    task = failed(house)
    (Path(task.original).parent / "clip.mov.yaml").write_text("epsilon: 9\n")
    house.spool.retry(task.task_id)
    house.settle()
    again = house.get(task)
    assert (again.status, again.error_code) == (Status.FAILED, "invalid_parameter")
    assert "epsilon" in str(again.error_message)
    assert house.pool.jobs == []


def test_a_first_attempt_reads_no_sidecar_that_came_after_the_claim(house: House) -> None:
    task = house.drop()
    (Path(task.original).parent / "clip.mov.yaml").write_text("epsilon: 0.05\n")
    house.settle()
    assert house.pool.jobs[0].parameters.epsilon == task.parameters.epsilon
