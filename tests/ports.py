"""Ports for servers that tests start, which nobody else gets until these listen there."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def held_port(port: int = 0) -> Iterator[int]:
    """
    Hold a port of loopback, a free one if none is named, while the context lasts.

    It is bound here and not listened on: no other socket is given it, a connection is refused,
    and a server that reuses addresses, as all do, may listen there all the same.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        yield int(holder.getsockname()[1])
