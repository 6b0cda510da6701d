"""
What is begun, in which order, and what becomes of each end.

Spool, attempts and folders are real; the pool is a script that says what workers would.
`test_service.py` has the real one.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import itertools
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from spools import REASON, REPORT, record

from daemon import attempts as attempts_module
from daemon import dispatcher as dispatcher_module
from daemon import record_store
from daemon.attempts import AttemptRules, Attempts, InboxPlace
from daemon.dispatcher import Dispatcher
from daemon.jobs import Done, Ended, Event, Job, Lost, Progressed, Refused
from daemon.logs import configure_logs, reset_logs
from daemon.spool import Spool
from daemon.spool_errors import TaskBusy
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
    nearly_done: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)  # of the tokens of `jobs`

    @property
    def idle(self) -> int:
        return self.size - len(self.jobs) + len(self.nearly_done)

    def begin(self, job: Job) -> None:
        self.jobs.append(job)

    def stop(self, token: str) -> None:
        self.stopped.append(token)
        (job,) = (job for job in self.jobs if job.token == token)
        self.say(Ended(job))

    def say(self, event: Event) -> None:
        if not isinstance(event, Progressed):
            self.jobs.remove(event.job)
            self.nearly_done.discard(event.job.token)
            self.waiting.discard(event.job.token)
        self.events.append(event)

    def poll(self, timeout: float, may_begin: Callable[[], bool]) -> list[Event]:
        for job in [job for job in self.jobs if job.token in self.waiting and not may_begin()]:
            self.say(Ended(job))
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
        self.now = 1000.0
        self.attempts = Attempts(
            self.spool,
            rules,
            self.changed.append,
            lacks_room=lambda task: False,
            is_outbox_away=lambda task: False,
            is_inbox_away=lambda task: False,
            clock=lambda: self.now,
            sleep=lambda seconds: time.sleep(0.002),
        )
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
        """Turn until nothing is under way beside the main thread, and all that is due is done."""
        quiet = 0
        while quiet < 3:
            quiet = 0 if self.step(2.0) else quiet + 1  # everything is due

    def step(self, seconds: float) -> bool:
        """Let time pass, and what that leads to come to its end; was there anything?"""
        deadline = time.monotonic() + 60
        self.now += seconds
        self.dispatcher.turn(0)
        was_busy = self.is_busy
        while self.is_busy or self.looks:
            assert time.monotonic() < deadline
            time.sleep(0.001)
            self.dispatcher.turn(0)
        return was_busy

    @property
    def is_busy(self) -> bool:
        dispatcher = self.dispatcher
        return bool(self.pool.events or dispatcher._under_way or dispatcher._readings)

    @property
    def looks(self) -> list[object]:
        return [r.look for r in self.dispatcher._running.values() if r.look is not None]

    def get(self, task: Task) -> Task:
        return self.spool.get(task.task_id)

    def until(self, claim: Callable[[], object], forward: float = 0.3) -> None:
        """Turn, while time passes, until `claim` is true; no turn may take its time."""
        deadline = time.monotonic() + 60
        while not claim():
            began = time.monotonic()
            assert began < deadline
            self.now += forward
            self.dispatcher.turn(0)
            assert time.monotonic() - began < 30.0
            time.sleep(0.002)

    def say_moved(self, job: Job) -> None:
        self.pool.say(Progressed(job, Progress(job.token, 40.0, 10, 25)))

    def say_done(self, job: Job, report: dict[str, object] = REPORT) -> None:
        staged = job.folder / "result.mp4"
        staged.write_bytes(b"protected")
        self.pool.say(Done(job, staged, ".mp4", report))

    def finish(self, job: Job) -> None:
        self.say_done(job)
        self.settle()

    @property
    def results(self) -> list[Path]:
        return list((self.folder / "outbox").rglob("*_protected*"))

    @contextmanager
    def held(self, *tasks: Task) -> Iterator[None]:
        """Hold tasks as a command does that was stopped."""
        locks = [self.folder / "state/locks" / f"{task.task_id}.lock" for task in tasks]
        descriptors = [os.open(lock, os.O_CREAT | os.O_RDWR) for lock in locks]
        for descriptor in descriptors:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    @property
    def left_in_temp(self) -> list[str]:
        return os.listdir(self.folder / "temp")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.dispatcher.close(60)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    configure_logs(tmp_path / "logs")
    yield tmp_path / "logs"
    reset_logs()


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


def test_the_next_task_is_there_before_the_last_has_ended(house: House) -> None:
    """Or a worker stands idle for as long as a claim takes."""
    house.pool.size = 1
    tasks = [house.drop(f"{n}.mov") for n in range(3)]
    house.settle()
    (last,) = house.pool.jobs
    house.pool.nearly_done.add(last.token)
    house.settle()
    assert [job.task_id for job in house.pool.jobs] == [t.task_id for t in tasks[:2]]
    assert house.get(tasks[0]).status is Status.PROCESSING
    house.finish(last)
    assert house.get(tasks[0]).status is Status.COMPLETED
    assert len(house.pool.jobs) == 1
    assert house.get(tasks[2]).status is Status.PENDING


def test_a_task_in_its_last_moments_takes_no_turn_from_the_next(house: House) -> None:
    house.pool.size = 1
    for name in ("1.mov", "2.mov"):
        house.drop(name)
        house.drop(name, inbox="studio")
    house.settle()
    house.pool.size = 2
    house.settle()
    first, last = house.pool.jobs
    house.pool.nearly_done.add(last.token)
    house.settle()
    # Were the last one counted, both inboxes had one running, and the first was served before.
    inboxes = [house.spool.get(job.task_id).inbox for job in house.pool.jobs]
    assert inboxes[2] == inboxes[1] != inboxes[0]


def test_nor_does_it_share_the_cores_with_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    shared: list[int] = []
    monkeypatch.setattr(dispatcher_module, "threads_of", lambda n: shared.append(n) or 1)
    house.drop()
    house.settle()
    (last,) = house.pool.jobs
    house.pool.nearly_done.add(last.token)
    house.drop()
    house.settle()
    assert shared == [1, 1]


def test_a_task_that_waits_for_a_worker_can_be_called_off_or_put_back(house: House) -> None:
    house.pool.size = 1
    house.drop("last.mov")
    off, back = house.drop("off.mov"), house.drop("back.mov")
    house.settle()
    (last,) = house.pool.jobs
    house.pool.nearly_done.add(last.token)
    house.settle()
    assert house.get(off).status is Status.PROCESSING
    house.spool.cancel(off.task_id)
    house.settle()
    assert house.get(off).status is Status.CANCELLED
    assert house.get(back).status is Status.PROCESSING
    house.may_begin = False
    house.dispatcher.put_back_all()
    house.settle()
    back_there = house.get(back)
    assert (back_there.status, back_there.attempts) == (Status.PENDING, 0)
    assert back_there.interruptions == 0  # of nothing


def test_what_waits_for_a_worker_when_nothing_may_begin_goes_back_as_if_never_taken(
    house: House,
) -> None:
    """As in a drain or a pause: its worker would be free, and begin it, a moment later."""
    house.pool.size = 1
    last_task, task = house.drop("last.mov"), house.drop("next.mov")
    house.settle()
    (last,) = house.pool.jobs
    house.say_moved(last)
    house.pool.nearly_done.add(last.token)
    house.settle()
    (house.pool.waiting,) = ({job.token} for job in house.pool.jobs if job is not last)
    house.may_begin = False
    house.settle()
    back = house.get(task)
    assert (back.status, back.attempts, back.interruptions) == (Status.PENDING, 0, 0)
    assert house.pool.jobs == [last]
    assert len(house.left_in_temp) == 1
    house.finish(last)
    assert house.get(last_task).status is Status.COMPLETED
    house.may_begin = True
    house.settle()
    assert house.get(task).attempts == 1


def test_what_the_pool_can_begin_no_more_goes_back_too(house: House) -> None:
    """As where fewer workers are configured in that moment."""
    house.pool.size = 1
    task = house.drop()
    house.settle()
    house.pool.size = 0
    house.pool.say(Ended(house.pool.jobs[0]))
    house.settle()
    back = house.get(task)
    assert (back.status, back.attempts, back.interruptions) == (Status.PENDING, 0, 0)
    assert house.left_in_temp == []


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
    assert house.results == []


def test_a_cancelled_task_is_stopped_in_time_to_end_within_two_seconds(house: House) -> None:
    """One second is its worker's, which is killed then."""
    house.drop()
    house.settle()
    (job,) = house.pool.jobs
    house.say_moved(job)
    house.step(3.0)  # it has just been looked at
    house.spool.cancel(job.task_id)
    for _ in range(3):
        house.step(0.3)
    assert job.token in house.pool.stopped


