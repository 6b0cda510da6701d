"""GET and HEAD /download/<id>: the whole result, a part of it, or why there is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from web_apps import WebApp
from web_servers import gunicorn
from werkzeug.http import http_date
from werkzeug.test import TestResponse

from daemon import health
from daemon.health import Health, ServiceStatus, Workers
from daemon.outbox import result_name
from daemon.spool import Spool
from daemon.task import Submission
from pipeline.parameters import Parameters

RESULT = bytes(range(256)) * 40


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., WebApp]:
    return lambda **settings: WebApp(tmp_path, **settings)


@pytest.fixture
def house(make: Callable[..., WebApp]) -> WebApp:
    return make()


def finished(
    spool: Spool,
    outbox: Path,
    name: str = "holiday.mov",
    user_id: str | None = None,
    suffix: str = ".mp4",
) -> tuple[str, Path]:
    """Have a completed task; return its name and its result's place."""
    submission = Submission(
        task_id=spool.new_id(),
        input_video=name,
        original=f"/inbox/{name}",
        outbox=str(outbox),
        subfolder=user_id or "",
        parameters=Parameters(user_id=user_id),
    )
    task = spool.claim(spool.submit(submission, 100).task_id)
    place = result_name(task, suffix)
    path = outbox / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(RESULT)
    spool.complete(task.task_id, str(task.token), place, {}, lambda: None)
    return task.task_id, path


def refused(answer: TestResponse) -> tuple[int, str]:
    assert answer.json is not None
    assert answer.json["status"] == "error"
    assert answer.json["detail"]
    return answer.status_code, answer.json["code"]


# --- The file ---


def test_the_result_is_sent_as_a_file_to_keep(house: WebApp) -> None:
    task_id, _ = finished(house.spool, house.outbox)
    answer = house.get(f"/download/{task_id}")
    assert (answer.status_code, answer.data) == (200, RESULT)
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Content-Length"] == str(len(RESULT))
    assert answer.headers["Content-Disposition"] == "attachment; filename=holiday_protected.mp4"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["Last-Modified"]


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [
        (".mp4", "video/mp4"),
        (".mkv", "video/x-matroska"),
        (".webm", "video/webm"),
        (".mov", "video/quicktime"),
        (".avi", "video/x-msvideo"),
        (".ts", "video/mp2t"),
        (".MTS", "video/mp2t"),
        (".3gp", "video/3gpp"),
        (".mpg", "video/mpeg"),
        (".mid", "application/octet-stream"),
        (".nut", "application/octet-stream"),
    ],
)
def test_the_type_is_that_of_the_container(house: WebApp, suffix: str, media_type: str) -> None:
    task_id, _ = finished(house.spool, house.outbox, suffix=suffix)
    assert house.get(f"/download/{task_id}").headers["Content-Type"] == media_type


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Отпуск 🏖.mp4", "Отпуск 🏖_protected.mp4"),
        ("a;b, c%20'd.mp4", "a;b, c%20'd_protected.mp4"),
        ('quo"te\\.mp4', 'quo"te\\_protected.mp4'),
        ("line\r\nbreak.mp4", "line__break_protected.mp4"),
        (os.fsdecode(b"odd\xff.mp4"), "odd\N{REPLACEMENT CHARACTER}_protected.mp4"),
        ("x" * 200 + ".mp4", "x" * 150 + "_protected.mp4"),
    ],
)
def test_the_name_is_the_senders_whatever_it_holds(house: WebApp, name: str, shown: str) -> None:
    task_id, _ = finished(house.spool, house.outbox, name)
    given = house.get(f"/download/{task_id}").headers["Content-Disposition"]
    assert given.isascii()
    assert "\n" not in given
    if "filename*=" in given:
        assert unquote(given.rpartition("UTF-8''")[2]) == shown
    else:
        quoted = given.removeprefix("attachment; filename=").strip('"')
        assert quoted.replace("\\\\", "\\").replace('\\"', '"') == shown


