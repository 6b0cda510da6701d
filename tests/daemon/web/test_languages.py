"""Answers are in the language that is asked for, else in the configuration's."""

from __future__ import annotations

from pathlib import Path

import pytest
from web_apps import WebApp


@pytest.mark.parametrize(
    ("configured", "asked", "given"),
    [
        ("ru", None, "ru"),
        ("en", None, "en"),
        ("ru", "", "ru"),
        ("ru", "en", "en"),
        ("ru", "en-US,en;q=0.9", "en"),
        ("en", "ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("ru", "en;q=0.1,ru;q=0.2", "ru"),
        ("ru", "en-US,ru;q=0.1", "en"),
        ("en", "ru-RU,en;q=0.9", "ru"),
        ("ru", "EN-gb", "en"),
        ("ru", "ru;q=0,*", "en"),
        ("ru", "en;q=0.1,*", "ru"),
        ("ru", "en-US;q=0.2,en;q=0.8,ru;q=0.5", "en"),
        ("en", "en,ru", "en"),
        ("ru", "en,ru", "ru"),
        ("ru", "english", "ru"),
        ("en", "fr", "en"),
        ("ru", "*", "ru"),
        ("en", "*", "en"),
        ("ru", "en;q=0", "ru"),
        ("ru", "\x7f;;;q=x,,", "ru"),
    ],
)
def test_the_language_of_an_answer(
    tmp_path: Path, configured: str, asked: str | None, given: str
) -> None:
    web = WebApp(tmp_path, language=configured)
    task_id = web.submit()
    response = web.get(
        f"/task/{task_id}", headers={} if asked is None else {"Accept-Language": asked}
    )
    assert response.headers["Content-Language"] == given
    text = response.get_json()["task"]["status_text"]
    assert text == {"ru": "⏳ Ожидает обработки", "en": "⏳ Waiting"}[given]


def test_caches_are_told_that_the_answer_depends_on_the_language(tmp_path: Path) -> None:
    response = WebApp(tmp_path).get("/stats")
    assert "Accept-Language" in response.vary
