"""What removes what, and what nothing may remove."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from spools import REASON, REPORT, Clock, record, records

from daemon.outbox import status_path
from daemon.retention import Retention, Rules, cleanup, is_due, sweep_temp
from daemon.spool import Spool
from daemon.task import Status, Submission, Task
from daemon.task_id import creation_day

RULES = Rules(results_days=7, failed_days=30, originals_days=None, records_days=90)
NEVER = Rules(None, None, None, None)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class House:
    """A spool, an inbox and an outbox with the files of tasks."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.state = root / "state"
        self.inbox, self.outbox = root / "inbox", root / "outbox"
        for folder in (self.inbox, self.outbox):
            folder.mkdir(parents=True)
        self.spool = Spool(self.state, self.clock)

    def pending(self, inbox: str | None = "main", **fields: Any) -> Task:
        task_id = self.spool.new_id()
        place = self.inbox / ".media-cleaner" / "originals" / creation_day(task_id) / task_id
        place.mkdir(parents=True)
        (place / "holiday.mov").write_bytes(b"original")
        given: dict[str, Any] = {
            "task_id": task_id,
            "input_video": "holiday.mov",
            "original": str(place / "holiday.mov"),
            "outbox": str(self.outbox),
            "inbox": inbox,
            "subfolder": "alice",
        }
        if inbox is not None:
            (place / "holiday.mov.yaml").write_bytes(b"epsilon: 0.1")
        task = self.spool.submit(Submission(**(given | fields)), 1000)
        status_path(task).parent.mkdir(parents=True, exist_ok=True)
        status_path(task).write_bytes(b"{}")
        return task

    def processing(self, inbox: str | None = "main") -> Task:
        return self.spool.claim(self.pending(inbox).task_id)

    def completed(self, inbox: str | None = "main") -> Task:
        task = self.processing(inbox)
        name = f"alice/{task.task_id}_holiday_protected.mp4"
        (self.outbox / name).write_bytes(b"protected")
        return self.spool.complete(task.task_id, str(task.token), name, REPORT, lambda: None)

    def failed(self, inbox: str | None = "main") -> Task:
        task = self.processing(inbox)
        return self.spool.fail(task.task_id, str(task.token), REASON)

    def cancelled(self, inbox: str | None = "main") -> Task:
        return self.spool.cancel(self.pending(inbox).task_id)

    def after(self, rules: Rules, days: float) -> tuple[str, ...]:
        """Apply the rules so many days later; return the problems."""
        self.clock.forward(days=days)
        return self.retention(rules).run(self.clock.now, {}).problems

    def retention(self, rules: Rules) -> Retention:
        return Retention(self.spool, [self.inbox], rules)

    def has_result(self, task: Task) -> bool:
        return (self.outbox / str(task.output_video)).exists()


def has_original(task: Task) -> bool:
    return Path(task.original).exists()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# --- Decisions ---


def test_days_have_gone_by_to_the_moment() -> None:
    now = Clock().now
    assert is_due(now - timedelta(days=7), 7, now)
    assert not is_due(now - timedelta(days=7) + timedelta(microseconds=1), 7, now)
    assert is_due(now - timedelta(hours=12), 0.5, now)
    assert is_due(now, 0, now)
    assert not is_due(now - timedelta(days=9999), None, now)


# --- Results, and uploads with them ---


def test_a_result_goes_after_its_days_and_the_record_stays(house: House) -> None:
    task = house.completed()
    assert house.after(RULES, 6.9) == ()
    assert house.has_result(task)
    assert house.after(RULES, 0.1) == ()
    assert not house.has_result(task)
    assert has_original(task)
    assert status_path(task).exists()
    assert house.spool.get(task.task_id).output_video == task.output_video


def test_the_original_of_an_upload_goes_with_its_result(house: House) -> None:
    task = house.completed(inbox=None)
    house.after(RULES, 8)
    assert not house.has_result(task)
    assert not Path(task.original).parent.exists()


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_the_original_of_an_upload_that_failed_goes_after_its_own_days(
    house: House, end: str
) -> None:
    task: Task = getattr(house, end)(inbox=None)
    house.after(RULES, 29)
    assert has_original(task)
    house.after(RULES, 1)
    assert not has_original(task)


