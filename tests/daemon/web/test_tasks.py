"""Tasks over the network: what is told of them and done to them, and for whom."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from spools import record
from web_apps import WebApp

from daemon.outbox import status_path
from daemon.task import Status, Task
from daemon.task_view import view
from daemon.web import own_tasks

NOBODY = "01a20d6d-5a00-70dc-ab7a-227b1833c6b0"


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def web(tmp_path: Path) -> WebApp:
    return WebApp(tmp_path)


def ids(response: Any) -> list[str]:
    values = response.get_json()
    assert values["status"] == "success"
    assert values["count"] == len(values["tasks"])
    return [task["task_id"] for task in values["tasks"]]


def refusal(response: Any) -> tuple[int, str, str | None]:
    values = response.get_json()
    assert values["status"] == "error"
    return response.status_code, values["code"], values.get("field")


# --- One task ---


def test_a_task_is_shown_as_its_status_file_has_it(web: WebApp) -> None:
    first, second = web.submit(), web.submit()
    shown = web.get(f"/task/{second}").get_json()
    task = web.spool.get(second)
    assert shown == {"status": "success", "task": view(task, "en", web.clock(), 2)}
    assert web.get(f"/task/{first}").get_json()["task"]["queue_position"] == 1


@pytest.mark.parametrize(
    "name",
    [
        NOBODY,
        "7",
        "%00",
        "fa048632-70ae-7ea5-9084-845eb571e7ba",  # of a year that no calendar has
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("act", ["GET /task/", "POST /cancel/", "POST /retry/"])
def test_what_is_no_task_is_unknown(web: WebApp, act: str, name: str) -> None:
    method, path = act.split()
    response = web.client.open(path + name, method=method)
    assert refusal(response)[:2] == (404, "unknown_task")
    assert len(response.data) < 300


def test_a_damaged_record_is_unknown_and_told_in_the_log(
    web: WebApp, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = web.submit()
    record(web.state, task_id).write_bytes(b"{")
    assert refusal(web.get(f"/task/{task_id}")) == (404, "unknown_task", None)
    assert [str(r.msg) for r in caplog.records if task_id in str(r.msg)]


# --- Lists ---


def test_the_newest_come_first_and_pages_go_on_below(web: WebApp) -> None:
    made = [web.submit() for _ in range(5)][::-1]
    assert ids(web.get("/tasks")) == made
    assert ids(web.get("/tasks?limit=2")) == made[:2]
    assert ids(web.get(f"/tasks?limit=2&before={made[1]}")) == made[2:4]
    assert ids(web.get(f"/tasks?before={made[-1]}")) == []


@pytest.mark.parametrize(
    ("request_line", "field"),
    [
        ("GET /tasks?user=alice", "user"),
        ("GET /tasks?statuses=failed", "statuses"),
        ("GET /tasks?status=failed&status=pending", "status"),
        ("GET /tasks?user_id=alice&" + "x" * 5000 + "=1", "x" * 97 + "..."),
        ("GET /stats?user_id=alice", "user_id"),
        ("GET /still/{}?time=3", "time"),
        ("GET /still/{}?at=1&at=2", "at"),
        ("POST /cancel/{}?force=1", "force"),
        ("POST /retry/{}?epsilon=0.2", "epsilon"),
    ],
)
def test_what_would_be_passed_over_in_a_query_is_refused(
    web: WebApp, request_line: str, field: str
) -> None:
    """A misspelt filter answered with everybody's tasks, a retry with the old parameters."""
    task_id = web.submit(user_id="bob")
    method, path = request_line.format(task_id).split()
    response = web.client.open(path, method=method)
    assert refusal(response) == (422, "invalid_parameter", field)
    assert len(response.data) < 500
    assert web.spool.get(task_id).status is Status.PENDING


