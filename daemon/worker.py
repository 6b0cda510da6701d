"""
A worker process: `python -m daemon.worker`, run by the pool, protects one video after the other.

It never touches `state/` and publishes nothing: it says where the finished file lies, and the
service decides.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from daemon import staging
from daemon.child import child_arguments, child_connection, messages
from daemon.disk import why_closed
from daemon.jobs import Failed, Finished, Job, Moved, NearlyDone, Ready, Spent, Stop, Stopped
from daemon.originals import held_original
from daemon.task import Failure, Progress
from pipeline.errors import (
    Cancelled,
    OutOfMemory,
    OutputFailed,
    PipelineError,
    UnreadableMedia,
    is_caused_by,
)
from pipeline.limits import limit_memory, limit_threads

if TYPE_CHECKING:
    import pipeline.progress

# What the parts of the work are of the whole, in percent. Only the audit, which is told of when
# it begins, is past 96: a container may state too few frames or none, so that what is done before
# seems to be complete at once, or never.
_PARTS = {
    "protect": (0.0, 85.0),
    "read back": (85.0, 96.0),
    "strip": (0.0, 96.0),
    "audit": (97.0, 97.0),
}
_COPYING = (97.0, 100.0)
_PAUSE_SECONDS = 0.5  # between two messages of progress
# Only work that was done sooner says when it is nearly done. What is left then, going through
# the finished file once more, takes longer than the claim of the next task (some 20 ms); of a
# large file it takes minutes, for which no task is to be claimed ahead of its turn.
_SHORT_SECONDS = 10.0
# After these the process may be short of memory for good, or in a state that nobody foresaw.
_SPOILING = ("out_of_memory", "internal_error")
# The kernel kills the process with the highest sum of memory and this (-1000 to 1000) first.
_OOM_SCORE = "500"
# A ninth of the weight of what the service itself does, where both want the same core.
_NICENESS = 10
# Of the allowed memory: a single request may be for so much.
_MEMORY_MARGIN = 0.1

End = Finished | Failed | Stopped


def main() -> None:
    """Protect what the pool sends, until it hangs up."""
    connection = child_connection()
    memory_gb, device = child_arguments()
    _give_way()
    _warm(float(memory_gb), device)
    margin = int(float(memory_gb) * _MEMORY_MARGIN * (1 << 30))
    _Worker(connection, lambda: _is_memory_used_up(margin)).run()


def perform(
    job: Job,
    show: Callable[[Progress], None],
    cancelled: Callable[[], bool],
    is_memory_used_up: Callable[[], bool] = lambda: False,
    tell_nearly_done: Callable[[], None] = lambda: None,
) -> End:
    """
    Do a job and say how it ended; nothing is left of it but a finished file.

    Args:
        show: told how far the work is, at most twice a second, from whichever thread knows.
        is_memory_used_up: asked after a failure. A decoder that gets no memory for a picture
            says that the picture is damaged.
        tell_nearly_done: called once, by work that is short, shortly before it ends.
    """
    meter = _Meter(job.token, show, tell_nearly_done)
    try:
        end: End = _finished(job, meter, cancelled)
    except Cancelled:
        end = Stopped(job.token)
    except PipelineError as error:
        end = _foreseen(error, job, is_memory_used_up())
    except Exception as error:
        end = _unforeseen(error, job, is_memory_used_up())
    finally:
        meter.close()
    if isinstance(end, Failed):
        end = dataclasses.replace(end, is_spoilt=end.failure.code in _SPOILING)
        if (reason := why_closed(job.folder)) is not None:
            end = _folder_refused(end, job, reason)
    if not isinstance(end, Finished):
        _discard(job)
    return end


class _Worker:
    """Takes jobs from a pipe, in one thread, and does them in another."""

    def __init__(self, connection: Connection, is_memory_used_up: Callable[[], bool]) -> None:
        self._connection = connection
        self._is_memory_used_up = is_memory_used_up
        self._sending = threading.Lock()
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._unwanted: str | None = None  # the last attempt that was called off

    def run(self) -> None:
        threading.Thread(target=self._listen, daemon=True, name="listen").start()
        self._send(Ready())
        while True:
            self._send(Ready() if self._did_cleanly(self._jobs.get()) else Spent())

    def _did_cleanly(self, job: Job) -> bool:
        """Do a job; say whether nothing of it clings to this process."""
        threads = threading.active_count()
        self._send(Moved(Progress(job.token, 0.0, 0, None)))
        end = perform(
            job,
            lambda progress: self._send(Moved(progress)),
            lambda: self._unwanted == job.token,
            self._is_memory_used_up,
            lambda: self._send(NearlyDone(job.token)),
        )
        self._send(end)
        is_spoilt = isinstance(end, Failed) and end.is_spoilt
        # A stage that was deep inside an encoder when the work was called off is still there.
        is_left = threading.active_count() > threads
        return not (is_spoilt or is_left or self._is_memory_used_up())

    def _listen(self) -> None:
        try:
            for message in messages(self._connection):
                if isinstance(message, Stop):
                    self._unwanted = message.token
                else:
                    self._jobs.put(message)
        except BaseException:  # a message that cannot be read, as from another version
            traceback.print_exc()
            os._exit(1)

    def _send(self, message: object) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(0)  # the service is gone


class _Meter:
    """
    How far a job is: percent and frames only grow, and are told twice a second.

    Attributes:
        ends_at: the percent at which it is nearly done.
    """

    def __init__(
        self,
        token: str,
        show: Callable[[Progress], None],
        tell_nearly_done: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ends_at = _COPYING[1]
        self._token = token
        self._show = show
        self._tell_nearly_done = tell_nearly_done
        self._is_nearly_done = False
        self._clock = clock
        self._began = self._shown_at = clock()
        self._percent = 0.0
        self._frames = 0
        self._total: int | None = None
        self._lock = threading.Lock()
        self._is_open = True

    def pipeline_moved(self, progress: pipeline.progress.Progress) -> None:
        """Take note of what the pipeline says."""
        total = progress.total
        share = min(progress.frames / total, 1.0) if total else 0.0
        with self._lock:
            self._frames = max(self._frames, progress.frames)
            if total is not None:
                self._total = max(total, self._frames)  # a container may state too few
            self._advance(_PARTS[progress.phase], share)

    def copy_moved(self, share: float) -> None:
        """Take note of what has been copied to the outbox, 0 to 1."""
        with self._lock:
            self._advance(_COPYING, share)

    def close(self) -> None:
        """From now on nothing is told: a stage that was left behind may still call."""
        with self._lock:
            self._is_open = False

    def _advance(self, part: tuple[float, float], share: float) -> None:
        low, high = part
        self._percent = max(self._percent, low + share * (high - low))
        if not self._is_open:
            return
        now = self._clock()
        if self._percent >= self.ends_at and not self._is_nearly_done:
            self._is_nearly_done = True
            if now - self._began < _SHORT_SECONDS:
                self._tell_nearly_done()
        if now - self._shown_at >= _PAUSE_SECONDS:
            self._shown_at = now
            percent = round(self._percent, 1)
            self._show(Progress(self._token, percent, self._frames, self._total))


def _finished(job: Job, meter: _Meter, cancelled: Callable[[], bool]) -> Finished:
    from pipeline.protect import planned_suffix, protect_into

    needs_copy = staging.needs_copy(job)
    if not needs_copy:
        meter.ends_at = _COPYING[0]
    with (
        _held_original(job) as original,
        staging.told_as_disk_full(job.original.name, job.folder.parent),
    ):
        suffix = planned_suffix(original, job.parameters, job.settings)
        made = job.folder / f"result{suffix}"
        report = protect_into(
            original,
            made,
            job.parameters,
            job.settings,
            progress=meter.pipeline_moved,
            cancelled=cancelled,
        )
        if not needs_copy:
            staging.flush(made)
    if needs_copy:
        made = staging.copy_beside_place(job, made, meter.copy_moved, cancelled)
    return Finished(job.token, made, suffix, report.as_dict())


@contextlib.contextmanager
def _held_original(job: Job) -> Iterator[Path]:
    with contextlib.ExitStack() as held:
        try:
            original = held.enter_context(held_original(job.original))
        except OSError as error:
            reason = f"{error.strerror} ({error.filename})"
            raise UnreadableMedia(
                f"{job.original.name} cannot be read: {reason}. Mend that and retry the task, or"
                " give the video in anew."
            ) from error
        yield original


def _foreseen(error: PipelineError, job: Job, is_memory_used_up: bool) -> Failed:
    if is_memory_used_up or _is_lack_of_memory(error):
        return _out_of_memory(job)
    name = job.original.name
    message = error.message if name in error.message else f"{name}: {error.message}"
    return Failed(job.token, Failure(error.code, message), error.retryable)


def _unforeseen(error: Exception, job: Job, is_memory_used_up: bool) -> Failed:
    if is_memory_used_up or _is_lack_of_memory(error):
        return _out_of_memory(job)
    message = (
        f"{job.original.name}: something went wrong that nobody foresaw ({type(error).__name__});"
        " the log has the details. Please report it, with the video if you may."
    )
    # Retryable: the next attempt is made by another process, with another seed.
    return Failed(job.token, Failure("internal_error", message), True, traceback.format_exc())


def _folder_refused(end: Failed, job: Job, reason: str) -> Failed:
    """Blame a folder that can be written no more, whatever that looked like to who wrote there."""
    failure = Failure(OutputFailed.code, f"{job.original.name}: {reason}")
    return dataclasses.replace(end, failure=failure, is_retryable=OutputFailed.retryable)


def _is_lack_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or is_caused_by(error, (errno.ENOMEM,))


def _out_of_memory(job: Job) -> Failed:
    message = (
        f"{job.original.name} needs more memory than there is, or than limits.worker_memory_gb"
        " allows."
    )
    return Failed(job.token, Failure(OutOfMemory.code, message), OutOfMemory.retryable)


def _discard(job: Job) -> None:
    """Remove what was written; whatever cannot be removed goes with the attempt's folder."""
    with contextlib.suppress(OSError):
        for path in job.folder.glob("result*"):
            path.unlink(missing_ok=True)
        staging.remove_part(job)


