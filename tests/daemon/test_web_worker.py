"""A slow client holds up nobody but itself, and what is no HTTP is answered in JSON."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
# gunicorn with our worker on a small app of its own, and with little patience.
SERVER = """
import os, sys, threading, time
from gunicorn.app.base import BaseApplication
from daemon import web_connection, web_worker
from daemon.web_worker import PatientWorker
from daemon.web_server import _Log
web_worker._HEAD_SECONDS = float(os.environ.get("HEAD_SECONDS", 1.5))
web_connection._STALL_SECONDS = float(os.environ.get("STALL_SECONDS", 1.0))
web_connection._PARTING_SECONDS = float(os.environ.get("PARTING_SECONDS", 2.0))
web_worker._SLOW_SECONDS = 1.5
workers, threads, listener = map(int, sys.argv[1:4])
start = threading.Thread.start

def start_if_there_are(thread):
    if os.path.exists(sys.argv[4] + ".no-threads"):
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = start_if_there_are

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/wait":
        while not os.path.exists(sys.argv[4]):
            time.sleep(0.02)
    if path == "/count":
        length = 0
        try:
            while chunk := environ["wsgi.input"].read(65536):
                length += len(chunk)
        except TimeoutError:
            print("timed out", file=sys.stderr)
            raise
        path = str(length)
    if path == "/fail":
        raise RuntimeError("as it happens")
    long = {"/much": 50_000_000, "/some": 500_000}
    body = b"x" * long[path] if path in long else path.encode("latin-1")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

class Server(BaseApplication):
    def load_config(self):
        for name, value in {
            "bind": [f"fd://{listener}"], "workers": workers, "threads": threads,
            "worker_class": PatientWorker, "worker_connections": 1000, "keepalive": 5,
            "graceful_timeout": 8, "control_socket_disable": True,
            "logger_class": _Log, "timeout": 60,
            "post_worker_init": lambda worker: print("ready", flush=True),
        }.items():
            self.cfg.set(name, value)

    def load(self):
        return app

Server().run()
"""


class House:
    """A running server, and ways to talk to it."""

    def __init__(self, folder: Path, workers: int, threads: int) -> None:
        self.go_on = folder / "go-on"
        self.no_threads = folder / "go-on.no-threads"
        self.log = folder / "stderr.txt"
        listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.address = listener.getsockname()
        number = listener.fileno()
        words = [str(workers), str(threads), str(number), str(self.go_on)]
        with self.log.open("wb") as stderr, listener:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, *words],
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=[number],
                cwd=ROOT,
            )
        assert self.process.stdout
        for _ in range(workers):
            assert self.process.stdout.readline() == b"ready\n", self.log.read_text()

    def connect(self, sent: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.address, PATIENCE_SECONDS)
        client.sendall(sent)
        return client

    def get(self, path: str = "/x") -> tuple[bytes, float]:
        """Return the body of an answer and how long it took."""
        began = time.monotonic()
        with self.connect(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()) as client:
            return answer(client)[2], time.monotonic() - began

    def close(self) -> None:
        self.go_on.touch()
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        assert self.process.stdout
        self.process.stdout.close()


def answer(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer: status, headers, body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        assert more, f"closed after {data!r}"
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        more = client.recv(65536)
        assert more, "cut short"
        body += more
    return int(first.split()[1]), headers, body


def is_closed(client: socket.socket, seconds: float = PATIENCE_SECONDS) -> bool:
    """Does the server close within so many seconds, without a word?"""
    client.settimeout(seconds)
    with contextlib.suppress(ConnectionResetError):
        try:
            return client.recv(1) == b""
        except TimeoutError:
            return False
    return True


@contextlib.contextmanager
def served(folder: Path, workers: int = 1, threads: int = 2) -> Iterator[House]:
    house = House(folder, workers, threads)
    try:
        yield house
    finally:
        house.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One process with two threads."""
    with served(tmp_path_factory.mktemp("house")) as running:
        yield running


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The same, which would wait for minutes where it waits for somebody."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("HEAD_SECONDS", "STALL_SECONDS", "PARTING_SECONDS"):
            environment.setenv(name, "600")
        running = House(tmp_path_factory.mktemp("patient"), workers=1, threads=2)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for client in opened:
        client.close()


