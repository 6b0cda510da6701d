"""client.py against the real service, as a library and as a command; and against bad servers."""

from __future__ import annotations

import ast
import configparser
import contextlib
import errno
import functools
import hashlib
import http.server
import io
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
import trustme
from media import Video, make_video
from services import ROOT, ServiceHouse, running, wait_until

import client as client_module
from client import MediaCleanerClient, MediaCleanerError

SHORT = Video(frames=10, width=160, height=120)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceHouse]:
    house = ServiceHouse(tmp_path_factory.mktemp("house"))
    with running(house):
        yield house


@pytest.fixture
def client(house: ServiceHouse) -> MediaCleanerClient:
    return MediaCleanerClient(house.url)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("clips") / "мой клип.mp4", SHORT)


def run(house: ServiceHouse, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "client.py"), "--server", house.url, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# --- The command line alone ---


def test_the_version_is_that_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        client_module.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split()[1:] == [setup["metadata"]["version"]]


def test_it_needs_no_python_newer_than_3_8() -> None:
    """It goes about alone, to machines that have what they have."""
    ast.parse((ROOT / "client.py").read_text("utf-8"), feature_version=(3, 8))
    as_in_3_8 = (
        "import requests, runpy, collections.abc as known\n"
        "for kind in [vars(known)[name] for name in known.__all__]:\n"
        "    if '__class_getitem__' in vars(kind): del kind.__class_getitem__\n"
        "runpy.run_path('client.py')\n"
    )
    subprocess.run([sys.executable, "-c", as_in_3_8], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("words", "folder"),
    [("ID --json there", "there"), ("--json ID there", "there"), ("ID --json", "."), ("ID", ".")],
)
def test_an_option_may_stand_before_the_folder_of_a_download(words: str, folder: str) -> None:
    arguments = client_module._parser().parse_args(["download", *words.split()])
    assert (arguments.task_id, arguments.folder) == ("ID", folder)


# --- Against the service ---


def test_the_example_of_the_description(
    client: MediaCleanerClient, clip: Path, tmp_path: Path
) -> None:
    result = client.upload_video(str(clip), epsilon=0.15, audio_level="средний", user_id="user_001")
    task_id = result["task_id"]
    assert result["status"] == "success"
    task = client.wait_for_completion(task_id, check_interval=0.2, timeout=120)
    assert (task["status"], task["epsilon"], task["user_id"]) == ("completed", 0.15, "user_001")
    saved = client.download_result(task_id, output_path=str(tmp_path / "results"))
    assert Path(saved).parent == tmp_path / "results"
    assert Path(saved).name == "мой клип_protected.mp4"
    assert os.path.getsize(saved) == task["report"]["protected_bytes"]
    status = client.get_task_status(task_id)
    assert (status["status_text"], status["progress"]) == ("✅ Завершено", 100.0)
    assert [t["task_id"] for t in client.list_tasks(user_id="user_001")] == [task_id]
    with pytest.raises(MediaCleanerError) as refused:
        client.cancel_task(task_id)
    assert refused.value.status_code == 409
    assert client.get_statistics()["completed"] >= 1
    assert client.health_check()["status"] == "healthy"


def test_the_command_uploads_waits_and_downloads(
    house: ServiceHouse, clip: Path, tmp_path: Path
) -> None:
    done = run(
        house, "upload", str(clip), "--wait", "--interval", "0.2", "--download", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "мой клип_protected.mp4").is_file()
    task_id = done.stdout.split()[0]
    status = run(house, "--json", "status", task_id)
    assert json.loads(status.stdout)["task"]["status"] == "completed"
    again = run(house, "status", task_id, "--wait", "--download", str(tmp_path / "again"))
    assert again.returncode == 0
    assert os.listdir(tmp_path / "again") == ["мой клип_protected.mp4"]
    assert task_id in run(house, "list", "--limit", "5").stdout
    assert "completed" in run(house, "stats").stdout


def test_what_goes_wrong_is_one_line_and_an_exit_code(
    house: ServiceHouse, clip: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    for words, told in (
        (("status", "nope"), "nope"),
        (("cancel", "nope"), "nope"),
        (("upload", str(clip), "--epsilon", "9"), "epsilon"),
        (("upload", str(broken)), "broken.mp4"),
        (("upload", str(tmp_path / "none.mp4")), "none.mp4"),
        (("download", "nope"), "nope"),
    ):
        done = run(house, *words)
        assert done.returncode == 1, words
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert run(house, "frobnicate").returncode == 2


def test_a_result_never_takes_the_place_of_its_original(house: ServiceHouse, clip: Path) -> None:
    before = clip.read_bytes()
    done = run(house, "upload", str(clip), "--wait", "--interval", "0.2", "--download", str(clip))
    assert (done.returncode, done.stdout) == (2, "")
    assert str(clip) in done.stderr
    assert clip.read_bytes() == before


def test_a_download_that_is_not_waited_for_is_told(
    house: ServiceHouse, client: MediaCleanerClient, clip: Path, tmp_path: Path
) -> None:
    house.run("pause")
    try:
        done = run(house, "upload", str(clip), "--download", str(tmp_path / "results"))
        task_id = done.stdout.split()[0]
        assert done.returncode == 1
        assert "pending" in done.stderr
        assert "--wait" in done.stderr
        assert client.cancel_task(task_id)["status"] == "cancelled"
    finally:
        house.run("resume")


def test_waiting_has_an_end(client: MediaCleanerClient, clip: Path, house: ServiceHouse) -> None:
    house.run("pause")
    try:
        task_id = client.upload_video(clip)["task_id"]
        with pytest.raises(TimeoutError, match="pending"):
            client.wait_for_completion(task_id, check_interval=0.1, timeout=0.3)
        assert client.cancel_task(task_id)["status"] == "cancelled"
        assert client.retry_task(task_id)["status"] == "pending"
    finally:
        house.run("resume")
    assert client.wait_for_completion(task_id, 0.2, 120)["status"] == "completed"


def test_a_field_that_is_wrong_is_named(client: MediaCleanerClient, clip: Path) -> None:
    with pytest.raises(MediaCleanerError) as refused:
        client.upload_video(clip, epsilon=9)
    assert (refused.value.status_code, refused.value.field) == (422, "epsilon")


def test_a_file_whose_name_is_no_text_can_be_uploaded(
    client: MediaCleanerClient, clip: Path, tmp_path: Path
) -> None:
    video = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    video.write_bytes(clip.read_bytes())
    assert client.upload_video(video, mode="strip")["task"]["input_video"] == "caf\ufffd.mp4"


@pytest.mark.parametrize(
    "words", ["upload F --notes \udcff", "status \udcff", "download \udcff", "list --user \udcff"]
)
def test_words_that_are_no_text_are_left_to_the_server_to_refuse(
    house: ServiceHouse, clip: Path, words: str
) -> None:
    told = run(house, *(str(clip) if word == "F" else word for word in words.split()))
    assert told.returncode == 1
    assert len(told.stderr.splitlines()) == 1
    assert "URL" not in told.stderr


# --- Against a server that makes trouble ---


class Trouble(http.server.BaseHTTPRequestHandler):
    """Answers by a script: a list of functions of the request, the last one for ever."""

    script: ClassVar[list[Callable[[Trouble], None]]] = []
    seen: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.seen.append((self.command, dict(self.headers), self.rfile.read(length)))
        act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        act(self)

    do_GET = do_POST = do_HEAD = answer

    def reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {"Content-Length": str(len(body)), **(headers or {})}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Trouble]]:
    monkeypatch.setattr(client_module, "_pause", lambda number: 0.01)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trouble)
    # It looks that often whether it is to end; by default each test would take half a second more.
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Trouble.script, Trouble.seen = [], []
    Trouble.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield Trouble
    server.shutdown()
    server.server_close()


def caller(trouble: type[Trouble]) -> MediaCleanerClient:
    return MediaCleanerClient(trouble.url, api_key="secret")  # type: ignore[attr-defined]


