"""The socket on which systemd hears what services tell it."""

from __future__ import annotations

import socket
import time
from types import TracebackType

from services import PATIENCE_SECONDS


class NotifySocket:
    """
    A datagram socket of its own.

    Attributes:
        address: as $NOTIFY_SOCKET has it; with a leading `@` an abstract name.
        told: what has been received so far, one mapping for each datagram.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.told: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def receive(self, patience: float = PATIENCE_SECONDS) -> dict[str, str]:
        """Return the next datagram."""
        self._socket.settimeout(patience)
        lines = self._socket.recv(65536).decode().split("\n")
        self.told.append(dict(line.split("=", 1) for line in lines))  # type: ignore[misc]
        return self.told[-1]

    def receive_until(self, name: str, value: str = "") -> dict[str, str]:
        """Return the next datagram that has a variable, with `value` in it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            told = self.receive()
            if name in told and value in told[name]:
                return told
        raise AssertionError(f"waited in vain for {name}={value}: {self.told}")

    def take_all(self) -> list[dict[str, str]]:
        """Return what has come by now and was not received yet."""
        before = len(self.told)
        try:
            while True:
                self.receive(0.001)
        except TimeoutError:
            return self.told[before:]
