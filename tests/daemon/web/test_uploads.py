"""POST /upload by the app alone; `test_upload_sockets` sends it over a real gunicorn."""

from __future__ import annotations

import errno
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Response
from flask.testing import FlaskClient
from media import Video, make_video
from urllib3 import encode_multipart_formdata
from web_servers import configure
from werkzeug.test import TestResponse, create_environ

from daemon import keys, uploaded_file, uploads
from daemon.asked_process import NoProcess
from daemon.config import load_config
from daemon.prober import Prober
from daemon.spool import Spool
from daemon.task import Status
from daemon.uploaded_file import UploadedFile
from daemon.web import uploads as web_uploads
from daemon.web.app import app_of
from daemon.web.uploads import _NAME
from pipeline.settings import Limits


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = make_video(tmp_path_factory.mktemp("video") / "holiday.mp4", Video(frames=5))
    return path.read_bytes()


class House:
    """The app of a configuration, and a client that sends videos to it."""

    def __init__(self, folder: Path, video: bytes, prober: Prober, **settings: Any) -> None:
        self.folder = folder
        self.video = video
        self.app = app_of(load_config(configure(folder, **settings)))
        self.parts = replace(self.app.extensions[_NAME], prober=prober)
        self.app.extensions[_NAME] = self.parts
        self.client: FlaskClient = self.app.test_client()
        self.spool = Spool(folder / "state")

    def send(
        self,
        data: bytes | None = None,
        name: str = "holiday.mp4",
        query: str = "",
        headers: dict[str, str] | None = None,
        **fields: str,
    ) -> TestResponse:
        video = self.video if data is None else data
        body, kind = encode_multipart_formdata({**fields, "file": (name, video, "video/mp4")})
        return self.client.post(
            f"/upload{query}", data=body, content_type=kind, headers=headers or {}
        )

    def add_key(self, name: str, user_id: str | None, is_admin: bool = False) -> dict[str, str]:
        text, _ = keys.add(
            self.folder / "state" / "keys", name, user_id, is_admin, self.spool.now()
        )
        return {"X-API-Key": text}

    def files(self) -> list[Path]:
        own = self.folder / "inbox" / ".media-cleaner"
        return [path for path in own.rglob("*") if path.is_file()]

    def count(self) -> int:
        return len(self.spool.pending_ids())

    def nothing_is_left(self) -> bool:
        own = self.folder / "inbox" / ".media-cleaner" / "originals"
        return self.files() == list(own.glob("*/*")) == [] and self.count() == 0


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    prober = Prober(Limits())
    yield prober
    prober.close()


@pytest.fixture
def make(tmp_path: Path, video: bytes, prober: Prober) -> Callable[..., House]:
    return lambda **settings: House(tmp_path, video, prober, **settings)


@pytest.fixture
def house(make: Callable[..., House]) -> House:
    return make()


def refused(answer: Response | TestResponse) -> tuple[int, str, str | None]:
    assert answer.json is not None
    assert answer.json["status"] == "error"
    assert answer.json["detail"]
    return answer.status_code, answer.json["code"], answer.json.get("field")


# --- Accepted ---


def test_an_upload_is_answered_as_the_specification_shows(house: House) -> None:
    answer = house.send(epsilon="0.15", audio_level="средний", user_id="user_001", notes="к морю")
    assert answer.status_code == 200
    assert answer.json is not None
    task = answer.json["task"]
    assert answer.json["status"] == "success"
    assert answer.json["message"] == "Видео загружено и добавлено в очередь"
    assert answer.json["task_id"] == task["task_id"]
    assert task["status_text"] == "⏳ Ожидает обработки"
    assert (task["status"], task["progress"], task["queue_position"]) == ("pending", 0.0, 1)
    assert task["input_video"] == "holiday.mp4"
    assert (task["epsilon"], task["audio_level"]) == (0.15, "средний")
    assert (task["user_id"], task["notes"]) == ("user_001", "к морю")


def test_what_was_sent_is_kept_byte_for_byte(house: House, video: bytes) -> None:
    task = house.spool.get(house.send(user_id="alice").json["task_id"])  # type: ignore[index]
    assert Path(task.original).read_bytes() == video
    assert house.files() == [Path(task.original)]
    assert (task.status, task.subfolder, task.inbox) == (Status.PENDING, "alice", None)