def test_the_status_file_of_a_running_task_is_never_two_seconds_old(house: House) -> None:
    task = house.drop()
    house.settle()
    told = []
    for _ in range(40):
        house.changed.clear()
        house.step(0.25)
        if task.task_id in house.changed:
            told.append(house.now)
    assert max(later - one for one, later in itertools.pairwise(told)) < 2


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
    assert house.results == []
    assert house.left_in_temp == []


def test_an_attempt_that_takes_too_long_fails(house: House) -> None:
    task = house.drop()
    house.settle()
    house.now += 3601
    house.settle()
    assert house.get(task).status is Status.PROCESSING  # it has waited for a free worker
    house.say_moved(house.pool.jobs[0])
    house.settle()
    house.now += 3601
    house.settle()
    failed = house.get(task)
    assert (failed.status, failed.error_code) == (Status.FAILED, "timed_out")
    assert "task_timeout_hours" in str(failed.error_message)


def test_what_is_put_back_has_spent_nothing(house: House) -> None:
    task = house.drop()
    house.settle()
    house.say_moved(house.pool.jobs[0])
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
    house.say_moved(job)
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


def test_a_copy_that_counts_for_nothing_does_not_wait_for_ever(house: House) -> None:
    task = house.drop()
    house.settle()
    (job,) = house.pool.jobs
    house.finish(job)
    done = record(house.folder / "state", task.task_id)
    shutil.copy(done, house.folder / "state/pending" / done.name)
    house.until(lambda: house.spool.pending_ids() == ())
    assert house.get(task).status is Status.COMPLETED
    assert [path.name for path in house.spool.damaged()] == [f"{done.name}.pending"]
    assert not house.pool.jobs


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


