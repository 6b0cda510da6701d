"""
The same request sent twice makes one task: which request, by its key, made which.

`state/idempotency/<hash of caller and key>.json` holds the `task_id` and the digest of what was
sent. It is durable before the task is, so a crash between them leaves an entry without a task,
which counts for nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from daemon.atomic import make_folder, write_atomically
from daemon.locks import task_lock, try_lock
from daemon.logs import server_log
from daemon.task import Task

FOLDER = "idempotency"
KEPT_SECONDS = 7 * 24 * 3600.0
_SUFFIX = ".json"
_LONGEST_ENTRY = 1000  # bytes


class OtherContent(Exception):
    """The key was used for something else."""


@dataclass(frozen=True)
class _Entry:
    task_id: str
    digest: str


class Idempotency:
    """Remembers for any number of threads and processes."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        """
        Args:
            folder: made where it is missing.
            clock: seconds since the epoch.
        """
        self._folder = folder
        self._clock = clock

    def once(
        self,
        caller: str,
        key: str,
        digest: str,
        find: Callable[[str], Task | None],
        task_id: str,
        make: Callable[[str], Task],
    ) -> Task:
        """
        Return the task that this key has made, or make it.

        Args:
            caller: the keys of one are nothing to another.
            digest: of all that was sent.
            find: returns a task, None where there is none, or no longer.
            task_id: for `make`, which makes the task of this name.

        Raises:
            OtherContent: the key has made a task of something else.
            TaskBusy: the same request is carried out just now, and takes long.
        """
        name = _name(caller, key)
        make_folder(self._folder)
        # While it is held the task's own lock is taken, and never the other way round.
        with task_lock(self._folder, name):
            path = self._path(name)
            known = self._read(path)
            task = None if known is None else find(known.task_id)
            if known is not None and task is not None:
                if known.digest != digest:
                    raise OtherContent
                return task
            entry = _Entry(task_id, digest)
            write_atomically(path, json.dumps(asdict(entry)).encode("ascii") + b"\n")
            return make(task_id)

    def has_made(self, caller: str, key: str, find: Callable[[str], Task | None]) -> bool:
        """Is there a task that this key has made, of whatever? As for `once`."""
        known = self._read(self._path(_name(caller, key)))
        return known is not None and find(known.task_id) is not None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def _read(self, path: Path) -> _Entry | None:
        try:
            with path.open("rb") as file:
                if self._clock() - os.fstat(file.fileno()).st_mtime > KEPT_SECONDS:
                    return None
                values = json.loads(file.read(_LONGEST_ENTRY))
            return _Entry(str(values["task_id"]), str(values["digest"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            server_log().warning(
                "what a repeated request made is not known", path=str(path), reason=str(error)
            )
            return None


def _name(caller: str, key: str) -> str:
    return hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()


def sweep(folder: Path, now: float) -> int:
    """
    Remove what is older than a week; return how much that was.

    Args:
        now: seconds since the epoch.
    """
    with contextlib.suppress(FileNotFoundError):
        # Listed as a whole first: names come and go while they are removed.
        files = [Path(entry.path) for entry in os.scandir(folder) if entry.is_file()]
        return sum(_removed_if_old(path, now) for path in files)
    return 0


def _removed_if_old(path: Path, now: float) -> bool:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        if now - os.fstat(file.fileno()).st_mtime <= KEPT_SECONDS:
            return False
        # An entry is held by nobody; a lock that somebody holds is as old as its last holder.
        if try_lock(file.fileno()):
            path.unlink()
            return True
    return False
