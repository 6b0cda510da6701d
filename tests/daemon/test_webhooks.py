"""Whoever asked is told of the end of a task: once, or until it is given up; over restarts too."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ports import held_port
from receivers import Receiver
from services import ROOT, wait_until
from spools import REASON, REPORT, Clock, record, submission
from standardwebhooks import Webhook

from daemon.logs import configure_logs, reset_logs
from daemon.spool import Spool
from daemon.task import Status, Task, webhook_of
from daemon.task_view import view
from daemon.webhook_request import TOTAL_SECONDS
from daemon.webhook_state import PAUSES_SECONDS, WebhookState, WebhookStatus
from daemon.webhook_turns import AT_ONCE
from daemon.webhooks import SECRET_NAME, WebhookRules, Webhooks
from pipeline.parameters import Parameters

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
RULES = WebhookRules(allow_private=True, secret=SECRET, language="ru")
PENDING, DELIVERED, GIVEN_UP = WebhookStatus


class House:
    """A state, what tells of its tasks' ends, and a clock that stands until it is moved."""

    def __init__(self, folder: Path, rules: WebhookRules = RULES) -> None:
        self.state = folder / "state"
        self.clock = Clock()
        self.spool = Spool(self.state, self.clock)
        self.rules = rules
        self.changed: list[str] = []
        self.webhooks = self._made()

    def _made(self) -> Webhooks:
        return Webhooks(
            self.spool,
            self.rules,
            self.state / SECRET_NAME,
            self.changed.append,
            spread=lambda: 0.0,
        )

    def restart(self) -> None:
        """End the part, and begin one that knows nothing but what lies on disk."""
        self.webhooks.stop()
        self.spool = Spool(self.state, self.clock)
        self.webhooks = self._made()
        self.webhooks.start()

    def waiting(self, url: str | None, user_id: str | None = None, **fields: Any) -> Task:
        parameters = Parameters(webhook_url=url, user_id=user_id)
        asked = dataclasses.replace(submission(self.spool), parameters=parameters, **fields)
        return self.spool.submit(asked, 100_000)

    def ended(self, url: str | None, user_id: str | None = None, **fields: Any) -> Task:
        """Return a task that has failed; nobody has been waked."""
        task = self.spool.claim(self.waiting(url, user_id, **fields).task_id)
        return self.spool.fail(task.task_id, str(task.token), REASON)

    def end(self, url: str | None, user_id: str | None = None, **fields: Any) -> Task:
        """Return a task that has failed, after saying so."""
        task = self.ended(url, user_id, **fields)
        self.webhooks.wake(task.task_id)
        return task

    def state_of(self, task: Task) -> WebhookState:
        state = webhook_of(self.spool.get(task.task_id))
        assert state is not None
        return state

    def wait_for(self, task: Task, status: WebhookStatus, attempts: int = 1) -> WebhookState:
        def seen() -> WebhookState | None:
            state = self.state_of(task)
            return state if (state.status, state.attempts) == (status, attempts) else None

        found = wait_until(seen, f"{status} after {attempts}; {self.state_of(task)}")
        assert isinstance(found, WebhookState)
        return found

    def pass_time(self, seconds: float) -> None:
        self.clock.forward(seconds=seconds)
        self.webhooks.rescan()


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.webhooks.start()
    yield made
    made.webhooks.stop()


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    configure_logs(tmp_path / "logs", logging.INFO)
    yield tmp_path / "logs"
    reset_logs()


def lines(logs: Path, name: str, event: str) -> list[dict[str, Any]]:
    path = logs / name
    written = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in written]
    return [line for line in found if line["event"] == event]


# --- What is told ---


def test_the_receiver_is_told_of_the_end_signed_and_once(house: House) -> None:
    with Receiver() as receiver:
        task = house.end(receiver.url(), user_id="alice")
        state = house.wait_for(task, DELIVERED)
        house.pass_time(3600)
        house.restart()
        house.webhooks.wake(task.task_id)
        house.end(receiver.url())  # the one after it is told, so nothing of the first is waiting
        first, second = receiver.wait_for(2)
    assert first.values["task_id"] == task.task_id != second.values["task_id"]
    assert first.values["status"] == "failed"
    assert list(first.values) == ["task_id", "status", "timestamp", "task"]
    assert first.values["task"] == view(task, "ru", house.clock.now)
    assert first.values["timestamp"] == first.values["task"]["completed_at"]
    assert state.delivered_at == house.spool.get(task.task_id).webhook.delivered_at  # type: ignore[union-attr]
    assert not house.spool.has_webhook(task.task_id)
    assert house.changed.count(task.task_id) == 1


