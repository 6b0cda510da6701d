"""Where requests may come to, and what is said where they cannot."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from daemon.errors import CannotListen, UsageError
from daemon.listening import check_host, listen, port_of, url_of

has_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")


@contextlib.contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    found = listen(host, port)
    try:
        yield found
    finally:
        for listener in found:
            listener.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "8.8.8.8", "fe80::1"])
def test_without_keys_nobody_else_is_to_reach_us(host: str) -> None:
    with pytest.raises(UsageError) as found:
        check_host(host, are_keys_there=False, is_required=True)
    for way in ("keys add", "auth.required", "127.0.0.1"):
        assert way in found.value.message
    check_host(host, are_keys_there=True, is_required=True)
    check_host(host, are_keys_there=False, is_required=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "::1"])
def test_without_keys_this_machine_may(host: str) -> None:
    check_host(host, are_keys_there=False, is_required=True)


def test_a_free_port_is_taken_where_none_is_named() -> None:
    with listening("127.0.0.1") as found:
        assert port_of(found) > 0
        with socket.create_connection(("127.0.0.1", port_of(found)), 60):
            pass


def named(monkeypatch: pytest.MonkeyPatch, *places: str) -> str:
    """Return a name that has these addresses."""
    ask = socket.getaddrinfo

    def answer(host: str, port: object, *more: Any, **how: Any) -> list[Any]:
        wanted = places if host == "studio.example" else [host]
        return [found for place in wanted for found in ask(place, port, *more, **how)]

    monkeypatch.setattr("daemon.listening.socket.getaddrinfo", answer)
    return "studio.example"


def test_one_address_that_others_reach_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    host = named(monkeypatch, "127.0.0.1", "192.0.2.1")
    with pytest.raises(UsageError, match=host):
        check_host(host, are_keys_there=False, is_required=True)


def test_every_address_of_a_name_is_listened_to_on_one_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = named(monkeypatch, "127.0.0.1", "192.0.2.1", "127.0.0.2")  # the second is not ours
    with listening(host) as found:
        assert [listener.getsockname()[0] for listener in found] == ["127.0.0.1", "127.0.0.2"]
        for listener in found:
            assert listener.getsockname()[1] == port_of(found)
            with socket.create_connection(listener.getsockname(), 60):
                pass


def test_localhost_is_listened_to() -> None:
    with listening("localhost") as found:
        for listener in found:
            with socket.create_connection(listener.getsockname()[:2], 60):
                pass


@has_ipv6
def test_the_empty_address_takes_both_kinds() -> None:
    with listening("::") as found, socket.create_connection(("127.0.0.1", port_of(found)), 60):
        pass


def test_a_port_that_is_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.listening._PATIENCE_SECONDS", 0.1)
    with listening("127.0.0.1") as found:
        port = port_of(found)
        with pytest.raises(CannotListen, match=f"port {port} of 127.0.0.1 is in use"):
            listen("127.0.0.1", port)


def test_who_is_about_to_leave_a_port_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.listening._PATIENCE_SECONDS", 60.0)
    with listening("127.0.0.1") as found:
        threading.Timer(0.3, found[0].close).start()
        with listening("127.0.0.1", port_of(found)):
            pass


def test_a_port_just_left_can_be_had_again() -> None:
    with listening("127.0.0.1") as found:
        port = port_of(found)
        client = socket.create_connection(("127.0.0.1", port), 60)
        server, _ = found[0].accept()
        server.close()  # the one that closes first waits in the kernel for a minute
        client.close()
    with listening("127.0.0.1", port):
        pass


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 70, "exa mple"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(CannotListen) as found:
        listen(host, 0)
    assert host in found.value.message
    assert "\n" not in found.value.message


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("0.0.0.0", "http://127.0.0.1:8000/"),
        ("::", "http://[::1]:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("media.example", "http://media.example:8000/"),
    ],
)
def test_the_url_is_one_that_works_from_here(host: str, url: str) -> None:
    assert url_of(host, 8000) == url
