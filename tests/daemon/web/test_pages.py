"""The page of the API's description works without anything from elsewhere, and without a key."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
from web_apps import WebApp


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


def test_the_page_may_load_nothing_from_elsewhere(web: WebApp) -> None:
    response = web.get("/docs")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert "<script>" not in response.get_data(as_text=True)


def test_the_page_shows_the_description(web: WebApp) -> None:
    assert web.get("/docs/openapi.json").get_json() == web.get("/openapi.json").get_json()


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e/__init__.py", "nothing.js", "/etc/passwd"])
def test_no_other_file_is_sent(web: WebApp, name: str) -> None:
    response = web.get(f"/docs/assets/{name}")
    assert response.status_code == 404
    assert response.is_json


def test_the_home_says_where_to_go(web: WebApp) -> None:
    values = web.get("/").get_json()
    for name in ("docs", "openapi", "health"):
        assert web.get(values[name]).status_code in (200, 503)
