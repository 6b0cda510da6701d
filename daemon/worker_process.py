"""One worker process as the pool sees it: its pipe, its job, and whether it gets on."""

from __future__ import annotations

from daemon.child import Child
from daemon.heartbeat import Heartbeat
from daemon.jobs import Bounds, Job


class WorkerProcess:
    """One worker process, as the pool sees it."""

    def __init__(self, bounds: Bounds, now: float) -> None:
        self.child = Child("daemon.worker", repr(bounds.memory_gb), bounds.device)
        self.child.bound_waiting()
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
