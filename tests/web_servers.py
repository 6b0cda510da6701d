"""Web processes under a real gunicorn, for tests that need sockets; no service beside them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml
from services import PATIENCE_SECONDS, ROOT, wait_until

APP = "daemon.web:create_app()"
IMPATIENT_APP = "web_servers:impatient_app()"


@dataclass
class WebHouse:
    """A folder with a configuration, and gunicorn serving it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def answers(self) -> bool:
        """Is a request answered?"""
        with contextlib.suppress(requests.RequestException):
            requests.get(f"{self.url}/health", timeout=PATIENCE_SECONDS)
            return True
        return False

    def workers(self) -> list[int]:
        """Return the processes that answer."""
        return _children(self.process.pid)

    def probers(self) -> list[int]:
        """Return the processes that look at files."""
        return [pid for worker in self.workers() for pid in _children(worker)]

    def files(self) -> list[Path]:
        """Return every file of the inbox's own folder, and every task's record."""
        places = (self.inbox / ".media-cleaner", *(self.state / s for s in ("pending", "failed")))
        return sorted(path for place in places for path in place.rglob("*") if path.is_file())

    def open_uploads(self) -> int:
        """Return how many files without a name the web processes write to."""
        targets = [target for pid in self.workers() for target in _open_files(pid)]
        return sum("(deleted)" in target and str(self.inbox) in target for target in targets)


def configure(folder: Path, **settings: Any) -> Path:
    """Write a configuration that suits tests, and `settings`; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    values = {"min_free_gb": 0.001, **settings}
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return path


@contextlib.contextmanager
def gunicorn(
    folder: Path,
    workers: int = 1,
    threads: int = 16,
    app: str = APP,
    worker_class: str = "gthread",
    **settings: Any,
) -> Iterator[WebHouse]:
    """Have gunicorn serve an app of a folder while the context lasts."""
    config = configure(folder, **settings)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        words = [
            *(app, "--bind", f"fd://{listener.fileno()}", "--worker-class", worker_class),
            *("--workers", str(workers), "--threads", str(threads)),
        ]
        process = _started(folder, config, words, listener.fileno())
    house = WebHouse(folder, port, process)
    try:
        wait_until(lambda: house.answers() or process.poll() is not None, "an answer")
        assert process.poll() is None, (folder / "gunicorn.txt").read_text()
        wait_until(lambda: len(house.workers()) == workers, "processes")
        yield house
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()


def _started(
    folder: Path, config: Path, words: list[str], listener: int
) -> subprocess.Popen[bytes]:
    with (folder / "gunicorn.txt").open("ab") as console:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", *words),
                *("--worker-tmp-dir", str(folder), "--graceful-timeout", "2"),
                "--no-control-socket",
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "MEDIA_CLEANER_CONFIG": str(config),
                "PYTHONPATH": str(ROOT / "tests"),
            },
            pass_fds=[listener],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )


def impatient_app() -> Any:
    """Return the app, for gunicorn, in a hurry."""
    from daemon import web_connection
    from daemon.web import create_app, uploads

    uploads._PATIENCE_SECONDS = 0.5
    web_connection._STALL_SECONDS = 1.0
    return create_app()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found


def _open_files(pid: int) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(OSError):  # the process is gone
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.append(os.readlink(link))
    return found
