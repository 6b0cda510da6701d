"""Receivers of webhooks on this machine: they answer as they are told, and remember."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from services import PATIENCE_SECONDS, wait_until


@dataclass(frozen=True)
class Message:
    """One request as it came."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    at_once: int  # how many waited for their answer then, this one included

    @property
    def values(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """
    A server on a free port; a context.

    Each request is answered with the next of `answers`, the last of them for ever. An answer is a
    status, or what is done with the handler instead of answering.
    """

    def __init__(
        self,
        *answers: int | Callable[[BaseHTTPRequestHandler], None],
        tls: ssl.SSLContext | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.messages: list[Message] = []
        self.released = threading.Event()
        self._answers = list(answers or (200,))
        self._headers = headers or {}
        self._lock = threading.Lock()
        self._at_once = 0
        self._server = _server(self._take)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._scheme = "http" if tls is None else "https"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def wait_for(self, count: int, patience: float = PATIENCE_SECONDS) -> list[Message]:
        wait_until(lambda: len(self.messages) >= count, f"{count} messages", patience)
        return self.messages

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer nothing until `released` is set; 200 then."""
        self.released.wait(600)
        self._answer(handler, 200)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self._at_once += 1
            self.messages.append(Message(handler.path, headers, body, self._at_once))
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(answer):
            answer(handler)
        else:
            self._answer(handler, answer)

    def _answer(self, handler: BaseHTTPRequestHandler, status: int) -> None:
        with self._lock:  # not afterwards: who has its answer may send the next before we are back
            self._at_once -= 1
        handler.send_response(status)
        for name, value in self._headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")


def _server(take: Callable[[BaseHTTPRequestHandler], None]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            take(self)

        def do_GET(self) -> None:
            raise AssertionError("a webhook is a POST")

        def log_message(self, *words: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *words: object) -> None:
            pass  # the other side went away, as some tests want it to

    return Server(("127.0.0.1", 0), Handler)
