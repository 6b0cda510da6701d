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
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from daemon.atomic import move_atomically, remove, sync_folder
from daemon.disk import free_gb
from daemon.held_folder import held_new_folder, held_own_folder
from daemon.inbox_place import find_place, make_place
from daemon.logs import queue_log, server_log
from daemon.originals import OWN_FOLDER, own_place
from daemon.outbox import StatusFiles
from daemon.removal import remove_folder
from daemon.spool import Spool
from daemon.spool_errors import RecordDamaged, SpoolError, UnknownTask
from daemon.task import Submission, Task
from daemon.task_id import is_task_id
from pipeline.parameters import Parameters

_UPLOADS = "uploads"
_PART = ".part"
# As those of a claim: the operator's group may look after videos, the rest of the machine not.
_FOLDER_MODE = 0o750
_FILE_MODE = 0o640
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
_LONGEST_NAME = 255  # bytes
# Asking the file system costs little, but not nothing.
_LOOK_BYTES = 64 << 20
# What is younger may not have been locked yet by whoever made it.
_QUIET_SECONDS = 60.0


class TooLarge(Exception):
    """The file has more bytes than are allowed."""


class NoRoom(Exception):
    """There is less free space than there has to be; the message says where."""


class UploadedFile:
    """A file that is arriving. Nothing of it is left unless it is accepted."""

    def __init__(
        self, descriptor: int, part: Path | None, max_bytes: int, look: Callable[[], None]
    ) -> None:
        """
        Args:
            part: its name, where it has to have one.
            look: called now and then while it grows, to raise what stands against that.
        """
        self.size = 0
        self._descriptor = descriptor
        self._part = part
        self._max_bytes = max_bytes
        self._look = look
        self._look_at = _LOOK_BYTES

    def write(self, data: bytes) -> None:
        """
        Add to the file.

        Raises:
            TooLarge: it would have more bytes than are allowed.
            NoRoom: the disk fills up.
            OSError: ENOSPC and the like.
        """
        self.size += len(data)
        if self.size > self._max_bytes:
            raise TooLarge
        if self.size >= self._look_at:
            self._look()
            self._look_at = self.size + _LOOK_BYTES
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Yield a descriptor that can only be read from."""
        descriptor = os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def flush(self) -> None:
        """Bring all of it to the disk."""
        os.fsync(self._descriptor)

    def name(self, path: Path) -> None:
        """
        Give it a name; durable.

        Raises:
            FileExistsError: that is taken.
        """
        if self._part is not None:
            move_atomically(self._part, path)
            return
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Given a folder, Python follows the link to the file itself; else it links the link.
            os.link(f"/proc/self/fd/{self._descriptor}", path.name, dst_dir_fd=folder)
        finally:
            os.close(folder)
        sync_folder(path.parent)

    def close(self) -> None:
        """Let go of it."""
        if self._part is not None:
            self._part.unlink(missing_ok=True)
        os.close(self._descriptor)


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
            left = free_gb(_existing(folder)) - coming_bytes / (1 << 30)
            if left < self._min_free_gb:
                raise NoRoom(f"{folder} would have {left:.1f} GB free")
            coming_bytes = 0  # they come to the inbox, which is the first

    @contextlib.contextmanager
    def new_file(self) -> Iterator[UploadedFile]:
        """Yield a file to write to."""
        with held_new_folder(self._inbox, OWN_FOLDER, _UPLOADS, mode=_FOLDER_MODE) as folder:
            file = _new_file(folder, self.max_bytes, self.check_room)
            try:
                yield file
            finally:
                file.close()

    def accept(self, file: UploadedFile, name: str, parameters: Parameters, task_id: str) -> Task:
        """
        Make a task of a file that is there as a whole; durable.

        Args:
            name: from `safe_name`.
            task_id: from the spool's `new_id`.

        Raises:
            QueueFull: as many tasks are pending as are allowed.
            OSError: it could not be kept.
        """
        file.flush()
        with self._marked(task_id), self._home(task_id) as home:
            file.name(home / name)
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
            with held_new_folder(self._inbox, *names, mode=_FOLDER_MODE) as home:
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
        with held_new_folder(self._inbox, OWN_FOLDER, _UPLOADS, mode=_FOLDER_MODE) as folder:
            mark = folder / task_id
            descriptor = _locked_new(mark)
            try:
                sync_folder(folder)
                yield
            finally:
                # Where neither is so, or nobody can tell, `sweep` will look again.
                if _is_known(self._spool, task_id) or not self._has_home(task_id):
                    mark.unlink()
                os.close(descriptor)

    def _has_home(self, task_id: str) -> bool:
        return os.path.lexists(self._inbox / own_place(task_id))

    def _told(self, task: Task) -> Task:
        """Write the status file; where that fails the task is accepted all the same."""
        try:
            return self._statuses.refresh(task.task_id) or task
        except OSError as error:
            server_log().warning("status file not written", task_id=task.task_id, reason=str(error))
            return task


def safe_name(name: str) -> str:
    """
    Return a client's name of a file as one that can stand in a folder.

    Its last part, without control characters, and short enough with its ending whole.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    clean = "".join("_" if ord(c) < 32 or 127 <= ord(c) < 160 else c for c in last)
    path = PurePath(clean)
    room = _LONGEST_NAME - len(path.suffix.encode())
    if len(clean.encode()) <= _LONGEST_NAME or room < 1:
        return clean.encode()[:_LONGEST_NAME].decode("utf-8", "ignore")
    return path.stem.encode()[:room].decode("utf-8", "ignore") + path.suffix


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
    if not (is_task_id(task_id) or task_id.endswith(_PART)) or not _is_left_over(path, now):
        return False
    if is_task_id(task_id):
        is_known = _is_known(spool, task_id)
        if is_known is None:
            return False
        if not is_known:
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
        if not stat.S_ISREG(status.st_mode) or now - status.st_mtime < _QUIET_SECONDS:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _new_file(folder: Path, max_bytes: int, look: Callable[[], None]) -> UploadedFile:
    try:
        return UploadedFile(_unnamed(folder), None, max_bytes, look)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
    part = folder / f"{secrets.token_hex(16)}{_PART}"
    return UploadedFile(_locked_new(part), part, max_bytes, look)


def _unnamed(folder: Path) -> int:
    return os.open(folder, os.O_TMPFILE | os.O_RDWR, _FILE_MODE)


def _locked_new(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _FILE_MODE)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


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
