"""
The worker processes: start them, hand them jobs, stop, replace and watch them.

Each job has one end, told as one event: Done, Refused, Lost or Ended. A process that dies takes
its own job with it and nothing else, for each has a pipe of its own (`child.py`). Which task is
next, and what an end means to it, is the dispatcher's.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import wait

from daemon.heartbeat import Heartbeat
from daemon.jobs import (
    Bounds,
    Done,
    Ended,
    Event,
    Failed,
    Finished,
    Job,
    Lost,
    Moved,
    NearlyDone,
    Progressed,
    Ready,
    Refused,
    Spent,
    Stop,
    Stopped,
)
from daemon.logs import server_log
from daemon.restarts import Restarts
from daemon.task import Failure
from daemon.worker_process import WorkerProcess

_STOP_SECONDS = 1.0  # a worker that was asked to stop is killed then
_LOOK_SECONDS = 1.0
_STOPPED_SECONDS = 10.0  # how long a process may stay stopped (SIGSTOP), if `stall_s` is longer
_DEATH_SECONDS = 1.0  # between the end of a pipe and that of its process
# What libraries never give back goes with their process. By age, not by jobs: the next one is
# warm after 2 to 4 s, a thousandth of this but as much as two short jobs. Little is kept: 120
# clips of 5 s took a process from 1129 to 1136 MB, 1000 that were stripped from 947 to 950.
_WORN_SECONDS = 3600.0

_LIKELY = {
    "SIGKILL": "most likely the machine had too little memory",
    "SIGSEGV": "most likely the file is damaged in a way that its decoder cannot bear",
    "SIGABRT": "most likely the file is damaged in a way that its decoder cannot bear",
    "SIGBUS": "most likely the disk failed, or the file was cut while it was read",
}


class Pool:
    """
    A number of worker processes.

    For one thread, which must live as long as the pool: when it ends, so do the workers. Only
    `wake` is for others, and for signal handlers.

    Attributes:
        stall_s: a worker that moves no frame and no byte for so long is killed.
        polls: how often `poll` came to its end.
    """

    def __init__(
        self,
        size: int,
        bounds: Bounds,
        *,
        stall_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stall_s = stall_s
        self.polls = 0
        self._size = size
        self._bounds = bounds
        self._clock = clock
        self._workers: list[WorkerProcess] = []
        self._waiting: deque[Job] = deque()
        self._given_back: set[str] = set()  # tokens of jobs that a dying worker never began
        self._events: list[Event] = []
        self._restarts = Restarts()
        self._look_at = clock()
        self._waker, self._wakened = socket.socketpair()
        self._waker.setblocking(False)
        self._wakened.setblocking(False)

    @property
    def size(self) -> int:
        """How many workers there are to be."""
        return self._size

    @property
    def ready(self) -> int:
        """How many workers are warm, free or not."""
        return sum(worker.was_ready for worker in self._workers)

    @property
    def busy(self) -> int:
        """How many workers have a job."""
        return sum(worker.job is not None for worker in self._workers)

    @property
    def idle(self) -> int:
        """
        How many jobs could begin at once, or in a moment.

        So the next ones are fetched while the last ones come to their end, and no worker waits.
        """
        free = sum(worker.is_free or self._is_soon_free(worker) for worker in self._workers)
        return max(free - len(self._waiting), 0)

    @property
    def nearly_done(self) -> frozenset[str]:
        """The tokens of the jobs that end in a moment."""
        return frozenset(w.job.token for w in self._workers if w.job and w.is_nearly_done)

    @property
    def trouble(self) -> str | None:
        """Why workers do not come up, None where they do."""
        return self._restarts.trouble

    def start(self) -> None:
        """Start the workers; they are warm some seconds later."""
        self._fill()

    def begin(self, job: Job) -> None:
        """
        Have a job done; the next poll hands it out.

        To be called while one is `idle`. If that one is dying in this moment the next takes it;
        where there is to be no next one the job is given up: `Ended`.
        """
        self._waiting.append(job)

    def stop(self, token: str) -> None:
        """Give a job up: `Ended` follows within some two seconds, if no end was told before."""
        for job in [job for job in self._waiting if job.token == token]:
            self._waiting.remove(job)
            self._tell_end(Ended(job))
        for worker in self._workers:
            if worker.job is not None and worker.job.token == token and not worker.is_stopping:
                worker.kill_at = self._clock() + _STOP_SECONDS
                # Where it is gone already, that is what the next poll finds out.
                with contextlib.suppress(EOFError):
                    worker.child.send(Stop(token))

    def poll(self, timeout: float, may_begin: Callable[[], bool] = lambda: True) -> list[Event]:
        """
        Return what has happened; wait for it up to `timeout` seconds, or until woken.

        Args:
            may_begin: asked at the last moment before a job is handed out. Where it says no, what
                no worker has yet is given up: `Ended`.
        """
        self._fill()
        self._hand_out(may_begin)
        for worker in self._heard(0.0 if self._events else timeout):
            self._read(worker)
        self._kill_the_slow()
        self._look()
        self._fill()
        self._hand_out(may_begin)
        self.polls += 1
        events, self._events = self._events, []
        return events

    def wake(self) -> None:
        """Let the `poll` that waits, or the next one, return at once."""
        # Full: it will wake all the same. Closed: so is the pool.
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def resize(self, size: int) -> None:
        """Change the number of workers; those too many go as soon as they are free."""
        self._size = size
        for worker in [w for w in self._workers if w.job is None][: self._surplus]:
            self._dismiss(worker)
        self._fill()

    def use_bounds(self, bounds: Bounds) -> None:
        """Replace the workers by such with other bounds, each as soon as it is free."""
        self._bounds = bounds
        for worker in [w for w in self._workers if w.job is None and w.bounds != bounds]:
            self._dismiss(worker)
        self._fill()

    def close(self) -> None:
        """Kill the workers. Of the jobs that have not ended no end is told."""
        for worker in list(self._workers):
            self._dismiss(worker)
        self._size = 0
        self._waiting.clear()
        self._events.clear()
        self._waker.close()
        self._wakened.close()

    # --- Starting ---

    @property
    def _surplus(self) -> int:
        return max(len(self._workers) - self._size, 0)

    def _fill(self) -> None:
        while len(self._workers) < self._size and self._restarts.may_start(self._clock()):
            try:
                self._workers.append(WorkerProcess(self._bounds, self._clock()))
            except OSError as error:
                self._note_failed_start(f"cannot be started: {error.strerror}")

    def _note_failed_start(self, reason: str) -> None:
        is_news = self._restarts.failed(reason, self._clock())
        if is_news:
            server_log().error("worker failed", reason=reason)

    def _dismiss(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        worker.child.kill()

    # --- Handing out ---

    def _hand_out(self, may_begin: Callable[[], bool]) -> None:
        if not self._waiting:
            return
        # Where the worker that a job waits for goes for good, another may be busy for hours.
        soon_free = sum(w.job is None or w.is_nearly_done for w in self._workers)
        kept = soon_free if may_begin() else 0
        while len(self._waiting) > kept:
            self._tell_end(Ended(self._waiting.pop()))
        while self._waiting:
            worker = next((w for w in self._workers if w.is_free), None)
            if worker is None:
                return
            job = self._waiting.popleft()
            worker.take(job, self._clock())
            try:
                worker.child.send(job)
            except EOFError:
                self._bury(worker)

    # --- Listening ---

    def _heard(self, timeout: float) -> list[WorkerProcess]:
        """Return the workers whose pipes have something for us, if only their end."""
        if self._wakened.fileno() < 0:  # closed
            return []
        patience = max(min(timeout, self._next_due() - self._clock()), 0.0)
        pipes = [worker.child.connection for worker in self._workers]
        heard = wait([*pipes, self._wakened], patience)
        if self._wakened in heard:
            with contextlib.suppress(BlockingIOError):
                self._wakened.recv(4096)
        return [worker for worker in self._workers if worker.child.connection in heard]

    def _next_due(self) -> float:
        due = [worker.kill_at for worker in self._workers if worker.kill_at is not None]
        if any(not worker.is_free for worker in self._workers):
            due.append(self._look_at)
        if len(self._workers) < self._size:
            due.append(self._restarts.due_at)
        return min(due, default=float("inf"))

    def _read(self, worker: WorkerProcess) -> None:
        while worker in self._workers and worker.child.poll():
            try:
                message = worker.child.recv()
            except EOFError:
                self._bury(worker)
            except Exception as error:  # whatever unpickling may raise, as for another version
                worker.child.kill()
                self._end_lost(worker, "worker_died", f"sent what cannot be read ({error!r})")
            else:
                self._heed(worker, message)

    def _heed(self, worker: WorkerProcess, message: object) -> None:
        if isinstance(message, Ready):
            self._on_ready(worker)
        elif isinstance(message, Spent):
            self._dismiss(worker)
        elif worker.job is not None and getattr(message, "token", None) == worker.job.token:
            self._on_news(worker, worker.job, message)

    def _on_ready(self, worker: WorkerProcess) -> None:
        if not worker.was_ready:
            self._restarts.succeeded()
            server_log().info("worker ready", pid=worker.child.pid)
        worker.is_free = worker.was_ready = True
        if not self._is_to_stay(worker):
            self._dismiss(worker)

    def _is_soon_free(self, worker: WorkerProcess) -> bool:
        return worker.is_nearly_done and not worker.is_stopping and self._is_to_stay(worker)

    def _is_to_stay(self, worker: WorkerProcess) -> bool:
        """Does it take another job after the one that it has?"""
        is_worn = self._clock() - worker.started_at >= _WORN_SECONDS
        # All began together; one after the other goes, so that the rest work on meanwhile.
        is_complete = sum(other.was_ready for other in self._workers) == self._size
        return not ((is_worn and is_complete) or worker.bounds != self._bounds or self._surplus)

    def _on_news(self, worker: WorkerProcess, job: Job, message: object) -> None:
        worker.heartbeat.beat(self._clock())
        if isinstance(message, Moved):
            worker.has_begun = True
            if not worker.is_stopping:
                self._events.append(Progressed(job, message.progress))
            return
        if isinstance(message, NearlyDone):
            worker.is_nearly_done = True
            return
        is_stopping = worker.is_stopping
        worker.let_go(self._clock())
        # A result that comes in the moment of the stop does not count.
        if is_stopping or isinstance(message, Stopped):
            self._tell_end(Ended(job))
        elif isinstance(message, Finished):
            self._tell_end(Done(job, message.staged, message.suffix, message.report))
        elif isinstance(message, Failed):
            self._tell_end(Refused(job, message.failure, message.is_retryable, message.details))

    def _tell_end(self, event: Done | Refused | Lost | Ended) -> None:
        self._given_back.discard(event.job.token)
        self._events.append(event)

    # --- Watching ---

    def _kill_the_slow(self) -> None:
        now = self._clock()
        for worker in [w for w in self._workers if w.kill_at is not None and w.kill_at <= now]:
            worker.child.kill()
            self._end_lost(worker, "worker_died", "did not stop when it was asked to")

    def _look(self) -> None:
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        for worker in [w for w in self._workers if not w.is_free]:
            worker.heartbeat.look(now)
            reason = self._stall(worker.heartbeat)
            if reason is not None:
                worker.child.kill()
                self._end_lost(worker, "worker_stalled", reason)

    def _stall(self, heartbeat: Heartbeat) -> str | None:
        if heartbeat.stopped_seconds >= min(self.stall_s, _STOPPED_SECONDS):
            return "was stopped by somebody (SIGSTOP) and did not go on"
        if heartbeat.quiet_seconds >= self.stall_s:
            return f"moved no frame and no byte for {heartbeat.quiet_seconds:.0f} s"
        return None

    def _bury(self, worker: WorkerProcess) -> None:
        """Part from a worker whose pipe has ended."""
        # The pipe ends a moment before the process does.
        has_ended = worker.child.wait(_DEATH_SECONDS)
        reason = worker.child.exit_text if has_ended else "closed its pipe"
        worker.child.kill()
        self._end_lost(worker, "worker_died", reason)

    def _end_lost(self, worker: WorkerProcess, code: str, reason: str) -> None:
        """Take a dead worker off the list, and tell what becomes of its job."""
        self._workers.remove(worker)
        job = worker.job
        if job is None:
            when = "while it was free" if worker.was_ready else "before it was ready"
            self._note_failed_start(f"{reason}, {when}")
        elif worker.is_stopping:
            self._tell_end(Ended(job))
        elif not worker.has_begun and job.token not in self._given_back:
            # It cannot be the job's fault: another worker takes it, once.
            self._given_back.add(job.token)
            self._waiting.appendleft(job)
        else:
            server_log().warning("worker lost", pid=worker.child.pid, reason=reason)
            self._tell_end(Lost(job, _failure(job, code, reason)))


def _failure(job: Job, code: str, reason: str) -> Failure:
    likely = next((words for name, words in _LIKELY.items() if f"({name})" in reason), None)
    guess = f" ({likely})" if likely and code == "worker_died" else ""
    return Failure(
        code,
        f"{job.original.name}: the process that worked on it {reason}{guess}."
        " Look into the log for the reason, then retry the task.",
    )