def test_a_task_that_was_moved_to_an_end_by_hand_counts_from_its_creation(house: House) -> None:
    """A `mv` writes nothing, so its record does not say when it ended."""
    task = house.pending(None)
    found = record(house.state, task.task_id)
    found.rename(house.state / "failed" / found.name)
    assert house.after(RULES, 29) == ()
    assert has_original(task)
    assert house.after(RULES, 1) == ()
    assert not has_original(task)


def test_what_has_not_ended_keeps_everything_for_ever(house: House) -> None:
    tasks = [act(inbox) for act in (house.pending, house.processing) for inbox in ("main", None)]
    assert house.after(Rules(0, 0, 0, 0), 9999) == ()
    assert all(has_original(task) for task in tasks)
    assert len(records(house.state)) == 4


def test_without_rules_nothing_is_removed(house: House) -> None:
    task = house.completed(inbox=None)
    house.after(NEVER, 9999)
    assert house.has_result(task)
    assert has_original(task)


def test_a_task_that_was_retried_meanwhile_keeps_its_files(house: House) -> None:
    task = house.failed(inbox=None)
    house.clock.forward(days=40)
    tend = house.spool.tend

    def late(task_id: str, act: Any) -> Task:
        house.spool.retry(task_id)  # between the look and the lock
        return tend(task_id, act)

    house.spool.tend = late  # type: ignore[method-assign]
    assert house.retention(RULES).run(house.clock.now, {}).problems == ()
    assert has_original(task)


@pytest.mark.parametrize("name", ["precious.mov", "/precious.mov", ""])
def test_an_upload_that_somebody_has_moved_is_left_alone(
    house: House, tmp_path: Path, name: str
) -> None:
    precious = tmp_path / "precious.mov"
    precious.write_bytes(b"mine")
    task = house.spool.cancel(house.pending(None, original=str(tmp_path / name)).task_id)
    assert house.after(Rules(7, 7, None, 90), 91) == ()
    assert precious.exists()
    assert task.task_id not in records(house.state)


# --- Originals of dropped files ---


ORIGINALS = replace(RULES, originals_days=20.0)


def test_a_dropped_original_goes_with_its_sidecar_and_its_folders(house: House) -> None:
    task = house.completed()
    house.after(ORIGINALS, 19)
    assert has_original(task)
    house.after(ORIGINALS, 1)
    assert list((house.inbox / ".media-cleaner" / "originals").iterdir()) == []
    assert house.spool.get(task.task_id).status is Status.COMPLETED


def test_the_empty_folder_of_a_day_stays_while_a_claim_may_be_about_to_use_it(
    house: House,
) -> None:
    originals = house.inbox / ".media-cleaner" / "originals"
    days = [(house.clock.now - timedelta(days=n)).date().isoformat() for n in range(4)]
    for day in days:
        (originals / day).mkdir(parents=True)
    house.after(ORIGINALS, 0)
    assert sorted(os.listdir(originals)) == sorted(days[:3])


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_dropped_original_that_may_be_retried_stays_for_both_spans(
    house: House, end: str
) -> None:
    task: Task = getattr(house, end)()
    house.after(ORIGINALS, 29)
    assert has_original(task)
    house.after(replace(ORIGINALS, failed_days=None, records_days=None), 100)
    assert has_original(task)
    house.after(replace(ORIGINALS, records_days=None), 0)
    assert not has_original(task)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
@pytest.mark.parametrize("failed_days", [30, None])
def test_its_record_does_not_go_before_it_nor_it_with_its_record(
    house: House, end: str, failed_days: float | None
) -> None:
    """An original without its record goes by `originals_days` alone."""
    task: Task = getattr(house, end)()
    rules = replace(ORIGINALS, failed_days=failed_days, records_days=7)
    house.after(rules, 29)
    assert has_original(task)
    assert list(records(house.state)) == [task.task_id]
    house.after(replace(rules, failed_days=30), 1)
    assert not has_original(task)
    assert records(house.state) == {}


def test_the_end_counts_and_not_the_creation(house: House) -> None:
    task = house.pending()
    house.clock.forward(days=100)
    running = house.spool.claim(task.task_id)
    house.spool.complete(task.task_id, str(running.token), "x.mp4", REPORT, lambda: None)
    house.after(ORIGINALS, 19)
    assert has_original(task)
    house.after(ORIGINALS, 1)
    assert not has_original(task)