@pytest.mark.parametrize("name", ["видео.mp4", "Отпуск 2.mp4", "видео.видео"])
def test_names_that_are_not_ascii_are_different_for_those_who_know_no_others(
    house: WebApp, name: str
) -> None:
    """Programs as `curl -OJ` keep the second of two that are the same from being saved."""
    task_id, _ = finished(house.spool, house.outbox, name, suffix=PurePath(name).suffix)
    given = house.get(f"/download/{task_id}").headers["Content-Disposition"]
    plain = given.partition(";")[2].partition(";")[0]
    assert plain == f" filename={task_id}.{'mp4' if name.endswith('mp4') else ''}"


def test_head_tells_all_but_sends_nothing(house: WebApp) -> None:
    task_id, _ = finished(house.spool, house.outbox)
    whole = house.get(f"/download/{task_id}")
    for asked in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=99999-"}):
        answer = house.client.head(f"/download/{task_id}", headers=asked)
        assert (answer.status_code, answer.data) == (200, b"")
        assert answer.headers["ETag"] == whole.headers["ETag"]
        assert answer.headers["Content-Length"] == str(len(RESULT))
        assert "Content-Range" not in answer.headers


# --- Parts of it ---


@pytest.mark.parametrize(
    ("asked", "part", "told"),
    [
        ("bytes=0-9", RESULT[:10], "bytes 0-9/10240"),
        ("bytes=10000-", RESULT[10000:], "bytes 10000-10239/10240"),
        ("bytes=-5", RESULT[-5:], "bytes 10235-10239/10240"),
        ("bytes=10000-99999", RESULT[10000:], "bytes 10000-10239/10240"),
        ("bytes=-10240", RESULT, "bytes 0-10239/10240"),
        ("bytes=-99999", RESULT, "bytes 0-10239/10240"),
    ],
)
def test_a_part_is_sent_to_who_asks_for_it(
    house: WebApp, asked: str, part: bytes, told: str
) -> None:
    task_id, _ = finished(house.spool, house.outbox)
    answer = house.get(f"/download/{task_id}", headers={"Range": asked})
    assert (answer.status_code, answer.data) == (206, part)
    assert answer.headers["Content-Range"] == told
    assert answer.headers["Content-Length"] == str(len(part))


def test_a_part_beyond_the_end_is_refused(house: WebApp) -> None:
    task_id, _ = finished(house.spool, house.outbox)
    answer = house.get(f"/download/{task_id}", headers={"Range": "bytes=10240-"})
    assert refused(answer) == (416, "requested_range_not_satisfiable")
    assert answer.headers["Content-Range"] == "bytes */10240"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "nonsense", ""])
def test_a_range_that_we_do_not_send_is_passed_over(house: WebApp, asked: str) -> None:
    task_id, _ = finished(house.spool, house.outbox)
    answer = house.get(f"/download/{task_id}", headers={"Range": asked})
    assert (answer.status_code, answer.data) == (200, RESULT)


def test_a_download_goes_on_only_with_the_same_file(house: WebApp) -> None:
    task_id, path = finished(house.spool, house.outbox)
    whole = house.get(f"/download/{task_id}")
    for mark in (whole.headers["ETag"], whole.headers["Last-Modified"]):
        asked = {"Range": "bytes=10-", "If-Range": mark}
        assert house.get(f"/download/{task_id}", headers=asked).status_code == 206
    os.utime(path, (1 << 32, 1 << 32))
    later = http_date((1 << 32) + 1)
    weak = f"W/{house.get(f'/download/{task_id}').headers['ETag']}"
    for mark in (whole.headers["ETag"], whole.headers["Last-Modified"], '"other"', weak, later):
        asked = {"Range": "bytes=10-", "If-Range": mark}
        answer = house.get(f"/download/{task_id}", headers=asked)
        assert (answer.status_code, answer.data) == (200, RESULT)


