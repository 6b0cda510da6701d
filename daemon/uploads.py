"""
Takes an uploaded file: from the bytes that arrive to a folder of its own, and into the queue.

While it arrives a file has no name: it lies on the inbox's own file system, and is gone with
the process that receives it. Where the file system knows no files without a name, it has one
in `uploads/`. An accepted file gets its name in the task's folder before the task is in the
queue; as long as both are not durable a mark in `uploads/` tells of the folder, and `sweep`
removes what a crash in between has left. Where the bytes come from is the web's business.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from daemon.atomic import remove, sync_folder
from daemon.disk import FULL_GB, free_gb, in_words
from daemon.held_folder import held_new_folder, held_own_folder
from daemon.inbox_place import InboxUnavailable, find_place, make_place
from daemon.logs import queue_log, server_log
from daemon.names import is_name_refused
from daemon.originals import OWN_FOLDER, own_place
from daemon.outbox import StatusFiles
from daemon.removal import remove_folder
from daemon.spool import Spool
from daemon.spool_errors import RecordDamaged, SpoolError, TaskBusy, UnknownTask
from daemon.task import Submission, Task
from daemon.task_id import is_task_id
from daemon.uploaded_file import PART, UploadedFile, is_held, locked_name, new_file
from pipeline.parameters import Parameters

_UPLOADS = "uploads"
# As those of a claim: the operator's group may look after videos, the rest of the machine not.
_FOLDER_MODE = 0o750
# What is younger may be somebody's: locked a moment later, or on a share that knows no locks.
_QUIET_SECONDS = 600.0


class NoRoom(Exception):
    """There is less free space than there has to be; the message says where."""


class NameRefused(Exception):
    """The inbox's file system cannot hold the file's name."""


class Uploads:
    """
    Receives files on the file system of one inbox, for any number of threads.

    Attributes of a task that come from here: its original lies below `inbox`, its results go to
    `outbox`, in a folder of its user.
    """

    def __init__(
        self,
        inbox: Path,
        outbox: Path,
        spool: Spool,
        statuses: StatusFiles,
        max_pending: int,
        max_bytes: int,
        min_free_gb: float,
        needs_room: tuple[Path, ...],
        known_mount: Callable[[], str | None],
    ) -> None:
        """
        Args:
            needs_room: folders that must have `min_free_gb`, beside the inbox.
            known_mount: the mount point that the inbox lay in when the service saw it last.
        """
        self.max_bytes = max_bytes
        self._inbox = inbox
        self._outbox = outbox
        self._spool = spool
        self._statuses = statuses
        self._max_pending = max_pending
        self._min_free_gb = min_free_gb
        self._needs_room = (inbox, *needs_room)
        self._known_mount = known_mount
        self._was_there = False

    def check_room(self, coming_bytes: int = 0) -> None:
        """
        Look whether so many bytes may come.

        Raises:
            NoRoom: there is too little free space, or would be then.
            InboxUnavailable: the inbox is away.
        """
        known_mount = self._known_mount()
        if not self._was_there:
            make_place(self._inbox, known_mount)
        find_place(self._inbox, known_mount)
        self._was_there = True
        for folder in self._needs_room:
            free = free_gb(_existing(folder))
            left = None if free is None else free - coming_bytes / (1 << 30)
            if left is not None and left < max(self._min_free_gb, FULL_GB):
                raise NoRoom(f"{folder} would have {in_words(left)} free")
            coming_bytes = 0  # they come to the inbox, which is the first

    @contextlib.contextmanager
    def new_file(self) -> Iterator[UploadedFile]:
        """
        Yield a file to write to.

        Raises:
            InboxUnavailable: what stands in the place of our own folder there is not ours.
        """
        with self._folder() as folder, new_file(folder, self.max_bytes, self.check_room) as file:
            yield file

    def accept(self, file: UploadedFile, name: str, parameters: Parameters, task_id: str) -> Task:
        """
        Make a task of a file that is there as a whole; durable.

        Args:
            name: from `safe_name`.
            task_id: from the spool's `new_id`.

        Raises:
            QueueFull: as many tasks are pending as are allowed.
            InboxUnavailable: as `new_file` says.
            NameRefused
            OSError: it could not be kept.
        """
        file.flush()
        with self._marked(task_id), self._home(task_id) as home:
            try:
                file.name(home / name)
            except OSError as error:
                if is_name_refused(error):
                    raise NameRefused(name) from error
                raise
            task = self._spool.submit(
                self._submission(name, parameters, task_id), self._max_pending
            )
        queue_log().info(
            "accepted",
            task_id=task_id,
            video=name,
            bytes=file.size,
            user_id=parameters.user_id,
            by="upload",
        )
        return self._told(task)

    def _submission(self, name: str, parameters: Parameters, task_id: str) -> Submission:
        return Submission(
            task_id=task_id,
            input_video=name,
            original=str(self._inbox.joinpath(own_place(task_id), name)),
            outbox=str(self._outbox),
            subfolder=parameters.user_id or "",
            parameters=parameters,
        )

    @contextlib.contextmanager
    def _home(self, task_id: str) -> Iterator[Path]:
        """Hold the task's own folder; it is removed again where no task comes of it."""
        names = own_place(task_id).parts
        try:
            with self._held(*names) as home:
                yield home
        except BaseException:
            if _is_known(self._spool, task_id) is False:
                self._remove_home(task_id)
            raise

    def _remove_home(self, task_id: str) -> None:
        try:
            remove_folder(self._inbox, own_place(task_id))
        except OSError as error:  # what went wrong before is what the caller wants to know
            server_log().warning(
                "what an upload left is not removed yet", task_id=task_id, reason=str(error)
            )

    @contextlib.contextmanager
    def _marked(self, task_id: str) -> Iterator[None]:
        """Have a mark tell of the task's folder until both can do without."""
        with self._folder() as folder, locked_name(folder / task_id) as mark:
            try:
                sync_folder(folder)
                yield
            finally:
                # Where neither is so, or nobody can tell, `sweep` will look again.
                if _is_known(self._spool, task_id) or not self._has_home(task_id):
                    mark.unlink()

    def _folder(self) -> AbstractContextManager[Path]:
        return self._held(OWN_FOLDER, _UPLOADS)

    @contextlib.contextmanager
    def _held(self, *names: str) -> Iterator[Path]:
        """Hold a folder of ours in the inbox, making it where it is not there."""
        with contextlib.ExitStack() as held:
            try:
                folder = held_new_folder(self._inbox, *names, mode=_FOLDER_MODE)
                path = held.enter_context(folder)
            except (PermissionError, NotADirectoryError) as error:
                # Somebody else made what stands there, or may write to it.
                raise InboxUnavailable(f"{error.filename}: {error.strerror}") from error
            yield path

    def _has_home(self, task_id: str) -> bool:
        return os.path.lexists(self._inbox / own_place(task_id))

    def _told(self, task: Task) -> Task:
        """Write the status file; where that fails the task is accepted all the same."""
        try:
            return self._statuses.refresh(task.task_id) or task
        except (OSError, TaskBusy) as error:
            server_log().warning("status file not written", task_id=task.task_id, reason=str(error))
            return task


