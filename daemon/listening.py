"""
The sockets that requests come to: who may reach them, and opening them.

The service opens them itself and hands them to the process that answers. So an address that
somebody else has is told at the start, and while that process is replaced, requests wait.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import time
from collections.abc import Sequence

from daemon.errors import CannotListen, UsageError

# How many connections wait until one is accepted.
_BACKLOG = 2048
# A service that was killed may have processes that still die while the next one starts.
_PATIENCE_SECONDS = 2.0
_RETRY_SECONDS = 0.05
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def check_host(host: str, are_keys_there: bool, is_required: bool) -> None:
    """
    Refuse a host that others can reach, as long as anybody could do everything there.

    Raises:
        CannotListen: there is no such host.
        UsageError: there are no keys.
    """
    if are_keys_there or not is_required:
        return
    if not all(_is_loopback(place) for _, place in _places(host)):
        raise UsageError(
            f"others can reach the host {host}, and there are no API keys; add one"
            " (media-cleaner keys add NAME), or take the host 127.0.0.1, or set auth.required to"
            " false in the configuration, which lets anybody do everything."
        )


def listen(host: str, port: int) -> list[socket.socket]:
    """
    Return a socket for each address that the host has.

    Args:
        port: 0 for a free one, the same for all.

    Raises:
        CannotListen: somebody else has the port, or this machine no such address.
    """
    with contextlib.ExitStack() as undo:
        found: list[socket.socket] = []
        reason = errno.EADDRNOTAVAIL
        for family, place in _places(host):
            try:
                listener = _listener(family, place, port)
            except OSError as error:
                reason = error.errno or reason
                if reason not in _ABSENT:  # else as the ::1 of localhost where there is no IPv6
                    raise CannotListen(_why(host, port, reason)) from error
                continue
            undo.callback(listener.close)
            found.append(listener)
            port = port_of(found)
        if not found:
            raise CannotListen(_why(host, port, reason))
        undo.pop_all()
    return found


def port_of(listeners: Sequence[socket.socket]) -> int:
    """Return the port of sockets that `listen` opened."""
    port: int = listeners[0].getsockname()[1]
    return port


def url_of(host: str, port: int) -> str:
    """Return where somebody on this machine finds the page."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _places(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Return the addresses of a host, each once."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host's name"
        raise CannotListen(f"the host {host} is not known: {reason}.") from error
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _is_loopback(place: str) -> bool:
    return ipaddress.ip_address(place.partition("%")[0]).is_loopback


def _listener(family: socket.AddressFamily, place: str, port: int) -> socket.socket:
    # `::` alone means every address, of IPv4 too.
    is_both = family == socket.AF_INET6 and place == "::" and socket.has_dualstack_ipv6()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return socket.create_server(
                (place, port), family=family, backlog=_BACKLOG, dualstack_ipv6=is_both
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_SECONDS)


def _why(host: str, port: int, reason: int) -> str:
    if reason == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; end what uses it, or choose another by --port."
    if reason == errno.EACCES:
        return f"port {port} of {host} may not be had by this user; choose one from 1024 on."
    return f"cannot listen on port {port} of {host}: {os.strerror(reason)}."
