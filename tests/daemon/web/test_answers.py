"""Answers are JSON in UTF-8, whatever is in them, and are kept by nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from web_apps import WebApp


@pytest.fixture
def web(tmp_path: Path) -> WebApp:
    return WebApp(tmp_path)


def test_letters_are_written_as_they_are(web: WebApp) -> None:
    task_id = web.submit("отпуск.mov")
    data = web.get(f"/task/{task_id}").data
    assert "отпуск.mov" in data.decode()
    assert data.endswith(b"}\n")


def test_a_name_that_is_no_text_can_be_told(web: WebApp) -> None:
    task_id = web.submit("caf\udce9.mov")
    response = web.get(f"/task/{task_id}")
    assert response.status_code == 200
    values = json.loads(response.data.decode("utf-8", "strict"))
    assert values["task"]["input_video"] == "caf\udce9.mov"


def test_what_is_no_json_is_no_answer(web: WebApp) -> None:
    web.app.add_url_rule("/nan", view_func=lambda: {"value": float("nan")})
    assert web.get("/nan").status_code == 500


@pytest.mark.parametrize("path", ["/stats", "/tasks", "/health", "/nothing", "/openapi.json"])
def test_answers_are_not_kept_nor_guessed_about(web: WebApp, path: str) -> None:
    response = web.get(path)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.content_type == "application/json"


def test_no_other_page_may_read_an_answer(web: WebApp) -> None:
    response = web.get("/stats", headers={"Origin": "https://elsewhere.example"})
    assert not [name for name in dict(response.headers) if name.startswith("Access-Control")]