def test_an_unknown_name_in_a_query_is_told_what_is_known(web: WebApp) -> None:
    detail = web.get("/tasks?user=alice").get_json()["detail"]
    assert detail == "Unknown parameter user; known are user_id, status, limit, before."
    detail = web.get("/stats?user=alice").get_json()["detail"]
    assert detail == "Unknown parameter user; there are none here."


def test_a_list_without_a_limit_has_fifty(web: WebApp) -> None:
    for _ in range(60):
        web.submit()
    assert len(ids(web.get("/tasks"))) == 50
    assert len(ids(web.get("/tasks?limit=500"))) == 60


def test_a_list_is_of_a_user_and_a_status(web: WebApp) -> None:
    alice, bob, done = web.submit(user_id="alice"), web.submit(user_id="bob"), web.complete("bob")
    assert ids(web.get("/tasks?user_id=alice")) == [alice]
    assert ids(web.get("/tasks?user_id=bob")) == [done, bob]
    assert ids(web.get("/tasks?user_id=bob&status=completed")) == [done]
    assert ids(web.get("/tasks?status=failed")) == []
    assert ids(web.get("/tasks?user_id=nobody")) == []


def test_each_that_waits_has_its_place(web: WebApp) -> None:
    for _ in range(3):
        web.submit()
    web.complete()
    tasks = web.get("/tasks").get_json()["tasks"]
    assert [task["queue_position"] for task in tasks] == [None, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *((f"limit={v}", "limit") for v in ("0", "501", "-1", "x", "", "1.5", "1_0", "٥", "%205")),
        *((f"limit={v}", "limit") for v in ("9" * 5000, "1e2", "0x10")),
        *((f"status={v}", "status") for v in ("done", "", "PENDING", "pending%20")),
        *((f"before={v}", "before") for v in ("x", "", NOBODY[:-1], "../" + NOBODY)),
        ("before=fa048632-70ae-7ea5-9084-845eb571e7ba", "before"),
        *((f"user_id={v}", "user_id") for v in ("", ".x", "a/b", "x" * 65, "%00", "имя")),
    ],
)
def test_a_wrong_query_is_refused_by_its_name(web: WebApp, query: str, field: str) -> None:
    response = web.get(f"/tasks?{query}")
    assert refusal(response) == (422, "invalid_parameter", field)
    assert response.get_json()["detail"].startswith(f"{field} is ")


def test_a_damaged_record_hides_no_other(web: WebApp, caplog: pytest.LogCaptureFixture) -> None:
    made = [web.submit() for _ in range(3)]
    record(web.state, made[1]).write_bytes(b"{")
    assert ids(web.get("/tasks")) == [made[2], made[0]]
    assert [str(r.msg) for r in caplog.records if made[1] in str(r.msg)]


# --- Cancel and retry ---


def test_a_cancelled_task_is_answered_logged_and_told_in_its_file(
    web: WebApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "media_cleaner")
    task = web.claim()
    response = web.post(f"/cancel/{task.task_id}")
    values = response.get_json()
    assert (values["status"], values["message"]) == ("success", "The task is cancelled.")
    assert values["task"]["status"] == "cancelled"
    assert web.spool.get(task.task_id).status is Status.CANCELLED
    assert json.loads(status_path(task).read_bytes())["status"] == "cancelled"
    assert [r for r in caplog.records if task.task_id in str(r.msg) and "cancelled" in str(r.msg)]


def test_a_retried_task_waits_again(web: WebApp) -> None:
    task_id = web.submit()
    web.post(f"/cancel/{task_id}")
    values = web.post(f"/retry/{task_id}").get_json()
    assert values["message"] == "The task is in the queue again."
    assert (values["task"]["status"], values["task"]["queue_position"]) == ("pending", 1)
    assert json.loads(status_path(web.spool.get(task_id)).read_bytes())["status"] == "pending"


