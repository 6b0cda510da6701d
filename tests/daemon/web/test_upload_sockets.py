"""Uploads over a real gunicorn: what becomes of them when somebody breaks off, lies or is slow."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from media import Video, make_video
from services import PATIENCE_SECONDS, wait_until
from web_servers import IMPATIENT_APP, WebHouse, gunicorn

from daemon import keys
from daemon.spool import Spool

_B = "XbX"
HEAD = (
    f'--{_B}\r\nContent-Disposition: form-data; name="epsilon"\r\n\r\n0.1\r\n'
    f'--{_B}\r\nContent-Disposition: form-data; name="file"; filename="holiday.mp4"\r\n\r\n'
).encode()
END = f"\r\n--{_B}--\r\n".encode()
_MB = 1 << 20


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = make_video(tmp_path_factory.mktemp("video") / "holiday.mp4", Video(frames=5))
    return path.read_bytes()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebHouse]:
    """One server for all tests; each must leave nothing that is not a task."""
    with gunicorn(tmp_path_factory.mktemp("web"), max_video_size_gb=0.05) as house:
        yield house


class Sender:
    """A client that sends what it likes, when it likes."""

    def __init__(self, house: WebHouse, length: int | None, headers: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", house.port), timeout=PATIENCE_SECONDS)
        framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        head = "POST /upload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        kind = f"Content-Type: multipart/form-data; boundary={_B}\r\n"
        self.send(f"{head}{kind}{headers}{framing}\r\n\r\n".encode())

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_chunk(self, data: bytes) -> None:
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end(self) -> None:
        """Send no more, and wait for the answer."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self) -> tuple[int, dict[str, Any]]:
        response = http.client.HTTPResponse(self.socket, method="POST")
        response.begin()
        body = json.loads(response.read())
        response.close()
        self.socket.close()
        return response.status, body

    def break_off(self) -> None:
        """Go, in the way of a client whose network is gone."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def padded(video: bytes, size: int) -> Iterator[bytes]:
    """Yield a video of exactly so many bytes."""
    yield video
    left = size - len(video)
    yield struct.pack(">I4sQ", 1, b"free", left)
    left -= 16
    while left:
        yield bytes(min(left, _MB))
        left -= min(left, _MB)


def wait_until_idle(house: WebHouse) -> None:
    wait_until(lambda: house.open_uploads() == 0, "the end of uploads")


@contextlib.contextmanager
def nothing_comes_of_it(house: WebHouse) -> Iterator[None]:
    before = house.files()
    yield
    wait_until_idle(house)
    assert house.files() == before


def peak_megabytes(pid: int) -> float:
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(row.split()[1] for row in rows if row.startswith("VmHWM"))) / 1024


def written_bytes(pid: int) -> int:
    rows = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(row.split()[1] for row in rows if row.startswith("wchar")))


# --- Arrives ---


def test_an_upload_arrives_whole(house: WebHouse, video: bytes) -> None:
    answer = requests.post(
        f"{house.url}/upload",
        files={"file": ("Отпуск.mp4", video)},
        data={"epsilon": "0.1"},
        timeout=PATIENCE_SECONDS,
    )
    assert answer.status_code == 200
    task = Spool(house.state).get(answer.json()["task_id"])
    assert (task.input_video, task.parameters.epsilon) == ("Отпуск.mp4", 0.1)
    assert Path(task.original).read_bytes() == video


def test_a_body_in_chunks_arrives_whole(house: WebHouse, video: bytes) -> None:
    sender = Sender(house, None)
    body = HEAD + video + END
    for start in range(0, len(body), 1000):
        sender.send_chunk(body[start : start + 1000])
    sender.send_chunk(b"")
    status, answer = sender.answer()
    assert status == 200
    assert Path(Spool(house.state).get(answer["task_id"]).original).read_bytes() == video


def test_a_large_upload_is_written_once_and_takes_no_memory(house: WebHouse, video: bytes) -> None:
    requests.post(f"{house.url}/upload", files={"file": ("a.mp4", video)}, timeout=PATIENCE_SECONDS)
    (pid,) = house.workers()
    peak, written = peak_megabytes(pid), written_bytes(pid)
    size = 50 * _MB
    sender = Sender(house, len(HEAD) + size + len(END))
    sender.send(HEAD)
    for piece in padded(video, size):
        sender.send(piece)
    sender.send(END)
    status, answer = sender.answer()
    assert status == 200
    assert Path(Spool(house.state).get(answer["task_id"]).original).stat().st_size == size
    assert peak_megabytes(pid) - peak < 20
    assert size <= written_bytes(pid) - written < 1.01 * size


# --- Too large ---


def test_what_is_too_large_by_its_own_word_is_told_so_at_once(house: WebHouse) -> None:
    """A common client sees the answer although it has not sent all."""
    with nothing_comes_of_it(house):
        size = 100 * _MB
        answer = requests.post(
            f"{house.url}/upload",
            data=iter_of_zeros(size),
            headers={
                "Content-Type": f"multipart/form-data; boundary={_B}",
                "Content-Length": str(size),
            },
            timeout=PATIENCE_SECONDS,
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")


def iter_of_zeros(size: int) -> Any:
    class Zeros:
        left = size

        def __len__(self) -> int:
            return size

        def read(self, most: int = -1) -> bytes:
            data = bytes(min(most if most >= 0 else self.left, self.left))
            self.left -= len(data)
            return data

    return Zeros()


def test_chunks_are_counted_while_they_arrive(house: WebHouse, video: bytes) -> None:
    with nothing_comes_of_it(house):
        sender = Sender(house, None)
        sender.send_chunk(HEAD)
        with contextlib.suppress(OSError):  # it need not listen to the end
            for piece in padded(video, 60 * _MB):
                sender.send_chunk(piece)
        status, answer = sender.answer()
        assert (status, answer["code"]) == (413, "file_too_large")


# --- Broken off ---


@pytest.mark.parametrize("part", [0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("way", ["break_off", "end"])
def test_an_upload_that_breaks_off_leaves_nothing(
    house: WebHouse, video: bytes, part: float, way: str
) -> None:
    body = HEAD + video + END
    with nothing_comes_of_it(house):
        sender = Sender(house, len(body))
        sender.send(body[: int(len(body) * part)])
        if part > 0.1:
            wait_until(house.open_uploads, "an upload under way")
        getattr(sender, way)()
        if way == "end":
            status, answer = sender.answer()
            assert (status, answer["code"]) == (400, "incomplete_upload")


def test_chunks_that_break_off_leave_nothing(house: WebHouse, video: bytes) -> None:
    with nothing_comes_of_it(house):
        sender = Sender(house, None)
        sender.send_chunk(HEAD + video)
        sender.end()
        status, answer = sender.answer()
        assert (status, answer["code"]) == (400, "incomplete_upload")


def test_a_body_that_is_longer_than_it_says_is_not_taken(house: WebHouse, video: bytes) -> None:
    with nothing_comes_of_it(house):
        sender = Sender(house, len(HEAD) + 1000)
        sender.send(HEAD + video + END)
        status, answer = sender.answer()
        assert (status, answer["code"]) == (400, "incomplete_upload")


def test_a_body_that_goes_on_behind_its_form_is_taken_as_far_as_it_is_one(
    house: WebHouse, video: bytes
) -> None:
    sender = Sender(house, len(HEAD) + len(video) + len(END) + 1000)
    sender.send(HEAD + video + END + bytes(1000))
    assert sender.answer()[0] == 200


@pytest.mark.parametrize("size", [1, 50_000])
def test_chunks_that_are_none_are_refused(house: WebHouse, video: bytes, size: int) -> None:
    with nothing_comes_of_it(house):
        sender = Sender(house, None)
        sender.send_chunk(HEAD + video[:size])
        sender.send(b"not a number\r\n")
        status, answer = sender.answer()
        assert status == 400
        assert answer["status"] == "error"


def test_the_connection_may_go_on_after_an_upload_was_refused(
    house: WebHouse, video: bytes
) -> None:
    with requests.Session() as session:
        for _ in range(2):
            files = {"file": ("a.txt", video)}
            answer = session.post(f"{house.url}/upload", files=files, timeout=PATIENCE_SECONDS)
            assert answer.json()["code"] == "unsupported_extension"
        files = {"file": ("a.mp4", video)}
        assert (
            session.post(f"{house.url}/upload", files=files, timeout=PATIENCE_SECONDS).status_code
            == 200
        )


# --- Killed ---


def test_a_process_that_is_killed_half_way_leaves_nothing_and_the_next_goes_on(
    tmp_path: Path, video: bytes
) -> None:
    with gunicorn(tmp_path) as house:
        files = {"file": ("a.mp4", video)}
        assert (
            requests.post(f"{house.url}/upload", files=files, timeout=PATIENCE_SECONDS).status_code
            == 200
        )
        before = house.files()
        (pid,) = house.workers()
        probers = house.probers()
        assert len(probers) == 1
        sender = Sender(house, 10_000_000)
        sender.send(HEAD + video)
        wait_until(house.open_uploads, "an upload under way")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: house.workers() not in ([pid], []), "another process")
        assert house.files() == before
        wait_until(lambda: not any(Path(f"/proc/{p}").exists() for p in probers), "probers")
        assert (
            requests.post(f"{house.url}/upload", files=files, timeout=PATIENCE_SECONDS).status_code
            == 200
        )


# --- Slow, and many ---


def test_who_is_too_slow_is_told_so_and_leaves_nothing(tmp_path: Path, video: bytes) -> None:
    with gunicorn(tmp_path, app=IMPATIENT_APP) as house, nothing_comes_of_it(house):
        begun_at = time.monotonic()
        sender = Sender(house, 1_000_000)
        sender.send(HEAD)
        stop = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(0.1):
                    sender.send(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        status, answer = sender.answer()
        stop.set()
        thread.join()
        assert (status, answer["code"]) == (408, "upload_too_slow")
        assert time.monotonic() - begun_at < PATIENCE_SECONDS


def test_a_key_that_is_revoked_meanwhile_brings_no_task(tmp_path: Path, video: bytes) -> None:
    with gunicorn(tmp_path) as house:
        folder = house.state / keys.FOLDER
        text, _ = keys.add(folder, "laptop", "alice", False, datetime.now(UTC))
        other, _ = keys.add(folder, "phone", "alice", False, datetime.now(UTC))
        body = HEAD + video + END

        def begun(key: str) -> Sender:
            sender = Sender(house, len(body), f"X-API-Key: {key}\r\n")
            sender.send(body[:1000])
            return sender

        def is_refused(headers: dict[str, str]) -> bool:
            return not requests.get(
                f"{house.url}/tasks", headers=headers, timeout=PATIENCE_SECONDS
            ).ok

        # Not asked with a key that is not known yet: whoever tries some in vain has to wait.
        wait_until(lambda: is_refused({}), "keys are asked for")
        revoked, kept = begun(text), begun(other)
        wait_until(lambda: house.open_uploads() == 2, "uploads under way")
        keys.revoke(folder, "laptop")
        wait_until(lambda: is_refused({"X-API-Key": text}), "the key is void")
        for sender in (revoked, kept):
            sender.send(body[1000:])
        status, answer = revoked.answer()
        assert (status, answer["code"]) == (403, "invalid_api_key")
        assert kept.answer()[0] == 200


def test_an_upload_of_nobody_brings_no_task_once_there_are_keys(
    tmp_path: Path, video: bytes
) -> None:
    with gunicorn(tmp_path) as house:
        body = HEAD + video + END
        sender = Sender(house, len(body))
        sender.send(body[:1000])
        wait_until(lambda: house.open_uploads() == 1, "an upload under way")
        keys.add(house.state / keys.FOLDER, "laptop", None, True, datetime.now(UTC))
        url = f"{house.url}/tasks"
        wait_until(lambda: not requests.get(url, timeout=PATIENCE_SECONDS).ok, "keys are asked for")
        sender.send(body[1000:])
        status, answer = sender.answer()
        assert (status, answer["code"]) == (403, "invalid_api_key")


def test_slow_uploads_hold_up_nobody(house: WebHouse, video: bytes) -> None:
    body = HEAD + video + END
    slow = [Sender(house, len(body)) for _ in range(10)]
    for sender in slow:
        sender.send(body[:2000])
    wait_until(lambda: house.open_uploads() == 10, "uploads under way")
    begun_at = time.monotonic()
    for _ in range(20):
        assert requests.get(f"{house.url}/task/none", timeout=PATIENCE_SECONDS).status_code == 404
    assert time.monotonic() - begun_at < 50  # a slow one would be broken off after 60 s
    for sender in slow:
        sender.send(body[2000:])
    assert [sender.answer()[0] for sender in slow] == [200] * 10


def test_the_same_request_many_times_at_once_is_one_task(house: WebHouse, video: bytes) -> None:
    body = HEAD + video + END
    before = len(house.files())
    senders = [Sender(house, len(body), "Idempotency-Key: at-once\r\n") for _ in range(8)]
    for sender in senders:
        sender.send(body[:-10])
    for sender in senders:
        sender.send(body[-10:])
    answers = [sender.answer() for sender in senders]
    assert {status for status, _ in answers} == {200}
    assert len({answer["task_id"] for _, answer in answers}) == 1
    assert len(house.files()) == before + 2  # the video and its record


@pytest.mark.slow
def test_twenty_large_uploads_and_a_thousand_small_ones_all_arrive(
    tmp_path: Path, video: bytes
) -> None:
    with gunicorn(tmp_path, workers=2, threads=64) as house:
        statuses: list[int] = []

        def send(size: int, times: int) -> None:
            for _ in range(times):
                sender = Sender(house, len(HEAD) + size + len(END))
                sender.send(HEAD)
                for piece in padded(video, size):
                    sender.send(piece)
                sender.send(END)
                statuses.append(sender.answer()[0])

        threads = [threading.Thread(target=send, args=(50 * _MB, 1)) for _ in range(20)]
        small = len(video) + 100
        threads += [threading.Thread(target=send, args=(small, 125)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 1020
        assert len(Spool(house.state).pending_ids()) == 1020
        originals = [path for path in house.files() if path.name == "holiday.mp4"]
        assert sorted(path.stat().st_size for path in originals) == [small] * 1000 + [50 * _MB] * 20


@pytest.mark.slow
def test_a_gigabyte_takes_no_memory(tmp_path: Path, video: bytes) -> None:
    with gunicorn(tmp_path) as house:
        requests.post(
            f"{house.url}/upload", files={"file": ("a.mp4", video)}, timeout=PATIENCE_SECONDS
        )
        (pid,) = house.workers()
        peak, written = peak_megabytes(pid), written_bytes(pid)
        sender = Sender(house, len(HEAD) + (1 << 30) + len(END))
        sender.send(HEAD)
        for piece in padded(video, 1 << 30):
            sender.send(piece)
        sender.send(END)
        sender.socket.settimeout(300)
        assert sender.answer()[0] == 200
        assert peak_megabytes(pid) - peak < 20
        assert written_bytes(pid) - written < 1.001 * (1 << 30)
