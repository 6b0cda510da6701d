"""POST /link/<id>: for some hours a browser has one result without a key's header."""

from __future__ import annotations

import tracemalloc
import zlib
from base64 import urlsafe_b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any

import itsdangerous.timed
import pytest
from web_apps import WebApp

from daemon import keys
from daemon.keys import FOLDER, Keys
from daemon.web import tickets


@pytest.fixture
def web(tmp_path: Path) -> WebApp:
    return WebApp(tmp_path)


@pytest.fixture
def alice(web: WebApp) -> str:
    return web.key("of-alice", "alice")


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let time pass for tickets."""
    signer = itsdangerous.timed.TimestampSigner
    now = signer.get_timestamp

    def pass_by(seconds: int) -> None:
        monkeypatch.setattr(signer, "get_timestamp", lambda self: now(self) + seconds)

    return pass_by


def link(web: WebApp, task_id: str, key: str | None = None) -> Any:
    answer = web.post(f"/link/{task_id}", key)
    assert answer.status_code == 200
    return answer.get_json()


def test_a_link_opens_the_result_without_a_key(web: WebApp, alice: str) -> None:
    task_id = web.complete("alice")
    found = link(web, task_id, alice)
    assert found["url"].startswith(f"/download/{task_id}?ticket=")
    assert found["expires_at"] == (web.clock() + timedelta(hours=6)).isoformat()
    assert web.get(found["url"]).data == b"video"
    assert web.client.head(found["url"]).status_code == 200
    assert web.get(found["url"], headers={"Range": "bytes=1-2"}).data == b"id"


def test_where_no_key_is_needed_the_link_has_no_ticket(web: WebApp) -> None:
    task_id = web.complete()
    expected = {"status": "success", "url": f"/download/{task_id}", "expires_at": None}
    assert link(web, task_id) == expected


def test_a_link_opens_nothing_else(web: WebApp, alice: str) -> None:
    task_id, other = web.complete("alice"), web.complete("alice")
    ticket = link(web, task_id, alice)["url"].partition("?")[2]
    for path in (f"/download/{other}", f"/task/{task_id}", f"/still/{task_id}", "/tasks", "/stats"):
        answer = web.get(f"{path}?{ticket}")
        assert (answer.status_code, answer.get_json()["code"]) == (403, "invalid_api_key")
    for path in (f"/cancel/{task_id}", f"/link/{task_id}", "/cleanup"):
        assert web.post(f"{path}?{ticket}").status_code == 403


def test_a_link_ends_with_its_time(web: WebApp, alice: str, passing: Any) -> None:
    url = link(web, web.complete("alice"), alice)["url"]
    passing(tickets.SECONDS - 60)
    assert web.get(url).status_code == 200
    passing(tickets.SECONDS + 60)
    assert web.get(url).status_code == 403


def test_a_link_ends_with_its_key(web: WebApp, alice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_LOOK_SECONDS", 0.0)
    web.key("other", "bob")  # or nobody would need a key any more
    url = link(web, web.complete("alice"), alice)["url"]
    keys.revoke(web.state / FOLDER, "of-alice")
    assert web.get(url).status_code == 403
    web.key("of-alice", "alice")  # of the same name, but another
    assert web.get(url).status_code == 403


def test_a_link_is_worth_no_more_than_its_key(web: WebApp, alice: str) -> None:
    his = web.complete("bob")
    assert web.post(f"/link/{his}", alice).status_code == 404
    key = Keys(web.state / FOLDER).named("of-alice")
    assert key is not None
    made = tickets.ticket_of(key, his)  # as if she had one
    assert web.get(f"/download/{his}?ticket={made}").status_code == 404


@pytest.mark.parametrize(
    "ticket",
    [
        "",
        "x",
        "..",
        "a.b.c",
        "of-alice",
        "of-alice.x",
        "of-alice.x.y",
        "of-alice.x.%FF",
        "of-alice..",
        "%00",
    ],
)
def test_what_is_no_ticket_opens_nothing(web: WebApp, alice: str, ticket: str) -> None:
    task_id = web.complete("alice")
    assert web.get(f"/download/{task_id}?ticket={ticket}").status_code == 403


def test_nothing_that_a_stranger_sends_is_unpacked(web: WebApp, alice: str) -> None:
    task_id = web.complete("alice")
    packed = urlsafe_b64encode(zlib.compress(b"[" + b"[]," * 900_000 + b"[]]")).decode()
    web.get(f"/download/{task_id}?ticket=a.b.c")  # imports and the like
    tracemalloc.start()
    answer = web.get(f"/download/{task_id}?ticket=.{packed}.x.y")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 403
    assert peak < 1 << 20


def test_a_changed_ticket_opens_nothing(web: WebApp, alice: str) -> None:
    url = link(web, web.complete("alice"), alice)["url"]
    # The last letter of a part has bits that say nothing.
    places = [p for p in range(url.index("=") + 1, len(url) - 1) if url[p + 1] != "."]
    for place in places:
        letter = "A" if url[place] != "A" else "B"
        assert web.get(url[:place] + letter + url[place + 1 :]).status_code == 403


def test_there_is_no_link_to_what_is_not_there(web: WebApp) -> None:
    for task_id, code in ((web.submit(), "not_finished"), ("7", "unknown_task")):
        assert web.post(f"/link/{task_id}").get_json()["code"] == code
    gone = web.complete()
    next(web.outbox.glob(f"{gone}*.mp4")).unlink()
    assert web.post(f"/link/{gone}").status_code == 410