def test_what_has_ended_cannot_be_cancelled_nor_what_goes_on_retried(web: WebApp) -> None:
    done, waiting = web.complete(), web.submit()
    assert refusal(web.post(f"/cancel/{done}")) == (409, "wrong_status", None)
    assert refusal(web.post(f"/retry/{done}")) == (409, "wrong_status", None)
    assert refusal(web.post(f"/retry/{waiting}")) == (409, "wrong_status", None)


def test_an_outbox_that_is_away_stops_no_cancel(web: WebApp) -> None:
    task_id = web.submit()
    web.outbox.rmdir()
    web.outbox.touch()
    assert web.post(f"/cancel/{task_id}").status_code == 200


# --- Counts and cleanup ---


def test_stats_count_by_status(web: WebApp) -> None:
    web.submit()
    web.claim()
    web.complete()
    web.spool.cancel(web.submit())
    assert web.get("/stats").get_json() == {
        "status": "success",
        "queue": {
            "total": 4,
            "pending": 1,
            "processing": 1,
            "completed": 1,
            "failed": 0,
            "cancelled": 1,
        },
        "caller": {"name": None, "user_id": None, "is_admin": True},
    }


def test_cleanup_removes_what_ended_long_enough_ago(web: WebApp) -> None:
    old = web.complete()
    web.clock.forward(days=8)
    new, waiting = web.complete(), web.submit()
    assert web.post("/cleanup").get_json() == {
        "status": "success",
        "deleted_tasks": 1,
        "freed_bytes": 5,
        "problems": [],
    }
    assert web.get(f"/task/{old}").status_code == 404
    assert ids(web.get("/tasks")) == [waiting, new]
    assert web.post("/cleanup?days=0").get_json()["deleted_tasks"] == 1
    assert ids(web.get("/tasks")) == [waiting]


def test_cleanup_takes_its_days_from_a_form_too(web: WebApp) -> None:
    web.complete()
    assert web.post("/cleanup", data={"days": "0"}).get_json()["deleted_tasks"] == 1


@pytest.mark.parametrize(
    "days", ["-1", "3651", "x", "", "nan", "inf", "1e9", "1_0", "%207", "9" * 5000, "0x1", "-0"]
)
def test_wrong_days_remove_nothing(web: WebApp, days: str) -> None:
    web.complete()
    web.clock.forward(days=5000)
    response = web.post(f"/cleanup?days={days}")
    assert refusal(response) == (422, "invalid_parameter", "days")
    assert len(ids(web.get("/tasks"))) == 1


def test_days_that_are_not_understood_do_not_become_the_default(web: WebApp) -> None:
    web.complete()
    web.clock.forward(days=8)
    assert refusal(web.post("/cleanup?day=30")) == (422, "invalid_parameter", "day")
    assert refusal(web.post("/cleanup", data={"Days": "30"})) == (422, "invalid_parameter", "Days")
    for body in (
        {"json": {"days": 30}},
        {"data": {"days": (io.BytesIO(b"30"), "days.txt")}},
        {"data": b"--x\r\n", "content_type": "multipart/form-data; boundary=y"},
        {"data": {"days": ["30", "0"]}},
    ):
        assert refusal(web.post("/cleanup", **body)) == (422, "invalid_parameter", "body"), body
    assert refusal(web.post("/cleanup?days=30&days=0")) == (422, "invalid_parameter", "days")
    long = refusal(web.post("/cleanup", data={"D" * 5000: "30"}))
    assert long == (422, "invalid_parameter", "D" * 60)
    assert len(ids(web.get("/tasks"))) == 1


@pytest.mark.parametrize("days", ["0", "7", "7.5", "3650", "1e2", "0.001"])
def test_days_may_be_any_number_from_0_to_3650(web: WebApp, days: str) -> None:
    assert web.post(f"/cleanup?days={days}").status_code == 200


# --- Keys ---


