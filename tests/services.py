"""A real service in a process of its own, for tests to drop files into, stop and kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
# Starting a worker takes seconds of CPU, and machines of tests are busy.
PATIENCE_SECONDS = 120.0
QUICK = {
    "settle_s": 0.6,
    "sidecar_grace_s": 0.2,
    "rescan_s": 0.5,
    "workers": 1,
    "min_free_gb": 0.001,
    "port": 0,
    "preset": "ultrafast",
}


class ServiceHouse:
    """A folder with a configuration and everything that it names."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.yaml"
        self.inbox, self.outbox, self.state = (folder / n for n in ("inbox", "outbox", "state"))
        self.process: subprocess.Popen[bytes] | None = None
        self.configure(**settings)

    def configure(self, **settings: Any) -> None:
        """Write the configuration: what makes tests quick, and `settings`."""
        self.config.write_text(yaml.safe_dump({**QUICK, **settings}, allow_unicode=True))

    def command(self, *words: str) -> list[str]:
        """Return the command line that carries out a command of the program."""
        return [sys.executable, "-m", "daemon", "--config", str(self.config), *words]

    # --- The process ---

    def start(self, *words: str) -> None:
        """Start the service and wait until it is ready."""
        log = self.folder / "console.txt"
        with log.open("ab") as console:
            self.process = subprocess.Popen(
                self.command("serve", *words),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        pid = self.process.pid
        wait_until(lambda: self.health().get("pid") == pid or not self.is_running, "ready")
        assert self.is_running, log.read_text()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def health(self) -> dict[str, Any]:
        """Return what the service says of itself; empty while it says nothing."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            value = json.loads((self.state / "service.json").read_text())
            assert isinstance(value, dict)
            return value
        return {}

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def url(self) -> str:
        """Where requests are answered; waits until they are."""
        url = wait_until(lambda: self.health().get("url"), "requests are answered")
        assert isinstance(url, str)
        return url

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the service to end; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End the service and all its children in the way of a power cut."""
        assert self.process is not None
        for pid in (self.process.pid, *self.children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)

    def children(self, module: str = "") -> list[int]:
        """Return the service's child processes, those that run `module` if one is named."""
        assert self.process is not None
        found: list[int] = []
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in path.read_text().split()]
        return [pid for pid in found if module in _command_line(pid)]

    def workers(self) -> list[int]:
        return self.children("daemon.worker")

    # --- What people see ---

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Carry out one command on this house."""
        return subprocess.run(
            self.command(*words),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Return what the status files say, by task; each must be whole."""
        paths = self.outbox.rglob("*.status.json")
        values = [json.loads(path.read_bytes()) for path in paths]
        return {value["task_id"]: value for value in values}

    def by_video(self) -> dict[str, dict[str, Any]]:
        return {value["input_video"]: value for value in self.statuses().values()}

    def results(self) -> list[Path]:
        return sorted(self.outbox.rglob("*_protected.*"))

    def wait_for(self, video: str, *statuses: str, patience: float = PATIENCE_SECONDS) -> Any:
        """Wait until the task of a video has one of these statuses; return what is said of it."""

        def seen() -> Any:
            value = self.by_video().get(video)
            return value if value and value["status"] in statuses else None

        return wait_until(seen, f"{video} {statuses}; {self.by_video().get(video)}", patience)

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        # Whole ones: the last may just be written.
        whole = (self.folder / "logs" / name).read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.decode().splitlines()]


@contextlib.contextmanager
def running(house: ServiceHouse, *words: str) -> Iterator[ServiceHouse]:
    """Have the service run while the context lasts, and nothing of it afterwards."""
    house.start(*words)
    try:
        yield house
    finally:
        if house.is_running:
            house.kill()


def open_files(pid: int) -> dict[str, str]:
    """Return by its number what a process has open, but for libraries: a libffi keeps itself."""
    links = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links[entry.name] = entry.readlink()
    return {number: str(to) for number, to in links.items() if ".so" not in to.suffixes}


def wait_until(claim: Callable[[], Any], what: str, patience: float = PATIENCE_SECONDS) -> Any:
    """Wait until `claim` returns something true, and return that."""
    deadline = time.monotonic() + patience
    while True:
        value = claim()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.05)


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""