def test_conditions_count_before_a_range(house: WebApp) -> None:
    task_id, path = finished(house.spool, house.outbox)
    os.utime(path, (1 << 30, (1 << 30) + 0.5))  # dates of HTTP know no parts of a second
    mark = house.get(f"/download/{task_id}").headers["ETag"]
    for condition, code in (
        ({"If-None-Match": mark}, 304),
        ({"If-None-Match": '"other"'}, 206),
        ({"If-Match": mark}, 206),
        ({"If-Match": "*"}, 206),
        ({"If-Match": '"other"'}, 412),
        ({"If-Unmodified-Since": http_date(1 << 30)}, 206),
        ({"If-Unmodified-Since": http_date((1 << 30) - 1)}, 412),
        ({"If-Unmodified-Since": http_date(1), "If-None-Match": mark}, 412),
        ({"If-Unmodified-Since": http_date(1), "If-Match": mark}, 206),
        ({"If-Unmodified-Since": "yesterday"}, 206),
        ({"If-Unmodified-Since": http_date(1), "Range": "bytes=99999-"}, 412),
    ):
        asked = {"Range": "bytes=10-", **condition}
        assert house.get(f"/download/{task_id}", headers=asked).status_code == code


def test_who_wants_another_file_gets_none(house: WebApp) -> None:
    task_id, _ = finished(house.spool, house.outbox)
    answer = house.get(f"/download/{task_id}", headers={"If-Match": '"other"'})
    assert refused(answer) == (412, "precondition_failed")


def test_who_has_the_file_is_told_so(house: WebApp) -> None:
    task_id, _ = finished(house.spool, house.outbox)
    mark = house.get(f"/download/{task_id}").headers["ETag"]
    assert not mark.startswith("W/")
    answer = house.get(f"/download/{task_id}", headers={"If-None-Match": mark})
    assert (answer.status_code, answer.data) == (304, b"")


def test_two_results_never_have_the_same_mark(house: WebApp) -> None:
    marks = set()
    for _ in range(2):
        task_id, path = finished(house.spool, house.outbox)
        os.utime(path, (1, 1))
        marks.add(house.get(f"/download/{task_id}").headers["ETag"])
    assert len(marks) == 2


# --- None ---


def test_an_unknown_task_has_nothing_to_download(house: WebApp) -> None:
    for task_id in (house.spool.new_id(), "x", "..%2f..%2fetc%2fpasswd"):
        assert refused(house.get(f"/download/{task_id}"))[0] == 404


def test_a_task_of_somebody_else_is_answered_as_one_that_is_not_there(house: WebApp) -> None:
    key = house.key("laptop", "alice")
    mine, _ = finished(house.spool, house.outbox, user_id="alice")
    theirs, _ = finished(house.spool, house.outbox, user_id="bob")
    waiting = house.submit(user_id="bob")
    nobody = house.spool.new_id()
    assert house.get(f"/download/{mine}", key).status_code == 200
    answers = [house.get(f"/download/{t}", key) for t in (theirs, waiting, nobody)]
    assert {refused(answer) for answer in answers} == {(404, "unknown_task")}


def test_a_task_that_has_not_finished_says_how_it_stands(house: WebApp) -> None:
    waiting = house.submit()
    answer = house.get(f"/download/{waiting}", headers={"Accept-Language": "ru"})
    assert refused(answer) == (409, "not_finished")
    assert answer.json is not None
    assert "ожидает обработки" in answer.json["detail"]
    house.spool.cancel(waiting)
    assert refused(house.get(f"/download/{waiting}")) == (409, "not_finished")


def test_a_result_that_was_removed_is_gone(house: WebApp) -> None:
    task_id, path = finished(house.spool, house.outbox, user_id="alice")
    path.unlink()
    assert refused(house.get(f"/download/{task_id}")) == (410, "removed")
    path.parent.rmdir()
    assert refused(house.get(f"/download/{task_id}")) == (410, "removed")


def test_an_outbox_that_is_away_may_come_back(house: WebApp) -> None:
    task_id, _ = finished(house.spool, house.outbox)
    house.outbox.rename(house.folder / "away")
    answer = house.get(f"/download/{task_id}")
    assert refused(answer) == (503, "outbox_unavailable")
    assert answer.headers["Retry-After"]


def test_an_outbox_of_which_only_the_mount_point_is_there_may_come_back(house: WebApp) -> None:
    """To who asks, 410 would say that there is nothing to wait for."""
    task_id, path = finished(house.spool, house.outbox)
    path.unlink()
    told = Health(1, house.clock(), house.clock(), ServiceStatus.RUNNING, Workers(1, 1, 1))
    health.write(house.state, replace(told, mounts={str(house.outbox): str(house.outbox)}))
    assert refused(house.get(f"/download/{task_id}")) == (503, "outbox_unavailable")
    assert refused(house.post(f"/link/{task_id}")) == (503, "outbox_unavailable")