class Crowd:
    """Two users and an admin, each with a key and, but for the admin, with a task."""

    def __init__(self, web: WebApp) -> None:
        self.web = web
        self.admin = web.key("root", is_admin=True)
        self.alice, self.bob = web.key("a", "alice"), web.key("b", "bob")
        self.hers, self.his = web.submit(user_id="alice"), web.submit(user_id="bob")
        self.nobodys = web.submit()


@pytest.fixture
def crowd(web: WebApp) -> Crowd:
    return Crowd(web)


def test_a_user_sees_only_their_own_tasks(crowd: Crowd) -> None:
    web = crowd.web
    assert ids(web.get("/tasks", crowd.alice)) == [crowd.hers]
    assert ids(web.get("/tasks?user_id=alice", crowd.alice)) == [crowd.hers]
    assert ids(web.get("/tasks?user_id=bob", crowd.alice)) == []
    assert ids(web.get(f"/tasks?before={crowd.nobodys}", crowd.alice)) == [crowd.hers]
    assert web.get(f"/task/{crowd.hers}", crowd.alice).status_code == 200
    assert ids(web.get("/tasks", crowd.admin)) == [crowd.nobodys, crowd.his, crowd.hers]


@pytest.mark.parametrize("act", ["GET /task/", "POST /cancel/", "POST /retry/"])
def test_anothers_task_is_answered_as_if_it_were_not_there(crowd: Crowd, act: str) -> None:
    method, path = act.split()
    headers = {"X-API-Key": crowd.alice}
    for task_id in (crowd.his, crowd.nobodys):
        there = crowd.web.client.open(path + task_id, method=method, headers=headers)
        not_there = crowd.web.client.open(path + NOBODY, method=method, headers=headers)
        assert refusal(there)[:2] == (404, "unknown_task")
        assert there.data.replace(task_id.encode(), b"") == not_there.data.replace(
            NOBODY.encode(), b""
        )
        assert dict(there.headers) == dict(not_there.headers)
    assert crowd.web.spool.get(crowd.his).status is Status.PENDING


def test_the_time_of_an_answer_does_not_tell_whether_a_task_is_there(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    real = own_tasks._read

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds

    def read(task_id: str) -> Task | None:
        pause({crowd.his: 0.008, NOBODY: 0.002, "7": 0.0}[task_id])
        return real(task_id)

    monkeypatch.setattr(own_tasks, "_read", read)
    monkeypatch.setattr(own_tasks, "time", SimpleNamespace(monotonic=lambda: now, sleep=pause))
    for task_id in (crowd.his, NOBODY, "7"):
        began = now
        assert crowd.web.get(f"/task/{task_id}", crowd.alice).status_code == 404
        assert now - began == pytest.approx(0.025)


def test_a_user_counts_only_their_own(crowd: Crowd) -> None:
    answer = crowd.web.get("/stats", crowd.alice).get_json()
    assert (answer["queue"]["total"], answer["queue"]["pending"]) == (1, 1)
    assert answer["caller"]["user_id"] == "alice"
    assert not answer["caller"]["is_admin"]
    assert crowd.web.get("/stats", crowd.admin).get_json()["queue"]["total"] == 3


def test_only_an_admin_cleans_up(crowd: Crowd) -> None:
    assert refusal(crowd.web.post("/cleanup", crowd.alice))[:2] == (403, "admin_only")
    assert crowd.web.post("/cleanup", crowd.admin).status_code == 200


def test_a_user_cancels_and_retries_their_own(crowd: Crowd) -> None:
    assert crowd.web.post(f"/cancel/{crowd.hers}", crowd.alice).status_code == 200
    assert crowd.web.post(f"/retry/{crowd.hers}", crowd.alice).status_code == 200


def test_without_a_key_nothing_is_told(crowd: Crowd) -> None:
    for path in ("/tasks", "/stats", f"/task/{crowd.his}", "/metrics", "/openapi.json"):
        response = crowd.web.get(path)
        assert refusal(response)[:2] == (403, "invalid_api_key")
        assert response.get_json()["detail"] == "Invalid API key"