def test_an_original_whose_record_is_gone_goes_by_its_creation(house: House) -> None:
    task = house.completed()
    cleanup(house.spool, 0, house.clock.now, {})
    assert has_original(task)
    house.after(ORIGINALS, 19.9)
    assert has_original(task)
    house.after(ORIGINALS, 0.2)
    assert not has_original(task)


def test_a_claim_under_way_keeps_its_original(house: House) -> None:
    task_id = house.spool.new_id()
    ours = house.inbox / ".media-cleaner"
    place = ours / "originals" / creation_day(task_id) / task_id
    place.mkdir(parents=True)
    (place / "holiday.mov").write_bytes(b"original")
    (ours / "claiming").mkdir()
    (ours / "claiming" / f"{task_id}.json").write_bytes(b"{}")
    house.after(replace(ORIGINALS, originals_days=0), 30)
    assert (place / "holiday.mov").exists()


def test_the_original_of_a_damaged_record_stays(house: House) -> None:
    task = house.completed()
    record(house.state, task.task_id).write_bytes(b"{")
    problems = house.after(ORIGINALS, 30)
    assert "damaged" in problems[0]
    house.after(ORIGINALS, 100)
    assert has_original(task)


def test_the_original_of_a_record_in_another_days_folder_stays(house: House) -> None:
    """Moved there by hand it is brought home at the next start, and may be retried then."""
    task = house.failed()
    there = house.state / "pending" / "2020-01-01"
    there.mkdir()
    record(house.state, task.task_id).rename(there / f"{task.task_id}.json")
    assert house.after(ORIGINALS, 30) == ()
    assert has_original(task)


def test_what_is_no_tasks_folder_is_left_alone(house: House) -> None:
    originals = house.inbox / ".media-cleaner" / "originals"
    day = originals / "2020-01-01"
    (day / "mine").mkdir(parents=True)
    task_id = house.spool.new_id()
    (day / task_id).mkdir()  # not of that day
    (day / "mine" / "a.mov").write_bytes(b"x")
    assert house.after(replace(ORIGINALS, originals_days=0), 30) == ()
    assert (day / "mine" / "a.mov").exists()
    assert (day / task_id).exists()


def test_links_are_not_followed_to_originals(house: House, tmp_path: Path) -> None:
    task = house.completed()
    place = Path(task.original).parent
    moved = tmp_path / "elsewhere"
    place.rename(moved)
    place.symlink_to(moved)
    assert "could not be removed" in house.after(ORIGINALS, 30)[0]
    assert (moved / "holiday.mov").exists()


def test_a_share_that_is_away_is_no_trouble_for_others(house: House) -> None:
    task = house.completed()
    house.clock.forward(days=30)
    retention = Retention(house.spool, [house.inbox / "away", house.inbox], ORIGINALS)
    assert retention.run(house.clock.now, {}).problems == ()
    assert not has_original(task)


# --- Records ---


def test_a_record_goes_with_all_but_a_dropped_original(house: House) -> None:
    dropped, upload, failed = house.completed(), house.completed(None), house.failed(None)
    rules = replace(NEVER, results_days=90, failed_days=90, records_days=90)
    assert house.after(rules, 89) == ()
    assert len(records(house.state)) == 3
    cleaned = house.retention(rules)
    house.clock.forward(days=1)
    result = cleaned.run(house.clock.now, {})
    assert result.deleted_tasks == 3
    assert result.freed_bytes == 2 * len(b"protected") + 2 * len(b"original") + 3 * len(b"{}")
    assert records(house.state) == {}
    assert list(house.outbox.rglob("*.*")) == []
    assert [has_original(task) for task in (dropped, upload, failed)] == [True, False, False]


@pytest.mark.parametrize("kept", ["results_days", "failed_days"])
def test_a_record_stays_as_long_as_a_file_that_is_to_be_kept(house: House, kept: str) -> None:
    done, failed = house.completed(None), house.failed(None)
    rules = Rules(results_days=7, failed_days=7, originals_days=None, records_days=90)
    house.after(replace(rules, **{kept: None}), 1000)
    stays, goes = (done, failed) if kept == "results_days" else (failed, done)
    assert list(records(house.state)) == [stays.task_id]
    assert has_original(stays)
    assert not has_original(goes)
    assert house.has_result(done) == (kept == "results_days")
    assert status_path(stays).exists()


