"""docs/API.md tells of every route, parameter, field and error of the real app."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from services import ROOT
from spools import submission

from daemon.spool import Spool
from daemon.task import submitted
from daemon.task_view import view
from daemon.web import create_app
from pipeline.parameters import Parameters

TEXT = (ROOT / "docs/API.md").read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
WORDS = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", PROSE))))
# Not of the interface: what the page of the documentation is made of, and Flask's own.
INTERNAL = ("/docs/", "/static/")


@pytest.fixture
def routes(tmp_path: Path) -> set[str]:
    config = tmp_path / "config.yaml"
    config.write_text("")
    (tmp_path / "state").mkdir()
    rules = create_app(config).url_map.iter_rules()
    return {
        f"{method} {rule.rule}"
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.rule.startswith(INTERNAL)
    }


def test_every_route_and_no_other(routes: set[str]) -> None:
    told = set(re.findall(r"^### (GET|POST) (\S+)$", TEXT, re.MULTILINE))
    assert {f"{method} {path}" for method, path in told} == routes


def test_every_parameter() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert set(Parameters.model_fields) <= rows


def test_every_field_of_a_task(tmp_path: Path) -> None:
    task = submitted(submission(Spool(tmp_path / "state")), datetime.now(UTC))
    assert set(view(task, "ru", datetime.now(UTC))) <= WORDS


def test_every_code_of_an_error() -> None:
    """Codes are found in the sources of the web as literals that only errors have."""
    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "daemon/web").glob("*.py"))
    raised = set(re.findall(r'ApiError\(\s*\d+,\s*"(\w+)"', sources))
    assert raised, "the pattern finds none"
    assert raised <= WORDS, raised - WORDS
