"""
The pages: where people give videos in and get them back, and the API's description to try.

Whoever has no key may look at them; they load nothing from anywhere else. What the first one shows
it asks for over the REST interface, with the key that it asks people for.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, render_template, request, send_from_directory

from daemon.config import Config
from daemon.task import Status
from daemon.task_view import Language
from daemon.texts import LANGUAGES
from daemon.web.context import context
from daemon.web.findings import FINDINGS
from daemon.web.languages import language
from daemon.web.openapi import description
from daemon.web.page_texts import PAGE_TEXTS
from daemon.web.schemas import parameter_schemas, shown_defaults

blueprint = Blueprint("pages", __name__)

_OWN = Path(__file__).parent / "static"

# Swagger UI, as this package carries it.
_ASSETS = Path(str(files("flask_swagger_ui").joinpath("dist")))
_KEPT_SECONDS = 3600
_POLICY = (
    "default-src 'none'; script-src 'self'; {more}; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_HOME_POLICY = _POLICY.format(
    more="style-src 'self'; img-src 'self' blob:; media-src 'self'",
)
_DOCS_POLICY = _POLICY.format(more="style-src 'self' 'unsafe-inline'; img-src 'self' data:")
_DOCS = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Media Cleaner API</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<link rel="icon" href="docs/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "docs/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: true,
});
"""


@blueprint.get("/")
def show_home() -> Response:
    """Show the page, in the language that the query names, or else the caller's."""
    chosen = _language()
    words, config = PAGE_TEXTS[chosen], context().config
    html = render_template(
        "page.html",
        language=chosen,
        other_language=next(known for known in LANGUAGES if known != chosen),
        texts=words,
        filters=["", *Status],
        bounds=parameter_schemas(),
        extensions=config.extensions,
        settings=_settings(config, chosen),
    )
    return _page(html, _HOME_POLICY)


@blueprint.get("/static/<path:name>")
def show_own_asset(name: str) -> Response:
    """Send a part of the page; looked at anew each time, so that it fits the page's other parts."""
    return send_from_directory(_OWN, name, max_age=0)


@blueprint.get("/docs")
def show_docs() -> Response:
    """Show the description."""
    return _page(_DOCS, _DOCS_POLICY)


@blueprint.get("/docs/start.js")
def show_start() -> Response:
    """Send what starts the page; no script stands in the page itself."""
    return Response(_START, mimetype="text/javascript")


@blueprint.get("/docs/openapi.json")
def show_description() -> dict[str, Any]:
    """Answer with the description, which whoever has no key yet may read in the page."""
    return description(context().config)


@blueprint.get("/docs/assets/<path:name>")
def show_asset(name: str) -> Response:
    """Send a part of Swagger UI."""
    return send_from_directory(_ASSETS, name, max_age=_KEPT_SECONDS)


def _page(html: str, policy: str) -> Response:
    response = Response(html, mimetype="text/html")
    response.headers["Content-Security-Policy"] = policy
    # An address with a ticket in it is nobody else's business.
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _language() -> Language:
    asked = request.args.get("lang")
    return next((known for known in LANGUAGES if known == asked), language())


def _settings(config: Config, chosen: Language) -> dict[str, Any]:
    """Return what the page's scripts work with."""
    return {
        "language": chosen,
        "texts": PAGE_TEXTS[chosen],
        "findings": list(FINDINGS.items()) if chosen == "ru" else [],
        "defaults": shown_defaults(config.parameters),
        "extensions": config.extensions,
        "most_bytes": config.max_video_bytes,
    }