def test_there_is_a_status_file_at_once(house: House) -> None:
    task_id = house.send(user_id="alice").json["task_id"]  # type: ignore[index]
    path = house.folder / "outbox" / "alice" / f"{task_id}_holiday.status.json"
    assert json.loads(path.read_text())["status"] == "pending"


def test_english_is_spoken_to_those_who_ask(house: House) -> None:
    answer = house.send(headers={"Accept-Language": "en"})
    assert answer.json is not None
    assert answer.json["message"] == "The video is uploaded and in the queue"


def test_parameters_may_stand_in_the_query_and_the_form_comes_first(house: House) -> None:
    answer = house.send(query="?epsilon=0.2&every_n_frames=5", epsilon="0.1")
    assert answer.json is not None
    assert (answer.json["task"]["epsilon"], answer.json["task"]["every_n_frames"]) == (0.1, 5)


def test_defaults_are_those_of_the_configuration(make: Callable[..., House]) -> None:
    house = make(defaults={"epsilon": 0.06, "mode": "strip"})
    answer = house.send(mode="protect")
    assert answer.json is not None
    assert (answer.json["task"]["epsilon"], answer.json["task"]["mode"]) == (0.06, "protect")


def test_a_field_that_a_page_shows_may_be_left_empty(house: House) -> None:
    answer = house.send(user_id="", notes="", webhook_url="")
    assert answer.json is not None
    assert answer.json["task"]["user_id"] is None


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("Отпуск 🏖.mp4", "Отпуск 🏖.mp4"), ("../../x.MP4", "x.MP4"), ("a\\b\\c.mkv", "c.mkv")],
)
def test_names_are_kept_but_for_their_folders(house: House, sent: str, kept: str) -> None:
    answer = house.send(name=sent)
    assert answer.json is not None
    assert answer.json["task"]["input_video"] == kept
    assert [path.name for path in house.files()] == [kept]