# --- Heads ---


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /x HTTP/1.1\r\nHost: h\r\n"])
def test_heads_that_do_not_come_hold_no_thread(
    patient: House, clients: list[socket.socket], sent: bytes
) -> None:
    clients += [patient.connect(sent) for _ in range(50)]
    time.sleep(0.2)
    for _ in range(3):
        assert patient.get()[0] == b"/x"


def test_heads_that_do_not_come_are_given_up(house: House, clients: list[socket.socket]) -> None:
    began = time.monotonic()
    clients += [house.connect(b"GET /x HT"), house.connect()]
    for client in clients:
        assert is_closed(client)
        assert time.monotonic() - began > 1.4  # and not before their time


def test_heads_that_do_not_come_are_not_waited_for_in_circles(
    house: House, clients: list[socket.socket]
) -> None:
    clients += [house.connect(b"GET /x HT") for _ in range(20)]
    time.sleep(0.1)
    before = _cpu_seconds(house.process.pid)
    time.sleep(1.0)
    assert _cpu_seconds(house.process.pid) - before < 0.3


def test_a_head_may_come_byte_by_byte(house: House) -> None:
    with house.connect() as client:
        for byte in b"GET /bytes HTTP/1.1\r\nHost: h\r\n\r\n":
            client.sendall(bytes([byte]))
            time.sleep(0.005)
        assert answer(client)[2] == b"/bytes"


def test_a_short_body_behind_a_head_in_pieces_is_not_waited_for(patient: House) -> None:
    with patient.connect(b"POST /count HTTP/1.1\r\nHost: h\r\n") as client:
        time.sleep(0.1)
        client.sendall(b"Content-Length: 3\r\n\r\n")
        time.sleep(0.1)
        client.sendall(b"abc")
        assert answer(client)[2] == b"3"


def test_a_head_that_is_cut_short_is_left_at_once(patient: House) -> None:
    with patient.connect(b"GET /x HTTP/1.1\r\nHo") as client:
        time.sleep(0.1)
        client.shutdown(socket.SHUT_WR)
        assert is_closed(client)


def test_a_long_query_is_taken(house: House) -> None:
    path = "/x?notes=" + "%F0%9F%8E%AC" * 2000 + "&webhook_url=" + "a" * 6000
    assert house.get(path)[0] == b"/x"


def test_a_head_without_end_is_refused(house: House) -> None:
    with house.connect(b"GET /x HTTP/1.1\r\nHost: h\r\nX-Much: ") as client:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.sendall(b"x" * 1000)
        status, headers, body = answer(client)
        assert (status, headers["connection"]) == (431, "close")
        assert json.loads(body)["code"] == "request_header_fields_too_large"
        assert is_closed(client)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"garbage\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01" + bytes(500), 400, "bad_request"),  # `https://`
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/9.9\r\nHost: h\r\n\r\n", 400, "bad_request"),
        (b"GET /\xd1\x82 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: odd\r\n\r\n", 501, "not_implemented"),
        (b"GET / HTTP/1.1\r\nExpect: miracles\r\n\r\n", 417, "expectation_failed"),
        (
            b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
            431,
            "request_header_fields_too_large",
        ),
    ],
)
def test_what_is_no_request_is_refused_in_json(
    house: House, sent: bytes, status: int, code: str
) -> None:
    with house.connect(sent) as client:
        found, headers, body = answer(client)
    values = json.loads(body)
    assert (found, values["status"], values["code"]) == (status, "error", code)
    assert values["detail"]
    assert headers["content-type"] == "application/json"
    assert b"<" not in body
    assert house.log.read_text() == ""  # strangers do not fill the log


def test_two_idempotency_keys_are_refused_by_name(house: House) -> None:
    """The app would see one, made of both."""
    keys = b"Idempotency-Key: one\r\nidempotency-key: two\r\n"
    with house.connect(b"POST / HTTP/1.1\r\nHost: h\r\n" + keys + b"\r\n") as client:
        found, _, body = answer(client)
    values = json.loads(body)
    assert (found, values["code"]) == (400, "bad_request")
    assert values["detail"].startswith("Idempotency-Key: ")


def test_an_app_that_fails_is_told_in_the_log_alone(tmp_path: Path) -> None:
    with served(tmp_path) as house:
        body, _ = house.get("/fail")
        assert json.loads(body)["code"] == "internal_error"
        assert b"as it happens" not in body
        wait_until(lambda: "as it happens" in house.log.read_text(), "the log")


