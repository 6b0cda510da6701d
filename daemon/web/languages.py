"""Which language a caller is answered in: what it asks for, else the configuration's."""

from __future__ import annotations

from flask import Flask, Response, request

from daemon.task_view import Language
from daemon.texts import LANGUAGES, say
from daemon.web.context import context


def install(app: Flask) -> None:
    """Tell in each answer which language it is in, and that this was the caller's choice."""
    app.after_request(_mark)


def language() -> Language:
    """Return the language of this request's answer."""
    default = context().config.language
    # The default first: it is what `*` means.
    offered = sorted(LANGUAGES, key=lambda known: known != default)
    wanted = request.accept_languages.best_match(offered)
    return next((known for known in offered if known == wanted), default)


def text(key: str, **facts: object) -> str:
    """Return a text of the catalogue in the caller's language."""
    return say(language(), key, **facts)


def _mark(response: Response) -> Response:
    if response.is_json:
        response.content_language.add(language())
    response.vary.add("Accept-Language")
    return response
