"""Health and gauges: true whatever process answers, and no secrets for strangers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from spools import record
from web_apps import WebApp

from daemon import health
from daemon.config import load_config
from daemon.health import Health, InboxHealth, ServiceStatus, Workers
from daemon.web.app import app_of


@pytest.fixture
def web(tmp_path: Path) -> WebApp:
    return WebApp(tmp_path)


def told(web: WebApp, *problems: str) -> Health:
    """Have a service tell how it is."""
    value = Health(
        pid=os.getpid(),
        started_at=web.clock(),
        updated_at=web.clock(),
        status=ServiceStatus.RUNNING,
        workers=Workers(size=3, ready=2, busy=1),
        inboxes={"main": InboxHealth("/srv/inbox", True, "events", mount="/srv ext4")},
        free_gb={"temp": 12.5, "outbox": None},
        problems=problems,
    )
    health.write(web.state, value)
    return value


def gauges(web: WebApp, client: Any = None) -> dict[str, float]:
    response = (client or web.client).get("/metrics")
    assert response.status_code == 200
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(response.get_data(as_text=True)):
        assert family.documentation
        for sample in family.samples:
            labels = "".join(f"[{value}]" for value in sample.labels.values())
            found[sample.name.removeprefix("media_cleaner_") + labels] = sample.value
    return found


def test_a_service_that_is_well_is_healthy(web: WebApp) -> None:
    told(web)
    response = web.get("/health")
    assert response.status_code == 200
    values = response.get_json()
    assert (values["status"], values["service"], values["problems"]) == ("healthy", "running", [])
    assert values["workers"] == {"size": 3, "ready": 2, "busy": 1}
    assert values["inboxes"]["main"]["is_available"]
    assert values["free_gb"] == {"temp": 12.5, "outbox": None}


def test_what_the_service_complains_of_is_unhealthy_and_told(web: WebApp) -> None:
    told(web, "temp: /srv/temp has 0.1 GB free; make room.")
    response = web.get("/health")
    assert response.status_code == 503
    values = response.get_json()
    assert values["status"] == "unhealthy"
    assert values["problems"] == ["temp: /srv/temp has 0.1 GB free; make room."]


def test_a_service_that_is_not_there_is_unhealthy(web: WebApp) -> None:
    values = web.get("/health").get_json()
    assert (values["status"], values["service"]) == ("unhealthy", "unknown")
    assert "media-cleaner serve" in values["problems"][0]


def test_a_service_that_is_silent_is_unhealthy(web: WebApp) -> None:
    told(web)
    web.clock.forward(minutes=1)
    response = web.get("/health")
    assert (response.status_code, response.get_json()["service"]) == (503, "unknown")


def test_a_damaged_record_is_named_and_makes_nothing_unhealthy(web: WebApp) -> None:
    told(web)
    task_id = web.submit()
    record(web.state, task_id).write_bytes(b"{")
    web.get("/tasks")
    told(web)
    response = web.get("/health")
    assert response.status_code == 200
    (warning,) = response.get_json()["warnings"]
    assert task_id in warning


def test_a_stranger_is_told_which_part_is_not_well_and_no_more(web: WebApp) -> None:
    web.key("root", is_admin=True)
    task_id = web.submit(user_id="alice")
    record(web.state, task_id).write_bytes(b"{")
    told(web, "inbox main: /srv/alice is gone", "temp: /srv/temp is full", "temp: and slow", "Odd.")
    values = web.get("/health").get_json()
    assert values.keys() == {"status", "service", "problems"}
    parts = [problem.partition(":")[0] for problem in values["problems"]]
    assert parts == ["inbox main", "temp", "service"]
    assert not [word for word in ("alice", "/srv", task_id, "Odd") if word in str(values)]


def test_a_users_key_is_told_no_more_than_a_stranger_and_an_admins_all(web: WebApp) -> None:
    admin, user = web.key("root", is_admin=True), web.key("a", "alice")
    told(web, "temp: /srv/temp is full")
    assert "workers" not in web.get("/health", user).get_json()
    assert web.get("/health", admin).get_json()["problems"] == ["temp: /srv/temp is full"]


def test_what_a_stranger_is_told_is_in_the_callers_language(web: WebApp) -> None:
    web.key("root", is_admin=True)
    told(web, "temp: /srv/temp is full")
    problem = web.get("/health", headers={"Accept-Language": "ru"}).get_json()["problems"][0]
    assert problem.startswith("папка temp: не в порядке")


def test_what_the_service_complains_of_is_told_in_the_callers_language(web: WebApp) -> None:
    value = told(web, "temp: /srv/temp cannot be used (No such file or directory); bring it back.")
    inboxes = {"main": replace(value.inboxes["main"], reason="/srv/inbox is not a folder")}
    health.write(web.state, replace(value, inboxes=inboxes))
    record(web.state, web.submit()).write_bytes(b"{")
    web.get("/tasks")
    values = web.get("/health", headers={"Accept-Language": "ru"}).get_json()
    assert values["problems"] == [
        "папка temp: /srv/temp недоступна (нет такого файла или папки); восстановите доступ."
    ]
    assert values["inboxes"]["main"]["reason"] == "/srv/inbox — не папка"
    assert "лежит запись" in values["warnings"][0]
    assert web.get("/health").get_json()["problems"] == list(value.problems)


def test_gauges_tell_of_the_queue_and_the_service(web: WebApp) -> None:
    web.submit()
    web.submit()
    web.complete()
    told(web, "temp: full")
    web.clock.forward(seconds=10)
    found = gauges(web)
    assert (found["tasks[pending]"], found["tasks[completed]"], found["tasks[failed]"]) == (2, 1, 0)
    assert found["oldest_pending_seconds"] == 12
    assert (found["service_up"], found["problems"], found["damaged_records"]) == (1, 1, 0)
    assert (found["workers[size]"], found["workers[ready]"], found["workers[busy]"]) == (3, 2, 1)
    assert found["inbox_available[main]"] == 1
    assert found["free_bytes[temp]"] == 12.5 * (1 << 30)
    assert "free_bytes[outbox]" not in found


def test_gauges_without_a_service_tell_that(web: WebApp) -> None:
    web.submit()
    found = gauges(web)
    assert (found["service_up"], found["problems"]) == (0, 1)
    assert "workers[size]" not in found


def test_every_web_process_tells_the_same(web: WebApp) -> None:
    told(web)
    other = app_of(load_config(web.folder / "config.yaml"), web.spool).test_client()
    for _ in range(3):
        web.submit()
        assert gauges(web) == gauges(web, other)


def test_a_name_that_means_something_to_prometheus_is_written_so_that_it_can_be_read(
    web: WebApp,
) -> None:
    odd = 'a"b\\c\nd'
    value = told(web)
    health.write(web.state, replace(value, inboxes={odd: value.inboxes["main"]}))
    assert gauges(web)[f"inbox_available[{odd}]"] == 1


def test_gauges_are_an_admins(web: WebApp) -> None:
    admin, user = web.key("root", is_admin=True), web.key("a", "alice")
    assert web.get("/metrics", user).get_json()["code"] == "admin_only"
    assert web.get("/metrics", admin).status_code == 200
