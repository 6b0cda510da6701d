"""Answers as JSON in UTF-8, whatever names of files are in them."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response
from flask.json.provider import JSONProvider


def install(app: Flask) -> None:
    """Answer with this JSON, and with headers that fit what nobody shall keep or guess about."""
    app.json = _Json(app)
    app.after_request(_protect)


def success(**values: Any) -> dict[str, Any]:
    """Return the answer to a request that was carried out."""
    return {"status": "success", **values}


class _Json(JSONProvider):
    def dumps(self, obj: Any, **options: Any) -> str:
        return json.dumps(obj, **{"ensure_ascii": False, "allow_nan": False, **options})

    def loads(self, s: str | bytes, **options: Any) -> Any:
        return json.loads(s, **options)

    def response(self, *args: Any, **values: Any) -> Response:
        text = self.dumps(self._prepare_response_obj(args, values))
        # Undecodable bytes of a file name are lone surrogates, which UTF-8 cannot hold; a
        # backslash, u and four digits is what JSON writes for them.
        data = text.encode("utf-8", "backslashreplace") + b"\n"
        return Response(data, mimetype="application/json")


def _protect(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if response.is_json:
        response.headers.setdefault("Cache-Control", "no-store")
    return response