def _give_way() -> None:
    """Leave it to the service when to end; let others have core and memory first."""
    # systemd and a closing terminal signal every process of a service; while it drains, the
    # workers are to finish. They end when it hangs up or is gone.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Watcher and web answer at once however many workers compute. A filter of system calls, as of a
    # stricter unit or a container, may refuse it; then the work is done all the same.
    with contextlib.suppress(PermissionError):
        os.nice(_NICENESS)
    # Cores that the kernel hands to a program are bounded by no limit: they have no memory.
    _tell_kernel("coredump_filter", "0")
    _tell_kernel("oom_score_adj", _OOM_SCORE)


def _tell_kernel(name: str, value: str) -> None:
    # Some containers have no such file, or a higher score already; nothing depends on it.
    with contextlib.suppress(OSError):
        Path("/proc/self", name).write_text(value, "ascii")


def _warm(memory_gb: float, device: str) -> None:
    """Import what takes seconds, then bound the memory that strangers' files may take."""
    limit_threads()
    import pipeline.protect  # noqa: F401

    limit_memory(memory_gb, device)


def _is_memory_used_up(margin_bytes: int) -> bool:
    """Say whether so little of the allowed address space has ever been left."""
    bound, _ = resource.getrlimit(resource.RLIMIT_AS)
    if bound == resource.RLIM_INFINITY:
        return False
    status = Path("/proc/self/status").read_text("utf-8", "replace")
    peak_kilobytes = next(row.split()[1] for row in status.splitlines() if row.startswith("VmPeak"))
    return bound - int(peak_kilobytes) * 1024 < margin_bytes


if __name__ == "__main__":
    main()
