"""The queue: what each act does, what an operator may do by hand, what damage does."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from spools import (
    REASON,
    REPORT,
    Clock,
    claim_oldest,
    claimed,
    completed,
    failed,
    leftovers,
    record,
    records,
)
from spools import submission as new
from spools import submitted as submit

from daemon import shelves as shelves_module
from daemon.locks import PATIENCE_SECONDS, task_lock
from daemon.records import encode
from daemon.shelves import Place, Shelves
from daemon.spool import Spool
from daemon.spool_errors import (
    QueueFull,
    RecordDamaged,
    ServiceRunning,
    StaleAttempt,
    TaskBusy,
    TaskExists,
    UnknownTask,
    WrongStatus,
)
from daemon.task import Failure, Progress, Status, Task, submitted
from daemon.task_id import TaskIds, creation_day
from pipeline.parameters import Parameters

LOST = Failure("worker_died", "The process that worked on holiday.mov was killed.")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(state: Path, clock: Clock) -> Spool:
    return Spool(state, clock)


def nothing() -> None:
    """Publish nothing."""


def never(task: Task) -> bool:
    """Say that a result is not in the outbox."""
    return False


# --- In ---


def test_a_submitted_task_is_pending(spool: Spool, state: Path, clock: Clock) -> None:
    asked = new(spool, user_id="alice")
    task = spool.submit(asked, max_pending=1)
    assert (task.status, task.created_at, task.user_id) == (Status.PENDING, clock.now, "alice")
    assert spool.get(task.task_id) == task
    assert record(state, task.task_id).relative_to(state).parts[:2] == ("pending", "2026-11-24")
    assert leftovers(state) == []


def test_a_task_named_first_is_the_older_also_where_it_is_accepted_last(
    spool: Spool, clock: Clock
) -> None:
    """As a large upload beside a small one: lists are in the order of names, the newest first."""
    older = new(spool)
    clock.now += timedelta(seconds=1)
    newer = spool.submit(new(spool), max_pending=2)
    clock.now += timedelta(seconds=1)
    assert spool.submit(older, max_pending=2).created_at < newer.created_at


def test_no_task_is_from_the_future_where_the_clock_has_been_set_back(
    spool: Spool, clock: Clock
) -> None:
    spool.submit(new(spool), max_pending=2)
    clock.now -= timedelta(hours=1)
    assert spool.submit(new(spool), max_pending=2).created_at == clock.now


def test_the_same_task_is_not_taken_twice(spool: Spool) -> None:
    asked = new(spool)
    spool.submit(asked, 9)
    spool.cancel(asked.task_id)
    with pytest.raises(TaskExists, match="cancelled"):
        spool.submit(asked, 9)
    assert spool.get(asked.task_id).status is Status.CANCELLED


@pytest.mark.parametrize("limit", [1, 2, 17, 40])
def test_as_many_may_wait_as_are_allowed(spool: Spool, limit: int) -> None:
    for _ in range(limit):
        spool.submit(new(spool), limit)
    with pytest.raises(QueueFull, match=f"{limit} tasks"):
        spool.submit(new(spool), limit)
    claim_oldest(spool)
    spool.submit(new(spool), limit)
    with pytest.raises(QueueFull):
        spool.submit(new(spool), limit)
    spool.submit(new(spool), limit + 1)


def test_several_processes_keep_the_limit_together(state: Path, clock: Clock) -> None:
    spools = [Spool(state, clock) for _ in range(4)]
    for turn in range(30):
        spools[turn % 4].submit(new(spools[0]), 30)
    for spool in spools:
        with pytest.raises(QueueFull):
            spool.submit(new(spool), 30)


def test_no_folder_leads_out_of_the_state(spool: Spool) -> None:
    for name in ("..", "../../etc/passwd", "", "x"):
        with pytest.raises(UnknownTask):
            spool.get(name)
        with pytest.raises(UnknownTask):
            spool.cancel(name)
        with pytest.raises(UnknownTask):
            spool.submit(dataclasses.replace(new(spool), task_id=name), 9)


# --- The work ---


def test_tasks_are_claimed_in_the_order_of_their_coming(spool: Spool, clock: Clock) -> None:
    names = []
    for _ in range(3):
        names.append(submit(spool))
        clock.forward(days=1)
    assert spool.pending_ids() == tuple(names)
    begun = iter(lambda: claim_oldest(spool), None)
    assert [task.task_id for task in begun if task] == names


def test_a_claim_begins_an_attempt_of_its_own(spool: Spool, clock: Clock) -> None:
    clock.forward(minutes=5)
    task = spool.claim(submit(spool))
    assert (task.status, task.attempts, task.started_at) == (Status.PROCESSING, 1, clock.now)
    assert spool.may_publish(task.task_id, task.token or "")
    assert not spool.may_publish(task.task_id, "another")
    with pytest.raises(WrongStatus):
        spool.claim(task.task_id)


def test_a_completed_task_has_its_result_and_its_report(
    spool: Spool, state: Path, clock: Clock
) -> None:
    task_id, token = claimed(spool)
    seen: list[Status] = []
    clock.forward(minutes=5)
    task = spool.complete(
        task_id, token, "out.mp4", REPORT, lambda: seen.append(spool.get(task_id).status)
    )
    assert seen == [Status.PROCESSING]
    assert (task.status, task.output_video, task.report) == (Status.COMPLETED, "out.mp4", REPORT)
    assert (task.completed_at, task.progress, task.total_frames) == (clock.now, 100.0, 250)
    assert spool.get(task_id) == task
    assert records(state) == {task_id: [Status.COMPLETED]}


def test_a_result_that_cannot_be_published_leaves_the_attempt_running(spool: Spool) -> None:
    task_id, token = claimed(spool)

    def full() -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        spool.complete(task_id, token, "out.mp4", REPORT, full)
    task = spool.get(task_id)
    assert (task.status, task.completed_at, task.output_video) == (Status.PROCESSING, None, None)
    assert spool.fail(task_id, token, REASON).output_video is None


def _cancel(spool: Spool, task_id: str, token: str) -> None:
    spool.cancel(task_id)


def _requeue(spool: Spool, task_id: str, token: str) -> None:
    spool.requeue(task_id, token)


def _claimed_again(spool: Spool, task_id: str, token: str) -> None:
    spool.requeue(task_id, token)
    spool.claim(task_id)


def _fail(spool: Spool, task_id: str, token: str) -> None:
    spool.fail(task_id, token, REASON)


def _complete(spool: Spool, task_id: str, token: str) -> None:
    spool.complete(task_id, token, "out.mp4", REPORT, nothing)


def _removed(spool: Spool, task_id: str, token: str) -> None:
    spool.cancel(task_id)
    spool.remove(task_id, lambda task: None)


@pytest.mark.parametrize(
    "given_up", [_cancel, _requeue, _claimed_again, _fail, _complete, _removed]
)
def test_an_attempt_that_was_given_up_can_do_nothing(
    spool: Spool, given_up: Callable[[Spool, str, str], None]
) -> None:
    task_id, token = claimed(spool)
    given_up(spool, task_id, token)
    before = spool.list()
    published: list[str] = []
    for act in (
        lambda: spool.complete(task_id, token, "x.mp4", {}, lambda: published.append("x")),
        lambda: spool.fail(task_id, token, REASON),
        lambda: spool.requeue(task_id, token),
        lambda: spool.postpone(task_id, token),
        lambda: spool.spend_attempt(task_id, token, LOST, 2),
        lambda: spool.set_parameters(task_id, token, Parameters(), None),
    ):
        with pytest.raises(StaleAttempt):
            act()
    assert published == []
    assert not spool.may_publish(task_id, token)
    assert spool.list() == before


def test_a_lost_worker_costs_an_attempt_and_the_last_one_the_task(spool: Spool) -> None:
    task_id, token = claimed(spool)
    task = spool.spend_attempt(task_id, token, LOST, 2)
    assert (task.status, task.attempts, task.error_code) == (Status.PENDING, 1, LOST.code)
    task = spool.claim(task_id)
    assert (task.attempts, task.error_code) == (2, None)
    task = spool.spend_attempt(task_id, task.token or "", LOST, 2)
    assert (task.status, task.attempts, task.error_message) == (Status.FAILED, 2, LOST.message)


def test_the_end_of_the_service_costs_no_attempt_but_the_fifth_time_the_task(spool: Spool) -> None:
    task_id = submit(spool)
    for turn in range(1, 5):
        task = spool.claim(task_id)
        assert task.attempts == 1
        task = spool.requeue(task_id, task.token or "")
        assert (task.status, task.attempts, task.interruptions) == (Status.PENDING, 0, turn)
    task = spool.requeue(task_id, spool.claim(task_id).token or "")
    assert (task.status, task.error_code) == (Status.FAILED, "interrupted")


def test_parameters_of_a_corrected_sidecar_are_kept(spool: Spool) -> None:
    task_id, token = claimed(spool)
    spool.set_parameters(task_id, token, Parameters(epsilon=0.2), "/new.yaml")
    assert spool.get(task_id).parameters.epsilon == 0.2
    assert spool.get(task_id).sidecar == "/new.yaml"
    assert spool.may_publish(task_id, token)


def test_progress_is_seen_while_the_attempt_runs_and_kept_at_its_end(
    spool: Spool, state: Path
) -> None:
    task_id, token = claimed(spool)
    before = record(state, task_id).read_bytes()
    spool.write_progress(task_id, Progress(token, 40.0, 100, 250))
    assert record(state, task_id).read_bytes() == before
    assert (spool.get(task_id).progress, spool.list().tasks[0].processed_frames) == (40.0, 100)
    task = spool.fail(task_id, token, REASON)
    assert (task.progress, task.total_frames) == (40.0, 250)
    assert os.listdir(state / "progress") == []
    spool.write_progress(task_id, Progress(token, 99.0, 248, 250))  # a stale attempt goes on
    assert spool.get(task_id).progress == 40.0


# --- What people ask for ---


def test_a_cancelled_task_can_be_retried_and_counts_from_nothing(spool: Spool) -> None:
    task_id, token = claimed(spool)
    spool.spend_attempt(task_id, token, LOST, 2)
    spool.claim(task_id)
    task = spool.cancel(task_id)
    assert (task.status, task.error_code, task.attempts) == (Status.CANCELLED, None, 2)
    task = spool.retry(task_id)
    assert (task.status, task.attempts, task.completed_at) == (Status.PENDING, 0, None)
    assert spool.get(task_id) == task
    again = spool.claim(task_id)
    assert (again.attempts, again.retries) == (1, 1)


def test_only_what_has_not_ended_is_cancelled_and_only_what_failed_retried(spool: Spool) -> None:
    done, broken, waiting = completed(spool), failed(spool), submit(spool)
    for task_id in (done, broken):
        with pytest.raises(WrongStatus, match="cannot be cancelled"):
            spool.cancel(task_id)
    for task_id in (done, waiting):
        with pytest.raises(WrongStatus, match="cannot be retried"):
            spool.retry(task_id)
    with pytest.raises(WrongStatus, match="cannot be removed"):
        spool.remove(waiting, lambda task: None)


def test_what_cannot_be_tried_is_failed_from_the_beginning(spool: Spool) -> None:
    submit(spool)
    wrong = new(spool)
    spool.submit(wrong, 1, REASON)  # the queue is full, but this does not wait in it
    task = spool.get(wrong.task_id)
    assert (task.status, task.error_code) == (Status.FAILED, REASON.code)
    assert (task.attempts, task.completed_at) == (0, task.created_at)
    assert spool.retry(wrong.task_id).status is Status.PENDING


def test_a_record_stays_when_the_files_of_its_task_cannot_be_removed(spool: Spool) -> None:
    def refused(task: Task) -> None:
        raise PermissionError("result.mp4")

    task_id = completed(spool)
    with pytest.raises(PermissionError):
        spool.remove(task_id, refused)
    assert spool.get(task_id).status is Status.COMPLETED


def test_settling_leaves_a_held_task_to_a_later_turn(spool: Spool, state: Path) -> None:
    """Others of its turn would wait as long."""
    task_id = failed(spool)
    with task_lock(state / "locks", task_id):
        began = time.monotonic()
        with pytest.raises(TaskBusy):
            spool.settle(task_id)
    assert time.monotonic() - began < PATIENCE_SECONDS


def test_an_ended_task_is_tended_while_nobody_can_retry_it(spool: Spool, state: Path) -> None:
    task_id = failed(spool)
    seen: list[str] = []

    def act(task: Task) -> None:
        seen.append(task.task_id)
        # A retry waits for the lock, so it does not come in between.
        with pytest.raises(TaskBusy), task_lock(state / "locks", task_id, 0.01):
            pass

    spool.tend(task_id, act)
    assert seen == [task_id]
    spool.retry(task_id)
    with pytest.raises(WrongStatus):
        spool.tend(task_id, act)


def test_a_removed_task_is_unknown_and_its_empty_day_goes(
    spool: Spool, state: Path, clock: Clock
) -> None:
    task_id, other = completed(spool), failed(spool)
    spool.remove(task_id, lambda task: None)
    with pytest.raises(UnknownTask):
        spool.get(task_id)
    assert (state / "pending/2026-11-24").is_dir()  # the failed one may be moved back
    spool.remove(other, lambda task: None)
    assert not list(state.rglob("2026-*"))
    assert spool.get(submit(spool)).status is Status.PENDING


def test_what_came_to_an_end_since_a_moment_is_found_by_the_files_alone(
    spool: Spool, state: Path
) -> None:
    old, new = completed(spool), failed(spool)
    submit(spool)
    moment = datetime.now(UTC) + timedelta(hours=1)
    assert list(spool.ended_ids_since(moment)) == []
    later = (moment + timedelta(hours=1)).timestamp()
    path = record(state, new)
    for changed in (path, path.parent):
        os.utime(changed, (later, later))
    assert list(spool.ended_ids_since(moment)) == [new]
    assert set(spool.ended_ids_since(datetime.fromtimestamp(0, UTC))) == {old, new}


def test_ended_tasks_are_found_by_when_they_ended(spool: Spool, clock: Clock) -> None:
    long_ago = completed(spool)
    slow, token = claimed(spool)
    submit(spool)
    clock.forward(days=7)
    deadline = clock.now
    clock.forward(days=1)
    spool.fail(slow, token, REASON)
    completed(spool)
    found = [item for item in spool.ended_until(deadline) if isinstance(item, Task)]
    assert [task.task_id for task in found] == [long_ago]
    assert len(list(spool.ended_until(clock.now))) == 3


# --- What there is ---


def test_the_newest_come_first_and_pages_meet(spool: Spool, clock: Clock) -> None:
    names = []
    for number in range(12):
        names.append(submit(spool, user_id="ab"[number % 2]))
        clock.forward(hours=5)
    spool.cancel(names[3])
    names.reverse()
    seen: list[str] = []
    before = None
    while page := spool.list(limit=5, before=before).tasks:
        seen += [task.task_id for task in page]
        before = seen[-1]
    assert seen == names
    assert [t.task_id for t in spool.list(user_id="a", limit=3).tasks] == names[1:7:2]
    assert len(spool.list(status=Status.PENDING).tasks) == 11
    assert [t.task_id for t in spool.list(status=Status.CANCELLED).tasks] == [names[-4]]
    assert spool.counts()[Status.PENDING] == 11


def thousands(state: Path, count: int) -> Spool:
    """Return a spool with `count` completed tasks of 30 days, written without the spool."""
    clock = Clock()
    ids = TaskIds(clock)
    spool = Spool(state, clock)
    pattern = submitted(new(spool), clock.now)
    for _ in range(count):
        clock.forward(days=30 / count)
        task = dataclasses.replace(pattern, task_id=ids.new(), completed_at=clock.now)
        path = state / "completed" / creation_day(task.task_id) / f"{task.task_id}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(task))
    return spool


def fastest(work: Callable[[], object], times: int = 5) -> float:
    def once() -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return min(once() for _ in range(times))


def test_a_page_of_ten_thousand_reads_only_its_own_records(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daemon import record_store

    spool = thousands(state, 10_000)
    opened: list[Path] = []
    real = record_store.read_record

    def counted(path: Path, *rest: Any) -> Task:
        opened.append(path)
        return real(path, *rest)

    monkeypatch.setattr(record_store, "read_record", counted)
    assert len(spool.list(limit=50).tasks) == 50
    assert len(opened) == 50
    monkeypatch.undo()
    page = fastest(lambda: spool.list(limit=50))
    everything = fastest(lambda: spool.list(limit=10_000), 1)
    assert page < everything / 20
    assert fastest(spool.counts) < everything / 5
    submitting = fastest(lambda: submit(spool))
    empty = Spool(state.parent / "empty")
    assert submitting < 5 * fastest(lambda: submit(empty))


# --- By hand ---


def test_a_record_moved_back_while_it_is_looked_for_is_found(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = submit(spool)
    looks: list[str] = []
    real = Shelves.find

    def missing_at_first(shelves: Shelves, task_id: str) -> list[Place]:
        looks.append(task_id)
        return [] if len(looks) == 1 else real(shelves, task_id)

    monkeypatch.setattr(Shelves, "find", missing_at_first)
    assert spool.cancel(task_id).status is Status.CANCELLED
    assert len(looks) > 1


@pytest.mark.parametrize("place", ["pending", "pending/2026-11-24"])
@pytest.mark.parametrize("ended", ["failed", "cancelled"])
def test_a_record_moved_back_by_hand_is_tried_again(
    spool: Spool, state: Path, place: str, ended: str
) -> None:
    task_id, token = claimed(spool)
    spool.write_progress(task_id, Progress(token, 40.0, 100, 250))
    if ended == "failed":
        spool.fail(task_id, token, REASON)
    else:
        spool.cancel(task_id)
    shutil.move(record(state, task_id), state / place)
    task = spool.get(task_id)
    assert (task.status, task.attempts, task.error_code) == (Status.PENDING, 0, None)
    assert (task.completed_at, task.progress) == (None, 0.0)
    assert spool.pending_ids() == (task_id,)
    assert spool.list(status=Status.PENDING).tasks == (task,)
    assert spool.counts()[Status.PENDING] == 1
    again = claim_oldest(spool)
    assert again is not None
    assert (again.attempts, again.interruptions, again.retries) == (1, 0, 1)
    assert again.token != token
    assert len(records(state)[task_id]) == 1


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
def test_an_end_that_was_made_by_hand_is_dated_and_counts_as_one(
    spool: Spool, state: Path, clock: Clock, ended: str
) -> None:
    task_id, token = claimed(spool)
    spool.spend_attempt(task_id, token, LOST, 2)
    shutil.move(record(state, task_id), state / ended)
    clock.forward(days=1)
    assert spool.date_end(task_id).completed_at == clock.now
    assert spool.get(task_id).completed_at == clock.now
    clock.forward(days=1)
    assert spool.date_end(task_id).completed_at == clock.now - timedelta(days=1)
    shutil.move(record(state, task_id), state / "pending")
    task = spool.date_end(task_id)
    assert (task.status, task.attempts, task.completed_at) == (Status.PENDING, 0, None)
    assert (again := claim_oldest(spool)) is not None
    assert (again.attempts, again.retries) == (1, 1)


@pytest.mark.parametrize("place", ["pending", "cancelled"])
def test_a_record_moved_away_in_mid_work_is_not_brought_back(
    spool: Spool, state: Path, place: str
) -> None:
    task_id, token = claimed(spool)
    shutil.move(record(state, task_id), state / place)
    spool.write_progress(task_id, Progress(token, 40.0, 100, 250))
    with pytest.raises(StaleAttempt):
        spool.complete(task_id, token, "x.mp4", {}, lambda: pytest.fail("published"))
    assert records(state) == {task_id: [Status(place)]}
    assert spool.get(task_id).attempts == (0 if place == "pending" else 1)


def test_a_record_moved_away_while_its_result_is_published_is_completed(
    spool: Spool, state: Path
) -> None:
    task_id, token = claimed(spool)
    spool.complete(
        task_id,
        token,
        "x.mp4",
        REPORT,
        lambda: shutil.move(record(state, task_id), state / "cancelled") and None,
    )
    task = spool.get(task_id)
    assert (task.status, task.output_video) == (Status.COMPLETED, "x.mp4")
    assert records(state) == {task_id: [Status.COMPLETED]}


@pytest.mark.parametrize(
    ("one", "other", "counts"),
    [
        ("completed", "pending", "completed"),
        ("completed", "processing", "completed"),
        ("processing", "pending", "processing"),
        ("processing", "cancelled", "processing"),
        ("pending", "failed", "pending"),
        ("cancelled", "failed", "cancelled"),
    ],
)
def test_of_two_records_one_counts_and_the_other_is_kept_aside(
    spool: Spool, state: Path, one: str, other: str, counts: str
) -> None:
    task_id = submit(spool)
    source = record(state, task_id)
    for name in (one, other):
        (state / name / "2026-11-24").mkdir(exist_ok=True)
        shutil.copy(source, state / name / "2026-11-24" / "copy")
    source.unlink()
    for name in (one, other):
        folder = state / name / "2026-11-24"
        (folder / "copy").rename(folder / source.name)
    assert spool.get(task_id).status == counts
    assert [t.status for t in spool.list().tasks] == [counts]
    spool.recover(never)
    kept = {"processing": "pending"}.get(counts, counts)  # it had no token: on its way back
    assert records(state) == {task_id: [kept]}
    assert [p.name for p in spool.damaged()] == [
        f"{task_id}.json.{other if counts == one else one}"
    ]


def test_a_record_that_goes_back_within_one_tick_of_the_clock_is_listed(
    spool: Spool, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder has been listed then, and the time that it was changed stays the same."""
    task_id = submit(spool)
    failed, pending = state / "failed/2026-11-24", state / "pending/2026-11-24"
    failed.mkdir()
    record(state, task_id).rename(failed / f"{task_id}.json")
    tick = time.time_ns() + 10**9
    os.utime(pending, ns=(tick, tick))
    names = shelves_module._names

    def gone_back(folder: Path) -> list[str]:
        if folder == failed and (failed / f"{task_id}.json").exists():
            (failed / f"{task_id}.json").rename(pending / f"{task_id}.json")
            os.utime(pending, ns=(tick, tick))
        return names(folder)

    monkeypatch.setattr(shelves_module, "_names", gone_back)
    assert [task.task_id for task in spool.list().tasks] == [task_id]