# --- Refused ---


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epsilon", "0.3"),
        ("epsilon", ""),
        ("video_strength", "abc"),
        ("audio_level", "loud"),
        ("every_n_frames", "1.5"),
        ("user_id", "../x"),
        ("mode", "shred"),
        ("notes", "x" * 2001),
        ("webhook_url", "ftp://example.org/"),
        ("webhook_url", "http://127.0.0.1/"),
        ("webhook_url", "http://169.254.169.254/latest"),
        ("webhook_url", "http://[::ffff:10.0.0.1]/"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(house: House, field: str, value: str) -> None:
    assert refused(house.send(**{field: value})) == (422, "invalid_parameter", field)
    assert refused(house.send(query=f"?{field}={value}"))[0] == 422
    assert house.nothing_is_left()


def test_what_the_query_says_is_to_be_right_where_the_form_outweighs_it_too(house: House) -> None:
    answer = house.send(query="?epsilon=9", epsilon="0.1")
    assert refused(answer) == (422, "invalid_parameter", "epsilon")
    assert house.nothing_is_left()


def test_the_host_of_a_webhook_is_looked_up_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(web_uploads, "check_url", lambda url, allow_private: seen.append(url))
    assert house.send(webhook_url="https://example.org/").status_code == 200
    assert seen == ["https://example.org/"]


def test_an_unknown_parameter_is_refused(house: House) -> None:
    assert refused(house.send(epsilom="0.1")) == (422, "invalid_parameter", "epsilom")
    assert refused(house.send(query="?epsilom=0.1")) == (422, "invalid_parameter", "epsilom")
    assert refused(house.send(query="?epsilon=0.1&epsilon=0.1")) == (
        *(422, "invalid_parameter"),
        "epsilon",
    )


def test_a_request_without_a_video_is_refused(house: House) -> None:
    for answer in (
        house.client.post("/upload"),
        house.client.post("/upload", json={"file": "x"}),
        house.client.post("/upload", data={"epsilon": "0.1"}),
        house.client.post("/upload", data={"file": "x"}, content_type="multipart/form-data"),
    ):
        assert refused(answer)[:2] == (400, "no_file")


def test_an_encoded_body_is_told_from_one_that_broke_off(house: House) -> None:
    """It is no form before it is decoded, and to send it again would not help."""
    refusal = refused(house.send(headers={"Content-Encoding": "gzip"}))
    assert refusal[:2] == (415, "unsupported_encoding")
    assert house.send(headers={"Content-Encoding": "Identity"}).status_code == 200


@pytest.mark.parametrize("name", ["notes.txt", "mp4", ".mp4", "video.mp4.exe", "video."])
def test_another_extension_is_refused(house: House, name: str) -> None:
    assert refused(house.send(name=name))[:2] == (415, "unsupported_extension")
    assert house.nothing_is_left()


def test_a_name_that_the_inbox_cannot_hold_is_refused_for_good(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT, exFAT and NTFS have no names with a colon, however often it is sent."""
    name = UploadedFile.name

    def refuse_colons(file: UploadedFile, path: Path) -> None:
        if ":" in path.name:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        name(file, path)

    monkeypatch.setattr(UploadedFile, "name", refuse_colons)
    answer = house.send(name="12:30.mp4")
    assert refused(answer) == (422, "invalid_parameter", "file")
    assert "12:30.mp4" in answer.get_json()["detail"]
    assert "коротк" in answer.get_json()["detail"]  # as encrypted shares want it
    assert house.nothing_is_left()
    assert house.send().status_code == 200


@pytest.mark.parametrize("data", [b"", b"no video at all", b"\0" * 100_000])
def test_what_is_no_video_is_refused(house: House, data: bytes) -> None:
    answer = house.send(data)
    assert refused(answer)[:2] == (415, "unreadable_media")
    assert answer.json is not None
    assert "holiday.mp4" in answer.json["detail"]
    assert house.nothing_is_left()


def test_why_a_file_is_no_video_is_told_in_the_callers_language(house: House) -> None:
    for data in (b"", b"no video at all", house.video[:200]):
        words = [
            house.send(data, name="море.mp4", headers={"Accept-Language": wanted}).get_json()
            for wanted in ("ru", "en")
        ]
        russian, english = [value["detail"] for value in words]
        assert russian.startswith("Файл море.mp4 не принят: ")
        assert not re.search("[A-Za-z]", re.sub(r"море\.mp4|MP4", "", russian)), russian
        assert not re.search("[А-я]", english.removeprefix("море.mp4")), english


def test_a_file_over_the_limit_is_refused(make: Callable[..., House]) -> None:
    house = make(max_video_size_gb=0.001)
    answer = house.send(bytes(1_073_743))
    assert refused(answer)[:2] == (413, "file_too_large")
    assert re.search(r" 0\.001 [GГ]", answer.json["detail"])  # as in config.yaml
    assert refused(house.send(bytes(1_073_741)))[:2] == (415, "unreadable_media")
    assert refused(house.send(bytes(5_000_000)))[:2] == (413, "file_too_large")
    assert house.nothing_is_left()


class Unread(io.BytesIO):
    """A body that must not be read beyond its beginning."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        assert data, "the body was read"
        return data


def unread(
    house: House, length: int = 1000, beginning: bytes = b"", stated: str | None = None
) -> Response:
    """Send a request of which nothing but its head and its beginning may be read."""
    environ = create_environ("/upload", method="POST")
    environ |= {
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "multipart/form-data; boundary=x",
        "CONTENT_LENGTH": str(length),
        "wsgi.input": Unread(beginning),
    }
    if stated is not None:
        environ["HTTP_UPLOAD_LENGTH"] = stated
    return Response.from_app(house.app, environ)


def test_what_is_too_large_by_its_own_word_is_not_read(house: House) -> None:
    assert refused(unread(house, 3 << 30))[:2] == (413, "file_too_large")


def test_a_full_queue_is_told_before_anything_is_read(make: Callable[..., House]) -> None:
    house = make(max_pending=1)
    house.send()
    answer = unread(house)
    assert refused(answer)[:2] == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) > 0
    assert house.count() == len(house.files()) == 1


def test_a_full_disk_is_told_before_anything_is_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "free_gb", lambda folder: 0.0)
    assert refused(unread(house))[:2] == (507, "insufficient_storage")