def sweep(inbox: Path, spool: Spool, now: float) -> int:
    """
    Remove what uploads have left that were killed; return how many there were.

    Args:
        now: seconds since the epoch.

    Raises:
        OSError: the inbox is not there, or cannot be written.
    """
    try:
        with held_own_folder(inbox, OWN_FOLDER, _UPLOADS) as folder:
            return sum(_swept(inbox, spool, folder / name, now) for name in os.listdir(folder))
    except FileNotFoundError:
        if not inbox.is_dir():
            raise
        return 0


def _swept(inbox: Path, spool: Spool, path: Path, now: float) -> bool:
    task_id = path.name
    if not (is_task_id(task_id) or task_id.endswith(PART)) or not _is_left_over(path, now):
        return False
    if is_task_id(task_id):
        is_known = _is_known(spool, task_id)
        if is_known is None:
            return False
        if not is_known and task_id not in spool.unseen_ids():
            remove_folder(inbox, own_place(task_id))
    with contextlib.suppress(FileNotFoundError):
        remove(path)
    return True


def _is_left_over(path: Path, now: float) -> bool:
    """Is it some time old, and nobody's who lives?"""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False  # ended just now; or something that is not ours
    try:
        status = os.fstat(descriptor)
        is_old = stat.S_ISREG(status.st_mode) and now - status.st_mtime >= _QUIET_SECONDS
        return is_old and not is_held(descriptor)
    finally:
        os.close(descriptor)


def _is_known(spool: Spool, task_id: str) -> bool | None:
    """Is there a task of this name? None where nobody can tell."""
    try:
        spool.get(task_id)
    except UnknownTask:
        return False
    except RecordDamaged:
        return True  # for the operator to mend
    except (SpoolError, OSError):
        return None
    return True


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
