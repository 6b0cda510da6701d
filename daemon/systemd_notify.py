"""
The protocol of sd_notify(3): lines of NAME=VALUE in one datagram to the socket of who started us.

Our own, since it is promised to stay as it is and is this short. The packages that speak it
either need libsystemd's headers (systemd-python, cysystemd) or keep silent about what fails and
wait where the socket is full (sdnotify, gunicorn's own); the queue must not stand still for that.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

from daemon.logs import Once, server_log

_ADDRESS = "NOTIFY_SOCKET"
_WATCHDOG = ("WATCHDOG_USEC", "WATCHDOG_PID")
_MICROSECONDS = 1_000_000


class Notifier:
    """
    Tells systemd of the service; tells nobody where nobody asked to be told.

    Attributes:
        watchdog_seconds: a sign of life is awaited that often; None where it is not.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        """
        Args:
            address: of the socket; one that begins with `@` is an abstract name.
        """
        self.watchdog_seconds = watchdog_seconds
        self._address = _socket_address(address) if address else None
        self._once = Once(server_log())

    @classmethod
    def taken_from(cls, environment: MutableMapping[str, str], pid: int) -> Notifier:
        """Return the one that variables ask for, and take them out: they are for `pid` alone."""
        address = environment.pop(_ADDRESS, None)
        microseconds, for_pid = (environment.pop(name, None) for name in _WATCHDOG)
        is_ours = for_pid is None or for_pid == str(pid)
        return cls(address, _seconds(microseconds) if is_ours else None)

    @property
    def is_wanted(self) -> bool:
        """Is there anybody to be told?"""
        return self._address is not None

    def tell(self, **values: str | int) -> bool:
        """Tell all of these in one datagram; return whether it was taken. Never waits."""
        if self._address is None:
            return False
        text = "\n".join(f"{name}={_one_line(value)}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode("utf-8", "backslashreplace"), self._address)
        except OSError as error:  # full, or systemd just runs itself anew: the next time, then
            self._once.tell("systemd cannot be told", True, reason=os.strerror(error.errno or 0))
            return False
        self._once.tell("systemd cannot be told", False)
        return True


def _socket_address(address: str) -> str:
    return f"\0{address[1:]}" if address.startswith("@") else address


def _seconds(microseconds: str | None) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        seconds = int(microseconds or "") / _MICROSECONDS
        return seconds if seconds > 0 else None
    return None


def _one_line(value: str | int) -> str:
    return " ".join(str(value).splitlines())