def test_a_days_folder_that_goes_as_empty_in_that_moment_is_made_anew(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the last other task of that day is removed while this one comes to its end."""
    task_id, token = claimed(spool)
    gone: list[Path] = []
    make = shelves_module.make_folder

    def made(folder: Path) -> None:
        make(folder)
        if not gone:
            gone.append(folder)
            folder.rmdir()

    monkeypatch.setattr(shelves_module, "make_folder", made)
    spool.complete(task_id, token, "x.mp4", {}, lambda: None)
    assert [folder.parent.name for folder in gone] == ["completed"]
    assert spool.get(task_id).status is Status.COMPLETED
    assert list(spool.damaged()) == []


def test_one_record_under_two_names_is_only_unlinked(spool: Spool, state: Path) -> None:
    task_id = submit(spool)
    (state / "cancelled/2026-11-24").mkdir()
    os.link(record(state, task_id), state / f"cancelled/2026-11-24/{task_id}.json")
    spool.claim(task_id)
    assert records(state) == {task_id: [Status.PROCESSING]}
    assert list(spool.damaged()) == []


def test_the_start_brings_home_what_lies_in_another_days_folder(spool: Spool, state: Path) -> None:
    task_id = submit(spool)
    (state / "pending/2026-01-01").mkdir()
    shutil.move(record(state, task_id), state / "pending/2026-01-01")
    spool.recover(never)
    assert spool.claim(task_id).attempts == 1


def test_a_lock_that_cannot_be_opened_keeps_no_service_from_starting(
    spool: Spool, state: Path
) -> None:
    """As one that a command of root's left when the power went."""
    task_id, other = submit(spool), submit(spool)
    (state / f"locks/{task_id}.lock").mkdir()
    spool.recover(never)
    assert spool.claim(other).attempts == 1


def test_a_days_folder_that_was_moved_into_one_is_brought_home(spool: Spool, state: Path) -> None:
    """`mv failed/2026-11-24 pending/2026-11-24` puts it inside where that is there."""
    task_id = submit(spool)
    there = state / "pending/2026-11-24/2026-11-24"
    there.mkdir()
    shutil.move(record(state, task_id), there)
    assert spool.unseen_ids() == {task_id}
    spool.recover(never)
    assert spool.claim(task_id).attempts == 1
    assert spool.unseen_ids() == frozenset()


def test_what_was_misplaced_lately_is_brought_home_without_a_start(
    spool: Spool, state: Path
) -> None:
    task_id, later = submit(spool), datetime.now(UTC) + timedelta(minutes=1)
    (state / "pending/2026-01-01").mkdir()
    shutil.move(record(state, task_id), state / "pending/2026-01-01")
    assert spool.bring_home_since(later) == {}
    assert spool.unseen_ids() == {task_id}
    assert spool.bring_home_since(later - timedelta(hours=1)) == {}
    assert spool.claim(task_id).attempts == 1


def test_a_file_in_a_days_place_is_set_aside(spool: Spool, state: Path) -> None:
    (state / "pending/2026-11-24").write_text("mv without a trailing slash")
    assert spool.list().tasks == ()
    assert spool.pending_ids() == ()
    recovery = spool.recover(never)
    assert [path.name for path in recovery.set_aside] == ["2026-11-24"]
    submit(spool)


# --- Damage ---


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_another(path: Path) -> None:
    values = json.loads(path.read_bytes())
    path.write_text(json.dumps(values | {"task_id": "another"}))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [_truncated, _empty, _of_another, _folder, _fifo])