def test_an_outbox_that_comes_and_goes_costs_neither_attempts_nor_interruptions(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = [False]
    for question in ("_is_outbox_away", "_lacks_room"):
        monkeypatch.setattr(house.attempts, question, lambda task: away[0])
    task = house.drop()
    for turn in range(9):
        away[0] = False
        house.settle()
        away[0] = True
        (job,) = house.pool.jobs
        house.unavailable.add("main")
        if turn % 2:
            house.say_done(job)
        else:
            failure = Failure("output_failed", "outbox is away")
            house.pool.say(Refused(job, failure, True, None))
        house.settle()
        back = house.get(task)
        assert (back.status, back.attempts, back.interruptions) == (Status.PENDING, 0, 0)
        house.unavailable.clear()
    away[0] = False
    house.settle()
    house.say_done(house.pool.jobs[0])
    house.settle()
    assert house.get(task).status is Status.COMPLETED


@pytest.mark.parametrize("code", ["unreadable_media", "input_failed"])
def test_an_original_that_is_away_with_its_inbox_costs_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """All that waits would fail one after the other, until the inbox is looked through again."""
    task = house.drop()
    house.settle()
    monkeypatch.setattr(house.attempts, "_is_inbox_away", lambda task: True)
    house.unavailable.add("main")
    failure = Failure(code, "clip.mov cannot be read: No such file or directory")
    house.pool.say(Refused(house.pool.jobs[0], failure, code == "input_failed", None))
    house.settle()
    back = house.get(task)
    assert (back.status, back.attempts, back.interruptions) == (Status.PENDING, 0, 0)
    house.unavailable.clear()
    house.settle()
    house.say_done(house.pool.jobs[0])
    house.settle()
    assert house.get(task).status is Status.COMPLETED


def test_a_disk_that_is_full_or_away_when_a_task_is_begun_costs_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [True] * 7
    monkeypatch.setattr(house.attempts, "_lacks_room", lambda task: bool(answers and answers.pop()))
    task = house.drop()
    house.settle()
    begun = house.get(task)
    assert not answers
    assert (begun.status, begun.attempts, begun.interruptions) == (Status.PROCESSING, 1, 0)


def test_a_result_of_that_name_is_never_replaced_and_the_reason_says_what_to_do(
    house: House,
) -> None:
    task = house.drop()
    house.settle()
    there = house.folder / f"outbox/alice/{task.task_id}_clip_protected.mp4"
    there.write_bytes(b"of before")
    house.say_done(house.pool.jobs[0])
    house.settle()
    failed = house.get(task)
    assert (failed.status, failed.error_code, failed.attempts) == (
        Status.FAILED,
        "output_failed",
        1,
    )
    assert f"{there} is there already" in str(failed.error_message)
    assert "move it away, then retry" in str(failed.error_message)
    assert there.read_bytes() == b"of before"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG])
