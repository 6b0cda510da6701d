"""Which language a caller is answered in: what it asks for, else the configuration's."""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.datastructures import LanguageAccept

from daemon.task_view import Language
from daemon.texts import LANGUAGES, say
from daemon.web.context import context


def install(app: Flask) -> None:
    """Tell in each answer which language it is in, and that this was the caller's choice."""
    app.after_request(_mark)


def language() -> Language:
    """Return the language of this request's answer."""
    return language_for(request.accept_languages)


def language_for(accepted: LanguageAccept) -> Language:
    """Return the language of an answer to who accepts these."""
    default = context().config.language
    # The default first: it is what `*` means, and what is taken of two that are as welcome.
    offered = sorted(LANGUAGES, key=lambda known: known != default)
    qualities = {known: _quality(known, list(accepted)) for known in offered}
    best = max(offered, key=qualities.__getitem__)
    return best if qualities[best] > 0 else default


def _quality(known: str, accepted: list[tuple[str, float]]) -> float:
    """
    Return how welcome a language is, 0 to 1.

    Of a country's or not: Werkzeug's `best_match` prefers `ru` at 0.1 to `en-US` at 1.
    """
    own = [quality for tag, quality in accepted if tag.lower().split("-")[0] == known]
    return max(own or [quality for tag, quality in accepted if tag == "*"], default=0.0)


def text(key: str, **facts: object) -> str:
    """Return a text of the catalogue in the caller's language."""
    return say(language(), key, **facts)


def _mark(response: Response) -> Response:
    if response.is_json:
        response.content_language.add(language())
    response.vary.add("Accept-Language")
    return response
