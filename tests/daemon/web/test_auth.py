"""Who is let in, by which key, from where; and what they get to see."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from spools import failed, submitted
from werkzeug.test import TestResponse

from daemon import keys
from daemon.config import load_config
from daemon.logs import configure_logs, reset_logs
from daemon.spool import Spool
from daemon.web.app import app_of
from daemon.web.auth import Caller

# What each route answers to somebody who may: no key is wanted for these,
OPEN = [
    *("/", "/?lang=en", "/static/page.js", "/static/page.css", "/static/icon.svg", "/health"),
    *("/docs", "/docs/start.js", "/docs/assets/swagger-ui.css"),
]
# and one is for all else.
CLOSED = [
    ("GET", "/tasks"),
    ("GET", "/task/x"),
    ("GET", "/stats"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/download/x"),
    ("GET", "/download/x?ticket=y"),
    ("POST", "/link/x"),
    ("GET", "/still/x"),
    ("POST", "/upload"),
    ("POST", "/cancel/x"),
    ("POST", "/retry/x"),
    ("POST", "/cleanup"),
    ("GET", "/nothing/of/the/kind"),
    ("GET", "/docs/../tasks"),
    ("GET", "/Health"),
    ("OPTIONS", "/tasks"),
    ("DELETE", "/tasks"),
]
FORWARDED = [
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Host": "localhost"},
    {"Forwarded": "for=127.0.0.1"},
    {"X-Real-IP": "127.0.0.1"},
    {"Via": "1.1 proxy"},
]


@dataclass
class Web:
    """The interface on a folder, called as from anywhere."""

    folder: Path
    settings: str = ""
    peer: str = "127.0.0.1"
    host: str = "localhost:8000"
    workers: int = 1
    app: Flask = field(init=False)

    def __post_init__(self) -> None:
        config = self.folder / "config.yaml"
        config.write_text(f"language: ru\nweb_workers: {self.workers}\n{self.settings}")
        self.state = self.folder / "state"
        self.spool = Spool(self.state)
        self.app = app_of(load_config(config), self.spool)

    def add_key(self, user_id: str | None = None, name: str = "laptop") -> str:
        """Make a key, an admin's where it is no user's; it counts at once."""
        now = datetime.now(UTC)
        text, _ = keys.add(self.state / "keys", name, user_id, user_id is None, now)
        return text

    def call(self, method: str, path: str, key: str | None = None, **headers: str) -> TestResponse:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"Host": self.host, **given, **({"X-API-Key": key} if key is not None else {})}
        with self.app.test_client() as client:
            return client.open(
                path, method=method, headers=given, environ_base={"REMOTE_ADDR": self.peer}
            )

    def get(self, path: str, key: str | None = None, **headers: str) -> TestResponse:
        return self.call("GET", path, key, **headers)


def refused(response: TestResponse, status: int = 403) -> str:
    """Return the code of a refusal, which must have the shape of all errors."""
    values = json.loads(response.data)
    assert response.status_code == status, values
    assert values["status"] == "error"
    assert values["detail"]
    code = values["code"]
    assert isinstance(code, str)
    return code


@pytest.fixture(autouse=True)
def _keys_count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.keys._LOOK_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def log(tmp_path: Path) -> Iterator[Path]:
    configure_logs(tmp_path / "logs")
    yield tmp_path / "logs" / "server.log"
    reset_logs()


@pytest.fixture
def web(tmp_path: Path) -> Web:
    return Web(tmp_path)


def lines(log: Path) -> list[Any]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


# --- Without any key ---


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_machine_itself_may_do_everything(web: Web, peer: str, host: str) -> None:
    web.peer, web.host = peer, host
    for path in ("/tasks", "/stats", "/metrics", "/openapi.json"):
        assert web.get(path).status_code == 200
    assert web.call("POST", "/cleanup?days=7").status_code == 200


@pytest.mark.parametrize("headers", FORWARDED)
def test_what_a_proxy_forwarded_is_refused(web: Web, headers: dict[str, str]) -> None:
    for path in ("/tasks", "/health", "/"):
        assert refused(web.get(path, **headers)) == "key_required"


@pytest.mark.parametrize("headers", FORWARDED)
def test_a_trusted_proxy_does_not_open_it(tmp_path: Path, headers: dict[str, str]) -> None:
    web = Web(tmp_path, "trusted_proxies: [127.0.0.0/8]\n")
    assert refused(web.get("/tasks", **headers)) == "key_required"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "10.0.0.5", "", "a b"]
)
def test_a_name_that_somebody_else_gave_us_is_refused(web: Web, host: str) -> None:
    web.host = host
    for path in ("/tasks", "/"):
        assert refused(web.get(path)) == "key_required"


@pytest.mark.parametrize("peer", ["10.0.0.5", "203.0.113.9", "2001:db8::1", "", "nonsense"])
def test_others_are_refused_and_told_what_to_do(web: Web, peer: str) -> None:
    web.peer = peer
    response = web.get("/tasks")
    assert refused(response) == "key_required"
    assert "keys add" in response.get_json()["detail"]


def test_without_need_of_a_key_everybody_may_do_everything(tmp_path: Path) -> None:
    web = Web(tmp_path, "auth: {required: false}\n", peer="203.0.113.9", host="media.example")
    assert web.get("/tasks", X_Forwarded_For="198.51.100.7").status_code == 200
    assert web.get("/metrics").status_code == 200


# --- With a key ---


@pytest.mark.parametrize("path", OPEN)
def test_the_open_routes_want_no_key(web: Web, path: str) -> None:
    web.add_key()
    web.peer, web.host = "203.0.113.9", "media.example"
    assert web.get(path, X_Forwarded_For="198.51.100.7").status_code in (200, 503)


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_all_else_wants_one(web: Web, method: str, path: str) -> None:
    web.add_key()
    for key in (None, "", "wrong"):
        response = web.call(method, path, key, Accept_Language="ru")
        assert refused(response) == "invalid_api_key"
        assert response.get_json()["detail"] == "Invalid API key"


def test_no_route_is_forgotten(web: Web) -> None:
    web.add_key()
    known = {path for path in OPEN if path in ("/", "/health", "/docs")}
    for rule in web.app.url_map.iter_rules():
        path = rule.rule.replace("<", "").replace(">", "")
        for method in rule.methods or ():
            if path not in known and not path.startswith(("/docs/", "/static/")):
                assert web.call(method, path).status_code == 403, f"{method} {path}"


def test_a_key_opens_it_from_anywhere(web: Web) -> None:
    key = web.add_key()
    web.peer, web.host = "203.0.113.9", "media.example"
    assert web.get("/tasks", key).status_code == 200
    assert web.get("/tasks", key, X_Forwarded_For="198.51.100.7").status_code == 200
    assert web.get("/tasks", x_api_key=key).status_code == 200


def test_a_key_is_no_parameter(web: Web) -> None:
    key = web.add_key()
    assert refused(web.get(f"/tasks?api_key={key}&X-API-Key={key}")) == "invalid_api_key"


def test_a_revoked_key_is_wrong_even_where_it_was_the_last(web: Web) -> None:
    key = web.add_key()
    assert web.get("/tasks", key).status_code == 200
    keys.revoke(web.state / "keys", "laptop")
    assert refused(web.get("/tasks", key)) == "invalid_api_key"
    assert web.get("/tasks").status_code == 200  # there is none, so the machine itself may


def test_keys_count_in_a_process_that_runs(web: Web) -> None:
    assert web.get("/tasks").status_code == 200
    key = web.add_key()
    assert refused(web.get("/tasks")) == "invalid_api_key"
    assert web.get("/tasks", key).status_code == 200


# --- Whose key ---


def test_a_state_that_is_out_of_reach_before_the_first_request_closes_nothing_open(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.listdir

    def refuse(path: Any = ".") -> list[str]:
        if Path(path).name == "keys":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert web.get("/").status_code == 200
    assert json.loads(web.get("/health").data)["status"] == "unhealthy"


def test_a_users_key_sees_and_touches_only_that_users_tasks(web: Web) -> None:
    alice, admin = web.add_key("alice", "a"), web.add_key(None, "boss")
    mine, hers = failed(web.spool), submitted(web.spool, user_id="alice")
    for method, path in (("GET", "/task/"), ("POST", "/cancel/"), ("POST", "/retry/")):
        others = web.call(method, path + mine, alice)
        unknown = web.call(method, path + web.spool.new_id(), alice)
        assert refused(others, 404) == refused(unknown, 404) == "unknown_task"
    assert web.get(f"/task/{hers}", alice).status_code == 200
    assert [t["task_id"] for t in web.get("/tasks", alice).get_json()["tasks"]] == [hers]
    assert web.get("/stats", alice).get_json()["queue"]["total"] == 1
    assert web.get(f"/task/{mine}", admin).status_code == 200
    assert web.get("/tasks", admin).get_json()["count"] == 2
    assert web.get("/stats", admin).get_json()["queue"]["total"] == 2
    assert web.call("POST", f"/cancel/{hers}", alice).status_code == 200


def test_some_things_are_an_admins(web: Web) -> None:
    alice, admin = web.add_key("alice", "a"), web.add_key(None, "boss")
    for method, path in (("GET", "/metrics"), ("POST", "/cleanup")):
        assert refused(web.call(method, path, alice)) == "admin_only"
        assert web.call(method, path, admin).status_code == 200


def test_nobody_owns_what_is_nobodys(web: Web) -> None:
    web.add_key()
    task_id = submitted(web.spool)
    response = web.get("/health")
    assert task_id not in response.get_data(as_text=True)
    task = web.spool.get(task_id)
    assert not Caller(user_id=None, is_admin=False).may_see(task)
    assert not Caller(user_id="alice", is_admin=False).may_see(task)
    assert Caller(user_id="alice", is_admin=True).may_see(task)


# --- Others' pages ---


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9000", "x"])
@pytest.mark.parametrize("with_key", [True, False])
def test_a_foreign_page_changes_nothing(web: Web, origin: str, with_key: bool) -> None:
    key = web.add_key() if with_key else None
    task_id = submitted(web.spool)
    for path in (f"/cancel/{task_id}", "/cleanup", "/upload"):
        assert refused(web.call("POST", path, key, Origin=origin)) == "foreign_origin"
    assert web.spool.get(task_id).status.value == "pending"
    assert web.get("/tasks", key, Origin=origin).status_code == 200


def test_a_foreign_page_changes_nothing_where_no_key_is_needed(tmp_path: Path) -> None:
    web = Web(tmp_path, "auth: {required: false}\n")
    response = web.call("POST", "/cleanup", Origin="https://evil.example")
    assert refused(response) == "foreign_origin"


def test_our_own_page_may(web: Web) -> None:
    assert web.call("POST", "/cleanup", Origin="http://localhost:8000").status_code == 200
    key = web.add_key()
    web.host = "media.example"
    response = web.call("POST", "/cleanup", key, Origin="https://media.example")
    assert response.status_code == 200


# --- Guessing ---


def test_wrong_keys_are_counted_by_address_and_the_right_one_goes_on(web: Web, log: Path) -> None:
    key = web.add_key()
    web.peer = "203.0.113.9"
    for _ in range(10):
        assert refused(web.get("/tasks", "wrong")) == "invalid_api_key"
    response = web.get("/tasks", "wrong")
    assert refused(response, 429) == "too_many_tries"
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert web.get("/tasks", key).status_code == 200
    assert refused(web.get("/tasks")) == "invalid_api_key"  # no key is no try
    web.peer = "203.0.113.10"
    assert refused(web.get("/tasks", "wrong")) == "invalid_api_key"


def test_processes_share_the_tries_that_an_address_has(tmp_path: Path) -> None:
    web = Web(tmp_path, workers=4)
    web.add_key()
    statuses = [web.get("/tasks", "wrong").status_code for _ in range(4)]
    assert statuses == [403, 403, 403, 429]


def test_a_wrong_key_is_logged_with_its_address_and_never_itself(web: Web, log: Path) -> None:
    web.add_key()
    web.peer = "203.0.113.9"
    for _ in range(30):
        web.get("/task/abc", "mc_a-wrong-key", X_Forwarded_For="198.51.100.7")
    found = lines(log)
    assert len(found) == 10  # strangers do not fill the log
    assert found[0]["level"] == "WARNING"
    assert (found[0]["address"], found[0]["route"]) == ("203.0.113.9", "/task/abc")
    assert "a-wrong-key" not in log.read_text()


def test_behind_a_trusted_proxy_its_clients_are_counted(tmp_path: Path, log: Path) -> None:
    web = Web(tmp_path, "trusted_proxies: [10.0.0.0/8]\n", peer="10.0.0.1")
    web.add_key()
    for _ in range(11):
        web.get("/tasks", "wrong", X_Forwarded_For="1.2.3.4, 198.51.100.7")
    assert {line["address"] for line in lines(log)} == {"198.51.100.7"}
    response = web.get("/tasks", "wrong", X_Forwarded_For="198.51.100.8")
    assert refused(response) == "invalid_api_key"


def test_an_open_route_tells_nothing_of_a_key(web: Web, log: Path) -> None:
    web.add_key()
    for _ in range(12):
        assert web.get("/docs", "wrong").status_code == 200
    assert refused(web.get("/tasks", "wrong"), 429) == "too_many_tries"
    assert len(lines(log)) == 10
