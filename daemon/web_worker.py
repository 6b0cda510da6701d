"""
gunicorn's threaded worker, made patient: a slow client holds up nobody but itself.

gunicorn gives a request a thread from its first byte on and waits there for the rest without
end, waits for seconds for a body that nobody wants, and lets a client take its leave in the one
loop that all need. Here a request gets a thread when its head is there, and the loop waits for
all heads; a client that stirs no more is left, and parted from aside; and new connections are
left to another process while all threads of this one are taken. What is no HTTP is refused in
JSON, as everything else is.

It builds on how `gunicorn.workers.gthread` works inside, which a new version may change.
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import ThreadWorker

from daemon.logs import Once, server_log
from daemon.task_view import Language
from daemon.texts import has_text, say
from daemon.web_connection import Connection, Head

# A head is to be there so soon; one packet is enough for most.
_HEAD_SECONDS = 15.0
# A stopping process waits so long for the head of a request that may be on its way.
_LAST_HEAD_SECONDS = 1.0
_REFUSAL_SECONDS = 2.0
# Connections with unread bytes that are kept for a moment, so that their clients get the answer.
_MOST_PARTING = 64
# While all threads are taken and others wait, a client that takes an answer for so long at less
# than this pace loses its own; it can go on where it was by Range.
_SLOW_SECONDS = 10.0
_SLOW_BYTES_PER_SECOND = 16 << 10
_LOOK_SECONDS = 1.0
_GONE = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EXHAUSTED_SECONDS = 0.1
# The app sees what comes twice as one value with a comma in it, which this one may have of itself.
_ONCE = "Idempotency-Key"
# As the app names them; what else is wrong with a request is a bad request.
_BAD_REQUEST = 400
_STATUSES = (
    (InvalidResponseHeader, 500),
    (InvalidResponseHeaderName, 500),
    (LimitRequestLine, 414),
    (LimitRequestHeaders, 431),
    (ExpectationFailed, 417),
    (UnsupportedTransferCoding, 501),
    (ParseException, _BAD_REQUEST),
    (Exception, 500),
)
_CODES = {
    400: "bad_request",
    414: "request_uri_too_large",
    417: "expectation_failed",
    431: "request_header_fields_too_large",
    500: "internal_error",
    501: "not_implemented",
}


class _GivenTwice(ParseException):
    """What may stand in a head once stands there again."""


class _Threads(ThreadPoolExecutor):
    """Serves by the threads that there are, where the machine has no other just now."""

    _lacks_thread = False

    def look(self) -> None:
        """Start the thread that could not be started, if there is one by now."""
        if self._lacks_thread:
            self._adjust_thread_count()

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            # What was given is in the queue already. Raised, it would end the loop and the process.
            self._lacks_thread = True
        else:
            self._lacks_thread = False


class PatientWorker(ThreadWorker):
    """One process of those that answer requests."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.cfg.set("limit_request_line", 0)  # the whole head is bounded here, however started
        self._once = Once(server_log())
        self._last_head_at: float | None = None
        self._handed_out: set[Connection] = set()
        self._look_at = 0.0
        self._parting = threading.BoundedSemaphore(_MOST_PARTING)
        self._of_thread = threading.local()

    def load_wsgi(self) -> None:
        """Take the app, and from it in which language it would answer."""
        super().load_wsgi()
        language_for: Callable[[str], Language] = getattr(
            self.wsgi, "language_for", lambda accepted: "ru"
        )
        self._language_for = language_for

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Return what has the threads that serve requests."""
        return _Threads(self.cfg.threads)

    # --- In the loop ---

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; a thread it gets later."""
        try:
            client, address = listener.accept()
        except OSError as error:
            self._heed_failed_accept(error)
            return
        self._once.tell("connections cannot be accepted", False)
        self.nr_conns += 1
        self.enqueue_req(Connection(self.cfg, client, address, listener.getsockname()))

    def enqueue_req(self, conn: Connection) -> None:
        """Give a connection's next request a thread, once its head is there."""
        head = conn.look()
        if head is Head.PARTIAL:
            self._await_head(conn)
        else:
            self._hand_out(conn, head)

    def on_pending_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Look whether what has come makes the head whole."""
        head = conn.look()
        if head is not Head.PARTIAL:
            self.poller.unregister(client)
            self.pending_conns.remove(conn)
            self._hand_out(conn, head)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait, and accept only what there is a thread for."""
        self.tpool.look()
        if self.alive:
            taken = self.nr_conns - len(self.keepalived_conns) - len(self.pending_conns)
            has_place = self.nr_conns < self.worker_connections
            has_thread = taken < self.cfg.threads
            self.set_accept_enabled(has_place and has_thread)
            if not has_thread:
                self._take_thread_back()
        super().wait_for_and_dispatch_events(timeout)

    def finish_request(self, conn: Connection, fs: Future[Any]) -> None:
        """Go on with a connection that a thread has served."""
        self._handed_out.discard(conn)
        super().finish_request(conn, fs)  # hands it out again, if another request is there

    def murder_pending(self) -> None:
        """Part from those whose heads do not come."""
        if not self.alive:
            self._last_head_at = self._last_head_at or time.monotonic() + _LAST_HEAD_SECONDS
            for conn in self.pending_conns:
                conn.timeout = min(conn.timeout, self._last_head_at)
        super().murder_pending()

    def _hand_out(self, conn: Connection, head: Head) -> None:
        conn.data_ready = True  # not to be waited for in the thread
        if head is Head.WHOLE:
            self._handed_out.add(conn)
            super().enqueue_req(conn)
        else:
            self.nr_conns -= 1
            status = 431 if head is Head.TOO_LONG else _BAD_REQUEST
            self.tpool.submit(self._refuse_head, conn, status)

    def _take_thread_back(self) -> None:
        """Part from the client that takes its answer most slowly, if it is too slow."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        paces = {conn: conn.pace(_SLOW_SECONDS) for conn in self._handed_out}
        slowest = min(paces, key=paces.__getitem__, default=None)
        is_slow = slowest is not None and paces[slowest] < _SLOW_BYTES_PER_SECOND
        if slowest is not None and is_slow and self._somebody_waits():
            slowest.break_off()

    def _somebody_waits(self) -> bool:
        """Is there a request that has no thread, or a connection that is not accepted yet?"""
        if len(self._handed_out) > self.cfg.threads:
            return True
        return bool(select.select(self.sockets, (), (), 0)[0])

    def _await_head(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        # The same for all: what was put there first is due first.
        conn.timeout = time.monotonic() + _HEAD_SECONDS
        self.pending_conns.append(conn)
        on_readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, on_readable)

    def _heed_failed_accept(self, error: OSError) -> None:
        if error.errno in _GONE:  # or another process was faster
            return
        if error.errno not in _EXHAUSTED:
            raise error
        self._once.tell("connections cannot be accepted", True, reason=error.strerror)
        time.sleep(_EXHAUSTED_SECONDS)  # it stays readable: not to ask again at once

    # --- In a thread ---

    def handle(self, conn: Connection) -> bool:
        """Serve a request, and part from the client if it was the last."""
        self._of_thread.accept_language = conn.accept_language  # `handle_error` has no connection
        goes_on: bool = super().handle(conn)
        if not goes_on:
            self._part(conn)
        return goes_on

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Serve a request whose head is there, as long as its client stirs."""
        if sum(name == _ONCE.upper() for name, _ in req.headers) > 1:
            raise _GivenTwice
        try:
            goes_on: bool = super().handle_request(req, conn)
        except TimeoutError:
            return False
        return goes_on

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Refuse what is no request."""
        status = next(status for kind, status in _STATUSES if isinstance(exc, kind))
        if status == 500:
            server_log().error("a request failed", exc_info=exc)
        language = self._language_for(self._of_thread.accept_language)
        if isinstance(exc, _GivenTwice):
            detail = say(language, "errors.given_twice", field=_ONCE)
        else:
            detail = _detail(status, language)
        self._refuse(client, status, language, detail)

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        return keepalive and conn.has_read_out()

    def _part(self, conn: Connection) -> None:
        conn.is_left = True
        if not conn.may_be_unread() or not self._parting.acquire(blocking=False):
            conn.end()
            return
        lingering = threading.Thread(target=self._linger, args=(conn,), name="parting", daemon=True)
        try:
            lingering.start()
        except RuntimeError:  # the machine has none just now
            self._parting.release()
            conn.end()

    def _linger(self, conn: Connection) -> None:
        try:
            conn.end(graceful=True)
        finally:
            self._parting.release()

    def _refuse_head(self, conn: Connection, status: int) -> None:
        language = self._language_for(conn.accept_language)
        self._refuse(conn.sock, status, language, _detail(status, language))
        self._part(conn)

    def _refuse(self, client: socket.socket, status: int, language: Language, detail: str) -> None:
        with contextlib.suppress(OSError):  # whoever sent it is gone
            client.settimeout(_REFUSAL_SECONDS)
            client.sendall(_refusal(status, language, detail))


def _detail(status: int, language: Language) -> str:
    key = f"http.{status}" if has_text(f"http.{status}") else "http.other"
    return say(language, key, status=status)


def _refusal(status: int, language: Language, detail: str) -> bytes:
    values = {"status": "error", "detail": detail, "code": _CODES[status]}
    body = json.dumps(values, ensure_ascii=False).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Content-Language: {language}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + body