def test_a_damaged_record_is_set_aside_and_hinders_nobody(
    spool: Spool, state: Path, damage: Callable[[Path], None]
) -> None:
    first, second, running = submit(spool), submit(spool), submit(spool)
    spool.claim(running)
    for task_id in (first, running):
        damage(record(state, task_id))
    page = spool.list()
    assert [task.task_id for task in page.tasks] == [second]
    assert {d.task_id for d in page.damaged} == {first, running}
    assert all(d.path.parent == state / "damaged" and os.path.lexists(d.path) for d in page.damaged)
    assert len(tuple(spool.damaged())) == 2
    assert spool.list().damaged == ()  # told once
    task = claim_oldest(spool)
    assert task is not None
    assert task.task_id == second


def test_an_act_on_a_damaged_record_says_so(spool: Spool, state: Path) -> None:
    for act in (spool.get, spool.claim, spool.cancel):
        task_id = submit(spool)
        _truncated(record(state, task_id))
        with pytest.raises(RecordDamaged, match="not JSON"):
            act(task_id)
        with pytest.raises(UnknownTask):
            spool.get(task_id)


def test_the_start_survives_damage_and_names_it(spool: Spool, state: Path) -> None:
    broken, _ = claimed(spool)
    whole, _ = claimed(spool)
    _empty(record(state, broken))
    recovery = spool.recover(never)
    assert [path.name for path in recovery.set_aside] == [f"{broken}.json"]
    assert [task.task_id for task in recovery.tasks] == [whole]


