"""One worker process as the pool sees it: its pipe, its job, and whether it gets on."""

from __future__ import annotations

import socket
import struct

from daemon.child import Child
from daemon.heartbeat import Heartbeat
from daemon.jobs import Bounds, Job

_MESSAGE_SECONDS = 5  # between the two halves of a message


class WorkerProcess:
    """One worker process, as the pool sees it."""

    def __init__(self, bounds: Bounds, now: float) -> None:
        self.child = Child("daemon.worker", repr(bounds.memory_gb), bounds.device)
        _bound_waiting(self.child.fileno())
        self.heartbeat = Heartbeat(self.child.pid, now)
        self.bounds = bounds
        self.started_at = now
        self.was_ready = False
        self.is_free = False
        self.is_nearly_done = False  # with its job
        self.job: Job | None = None
        self.has_begun = False
        self.kill_at: float | None = None

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to give its job up."""
        return self.kill_at is not None

    def take(self, job: Job, now: float) -> None:
        """Take note of the job that it gets."""
        self.job, self.has_begun, self.is_free = job, False, False
        self.heartbeat.beat(now)

    def let_go(self, now: float) -> None:
        """Take note that its job has ended."""
        self.job, self.kill_at, self.is_nearly_done = None, None, False
        self.heartbeat.beat(now)


def _bound_waiting(descriptor: int) -> None:
    """
    Let reading and writing a pipe give up after a while.

    A worker that is stopped in the middle of a message would else stop the whole service.
    """
    with socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM) as pipe:
        patience = struct.pack("ll", _MESSAGE_SECONDS, 0)
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
