"""The process that answers requests: it comes up, comes back, and ends with the service."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from daemon import keys
from daemon.errors import CannotListen
from daemon.logs import configure_logs, reset_logs
from daemon.web_process import WebProcess

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
# A service of nothing but this, that tells what it has started.
SERVICE = """
import sys, time
from pathlib import Path
from daemon.web_process import WebProcess
web = WebProcess(Path(sys.argv[1]), "127.0.0.1", 0, {})
web.start()
while not web.is_ready:
    web.look()
    time.sleep(0.05)
print(web.url, flush=True)
time.sleep(600)
"""
# A process as gunicorn forks it: what it is sent lands in a queue, until it handles signals itself.
FORKED = """
import os, queue, signal, sys
from types import SimpleNamespace
from daemon.web_server import heed_the_end
arbiter = SimpleNamespace(pid=os.getppid(), SIG_QUEUE=queue.SimpleQueue())
signal.signal(signal.SIGTERM, lambda number, frame: arbiter.SIG_QUEUE.put_nowait(number))
if sys.argv[1] == "before":
    os.kill(os.getpid(), signal.SIGTERM)
heed_the_end(arbiter, None)
if sys.argv[1] == "after":
    os.kill(os.getpid(), signal.SIGTERM)
print("goes on")
"""
# Of which no more ever comes.
UPLOAD = (
    b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
)


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> float:
    """Wait until it is so; return how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - began


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *descendants(child)]
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class House:
    """A folder with a configuration, and the process that answers for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.configure("language: en\nweb_workers: 2\n")
        self.web = WebProcess(self.config, "127.0.0.1", 0, {"state": folder / "state"})

    def configure(self, text: str) -> None:
        self.config.write_text(text)

    def start(self) -> None:
        self.web.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            self.web.look()
            return self.web.is_ready

        wait_for(is_ready)

    def processes(self) -> list[int]:
        """Return gunicorn's own, and those below it."""
        return [] if self.web.pid is None else [self.web.pid, *descendants(self.web.pid)]

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.web.url + path, headers=headers, timeout=PATIENCE_SECONDS)

    def log(self) -> str:
        path = self.folder / "logs" / "server.log"
        return path.read_text() if path.exists() else ""


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[House]:
    configure_logs(folder / "logs")
    house = House(folder)
    try:
        yield house
    finally:
        house.web.close()
        reset_logs()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One that answers, for tests that leave it as it was."""
    with opened(tmp_path_factory.mktemp("running")) as house:
        house.start()
        yield house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path) as found:
        yield found


# --- Answering ---


def test_it_answers_where_it_says(running: House) -> None:
    assert running.get("stats").json()["status"] == "success"
    assert running.web.trouble is None
    assert running.log().count("requests are answered") == 1
    assert "ERROR" not in running.log()


def test_it_reads_the_configuration_that_was_named(running: House) -> None:
    assert running.get("nothing").headers["Content-Language"] == "en"
    assert (running.folder / "state").is_dir()


def test_several_processes_answer(running: House) -> None:
    wait_for(lambda: len(running.processes()) == 3)  # gunicorn's own and two


def test_a_long_query_of_another_alphabet_is_understood(running: House) -> None:
    response = running.get("tasks?user_id=" + "ё" * 2000)
    assert response.status_code == 422
    assert response.json()["field"] == "user_id"


def test_slow_clients_hold_up_nobody(running: House) -> None:
    place = urlsplit(running.web.url)
    assert place.hostname
    assert place.port
    clients = []
    for number in range(300):
        client = socket.create_connection((place.hostname, place.port), PATIENCE_SECONDS)
        client.sendall(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (number % 7))
        clients.append(client)
    slowest = 0.0
    for _ in range(20):
        began = time.monotonic()
        assert running.get("health").status_code == 503  # no service runs here
        slowest = max(slowest, time.monotonic() - began)
    for client in clients:
        client.close()
    assert slowest < 15.0  # a head may take as long


@pytest.mark.slow
def test_what_systemd_told_the_service_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, opened(tmp_path) as house:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        house.start()
        with pytest.raises(BlockingIOError):
            systemd.recv(1000)


def test_it_heeds_keys_within_five_seconds(running: House) -> None:
    folder = running.folder / "state" / "keys"
    text, _ = keys.add(folder, "laptop", None, is_admin=True, now=datetime.now(UTC))
    held = {"X-API-Key": text}
    try:
        # Each process looks for itself, and may still know another test's key.
        heeded(lambda: {running.get("stats").status_code for _ in range(8)} == {403})
        heeded(lambda: {running.get("stats", **held).status_code for _ in range(8)} == {200})
    finally:
        keys.revoke(folder, "laptop")
    heeded(lambda: running.get("stats", **held).status_code == 403)


def heeded(is_so: Callable[[], bool]) -> None:
    """Wait until a change is heeded; what is asked five seconds after it must be answered so."""
    changed = began = time.monotonic()
    while not is_so():
        assert began < changed + 5
        time.sleep(0.02)
        began = time.monotonic()


# --- Coming up, and back ---


def test_a_port_that_is_in_use_is_told_before_anything_is_started(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.listening._PATIENCE_SECONDS", 0.1)
    port = urlsplit(house.web.url).port
    assert port
    with pytest.raises(CannotListen, match=str(port)):
        WebProcess(house.config, "127.0.0.1", port, {})


def test_requests_wait_for_it_to_come_up(house: House) -> None:
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(house.get("stats").status_code))
    asking.start()
    time.sleep(0.2)
    house.start()
    asking.join(PATIENCE_SECONDS)
    assert answers == [200]


def test_it_comes_back_when_it_was_killed_and_requests_wait(house: House) -> None:
    house.start()
    before = house.processes()
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: all(map(is_gone, before)))  # those below it go with it
    house.web.look()
    assert not house.web.is_ready
    assert house.web.trouble == "the process that answers requests was killed by signal 9 (SIGKILL)"
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(house.get("stats").status_code))
    asking.start()
    house.wait_until_ready()
    asking.join(PATIENCE_SECONDS)
    assert answers == [200]
    assert house.web.trouble is None
    assert house.log().count('"ERROR"') == 1


@pytest.mark.slow
def test_one_of_its_processes_is_replaced_without_us(house: House) -> None:
    house.start()
    killed = house.processes()[1]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(set(house.processes()) - {killed}) == 3)
    for _ in range(5):
        assert house.get("stats").status_code == 200
    assert house.web.is_ready


@pytest.mark.slow
def test_one_that_does_not_come_up_is_tried_again_later(house: House) -> None:
    house.configure("langauge: en\n")
    house.web.start()

    def has_failed() -> bool:
        house.web.look()
        return house.web.trouble is not None

    wait_for(has_failed)
    assert not house.web.is_ready
    house.configure("language: en\n")
    house.wait_until_ready()
    assert house.get("stats").status_code == 200


@pytest.mark.slow
def test_a_changed_configuration_is_taken_over_without_losing_a_request(house: House) -> None:
    house.start()
    stop = threading.Event()
    languages: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            languages.append(house.get("nothing").headers["Content-Language"])

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    wait_for(lambda: len(languages) > 20)
    house.configure("language: ru\n")
    house.web.reload()
    wait_for(lambda: languages[-20:] == ["ru"] * 20)
    stop.set()
    for thread in asking:
        thread.join(PATIENCE_SECONDS)
    assert {*languages} == {"en", "ru"}
    wait_for(lambda: len(house.processes()) == 3)  # the old ones go


def test_one_that_comes_up_takes_a_changed_configuration_over_then(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill, sent = os.kill, list[tuple[int, int]]()

    def noted(pid: int, number: int) -> None:
        sent.append((pid, number))
        kill(pid, number)

    monkeypatch.setattr(os, "kill", noted)
    house.web.start()
    first = house.web.pid
    house.web.reload()
    house.configure("language: ru\n")
    house.wait_until_ready()
    assert house.web.pid == first
    assert (first, signal.SIGHUP) in sent  # it may have read the old one before
    wait_for(lambda: house.get("nothing").headers["Content-Language"] == "ru")
    assert "failed" not in house.log()


@pytest.mark.slow
def test_no_web_workers_any_more_takes_a_restart(house: House) -> None:
    house.start()
    house.configure("language: ru\nweb_workers: 0\n")
    house.web.reload()
    wait_for(lambda: house.get("nothing").headers["Content-Language"] == "ru")
    wait_for(lambda: len(house.processes()) == 2)  # the old ones go


@pytest.mark.slow
def test_the_queue_stays_the_one_that_the_service_works_on(house: House) -> None:
    """Another takes a restart of the service; till then nobody would work on what is uploaded."""
    house.start()
    house.configure("language: ru\nweb_workers: 2\nstate: other\n")
    house.web.reload()
    wait_for(lambda: house.get("nothing").headers["Content-Language"] == "ru")
    os.kill(house.processes()[0], signal.SIGKILL)
    wait_for(lambda: house.web.look() or not house.web.is_ready)
    house.wait_until_ready()
    assert house.get("stats").headers["Content-Language"] == "ru"
    assert not (house.folder / "other").exists()


@pytest.mark.slow
def test_a_wrong_configuration_is_not_taken_over(house: House) -> None:
    house.start()
    house.configure("langauge: ru\n")
    house.web.reload()
    wait_for(lambda: "configuration not taken over" in house.log())
    for _ in range(10):
        assert house.get("nothing").headers["Content-Language"] == "en"
    assert house.web.is_ready


# --- Ending ---


def test_the_end_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as house:
        house.start()
        processes = house.processes()
        house.get("stats")
        began = time.monotonic()
        house.web.close()
        assert time.monotonic() - began < 30  # about a second alone
        assert all(map(is_gone, processes))
        with pytest.raises(requests.ConnectionError):
            house.get("stats")
        house.web.close()  # once more does no harm


@pytest.mark.parametrize(("sent", "code"), [("before", 0), ("after", -signal.SIGTERM)])
def test_a_process_that_was_just_forked_heeds_the_end(sent: str, code: int) -> None:
    command = [sys.executable, "-c", FORKED, sent]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", "")


@pytest.mark.slow
def test_the_end_does_not_wait_for_a_client_that_sends_for_ever(house: House) -> None:
    house.start()
    place = urlsplit(house.web.url)
    with socket.create_connection((place.hostname, place.port), PATIENCE_SECONDS) as client:
        client.sendall(UPLOAD)
        time.sleep(0.3)
        processes = house.processes()
        began = time.monotonic()
        house.web.close()
        assert time.monotonic() - began < 7.5  # its grace, not until we lose patience
        wait_for(lambda: all(map(is_gone, processes)))


def test_nothing_outlives_a_service_that_was_killed(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("web_workers: 2\n")
    command = [sys.executable, "-c", SERVICE, str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as service:
        assert service.stdout
        place = urlsplit(service.stdout.readline().strip())
        wait_for(lambda: len(descendants(service.pid)) == 3)
        started = descendants(service.pid)
        client = socket.create_connection((place.hostname, place.port), PATIENCE_SECONDS)
        client.sendall(UPLOAD)  # nor what they are at
        time.sleep(0.3)
        service.kill()
        service.wait(PATIENCE_SECONDS)
    wait_for(lambda: all(map(is_gone, started)))
    client.close()
    assert place.port
    again = WebProcess(config, "127.0.0.1", place.port, {})  # the next service has the port at once
    again.close()