def test_cleanup_removes_what_ended_so_long_ago(house: House) -> None:
    old = house.completed()
    house.clock.forward(days=2)
    new, waiting = house.cancelled(), house.pending()
    assert cleanup(house.spool, 2, house.clock.now, {}).deleted_tasks == 1
    assert records(house.state).keys() == {new.task_id, waiting.task_id}
    assert not house.has_result(old)
    assert cleanup(house.spool, 0, house.clock.now, {}).deleted_tasks == 1
    assert records(house.state).keys() == {waiting.task_id}


def test_cleanup_of_all_ended_takes_those_of_a_clock_that_was_ahead_too(house: House) -> None:
    house.clock.forward(days=365)
    ahead = house.completed()
    house.clock.forward(days=-365)
    house.failed()
    waiting = house.pending()
    assert cleanup(house.spool, 0, house.clock.now, {}).deleted_tasks == 2
    assert not house.has_result(ahead)
    assert records(house.state).keys() == {waiting.task_id}


def test_a_task_whose_outbox_is_away_is_left_for_the_next_time(house: House) -> None:
    tasks = [house.completed() for _ in range(3)]
    away = house.outbox.with_name("unmounted")
    house.outbox.rename(away)
    house.clock.forward(days=1)
    found = cleanup(house.spool, 0, house.clock.now, {})
    assert found.deleted_tasks == 0
    assert len(found.problems) == 1
    assert str(house.outbox) in found.problems[0]
    away.rename(house.outbox)
    assert cleanup(house.spool, 0, house.clock.now, {}).deleted_tasks == len(tasks)


@pytest.mark.parametrize("away", ["inbox", "outbox"])
def test_a_task_stays_while_only_the_mount_point_of_its_files_is_there(
    house: House, away: str
) -> None:
    """It is empty, and all seems removed already: the files would stay for ever."""
    folder = getattr(house, away)
    share, upload = folder.with_name("share"), house.completed(None)
    folder.rename(share)
    folder.mkdir()
    house.clock.forward(days=90)
    mounts = {str(folder): str(folder)}  # as no file system is mounted there now
    found = [
        cleanup(house.spool, 0, house.clock.now, mounts),
        house.retention(RULES).run(house.clock.now, mounts),
    ]
    assert [cleaned.deleted_tasks for cleaned in found] == [0, 0]
    assert all(str(folder) in cleaned.problems[0] for cleaned in found)
    folder.rmdir()
    share.rename(folder)
    assert house.after(RULES, 0) == ()
    assert records(house.state) == {}
    assert not has_original(upload)
    assert list(house.outbox.rglob("*.*")) == []


def test_nothing_of_a_task_is_removed_while_the_inbox_of_its_original_is_not_there(
    house: House,
) -> None:
    """It stays, and its result with it."""
    upload, unmounted = house.completed(None), house.inbox.with_name("unmounted")
    house.inbox.rename(unmounted)
    (problem,) = cleanup(house.spool, 0, house.clock.now, {str(house.inbox): "/"}).problems
    assert f"{house.inbox} is not there" in problem
    assert house.has_result(upload)
    unmounted.rename(house.inbox)
    assert cleanup(house.spool, 0, house.clock.now, {}).deleted_tasks == 1


@pytest.mark.parametrize("away", ["inbox", "outbox"])
@pytest.mark.parametrize("is_mount_point_there", [True, False])
def test_a_record_of_files_that_are_kept_stays_while_they_are_away(
    house: House, away: str, is_mount_point_there: bool
) -> None:
    """Else a result loses its task, and an original the days that `failed_days` keeps it."""
    done, failed = house.completed(), house.failed()
    rules = Rules(results_days=None, failed_days=None, originals_days=1, records_days=2)
    folder = getattr(house, away)
    share = folder.with_name("share")
    folder.rename(share)
    if is_mount_point_there:
        folder.mkdir()
    house.clock.forward(days=3)
    house.retention(rules).run(house.clock.now, {str(folder): str(folder)})
    if is_mount_point_there:
        folder.rmdir()
    share.rename(folder)
    house.after(rules, 0)
    assert records(house.state).keys() == {done.task_id, failed.task_id}
    assert house.has_result(done)
    assert has_original(failed)