def test_room_for_all_that_comes_is_looked_for_before_it_is_read(
    make: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make(min_free_gb=1)
    monkeypatch.setattr(uploads, "free_gb", lambda folder: 1.5)
    assert refused(unread(house, 1 << 30))[:2] == (507, "insufficient_storage")


def test_room_is_looked_for_as_large_as_is_said_to_come(
    make: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser sees no answer before all is sent, so the page asks before it sends the video."""
    house = make(min_free_gb=1)
    monkeypatch.setattr(uploads, "free_gb", lambda folder: 1.5)
    gigabyte = str(1 << 30)
    assert refused(unread(house, stated=gigabyte))[:2] == (507, "insufficient_storage")
    assert refused(unread(house, stated=f"{(2 << 30) + 1}"))[:2] == (413, "file_too_large")
    assert refused(house.send(b"", headers={"Upload-Length": "1000"}))[0] == 415


@pytest.mark.parametrize("stated", ["", "-1", "1.5", "²", "9" * 20])
def test_a_length_that_is_none_is_refused(house: House, stated: str) -> None:
    answer = unread(house, stated=stated)
    assert refused(answer) == (422, "invalid_parameter", "Upload-Length")


@pytest.mark.parametrize("name", ["inbox", "outbox", "temp", "state"])
def test_a_lack_of_room_for_the_work_is_told_too(
    make: Callable[..., House], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    house = make(min_free_gb=1)
    full = house.folder / name
    full.mkdir(exist_ok=True)
    monkeypatch.setattr(uploads, "free_gb", lambda folder: 0.5 if folder == full else 2.0)
    assert refused(house.send())[:2] == (507, "insufficient_storage")


@pytest.mark.parametrize("disposition", ['name="epsilon"', 'name="nonsense"'])
def test_a_field_that_is_wrong_is_told_before_the_file_behind_it_is_read(
    house: House, disposition: str
) -> None:
    beginning = (
        f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n9\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="holiday.mp4"\r\n\r\n'
    )
    answer = unread(house, 1 << 30, beginning.encode())
    assert refused(answer)[:2] == (422, "invalid_parameter")
    assert house.nothing_is_left()


def test_a_disk_that_fills_up_meanwhile_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(uploaded_file.os, "write", refuse)
        answer = house.send()
    assert refused(answer)[:2] == (507, "insufficient_storage")
    assert house.nothing_is_left()


def test_a_share_that_is_away_is_told(house: House) -> None:
    house.send()
    (house.folder / "inbox").rename(house.folder / "away")
    answer = unread(house)
    assert refused(answer)[:2] == (503, "inbox_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert not (house.folder / "inbox").exists()


@pytest.mark.parametrize("name", [".media-cleaner", ".media-cleaner/uploads"])
def test_a_folder_of_somebody_elses_in_the_inbox_is_told_to_the_operator(
    house: House, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    folder = house.folder / "inbox" / name
    if name == ".media-cleaner":
        folder.mkdir(parents=True)
        folder.chmod(0o777)  # anybody may write there
    else:
        folder.parent.mkdir(parents=True, mode=0o750)
        folder.symlink_to(house.folder)
    answer = house.send()
    assert refused(answer)[:2] == (503, "inbox_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert [r.levelname for r in caplog.records if str(folder) in str(r.msg)] == ["WARNING"]
    assert house.count() == 0


def test_nobody_to_look_at_videos_is_not_the_videos_fault(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise NoProcess("no memory")

    monkeypatch.setattr(house.parts.prober, "refusal", refuse)
    answer = house.send()
    assert refused(answer)[:2] == (503, "no_prober")
    assert house.nothing_is_left()


def test_uploads_leave_threads_to_others(house: House) -> None:
    for _ in range(48):
        house.parts.free.acquire()
    answer = unread(house)
    assert refused(answer)[:2] == (503, "too_many_uploads")
    assert int(answer.headers["Retry-After"]) > 0
    house.parts.free.release()
    assert house.send().status_code == 200
    assert refused(house.send(b"x"))[0] == 415
    assert house.send().status_code == 200


# --- Whose it is ---


def test_a_users_uploads_are_that_users(house: House) -> None:
    alice = house.add_key("laptop", "alice")
    answer = house.send(headers=alice)
    assert answer.json is not None
    assert answer.json["task"]["user_id"] == "alice"
    assert house.send(headers=alice, user_id="alice").status_code == 200
    assert house.send(headers=alice, user_id="").status_code == 200
    assert refused(house.send(headers=alice, user_id="bob")) == (
        *(422, "invalid_parameter"),
        "user_id",
    )
    assert refused(house.send(headers=alice, query="?user_id=bob"))[2] == "user_id"
    assert house.count() == 3


def test_a_users_key_outweighs_a_default_user(make: Callable[..., House]) -> None:
    house = make(defaults={"user_id": "studio"})
    answer = house.send(headers=house.add_key("laptop", "alice"))
    assert answer.json is not None
    assert answer.json["task"]["user_id"] == "alice"


def test_an_admin_uploads_for_anybody(house: House) -> None:
    answer = house.send(headers=house.add_key("root", None, is_admin=True), user_id="bob")
    assert answer.json is not None
    assert answer.json["task"]["user_id"] == "bob"


def test_without_a_key_nothing_is_read_where_one_is_needed(house: House) -> None:
    house.add_key("laptop", "alice")
    assert refused(unread(house))[:2] == (403, "invalid_api_key")


# --- Sent twice ---


def key(text: str = "once") -> dict[str, str]:
    return {"Idempotency-Key": text}


def test_the_same_key_gives_the_same_task(house: House) -> None:
    first = house.send(headers=key(), epsilon="0.1")
    again = house.send(headers=key(), epsilon="0.10", query="?notes=")
    assert first.json is not None
    assert again.json is not None
    assert first.json["task_id"] == again.json["task_id"]
    assert house.count() == len(house.files()) == 1


def test_without_a_key_or_with_another_it_is_another_task(house: House) -> None:
    answers = [house.send(headers=h) for h in ({}, {}, key(), key("other"))]
    assert len({answer.json["task_id"] for answer in answers}) == 4  # type: ignore[index]


@pytest.mark.parametrize(
    "changed", [{"epsilon": "0.2"}, {"name": "other.mp4"}, {"mode": "strip"}, {"query": "?notes=x"}]
)
def test_a_key_that_comes_with_something_else_is_a_conflict(
    house: House, changed: dict[str, Any]
) -> None:
    house.send(headers=key())
    assert refused(house.send(headers=key(), **changed))[:2] == (409, "idempotency_conflict")
    assert house.count() == len(house.files()) == 1


def test_what_is_not_asked_for_may_change_its_default(make: Callable[..., House]) -> None:
    first = make(defaults={"epsilon": 0.06}).send(headers=key(), every_n_frames="5")
    again = make(defaults={"epsilon": 0.1}).send(headers=key(), every_n_frames="5")
    assert first.json is not None
    assert again.json is not None
    assert first.json["task_id"] == again.json["task_id"]


def test_a_key_that_comes_with_other_bytes_is_a_conflict(house: House, video: bytes) -> None:
    house.send(headers=key())
    other = house.send(video + b"\0\0\0\x08free", headers=key())
    assert refused(other)[:2] == (409, "idempotency_conflict")


def test_a_key_of_one_caller_is_nothing_to_another(house: House) -> None:
    alice, bob = house.add_key("a", "alice"), house.add_key("b", "bob")
    house.send(headers={**alice, **key()})
    assert house.send(headers={**bob, **key()}).status_code == 200
    assert house.count() == 2


def test_an_admin_is_another_caller_than_the_user_of_the_same_name(house: House) -> None:
    admin = {**house.add_key("bob", None, is_admin=True), **key("one")}
    user = {**house.add_key("phone", "bob"), **key("one")}
    assert house.send(headers=admin).status_code == house.send(headers=user).status_code == 200


def test_a_repeated_upload_gets_its_task_from_a_queue_that_it_has_filled(
    make: Callable[..., House],
) -> None:
    house = make(max_pending=1)
    first, again = house.send(headers=key("one")), house.send(headers=key("one"))
    assert again.get_json()["task_id"] == first.get_json()["task_id"]
    assert refused(house.send(headers=key("two")))[:2] == (429, "queue_full")
    assert refused(house.send(headers=key("one"), epsilon="0.2"))[0] == 409


def test_a_refused_upload_may_be_sent_again_with_its_key(house: House) -> None:
    house.send(b"no video", headers=key())
    assert house.send(headers=key()).status_code == 200


@pytest.mark.parametrize("text", ["", "x" * 256, "ключ".encode().decode("latin-1"), "a\tb"])
def test_a_key_that_is_none_is_refused(house: House, text: str) -> None:
    assert refused(house.send(headers=key(text))) == (
        *(422, "invalid_parameter"),
        "Idempotency-Key",
    )
