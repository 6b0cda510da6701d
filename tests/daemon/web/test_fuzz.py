"""schemathesis asks a live server for all that its description allows, and for what it forbids."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import fuzz_hooks
import pytest
import yaml
from media import Video, make_video
from services import PATIENCE_SECONDS, ROOT, wait_until
from spools import submission

from daemon import health
from daemon.health import Health, ServiceStatus, Workers
from daemon.keys import FOLDER, add
from daemon.spool import Spool
from daemon.web_process import WebProcess

# That of a webhook is not looked up then.
SETTINGS = {"min_free_gb": 0.001, "webhook": {"allow_private": True}}
# A result that retention has removed is an answer to a right request, too.
FUZZ = """
hooks = "{hooks}"

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "404", "409", "410", "429"]

[checks.negative_data_rejection]
expected-statuses = ["400", "403", "404", "405", "409", "413", "415", "422", "429"]
"""


class House:
    """A folder with a configuration, an admin's key and some tasks."""

    def __init__(self, folder: Path, **settings: object) -> None:
        folder.mkdir()
        self.folder, self.state = folder, folder / "state"
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump({**SETTINGS, **settings}))
        self.spool = Spool(self.state)
        now = datetime.now().astimezone()
        self.key, _ = add(self.state / FOLDER, "root", None, True, now)
        self._fill(folder / "outbox")

    def _fill(self, outbox: Path) -> None:
        outbox.mkdir()
        for number in range(12):
            task = self.spool.submit(replace(submission(self.spool), outbox=str(outbox)), 1_000_000)
            if number % 3 == 0:
                token = self.spool.claim(task.task_id).token
                name = f"{task.task_id}_protected.mp4"
                (outbox / name).write_bytes(b"video" * 100)
                self.spool.complete(task.task_id, str(token), name, {}, lambda: None)
            elif number % 3 == 1:
                self.spool.cancel(task.task_id)

    @contextmanager
    def served(self) -> Iterator[str]:
        """Have web processes answer, and a service tell that all is well; yield the URL."""
        web = WebProcess(self.config, "127.0.0.1", 0, {})
        web.start()
        try:
            wait_until(lambda: web.look() or web.is_ready, "web", PATIENCE_SECONDS)
            with self._told():
                yield web.url.rstrip("/")
        finally:
            web.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        now = datetime.now().astimezone()
        told = Health(os.getpid(), now, now, ServiceStatus.RUNNING, Workers(1, 1, 0))
        is_over = threading.Event()

        def tell() -> None:
            while not is_over.wait(2.0):
                health.write(self.state, replace(told, updated_at=datetime.now().astimezone()))

        health.write(self.state, told)
        thread = threading.Thread(target=tell)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def fuzz(self, url: str, video: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run schemathesis; return what it said."""
        settings = self.folder / "schemathesis.toml"
        settings.write_text(FUZZ.format(hooks=fuzz_hooks.__file__))
        program = str(Path(sys.executable).with_name("st"))
        return subprocess.run(
            [
                *(program, "--config-file", str(settings), "run", f"{url}/docs/openapi.json"),
                *("--url", url, "--header", f"X-API-Key: {self.key}", "--no-color", *words),
            ],
            cwd=self.folder,
            env={**os.environ, fuzz_hooks.VIDEO: str(video), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
        )


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "video.mp4", Video(frames=5, width=64, height=64))


def test_a_live_server_answers_as_it_is_described(tmp_path: Path, video: Path) -> None:
    house = House(tmp_path / "house", web_workers=1)
    with house.served() as url:
        phases = ("--phases", "examples,coverage,fuzzing")
        found = house.fuzz(url, video, "--max-examples", "5", "--seed", "1", *phases)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
def test_a_live_server_answers_as_it_is_described_at_length(tmp_path: Path, video: Path) -> None:
    house = House(tmp_path / "house", web_workers=2)
    with house.served() as url:
        found = house.fuzz(url, video, "--max-examples", "150", "--seed", "1")
    assert found.returncode == 0, found.stdout + found.stderr
