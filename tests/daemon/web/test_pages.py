"""The pages work without anything from elsewhere, and without a key; `test_page.py` uses one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from services import ROOT
from web_apps import WebApp

from daemon.task_view import Language
from daemon.web.page_texts import PAGE_TEXTS

STATIC = ROOT / "daemon/web/static"
TEMPLATE = ROOT / "daemon/web/templates/page.html"
FACT = re.compile(r"\{(\w+)\}")
# The same word or sign in both languages.
SAME_IN_BOTH = ("about_api", "other_language", "details_webhook", "report_sizes")
# Named by what is at hand: a status, a mode, a treatment.
COMPOSED = ("filter_", "mode_", "treatment_", "webhook_")


@pytest.fixture
def web(tmp_path: Path) -> WebApp:
    return WebApp(tmp_path)


def test_the_page_loads_only_what_is_served_here(web: WebApp) -> None:
    web.key("root", is_admin=True)  # the page is for those, too, who have none yet
    page = web.get("/docs").get_data(as_text=True)
    start = web.get("/docs/start.js").get_data(as_text=True)
    links = [*re.findall(r'(?:src|href)="([^"]+)"', page), *re.findall(r'url: "([^"]+)"', start)]
    assert len(links) == 5
    for link in links:
        response = web.get(urljoin("/docs", link))
        assert response.status_code == 200
        assert len(response.data) > 100


@pytest.mark.parametrize("path", ["/docs", "/"])
def test_a_page_may_load_nothing_from_elsewhere(web: WebApp, path: str) -> None:
    response = web.get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "<script>" not in response.get_data(as_text=True)


def test_the_page_shows_the_description(web: WebApp) -> None:
    assert web.get("/docs/openapi.json").get_json() == web.get("/openapi.json").get_json()


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e/__init__.py", "nothing.js", "/etc/passwd"])
def test_no_other_file_is_sent(web: WebApp, name: str) -> None:
    response = web.get(f"/docs/assets/{name}")
    assert response.status_code == 404
    assert response.is_json


# --- The first page ---


def settings_of(page: str) -> Any:
    match = re.search(r'<script type="application/json" id="settings">(.*?)</script>', page)
    assert match
    return json.loads(match[1])


@pytest.mark.parametrize(
    ("path", "asked", "language"),
    [
        ("/", None, "ru"),
        ("/", "en-GB,en;q=0.9", "en"),
        ("/?lang=ru", "en", "ru"),
        ("/?lang=en", "ru", "en"),
        ("/?lang=xx", "en", "en"),
    ],
)
def test_the_page_is_in_the_language_asked_for(
    tmp_path: Path, path: str, asked: str | None, language: Language
) -> None:
    web = WebApp(tmp_path, language="ru")
    response = web.get(path, headers={} if asked is None else {"Accept-Language": asked})
    page = response.get_data(as_text=True)
    assert response.mimetype == "text/html"
    assert f'<html lang="{language}">' in page
    assert PAGE_TEXTS[language]["tagline"] in page
    assert settings_of(page)["texts"] == PAGE_TEXTS[language]


def test_the_page_knows_what_is_configured_but_not_what_is_nobodys_business(
    tmp_path: Path,
) -> None:
    url = "https://example.com/?token"
    hidden = {"user_id": "alice", "notes": "</script><b>", "webhook_url": url}
    defaults = {"epsilon": 0.2, **hidden}
    web = WebApp(tmp_path, defaults=defaults, extensions=[".mp4", ".ogv"], max_video_size_gb=0.5)
    page = web.get("/").get_data(as_text=True)
    settings = settings_of(page)
    assert settings["defaults"]["epsilon"] == 0.2
    assert settings["most_bytes"] == 1 << 29
    assert settings["extensions"] == [".mp4", ".ogv"]
    assert 'accept=".mp4,.ogv"' in page
    assert not any(value in page for value in hidden.values())


def test_whatever_the_page_names_is_there(web: WebApp) -> None:
    """Assets of the page, what scripts import, and the elements that they look for."""
    page = web.get("/").get_data(as_text=True)
    waiting = re.findall(r'(?:src|href)="(static/[^"]+)"', page)
    assert len(waiting) == 4
    seen: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name not in seen:
            response = web.get(f"/{name}")
            assert response.status_code == 200, name
            seen[name] = response.get_data(as_text=True)
            waiting += [f"static/{other}" for other in re.findall(r'from "./([^"]+)"', seen[name])]
    assert {f"static/{path.name}" for path in STATIC.iterdir()} == seen.keys()
    ids = set(re.findall(r' id="([^"]+)"', page))
    scripts = "".join(text for name, text in seen.items() if name.endswith(".js"))
    assert set(re.findall(r'getElementById\("([^"]+)"\)', scripts)) <= ids


@pytest.mark.parametrize("language", ["ru", "en"])
def test_what_is_named_to_a_browser_without_javascript_needs_none(
    web: WebApp, language: Language
) -> None:
    address = PAGE_TEXTS[language]["no_script"].rsplit(" ", 1)[1].removesuffix(".")
    assert b"<script" not in web.get(address).data
    assert "/upload" in web.get(address).get_json()["paths"]


def test_no_part_of_the_page_is_kept_longer_than_the_page(web: WebApp) -> None:
    response = web.get("/static/page.js")
    assert "no-cache" in response.headers["Cache-Control"]
    again = web.get("/static/page.js", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["../pages.py", "%2e%2e/pages.py", "nothing.js", "/etc/passwd"])
def test_no_file_beside_those_of_the_page_is_sent(web: WebApp, name: str) -> None:
    assert web.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize("name", PAGE_TEXTS["en"])
def test_the_page_says_the_same_in_both_languages(name: str) -> None:
    assert PAGE_TEXTS["ru"].keys() == PAGE_TEXTS["en"].keys()
    russian, english = PAGE_TEXTS["ru"][name], PAGE_TEXTS["en"][name]
    assert set(FACT.findall(russian)) == set(FACT.findall(english))
    assert name in SAME_IN_BOTH or re.search("[А-Яа-я]", russian)
    assert name == "other_language" or not re.search("[А-Яа-я]", english)


def test_every_text_of_the_page_is_said_and_the_other_way_round() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    scripts = "".join(path.read_text(encoding="utf-8") for path in STATIC.glob("*.js"))
    said = set(re.findall(r"texts\.(\w+)", template))
    said |= set(re.findall(r'say\("(\w+)"', scripts))
    named = set(re.findall(r'"(\w+)"', scripts))
    composed = {name for name in PAGE_TEXTS["en"] if name.startswith(COMPOSED)}
    assert said <= PAGE_TEXTS["en"].keys()
    assert PAGE_TEXTS["en"].keys() - said - named - composed == set()
