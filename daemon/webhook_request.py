"""
One POST to an address that its receiver's user chose: to nobody private, and not for long.

The address that is connected to is the one that was checked: the name is looked up here, once,
and the connection made to what came of it. Redirects are not followed, proxies of the
environment not used. However slowly the other side answers, it is over in `TOTAL_SECONDS`.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpcore

from daemon.public_address import (
    Address,
    LookupFailed,
    NoSuchHost,
    Resolve,
    is_public,
    resolved,
)
from daemon.webhook_url import Target

TOTAL_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
# So much of an answer's body is waited for, and thrown away: some servers call an answer that
# was not read a broken one.
_MOST_BODY_BYTES = 64 << 10


class NotSent(Exception):
    """
    There was no answer.

    Attributes:
        reason: for the task's user; nothing in it tells of the operator's network.
        details: for the log.
    """

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class Sender:
    """Sends, from any number of threads at once."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolved,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        """`tls` says whose certificates are trusted; None is those the system trusts."""
        self._tls = tls
        self._resolve = resolve
        self._total_seconds = total_seconds
        self._open = _OpenSockets()

    def post(
        self, target: Target, headers: Mapping[str, str], body: bytes, allow_private: bool
    ) -> int:
        """
        Send `body`; return the status of the answer.

        Raises:
            NotSent: there was no answer, or the address may not be called.
        """
        deadline = time.monotonic() + self._total_seconds
        backend = _Backend(self._resolve, deadline, allow_private, self._open)
        try:
            with _connection(target, self._trusted, backend) as connection:
                return _answered(connection, target, headers, body)
        except NotSent:
            raise
        except TimeoutError as error:
            raise NotSent("no answer in time") from error
        except ssl.SSLCertVerificationError as error:
            raise NotSent(f"its certificate is not trusted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise NotSent("no TLS connection could be made", str(error)) from error
        except OSError as error:
            raise NotSent("the connection broke", str(error)) from error
        except httpcore.ProtocolError as error:
            raise NotSent("its answer is not HTTP", str(error)) from error

    def abort(self) -> None:
        """Break off what is being sent, and send nothing more."""
        self._open.abort()

    @functools.cached_property
    def _trusted(self) -> ssl.SSLContext:
        # Reading all those certificates takes a while; not before the first message.
        return self._tls or httpcore.default_ssl_context()


class _OpenSockets:
    """Those in use, so that they can be broken off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._is_aborted = False

    @contextlib.contextmanager
    def having(self, connection: socket.socket) -> Iterator[None]:
        """Know this one while the context lasts."""
        self.add(connection)
        try:
            yield
        finally:
            self.discard(connection)

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            if self._is_aborted:
                raise NotSent("broken off")
            self._sockets.add(connection)

    def discard(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(connection)

    def abort(self) -> None:
        with self._lock:
            self._is_aborted = True
            for connection in self._sockets:
                # Of the plain socket, also below TLS, whose own is not for a second thread.
                with contextlib.suppress(OSError):  # not connected yet, or not any more
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Backend(httpcore.NetworkBackend):
    """Connects to addresses that were checked; for one request."""

    def __init__(
        self, resolve: Resolve, deadline: float, allow_private: bool, open_sockets: _OpenSockets
    ) -> None:
        self._resolve = resolve
        self._deadline = deadline
        self._allow_private = allow_private
        self._open = open_sockets

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that can be reached."""
        last: OSError | None = None
        for address in self._addresses(host, port):
            try:
                return _Stream(self._connected(address, port), self._deadline, self._open)
            except OSError as error:
                last = error
        reason = "no connection in time" if isinstance(last, TimeoutError) else "no connection"
        raise NotSent(reason, str(last)) from last

    def _addresses(self, host: str, port: int) -> tuple[Address, ...]:
        try:
            found = self._resolve(host, port, min(_CONNECT_SECONDS, _left(self._deadline)))
        except (NoSuchHost, LookupFailed) as error:
            raise NotSent("its host is not known", str(error)) from error
        private = [address for address in found if not is_public(address)]
        if private and not self._allow_private:
            raise NotSent("its host has no public address", f"{host} is {private[0]}")
        return found

    def _connected(self, address: Address, port: int) -> socket.socket:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            with self._open.having(connection):
                connection.settimeout(min(_CONNECT_SECONDS, _left(self._deadline)))
                connection.connect((str(address), port))
        except BaseException:
            connection.close()
            raise
        return connection


class _Stream(httpcore.NetworkStream):
    """A connection whose deadline does not move, however little comes at a time."""

    def __init__(
        self, connection: socket.socket, deadline: float, open_sockets: _OpenSockets
    ) -> None:
        self._socket = connection
        self._deadline = deadline
        self._open = open_sockets
        try:
            open_sockets.add(connection)
        except NotSent:
            connection.close()
            raise

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has come, at least a byte but at the end."""
        self._socket.settimeout(_left(self._deadline))
        return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        self._socket.settimeout(_left(self._deadline))
        try:
            self._socket.sendall(buffer)  # its timeout is that of all of it together
        except (BrokenPipeError, ConnectionResetError) as error:
            # Some answer before they have read all; that answer is still to be read.
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        """End the connection."""
        self._open.discard(self._socket)
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Go on encrypted, with a server that shows a certificate of that name."""
        plain = self._socket
        plain.settimeout(_left(self._deadline))
        self._open.discard(plain)
        try:
            secure = ssl_context.wrap_socket(
                plain, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        except BaseException:
            plain.close()
            raise
        stream = _Stream(secure, self._deadline, self._open)
        try:
            secure.do_handshake()
        except BaseException:
            stream.close()
            raise
        return stream

    def get_extra_info(self, info: str) -> Any:
        """Return what the protocol wants to know of the connection."""
        is_secure = isinstance(self._socket, ssl.SSLSocket)
        return self._socket if info == "ssl_object" and is_secure else None


def _connection(
    target: Target, tls: ssl.SSLContext, backend: httpcore.NetworkBackend
) -> httpcore.HTTPConnection:
    origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
    return httpcore.HTTPConnection(origin, tls, network_backend=backend)


def _answered(
    connection: httpcore.HTTPConnection, target: Target, headers: Mapping[str, str], body: bytes
) -> int:
    url = httpcore.URL(
        scheme=target.scheme.encode(),
        host=target.host.encode(),
        port=target.port,
        target=target.path.encode(),
    )
    sent = [("Host", target.host_header), *headers.items(), ("Connection", "close")]
    with connection.stream("POST", url, headers=sent, content=body) as response:
        # The status says it all: whatever becomes of the body.
        with contextlib.suppress(NotSent, OSError, httpcore.ProtocolError):
            _read_some(response)
        return response.status


def _read_some(response: httpcore.Response) -> None:
    size = 0
    for part in response.iter_stream():
        size += len(part)
        if size >= _MOST_BODY_BYTES:
            return


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds
