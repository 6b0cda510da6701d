"""
Where a request comes from: the peer of the connection, or whom a trusted proxy names.

What a request says of itself counts for nothing unless its peer is a proxy that the
configuration trusts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOCALHOST = "localhost"
# host, [v6] and perhaps a port, as in a Host header.
_AUTHORITY = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]/@\s]+))(?::(?P<port>\d{1,5}))?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Authority:
    """A host and its port; None where none is named."""

    host: str
    port: int | None


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks that the configuration names."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def address_of(text: str) -> Address | None:
    """Return an address; an IPv4 one that stands in an IPv6 one as itself. None if it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def client_address(
    peer: Address | None, forwarded: str | None, trusted: Sequence[Network]
) -> Address | None:
    """
    Return whom a request comes from.

    Args:
        peer: the other end of the connection; None where it has no address (a socket file).
        forwarded: the X-Forwarded-For header, to whose right end each proxy adds its own peer.
        trusted: the proxies whose word counts.

    Returns:
        The last address that no trusted proxy has, or the outermost known one.
    """
    client = peer
    named = [] if forwarded is None else forwarded.split(",")
    while named and client is not None and is_in(client, trusted):
        before = _named_address(named.pop())
        if before is None:  # unknown, hidden or made up: the proxy that said so is all we know
            break
        client = before
    return client


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Is the address in one of the networks?"""
    return any(address in network for network in networks)


def is_loopback(address: Address | None) -> bool:
    """Is this the machine itself?"""
    return address is not None and address.is_loopback


def authority_of(text: str) -> Authority | None:
    """Return what a Host header says; None where it says nothing sensible."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    port = match["port"]
    host = (match["six"] or match["name"]).lower().removesuffix(".")
    return Authority(host, None if port is None else int(port))


def is_loopback_host(host: str) -> bool:
    """Does this name mean the machine itself, whatever a name server may say?"""
    return host == _LOCALHOST or is_loopback(address_of(host))


def is_same_origin(origin: str, host: str) -> bool:
    """
    Is a page of `origin` one that was had from `host`?

    The scheme is not compared: behind a proxy that speaks TLS we do not know it.
    """
    scheme, separator, rest = origin.partition("://")
    default = _DEFAULT_PORTS.get(scheme.lower())
    ours, theirs = authority_of(host), authority_of(rest)
    if not separator or default is None or ours is None or theirs is None:
        return False
    return (ours.host, ours.port or default) == (theirs.host, theirs.port or default)


def _named_address(text: str) -> Address | None:
    """Return the address in one entry of X-Forwarded-For, which may have a port."""
    text = text.strip()
    plain = address_of(text)
    if plain is not None:
        return plain
    found = authority_of(text)
    return None if found is None else address_of(found.host)
