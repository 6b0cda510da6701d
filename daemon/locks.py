"""
Who may act: one service on a state, one process at a time on a task.

Locks are those of `flock`: the kernel drops them when their holder dies, however it dies, so
none is ever left over. They belong to an open file, so two threads exclude each other too.
A child made by fork would hold them as well; workers are spawned, which closes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from daemon.spool_errors import ServiceRunning, TaskBusy

# An act takes milliseconds; a publishing to a slow share a second or two.
PATIENCE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.0005
_LONGEST_PAUSE_SECONDS = 0.02


@contextlib.contextmanager
def service_lock(path: Path) -> Iterator[Callable[[], bool]]:
    """
    Hold the state for this service. The file stays; it says which process held it last.

    Yields what tells whether another folder has taken the state's place meanwhile: this lock keeps
    nobody from that one, and it lacks all that was made in the old one at the start.

    Raises:
        ServiceRunning: another one holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(descriptor):
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise ServiceRunning(path.parent, pid)
        with contextlib.suppress(OSError):  # a full disk; the lock holds without its holder's name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield lambda: path.parent.is_dir() and not _is_named(descriptor, path)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def task_lock(
    folder: Path, task_id: str, patience_seconds: float = PATIENCE_SECONDS
) -> Iterator[None]:
    """
    Hold one task. Whoever holds one waits for no other, so nobody waits in a circle.

    Raises:
        TaskBusy: somebody else held it for all of `patience_seconds`.
    """
    path = folder / f"{task_id}.lock"
    descriptor = _acquired(path, task_id, time.monotonic() + patience_seconds)
    try:
        yield
    finally:
        # While it is held: nobody else may have it by this name. A file that is left, as on a disk
        # that turned read-only, is only taken by the next one.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquired(path: Path, task_id: str, deadline: float) -> int:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # The holder before us has removed its file: a lock on that excludes nobody.
            is_held = try_lock(descriptor) and _is_named(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        if is_held:
            return descriptor
        os.close(descriptor)
        # Tried again and again rather than waited for: a holder that was stopped (SIGSTOP)
        # would stop everybody.
        if time.monotonic() >= deadline:
            raise TaskBusy(task_id)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file; False where another one has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
