"""A real service on folders of its own, and what it costs the machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

_ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 1800.0
_TICKS = os.sysconf("SC_CLK_TCK")
# What is wanted of the machine before a measurement, and how long is waited for it.
_QUIET_SHARE = 0.25
_QUIET_PATIENCE_SECONDS = 120.0
# All that differs from the defaults, beside the port.
_SETTINGS = {"workers": 1, "min_free_gb": 0.01, "drain_s": 0}


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far, and resident megabytes, now and at most."""

    cpu: float
    rss: float
    peak: float


class House:
    """A configuration and its folders; one service at a time runs on it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "config.yaml"
        self.inbox, self.outbox, self.state = (folder / n for n in ("inbox", "outbox", "state"))
        self.staging = folder / "staging"  # on the inbox's file system
        self.staging.mkdir(exist_ok=True)
        self.config.write_text(yaml.safe_dump({**_SETTINGS, "port": _free_port()}))
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[float]:
        """Have a service run with its worker warm; yield the seconds from start to ready."""
        began = time.monotonic()
        self._start()
        try:
            wait_until(lambda: self.health().get("pid") == self.pid)
            took = time.monotonic() - began
            wait_until(lambda: self.health()["workers"]["ready"] == _SETTINGS["workers"])
            yield took
        finally:
            self._stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def health(self) -> dict[str, Any]:
        """Return what the service says of itself; empty while it says nothing."""
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.state / "service.json").read_bytes())
        return {}

    def usage(self) -> Usage:
        """Return what the service's own process has used."""
        return _usage(self.pid)

    def usage_of_children(self) -> dict[str, Usage]:
        """Return what its child processes have used, by the modules that they run."""
        found: dict[str, Usage] = {}
        for path in Path(f"/proc/{self.pid}/task").glob("*/children"):
            for pid in path.read_text().split():
                command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                module = next(word for word in command if word.startswith("daemon."))
                found[module] = _usage(int(pid))
        return found

    def events(self, event: str) -> dict[str, float]:
        """Return when queue.log told of this event, in seconds since the epoch, by video."""
        path = self.folder / "logs" / "queue.log"
        lines = path.read_text().splitlines() if path.exists() else []
        told = [line for line in map(json.loads, lines) if line["event"] == event]
        return {
            line["video"]: datetime.fromisoformat(line["timestamp"]).timestamp()
            for line in told
            if "video" in line
        }

    def count(self, *statuses: str) -> int:
        """Return how many records these statuses have, by names alone."""
        return sum(1 for status in statuses for _ in (self.state / status).rglob("*-*.json"))

    def _start(self) -> None:
        console = (self.folder / "console.txt").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "--config", str(self.config), "serve"],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
        console.close()

    def _stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_PATIENCE_SECONDS)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_until(claim: Callable[[], bool], pause_seconds: float = 0.01) -> None:
    """Wait until `claim` is true."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not claim():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain; see console.txt and logs/ in the folder")
        time.sleep(pause_seconds)


def wait_for_quiet() -> None:
    """Wait until nothing else keeps the machine busy; but not forever, and say so."""
    deadline = time.monotonic() + _QUIET_PATIENCE_SECONDS
    while (share := _busy_share()) > _QUIET_SHARE:
        if time.monotonic() > deadline:
            print(f"\nThe machine is busy: {100 * share:.0f} %.\n", file=sys.stderr)
            return


def _busy_share() -> float:
    before = _machine_ticks()
    time.sleep(2.0)
    busy, idle = (b - a for a, b in zip(before, _machine_ticks(), strict=True))
    return busy / (busy + idle)


def _machine_ticks() -> tuple[int, int]:
    """Return the busy and the idle ticks of all cores; waiting for a disk is idle."""
    user, nice, system, idle, iowait, *rest = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return user + nice + system + sum(rest), idle + iowait


def _usage(pid: int) -> Usage:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    rss, peak = (int(values[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Usage((int(words[11]) + int(words[12])) / _TICKS, rss, peak)
