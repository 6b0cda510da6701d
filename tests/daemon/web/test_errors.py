"""Whatever goes wrong is answered in one shape, in the caller's language, and tells no secret."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import pytest
from flask import abort
from web_apps import WebApp

from daemon.spool_errors import QueueFull, RecordDamaged, TaskBusy, TaskExists, WrongStatus
from daemon.task import Status
from daemon.web.errors import ApiError, invalid
from daemon.webhook_url import Refusal, UrlRefused
from pipeline.errors import InvalidParameters
from pipeline.parameters import Parameters

RUSSIAN = {"Accept-Language": "ru"}


@pytest.fixture
def web(tmp_path: Path) -> WebApp:
    return WebApp(tmp_path)


def answer(web: WebApp, error: Exception, **headers: str) -> tuple[int, dict[str, Any], Any]:
    """Have a route raise an error; return the status, the whole answer and its headers."""

    def fail() -> None:
        raise error

    web.app.add_url_rule("/fail", view_func=fail)
    response = web.get("/fail", headers=headers)
    assert response.content_type == "application/json"
    values = response.get_json()
    assert values.keys() - {"field"} == {"status", "detail", "code"}
    assert values["status"] == "error"
    return response.status_code, values, response.headers


def test_a_refusal_names_its_code_field_and_reason(web: WebApp) -> None:
    error = ApiError(
        422,
        "too_odd",
        "errors.rejected_parameter",
        field="epsilon",
        reason="odd",
        headers={"A": "b"},
    )
    status, values, headers = answer(web, error)
    assert (status, values["code"], values["field"]) == (422, "too_odd", "epsilon")
    assert values["detail"] == "epsilon: odd"
    assert headers["A"] == "b"


def test_an_error_without_a_field_names_none(web: WebApp) -> None:
    _, values, _ = answer(web, ApiError(409, "busy", "spool.task_busy", task_id="7"))
    assert "field" not in values


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (WrongStatus("7", Status.COMPLETED, "cancelled"), 409, "wrong_status"),
        (TaskExists("7", Status.PENDING), 409, "task_exists"),
        (QueueFull(5), 429, "queue_full"),
        (TaskBusy("7"), 503, "task_busy"),
        (RecordDamaged("7", Path("/secret/7.json"), "no JSON"), 404, "unknown_task"),
    ],
)
def test_what_the_spool_refuses_has_its_status(
    web: WebApp, error: Exception, status: int, code: str
) -> None:
    found, values, headers = answer(web, error)
    assert (found, values["code"]) == (status, code)
    assert "secret" not in values["detail"]
    assert ("Retry-After" in headers) == (status in (429, 503))


def test_the_language_is_the_callers(web: WebApp) -> None:
    _, values, headers = answer(web, WrongStatus("7", Status.COMPLETED, "cancelled"), **RUSSIAN)
    assert values["detail"] == "Задача 7 завершена; это к ней неприменимо."
    assert headers["Content-Language"] == "ru"


@pytest.mark.parametrize(
    ("given", "english", "russian"),
    [
        (
            {"epsilon": "0.5"},
            "epsilon is '0.5'; allowed is a number from 0.04 to 0.20.",
            "epsilon: '0.5'; допустимо: число от 0.04 до 0.20.",
        ),
        (
            {"notes": "x" * 3000},
            "notes is '" + "x" * 96 + "...; allowed is text of at most 2000 characters.",
            "notes: '" + "x" * 96 + "...; допустимо: текст не длиннее 2000 знаков.",
        ),
    ],
)
def test_a_wrong_parameter_is_told_in_both_languages(
    web: WebApp, given: dict[str, str], english: str, russian: str
) -> None:
    with pytest.raises(InvalidParameters) as raised:
        Parameters.parse(given)
    status, values, _ = answer(web, raised.value)
    assert (status, values["code"], values["field"]) == (422, "invalid_parameter", [*given][0])
    assert values["detail"] == english
    assert web.get("/fail", headers=RUSSIAN).get_json()["detail"] == russian


def test_every_parameter_is_told_in_the_same_words_as_elsewhere(web: WebApp) -> None:
    values: dict[str, Any] = {name: "\0" for name in Parameters.model_fields} | {"notes": 1}
    for name, value in values.items():
        with pytest.raises(InvalidParameters) as raised:
            Parameters.parse({name: value})
        web = WebApp(web.folder)
        _, told, _ = answer(web, raised.value)
        assert told["detail"] == raised.value.message
        detail = web.get("/fail", headers=RUSSIAN).get_json()["detail"]
        assert detail.startswith(f"{name}: ")
        assert "allowed" not in detail


def test_an_unknown_parameter_is_named_with_those_there_are(web: WebApp) -> None:
    with pytest.raises(InvalidParameters) as raised:
        Parameters.parse({"epsilom": "1"})
    _, values, _ = answer(web, raised.value)
    assert values["field"] == "epsilom"
    assert values["detail"] == raised.value.message
    detail = web.get("/fail", headers=RUSSIAN).get_json()["detail"]
    assert detail.startswith("Неизвестный параметр 'epsilom'; известны: epsilon, ")


def test_another_reason_of_a_parameter_is_told_as_it_is(web: WebApp) -> None:
    error = InvalidParameters("10.0.0.1 is a private address.", "webhook_url")
    _, values, _ = answer(web, error)
    assert values["detail"] == "webhook_url: 10.0.0.1 is a private address."


@pytest.mark.parametrize("refusal", Refusal)
def test_a_url_that_is_not_called_is_told_in_both_languages(web: WebApp, refusal: Refusal) -> None:
    error = UrlRefused("http://10.0.0.1/", refusal)
    _, values, _ = answer(web, error)
    assert values["detail"] == error.message
    detail = web.get("/fail", headers=RUSSIAN).get_json()["detail"]
    assert detail.startswith("webhook_url: 'http://10.0.0.1/'; ")
    assert "address" not in detail


def test_a_value_is_shown_in_short(web: WebApp) -> None:
    _, values, _ = answer(web, invalid("limit", "9" * 5000, "few"))
    assert len(values["detail"]) < 200


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_507(web: WebApp, number: int) -> None:
    status, values, _ = answer(web, OSError(number, "full", "/secret"))
    assert (status, values["code"]) == (507, "insufficient_storage")
    assert "secret" not in values["detail"]


def test_other_troubles_with_files_are_503_and_told_in_the_log(
    web: WebApp, caplog: pytest.LogCaptureFixture
) -> None:
    status, values, headers = answer(web, OSError(errno.EIO, "broken", "/secret"))
    assert (status, values["code"]) == (503, "storage_unavailable")
    assert "secret" not in values["detail"]
    assert headers["Retry-After"].isdigit()
    (line,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "/secret" in str(line.msg)


def test_what_nobody_foresaw_is_told_in_the_log_and_only_there(
    web: WebApp, caplog: pytest.LogCaptureFixture
) -> None:
    status, values, _ = answer(web, ZeroDivisionError("secret"))
    assert (status, values["code"]) == (500, "internal_error")
    assert "secret" not in str(values)
    (line,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "ZeroDivisionError: secret" in str(line.msg)
    mark = values["detail"].rpartition("mark ")[2].rstrip(").")
    assert mark in str(line.msg)


@pytest.mark.parametrize("status", [400, 401, 404, 405, 406, 411, 413, 414, 415, 416, 418, 431])
def test_errors_of_http_have_the_same_shape(web: WebApp, status: int) -> None:
    def fail() -> None:
        abort(status)

    web.app.add_url_rule("/fail", view_func=fail)
    response = web.get("/fail")
    assert response.status_code == status
    values = response.get_json()
    assert values["status"] == "error"
    assert values["code"].replace("_", "").isalnum()
    assert values["detail"].endswith(".")


def test_an_address_with_nothing_is_told(web: WebApp) -> None:
    response = web.get("/" + "x" * 300)
    assert response.status_code == 404
    values = response.get_json()
    assert values["code"] == "not_found"
    assert len(values["detail"]) < 200


@pytest.mark.parametrize(
    "path", ["/tasks/", "/docs//start.js", "/task/", "/docs/", "/docs/assets/"]
)
def test_no_address_is_sent_on_to_another(web: WebApp, path: str) -> None:
    response = web.get(path)
    assert response.status_code == 404
    assert response.is_json


def test_a_method_that_is_not_there_is_told_which_are(web: WebApp) -> None:
    response = web.post("/tasks")
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    values = response.get_json()
    assert values["code"] == "method_not_allowed"
    assert values["detail"] == "POST cannot be done to /tasks; allowed is GET, HEAD, OPTIONS."


def test_head_and_options_are_answered_without_a_body(web: WebApp) -> None:
    head = web.client.head("/tasks")
    assert (head.status_code, head.data) == (200, b"")
    assert head.content_type == "application/json"
    options = web.client.options("/tasks")
    assert (options.status_code, options.data) == (204, b"")
    assert "GET" in options.headers["Allow"]
    assert "Access-Control-Allow-Origin" not in options.headers