# --- Connections ---


def test_a_connection_serves_one_request_after_the_other(house: House) -> None:
    with house.connect() as client:
        for number in range(5):
            client.sendall(f"GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            _, headers, body = answer(client)
            assert (headers["connection"], body) == ("keep-alive", f"/{number}".encode())


def test_a_request_sent_behind_another_is_answered_too(house: House) -> None:
    one = b"GET /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
    two = b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"
    with house.connect(one + two[:10]) as client:
        assert answer(client)[2] == b"/1"
        time.sleep(0.1)
        client.sendall(two[10:])
        assert answer(client)[2] == b"/2"


def test_a_connection_that_rests_holds_no_thread(
    patient: House, clients: list[socket.socket]
) -> None:
    began = time.monotonic()
    for _ in range(20):
        clients.append(patient.connect(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"))
        answer(clients[-1])
    assert patient.get()[0] == b"/x"
    assert time.monotonic() - began < 40  # of two threads each would be held for 5 s


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nConnection: close\r\n\r\n123",
        b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123",
        b"garbage\r\n\r\nand more",
    ],
)
def test_who_does_not_hang_up_holds_up_nobody(
    patient: House, clients: list[socket.socket], sent: bytes
) -> None:
    clients += [patient.connect(sent) for _ in range(8)]
    for client in clients:
        answer(client)
    for _ in range(3):
        assert patient.get()[0] == b"/x"


@pytest.mark.parametrize("piece", [1000, 200_000])
def test_who_is_still_sending_is_not_cut_off_before_the_answer_is_read(
    patient: House, piece: int
) -> None:
    """Where a connection is closed with bytes unread, some systems drop the answer with it."""
    head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n"
    with patient.connect(head) as client:
        assert answer(client)[2] == b"/x"
        for _ in range(5):
            time.sleep(0.15)
            client.sendall(b"x" * piece)  # refused where the other end is closed


def test_a_machine_without_threads_breaks_nothing_off(tmp_path: Path) -> None:
    """New requests are served by the threads that there are already."""
    with served(tmp_path) as house:
        resting = house.connect(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer(resting)[2] == b"/x"
        with house.connect(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n") as first:
            time.sleep(0.3)  # it has its thread
            house.no_threads.touch()
            with house.connect(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n") as second:
                time.sleep(0.3)
                house.go_on.touch()
                assert answer(first)[2] == b"/wait"
                assert answer(second)[2] == b"/x"
        with resting:
            resting.sendall(b"GET /y HTTP/1.1\r\nHost: h\r\n\r\n")
            assert answer(resting)[2] == b"/y"


def test_what_came_while_there_was_no_thread_at_all_is_served_as_soon_as_there_is_one(
    tmp_path: Path,
) -> None:
    """Nothing more is accepted meanwhile, so no other request would have one started."""
    request = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
    with served(tmp_path, threads=2) as house, contextlib.ExitStack() as closing:
        house.no_threads.touch()
        waiting = [closing.enter_context(house.connect(request)) for _ in range(3)]
        assert not select.select(waiting, (), (), 0.5)[0]
        house.no_threads.unlink()
        assert [answer(client)[2] for client in waiting] == [b"/x"] * 3


def test_who_cannot_be_given_a_thread_to_part_by_is_closed(tmp_path: Path) -> None:
    with served(tmp_path, threads=1) as house:
        assert house.get()[0] == b"/x"
        house.no_threads.touch()
        head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n"
        for _ in range(2):
            with house.connect(head) as client:
                assert answer(client)[2] == b"/x"
                assert is_closed(client, 3.0)


# --- Bodies and answers ---


def test_a_body_is_read_whole(house: House) -> None:
    head = b"POST /count HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"
    with house.connect(head) as client:
        client.sendall(b"x" * 3_000_000)
        assert answer(client)[2] == b"3000000"


def test_a_client_that_sends_no_more_is_left(tmp_path: Path, clients: list[socket.socket]) -> None:
    head = b"POST /count HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc"
    with served(tmp_path) as house:
        began = time.monotonic()
        clients += [house.connect(head) for _ in range(2)]  # as many as there are threads
        time.sleep(0.2)
        assert house.get()[0] == b"/x"
        assert time.monotonic() - began > 0.9
        assert all(is_closed(client) for client in clients)
        assert house.log.read_text().split("\n") == ["timed out", "timed out", ""]


@pytest.mark.slow
def test_a_client_that_takes_no_more_is_left(house: House, clients: list[socket.socket]) -> None:
    much = b"GET /much HTTP/1.1\r\nHost: h\r\n\r\n"
    clients += [house.connect(much) for _ in range(2)]
    time.sleep(0.2)
    body, seconds = house.get()
    assert body == b"/x"
    assert 0.2 < seconds < 5


def slow_client(house: House, path: str, requests: int = 1) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(house.address)
    client.settimeout(0.01)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode() * requests)
    return client


@contextlib.contextmanager
def dripping(clients: list[socket.socket]) -> Iterator[None]:
    """Have clients take some bytes now and then while the context lasts."""
    is_over = threading.Event()

    def drip() -> None:
        while not is_over.wait(0.2):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.recv(100)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize(("path", "requests"), [("/much", 1), ("/some", 200)])
def test_who_takes_next_to_nothing_gives_its_thread_to_who_waits(
    tmp_path: Path,
    clients: list[socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    requests: int,
) -> None:
    """However steadily it does; many answers behind each other are one that is long."""
    monkeypatch.setenv("STALL_SECONDS", "60")
    with served(tmp_path) as house:
        clients += [slow_client(house, path, requests) for _ in range(3)]
        with dripping(clients):
            time.sleep(0.3)
            assert house.get()[0] == b"/x"


def test_a_quick_beginning_does_not_count_for_ever(
    tmp_path: Path, clients: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STALL_SECONDS", "60")
    with served(tmp_path) as house:
        clients += [slow_client(house, "/much") for _ in range(2)]
        for client in clients:
            client.settimeout(5)
            taken = 0
            while taken < 10_000_000:
                taken += len(client.recv(1 << 20))
            client.settimeout(0.01)
        with dripping(clients):
            time.sleep(0.3)
            assert house.get()[0] == b"/x"


def test_who_takes_at_a_fair_pace_keeps_its_thread(
    tmp_path: Path, clients: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STALL_SECONDS", "60")
    with served(tmp_path) as house:
        fair = house.connect(b"GET /much HTTP/1.1\r\nHost: h\r\n\r\n")
        clients += [slow_client(house, "/much"), slow_client(house, "/much")]
        taken, began = 0, time.monotonic()
        with dripping(clients):
            while time.monotonic() - began < 4:
                taken += len(fair.recv(20_000))
                time.sleep(0.1)
        while taken < 50_000_000 and (more := fair.recv(1 << 20)):
            taken += len(more)
        assert taken >= 50_000_000
        fair.close()


@pytest.mark.slow
def test_a_client_that_takes_slowly_gets_all(house: House) -> None:
    with house.connect(b"GET /much HTTP/1.1\r\nHost: h\r\n\r\n") as client:
        taken = 0
        for _ in range(4):
            time.sleep(0.4)
            taken += len(client.recv(1 << 20))
        while more := client.recv(1 << 20):
            taken += len(more)
            if taken >= 50_000_000:
                break
        assert taken >= 50_000_000


# --- Processes ---


def test_a_busy_process_leaves_requests_to_the_other(tmp_path: Path) -> None:
    with served(tmp_path, workers=2, threads=1) as house:
        waiting = house.connect(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.3)
        for _ in range(30):
            assert house.get()[0] == b"/x"
        house.go_on.touch()
        assert answer(waiting)[2] == b"/wait"
        waiting.close()


@pytest.mark.slow
def test_the_end_waits_for_requests_and_for_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEAD_SECONDS", "30")
    with served(tmp_path) as house:
        others: list[Any] = [house.connect(), house.connect(b"GET /x HT")]
        waiting = house.connect(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.3)
        house.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        house.go_on.touch()
        assert answer(waiting)[2] == b"/wait"
        waiting.close()
        began = time.monotonic()
        house.process.wait(10)
        assert time.monotonic() - began < 5
        for client in others:
            client.close()


def _cpu_seconds(pid: int) -> float:
    """Return what a process and those it started have used so far."""
    total = 0.0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (pid, *map(int, children)):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return total
