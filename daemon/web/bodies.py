"""
What goes wrong while a request's body is read is the client's, and told as that.

Each server has errors of its own for a client that sends no more, or whose chunks are none. Here
they become the two that HTTP has, whatever route reads the body and whatever server serves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from werkzeug.exceptions import BadRequest, RequestTimeout


def install(app: Flask) -> None:
    """Have all bodies read so."""
    app.wsgi_app = _Bodies(app.wsgi_app)  # type: ignore[method-assign]


class _Bodies:
    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Innermost: what Werkzeug puts around it takes any trouble for a broken connection.
        environ["wsgi.input"] = _Body(environ["wsgi.input"])
        return self._app(environ, start_response)


class _Body:
    """The part of a WSGI input stream that this app uses."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """
        Return what comes next, at most `size` bytes; all of it if that is negative.

        Raises:
            RequestTimeout: the client sends no more.
            BadRequest: it is gone, or what it sends is no body.
        """
        try:
            data: bytes = self._stream.read(size)
        except TimeoutError as error:  # where the server sets a time for each packet
            raise RequestTimeout from error
        except Exception as error:
            raise BadRequest from error
        return data
