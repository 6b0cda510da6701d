"""Which URLs are called, and which addresses never."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from daemon import public_address
from daemon.public_address import (
    Address,
    LookupFailed,
    NoSuchHost,
    is_public,
    literal_addresses,
    resolved,
)
from daemon.webhook_url import Refusal, Target, UrlRefused, check_literal, check_url, target_of

PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:800::200e"]
WRAPPED_PUBLIC = ["::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.5",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "233.252.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2002:a00:5::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "100::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
]


def refused(url: str) -> Refusal:
    with pytest.raises(UrlRefused) as caught:
        check_literal(url, allow_private=False)
    assert caught.value.field == "webhook_url"
    assert caught.value.code == "invalid_parameter"
    return caught.value.refusal


@pytest.mark.parametrize("text", PUBLIC + WRAPPED_PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_no_other_address_is_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://example.com", Target("http", "example.com", 80, "/")),
        ("https://example.com/a/b?c=d#e", Target("https", "example.com", 443, "/a/b?c=d")),
        ("HTTP://Example.COM:8080/?x", Target("http", "example.com", 8080, "/?x")),
        ("http://[2606:4700::1]:81/", Target("http", "2606:4700::1", 81, "/")),
        ("http://my_host/%D1%8F", Target("http", "my_host", 80, "/%D1%8F")),
        (
            "http://пример.рф/путь?q=я",
            Target("http", "xn--e1afmkfd.xn--p1ai", 80, "/%D0%BF%D1%83%D1%82%D1%8C?q=%D1%8F"),
        ),
    ],
)
def test_a_url_is_read_once_into_its_parts(url: str, target: Target) -> None:
    assert target_of(url) == target


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://example.com/", "example.com"),
        ("http://example.com:80/", "example.com"),
        ("http://example.com:443/", "example.com:443"),
        ("https://example.com:443/", "example.com"),
        ("https://[2606:4700::1]:8443/", "[2606:4700::1]:8443"),
    ],
)
def test_the_host_is_named_as_http_wants_it(url: str, host: str) -> None:
    assert target_of(url).host_header == host


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(UrlRefused) as told:
        target_of("http://user:secret@hidden@example.com/path")
    assert "secret" not in told.value.message
    assert "hidden" not in told.value.message
    assert "http://example.com/path" in told.value.message


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://user:secret@example.com/", Refusal.HAS_USER),
        ("http://user@example.com/", Refusal.HAS_USER),
        ("http://@example.com/", Refusal.HAS_USER),
        ("http://1.1.1.1\\@127.0.0.1/", Refusal.MISREAD),
        ("http://exam ple.com/", Refusal.MISREAD),
        ("http://example.com/\r\nHost: internal", Refusal.MISREAD),
        ("http://exa\tmple.com/", Refusal.MISREAD),
        ("http://example.com/\x00", Refusal.MISREAD),
        ("ftp://example.com/", Refusal.NO_URL),
        ("file:///etc/passwd", Refusal.NO_URL),
        ("//example.com/", Refusal.NO_URL),
        ("http:///path", Refusal.NO_URL),
        ("http://example.com:0/", Refusal.NO_URL),
        ("http://example.com:65536/", Refusal.NO_URL),
        ("http://example.com:8o/", Refusal.NO_URL),
        ("http://[::1/", Refusal.NO_URL),
        ("http://%31%32%37.0.0.1/", Refusal.NO_URL),
        ("http://[fe80::1%25lo]/", Refusal.NO_URL),
        ("http://a..b/", Refusal.NO_URL),
        ("http://" + "a" * 64 + ".com/", Refusal.NO_URL),
        ("http://exa<mple.com/", Refusal.NO_URL),
        ("http://example.com/\ud800", Refusal.NO_URL),
        ("http://127.0.0.1/", Refusal.NOT_PUBLIC),
        ("http://127.1/", Refusal.NOT_PUBLIC),
        ("http://0x7f.1/", Refusal.NOT_PUBLIC),
        ("http://0177.0.0.1/", Refusal.NOT_PUBLIC),
        ("http://2130706433/", Refusal.NOT_PUBLIC),
        ("http://0/", Refusal.NOT_PUBLIC),
        ("http://１２７.0.0.1/", Refusal.NOT_PUBLIC),
        ("http://169.254.169.254/latest/meta-data/", Refusal.NOT_PUBLIC),
        ("http://[::1]/", Refusal.NOT_PUBLIC),
        ("http://[::ffff:7f00:1]/", Refusal.NOT_PUBLIC),
        ("http://[64:ff9b::10.0.0.1]/", Refusal.NOT_PUBLIC),
    ],
)
def test_what_is_not_called_is_refused_by_its_text_alone(url: str, why: Refusal) -> None:
    assert refused(url) is why


def test_a_name_is_not_looked_up_for_a_sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: str, port: object, *words: object, flags: int = 0, **named: object) -> Any:
        assert flags == socket.AI_NUMERICHOST
        raise socket.gaierror(socket.EAI_NONAME, "a name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    check_literal("http://intranet/", allow_private=False)


def test_a_private_address_is_taken_where_the_operator_says_so() -> None:
    for url in ("http://127.0.0.1/", "http://[::1]:9/", "http://localhost/"):
        check_literal(url, allow_private=True)
        check_url(url, allow_private=True)
    with pytest.raises(UrlRefused):
        check_url("http://a@127.0.0.1/", allow_private=True)


def test_a_name_that_leads_to_this_machine_is_refused_at_the_upload() -> None:
    with pytest.raises(UrlRefused) as caught:
        check_url("http://localhost:8000/hook", allow_private=False)
    assert caught.value.refusal is Refusal.NOT_PUBLIC


def test_a_name_with_one_private_address_among_its_addresses_is_refused() -> None:
    def mixed(host: str, port: int, seconds: float) -> tuple[Address, ...]:
        return ip_address("1.1.1.1"), ip_address("10.0.0.1")

    with pytest.raises(UrlRefused):
        check_url("http://example.com/", allow_private=False, resolve=mixed)


def test_a_name_that_is_not_there_is_refused_as_a_private_one_is() -> None:
    def nowhere(host: str, port: int, seconds: float) -> tuple[Address, ...]:
        raise NoSuchHost

    def private(host: str, port: int, seconds: float) -> tuple[Address, ...]:
        return (ip_address("10.0.0.1"),)

    said = []
    for resolve in (nowhere, private):
        with pytest.raises(UrlRefused) as caught:
            check_url("http://intranet/", allow_private=False, resolve=resolve)
        said.append(caught.value.message)
    assert said[0] == said[1]


def test_a_lookup_that_fails_just_now_does_not_refuse_an_upload() -> None:
    def down(host: str, port: int, seconds: float) -> tuple[Address, ...]:
        raise LookupFailed

    check_url("http://example.com/", allow_private=False, resolve=down)


def test_the_message_names_field_value_and_what_is_allowed() -> None:
    with pytest.raises(UrlRefused) as caught:
        check_literal("http://10.0.0.1/hook", allow_private=False)
    for word in ("webhook_url", "'http://10.0.0.1/hook'", "allow_private"):
        assert word in caught.value.message
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.refusal) == (caught.value.message, caught.value.refusal)


# --- Looking names up ---


@pytest.fixture
def slow_lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Have every lookup wait until the event is set."""
    released = threading.Event()
    real = socket.getaddrinfo

    def wait(*words: Any, **named: Any) -> Any:
        released.wait(60)
        return real("127.0.0.1", *words[1:], **named)

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    yield released
    released.set()
    for thread in lookups():
        thread.join()