def test_a_receivers_library_accepts_the_signature(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.clock.now = datetime.now(UTC)
    house.webhooks.start()
    with Receiver() as receiver:
        task = house.end(receiver.url(), input_video="отпуск \udcff.mov")
        (message,) = receiver.wait_for(1)
        house.wait_for(task, DELIVERED)
    house.webhooks.stop()
    values = Webhook(SECRET).verify(message.body, message.headers)
    assert values["task"]["input_video"] == "отпуск \udcff.mov"
    assert message.headers["webhook-id"] == house.state_of(task).event_id
    assert message.headers["content-type"] == "application/json"
    assert message.headers["user-agent"] == "MediaCleaner"


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_every_kind_of_end_is_told(house: House, status: str) -> None:
    with Receiver() as receiver:
        task = house.spool.claim(house.waiting(receiver.url()).task_id)
        house.webhooks.rescan()
        if status == "completed":
            house.spool.complete(task.task_id, str(task.token), "x.mp4", REPORT, lambda: None)
        elif status == "failed":
            house.spool.fail(task.task_id, str(task.token), REASON)
        else:
            house.spool.cancel(task.task_id)
        house.webhooks.wake(task.task_id)
        (message,) = receiver.wait_for(1)
    assert message.values["status"] == message.values["task"]["status"] == status


def test_a_task_that_has_not_ended_is_not_told(house: House) -> None:
    with Receiver() as receiver:
        waits = house.waiting(receiver.url())
        runs = house.spool.claim(house.waiting(receiver.url()).task_id)
        for task in (waits, runs):
            house.webhooks.wake(task.task_id)
        house.webhooks.rescan()
        done = house.end(receiver.url())
        house.wait_for(done, DELIVERED)
        assert [m.values["task_id"] for m in receiver.messages] == [done.task_id]


def test_a_retried_task_is_told_of_again_as_another_event(house: House) -> None:
    with Receiver() as receiver:
        task = house.end(receiver.url())
        house.wait_for(task, DELIVERED)
        house.spool.retry(task.task_id)
        again = house.spool.claim(task.task_id)
        house.spool.complete(task.task_id, str(again.token), "x.mp4", REPORT, lambda: None)
        house.webhooks.wake(task.task_id)
        first, second = receiver.wait_for(2)
    assert (first.values["status"], second.values["status"]) == ("failed", "completed")
    assert first.headers["webhook-id"] != second.headers["webhook-id"]


def test_the_end_after_a_retry_does_not_wait_for_the_next_try_of_the_end_before(
    house: House,
) -> None:
    with Receiver(500, 200) as receiver:
        task = house.end(receiver.url())
        house.wait_for(task, PENDING, 1)
        house.spool.retry(task.task_id)
        house.webhooks.wake(task.task_id)
        again = house.spool.claim(task.task_id)
        house.spool.complete(task.task_id, str(again.token), "x.mp4", REPORT, lambda: None)
        house.webhooks.wake(task.task_id)
        first, second = receiver.wait_for(2)
        house.wait_for(task, DELIVERED, 1)
    assert (first.values["status"], second.values["status"]) == ("failed", "completed")


def test_an_end_that_nobody_was_waked_for_is_found_by_a_rescan(house: House) -> None:
    with Receiver() as receiver:
        house.restart()
        task = house.waiting(receiver.url())
        path = record(house.state, task.task_id)
        path.rename(house.state / "cancelled" / path.name)
        house.webhooks.rescan()
        (message,) = receiver.wait_for(1)
        assert message.values["status"] == "cancelled"
        house.wait_for(task, DELIVERED)


# --- What fails ---


def test_a_failed_try_is_made_again_later_under_the_same_id(house: House) -> None:
    with Receiver(500, 302, 200) as receiver:
        task = house.end(receiver.url())
        state = house.wait_for(task, PENDING, 1)
        assert state.last_error == "answered 500"
        house.pass_time(4.9)
        house.pass_time(0.1)
        assert house.wait_for(task, PENDING, 2).last_error == "answered 302"
        house.pass_time(30)
        assert house.wait_for(task, DELIVERED, 3).last_error is None
    assert len({m.headers["webhook-id"] for m in receiver.messages}) == 1
    first, second, _ = receiver.messages
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 5
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert first.values["timestamp"] == second.values["timestamp"]


def test_nothing_is_tried_before_its_time(house: House) -> None:
    with Receiver(500) as receiver, Receiver() as other:
        task = house.end(receiver.url())
        house.wait_for(task, PENDING, 1)
        house.pass_time(4.9)
        house.wait_for(house.end(other.url()), DELIVERED)
        assert len(receiver.messages) == 1
        house.pass_time(0.1)
        house.wait_for(task, PENDING, 2)


def test_after_the_last_try_it_is_given_up_and_said(house: House, logs: Path) -> None:
    with Receiver(503) as receiver:
        task = house.end(receiver.url())
        for attempts, seconds in enumerate(PAUSES_SECONDS, 1):
            house.wait_for(task, PENDING, attempts)
            house.pass_time(seconds)
        state = house.wait_for(task, GIVEN_UP, len(PAUSES_SECONDS) + 1)
        assert state.last_error == "answered 503"
        wait_until(lambda: not house.spool.has_webhook(task.task_id), "struck off")
        house.restart()
        house.pass_time(10 * 86_400)
        house.wait_for(house.end(receiver.url()), PENDING, 1)
        assert len(receiver.messages) == len(PAUSES_SECONDS) + 2
    (line,) = lines(logs, "queue.log", "webhook given up")
    assert (line["level"], line["task_id"]) == ("WARNING", task.task_id)
    assert (line["reason"], line["attempts"]) == ("answered 503", 11)
    levels = [json.loads(text)["level"] for text in (logs / "queue.log").read_text().splitlines()]
    assert levels.count("WARNING") == 1


def test_gone_is_given_up_at_once(house: House) -> None:
    with Receiver(410) as receiver:
        task = house.end(receiver.url())
        assert house.wait_for(task, GIVEN_UP).last_error == "answered 410"


def test_a_receiver_that_is_away_is_a_failure_like_another(house: House) -> None:
    with held_port() as port:
        task = house.end(f"http://127.0.0.1:{port}/")
        assert house.wait_for(task, PENDING).last_error == "no connection"


def test_a_private_address_is_refused_again_when_it_is_told(tmp_path: Path, logs: Path) -> None:
    house = House(tmp_path, dataclasses.replace(RULES, allow_private=False))
    house.webhooks.start()
    with Receiver() as receiver:
        task = house.end(receiver.url(host="localhost"))
        state = house.wait_for(task, PENDING)
        assert state.last_error == "its host has no public address"
        assert receiver.messages == []
        # Only then: the receiver is left alone for some seconds from the moment that this is noted.
        wait_until(lambda: house.webhooks._turns.next_due(), "put off")
        house.webhooks.rules = RULES
        house.pass_time(5)
        house.wait_for(task, DELIVERED, 2)
    house.webhooks.stop()
    (line,) = lines(logs, "queue.log", "webhook failed")
    assert "localhost is " in line["details"]


def test_a_url_that_is_never_called_is_given_up_at_once(house: House) -> None:
    """As of a record made before URLs were checked."""
    task = house.end("http://user:secret@127.0.0.1/")
    state = house.wait_for(task, GIVEN_UP)
    assert "user name or password" in str(state.last_error)


# --- Many ---


def test_a_receiver_that_hangs_holds_up_nobody(house: House) -> None:
    with Receiver() as stuck, Receiver() as receiver:
        stuck._answers = [stuck.hang]
        for _ in range(20):
            house.end(stuck.url())
        stuck.wait_for(1)
        done = [house.end(receiver.url()) for _ in range(20)]
        for task in done:
            house.wait_for(task, DELIVERED)
        assert len(stuck.messages) == 1
        stuck.released.set()
        stuck.wait_for(20)
    assert max(message.at_once for message in receiver.messages) == 1
    assert max(message.at_once for message in stuck.messages) == 1


def test_a_user_with_many_hanging_receivers_does_not_take_every_turn(house: House) -> None:
    receivers = [Receiver() for _ in range(8)]
    for stuck in receivers:
        stuck._answers = [stuck.hang]
        stuck.__enter__()
    try:
        for stuck in receivers:
            for _ in range(2):
                house.end(stuck.url(), user_id="mallory")
        most = AT_ONCE - 1
        wait_until(lambda: sum(len(r.messages) for r in receivers) == most, "mallory's turns")
        with Receiver() as receiver:
            house.wait_for(house.end(receiver.url(), user_id="alice"), DELIVERED)
        assert sum(len(r.messages) for r in receivers) == most
    finally:
        for stuck in receivers:
            stuck.__exit__()


def test_many_ends_are_all_told_once(house: House) -> None:
    with Receiver() as one, Receiver() as other:
        tasks = [house.ended((one, other)[number % 2].url()) for number in range(60)]
        house.webhooks.rescan()
        for task in tasks:
            house.webhooks.wake(task.task_id)
        for task in tasks:
            house.wait_for(task, DELIVERED)
        told = [m.values["task_id"] for r in (one, other) for m in r.messages]
    assert sorted(told) == sorted(task.task_id for task in tasks)


# --- Restarts, and commands in between ---


def test_the_times_of_tries_hold_over_a_restart(house: House) -> None:
    with Receiver(500, 200) as receiver:
        task = house.end(receiver.url())
        house.wait_for(task, PENDING, 1)
        house.restart()
        house.pass_time(4)
        with Receiver() as other:
            house.wait_for(house.end(other.url()), DELIVERED)
        assert len(receiver.messages) == 1
        house.pass_time(1)
        house.wait_for(task, DELIVERED, 2)


def test_the_end_of_the_service_breaks_off_what_is_being_sent_and_counts_no_try(
    house: House,
) -> None:
    with Receiver() as receiver:
        receiver._answers = [receiver.hang, 200]
        task = house.end(receiver.url())
        receiver.wait_for(1)
        began = time.monotonic()
        house.restart()
        assert time.monotonic() - began < TOTAL_SECONDS
        house.wait_for(task, DELIVERED, 1)
    assert len({m.headers["webhook-id"] for m in receiver.messages}) == 1


def test_a_retry_while_it_is_being_sent_is_not_undone(house: House) -> None:
    with Receiver() as receiver:
        receiver._answers = [receiver.hang, 200]
        task = house.end(receiver.url())
        receiver.wait_for(1)
        house.spool.retry(task.task_id)
        receiver.released.set()
        again = house.spool.claim(task.task_id)
        house.spool.complete(task.task_id, str(again.token), "x.mp4", REPORT, lambda: None)
        house.webhooks.wake(task.task_id)
        _, second = receiver.wait_for(2)
        assert second.values["status"] == "completed"
        house.wait_for(task, DELIVERED, 1)


def test_a_task_removed_while_it_is_being_sent_stays_removed(house: House) -> None:
    with Receiver() as receiver:
        receiver._answers = [receiver.hang, 200]
        task = house.end(receiver.url())
        receiver.wait_for(1)
        house.spool.remove(task.task_id, lambda task: None)
        receiver.released.set()
        house.wait_for(house.end(receiver.url()), DELIVERED)
    assert not house.spool.has_webhook(task.task_id)
    wait_until(lambda: not list(house.state.rglob(f"{task.task_id}*")), "nothing is left")


def test_names_that_crashes_left_are_removed(house: House) -> None:
    done, gone = house.ended(None).task_id, house.spool.new_id()
    for task_id in (done, gone):
        (house.state / "webhooks" / task_id).touch()
    house.webhooks.rescan()
    wait_until(lambda: not list((house.state / "webhooks").iterdir()), "removed")


def test_a_damaged_record_does_not_keep_others_from_being_told(house: House) -> None:
    with Receiver() as receiver:
        damaged = house.ended(receiver.url())
        content = record(house.state, damaged.task_id).read_bytes()
        record(house.state, damaged.task_id).write_bytes(b"nonsense")
        house.webhooks.rescan()
        house.wait_for(house.end(receiver.url()), DELIVERED)
        (set_aside,) = house.spool.damaged()
        (house.state / "failed" / f"{damaged.task_id}.json").write_bytes(content)
        Path(set_aside).unlink()
        house.webhooks.rescan()
        house.wait_for(damaged, DELIVERED)


# --- Trouble of our own ---


def test_an_end_that_was_told_is_not_told_again_because_the_disk_refuses(
    house: House, monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    real, full = house.spool.note_webhook, [True]

    def note(task_id: str, state: WebhookState) -> bool:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(task_id, state)

    monkeypatch.setattr(house.spool, "note_webhook", note)
    with Receiver() as receiver:
        task = house.end(receiver.url())
        wait_until(lambda: lines(logs, "server.log", "webhooks cannot be sent"), "the log")
        house.pass_time(60)
        full[0] = False
        house.pass_time(60)
        house.wait_for(task, DELIVERED, 1)
        assert len(receiver.messages) == 1


def test_a_damaged_secret_is_told_and_counts_no_try(tmp_path: Path, logs: Path) -> None:
    house = House(tmp_path, dataclasses.replace(RULES, secret=None))
    secret = house.state / SECRET_NAME
    secret.write_text("nonsense\n")
    house.webhooks.start()
    with Receiver() as receiver:
        task = house.end(receiver.url())
        wait_until(lambda: lines(logs, "server.log", "webhooks cannot be sent"), "the log")
        wait_until(lambda: house.webhooks._turns.next_due(), "put off")
        assert house.state_of(task).attempts == 0
        assert SECRET_NAME in house.webhooks.problems[0]
        secret.unlink()
        house.pass_time(60)
        (message,) = receiver.wait_for(1)
        house.wait_for(task, DELIVERED, 1)
        wait_until(lambda: house.webhooks.problems == (), "no problem any more")
    house.webhooks.stop()
    key = Webhook(secret.read_text().strip())
    sent = int(message.headers["webhook-timestamp"])
    moment = datetime.fromtimestamp(sent, UTC)
    expected = key.sign(message.headers["webhook-id"], moment, message.body.decode())
    assert message.headers["webhook-signature"] == expected


def test_our_own_secret_is_there_before_the_first_message(tmp_path: Path) -> None:
    house = House(tmp_path, dataclasses.replace(RULES, secret=None))
    house.webhooks.start()
    wait_until((house.state / SECRET_NAME).exists, "the secret")
    house.webhooks.stop()


def test_nothing_that_happens_ends_the_thread(
    house: House, monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    monkeypatch.setattr("daemon.webhooks._TROUBLE_PAUSE", timedelta(seconds=0.05))
    real, broken = house.spool.webhook_ids, [True]

    def ids() -> frozenset[str]:
        if broken[0]:
            raise ZeroDivisionError
        return real()

    monkeypatch.setattr(house.spool, "webhook_ids", ids)
    house.webhooks.rescan()
    wait_until(lambda: lines(logs, "server.log", "webhooks cannot be looked at"), "the log")
    broken[0] = False
    with Receiver() as receiver:
        house.wait_for(house.end(receiver.url()), DELIVERED)


def test_an_end_for_which_there_was_no_thread_is_told_when_there_is_one(
    house: House, monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    """Its receiver would count as busy until the next start, and so never be told again."""

    start = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        if thread.name.startswith("webhook_"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with Receiver(500) as receiver:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", none_left)
            task = house.end(receiver.url())
            wait_until(lambda: lines(logs, "server.log", "webhooks cannot be looked at"), "the log")
        house.pass_time(60)
        house.wait_for(task, PENDING, 1)
        house.webhooks._side.shutdown()  # what it has kept comes first
        assert len(receiver.wait_for(1)) == 1


# --- Killed ---

_TELL = """
    import sys, time
    from pathlib import Path
    from daemon.spool import Spool
    from daemon.webhooks import SECRET_NAME, WebhookRules, Webhooks
    state = Path(sys.argv[1])
    rules = WebhookRules(allow_private=True, secret=None, language="ru")
    Webhooks(Spool(state), rules, state / SECRET_NAME, lambda task_id: None).start()
    time.sleep(120)
"""


def test_killed_while_sending_it_is_sent_again_under_the_same_id(tmp_path: Path) -> None:
    house = House(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(_TELL), str(house.state)]
    with Receiver() as receiver:
        receiver._answers = [receiver.hang, 200]
        task = house.ended(receiver.url())
        killed = subprocess.Popen(command, cwd=ROOT)
        receiver.wait_for(1)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        again = subprocess.Popen(command, cwd=ROOT)
        try:
            first, second = receiver.wait_for(2)
            house.wait_for(task, DELIVERED, 1)
        finally:
            again.kill()
            again.wait()
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert house.spool.get(task.task_id).status is Status.FAILED
