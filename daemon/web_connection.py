"""
One client's connection: what has come of its next request, and how it is parted from.

No thread is needed to wait for a request here, and none waits for a client that stirs no more.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
import struct
import sys
import time
from enum import Enum
from typing import Any

from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import SocketUnreader
from gunicorn.util import close_graceful
from gunicorn.workers.gthread import TConn

# 2,000 characters of notes in a query can be 24 KB; the rest has room beside it.
_MOST_HEAD_BYTES = 48 * 1024
_HEAD_END = b"\r\n\r\n"
_ACCEPT_LANGUAGE = re.compile(rb"\r\naccept-language:([^\r\n]*)", re.IGNORECASE)
# What a client begins with that was told `https://`; it would wait for an answer in vain.
_TLS_HANDSHAKE = b"\x16"
# A client may pause so long within a request, in sending or in taking.
_STALL_SECONDS = 60.0
# What the app did not read of a body is read so long, if it is not much, to go on after it.
_DRAIN_SECONDS = 0.25
# What a client still sends when it has its answer is read so long, so that it gets to reading that.
# gunicorn's own 64 KB are there before a client, or nginx in front, looks up from its sending.
_PARTING_SECONDS = 2.0
_MOST_PARTING_BYTES = 1 << 30
# Where Linux's tcp_info tells how many bytes were acknowledged, and how many wait to be sent.
_BYTES_ACKED, _NOTSENT_BYTES, _INFO_BYTES = 120, 144, 148
# What was seen longer ago tells nothing of the answer that is being taken now.
_FORGOTTEN_SECONDS = 5.0


class Head(Enum):
    WHOLE = "whole"  # or nothing more will come, as its reader finds
    PARTIAL = "partial"
    TOO_LONG = "too long"
    TLS = "no HTTP"


class Connection(TConn):
    """A connection whose next head can be looked at without reading it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seen = 0  # bytes of a partial head
        self.is_left = False  # somebody closes it
        self.accept_language = ""  # of the head that was looked at
        # Since when an answer was seen to wait for the client, what was taken then, the last look.
        self._waits_since, self._taken_then, self._looked_at = 0.0, 0, 0.0
        self._pace = math.inf
        # By the kernel, which counts from the last byte; a time-out of Python's counts from the
        # beginning of a piece, however much of it has been taken.
        patience = struct.pack("ll", int(_STALL_SECONDS), 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        if self.sock.family != socket.AF_UNIX:
            milliseconds = int(_STALL_SECONDS * 1000)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def init(self) -> None:
        """Prepare for reading; gunicorn calls this before each request."""
        is_new = not self.initialized
        super().init()
        if is_new:
            self.parser.unreader = _Reader(self.sock)

    def look(self) -> Head:
        """Look what there is of the next head."""
        head = self._looked()
        if head is not Head.PARTIAL and self._seen:
            self._seen = 0
            self._wake_from(1)
        return head

    def pace(self, seconds: float) -> float:
        """
        Return bytes per second that its client takes of an answer that waits for it.

        As it was in the last span of so many seconds at each look of which an answer waited;
        infinite before there was one. A quick beginning is forgotten with its span.
        """
        now = time.monotonic()
        taken, is_waiting = self._answered()
        waits_for = now - self._waits_since
        if not is_waiting or now - self._looked_at > _FORGOTTEN_SECONDS:
            self._waits_since, self._taken_then, self._pace = now, taken, math.inf
        elif waits_for >= seconds:
            self._pace = (taken - self._taken_then) / waits_for
            self._waits_since, self._taken_then = now, taken
        self._looked_at = now
        return self._pace

    def break_off(self) -> None:
        """Have the thread that serves it find it gone, and the kernel drop what is left of it."""
        with contextlib.suppress(OSError):  # it is gone
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.shutdown(socket.SHUT_RDWR)

    def _answered(self) -> tuple[int, bool]:
        """Return how much of answers the client has taken, and whether more waits for it."""
        try:
            told = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        except OSError:  # closed; or no connection of TCP's, as a proxy beside us makes
            return 0, False
        if len(told) < _INFO_BYTES:  # an old kernel
            return 0, False
        taken = int.from_bytes(told[_BYTES_ACKED : _BYTES_ACKED + 8], sys.byteorder)
        waits = int.from_bytes(told[_NOTSENT_BYTES:_INFO_BYTES], sys.byteorder)
        return taken, waits > 0

    def has_read_out(self) -> bool:
        """Read what is left of a request, if it is little and there; is the next byte a new one?"""
        deadline = time.monotonic() + _DRAIN_SECONDS
        return self.parser is None or bool(self.parser.finish_body(deadline=deadline))

    def may_be_unread(self) -> bool:
        """May there be bytes, or some to come, that would have the kernel drop our answer?"""
        try:
            if not self.has_read_out():
                return True
            return bool(self._there(1))
        except (OSError, ParseException):  # nothing there, or what cannot be read
            return False

    def close(self, graceful: bool = False) -> None:
        """Close it at once, where nobody has been charged with that."""
        if not self.is_left:
            super().close()

    def end(self, graceful: bool = False) -> None:
        """Close it, or give the client some seconds to take the answer first."""
        if graceful:
            self.sock.setblocking(True)
            close_graceful(self.sock, _PARTING_SECONDS, _MOST_PARTING_BYTES)
        else:
            super().close()

    def _looked(self) -> Head:
        # What was read with the request before is no longer in the socket.
        before = b"" if self.parser is None else self.parser.unreader.buf.getvalue()
        try:
            there = self._there(_MOST_HEAD_BYTES)
        except BlockingIOError:
            return self._whole(before) if _HEAD_END in before else Head.PARTIAL
        except OSError:
            return Head.WHOLE
        # Woken though no more has come: the client has closed its end.
        has_ended = not there or len(there) == self._seen
        if has_ended or _HEAD_END in before + there:
            return self._whole(before + there)
        if (before + there).startswith(_TLS_HANDSHAKE):
            return Head.TLS
        if len(before + there) >= _MOST_HEAD_BYTES:
            self._note_language(before + there)
            return Head.TOO_LONG
        self._seen = len(there)
        self._wake_from(self._seen + 1)
        return Head.PARTIAL

    def _whole(self, head: bytes) -> Head:
        self._note_language(head)
        return Head.WHOLE

    def _note_language(self, head: bytes) -> None:
        """Take note in what language a refusal is to be, if nobody else gets to read the head."""
        found = _ACCEPT_LANGUAGE.findall(head.partition(_HEAD_END)[0])
        self.accept_language = b",".join(found).decode("latin-1")

    def _there(self, most: int) -> bytes:
        """Return what has come, without taking it."""
        self.sock.setblocking(False)
        return self.sock.recv(most, socket.MSG_PEEK)

    def _wake_from(self, count: int) -> None:
        """Have the loop woken when so many bytes are there, lest it runs in circles."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)


class _Reader(SocketUnreader):
    """Says by its right name what the kernel calls a try that would have had to wait."""

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return what comes next."""
        try:
            data: bytes = super().chunk(size_hint)
        except BlockingIOError:
            raise TimeoutError("the client sends no more") from None
        return data
