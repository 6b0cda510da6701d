"""One message to a real receiver, however that behaves, and to none that is private."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from typing import Any

import pytest
import trustme
from ports import held_port
from receivers import Receiver
from services import wait_until

from daemon.public_address import Address, LookupFailed, NoSuchHost
from daemon.webhook_request import NotSent, Sender
from daemon.webhook_url import target_of

HEADERS = {"Content-Type": "application/json", "User-Agent": "MediaCleaner"}


def at(*texts: str) -> Callable[[str, int, float], tuple[Address, ...]]:
    """Return a lookup that finds these addresses for every name."""
    return lambda host, port, seconds: tuple(ip_address(text) for text in texts)


def post(url: str, sender: Sender | None = None, allow_private: bool = True) -> int:
    return (sender or Sender()).post(target_of(url), HEADERS, b'{"a": 1}', allow_private)


def not_sent(url: str, sender: Sender | None = None, allow_private: bool = True) -> NotSent:
    with pytest.raises(NotSent) as caught:
        post(url, sender, allow_private)
    return caught.value


@contextlib.contextmanager
def speaking(speak: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server of one connection that does what it likes; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1 << 16)
                    speak(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def seconds_of(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


# --- What is sent, and what comes back ---


def test_the_receiver_gets_what_was_sent() -> None:
    with Receiver(204) as receiver:
        assert post(receiver.url("/a%20b?c=d")) == 204
    (message,) = receiver.messages
    assert (message.path, message.body) == ("/a%20b?c=d", b'{"a": 1}')
    assert message.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/json",
        "user-agent": "MediaCleaner",
        "content-length": "8",
        "connection": "close",
    }


def test_an_address_of_version_6_is_named_in_brackets() -> None:
    heads: list[bytes] = []
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            heads.append(connection.recv(1 << 16))
            connection.sendall(b"HTTP/1.1 204 No\r\n\r\n")

    with listener:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        assert post(f"http://[::1]:{port}/") == 204
        thread.join()
    assert f"Host: [::1]:{port}\r\n".encode() in heads[0]


@pytest.mark.parametrize("status", [200, 299, 400, 410, 500, 503])
def test_the_status_is_what_the_receiver_says(status: int) -> None:
    with Receiver(status) as receiver:
        assert post(receiver.url()) == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Receiver() as other, Receiver(status, headers={"Location": other.url()}) as receiver:
        assert post(receiver.url()) == status
        assert other.messages == []


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver(201) as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        assert post(receiver.url()) == 201
        assert proxy.messages == []


def test_an_answer_of_any_length_is_not_read_to_its_end() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with speaking(endless) as port:
        url = f"http://127.0.0.1:{port}/"
        assert seconds_of(lambda: post(url)) < 30


def test_a_body_that_breaks_off_does_not_undo_the_status() -> None:
    def broken(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")

    with speaking(broken) as port:
        assert post(f"http://127.0.0.1:{port}/") == 200


def test_an_answer_that_comes_before_all_was_read_counts() -> None:
    def early(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_RDWR)

    with speaking(early) as port:
        body = b"x" * (8 << 20)
        sender = Sender()
        assert sender.post(target_of(f"http://127.0.0.1:{port}/"), HEADERS, body, True) == 413


# --- Receivers that are of no use ---


def test_nobody_listening() -> None:
    with held_port() as port:
        assert not_sent(f"http://127.0.0.1:{port}/").reason == "no connection"


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 banana\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " * 9999],
)
def test_what_is_no_http(answer: bytes) -> None:
    with speaking(lambda connection: connection.sendall(answer)) as port:
        assert not_sent(f"http://127.0.0.1:{port}/").reason in (
            "its answer is not HTTP",
            "the connection broke",
        )


def test_a_receiver_that_never_answers_is_left_in_time() -> None:
    with Receiver() as receiver:
        receiver._answers = [receiver.hang]
        sender = Sender(total_seconds=0.3)
        assert seconds_of(lambda: not_sent(receiver.url(), sender)) < 30


def test_a_receiver_that_answers_a_byte_at_a_time_is_left_in_time() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    with speaking(drip) as port:
        sender = Sender(total_seconds=0.5)
        url = f"http://127.0.0.1:{port}/"
        assert seconds_of(lambda: not_sent(url, sender)) < 30


def test_a_body_a_byte_at_a_time_is_left_in_time_too() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    with speaking(drip) as port:
        sender = Sender(total_seconds=0.5)
        assert seconds_of(lambda: post(f"http://127.0.0.1:{port}/", sender)) < 30


def test_a_receiver_that_reads_nothing_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        target = target_of(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        sender = Sender(total_seconds=0.5)

        def send() -> None:
            with pytest.raises(NotSent, match="no answer in time"):
                sender.post(target, HEADERS, b"x" * (16 << 20), True)

        assert seconds_of(send) < 30


def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    with Receiver() as receiver:
        sender = Sender(resolve=at("127.0.0.2", "::1", "127.0.0.1"))
        assert post(receiver.url(host="example.com"), sender) == 200
    assert receiver.messages[0].headers["host"] == f"example.com:{receiver.port}"


@pytest.mark.parametrize("error", [NoSuchHost("gone"), LookupFailed("down")])
def test_a_name_that_is_not_known(error: Exception) -> None:
    def fail(host: str, port: int, seconds: float) -> tuple[Address, ...]:
        raise error

    assert not_sent("http://example.com/", Sender(resolve=fail)).reason == "its host is not known"


def test_sending_can_be_broken_off() -> None:
    sender = Sender(total_seconds=120)
    with Receiver() as receiver:
        receiver._answers = [receiver.hang]
        thread = threading.Thread(target=not_sent, args=(receiver.url(), sender))
        thread.start()
        receiver.wait_for(1)
        assert seconds_of(lambda: (sender.abort(), thread.join())) < 30
        assert not_sent(receiver.url(), sender).reason == "broken off"
        assert len(receiver.messages) == 1


# --- Private addresses ---


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1"])
def test_this_machine_is_not_connected_to(host: str) -> None:
    with Receiver() as receiver:
        error = not_sent(receiver.url(host=host), allow_private=False)
        assert error.reason == "its host has no public address"
        assert "127.0.0.1" in error.details or "::1" in error.details
        assert receiver.messages == []


def test_a_name_that_leads_elsewhere_by_now_is_not_connected_to() -> None:
    """The address that was checked at the upload is worth nothing; the one connected to counts."""
    with Receiver() as receiver:
        error = not_sent(
            receiver.url(host="example.com"), Sender(resolve=at("127.0.0.1")), allow_private=False
        )
        assert error.reason == "its host has no public address"
        assert receiver.messages == []


def test_a_name_is_looked_up_once_so_that_what_is_checked_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second lookup, as connecting by name would make, could give another address."""
    connected: list[Any] = []
    asked: list[str] = []

    def first(host: str, port: int, seconds: float) -> tuple[Address, ...]:
        asked.append(host)
        return (ip_address("1.1.1.1" if len(asked) == 1 else "127.0.0.1"),)

    def connect(self: socket.socket, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    not_sent("http://example.com:81/", Sender(resolve=first), allow_private=False)
    assert (asked, connected) == (["example.com"], [("1.1.1.1", 81)])


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    sender = Sender(resolve=at("1.1.1.1", "10.0.0.1"))
    error = not_sent("http://example.com/", sender, allow_private=False)
    assert error.reason == "its host has no public address"


def test_what_the_user_reads_tells_nothing_of_the_network() -> None:
    error = not_sent("http://example.com/", Sender(resolve=at("10.1.2.3")), allow_private=False)
    assert "10.1.2.3" not in error.reason
    assert "10.1.2.3" in error.details


# --- TLS ---


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, name: str, seen: list[str | None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    context.sni_callback = lambda connection, asked, old: seen.append(asked)
    return context


def trusting(authority: trustme.CA, *texts: str) -> Sender:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return Sender(context, resolve=at(*texts), total_seconds=120)


def test_a_certificate_is_checked_by_the_name_though_an_address_is_connected_to(
    authority: trustme.CA,
) -> None:
    seen: list[str | None] = []
    with Receiver(tls=server_tls(authority, "example.com", seen)) as receiver:
        sender = trusting(authority, "127.0.0.1")
        assert post(receiver.url(host="example.com"), sender) == 200
        assert seen == ["example.com"]
        error = not_sent(receiver.url(host="other.com"), sender)
        assert "certificate is not trusted" in error.reason
        assert len(receiver.messages) == 1


def test_a_certificate_of_nobody_we_trust_is_refused(authority: trustme.CA) -> None:
    with Receiver(tls=server_tls(authority, "example.com", [])) as receiver:
        error = not_sent(receiver.url(host="example.com"), Sender(resolve=at("127.0.0.1")))
        assert "certificate is not trusted" in error.reason
        assert receiver.messages == []


def test_https_to_a_server_without_it() -> None:
    with Receiver() as receiver:
        error = not_sent(receiver.url().replace("http:", "https:"))
        assert error.reason == "no TLS connection could be made"


def test_a_handshake_that_never_comes_is_left_in_time(authority: trustme.CA) -> None:
    released = threading.Event()
    with speaking(lambda connection: released.wait(120)) as port:
        sender = Sender(total_seconds=0.3)
        took = seconds_of(lambda: not_sent(f"https://127.0.0.1:{port}/", sender))
        released.set()
    assert took < 30


def test_sending_over_tls_can_be_broken_off(authority: trustme.CA) -> None:
    with Receiver(tls=server_tls(authority, "example.com", [])) as receiver:
        receiver._answers = [receiver.hang]
        sender = trusting(authority, "127.0.0.1")
        url = receiver.url(host="example.com")
        thread = threading.Thread(target=not_sent, args=(url, sender))
        thread.start()
        wait_until(lambda: receiver.messages, "the request")
        assert seconds_of(lambda: (sender.abort(), thread.join())) < 30


def test_a_handler_of_these_tests_answers_only_what_it_is_told() -> None:
    """The receiver itself: a callable answers instead of a status."""
    told: list[BaseHTTPRequestHandler] = []
    with Receiver(told.append, 200) as receiver:
        assert not_sent(receiver.url()).reason == "its answer is not HTTP"
        assert post(receiver.url()) == 200
    assert len(told) == 1