def hang_up(request: Trouble) -> None:
    request.close_connection = True
    request.connection.close()


TASK = {
    "task_id": "x",
    "status": "completed",
    "status_text": "✅ Завершено",
    "progress": 100.0,
    "input_video": "море\n.mp4",
    "output_video": None,
    "error_message": None,
}


FEW = {name: TASK[name] for name in ("task_id", "status", "progress")}


def task_json(request: Trouble) -> None:
    answer = {"status": "success", "task_id": "x", "message": "", "task": TASK}
    request.reply(200, json.dumps(answer).encode())


def test_a_broken_upload_is_sent_whole_again_under_the_same_key(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(os.urandom(3_000_000))
    trouble.script = [hang_up, task_json]
    assert caller(trouble).upload_video(video, notes="für Oma")["task_id"] == "x"
    (_, first, _), (_, second, body) = trouble.seen
    assert first["Idempotency-Key"] == second["Idempotency-Key"]
    assert second["X-API-Key"] == "secret"
    assert video.read_bytes() in body
    assert "für Oma".encode() in body
    assert len(body) == int(second["Content-Length"])


def test_progress_of_an_upload_that_breaks_begins_again_each_time(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(bytes(3_000_000))
    trouble.script = [hang_up, hang_up, task_json]
    steps: list[int] = []
    caller(trouble).upload_video(video, progress=steps.append)
    sent = list(itertools.accumulate(steps))
    assert (min(sent), max(sent), sent[-1]) == (0, 3_000_000, 3_000_000)
    assert steps.count(-3_000_000) == 2


def test_of_a_file_that_grows_as_much_is_sent_as_was_said(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"a" * 1_500_000)

    def grow(count: int) -> None:
        with video.open("ab") as file:
            file.write(b"b" * 1_000_000)

    trouble.script = [task_json]
    caller(trouble).upload_video(video, progress=grow)
    ((_, headers, body),) = trouble.seen
    assert b"a" * 1_500_000 + b"\r\n--" in body
    assert b"b" * 100 not in body  # fewer may be the boundary's
    assert body.endswith(b"--\r\n")
    assert len(body) == int(headers["Content-Length"])


def test_a_file_that_cannot_be_read_on_is_not_the_server_s_fault(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(bytes(3_000_000))

    steps: list[int] = []

    def cut(count: int) -> None:
        steps.append(count)
        os.truncate(video, 1000)

    trouble.script = [task_json]
    with pytest.raises(OSError, match="shorter") as told:
        caller(trouble).upload_video(video, progress=cut)
    assert told.value.filename == str(video)
    assert min(steps) > 0  # not sent again


def test_a_disk_that_fails_under_an_upload_is_told_by_the_file_and_not_asked_again(
    trouble: type[Trouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(bytes(3_000_000))

    class Failing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(client_module, "open", Failing, raising=False)
    monkeypatch.setattr(client_module, "_pause", never_tried_again)
    trouble.script = [task_json]
    with pytest.raises(OSError, match="Input/output error") as told:
        caller(trouble).upload_video(video)
    assert told.value.filename == str(video)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "Connection refused"),
        ("http://no-such-host.invalid", "not known|in name resolution"),
    ],
)
def test_why_a_server_cannot_be_reached_is_told_in_a_few_words(
    monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    monkeypatch.setattr(client_module, "_pause", lambda number: 0.01)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ROOT / "README.md"))  # not what is wrong
    with pytest.raises(MediaCleanerError, match=f"^{url} cannot be reached: [a-zA-Z ]*({reason})$"):
        MediaCleanerClient(url).get_statistics()


def test_what_a_library_tried_before_is_not_told(
    trouble: type[Trouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*words: Any, **options: Any) -> requests.Response:
        try:
            raise TypeError("unexpected keyword argument")  # as urllib3 1.26 tries it
        except TypeError:
            reset = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
            try:
                raise reset from None
            except OSError:
                raise requests.exceptions.ConnectionError("aborted")  # noqa: B904

    client = caller(trouble)
    monkeypatch.setattr(client._session, "request", broken)
    with pytest.raises(MediaCleanerError, match="cannot be reached: Connection reset by peer$"):
        client.get_statistics()


def never_tried_again(number: int) -> float:
    raise AssertionError("tried again")


def test_a_certificate_that_is_not_trusted_is_told_at_once(
    trouble: type[Trouble], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), trouble)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *words: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    trouble.script = [lambda request: request.reply(200, b'{"queue": {}}')]
    try:
        monkeypatch.setattr(client_module, "_pause", never_tried_again)
        client = MediaCleanerClient(f"https://localhost:{server.server_port}")
        monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
        for folder in ("", str(tmp_path)):  # none is named; one that may hold authorities is
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", folder)
            with pytest.raises(MediaCleanerError, match=r"certificate is not trusted.*REQUESTS_CA"):
                client.get_statistics()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ROOT / "README.md"))
        with pytest.raises(MediaCleanerError, match=r"README.md, which REQUESTS_CA.* in PEM: "):
            client.get_statistics()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))  # as it says
        assert client.get_statistics() == {}
    finally:
        server.shutdown()
        server.server_close()