def test_a_mended_record_can_be_put_back_and_spoilt_again(spool: Spool, state: Path) -> None:
    task_id = submit(spool)
    path = record(state, task_id)
    whole = path.read_bytes()
    for turn in range(2):
        path.write_bytes(b"")
        assert len(spool.list().damaged) == 1
        assert len(tuple(spool.damaged())) == turn + 1
        path.write_bytes(whole)
        assert spool.get(task_id).status is Status.PENDING


def test_why_a_record_was_set_aside(spool: Spool, state: Path) -> None:
    """As the service tells it anew at each start, and what was mended there meanwhile."""
    task_id = submit(spool)
    copy = state / "damaged" / f"{task_id}.json.pending"
    shutil.copy(record(state, task_id), copy)
    assert spool.why_damaged(copy) == "another record of its task counts"
    whole = record(state, task_id).rename(state / "damaged" / f"{task_id}.json")
    assert spool.why_damaged(whole).startswith("it is whole")
    whole.write_bytes(b"{")
    assert "not JSON" in spool.why_damaged(whole)


def test_foreign_files_are_left_alone(spool: Spool, state: Path) -> None:
    task_id = submit(spool)
    day = state / "pending/2026-11-24"
    for name in (".DS_Store", "notes.txt", f"{task_id}.json~", "x.json", f".{task_id}.json.swp"):
        (day / name).write_text("foreign")
        (state / "pending" / name).write_text("foreign")
    before = sorted(p for p in state.rglob("*") if p.is_file())
    assert [t.task_id for t in spool.list().tasks] == [task_id]
    assert spool.counts()[Status.PENDING] == 1
    spool.recover(never)
    assert sorted(p for p in state.rglob("*") if p.is_file()) == before


