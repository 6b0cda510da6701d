"""The datagrams, at a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from notify_sockets import NotifySocket

from daemon.logs import configure_logs, reset_logs
from daemon.systemd_notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    is_abstract = request.param == "abstract"
    address = f"@media-cleaner-{os.urandom(8).hex()}" if is_abstract else str(tmp_path / "notify")
    with NotifySocket(address) as found:
        yield found


def test_what_is_told_arrives_as_one_datagram(systemd: NotifySocket) -> None:
    notifier = Notifier(systemd.address)
    assert notifier.is_wanted
    assert notifier.tell(READY=1, STATUS="3 waiting,\n✓ 1 at work")
    assert systemd.receive() == {"READY": "1", "STATUS": "3 waiting, ✓ 1 at work"}


def test_nobody_is_told_where_nobody_asked() -> None:
    notifier = Notifier.taken_from({}, 1)
    assert not notifier.is_wanted
    assert notifier.watchdog_seconds is None
    assert not notifier.tell(READY=1)


def test_the_variables_are_taken_out_so_that_no_child_has_them() -> None:
    environment = {
        "NOTIFY_SOCKET": "/run/x",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": "7",
        "PATH": "/bin",
    }
    notifier = Notifier.taken_from(environment, 7)
    assert (notifier.is_wanted, notifier.watchdog_seconds) == (True, 30.0)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "values",
    [
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_PID": "7"},
    ],
)
def test_a_watchdog_of_another_process_or_without_a_time_is_none(values: dict[str, str]) -> None:
    assert Notifier.taken_from({"NOTIFY_SOCKET": "/run/x", **values}, 7).watchdog_seconds is None


def test_a_socket_that_is_gone_or_full_is_told_once_and_never_waited_for(tmp_path: Path) -> None:
    configure_logs(tmp_path / "logs")
    try:
        gone = Notifier(str(tmp_path / "nobody"))
        assert [gone.tell(READY=1) for _ in range(3)] == [False] * 3
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
            full.bind(str(tmp_path / "full"))
            notifier = Notifier(str(tmp_path / "full"))
            assert not all(notifier.tell(STATUS="x") for _ in range(10_000))
    finally:
        reset_logs()
    lines = (tmp_path / "logs" / "server.log").read_text().splitlines()
    assert len([line for line in lines if "systemd cannot be told" in line]) == 2