@pytest.mark.parametrize("what", ["file", "folder", "pipe", "directory"])
def test_nothing_but_the_result_is_ever_sent(house: WebApp, what: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    task_id, path = finished(house.spool, house.outbox, user_id="alice")
    (secret / path.name).write_text("secret")
    path.unlink()
    if what == "file":
        path.symlink_to(secret / path.name)
    elif what == "folder":
        path.parent.rmdir()
        path.parent.symlink_to(secret)
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert refused(house.get(f"/download/{task_id}")) == (410, "removed")


def test_no_file_stays_open(house: WebApp) -> None:
    task_id, path = finished(house.spool, house.outbox)
    mark = house.get(f"/download/{task_id}").headers["ETag"]
    for headers in ({}, {"Range": "bytes=1-2"}, {"Range": "bytes=99999-"}, {"If-None-Match": mark}):
        house.get(f"/download/{task_id}", headers=headers).close()
        house.client.head(f"/download/{task_id}", headers=headers).close()
    links = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if _is_open(n)]
    assert str(path) not in links


def _is_open(number: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{number}")


# --- By nginx ---

NGINX: dict[str, Any] = {"accel_redirect": "/protected/", "auth": {"required": False}}
THROUGH_NGINX = {"X-Forwarded-For": "203.0.113.9"}


def test_nginx_is_told_where_the_result_is(make: Callable[..., WebApp]) -> None:
    house = make(**NGINX)
    task_id, path = finished(house.spool, house.outbox, "От 100%?.mkv", "a@b", ".mkv")
    asked = {**THROUGH_NGINX, "Range": "bytes=1-2"}
    answer = house.get(f"/download/{task_id}", headers=asked)
    told = answer.headers["X-Accel-Redirect"]
    assert (answer.status_code, answer.data) == (200, b"")
    assert told.isascii()
    assert unquote(told) == f"/protected/a@b/{path.name}"
    assert "?" not in told
    assert answer.headers["Content-Type"] == "video/x-matroska"
    assert "filename*=UTF-8''" in answer.headers["Content-Disposition"]
    assert answer.headers["Cache-Control"] == "private, no-cache"  # nginx keeps it
    path.unlink()
    gone = house.get(f"/download/{task_id}", headers=THROUGH_NGINX)
    assert refused(gone) == (410, "removed")


def test_who_asks_past_nginx_gets_the_result_itself(make: Callable[..., WebApp]) -> None:
    """As a program on the server does: it would take an empty file for the video."""
    house = make(**NGINX)
    task_id, _ = finished(house.spool, house.outbox)
    answer = house.get(f"/download/{task_id}")
    assert "X-Accel-Redirect" not in answer.headers
    assert answer.data == RESULT


def test_a_result_in_another_outbox_is_sent_from_here(
    make: Callable[..., WebApp], tmp_path: Path
) -> None:
    house = make(**NGINX)
    task_id, _ = finished(house.spool, tmp_path / "studio")
    answer = house.get(f"/download/{task_id}", headers=THROUGH_NGINX)
    assert "X-Accel-Redirect" not in answer.headers
    assert answer.data == RESULT


# --- Over a socket ---


def test_whole_parts_and_heads_over_a_socket_on_one_connection(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as house, requests.Session() as session:
        task_id, _ = finished(Spool(house.state), tmp_path / "outbox", "Отпуск.mp4")
        url = f"{house.url}/download/{task_id}"
        options: dict[str, Any] = {"timeout": 60}
        for _ in range(2):
            assert session.get(url, **options).content == RESULT
            head = session.head(url, **options)
            assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(RESULT)))
            part = session.get(url, headers={"Range": "bytes=100-199"}, **options)
            assert (part.status_code, part.content) == (206, RESULT[100:200])
            mark = {"If-None-Match": head.headers["ETag"]}
            assert session.get(url, headers=mark, **options).status_code == 304