def lookups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lookup"]


def test_a_name_of_this_machine_is_looked_up() -> None:
    assert {str(address) for address in resolved("localhost", 80, 60.0)} <= {"127.0.0.1", "::1"}
    assert literal_addresses("localhost") == ()


def test_a_lookup_that_takes_too_long_is_left_alone(slow_lookups: threading.Event) -> None:
    began = time.monotonic()
    with pytest.raises(LookupFailed):
        resolved("example.com", 80, 0.1)
    assert time.monotonic() - began < 30


def test_a_lookup_that_gets_no_thread_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(public_address, "_lookups", threading.BoundedSemaphore(1))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(LookupFailed, match="thread"):
            resolved("127.0.0.1", 80, 60)
    assert [str(address) for address in resolved("127.0.0.1", 80, 60)] == ["127.0.0.1"]


def test_lookups_that_hang_do_not_pile_up(
    slow_lookups: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_address, "_lookups", threading.BoundedSemaphore(2))
    for _ in range(4):
        with pytest.raises(LookupFailed):
            resolved("example.com", 80, 0.05)
    assert len(lookups()) == 2
    slow_lookups.set()
    assert resolved("example.com", 80, 60.0)


def test_waiting_for_a_place_counts_as_waiting_for_the_answer(
    slow_lookups: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(public_address, "_lookups", places)
    places.acquire()
    threading.Timer(0.9, places.release).start()
    began = time.monotonic()
    with pytest.raises(LookupFailed, match="in time"):
        resolved("example.com", 80, 1.0)
    assert time.monotonic() - began < 1.5


def test_the_two_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["2606::1", "2606::2", "2606::3", "1.1.1.1", "1.1.1.1", "1.0.0.1"]
    infos = [(0, 0, 0, "", (text, 80)) for text in texts]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **named: infos)
    found = [str(address) for address in resolved("example.com", 80, 60.0)]
    assert found == ["2606::1", "1.1.1.1", "2606::2", "1.0.0.1", "2606::3"]


def test_a_name_that_cannot_be_one_is_not_there() -> None:
    with pytest.raises(NoSuchHost):
        resolved("a" * 64, 80, 60.0)
