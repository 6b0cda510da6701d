"""The REST interface for tests, called without a server; its spool has a clock of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from flask.testing import FlaskClient
from spools import Clock
from werkzeug.test import TestResponse

from daemon.config import load_config
from daemon.keys import FOLDER, add
from daemon.spool import Spool
from daemon.task import Submission, Task
from daemon.web.app import app_of
from pipeline.parameters import Parameters


class WebApp:
    """An app on a folder of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump({"language": "en", **settings}), encoding="utf-8")
        self.folder = folder
        self.outbox, self.state = folder / "outbox", folder / "state"
        self.outbox.mkdir(exist_ok=True)
        self.clock = Clock()
        self.spool = Spool(self.state, self.clock)
        self.app = app_of(load_config(config), self.spool)
        self.client: FlaskClient = self.app.test_client()

    def get(self, path: str, key: str | None = None, **options: Any) -> TestResponse:
        return self.client.get(path, **_with(key, options))

    def post(self, path: str, key: str | None = None, **options: Any) -> TestResponse:
        return self.client.post(path, **_with(key, options))

    def key(self, name: str, user_id: str | None = None, is_admin: bool = False) -> str:
        """Add a key and return it; for before the first request, since it counts after 2 s."""
        return add(self.state / FOLDER, name, user_id, is_admin, self.clock())[0]

    def submit(self, name: str = "holiday.mov", user_id: str | None = None) -> str:
        """Have a task in the queue; return its name."""
        self.clock.forward(seconds=1)
        submission = Submission(
            task_id=self.spool.new_id(),
            input_video=name,
            original=str(self.folder / "inbox" / name),
            outbox=str(self.outbox),
            subfolder=user_id or "",
            parameters=Parameters(user_id=user_id),
        )
        return self.spool.submit(submission, max_pending=1_000_000).task_id

    def claim(self, user_id: str | None = None) -> Task:
        return self.spool.claim(self.submit(user_id=user_id))

    def complete(self, user_id: str | None = None, report: Any = None) -> str:
        """Have a completed task, with its result; return its name."""
        task = self.claim(user_id)
        assert task.token
        name = f"{task.subfolder}/{task.task_id}_protected.mp4".lstrip("/")
        result = self.outbox / name
        result.parent.mkdir(exist_ok=True)
        result.write_bytes(b"video")
        self.spool.complete(task.task_id, task.token, name, report or {}, lambda: None)
        return task.task_id


def _with(key: str | None, options: dict[str, Any]) -> dict[str, Any]:
    headers = dict(options.pop("headers", {}))
    if key is not None:
        headers["X-API-Key"] = key
    return {**options, "headers": headers}
