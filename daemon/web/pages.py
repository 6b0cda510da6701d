"""
The pages: where people come in, and the API's description to read and to try.

Whoever has no key may look at them; they load nothing from anywhere else.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, send_from_directory

from daemon.web.answers import success
from daemon.web.context import context
from daemon.web.openapi import description

blueprint = Blueprint("pages", __name__)

# Swagger UI, as this package carries it.
_ASSETS = Path(str(files("flask_swagger_ui").joinpath("dist")))
_KEPT_SECONDS = 3600
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!DOCTYPE html>
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
def show_home() -> dict[str, Any]:
    """Answer where to go from here."""
    return success(name="Media Cleaner", docs="/docs", openapi="/openapi.json", health="/health")


@blueprint.get("/docs")
def show_docs() -> Response:
    """Show the page."""
    response = Response(_PAGE, mimetype="text/html")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


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