def test_one_trouble_does_not_stop_the_next(house: House) -> None:
    first, second, third = (house.completed() for _ in range(3))
    result = house.outbox / str(second.output_video)
    result.unlink()
    result.mkdir()  # nothing of ours
    found = cleanup(house.spool, 0, house.clock.now, {})
    assert found.deleted_tasks == 2
    assert second.task_id in found.problems[0]
    assert records(house.state).keys() == {second.task_id}
    assert not house.has_result(first)
    assert not house.has_result(third)


def test_many_troubles_are_told_in_few_words(house: House) -> None:
    for _ in range(30):
        task = house.completed()
        (house.outbox / str(task.output_video)).unlink()
        (house.outbox / str(task.output_video)).mkdir()
    problems = cleanup(house.spool, 0, house.clock.now, {}).problems
    assert len(problems) == 21
    assert "10 more" in problems[-1]


def test_a_subfolder_that_became_a_link_leads_nowhere(house: House, tmp_path: Path) -> None:
    task = house.completed()
    (house.outbox / "alice").rename(tmp_path / "elsewhere")
    (house.outbox / "alice").symlink_to(tmp_path / "elsewhere")
    assert cleanup(house.spool, 0, house.clock.now, {}).deleted_tasks == 0
    assert (tmp_path / "elsewhere" / Path(str(task.output_video)).name).exists()


@pytest.mark.parametrize("inbox", ["main", None])
@pytest.mark.parametrize("killed_at", range(1, 5))
def test_killed_anywhere_the_next_run_ends_the_work(
    house: House, monkeypatch: pytest.MonkeyPatch, killed_at: int, inbox: str | None
) -> None:
    """SIGKILL is a BaseException that nothing catches."""

    class Killed(BaseException):
        pass

    task = house.completed(inbox)
    house.clock.forward(days=1)
    unlink, count = os.unlink, 0

    def unlink_or_die(*args: Any, **kwargs: Any) -> None:
        nonlocal count
        if not str(args[0]).endswith(".lock"):
            count += 1
            if count == killed_at:
                raise Killed
        unlink(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink_or_die)
        try:
            cleanup(house.spool, 0, house.clock.now, {})
        except Killed:
            assert len(records(house.state)) == 1
    again = cleanup(house.spool, 0, house.clock.now, {})
    assert again.problems == ()
    assert records(house.state) == {}
    assert list(house.outbox.rglob("*.*")) == []
    assert has_original(task) == (inbox is not None)


# --- How far back it looks ---


def seen(house: House, retention: Retention) -> list[Task]:
    """Run, and return the tasks whose records were read for their files."""
    read: list[Task] = []
    ended_until = house.spool.ended_until

    def noted(moment: Any) -> Iterable[Any]:
        for task in ended_until(moment):
            read.append(task)
            yield task

    house.spool.ended_until = noted  # type: ignore[method-assign, assignment]
    try:
        assert retention.run(house.clock.now, {}).problems == ()
    finally:
        house.spool.ended_until = ended_until  # type: ignore[method-assign]
    return read


def test_a_nightly_look_does_not_read_what_it_has_seen_to(house: House) -> None:
    rules = replace(RULES, records_days=None)
    for _ in range(60):
        house.completed()
        house.clock.forward(days=1)
    retention = house.retention(rules)
    assert len(seen(house, retention)) == 54  # all, the first time: those of 7 days or more
    for _ in range(6):
        house.clock.forward(days=1)
        assert len(seen(house, retention)) <= 20
    house.clock.forward(days=1)
    assert len(seen(house, retention)) == 60  # and once a week
    assert list(house.outbox.rglob("*.mp4")) == []