def test_fields_of_a_newer_version_outlive_the_work(spool: Spool, state: Path) -> None:
    task_id = submit(spool)
    path = record(state, task_id)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"colour": "red"}))
    task = spool.claim(task_id)
    spool.complete(task_id, task.token or "", "x.mp4", REPORT, nothing)
    assert json.loads(record(state, task_id).read_bytes())["colour"] == "red"


# --- The service ---


def test_two_services_do_not_share_a_state(spool: Spool, state: Path) -> None:
    with (
        spool.lock_service(),
        pytest.raises(ServiceRunning, match="stop it first"),
        Spool(state).lock_service(),
    ):
        pass


def test_pause_and_drain_reach_another_process(spool: Spool, state: Path) -> None:
    other = Spool(state).control
    assert not spool.control.is_paused
    other.pause()
    assert (spool.control.is_paused, spool.control.is_draining) == (True, False)
    other.drain()
    assert spool.control.is_draining
    other.resume()
    other.resume()
    assert not spool.control.is_paused
    other.drain()
    assert spool.control.is_paused


def test_what_the_service_left_running_is_put_back(spool: Spool, clock: Clock) -> None:
    task_id, token = claimed(spool)
    spool.write_progress(task_id, Progress(token, 40.0, 100, 250))
    waiting, done = submit(spool), completed(spool)
    recovery = spool.recover(never)
    assert [(t.task_id, t.status, t.attempts) for t in recovery.tasks] == [
        (task_id, Status.PENDING, 0)
    ]
    assert spool.get(task_id).interruptions == 1
    assert spool.pending_ids() == (task_id, waiting)
    assert spool.get(done).status is Status.COMPLETED
    assert spool.recover(never).tasks == ()


def test_times_come_from_the_clock(spool: Spool, clock: Clock) -> None:
    task_id = submit(spool)
    clock.forward(hours=1)
    spool.cancel(task_id)
    task = spool.get(task_id)
    assert task.completed_at is not None
    assert task.completed_at - task.created_at == timedelta(hours=1)
