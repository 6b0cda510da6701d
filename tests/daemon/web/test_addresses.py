"""A request comes from its peer, unless that is a proxy whose word counts."""

from __future__ import annotations

import pytest

from daemon.web.addresses import (
    address_of,
    authority_of,
    client_address,
    is_loopback,
    is_loopback_host,
    is_same_origin,
    networks_of,
)

TRUSTED = networks_of(["10.0.0.0/8", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.7", "203.0.113.9"),  # anybody can say that
        ("127.0.0.1", "198.51.100.7", "127.0.0.1"),  # a proxy, but not a trusted one
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.7", "198.51.100.7"),  # the left one is made up
        ("10.0.0.1", "1.2.3.4,198.51.100.7 , 10.9.9.9", "198.51.100.7"),
        ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:bad::7]:4711", "2001:bad::7"),
        ("10.0.0.1", "2001:bad::7", "2001:bad::7"),
        ("10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("2001:db8::1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.2.3.4, unknown", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, _hidden, 10.3.3.3", "10.3.3.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", ",", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has(
    peer: str, forwarded: str | None, client: str
) -> None:
    assert client_address(address_of(peer), forwarded, TRUSTED) == address_of(client)


def test_a_peer_without_an_address_has_no_word() -> None:
    assert client_address(None, "198.51.100.7", TRUSTED) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.7.6", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::1%lo", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_which_addresses_are_the_machine_itself(text: str, expected: bool) -> None:
    assert is_loopback(address_of(text)) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("127.0.0.1:8000", True),
        ("127.1.2.3", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("example.com", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("127.0.0.1@example.com", False),
        ("127.0.0.1:80:80", False),
        ("localhost, example.com", False),
        ("localhost:x", False),
        ("::1", False),
        ("", False),
    ],
)
def test_which_hosts_are_the_machine_itself(host: str, expected: bool) -> None:
    found = authority_of(host)
    assert (found is not None and is_loopback_host(found.host)) is expected


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("http://localhost:8000", "localhost:8000", True),
        ("http://media.example", "media.example", True),
        ("http://media.example", "media.example:80", True),
        ("https://media.example", "media.example", True),  # TLS ends before us
        ("https://media.example:443", "media.example", True),
        ("http://MEDIA.example", "media.EXAMPLE", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://localhost:8000", "127.0.0.1:8000", False),
        ("http://localhost:8001", "localhost:8000", False),
        ("http://media.example", "media.example:8000", False),
        ("http://evil.example", "media.example", False),
        ("http://media.example.evil.example", "media.example", False),
        ("http://media.example@evil.example", "media.example", False),
        ("null", "media.example", False),
        ("null", "null", False),
        ("", "", False),
        ("file://", "", False),
        ("chrome-extension://media.example", "media.example", False),
        ("http://media.example/", "media.example", False),
    ],
)
def test_a_page_is_ours_where_host_and_port_agree(origin: str, host: str, expected: bool) -> None:
    assert is_same_origin(origin, host) is expected
