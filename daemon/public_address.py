"""
Which addresses lie on the public internet, and which of them a name has.

A webhook's address is chosen by whoever may upload; it must not lead to what only this machine or
its network can reach.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
# host, port, seconds; the addresses, best first
Resolve = Callable[[str, int, float], tuple[Address, ...]]

_IPV4_IN_THE_LAST_BITS = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))  # NAT64
_ROUTED = IPv6Network("2000::/3")
# What a name has beyond that is never tried.
_MOST_ADDRESSES = 16
# A lookup cannot be ended, only left alone; no more than so many are left alone at once.
_lookups = threading.BoundedSemaphore(32)


class NoSuchHost(Exception):
    """The name has no address."""


class LookupFailed(Exception):
    """Nobody could say just now what address the name has."""


def is_public(address: Address) -> bool:
    """
    Does this address lie on the public internet?

    Not so: private, shared (100.64.0.0/10), loopback, link-local (a cloud's metadata),
    multicast, reserved and unspecified ones, also where one is wrapped in an IPv6 address
    (mapped, 6to4, NAT64), and Teredo's.
    """
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    wrapped = _wrapped(address)
    if wrapped is not None:
        return is_public(wrapped)
    # Of what is handed out, not of what is known to be special: the rest may come to be.
    return address in _ROUTED and address.is_global


def literal_addresses(host: str) -> tuple[Address, ...]:
    """Return the address that a host already is, in any way of writing it; none for a name."""
    try:
        # The system's own reading: 127.1, 0x7f000001 and 2130706433 are addresses to it.
        return _found(host, 0, socket.AI_NUMERICHOST)
    except (NoSuchHost, LookupFailed):
        return ()


def resolved(host: str, port: int, seconds: float) -> tuple[Address, ...]:
    """
    Return a host's addresses, best first, the two families by turns.

    Raises:
        NoSuchHost: it has none.
        LookupFailed: it is not known, or not within so many seconds.
    """
    answers: queue.SimpleQueue[tuple[Address, ...] | Exception] = queue.SimpleQueue()
    deadline = time.monotonic() + seconds
    if not _lookups.acquire(timeout=seconds):
        raise LookupFailed("too many lookups are waiting for an answer")
    thread = threading.Thread(
        target=_look_up, args=(host, port, answers), name="lookup", daemon=True
    )
    try:
        thread.start()
    except RuntimeError as error:  # the machine has none just now
        _lookups.release()
        raise LookupFailed(str(error)) from error
    try:
        answer = answers.get(timeout=max(deadline - time.monotonic(), 0.0))
    except queue.Empty:
        raise LookupFailed("no answer in time") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    if any(address in network for network in _IPV4_IN_THE_LAST_BITS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour


def _look_up(
    host: str, port: int, answers: queue.SimpleQueue[tuple[Address, ...] | Exception]
) -> None:
    try:
        answers.put(_found(host, port, 0))
    except (NoSuchHost, LookupFailed) as error:
        answers.put(error)
    finally:
        _lookups.release()


def _found(host: str, port: int, flags: int) -> tuple[Address, ...]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            raise NoSuchHost(error.strerror) from error
        raise LookupFailed(error.strerror) from error
    except (UnicodeError, OSError) as error:  # a label that is too long; no descriptor left
        kind = NoSuchHost if isinstance(error, UnicodeError) else LookupFailed
        raise kind(str(error)) from error
    found = dict.fromkeys(ip_address(info[4][0]) for info in infos)
    return tuple(_by_turns(list(found)))[:_MOST_ADDRESSES]


def _by_turns(addresses: list[Address]) -> list[Address]:
    """Mix the families, so that one that leads nowhere costs one try, not all of them."""
    first = [a for a in addresses if a.version == addresses[0].version]
    second = [a for a in addresses if a.version != addresses[0].version]
    mixed = [a for pair in zip(first, second, strict=False) for a in pair]
    rest = max(first, second, key=len)[min(len(first), len(second)) :]
    return mixed + rest