def test_https_where_plain_http_is_spoken_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_pause", never_tried_again)

    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        answered = threads.submit(refuse)
        client = MediaCleanerClient(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(MediaCleanerError, match="speaks no TLS; write http://"):
            client.get_statistics()
        answered.result(60)


def test_a_connection_that_is_damaged_after_its_handshake_is_tried_again(
    trouble: type[Trouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though OpenSSL says of the damage what it says of plain HTTP."""
    trouble.script = [lambda request: request.reply(200, b'{"queue": {}}')]
    client = caller(trouble)
    damage = ssl.SSLError(1, "record layer failure")
    damage.reason = "RECORD_LAYER_FAILURE"
    asked = client._session.request

    def damaged_once(*words: Any, **options: Any) -> requests.Response:
        monkeypatch.setattr(client._session, "request", asked)
        raise requests.exceptions.SSLError from damage

    monkeypatch.setattr(client._session, "request", damaged_once)
    assert client.get_statistics() == {}


@pytest.mark.parametrize(
    ("error", "is_no_tls"),
    [
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), False),
        (ssl.SSLError(1, "UNEXPECTED_EOF_WHILE_READING"), False),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), True),
        (ssl.SSLError(1, "RECORD_LAYER_FAILURE"), True),
    ],
)
def test_what_of_a_handshake_another_try_would_not_mend(error: OSError, is_no_tls: bool) -> None:
    def do_handshake() -> None:
        if isinstance(error, ssl.SSLError):
            error.reason = str(error.strerror)
        raise error

    with contextlib.suppress(OSError):
        do_handshake()
    assert client_module._is_lasting(error) == is_no_tls


def test_plain_http_where_tls_is_spoken_is_told(trouble: type[Trouble]) -> None:
    """As nginx and others answer it."""
    trouble.script = [lambda request: request.reply(400, b"<html>")]
    with pytest.raises(MediaCleanerError, match="answered 400.*write https://"):
        caller(trouble).get_statistics()


@pytest.mark.parametrize(
    "proxy",
    [
        "http://me:word@127.0.0.1:1",
        "http://me:word@127.0.0.1:99999",
        "http://me:word/word@127.0.0.1:1",
        "socks5://127.0.0.1:1",
        "garbage://",
        "odd://a:1",
    ],
)
def test_a_proxy_that_is_what_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setattr(client_module, "_pause", lambda number: 0.01)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(MediaCleanerError) as told:
        MediaCleanerClient("http://localhost:1").get_statistics()
    assert str(told.value).startswith("http://localhost:1 cannot be reached through the proxy ")
    assert "word" not in str(told.value)


@pytest.mark.parametrize(("status", "body"), [(407, b"who are you?"), (200, b"<html>")])
def test_what_a_proxy_answers_is_told_as_what_came_through_it(
    trouble: type[Trouble], monkeypatch: pytest.MonkeyPatch, status: int, body: bytes
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", caller(trouble).base_url)
    trouble.script = [lambda request: request.reply(status, body)]
    with pytest.raises(MediaCleanerError, match=f"answered {status} through the proxy"):
        MediaCleanerClient("http://elsewhere.invalid").get_statistics()


def test_a_server_that_is_not_there_has_no_health_to_tell() -> None:
    with pytest.raises(MediaCleanerError, match="^http://127.0.0.1:1 cannot be reached: "):
        MediaCleanerClient("http://127.0.0.1:1").health_check()


def test_a_busy_server_is_asked_again_when_it_says(trouble: type[Trouble]) -> None:
    trouble.script = [
        lambda request: request.reply(429, b"{}", {"Retry-After": "0.3"}),
        lambda request: request.reply(503, b"{}"),
        task_json,
    ]
    began = time.monotonic()
    caller(trouble).get_task_status("x")
    assert time.monotonic() - began >= 0.3
    assert len(trouble.seen) == 3


def test_what_stays_busy_is_an_error_in_the_end(trouble: type[Trouble]) -> None:
    body = json.dumps({"status": "error", "detail": "full", "code": "queue_full"}).encode()
    trouble.script = [lambda request: request.reply(429, body)]
    with pytest.raises(MediaCleanerError, match="full") as refused:
        caller(trouble).get_task_status("x")
    assert (refused.value.status_code, refused.value.code) == (429, "queue_full")


@pytest.mark.parametrize(
    ("act", "statuses"), [("cancel", ["cancelled"]), ("retry", ["pending", "processing"])]
)
def test_a_change_whose_answer_was_lost_is_not_told_as_refused(
    trouble: type[Trouble], act: str, statuses: list[str]
) -> None:
    """Asked again the server says that there is nothing to change any more."""
    refusal = json.dumps({"detail": "it has ended", "code": "wrong_status"}).encode()

    def refuse(request: Trouble) -> None:
        request.reply(409, refusal)

    def changed_to(status: str) -> Callable[[Trouble], None]:
        answer = json.dumps({"task": {**TASK, "status": status}}).encode()
        return lambda request: request.reply(200, answer)

    change = getattr(caller(trouble), f"{act}_task")
    for status in statuses:
        trouble.script = [hang_up, refuse, changed_to(status)]
        assert change("x")["status"] == status
    trouble.script = [hang_up, refuse, changed_to("completed")]
    with pytest.raises(MediaCleanerError, match="it has ended"):
        change("x")
    trouble.script = [refuse, changed_to(statuses[0])]  # not asked again
    with pytest.raises(MediaCleanerError, match="it has ended"):
        change("x")


def test_a_download_that_broke_off_goes_on_where_it_was(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    content = os.urandom(2_500_000)
    headers = {
        "ETag": '"one"',
        "Content-Length": str(len(content)),
        "Content-Disposition": "attachment; filename*=UTF-8''%D1%84_protected.mp4",
    }

    def half(request: Trouble) -> None:
        request.reply(200, content[:1_000_000], headers)
        hang_up(request)

    def rest(request: Trouble) -> None:
        begin = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        assert request.headers["If-Range"] == '"one"'
        request.reply(206, content[begin:], part_of(content, begin, '"one"'))

    trouble.script = [lambda request: request.reply(200, b"", headers), half, rest]
    steps: list[int] = []
    saved = caller(trouble).download_result("x", tmp_path, progress=steps.append)
    assert sum(steps) == len(content)
    assert saved == str(tmp_path / "ф_protected.mp4")
    assert Path(saved).read_bytes() == content
    assert os.listdir(tmp_path) == ["ф_protected.mp4"]
    begins = [h.get("Range") for _, h, _ in trouble.seen]
    assert begins[2] not in (None, "bytes=0-")


def test_a_download_that_gets_on_piece_by_piece_is_not_given_up(
    trouble: type[Trouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a slow line, from which a busy server takes its thread back."""
    monkeypatch.setattr("client._pause", lambda number: 0.01)
    content = os.urandom(1_000_000)
    headers = {
        "ETag": '"one"',
        "Content-Length": str(len(content)),
        "Content-Disposition": "attachment; filename=a.mp4",
    }

    def piece(request: Trouble) -> None:
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=")[:-1])
        status, told = (206, part_of(content, begin, '"one"')) if begin else (200, headers)
        request.reply(status, content[begin : begin + 100_000], told)
        hang_up(request)

    trouble.script = [lambda request: request.reply(200, b"", headers), *[piece] * 10]
    saved = caller(trouble).download_result("x", tmp_path / "a.mp4")
    assert Path(saved).read_bytes() == content


def test_a_name_that_is_offered_controls_no_terminal(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    headers = {
        "ETag": '"one"',
        "Content-Length": "3",
        "Content-Disposition": "attachment; filename*=UTF-8''..%2F%1B%5B31mred%0A.mp4",
    }
    trouble.script = [
        lambda request: request.reply(200, b"", headers),
        lambda request: request.reply(200, b"abc", headers),
    ]
    saved = caller(trouble).download_result("x", tmp_path)
    assert saved == str(tmp_path / "[31mred.mp4")


def test_why_there_is_no_result_is_told(client: MediaCleanerClient, house: ServiceHouse) -> None:
    """Also where the answer that says so is one to HEAD, which has no words."""
    task_id = "0" * 36
    with pytest.raises(MediaCleanerError, match=task_id) as refused:
        client.download_result(task_id)
    assert (refused.value.status_code, refused.value.code) == (404, "unknown_task")
    told = run(house, "download", task_id)
    assert (told.returncode, "http" in told.stderr) == (1, False)


def test_where_nobody_says_why_there_is_no_result_that_is_told_by_its_number(
    trouble: type[Trouble],
) -> None:
    trouble.script = [lambda request: request.reply(409), hang_up]
    with pytest.raises(MediaCleanerError, match="answered 409$"):
        caller(trouble).download_result("x")


def part_of(content: bytes, begin: int, etag: str) -> dict[str, str]:
    end = len(content)
    return {"ETag": etag, "Content-Range": f"bytes {begin}-{end - 1}/{end}"}


@pytest.mark.parametrize("trait", ["no place", "another place", "another file"])
def test_a_part_that_was_not_asked_for_is_not_added(
    trouble: type[Trouble], tmp_path: Path, trait: str
) -> None:
    content = os.urandom(1_000_000)
    headers = {
        "ETag": '"one"',
        "Content-Length": str(len(content)),
        "Content-Disposition": 'attachment; filename="a.mp4"',
    }

    def half(request: Trouble) -> None:
        request.reply(200, content[:500_000], headers)
        hang_up(request)

    def wrong(request: Trouble) -> None:
        begin = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        told = {
            "no place": {},
            "another place": part_of(content, 0, '"one"'),
            "another file": part_of(content, begin, '"two"'),
        }
        request.reply(206, b"x" * (len(content) - begin), told[trait])

    def whole(request: Trouble) -> None:
        assert "Range" not in request.headers
        request.reply(200, content, headers)

    trouble.script = [lambda request: request.reply(200, b"", headers), half, wrong, whole]
    saved = caller(trouble).download_result("x", tmp_path)
    assert Path(saved).read_bytes() == content


def test_a_name_from_the_server_leads_into_no_other_folder(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    headers = {
        "Content-Disposition": 'attachment; filename="../../evil.mp4"',
        "Content-Length": "4",
    }
    trouble.script = [lambda request: request.reply(200, b"data", headers)]
    saved = caller(trouble).download_result("x", tmp_path / "results")
    assert saved == str(tmp_path / "results/evil.mp4")


def test_what_is_there_already_is_replaced_only_where_that_is_asked_for(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    headers = {"Content-Disposition": 'attachment; filename="a.mp4"', "Content-Length": "4"}
    there = tmp_path / "a.mp4"
    there.write_bytes(b"the first")
    trouble.script = [lambda request: request.reply(200, b"data", headers)]
    with pytest.raises(FileExistsError, match="is there already"):
        caller(trouble).download_result("x", there)
    assert there.read_bytes() == b"the first"
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert caller(trouble).download_result("x", tmp_path, may_replace=True) == str(there)
    assert there.read_bytes() == b"data"


def test_results_of_one_name_lie_side_by_side(trouble: type[Trouble], tmp_path: Path) -> None:
    """Two videos of one name have results of one name; the first is not lost to the second."""
    headers = {"Content-Disposition": 'attachment; filename="a.mp4"', "Content-Length": "4"}
    (tmp_path / "a-2.mp4").mkdir()
    saved = []
    for data in (b"once", b"anew", b"anew", b"once", b"last"):
        trouble.script = [lambda request, data=data: request.reply(200, data, headers)]
        saved.append(Path(caller(trouble).download_result("x", tmp_path)).name)
    assert saved == ["a.mp4", "a-3.mp4", "a-3.mp4", "a.mp4", "a-4.mp4"]
    assert sorted(os.listdir(tmp_path)) == ["a-2.mp4", "a-3.mp4", "a-4.mp4", "a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"once"


def test_results_that_come_at_once_are_all_kept(
    trouble: type[Trouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def late(*places: Any) -> None:
        time.sleep(0.02)  # so that others look for a free name meanwhile
        replace(*places)

    monkeypatch.setattr(client_module.os, "replace", late)
    headers = {"Content-Disposition": 'attachment; filename="a.mp4"', "Content-Length": "4"}
    numbers = itertools.count(1000)
    trouble.script = [lambda request: request.reply(200, b"%d" % next(numbers), headers)]

    def fetched(number: int) -> str:
        return caller(trouble).download_result(f"task{number}", tmp_path)

    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(fetched, range(24)))
    assert len(set(saved)) == 24
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 24


def test_a_full_disk_is_told_by_the_place_that_is_full(
    trouble: type[Trouble],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    headers = {"Content-Disposition": 'attachment; filename="a.mp4"', "Content-Length": "4"}
    trouble.script = [lambda request: request.reply(200, b"data", headers)]
    monkeypatch.setattr(client_module.os, "fsync", full)
    words = ["--server", trouble.url, "download", "x", str(tmp_path)]  # type: ignore[attr-defined]
    assert client_module.main(words) == 1
    assert f"{tmp_path}/" in capsys.readouterr().err
    assert len(trouble.seen) == 2


def test_an_encoding_that_is_none_is_not_told_as_the_file_s_trouble(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    headers = {"Content-Disposition": "attachment", "Content-Length": "4"}
    odd = {**headers, "Content-Encoding": "gzip"}
    trouble.script = [lambda request: request.reply(200, b"data", headers)]
    trouble.script.append(lambda request: request.reply(200, b"data", odd))
    with pytest.raises(OSError, match="gzip") as told:
        caller(trouble).download_result("x", tmp_path)
    assert told.value.filename is None


def test_two_do_not_write_into_one_result(trouble: type[Trouble], tmp_path: Path) -> None:
    """The one that is slower would go on writing into what the other has finished."""
    content = os.urandom(500_000)
    headers = {
        "ETag": '"one"',
        "Content-Length": str(len(content)),
        "Content-Disposition": 'attachment; filename="a.mp4"',
    }
    is_under_way, may_end = threading.Event(), threading.Event()

    def whole(request: Trouble) -> None:
        request.reply(200, content[:300_000], headers)
        if request.command == "GET":
            is_under_way.set()
            may_end.wait(60)
            request.wfile.write(content[300_000:])

    trouble.script = [whole]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(caller(trouble).download_result, "x", tmp_path)
        assert is_under_way.wait(60)
        with pytest.raises(OSError, match="another download"):
            caller(trouble).download_result("x", tmp_path)
        may_end.set()
        assert Path(first.result()).read_bytes() == content
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("lacks", ["locks", "fcntl"])
def test_where_files_cannot_be_locked_a_download_is_made_all_the_same(
    trouble: type[Trouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    """As on some shares, and on Windows."""

    def refused(*words: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if lacks == "locks":
        monkeypatch.setattr("fcntl.flock", refused)
    else:
        monkeypatch.setattr(client_module, "fcntl", None)
    headers = {"Content-Disposition": 'attachment; filename="a.mp4"', "Content-Length": "4"}
    trouble.script = [lambda request: request.reply(200, b"once", headers)]
    assert Path(caller(trouble).download_result("x", tmp_path)).read_bytes() == b"once"
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_file_that_comes_meanwhile_stays(trouble: type[Trouble], tmp_path: Path) -> None:
    there = tmp_path / "there.mp4"

    def come(request: Trouble) -> None:
        if request.command == "GET":
            there.write_bytes(b"mine")
        request.reply(200, b"data", {"Content-Disposition": "attachment", "Content-Length": "4"})

    trouble.script = [come]
    with pytest.raises(FileExistsError, match="is there already"):
        caller(trouble).download_result("x", there)
    assert there.read_bytes() == b"mine"


@pytest.mark.parametrize("comes_with", ["HEAD", "GET"])
def test_a_pipe_is_never_replaced(trouble: type[Trouble], tmp_path: Path, comes_with: str) -> None:
    pipe = tmp_path / "pipe.mp4"

    def come(request: Trouble) -> None:
        if request.command == comes_with:
            os.mkfifo(pipe)
        request.reply(200, b"data", {"Content-Disposition": "attachment", "Content-Length": "4"})

    trouble.script = [come]
    with pytest.raises(FileExistsError, match="no file"):
        caller(trouble).download_result("x", pipe, may_replace=True)
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["there.mp4", "there"])
def test_nobody_waits_for_a_result_whose_place_is_taken(
    trouble: type[Trouble], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    there, video = tmp_path / name, tmp_path / "video.mp4"
    for path in (there, video):
        path.write_bytes(b"mine")
    for words in (["upload", str(video)], ["status", "x"]):
        line = ["--server", caller(trouble).base_url, *words, "--wait", "--download", str(there)]
        assert client_module.main(line) == 2
        assert capsys.readouterr().err.count("is there already; name another") == 1
    assert trouble.seen == []


def test_a_task_whose_result_cannot_be_fetched_is_told_all_the_same(
    trouble: type[Trouble], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else whoever uploaded it with `--json` would not even know its id."""
    trouble.script = [task_json, lambda request: request.reply(410)]
    line = ["--server", caller(trouble).base_url, "--json", "status", "x"]
    assert client_module.main([*line, "--download", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["task"]["task_id"] == "x"
    assert "410" in told.err


def test_a_task_that_cannot_be_waited_for_is_told_all_the_same(
    trouble: type[Trouble], capsys: pytest.CaptureFixture[str]
) -> None:
    def pending(request: Trouble) -> None:
        request.reply(200, json.dumps({"task": {**TASK, "status": "pending"}}).encode())

    line = ["--server", caller(trouble).base_url, "--json", "status", "x", "--wait"]
    for script, option, said in (
        ([pending, lambda request: request.reply(410)], "--interval=0.01", "410"),
        ([pending], "--timeout=0", "client: task x is pending after 0.0 s\n"),
    ):
        trouble.script = [*script]
        assert client_module.main([*line, option]) == 1
        told = capsys.readouterr()
        assert json.loads(told.out)["task"]["task_id"] == "x"
        assert said in told.err


def test_no_media_cleaner_is_told(trouble: type[Trouble]) -> None:
    trouble.script = [lambda request: request.reply(200, b"<html>")]
    with pytest.raises(MediaCleanerError, match="is it a Media Cleaner"):
        caller(trouble).get_task_status("x")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"task": 5, "tasks": 5, "queue": []},
        {"task": {"status": "completed"}, "tasks": [5], "queue": None},
        {"task": {**TASK, "progress": "all"}, "tasks": [{}], "queue": 1},
        {"task": {**TASK, "progress": 10**400}, "tasks": [{**TASK, "progress": -1}], "queue": 1},
        {"task": {**TASK, "task_id": 5}, "tasks": [{**TASK, "status": None}], "queue": 1},
        {"task": FEW, "tasks": [FEW], "queue": 1, "task_id": "x", "message": "m"},
        [],
    ],
)
@pytest.mark.parametrize("words", ["stats", "list", "status x", "cancel x", "retry x", "upload F"])
def test_another_server_s_answer_is_told_in_one_line(
    trouble: type[Trouble],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: object,
    words: str,
) -> None:
    (tmp_path / "F").write_bytes(b"a video")
    trouble.script = [lambda request: request.reply(200, json.dumps(answer).encode())]
    line = [str(tmp_path / "F") if word == "F" else word for word in words.split()]
    assert client_module.main(["--server", trouble.url, *line]) == 1  # type: ignore[attr-defined]
    told = capsys.readouterr().err
    assert "is it a Media Cleaner?" in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("lacks", ["task_id", "message", "task"])
def test_an_upload_s_answer_is_checked_whole(
    trouble: type[Trouble], tmp_path: Path, lacks: str
) -> None:
    answer = {"task_id": "x", "message": "m", "task": TASK}
    del answer[lacks]
    (tmp_path / "a.mp4").write_bytes(b"a video")
    trouble.script = [lambda request: request.reply(200, json.dumps(answer).encode())]
    with pytest.raises(MediaCleanerError, match=f"no {lacks} as it should"):
        caller(trouble).upload_video(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("url", "status", "headers", "body", "said"),
    [
        ("http://h/x", 400, {}, b"<html>", "answered 400; if it speaks TLS, .*"),
        ("https://h/x", 400, {}, b"<html>", "answered 400"),
        ("http://h/x", 500, {"Location": "/y"}, b"{}", "answered 500"),
        ("http://h/x", 304, {}, b"", "answered 304"),
        ("http://h/x", 302, {"Location": "/y"}, b"[]", "answered 302 and sends on to /y; .*"),
        ("http://h/x", 500, {}, b'"x"', "answered 500"),
    ],
)
def test_what_an_answer_without_words_means(
    url: str, status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    answer = requests.Response()
    answer.url, answer.status_code, answer.raw = url, status, io.BytesIO(body)
    answer.headers.update(headers)
    with pytest.raises(MediaCleanerError, match=f"^{url} {said}$") as refused:
        client_module._checked(answer)
    assert (refused.value.status_code, refused.value.code) == (status, None)


@pytest.mark.parametrize(
    ("bottom", "said"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host"),
        (TimeoutError("timed out"), "timed out"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_reason_is_never_empty(bottom: Exception, said: str) -> None:
    error = requests.exceptions.ConnectionError("as a whole")
    error.__cause__ = bottom
    assert client_module._reason(error) == said


def test_a_server_that_sends_on_is_told_with_where_to(trouble: type[Trouble]) -> None:
    """As nginx does from http to https; it is not followed, as a key and a video go with it."""
    there = {"Location": "https://media.example.org/stats"}
    trouble.script = [lambda request: request.reply(301, b"<html>", there)]
    with pytest.raises(MediaCleanerError, match=r"https://media\.example\.org/stats") as refused:
        caller(trouble).get_statistics()
    assert refused.value.status_code == 301
    assert len(trouble.seen) == 1


@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_too_deep_to_be_read_is_told_in_one_line(
    trouble: type[Trouble], capsys: pytest.CaptureFixture[str], status: int
) -> None:
    trouble.script = [lambda request: request.reply(status, b"[" * 100_000)]
    assert client_module.main(["--server", trouble.url, "stats"]) == 1  # type: ignore[attr-defined]
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("value", ["x", "1_0", " 5", "٥", "-1", "1e2"])
def test_a_limit_that_is_no_whole_number_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], value: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        client_module.main(["list", f"--limit={value}"])  # type: ignore[attr-defined]
    assert ended.value.code == 2
    assert "allowed is a whole number" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--interval", "--timeout"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1e10", "soon", "1_0", " 5", "٥"])
def test_a_time_to_wait_that_is_none_is_wrong_usage(
    trouble: type[Trouble], capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    trouble.script = [task_json]
    with pytest.raises(SystemExit) as ended:
        client_module.main(["--server", trouble.url, "status", "x", "--wait", f"{option}={value}"])  # type: ignore[attr-defined]
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert option in told
    assert "allowed is a number of seconds" in told


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {}),
        (204, {}),
        (200, {"Content-Disposition": "attachment", "Content-Length": "abc"}),
    ],
)
def test_what_is_no_file_is_not_saved(
    trouble: type[Trouble], tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    trouble.script = [lambda request: request.reply(status, b"<html>", headers)]
    with pytest.raises(MediaCleanerError, match="is it a Media Cleaner"):
        caller(trouble).download_result("x", tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://a..b", "no URL"),
        (f"http://{'a' * 80}.b", "no URL"),
        ("http://[", "no URL"),
        ("ftp://a", "no http or https URL"),
        ("localhost:8000", "no http or https URL"),
    ],
)
def test_a_wrong_url_is_told_in_one_line(
    url: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client_module.main(["--server", url, "stats"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"client: {url} is {said}")


@pytest.mark.parametrize("key", ["ключ", "é", " a", "a\nb", "a b"])
def test_a_key_that_cannot_be_one_is_told(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert client_module.main(["--api-key", key, "stats"]) == 1
    assert "API key has characters" in capsys.readouterr().err


def ended_at(output: int, line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "client.py"), *line],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_enough_is_no_error(trouble: type[Trouble], options: list[str]) -> None:
    trouble.script = [task_json]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = ended_at(writer, ["--server", caller(trouble).base_url, *options, "status", "x"])
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_without_requests_one_line_says_how_to_get_it() -> None:
    done = subprocess.run(
        [sys.executable, "-S", ROOT / "client.py", "stats"],  # -S: nothing that was installed
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "-m pip install requests" in done.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_answer_that_finds_no_room_is_told_in_one_line(
    trouble: type[Trouble], options: list[str]
) -> None:
    trouble.script = [task_json]
    with open("/dev/full", "w") as full:
        line = ["--server", caller(trouble).base_url, *options, "status", "x"]
        ended = ended_at(full.fileno(), line)
    said = "client: the answer cannot be written: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, said)


@pytest.mark.parametrize("line", [["--help"], ["upload", "--help"], ["--version"]])
def test_help_that_finds_no_room_is_told_in_one_line(line: list[str]) -> None:
    with open("/dev/full", "w") as full:
        ended = ended_at(full.fileno(), line)
    said = "client: the answer cannot be written: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, said)


@pytest.mark.parametrize(("words", "code"), [("bad", 2), ("--server http://127.0.0.1 stats", 1)])
def test_complaints_that_find_no_room_change_no_exit_code(words: str, code: int) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, ROOT / "client.py", "--api-key", " ", *words.split()],
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stdout) == (code, b"")


@pytest.mark.parametrize("encoding", ["cp1251", "ascii"])
def test_a_terminal_that_lacks_characters_shows_the_rest(
    trouble: type[Trouble], encoding: str
) -> None:
    trouble.script = [task_json]
    done = subprocess.run(
        [sys.executable, ROOT / "client.py", "--server", trouble.url, "status", "x"],  # type: ignore[attr-defined]
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u2705" in done.stdout


def test_json_to_a_closed_output_is_no_failure(trouble: type[Trouble]) -> None:
    trouble.script = [task_json]
    words = [sys.executable, ROOT / "client.py", "--server", trouble.url, "status", "x", "--json"]  # type: ignore[attr-defined]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *words],
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_where_nobody_can_be_complained_to_an_upload_is_made_all_the_same(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"video")
    trouble.script = [task_json]
    client = [sys.executable, ROOT / "client.py", "--server", trouble.url]  # type: ignore[attr-defined]
    for words, code in ((["upload", "clip.mp4"], 0), (["upload", "gone.mp4"], 1)):
        done = subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *client, *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout
        assert bool(done.stdout) == (code == 0)


# --- What a request says, and when it is said again ---


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415, 422, 500, 507])
def test_what_another_try_would_not_mend_is_asked_once(
    trouble: type[Trouble], tmp_path: Path, status: int
) -> None:
    """A full disk too: the whole video would be sent again and again."""
    (tmp_path / "clip.mp4").write_bytes(b"video")
    trouble.script = [lambda request: request.reply(status, b'{"detail": "no"}')]
    with pytest.raises(MediaCleanerError, match="no") as refused:
        caller(trouble).upload_video(tmp_path / "clip.mp4")
    assert refused.value.status_code == status
    assert len(trouble.seen) == 1


@pytest.mark.parametrize(
    ("asked", "seconds"), [("7", 7), ("1e9", 60), ("-5", 0.1), ("Wed, 21 Oct 2015", 0.01)]
)
def test_a_server_may_ask_for_a_pause_within_reason(
    trouble: type[Trouble], monkeypatch: pytest.MonkeyPatch, asked: str, seconds: float
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(client_module, "time", clock)
    busy = functools.partial(Trouble.reply, status=429, headers={"Retry-After": asked})
    trouble.script = [busy, task_json]
    assert caller(trouble).get_task_status("x")["task_id"] == "x"
    assert clock.pauses == [seconds]


def test_pauses_between_tries_grow_up_to_a_minute() -> None:
    for number, longest in ((1, 1), (2, 2), (5, 16), (7, 60), (50, 60)):
        pauses = [client_module._pause(number) for _ in range(20)]
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 1  # not all callers at once


def test_a_server_that_falls_silent_is_asked_again(
    trouble: type[Trouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_TIMEOUT_SECONDS", (5.0, 0.5))
    may_end = threading.Event()

    def fall_silent(request: Trouble) -> None:
        may_end.wait(30)
        hang_up(request)

    trouble.script = [fall_silent, task_json]
    began = time.monotonic()
    assert caller(trouble).get_task_status("x")["task_id"] == "x"
    may_end.set()
    assert time.monotonic() - began < 20
    assert len(trouble.seen) >= 2


def test_requests_say_where_and_what(trouble: type[Trouble]) -> None:
    paths: list[str] = []

    def answer(request: Trouble) -> None:
        paths.append(f"{request.command} {request.path}")
        answers = {"task": TASK, "tasks": [TASK], "queue": {"total": 1}, "status": "success"}
        request.reply(200, json.dumps(answers).encode())

    trouble.script = [answer]
    client = MediaCleanerClient(f"{caller(trouble).base_url}/media/", language="en")
    client.get_task_status("a/../b?c")
    client.list_tasks("u", "failed", 3, "x")
    client.list_tasks()
    client.get_statistics()
    client.health_check()
    client.cleanup(0)
    client.cancel_task("x")
    client.retry_task("x")
    assert paths == [
        "GET /media/task/a%2F..%2Fb%3Fc",
        "GET /media/tasks?user_id=u&status=failed&limit=3&before=x",
        "GET /media/tasks",
        "GET /media/stats",
        "GET /media/health",
        "POST /media/cleanup?days=0",
        "POST /media/cancel/x",
        "POST /media/retry/x",
    ]
    assert {headers["Accept-Language"] for _, headers, _ in trouble.seen} == {"en"}
    assert not any("X-API-Key" in headers for _, headers, _ in trouble.seen)


def test_an_upload_says_every_parameter_and_the_file_s_name(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    video = tmp_path / 'a "b"\n.mp4'
    video.write_bytes(b"the video")
    trouble.script = [task_json]
    values = {name: f"value of {name}" for name in client_module.PARAMETERS}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
    line = ["--server", caller(trouble).base_url, "upload", str(video), *options]
    assert client_module.main(line) == 0
    ((_, headers, body),) = trouble.seen
    boundary = headers["Content-Type"].partition("boundary=")[2].encode()
    start, *parts, end = body.split(b"--" + boundary)
    assert (start, end) == (b"", b"--\r\n")
    for name, value in values.items():
        field = f'\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        assert field.encode() in parts
    assert b'filename="a %22b%22%0A.mp4"' in parts[-1]
    assert parts[-1].endswith(b"\r\n\r\nthe video\r\n")


class FakeTime:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0, "no pause at all"
        self.pauses.append(seconds)
        self.now += seconds


def test_a_wait_looks_again_when_its_time_is_up_and_no_more_often_than_it_should(
    trouble: type[Trouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pending(request: Trouble) -> None:
        request.reply(200, json.dumps({"task": {**TASK, "status": "pending"}}).encode())

    clock = FakeTime()
    monkeypatch.setattr(client_module, "time", clock)
    trouble.script = [pending, pending, task_json]
    seen: list[dict[str, Any]] = []
    ended = caller(trouble).wait_for_completion("x", 600, 700, progress=seen.append)
    assert [task["status"] for task in seen] == ["pending", "pending", "completed"]
    assert ended == seen[-1]
    assert clock.pauses == [600, 100]
    trouble.script, trouble.seen = [pending], []
    with pytest.raises(TimeoutError):
        caller(trouble).wait_for_completion("x", 0, 0.5)
    assert 5 <= len(trouble.seen) <= 7  # ten a second


# --- What a download leaves ---


class Result:
    """A server's result, fetched by HEAD and GET; each GET breaks off at byte `most`."""

    def __init__(self, content: bytes, etag: str | None, most: int | None = None) -> None:
        self.content, self.etag, self.most = content, etag, most
        self.ranges: list[str | None] = []
        self.name = "attachment; filename=a.mp4"

    def __call__(self, request: Trouble) -> None:
        size = len(self.content)
        headers = {"Content-Disposition": self.name, "Content-Length": str(size)}
        headers |= {"ETag": self.etag} if self.etag else {}
        if request.command == "HEAD":
            return request.reply(200, b"", headers)
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        begin, status = 0, 200
        if asked is not None:
            begin, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            if begin >= size:
                return request.reply(416, b"")
            headers["Content-Length"] = str(size - begin)
            headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        end = size if self.most is None else max(begin, self.most)
        request.reply(status, self.content[begin:end], headers)
        if end < size:
            hang_up(request)


def test_tries_to_go_on_with_a_download_pause_longer_each_time(
    trouble: type[Trouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(client_module, "time", clock)
    monkeypatch.setattr(client_module, "_pause", float)
    broken_download(trouble, Result(bytes(200_000), '"one"', most=100_000), tmp_path)
    assert clock.pauses == [1, 2, 3, 4, 5]


def broken_download(trouble: type[Trouble], result: Result, folder: Path) -> None:
    """Have a download given up, and a part of it left."""
    trouble.script = [result]
    with pytest.raises(MediaCleanerError, match="call it again to go on"):
        caller(trouble).download_result("x", folder)
    (part,) = folder.iterdir()
    assert part.stat().st_size > 0
    assert part.name.startswith(".")


def test_another_call_goes_on_with_what_one_left(trouble: type[Trouble], tmp_path: Path) -> None:
    result = Result(os.urandom(300_000), '"one"', 100_000)
    broken_download(trouble, result, tmp_path)
    result.most, trouble.script = None, [result]
    steps: list[int] = []
    saved = caller(trouble).download_result("x", tmp_path, progress=steps.append)
    assert Path(saved).read_bytes() == result.content
    assert result.ranges[-1] not in (None, "bytes=0-")
    assert sum(steps) == 300_000
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("other", ["content", "task"])
def test_a_part_of_something_else_is_not_gone_on_with(
    trouble: type[Trouble], tmp_path: Path, other: str
) -> None:
    broken_download(trouble, Result(os.urandom(300_000), '"one"', 100_000), tmp_path)
    etag, task_id = ('"two"', "x") if other == "content" else ('"one"', "y")
    anew = Result(os.urandom(300_000), etag)
    trouble.script = [anew]
    saved = caller(trouble).download_result(task_id, tmp_path)
    assert anew.ranges == [None]
    assert Path(saved).read_bytes() == anew.content


def test_a_part_that_has_too_much_is_fetched_anew(trouble: type[Trouble], tmp_path: Path) -> None:
    result = Result(os.urandom(300_000), '"one"', 100_000)
    broken_download(trouble, result, tmp_path)
    (part,) = tmp_path.iterdir()
    part.write_bytes(os.urandom(300_001))
    result.most, trouble.script = None, [result]
    assert Path(caller(trouble).download_result("x", tmp_path)).read_bytes() == result.content


def test_a_part_that_is_whole_is_not_fetched_again(
    trouble: type[Trouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the computer stopped before it had its name."""
    result = Result(os.urandom(300_000), '"one"')
    trouble.script = [result]

    def stop(*places: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(client_module.os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            caller(trouble).download_result("x", tmp_path, may_replace=True)
    saved = caller(trouble).download_result("x", tmp_path)
    assert Path(saved).read_bytes() == result.content
    assert result.ranges == [None]


def test_without_a_tag_a_download_begins_anew(trouble: type[Trouble], tmp_path: Path) -> None:
    """Nothing else tells whether it is still the same file."""
    result = Result(os.urandom(300_000), None, 100_000)
    whole = Result(result.content, None)
    trouble.script = [result, result, whole]
    steps: list[int] = []
    saved = caller(trouble).download_result("x", tmp_path, progress=steps.append)
    assert Path(saved).read_bytes() == result.content
    assert sum(steps) == 300_000
    assert result.ranges == whole.ranges == [None]


def test_fewer_bytes_than_were_promised_are_no_result(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    def fewer(request: Trouble) -> None:
        length = "6" if request.command == "HEAD" else "3"
        headers = {"Content-Disposition": "attachment; filename=a.mp4", "Content-Length": length}
        request.reply(200, b"abc", headers)

    trouble.script = [fewer]
    with pytest.raises(MediaCleanerError, match="3 of 6 bytes"):
        caller(trouble).download_result("x", tmp_path)
    assert not (tmp_path / "a.mp4").exists()


def test_a_result_is_on_the_disk_before_it_has_its_name(
    trouble: type[Trouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Result(os.urandom(300_000), '"one"')
    trouble.script = [result]
    events: list[object] = []
    replace = os.replace

    def synced(descriptor: int) -> None:
        events.append(os.fstat(descriptor).st_size)

    def named(*places: Any) -> None:
        events.append("named")
        replace(*places)

    monkeypatch.setattr(client_module.os, "fsync", synced)
    monkeypatch.setattr(client_module.os, "replace", named)
    caller(trouble).download_result("x", tmp_path)
    assert events == [300_000, "named"]


@pytest.mark.parametrize("place", ["results/of/today", "there/a.mov", "я" * 125 + ".m"])
def test_a_result_goes_where_it_is_to_go(
    trouble: type[Trouble], tmp_path: Path, place: str
) -> None:
    trouble.script = [Result(b"data", '"one"')]
    saved = Path(caller(trouble).download_result("x", tmp_path / place))
    wanted = tmp_path / place / "a.mp4" if "." not in place else tmp_path / place
    assert saved == wanted
    assert saved.read_bytes() == b"data"


@pytest.mark.parametrize(
    ("offered", "name"),
    [
        ("filename=\"plain.mp4\"; filename*=UTF-8''%D1%84.mp4", "ф.mp4"),
        ('filename=".."', "result.mp4"),
        ("", "result.mp4"),
        ('filename="a\\\\..\\\\b.mp4"', "b.mp4"),
        ("filename*=UTF-8''a%C2%9Bb.mp4", "ab.mp4"),
    ],
)
def test_the_name_that_is_offered(
    trouble: type[Trouble], tmp_path: Path, offered: str, name: str
) -> None:
    result = Result(b"data", '"one"')
    result.name = f"attachment; {offered}"
    trouble.script = [result]
    assert caller(trouble).download_result("x", tmp_path) == str(tmp_path / name)


def test_a_link_is_replaced_and_what_it_leads_to_stays(
    trouble: type[Trouble], tmp_path: Path
) -> None:
    trouble.script = [Result(b"data", '"one"')]
    mine, link = tmp_path / "mine.mp4", tmp_path / "link.mp4"
    mine.write_bytes(b"mine")
    link.symlink_to(mine)
    caller(trouble).download_result("x", link, may_replace=True)
    assert (mine.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"mine", b"data", False)


# --- What a command says ---


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        ("completed", [], 0),
        ("completed", ["--wait"], 0),
        ("pending", [], 0),
        ("failed", [], 1),
        ("failed", ["--wait"], 1),
        ("cancelled", ["--wait"], 1),
        ("processing", ["--wait", "--interval", "0", "--timeout", "0"], 1),
    ],
)
def test_the_exit_code_says_what_became_of_the_task(
    trouble: type[Trouble], tmp_path: Path, status: str, words: list[str], code: int
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"video")
    answer = {"task_id": "x", "message": "", "task": {**TASK, "status": status}}
    trouble.script = [lambda request: request.reply(200, json.dumps(answer).encode())]
    for command in (["status", "x"], ["upload", str(tmp_path / "clip.mp4")]):
        line = ["--server", caller(trouble).base_url, *command, *words]
        assert client_module.main(line) == code


def test_an_interruption_is_told_by_its_own_exit_code(
    trouble: type[Trouble], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(client: MediaCleanerClient) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MediaCleanerClient, "get_statistics", interrupted)
    assert client_module.main(["stats"]) == 130
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "client: interrupted\n")


def test_who_stops_waiting_is_told_of_which_task(
    trouble: type[Trouble],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It goes on; without its number nobody could ask for it, or call it off."""

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "clip.mp4").write_bytes(b"video")
    answer = {"task_id": "x", "message": "", "task": {**TASK, "status": "pending"}}
    trouble.script = [lambda request: request.reply(200, json.dumps(answer).encode())]
    monkeypatch.setattr(MediaCleanerClient, "wait_for_completion", interrupted)
    line = ["upload", str(tmp_path / "clip.mp4"), "--wait", "--json"]
    assert client_module.main(["--server", caller(trouble).base_url, *line]) == 130
    told = capsys.readouterr()
    assert json.loads(told.out)["task"]["task_id"] == TASK["task_id"]
    assert told.err == "client: interrupted\n"


def test_server_and_key_come_from_the_line_else_from_the_environment(
    trouble: type[Trouble], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = caller(trouble).base_url
    trouble.script = [lambda request: request.reply(200, b'{"queue": {"total": 3}}')]
    monkeypatch.setenv("MEDIA_CLEANER_URL", url)
    monkeypatch.setenv("MEDIA_CLEANER_API_KEY", "of-the-environment")
    assert client_module.main(["stats"]) == 0
    monkeypatch.setenv("MEDIA_CLEANER_URL", "http://127.0.0.1:1")
    before = ["--server", url, "--api-key", "before", "--json", "stats"]
    behind = ["stats", "--server", url, "--api-key", "behind", "--json"]
    for line in (before, behind):
        capsys.readouterr()
        assert client_module.main(line) == 0
        assert json.loads(capsys.readouterr().out) == {"queue": {"total": 3}}
    keys = [headers["X-API-Key"] for _, headers, _ in trouble.seen]
    assert keys == ["of-the-environment", "before", "behind"]


def test_commands_answer_in_json(
    trouble: type[Trouble], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    url = caller(trouble).base_url

    def told(*words: str) -> Any:
        assert client_module.main(["--server", url, "--json", *words]) == 0
        return json.loads(capfdbinary.readouterr().out)

    trouble.script = [lambda request: request.reply(200, json.dumps({"tasks": [TASK]}).encode())]
    assert told("list") == {"count": 1, "tasks": [TASK]}
    trouble.script = [task_json]
    assert told("cancel", "x") == told("retry", "x") == {"task": TASK}
    trouble.script = [Result(b"data", None)]
    assert told("download", "x", str(tmp_path)) == {"downloaded": str(tmp_path / "a.mp4")}
    trouble.script = [task_json, Result(b"data", None)]
    saved = {"task": TASK, "downloaded": str(tmp_path / "a.mp4")}
    assert told("status", "x", "--download", str(tmp_path)) == saved
    trouble.script = [task_json]
    assert told("upload", str(tmp_path / "a.mp4")) == {"task": TASK}
    trouble.script = [lambda request: request.reply(200, json.dumps({"task": TASK}).encode())]
    client_module.main(["--server", url, "--json", "status", "x"])
    assert "море".encode() in capfdbinary.readouterr().out  # as it is written


def test_commands_answer_in_words(
    trouble: type[Trouble], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"the video")
    task = {**TASK, "error_message": "no room"}
    answer = {"task_id": "x", "message": "accepted", "task": task, "tasks": [task]}
    answer["queue"] = {"total": 3, "failed": 1}
    trouble.script = [lambda request: request.reply(200, json.dumps(answer).encode())]
    shown = [
        "task       x",
        "status     ✅ Завершено",
        "progress   100.0 %",
        "video      море\\n.mp4",
        "error      no room",
    ]
    for words, expected in (
        (["upload", str(video)], ["x  accepted", *shown]),
        (["status", "x"], shown),
        (["list"], ["x  completed   100.0 %  море\\n.mp4"]),
        (["stats"], ["total       3", "failed      1"]),
        (["cancel", "x"], shown),
        (["retry", "x"], shown),
    ):
        assert client_module.main(["--server", caller(trouble).base_url, *words]) == 0
        assert capsys.readouterr().out.splitlines() == expected
    saved = str(tmp_path / "b.mp4")
    for words, script, expected in (
        (["download"], [Result(b"data", None)], [saved]),
        (["status", "--download"], [task_json, Result(b"data", None)], [f"saved      {saved}"]),
    ):
        trouble.script = [*script]
        line = ["--server", caller(trouble).base_url, words[0], "x", *words[1:], saved, "--force"]
        assert client_module.main(line) == 0
        assert capsys.readouterr().out.splitlines()[-1:] == expected


def test_what_comes_from_the_server_controls_no_terminal(
    trouble: type[Trouble], capsys: pytest.CaptureFixture[str]
) -> None:
    url = caller(trouble).base_url
    evil = {**TASK, "input_video": "a\x1b[31m\n.mp4", "error_message": "b\x1b]0;c"}
    evil |= {"task_id": "x\x1b[1m", "status": "\x1b[2m", "status_text": "\x1b[3m"}
    answer = {"tasks": [evil], "task": evil, "queue": {"\x1b[4m": "\x1b[5m"}}
    answer |= {"task_id": "x\x1b[6m", "message": "\x1b[7m"}
    evil_answer = json.dumps(answer).encode()
    trouble.script = [
        *[lambda request: request.reply(200, evil_answer)] * 4,
        lambda request: request.reply(404, json.dumps({"detail": "no\x1b[2J\n"}).encode()),
    ]
    assert [
        client_module.main(["--server", url, *words.split()])
        for words in ("list", "status x", "stats", f"upload {__file__}", "status x")
    ] == [0, 0, 0, 0, 1]
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert "a\\x1b[31m\\n.mp4" in told.out
    assert told.err == "client: no\\x1b[2J\\n\n"


@pytest.mark.parametrize(
    ("words", "size", "is_shown"),
    [
        (["upload", "F"], (24, 80), True),
        (["upload", "F"], (0, 0), True),  # as a serial console states it
        (["--json", "upload", "F"], (24, 80), False),
    ],
)
def test_a_terminal_shows_how_far_an_upload_is(
    trouble: type[Trouble],
    tmp_path: Path,
    words: list[str],
    size: tuple[int, int],
    is_shown: bool,
) -> None:
    (tmp_path / "F").write_bytes(bytes(3_000_000))
    trouble.script = [task_json]
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, size)
    done = subprocess.run(
        [sys.executable, ROOT / "client.py", "--server", caller(trouble).base_url, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=120,
        check=False,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # nobody writes any more: what was written has all come
        while chunk := os.read(ours, 1 << 16):
            shown += chunk
    os.close(ours)
    assert (done.returncode, b"upload" in shown, b"%" in shown) == (0, is_shown, is_shown)


def test_without_tqdm_nothing_is_shown_and_all_is_done(
    trouble: type[Trouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"video")
    trouble.script = [task_json]
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line = ["--server", caller(trouble).base_url, "upload", str(tmp_path / "clip.mp4")]
    assert client_module.main(line) == 0


@pytest.mark.parametrize("command", ["upload", "status", "download"])
def test_force_replaces_the_file_that_is_named(
    trouble: type[Trouble], tmp_path: Path, command: str
) -> None:
    there, video = tmp_path / "there.mp4", tmp_path / "clip.mp4"
    there.write_bytes(b"old")
    video.write_bytes(b"video")
    place = [str(there)] if command == "download" else ["--download", str(there)]
    subject = str(video) if command == "upload" else "x"
    line = ["--server", caller(trouble).base_url, command, subject, *place]
    answers: list[Callable[[Trouble], None]] = [] if command == "download" else [task_json]
    trouble.script = [*answers, Result(b"data", None)]
    assert client_module.main(line) == 2
    assert there.read_bytes() == b"old"
    trouble.script = [*answers, Result(b"data", None)]
    assert client_module.main([*line, "--force"]) == 0
    assert there.read_bytes() == b"data"


# Python runs it before any code of ours. The client waits where it begins to import requests.
WAITING = """
import os, sys, time
class Gate:
    def find_spec(self, name, path, target=None):
        if name == "requests":
            os.mkdir("is there")
            while not os.path.exists("go on"):
                time.sleep(0.005)
sys.meta_path.insert(0, Gate())
"""


def test_ctrl_c_while_it_starts_leaves_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WAITING)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"  # never answers: there is no other end
        for delay in (0.0, 0.05, 0.1, 0.2):
            folder = tmp_path / str(delay)
            folder.mkdir()
            process = subprocess.Popen(
                [sys.executable, ROOT / "client.py", "--server", url, "stats"],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(tmp_path)},
                stderr=subprocess.PIPE,
            )
            # What Python does before any code of ours is with its own handler and a traceback.
            wait_until((folder / "is there").exists, "our first lines")
            (folder / "go on").touch()
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=120)
            assert process.returncode in (-signal.SIGINT, 130)
            assert b"Traceback" not in told


# --- The file itself ---


def test_the_client_needs_only_requests() -> None:
    tree = ast.parse((ROOT / "client.py").read_text(encoding="utf-8"))
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    others = {n.partition(".")[0] for n in names} - set(sys.stdlib_module_names)
    assert others == {"requests", "tqdm"}


def test_a_large_upload_takes_little_memory(trouble: type[Trouble], tmp_path: Path) -> None:
    import resource

    video = tmp_path / "large.mp4"
    with video.open("wb") as file:
        file.truncate(200 << 20)
    digest = hashlib.sha256()

    def swallow(request: Trouble) -> None:
        task_json(request)

    # The server keeps what it reads; here only what the client takes counts.
    trouble.answer = _reading(digest, swallow)  # type: ignore[method-assign]
    trouble.do_POST = trouble.answer  # type: ignore[method-assign]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    caller(trouble).upload_video(video)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def _reading(digest: Any, act: Callable[[Trouble], None]) -> Callable[[Trouble], None]:
    def answer(self: Trouble) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            chunk = self.rfile.read(min(left, 1 << 20))
            left -= len(chunk)
            digest.update(chunk)
        act(self)

    return answer
