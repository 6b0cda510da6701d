"""Requests are answered by a unit of its own: gunicorn, beside a service without a web side."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from services import PATIENCE_SECONDS, ROOT, ServiceHouse, running, wait_until
from web_servers import APP, IMPATIENT_APP, WebHouse, gunicorn

PATIENT = "daemon.web_worker.PatientWorker"


def test_a_service_without_web_workers_is_ready_and_another_unit_answers_for_it(
    tmp_path: Path,
) -> None:
    house = ServiceHouse(tmp_path, web_workers=0)
    with running(house):
        assert house.children("daemon.web_server") == []
        with gunicorn(tmp_path, worker_class=PATIENT, web_workers=0) as web:
            told = wait_until(lambda: healthy(web.url), "healthy")
        assert told["service"] == "running"
        assert house.health()["url"] is None
        assert house.health()["problems"] == []
        ready = next(line for line in house.log_lines("server.log") if line["event"] == "ready")
        assert ready["url"] is None
        house.configure(web_workers=1)
        house.send(signal.SIGHUP)
        warned = wait_until(lambda: needs_restart(house), "a warning")
        assert warned == ["web_workers"]
        assert house.stop() == 0


def needs_restart(house: ServiceHouse) -> list[str]:
    lines = house.log_lines("server.log")
    return [line["key"] for line in lines if line["event"] == "needs a restart to take effect"]


def healthy(url: str) -> Any:
    values = requests.get(f"{url}/health", timeout=PATIENCE_SECONDS).json()
    return values if values["status"] == "healthy" else None


def test_an_address_for_nobody_is_refused(tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path, web_workers=0)
    answer = house.run("serve", "--port", "0")
    assert answer.returncode == 2
    assert "web_workers" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize("worker_class", [PATIENT, "gthread"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [("prot: 1\n", "prot is not a known key"), ("logs: /proc/logs\n", "/proc/logs cannot be used")],
)
def test_a_wrong_configuration_ends_gunicorn_with_one_line(
    tmp_path: Path, worker_class: str, settings: str, said: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(settings)
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "gunicorn", APP, "--bind", "127.0.0.1:0"),
            *("--worker-class", worker_class, "--no-control-socket", "--log-level", "error"),
        ],
        cwd=ROOT,
        env={**os.environ, "MEDIA_CLEANER_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert answer.returncode != 0
    assert "Traceback" not in answer.stderr + answer.stdout
    assert [line for line in answer.stderr.splitlines() if said in line]


# --- Bodies that never come, or are none ---


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebHouse]:
    with gunicorn(tmp_path_factory.mktemp("web"), worker_class=PATIENT, language="en") as house:
        yield house


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebHouse]:
    """A server that waits a second for the rest of a body."""
    folder = tmp_path_factory.mktemp("impatient")
    with gunicorn(folder, app=IMPATIENT_APP, worker_class=PATIENT, language="en") as house:
        yield house


def answer_to(web: WebHouse, sent: str) -> tuple[int, dict[str, Any]]:
    with socket.create_connection(("127.0.0.1", web.port), timeout=PATIENCE_SECONDS) as client:
        client.sendall(sent.encode())
        response = http.client.HTTPResponse(client, method="POST")
        response.begin()
        return response.status, json.loads(response.read())


def form_of(route: str, framing: str, body: str) -> str:
    kind = "application/x-www-form-urlencoded"
    if route == "/upload":
        kind = "multipart/form-data; boundary=x"
        body = body.replace("days", '--x\r\nContent-Disposition: form-data; name="epsilon"\r\n')
    head = f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return f"{head}{framing}\r\n\r\n{body}"


@pytest.mark.parametrize("route", ["/cleanup", "/upload"])
@pytest.mark.parametrize(
    ("framing", "body"),
    [("Content-Length: 900", "days"), ("Transfer-Encoding: chunked", "384\r\ndays")],
)
def test_a_body_that_does_not_come_is_told_so(
    impatient: WebHouse, route: str, framing: str, body: str
) -> None:
    status, said = answer_to(impatient, form_of(route, framing, body))
    code = "upload_too_slow" if route == "/upload" else "request_timeout"
    assert (status, said["status"], said["code"]) == (408, "error", code)
    assert said["detail"]


@pytest.mark.parametrize("route", ["/cleanup", "/upload"])
@pytest.mark.parametrize("body", ["zz\r\ndays=7\r\n0\r\n\r\n", "4\r\ndays=7", "1;\n\r\nx\r\n"])
def test_chunks_that_are_none_are_a_bad_request(web: WebHouse, route: str, body: str) -> None:
    status, said = answer_to(web, form_of(route, "Transfer-Encoding: chunked", body))
    code = "incomplete_upload" if route == "/upload" else "bad_request"
    assert (status, said["status"], said["code"]) == (400, "error", code)


@pytest.mark.parametrize(
    ("framing", "body", "refusal"),
    [
        ("Content-Length: 9000000000", "days=0&", (413, "request_entity_too_large")),
        # Of unknown length it is read as far as one may be long.
        (
            "Transfer-Encoding: chunked",
            f"20000\r\ndays=0&{'a' * 0x1FFF9}\r\n",
            (422, "invalid_parameter"),
        ),
    ],
)
def test_a_form_is_not_read_without_end(
    web: WebHouse, framing: str, body: str, refusal: tuple[int, str]
) -> None:
    """One that brings no video; else it would be held in memory as a whole."""
    status, said = answer_to(web, form_of("/cleanup", framing, body))
    assert (status, said["code"]) == refusal


def test_what_clients_do_wrong_is_no_error_in_the_log(web: WebHouse, impatient: WebHouse) -> None:
    for server in (web, impatient):
        answer_to(server, form_of("/cleanup", "Transfer-Encoding: chunked", "zz\r\n"))
        log = server.folder / "logs" / "server.log"
        assert not log.exists() or "ERROR" not in log.read_text()
        assert "Traceback" not in (server.folder / "gunicorn.txt").read_text()


@pytest.mark.parametrize(("asked", "given"), [("", "en"), ("accept-Language: ru;q=0.5\r\n", "ru")])
@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Expect: miracles", 417),
        (f"X: {'x' * 9000}", 431),
        (f"X: {'x' * 60_000}", 431),
        ("\u0442", 400),
    ],
)
def test_what_comes_to_no_handler_is_refused_in_the_language_that_others_are(
    web: WebHouse, header: str, status: int, asked: str, given: str
) -> None:
    sent = f"GET /task/1 HTTP/1.1\r\nHost: localhost\r\n{asked}{header}\r\n\r\n"
    found, said = answer_to(web, sent)
    assert (found, said["status"]) == (status, "error")
    assert bool(re.search("[а-я]", said["detail"])) == (given == "ru")
