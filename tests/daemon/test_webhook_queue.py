"""No end that somebody is to be told of is missed, whoever makes it and when it is cut short."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kills import killed_before
from spools import REASON, REPORT, Clock, record, records, submission

from daemon import atomic
from daemon.spool import Spool
from daemon.spool_errors import QueueFull, UnknownTask
from daemon.task import ENDED, Failure, Status, Task, webhook_of
from daemon.webhook_state import delivered, failed
from pipeline.parameters import Parameters

URL = "https://example.com/hook"
LOST = Failure("worker_died", "killed")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def waiting(spool: Spool, url: str | None = URL, **fields: Any) -> Task:
    asked = dataclasses.replace(submission(spool), parameters=Parameters(webhook_url=url), **fields)
    return spool.submit(asked, 1000)


def running(spool: Spool, url: str | None = URL) -> Task:
    return spool.claim(waiting(spool, url).task_id)


def ended(spool: Spool, url: str | None = URL) -> Task:
    task = running(spool, url)
    return spool.fail(task.task_id, str(task.token), REASON)


def told(spool: Spool) -> Task:
    """Return a task whose end somebody has been told of."""
    task = ended(spool)
    assert spool.note_webhook(task.task_id, delivered(webhook_of(task), spool.now()))
    assert not spool.has_webhook(task.task_id)
    return spool.get(task.task_id)


def markers(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "webhooks").iterdir())


def is_kept_in_mind(spool: Spool, task_id: str) -> bool:
    """Is the task gone, or told of, or will somebody look at it?"""
    try:
        task = spool.get(task_id)
    except UnknownTask:
        return True
    is_told = task.is_ended and webhook_of(task).is_settled
    return is_told or spool.has_webhook(task_id)


# --- Each act by itself ---


def test_a_task_that_nobody_asks_about_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    spool.retry(ended(spool, None).task_id)
    spool.cancel(waiting(spool, None).task_id)
    assert markers(tmp_path) == []
    assert spool.webhook_ids() == frozenset()


def test_what_waits_or_runs_is_not_to_be_told_yet(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    waits, runs, done = waiting(spool), running(spool), ended(spool)
    assert markers(tmp_path) == sorted([waits.task_id, runs.task_id, done.task_id])
    assert spool.webhook_ids() == {done.task_id}


def test_a_task_rejected_at_the_door_is_told_of(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    asked = dataclasses.replace(submission(spool), parameters=Parameters(webhook_url=URL))
    spool.submit(asked, 1, REASON)
    assert spool.webhook_ids() == {asked.task_id}


def test_a_refused_task_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    waiting(spool)
    asked = dataclasses.replace(submission(spool), parameters=Parameters(webhook_url=URL))
    with pytest.raises(QueueFull):
        spool.submit(asked, 1)
    assert len(markers(tmp_path)) == 1


def test_a_url_that_a_later_sidecar_brings_counts(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    task = running(spool, None)
    spool.set_parameters(task.task_id, str(task.token), Parameters(webhook_url=URL), None)
    assert markers(tmp_path) == [task.task_id]


@pytest.mark.parametrize("by_hand", [False, True])
def test_the_end_after_a_retry_is_told_anew(tmp_path: Path, by_hand: bool) -> None:
    spool = Spool(tmp_path, Clock())
    task = told(spool)
    if by_hand:
        path = record(tmp_path, task.task_id)
        path.rename(tmp_path / "pending" / path.name)
    else:
        spool.retry(task.task_id)
    again = spool.claim(task.task_id)
    done = spool.complete(task.task_id, str(again.token), "x.mp4", REPORT, lambda: None)
    assert spool.webhook_ids() == {task.task_id}
    assert webhook_of(done).event_id != webhook_of(task).event_id


def test_a_retry_forgets_what_was_told_of_the_end_before(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    task = told(spool)
    assert "delivered" in record(tmp_path, task.task_id).read_text()
    spool.retry(task.task_id)
    assert spool.get(task.task_id).webhook is None


def test_an_end_made_by_hand_is_to_be_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    task = waiting(spool)
    path = record(tmp_path, task.task_id)
    path.rename(tmp_path / "cancelled" / path.name)
    assert spool.webhook_ids() == {task.task_id}


def test_a_task_that_was_put_back_by_hand_and_is_cancelled_is_told_of(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    task = told(spool)
    path = record(tmp_path, task.task_id)
    path.rename(tmp_path / "pending" / path.name)
    spool.cancel(task.task_id)
    assert spool.webhook_ids() == {task.task_id}


def test_a_removed_task_is_told_of_no_more(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    spool.remove(ended(spool).task_id, lambda task: None)
    assert markers(tmp_path) == []


def test_a_failed_try_is_kept_and_the_task_stays_on_the_list(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    task = ended(spool)
    state = failed(webhook_of(task), "answered 500", spool.now(), 0.0)
    assert spool.note_webhook(task.task_id, state)
    assert webhook_of(spool.get(task.task_id)) == state
    assert spool.has_webhook(task.task_id)


def test_what_came_of_an_end_that_is_over_is_not_noted(tmp_path: Path) -> None:
    """A retry came while it was being sent."""
    spool = Spool(tmp_path, Clock())
    task = ended(spool)
    spool.retry(task.task_id)
    assert not spool.note_webhook(task.task_id, delivered(webhook_of(task), spool.now()))
    assert spool.has_webhook(task.task_id)
    assert spool.get(task.task_id).webhook is None


def test_settling_strikes_off_only_what_nobody_is_to_be_told_of(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    kept = [waiting(spool), running(spool), ended(spool)]
    done, without, gone = told(spool), ended(spool, None), spool.new_id()
    for task_id in (done.task_id, without.task_id, gone):
        (tmp_path / "webhooks" / task_id).touch()  # as a crash leaves it
    for task_id in (*(task.task_id for task in kept), done.task_id, without.task_id, gone):
        spool.settle_webhook(task_id)
    assert markers(tmp_path) == sorted(task.task_id for task in kept)


def test_the_name_is_durable_before_the_record_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, Clock())
    synced: list[tuple[str, bool]] = []

    def seen(descriptor: int) -> None:
        place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append((place.name, bool(records(tmp_path))))

    monkeypatch.setattr(os, "fsync", seen)
    waiting(spool)
    assert ("webhooks", False) in synced


def test_other_files_beside_the_names_are_no_tasks(tmp_path: Path) -> None:
    spool = Spool(tmp_path, Clock())
    (tmp_path / "webhooks" / "README").touch()
    assert spool.webhook_ids() == frozenset()


# --- Killed before each step ---


@dataclass(frozen=True)
class Act:
    """One act, and what there must be before it."""

    name: str
    prepare: Callable[[Spool], Task]
    do: Callable[[Spool, Task], object]


def _unsubmitted(spool: Spool) -> Task:
    """Return a task that is not there yet."""
    task = waiting(spool)
    spool.cancel(task.task_id)
    spool.remove(task.task_id, lambda task: None)
    return task


def _by_hand_pending(spool: Spool) -> Task:
    task = told(spool)
    state = spool._state
    path = record(state, task.task_id)
    path.rename(state / "pending" / path.name)
    return task


def _note(spool: Spool, task: Task) -> None:
    spool.note_webhook(task.task_id, delivered(webhook_of(task), spool.now()))


ACTS = (
    Act("submit", _unsubmitted, lambda s, t: waiting(s, task_id=t.task_id)),
    Act("claim", waiting, lambda s, t: s.claim(t.task_id)),
    Act("claim after mv", _by_hand_pending, lambda s, t: s.claim(t.task_id)),
    Act("cancel after mv", _by_hand_pending, lambda s, t: s.cancel(t.task_id)),
    Act("cancel", running, lambda s, t: s.cancel(t.task_id)),
    Act("fail", running, lambda s, t: s.fail(t.task_id, str(t.token), REASON)),
    Act("spend", running, lambda s, t: s.spend_attempt(t.task_id, str(t.token), LOST, 1)),
    Act(
        "complete",
        running,
        lambda s, t: s.complete(t.task_id, str(t.token), "x.mp4", REPORT, lambda: None),
    ),
    Act("retry", told, lambda s, t: s.retry(t.task_id)),
    Act("remove", ended, lambda s, t: s.remove(t.task_id, lambda task: None)),
    Act("note", ended, _note),
)


@pytest.mark.parametrize("kind", ["flags", "links"])
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_killed_before_any_step_no_end_is_missed(
    tmp_path: Path, act: Act, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: Any) -> None:
        raise OSError(errno.EINVAL, "the flag is not known here")

    if kind == "links":
        monkeypatch.setattr(atomic, "_renameat2", refused)
    task = act.prepare(Spool(tmp_path / "before", Clock()))
    step, was_killed = 0, True
    while was_killed:
        step += 1
        shutil.copytree(tmp_path / "before", tmp_path / str(step))
        spool = Spool(tmp_path / str(step), Clock())
        was_killed = killed_before(step, lambda spool=spool: act.do(spool, task))
        spool.recover(lambda task: task.output_video is not None)
        if act.name not in ("claim after mv", "cancel after mv") or not was_killed:
            assert is_kept_in_mind(spool, task.task_id), f"killed before step {step}"
        _ends_and_is_told(spool, task.task_id)
        assert markers(tmp_path / str(step)) == []
    assert step > 3


def _ends_and_is_told(spool: Spool, task_id: str) -> None:
    """Go on as a service does: every end is told, and no name is left."""
    try:
        task = spool.get(task_id)
    except UnknownTask:
        assert spool.webhook_ids() <= {task_id}
        spool.settle_webhook(task_id)
        return
    if task.status is Status.PENDING:
        spool.claim(task_id)
        task = spool.cancel(task_id)
    assert task.status in ENDED
    assert is_kept_in_mind(spool, task_id)
    if not webhook_of(task).is_settled:
        _note(spool, task)
    spool.settle_webhook(task_id)
