"""GET /still/<id>: one frame of the original or the result, decoded by somebody else."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media import Video, make_video
from web_apps import WebApp
from werkzeug.test import TestResponse

from daemon import health
from daemon.asked_process import NoProcess
from daemon.health import Health, InboxHealth, ServiceStatus, Workers
from daemon.originals import own_place
from daemon.prober import Picture, Prober
from daemon.task import Submission
from daemon.web import stills
from pipeline.parameters import Parameters
from pipeline.settings import Limits


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    """One for all tests: it takes a second to start."""
    prober = Prober(Limits())
    yield prober
    prober.close()


@pytest.fixture
def web(tmp_path: Path, prober: Prober) -> WebApp:
    web = WebApp(tmp_path)
    parts = web.app.extensions[stills._NAME]
    web.app.extensions[stills._NAME] = replace(parts, prober=prober)
    return web


def pair(web: WebApp, user_id: str | None = None) -> tuple[str, Path, Path]:
    """Have a completed task with both videos; return its name and where they are."""
    task_id = web.spool.new_id()
    original = web.folder / "inbox" / own_place(task_id) / "holiday.mov"
    original.parent.mkdir(parents=True)
    make_video(original, Video(width=320, height=240, frames=20))
    submission = Submission(
        task_id=task_id,
        input_video=original.name,
        original=str(original),
        outbox=str(web.outbox),
        parameters=Parameters(user_id=user_id),
    )
    task = web.spool.claim(web.spool.submit(submission, 100).task_id)
    result = web.outbox / f"{task_id}_holiday_protected.mp4"
    make_video(result, Video(width=322, height=240, frames=20))
    web.spool.complete(task_id, str(task.token), result.name, {}, lambda: None)
    return task_id, original, result


def size(answer: TestResponse) -> tuple[int, int]:
    assert answer.status_code == 200, answer.data
    assert answer.mimetype == "image/png"
    picture = cv2.imdecode(np.frombuffer(answer.data, np.uint8), cv2.IMREAD_COLOR)
    return picture.shape[1], picture.shape[0]


def refused(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def test_both_videos_are_shown(web: WebApp) -> None:
    task_id, _, _ = pair(web)
    original, protected = (
        web.get(f"/still/{task_id}?of={which}&at=0.41") for which in ("original", "protected")
    )
    assert size(original) == (320, 240)
    assert size(protected) == (322, 240)
    assert size(web.get(f"/still/{task_id}")) == (322, 240)
    for answer in (original, protected):
        assert answer.headers["Still-Seconds"] == "0.400000"
        assert answer.headers["Video-Seconds"] == "0.800000"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_another_moment_is_another_picture(web: WebApp) -> None:
    task_id, _, _ = pair(web)
    first, later, last, beyond = (
        web.get(f"/still/{task_id}?of=original&at={moment}")
        for moment in ("0", "0.4", "0.79", "99")
    )
    assert first.data != later.data
    assert last.data == beyond.data != later.data
    assert beyond.headers["Still-Seconds"] == "0.760000"


@pytest.mark.parametrize(
    "query", ["of=both", "of=", "at=-1", "at=x", "at=", "at=1e3", "at=1/2", "at=nan"]
)
def test_wrong_values_are_named(web: WebApp, query: str) -> None:
    answer = web.get(f"/still/{web.submit()}?{query}")
    assert refused(answer) == (422, "invalid_parameter")
    assert answer.get_json()["field"] == query.partition("=")[0]


def test_a_task_that_waits_has_an_original_only(web: WebApp) -> None:
    _, original, _ = pair(web)
    waiting = web.submit("clip.mov")
    assert refused(web.get(f"/still/{waiting}")) == (409, "not_finished")
    (web.folder / "inbox/clip.mov").write_bytes(original.read_bytes())
    assert size(web.get(f"/still/{waiting}?of=original")) == (320, 240)


def test_what_is_gone_is_said_to_be_gone(web: WebApp) -> None:
    task_id, original, result = pair(web)
    original.unlink()
    assert refused(web.get(f"/still/{task_id}?of=original")) == (410, "original_removed")
    original.parent.rmdir()
    assert refused(web.get(f"/still/{task_id}?of=original")) == (410, "original_removed")
    result.unlink()
    assert refused(web.get(f"/still/{task_id}")) == (410, "removed")
    assert refused(web.get("/still/7")) == (404, "unknown_task")


def test_an_inbox_of_which_only_the_mount_point_is_there_may_come_back(web: WebApp) -> None:
    task_id, original, _ = pair(web)
    original.unlink()
    inbox = str(web.folder / "inbox")
    told = Health(1, web.clock(), web.clock(), ServiceStatus.RUNNING, Workers(1, 1, 1))
    seen = InboxHealth(inbox, True, "events", mount=inbox)
    health.write(web.state, replace(told, inboxes={"main": seen}))
    answer = web.get(f"/still/{task_id}?of=original")
    assert refused(answer) == (503, "storage_unavailable")
    assert answer.headers["Retry-After"]


def test_no_link_and_no_pipe_is_opened(web: WebApp, tmp_path: Path) -> None:
    task_id, original, _ = pair(web)
    secret = original.rename(tmp_path / "secret.mov")
    original.symlink_to(secret)
    assert refused(web.get(f"/still/{task_id}?of=original")) == (410, "original_removed")
    original.unlink()
    os.mkfifo(original)
    assert refused(web.get(f"/still/{task_id}?of=original")) == (410, "original_removed")


def test_a_damaged_video_has_no_picture(web: WebApp) -> None:
    task_id, original, _ = pair(web)
    original.write_bytes(b"no video" * 1000)
    answer = web.get(f"/still/{task_id}?of=original")
    assert refused(answer) == (415, "unreadable_media")
    detail = answer.get_json()["detail"]
    assert detail.startswith("No frame of holiday.mov can be had: is not a video")


def test_others_tasks_have_no_pictures(web: WebApp) -> None:
    alice = web.key("of-alice", "alice")
    his, mine = pair(web, "bob")[0], pair(web, "alice")[0]
    for which in ("original", "protected"):
        assert refused(web.get(f"/still/{his}?of={which}", alice)) == (404, "unknown_task")
        assert web.get(f"/still/{his}?of={which}").status_code == 403
    assert size(web.get(f"/still/{mine}?of=original", alice)) == (320, 240)


def test_nobody_to_open_videos_is_said(web: WebApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise NoProcess("no memory")

    monkeypatch.setattr(Prober, "still", none)
    answer = web.get(f"/still/{pair(web)[0]}")
    assert refused(answer) == (503, "no_prober")
    assert answer.headers["Retry-After"]


def test_no_more_wait_for_pictures_than_there_are_places(
    web: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id, _, _ = pair(web)
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_: Any) -> Picture:
        waiting.release()
        go_on.wait(60)
        return Picture(b"png", 0.0, None)

    monkeypatch.setattr(Prober, "still", slow)
    answers: list[TestResponse] = []

    def ask() -> None:
        # Not read to its end, a picture is held as one that is sent slowly.
        answers.append(web.app.test_client().get(f"/still/{task_id}", buffered=False))

    threads = [threading.Thread(target=ask) for _ in range(stills._MOST_AT_ONCE)]
    for thread in threads:
        thread.start()
        assert waiting.acquire(timeout=60)
    one_more = web.get(f"/still/{task_id}")
    go_on.set()
    for thread in threads:
        thread.join()
    assert refused(one_more) == (503, "too_many_stills")
    assert refused(web.get(f"/still/{task_id}")) == (503, "too_many_stills")
    for answer in answers:
        assert answer.data == b"png"
        answer.close()
    assert "Video-Seconds" not in answers[0].headers
    for _ in range(2 * len(threads)):
        assert web.get(f"/still/{task_id}", buffered=True).status_code == 200
        assert web.get(f"/still/{task_id}?of=original&at=x", buffered=True).status_code == 422