def test_a_name_that_the_outbox_cannot_hold_fails_at_once_and_the_reason_says_what_to_do(
    house: House, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """No second attempt would come to another end."""

    def refuse(task: Task, staged: Path, output_video: str) -> None:
        raise OSError(number, os.strerror(number), str(staged), None, output_video)

    monkeypatch.setattr(attempts_module, "publish", refuse)
    task = house.drop("12:30.mov")
    house.settle()
    house.say_done(house.pool.jobs[0])
    house.settle()
    failed = house.get(task)
    assert (failed.status, failed.error_code, failed.attempts) == (
        Status.FAILED,
        "output_failed",
        1,
    )
    assert "cannot hold that name" in str(failed.error_message)
    assert "send the video anew" in str(failed.error_message)
    assert "shorter" in str(failed.error_message)  # as encrypted shares want it


# --- What the state refuses ---


def failing(act: Callable[..., object], times: int, number: int) -> Callable[..., object]:
    """Return `act` as it is when the disk refuses it so often, as write(2) does: without a name."""
    left = [times]

    def acted(*words: object) -> object:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(number, os.strerror(number))
        return act(*words)

    return acted


def test_an_end_that_the_disk_refuses_is_written_as_soon_as_it_can_be(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = house.drop()
    house.settle()
    with monkeypatch.context() as full:
        full.setattr(house.spool, "fail", failing(house.spool.fail, 10**9, errno.ENOSPC))
        house.pool.say(Refused(house.pool.jobs[0], REASON, False, None))
        for _ in range(30):
            house.now += 3
            house.dispatcher.turn(0)
        assert house.get(task).status is Status.PROCESSING
    house.settle()
    ended = house.get(task)
    assert (ended.status, ended.error_message) == (Status.FAILED, REASON.message)
    assert ended.interruptions == 0


def test_a_result_is_not_thrown_away_because_the_disk_of_the_state_is_full(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = house.drop()
    house.settle()
    monkeypatch.setattr(record_store, "rewrite", failing(record_store.rewrite, 5, errno.ENOSPC))
    house.finish(house.pool.jobs[0])
    done = house.get(task)
    assert (done.status, done.attempts) == (Status.COMPLETED, 1)
    assert len(house.results) == 1
    assert house.left_in_temp == []


def test_a_result_that_is_there_is_never_made_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses between the publishing and the record's last rename."""
    task = house.drop()
    house.settle()
    refused = failing(house.spool._published, 3, errno.EIO)

    def taken_away_at_once(*words: object) -> object:
        for result in house.results:
            result.unlink()
        return refused(*words)

    monkeypatch.setattr(house.spool, "_published", taken_away_at_once)
    house.finish(house.pool.jobs[0])
    done = house.get(task)
    assert (done.status, done.attempts) == (Status.COMPLETED, 1)
    assert house.results == []


def test_a_task_in_processing_that_nobody_works_on_is_put_back(house: House) -> None:
    house.may_begin = False
    task = house.drop()
    house.settle()
    house.spool.claim(task.task_id)
    for _ in range(3):
        house.now += 11
        house.settle()
    assert (house.get(task).status, house.get(task).interruptions) == (Status.PENDING, 1)


def test_one_that_is_seen_there_once_may_just_be_on_its_way(house: House) -> None:
    task = house.drop()
    house.may_begin = False
    house.settle()
    claimed = house.spool.claim(task.task_id)
    house.step(10.1)
    assert house.get(task).token == claimed.token
    house.step(10.1)
    assert house.get(task).status is Status.PENDING


def test_one_whose_beginning_takes_long_is_worked_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its outbox hangs for a while."""
    gate = threading.Event()
    make = attempts_module.make_results_folder
    monkeypatch.setattr(
        attempts_module, "make_results_folder", lambda task: gate.wait(120) and make(task)
    )
    task = house.drop()
    house.until(lambda: house.get(task).status is Status.PROCESSING)
    end = house.now + 60
    house.until(lambda: house.now > end)
    gate.set()
    house.settle()
    (job,) = house.pool.jobs
    assert (job.token, house.get(task).interruptions) == (house.get(task).token, 0)


def test_one_whose_outbox_is_away_is_left_until_somebody_can_tell_whether_it_is_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = house.drop()
    house.settle()
    begun = house.get(task)
    killed = failing(print, 1, errno.EIO)  # between publishing and the rename
    with pytest.raises(OSError, match="Input"):
        house.spool.complete(begun.task_id, str(begun.token), "r.mov", {}, killed)
    again = House(house.folder)
    monkeypatch.setattr(again.attempts, "_is_outbox_away", lambda task: True)
    assert list(again.spool.recover(again.attempts.has_result).left) == [task.task_id]
    for _ in range(3):
        again.now += 11
        again.settle()
    assert again.get(task).status is Status.PROCESSING
    (house.folder / "outbox").mkdir(exist_ok=True)
    (house.folder / "outbox/r.mov").write_bytes(b"result")
    monkeypatch.undo()
    for _ in range(3):
        again.now += 11
        again.settle()
    assert again.get(task).status is Status.COMPLETED


def test_a_claim_that_is_refused_at_its_last_step_costs_an_attempt_and_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = house.spool.claim

    def refused(task_id: str) -> Task:
        claim(task_id)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(house.spool, "claim", refused)
    task = house.drop()
    house.until(lambda: house.get(task).status is Status.FAILED, forward=5)
    failed = house.get(task)
    assert (failed.error_code, failed.attempts) == ("internal_error", 2)
    assert "the state refused" in str(failed.error_message)


def test_when_the_state_refuses_every_claim_few_are_tried(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def refused(task_id: str) -> Task:
        tried.append(task_id)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(house.spool, "claim", refused)
        tasks = [house.drop(f"{n}.mov") for n in range(20)]
        for _ in range(20):
            house.step(0.5)
    assert len(set(tried)) == len(tried) <= 12  # none twice within its rest
    house.until(lambda: len(house.pool.jobs) >= 2)
    assert all(house.get(task).attempts <= 1 for task in tasks)


@pytest.mark.parametrize(
    ("act", "place"), [("publish", "outbox/alice"), ("make_folder", "temp")], ids=str
)
def test_the_disk_that_is_full_is_the_one_that_is_named(
    house: House, monkeypatch: pytest.MonkeyPatch, act: str, place: str
) -> None:
    monkeypatch.setattr(attempts_module, act, failing(print, 1, errno.ENOSPC))
    task = house.drop()
    house.settle()
    for job in list(house.pool.jobs):
        house.finish(job)
    failed = house.get(task)
    assert (failed.status, failed.error_code) == (Status.FAILED, "disk_full")
    assert f"for {house.folder / place}; make room" in str(failed.error_message)


# --- What nobody foresaw ---


@pytest.mark.parametrize(
    "report",
    [{"psnr_db": float("nan")}, {"removed": ["x" * 1000] * 1100}],
    ids=["not a number", "too long for a record"],
)
def test_a_report_that_no_record_can_hold_fails_the_task_once(
    house: House, logs: Path, report: dict[str, object]
) -> None:
    task = house.drop()
    house.settle()
    house.say_done(house.pool.jobs[0], report)
    for _ in range(5):
        house.now += 11
        house.settle()
    failed = house.get(task)
    assert (failed.status, failed.error_code, failed.attempts) == (
        Status.FAILED,
        "internal_error",
        1,
    )
    assert house.results == []
    assert house.left_in_temp == []
    (line,) = errors_of(task, logs)
    assert "Traceback" in line["details"]


def test_what_nobody_foresaw_after_the_publishing_fails_no_task(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is there: as after a crash in that moment, the task is brought to its end."""

    def unforeseen(hold: object, task: Task) -> Task:
        raise ZeroDivisionError

    task = house.drop()
    house.settle()
    monkeypatch.setattr(house.spool, "_published", unforeseen)
    house.finish(house.pool.jobs[0])
    assert house.get(task).status is Status.PROCESSING
    for _ in range(3):
        house.now += 11
        house.settle()
    assert house.get(task).status is Status.COMPLETED
    assert len(house.results) == 1


def test_what_nobody_foresaw_before_the_work_fails_the_task_once(
    house: House, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unforeseen(task: Task) -> Path:
        raise ZeroDivisionError

    monkeypatch.setattr(attempts_module, "make_results_folder", unforeseen)
    task = house.drop()
    house.settle()
    failed = house.get(task)
    assert (failed.status, failed.error_code) == (Status.FAILED, "internal_error")
    (line,) = errors_of(task, logs)
    assert "ZeroDivisionError" in line["details"]


def test_the_details_of_an_attempt_that_is_tried_again_are_logged(house: House, logs: Path) -> None:
    house.drop()
    house.settle()
    house.pool.say(Refused(house.pool.jobs[0], REASON, True, "Traceback of the worker"))
    house.settle()
    assert "Traceback of the worker" in (logs / "queue.log").read_text()


def errors_of(task: Task, logs: Path) -> list[dict[str, str]]:
    lines = [
        json.loads(line) for log in logs.glob("*.log") for line in log.read_text().splitlines()
    ]
    return [
        line for line in lines if line["level"] == "ERROR" and line.get("task_id") == task.task_id
    ]


# --- Tasks that keep nobody else from their turn ---


def test_tasks_that_somebody_holds_do_not_keep_the_next_one_waiting(tmp_path: Path) -> None:
    house = House(tmp_path, workers=4)
    held = [house.drop(f"{n}.mov", f"u{n}") for n in range(4)]
    with house.held(*held):
        house.until(lambda: len(house.dispatcher._beginnings) == 4)
        good = house.drop("good.mov", "z")
        house.until(lambda: house.get(good).status is Status.PROCESSING)
        end = house.now + 5
        house.until(lambda: house.now > end)
        begun = [beginning.task_id for beginning in house.dispatcher._beginnings]
        assert sorted(begun) == [task.task_id for task in held]  # none twice
    house.until(lambda: len(house.pool.jobs) == 5)  # and are done when they can be had
    house.dispatcher.close(60)


def test_a_damaged_record_that_somebody_holds_stops_no_turn(house: House) -> None:
    bad = house.drop("bad.mov")
    record(house.folder / "state", bad.task_id).write_text("{")
    with house.held(bad):
        house.until(lambda: house.dispatcher._readings)
        good = house.drop("good.mov")
        house.until(lambda: house.get(good).status is Status.PROCESSING)
        assert house.dispatcher._readings  # it is still at it
        assert bad.task_id in house.dispatcher.queue


def test_a_record_that_the_disk_cannot_read_stops_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = house.drop("bad.mov"), house.drop("good.mov")
    read = record_store.read_record

    def refused(path: Path, task_id: str, status: Status) -> Task:
        if task_id == bad.task_id:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path, task_id, status)

    with monkeypatch.context() as sick:
        sick.setattr(record_store, "read_record", refused)
        house.settle()
        assert [job.task_id for job in house.pool.jobs] == [good.task_id]
        assert house.dispatcher.queue == (bad.task_id,)
    house.until(lambda: len(house.pool.jobs) == 2)


def test_an_outbox_that_hangs_keeps_only_its_own_inbox_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, workers=6)
    gate = threading.Event()
    make = attempts_module.make_results_folder

    def made(task: Task) -> Path:
        if task.inbox == "main":
            gate.wait(120)
        return make(task)

    monkeypatch.setattr(attempts_module, "make_results_folder", made)
    for number in range(40):
        house.drop(f"{number}.mov", f"u{number}")
    end = house.now + 30
    house.until(lambda: house.now > end)
    assert 16 <= len(house.dispatcher._beginnings) < 16 + 6
    good = house.drop("good.mov", inbox="studio")
    house.until(lambda: house.get(good).status is Status.PROCESSING)
    gate.set()
    house.settle()
    house.dispatcher.close(60)


def test_a_running_task_that_cannot_be_looked_at_runs_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(task_id: str, token: str) -> bool:
        raise TaskBusy(task_id)

    task = house.drop()
    house.settle()
    with monkeypatch.context() as held:
        held.setattr(house.spool, "may_publish", busy)
        house.settle()
        assert house.pool.stopped == []
    house.spool.cancel(task.task_id)
    house.settle()
    assert len(house.pool.stopped) == 1


def test_an_end_is_not_lost_when_there_is_no_thread_for_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    task = house.drop()
    house.settle()
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", none_left)
        house.say_done(house.pool.jobs[0])
        for _ in range(5):
            house.now += 2
            house.dispatcher.turn(0)
    house.settle()
    assert (house.get(task).status, house.get(task).attempts) == (Status.COMPLETED, 1)


def test_no_progress_is_written_of_a_task_that_was_cancelled(house: House) -> None:
    task = house.drop()
    house.settle()
    (job,) = house.pool.jobs
    house.spool.cancel(task.task_id)
    house.say_moved(job)
    house.settle()
    assert os.listdir(house.folder / "state/progress") == []


# --- The end of the service ---


def test_the_end_does_not_wait_for_a_task_that_somebody_holds(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*words: object) -> Task:
        raise TaskBusy(task.task_id)

    task = house.drop()
    house.settle()
    house.say_moved(house.pool.jobs[0])
    house.settle()
    house.may_begin = False
    monkeypatch.setattr(house.spool, "requeue", busy)
    house.attempts.is_stopping = True
    house.dispatcher.put_back_all()
    house.until(lambda: house.dispatcher.is_idle)
    assert house.dispatcher._under_way == []
    monkeypatch.undo()
    end = house.now + 40
    house.until(lambda: house.now > end, forward=2)
    assert house.get(task).status is Status.PROCESSING  # the next start finds it
    assert house.spool.recover(lambda task: False).tasks[0].status is Status.PENDING


def test_the_end_does_not_wait_for_an_outbox_that_hangs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(attempts_module, "publish", lambda *words: gate.wait(120))
    house.drop()
    house.settle()
    house.say_done(house.pool.jobs[0])
    end = house.now + 60
    house.until(lambda: house.now > end)
    assert not house.dispatcher.is_idle  # as long as nobody wants the end, it has its time
    house.attempts.is_stopping = True
    house.until(lambda: house.dispatcher.is_idle)
    began = time.monotonic()
    house.dispatcher.close(0.1)
    assert time.monotonic() - began < 60
    gate.set()


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


@pytest.mark.parametrize(
    ("inboxes", "epsilon"),
    [
        ({"studio": "inbox"}, 0.1),
        ({"studio": "moved"}, 0.1),
        ({}, 0.12),
        ({"studio": "elsewhere"}, 0.12),
    ],
    ids=["renamed", "renamed and moved", "removed", "another one left"],
)
def test_a_sidecar_counts_at_the_retry_when_the_inbox_is_configured_no_longer(
    house: House, inboxes: dict[str, str], epsilon: float
) -> None:
    task = failed(house)
    sidecar = Path(task.original).parent / "clip.mov.yaml"
    sidecar.write_text("epsilon: 9\n")
    (house.folder / "moved").symlink_to("inbox")
    places = {n: InboxPlace(house.folder / p, Parameters(epsilon=0.1)) for n, p in inboxes.items()}
    house.attempts.rules = dataclasses.replace(house.attempts.rules, inboxes=places)
    house.spool.retry(task.task_id)
    house.settle()
    assert house.get(task).error_code == "invalid_parameter"
    dropped = house.folder / "inbox/alice/clip.mov.yaml"
    dropped.parent.mkdir()
    dropped.write_text("mode: strip\n")
    house.spool.retry(task.task_id)
    house.settle()
    (job,) = house.pool.jobs
    assert (job.parameters.mode, job.parameters.epsilon) == ("strip", epsilon)
    assert sidecar.read_text() == "mode: strip\n"


def test_a_sidecar_that_is_still_wrong_fails_the_task_again(house: House) -> None:
    task = failed(house)
    (Path(task.original).parent / "clip.mov.yaml").write_text("epsilon: 9\n")
    house.spool.retry(task.task_id)
    house.settle()
    again = house.get(task)
    assert (again.status, again.error_code) == (Status.FAILED, "invalid_parameter")
    assert "epsilon" in str(again.error_message)
    assert house.pool.jobs == []


def test_a_link_in_a_sidecars_place_fails_the_task_for_as_long_as_it_lies_there(
    house: House,
) -> None:
    task = failed(house)
    link = house.folder / "inbox/alice/clip.mov.yaml"
    link.parent.mkdir()
    link.symlink_to("/elsewhere.yaml")
    house.spool.retry(task.task_id)
    house.settle()
    again = house.get(task)
    assert (again.status, again.error_code) == (Status.FAILED, "invalid_sidecar")
    assert "clip.mov.yaml is a symbolic link" in str(again.error_message)
    link.unlink()
    house.spool.retry(task.task_id)
    house.settle()
    assert len(house.pool.jobs) == 1


def test_a_sidecar_that_was_taken_away_before_a_retry_is_named(house: House, logs: Path) -> None:
    task = failed(house)
    sidecar = Path(task.original).parent / "clip.mov.yaml"
    for text in ("epsilon: 0.05\n", None):
        sidecar.unlink(missing_ok=True)
        if text is not None:
            sidecar.write_text(text)
        house.spool.retry(task.task_id)
        house.settle()
        (job,) = house.pool.jobs
        assert job.parameters.epsilon == 0.05
        house.pool.say(Refused(job, REASON, False, None))
        house.settle()
    (line,) = [
        line
        for line in map(json.loads, (logs / "queue.log").read_text().splitlines())
        if "sidecar is gone" in line["event"]
    ]
    assert (line["level"], line["task_id"]) == ("WARNING", task.task_id)
    assert line["sidecar"] == str(sidecar)
    assert house.get(task).sidecar is None


def test_a_first_attempt_reads_no_sidecar_that_came_after_the_claim(house: House) -> None:
    task = house.drop()
    (Path(task.original).parent / "clip.mov.yaml").write_text("epsilon: 0.05\n")
    house.settle()
    assert house.pool.jobs[0].parameters.epsilon == task.parameters.epsilon


def test_the_second_attempt_after_a_retry_reads_no_sidecar_anew(house: House) -> None:
    """Who edits it meanwhile has not asked for anything yet: that is what a retry is for."""
    task = failed(house)
    sidecar = Path(task.original).parent / "clip.mov.yaml"
    sidecar.write_text("epsilon: 0.05\n")
    house.spool.retry(task.task_id)
    house.settle()
    sidecar.write_text("epsilon: 0.2\n")
    house.pool.say(Lost(house.pool.jobs[0], LOST))
    house.settle()
    (job,) = house.pool.jobs
    assert house.get(task).attempts == 2
    assert job.parameters.epsilon == 0.05


class TestThreadsOfTheEncoder:
    @pytest.fixture(autouse=True)
    def _whole_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("daemon.machine.cpu_quota", lambda: None)

    def test_a_video_alone_may_take_all_cores(self, house: House) -> None:
        house.drop()
        house.settle()
        assert house.pool.jobs[0].settings.threads == 0

    def test_videos_at_once_share_them(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("daemon.machine.cores", lambda: 8)
        for _ in range(3):  # two workers: the third waits
            house.drop()
        house.settle()
        assert [job.settings.threads for job in house.pool.jobs] == [4, 4]

    def test_a_video_takes_the_cores_of_those_that_cannot_be_begun(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("daemon.machine.cores", lambda: 8)
        house.unavailable = {"away"}
        for _ in range(2):
            house.drop(inbox="away")
        house.drop()
        house.settle()
        assert [job.settings.threads for job in house.pool.jobs] == [0]

    def test_the_last_of_many_has_them_for_itself(self, house: House) -> None:
        for _ in range(2):
            house.drop()
        house.settle()
        first, second = house.pool.jobs
        house.finish(first)
        house.finish(second)
        house.drop()
        house.settle()
        assert house.pool.jobs[0].settings.threads == 0

    def test_one_whose_share_cannot_be_told_is_not_taken_for_running(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No worker has it, so it is found in processing, and brought back."""

        def no_quota() -> None:
            raise ValueError("unreadable")

        task = house.drop()
        with monkeypatch.context() as broken:
            broken.setattr("daemon.machine.cpu_quota", no_quota)
            with pytest.raises(ValueError, match="unreadable"):
                house.settle()
        assert house.pool.jobs == []
        house.until(lambda: house.pool.jobs, forward=10)
        assert [job.task_id for job in house.pool.jobs] == [task.task_id]
