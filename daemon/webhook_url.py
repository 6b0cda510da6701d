"""
Where a webhook goes: a `webhook_url` in its parts, and whether it may be called.

Checked when a task is accepted, for the person who is there to mend it. That counts for nothing
later, since a name may lead elsewhere by then: `webhook_request` checks what it connects to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlsplit

from daemon.public_address import (
    Address,
    LookupFailed,
    NoSuchHost,
    Resolve,
    is_public,
    literal_addresses,
    resolved,
)
from pipeline.errors import InvalidParameters

_PORTS = {"http": 80, "https": 443}
# What URL readers take away or turn round, each in its own way.
_MISREAD = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[A-Za-z0-9_.:-]+")  # as it goes to the resolver: ASCII, no `%`
# All that a path and a query may hold unquoted, and what is quoted already.
_SAFE = "%/:?@!$&'()*+,;=~-._[]"
_LOOKUP_SECONDS = 5.0


class Refusal(StrEnum):
    """Why a URL is not called; the values name the texts of other languages."""

    MISREAD = "misread"
    NO_URL = "no_url"
    HAS_USER = "has_user"
    NOT_PUBLIC = "not_public"


_REASONS: Mapping[Refusal, str] = {
    Refusal.MISREAD: "it holds a space, a control character or a backslash; quote it by %",
    Refusal.NO_URL: "allowed is an http or https URL",
    Refusal.HAS_USER: "it holds a user name or password; leave it out",
    # The same for a name that is private and one that is not there: else anybody could find
    # out by this which names there are in the operator's network.
    Refusal.NOT_PUBLIC: "its host has no public address, and others are called only where"
    " `webhook: {allow_private: true}` in config.yaml says so",
}

# What may hold a password, of a URL.
_USER = re.compile(r"//[^/?#]*@")


class UrlRefused(InvalidParameters):
    """A `webhook_url` that is not called."""

    def __init__(self, url: str, refusal: Refusal) -> None:
        # Of a default in config.yaml the log has it, too.
        public = _USER.sub("//", url) if refusal is Refusal.HAS_USER else url
        shown = repr(public if len(public) <= 100 else public[:97] + "...")
        super().__init__(f"webhook_url is {shown}; {_REASONS[refusal]}.", "webhook_url")
        self.url = url
        self.refusal = refusal

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self.refusal)


@dataclass(frozen=True)
class Target:
    """
    A URL in its parts, read once: what is checked is what is called.

    Attributes:
        host: a name in ASCII, or an address, without brackets.
        path: with the query, quoted.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """As HTTP wants it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def target_of(url: str) -> Target:
    """
    Return the parts of a URL.

    Raises:
        UrlRefused: it is none that is called.
    """
    if _MISREAD.search(url):
        raise UrlRefused(url, Refusal.MISREAD)
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
        query = quote(parts.query, safe=_SAFE)
        path = quote(parts.path or "/", safe=_SAFE) + (f"?{query}" if query else "")
    except (ValueError, KeyError):  # a UnicodeError is a ValueError
        raise UrlRefused(url, Refusal.NO_URL) from None
    if "@" in parts.netloc:
        raise UrlRefused(url, Refusal.HAS_USER)
    if not _HOST.fullmatch(host) or port == 0:
        raise UrlRefused(url, Refusal.NO_URL)
    return Target(parts.scheme, host, port, path)


def check_url(url: str, allow_private: bool, resolve: Resolve = resolved) -> None:
    """
    Check the URL of an upload; its host is looked up, for at most some seconds.

    A name that nobody can look up just now passes, as its address is checked at each delivery.

    Raises:
        UrlRefused: it may not be called.
    """
    target = target_of(url)
    if allow_private:
        return
    try:
        addresses = resolve(target.host, target.port, _LOOKUP_SECONDS)
    except LookupFailed:
        return
    except NoSuchHost:
        raise UrlRefused(url, Refusal.NOT_PUBLIC) from None
    _check_addresses(url, addresses)


def check_literal(url: str, allow_private: bool) -> None:
    """
    Check the URL of a sidecar: as `check_url`, but no name is looked up.

    Raises:
        UrlRefused: it may not be called.
    """
    target = target_of(url)
    if not allow_private:
        _check_addresses(url, literal_addresses(target.host))


def _check_addresses(url: str, addresses: tuple[Address, ...]) -> None:
    if not all(is_public(address) for address in addresses):
        raise UrlRefused(url, Refusal.NOT_PUBLIC)
