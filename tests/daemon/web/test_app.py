"""The app as a web server gets it: by its name, from a file, without anything heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from gunicorn.errors import AppImportError
from services import ROOT
from spools import submission
from web_servers import gunicorn

from daemon.logs import reset_logs
from daemon.spool import Spool
from daemon.web import create_app

HEAVY = ("torch", "av", "cv2", "scipy", "numpy")


def test_the_configuration_is_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("state: here\n")
    monkeypatch.setenv("MEDIA_CLEANER_CONFIG", str(tmp_path / "mine.yaml"))
    try:
        assert create_app().test_client().get("/tasks").status_code == 200
        assert create_app(tmp_path / "mine.yaml").test_client().get("/tasks").status_code == 200
    finally:
        reset_logs()
    assert (tmp_path / "here" / "pending").is_dir()


def test_a_wrong_configuration_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("prot: 1\n")
    with pytest.raises(AppImportError, match="prot is not a known key"):
        create_app(tmp_path / "config.yaml")


def test_what_happens_is_in_the_services_logs(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}\n")
    try:
        client = create_app(tmp_path / "config.yaml").test_client()
        client.post("/cleanup")
    finally:
        reset_logs()
    lines = [json.loads(x) for x in (tmp_path / "logs/server.log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["cleanup"]


def test_importing_the_app_imports_nothing_heavy() -> None:
    probe = f"import daemon.web, sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_under_gunicorn_each_process_knows_at_once_what_another_has_done(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "state")
    with gunicorn(tmp_path, workers=2) as house:
        for _ in range(20):
            task = spool.submit(submission(spool), max_pending=100)
            listed = requests.get(f"{house.url}/tasks?limit=1", timeout=60).json()["tasks"]
            assert [values["task_id"] for values in listed] == [task.task_id]
            cancelled = requests.post(f"{house.url}/cancel/{task.task_id}", timeout=60)
            assert cancelled.status_code == 200
            queue = requests.get(f"{house.url}/stats", timeout=60).json()["queue"]
            assert (queue["pending"], queue["cancelled"]) == (0, queue["total"])
