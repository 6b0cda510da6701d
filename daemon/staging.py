"""
Bring a finished file to where one rename publishes it, and tell a full disk from other failures.

That is where it was made, or beside its place in the outbox where that lies on another file
system. See `docs/FOLDERS.md`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import ClassVar

from daemon.atomic import write_all
from daemon.disk import NO_ROOM
from daemon.held_folder import held_folder
from daemon.jobs import Job
from daemon.outbox import staging_name
from daemon.removal import remove_file
from pipeline.errors import Cancelled, OutputFailed, is_caused_by

_CHUNK_BYTES = 1 << 20
# Flushed in between: one flush of gigabytes to a slow share looks like a process that hangs.
_FLUSH_BYTES = 64 << 20


class DiskFull(OutputFailed):
    """There is no room for the result; another try at once finds none either."""

    code: ClassVar[str] = "disk_full"
    retryable: ClassVar[bool] = False


def part_of(job: Job) -> Path:
    """Return the hidden name beside the result's place, should the result be copied there."""
    return job.outbox_folder / staging_name(job.task_id, job.token)


def remove_part(job: Job) -> None:
    """
    Remove what lies under the hidden name, if anything does.

    Raises:
        OSError: it cannot be removed, or the outbox is not there.
    """
    remove_file(job.outbox, PurePath(job.subfolder, staging_name(job.task_id, job.token)))


def needs_copy(job: Job) -> bool:
    """
    Say whether no rename leads from the job's folder to its outbox.

    Found out by trying: the device's number is the same for two mounts of one file system,
    between which nothing can be renamed, and differs within some where it can.

    Raises:
        OutputFailed: nothing can be written in the outbox; told now and not after hours of work.
    """
    probe = job.folder / "probe"
    with _told_to_user(job), _held_part(job) as part:
        try:
            part.touch(exist_ok=False)
            os.rename(part, probe)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return True
        finally:
            part.unlink(missing_ok=True)
            probe.unlink(missing_ok=True)
    return False


def flush(path: Path) -> None:
    """Make a file's content durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def copy_beside_place(
    job: Job, made: Path, moved: Callable[[float], None], cancelled: Callable[[], bool]
) -> Path:
    """
    Move a finished file to its hidden name in the outbox, durably, and return that.

    Args:
        moved: called with the share that is copied, 0 to 1.

    Raises:
        OutputFailed: it cannot be written.
        Cancelled: `cancelled` said so.
    """
    with _told_to_user(job), _held_part(job) as part:
        _copy(made, part, moved, cancelled)
    made.unlink()
    return part_of(job)


@contextlib.contextmanager
def told_as_disk_full(name: str, folder: Path) -> Iterator[None]:
    """
    Let a failure that comes from a full disk say so.

    Args:
        name: of the user's file.
        folder: where was written to.

    Raises:
        DiskFull: in the place of whatever a lack of room led to.
    """
    try:
        yield
    except Exception as error:
        if not is_caused_by(error, NO_ROOM):
            raise
        raise DiskFull(
            f"{name}: the disk of {folder} is full, or its quota is used up;"
            " make room there, then retry the task."
        ) from error


@contextlib.contextmanager
def _held_part(job: Job) -> Iterator[Path]:
    """Hold the result's folder, and yield the path of the hidden name in it."""
    with held_folder(job.outbox, *PurePath(job.subfolder).parts) as folder:
        yield folder / part_of(job).name


@contextlib.contextmanager
def _told_to_user(job: Job) -> Iterator[None]:
    name, folder = job.original.name, job.outbox_folder
    try:
        with told_as_disk_full(name, folder):
            yield
    except OSError as error:
        raise OutputFailed(
            f"{name}: the result cannot be written in {folder}: {error.strerror}."
        ) from error


def _copy(
    source: Path, target: Path, moved: Callable[[float], None], cancelled: Callable[[], bool]
) -> None:
    with source.open("rb", buffering=0) as reading, target.open("xb", buffering=0) as writing:
        size = os.fstat(reading.fileno()).st_size
        copied = flushed = 0
        while chunk := reading.read(_CHUNK_BYTES):
            if cancelled():
                raise Cancelled
            write_all(writing.fileno(), chunk)
            copied += len(chunk)
            if copied - flushed >= _FLUSH_BYTES:
                os.fsync(writing.fileno())
                flushed = copied
            moved(copied / size)
        os.fsync(writing.fileno())