def test_what_may_go_is_decided_once_more_under_the_lock(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here of an upload that had failed, and is tried again, with success, in that moment."""
    task = house.failed(None)
    tend = house.spool.tend
    name = f"alice/{task.task_id}_holiday_protected.mp4"

    def retried(task_id: str, act: Callable[[Task], None]) -> None:
        house.spool.retry(task_id)
        running = house.spool.claim(task_id)
        (house.outbox / name).write_bytes(b"protected")
        house.spool.complete(task_id, str(running.token), name, REPORT, lambda: None)
        tend(task_id, act)

    monkeypatch.setattr(house.spool, "tend", retried)
    house.after(replace(RULES, records_days=None), 60)
    assert house.has_result(house.spool.get(task.task_id))
    assert has_original(task)


def test_every_result_goes_on_its_day_also_after_nights_that_were_missed(house: House) -> None:
    retention = house.retention(replace(RULES, records_days=None))
    retention.run(house.clock.now, {})
    for pause in (1, 1, 3, 1):
        for _ in range(pause):
            house.completed()
            house.clock.forward(days=1)
        retention.run(house.clock.now, {})
    house.clock.forward(days=6.5)
    retention.run(house.clock.now, {})
    left = [t for t in house.spool.list().tasks if house.has_result(t)]
    assert all(house.clock.now - t.created_at < timedelta(days=7) for t in left)


def test_a_task_that_waited_for_days_is_not_too_old_to_be_looked_at(house: House) -> None:
    retention = house.retention(replace(RULES, records_days=None))
    retention.run(house.clock.now, {})
    waiting = house.pending()
    house.clock.forward(days=6)
    running = house.spool.claim(waiting.task_id)
    name = f"alice/{waiting.task_id}_holiday_protected.mp4"
    (house.outbox / name).write_bytes(b"protected")
    done = house.spool.complete(waiting.task_id, str(running.token), name, REPORT, lambda: None)
    house.clock.forward(days=2)
    retention.run(house.clock.now, {})  # all, once a week
    for _ in range(5):
        assert house.has_result(done)
        house.clock.forward(days=1)
        retention.run(house.clock.now, {})
    assert not house.has_result(done)


def test_a_clock_that_was_ahead_keeps_no_task_from_being_looked_at(house: House) -> None:
    retention = house.retention(replace(RULES, records_days=None))
    waiting = house.pending()
    right = house.clock.now
    house.clock.forward(days=365)
    retention.run(house.clock.now, {})
    house.clock.now = right + timedelta(days=20)
    running = house.spool.claim(waiting.task_id)
    name = f"alice/{waiting.task_id}_holiday_protected.mp4"
    (house.outbox / name).write_bytes(b"protected")
    done = house.spool.complete(waiting.task_id, str(running.token), name, REPORT, lambda: None)
    for _ in range(20):
        house.clock.forward(days=1)
        retention.run(house.clock.now, {})
    assert not house.has_result(done)


# --- Temp ---


def test_only_left_overs_of_attempts_are_swept(tmp_path: Path) -> None:
    temp, spool = tmp_path / "temp", Spool(tmp_path / "state")
    running, gone = (f"{spool.new_id()}.{token * 32}" for token in "ab")
    link = f"{spool.new_id()}.{'c' * 32}"
    outside = tmp_path / "outside"
    mine = "123e4567-e89b-42d3-a456-426614174000.ab"  # no task's
    for folder in (temp / running / "x", temp / gone / "x", temp / mine, outside):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"1")
    (temp / gone / "link").symlink_to(outside)
    (temp / link).symlink_to(outside)
    cleaned = sweep_temp(temp, lambda task_id, token: f"{task_id}.{token}" == running)
    assert sorted(p.name for p in temp.iterdir()) == sorted([running, link, mine])
    assert (outside / "file").exists()
    assert cleaned.removed == 1
    assert link in cleaned.problems[0]


def test_an_attempt_that_begins_during_the_sweep_is_not_swept(tmp_path: Path) -> None:
    temp, spool = tmp_path / "temp", Spool(tmp_path / "state")
    temp.mkdir()
    listed: list[list[str]] = []
    (temp / f"{spool.new_id()}.aa").mkdir()
    late = temp / f"{spool.new_id()}.bb"

    def is_running(task_id: str, token: str) -> bool:
        late.mkdir(exist_ok=True)
        listed.append([task_id])
        return False

    sweep_temp(temp, is_running)
    assert len(listed) == 1
    assert late.is_dir()


def test_a_temp_that_is_not_there_is_a_problem_and_no_more(tmp_path: Path) -> None:
    (problem,) = sweep_temp(tmp_path / "temp", lambda task_id, token: False).problems
    assert str(tmp_path / "temp") in problem
