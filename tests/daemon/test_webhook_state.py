"""How the telling of one end goes on, and that the record holds it."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.records import Unreadable, decode, encode
from daemon.task import Status, Task, webhook_of
from daemon.task_view import view
from daemon.webhook_state import (
    PAUSES_SECONDS,
    WebhookState,
    WebhookStatus,
    delivered,
    failed,
    given_up,
)
from pipeline.parameters import Parameters

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NAME = "019ab2c4-1111-7000-8000-000000000000"
NEW = WebhookState(event_id="e")
TASK = Task(
    task_id=NAME,
    status=Status.COMPLETED,
    created_at=NOON,
    completed_at=NOON,
    input_video="a.mp4",
    original="/in/a.mp4",
    outbox="/out",
    parameters=Parameters(webhook_url="https://example.com/hook"),
)


def test_the_pauses_grow_over_days_and_then_it_is_given_up() -> None:
    state, now = NEW, NOON
    for seconds in PAUSES_SECONDS:
        state = failed(state, "answered 500", now, 0.0)
        assert state.status is WebhookStatus.PENDING
        assert state.next_attempt_at == now + timedelta(seconds=seconds)
        now = state.next_attempt_at
    state = failed(state, "answered 503", now, 0.0)
    assert state.status is WebhookStatus.GIVEN_UP
    assert (state.attempts, state.last_error) == (11, "answered 503")
    assert state.next_attempt_at is None
    assert list(PAUSES_SECONDS) == sorted(PAUSES_SECONDS)
    assert timedelta(days=3) < now - NOON < timedelta(days=4)


def test_what_failed_together_is_not_tried_again_together() -> None:
    latest = failed(NEW, "x", NOON, 1.0).next_attempt_at
    assert latest == NOON + timedelta(seconds=5.5)


def test_delivered_leaves_no_error_behind() -> None:
    state = delivered(failed(NEW, "answered 500", NOON, 0.0), NOON)
    assert state == WebhookState(
        event_id="e", status=WebhookStatus.DELIVERED, attempts=2, delivered_at=NOON
    )
    assert state.is_settled
    assert given_up(NEW, "gone").is_settled
    assert not NEW.is_settled


def test_nobody_is_told_of_a_task_without_a_url() -> None:
    task = dataclasses.replace(TASK, parameters=Parameters())
    assert webhook_of(task) is None
    assert view(task, "en", NOON)["webhook"] is None


def test_what_was_written_about_another_end_does_not_count() -> None:
    told = dataclasses.replace(TASK, webhook=delivered(webhook_of(TASK), NOON))
    assert webhook_of(told).status is WebhookStatus.DELIVERED
    for other in ({"retries": 1}, {"status": Status.CANCELLED}):
        again = webhook_of(dataclasses.replace(told, **other))
        assert again.status is WebhookStatus.PENDING
        assert again.event_id != webhook_of(told).event_id


def test_the_task_says_how_far_telling_it_has_come() -> None:
    assert view(TASK, "en", NOON)["webhook"] == {
        "status": "pending",
        "attempts": 0,
        "last_error": None,
        "next_attempt_at": None,
        "delivered_at": None,
    }
    state = failed(webhook_of(TASK), "answered 500", NOON, 0.0)
    seen = view(dataclasses.replace(TASK, webhook=state), "en", NOON)["webhook"]
    assert seen["attempts"] == 1
    assert seen["last_error"] == "answered 500"
    assert seen["next_attempt_at"] == "2026-11-24T12:00:05.000000+00:00"


@pytest.mark.parametrize(
    "state",
    [NEW, failed(NEW, "no connection", NOON, 0.5), delivered(NEW, NOON), given_up(NEW, "gone")],
)
def test_a_record_brings_it_back_as_it_was(state: WebhookState) -> None:
    task = dataclasses.replace(TASK, webhook=state)
    assert decode(encode(task), NAME, task.status) == task


def test_a_newer_versions_field_is_borne() -> None:
    values = json.loads(encode(dataclasses.replace(TASK, webhook=NEW)))
    values["webhook"]["colour"] = "red"
    assert decode(json.dumps(values).encode(), NAME, TASK.status).webhook == NEW


@pytest.mark.parametrize(
    "webhook",
    [
        7,
        {},
        {"event_id": 1},
        {"event_id": "e", "status": "perhaps"},
        {"event_id": "e", "status": []},
        {"event_id": "e", "attempts": -1},
        {"event_id": "e", "next_attempt_at": "2026-11-24T12:00:00"},
    ],
)
def test_what_is_none_makes_the_record_unreadable(webhook: Any) -> None:
    values = json.loads(encode(TASK)) | {"webhook": webhook}
    with pytest.raises(Unreadable, match="webhook"):
        decode(json.dumps(values).encode(), NAME, TASK.status)
