"""
Takes a dropped file: from the visible inbox to a folder of its own, and into the queue.

The steps, what is on disk after each, and what a start does about one that was cut short are
in `docs/FOLDERS.md`. Which file is ready is the watcher's business. Whoever may write to the
inbox may put a link in any place at any time: none below the inbox is ever followed.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath

from daemon.atomic import move_atomically, remove, sync_folder, temporary_of, write_new
from daemon.claim_file import SUFFIX, BadClaim, Claim, encode, read_claim
from daemon.claim_moves import Changed, Moves
from daemon.held_folder import held_folder, held_new_folder, held_own_folder
from daemon.logs import Once, server_log
from daemon.originals import CLAIMING, own_place
from daemon.pending_limit import PendingLimit
from daemon.sidecar import SidecarError, parameters_without_sidecar, read_sidecar
from daemon.size_limit import too_large
from daemon.spool import Spool
from daemon.spool_errors import QueueFull, RecordDamaged, SpoolError, UnknownTask
from daemon.stability import Stamp
from daemon.task import Failure, Submission, Task
from pipeline.parameters import Parameters

_DAMAGED = ".damaged"
# Videos of people: the operator's group may look after them, the rest of the machine not. It
# also keeps what is ours from those who may write to the inbox.
_MODE = 0o750
_HELD = "/proc/self/fd/"
# For what can no longer be put back, and so is accepted already.
_NO_LIMIT = 1 << 62
_UNFINISHED = "claim not finished"


@dataclass(frozen=True)
class Found:
    """
    A file that is ready to be taken.

    Attributes:
        subfolder: of the inbox, "" for none.
        video, sidecar: names in it; `sidecar` is None for none.
        stamp: the video's, by which it is recognised.
        refused: why the sidecar that it has cannot be read, or even be taken; None for no such.
    """

    subfolder: str
    video: str
    sidecar: str | None
    stamp: Stamp
    refused: str | None = None


class Claims:
    """
    Takes the files of one inbox, one after the other, for any number of threads.

    Attributes of a task that come from here: its files lie below `root`, its results go to
    `outbox`, `defaults` hold where its sidecar says nothing.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        outbox: Path,
        defaults: Parameters,
        spool: Spool,
        max_pending: int,
        max_bytes: int,
        allow_private: bool = False,
    ) -> None:
        """`allow_private`: may a sidecar's webhook lead to this machine or a private network?"""
        self._allow_private = allow_private
        self._name = name
        self._root = root
        self._outbox = outbox
        self._defaults = defaults
        self._spool = spool
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._limit = PendingLimit(lambda: len(spool.pending_ids()))
        self._lock = threading.Lock()
        self._once = Once(server_log(), level=logging.ERROR)  # a file that somebody waits for
        self._are_left = False

    @property
    def are_left(self) -> bool:
        """Were there claims that the last `recover` could not finish?"""
        return self._are_left

    def claim(self, found: Found) -> Task | None:
        """
        Take a file; None where it is gone or no longer as it was found, and is left alone.

        A file that is too large, or has a wrong sidecar, is a task too, and has failed.

        Raises:
            QueueFull: as many tasks are pending as are allowed; the file is where it was.
            OSError: it could not be taken, and is where it was; or, where not even that could
                be done, `recover` will finish the claim.
        """
        with self.session() as claim:
            return claim(found)

    @contextlib.contextmanager
    def session(self) -> Iterator[Callable[[Found], Task | None]]:
        """
        Take several files at a stretch: yields what is `claim` for each of them.

        The folders that each needs are opened once, so it should not last for long.
        """
        with self._lock, _Folders(self._root) as folders:

            def claim(found: Found) -> Task | None:
                with self._told(found):
                    return self._claimed(found, folders)

            yield claim

    def recover(self) -> list[Task]:
        """
        Finish or undo the claims that were cut short; return the tasks that came of it.

        For the start, and whenever the inbox has come back. What was moved counts as accepted,
        so no limit applies.

        Raises:
            OSError: the inbox cannot be read, or what is in the place of our folder is not ours.
        """
        with self._lock, ExitStack() as held:
            self._are_left = False
            try:
                claiming = held.enter_context(held_own_folder(self._root, *CLAIMING.parts))
            except FileNotFoundError:
                return []
            tasks = [self._recovered(claiming, name) for name in sorted(os.listdir(claiming))]
            return [task for task in tasks if task is not None]

    # --- A claim ---

    def _claimed(self, found: Found, folders: _Folders) -> Task | None:
        if not self._limit.has_room(self._max_pending):
            raise QueueFull(self._max_pending)
        try:
            dropped = folders.dropped(found.subfolder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not _is_as_found(dropped, found):
            return None
        claim = Claim(
            self._spool.new_id(), found.subfolder, found.video, found.sidecar, found.refused
        )
        record = folders.own(CLAIMING) / claim.file_name
        write_new(record, encode(claim))
        with _new_home(claim, record, folders) as home:
            return self._carried_out(Moves(claim, dropped, home), record, found.stamp)

    def _carried_out(self, moves: Moves, record: Path, stamp: Stamp) -> Task | None:
        try:
            moves.take(stamp)
            task = self._submitted(moves, self._max_pending)
        except Exception as error:
            if self._is_known(moves.claim.task_id):
                raise  # it is a task; whether for good, nobody can tell: `recover` will look
            if not moves.put_back():
                return self._finished(moves, record)
            self._remove_home(moves.claim)
            remove(record)
            if isinstance(error, Changed):
                return None
            raise
        _end(record)
        return task

    def _finished(self, moves: Moves, record: Path) -> Task:
        """Do what is left of a claim whose video has been moved."""
        moves.finish()
        task = self._submitted(moves, _NO_LIMIT)
        _end(record)
        return task

    def _submitted(self, moves: Moves, max_pending: int) -> Task:
        claim, home = moves.claim, self._root / own_place(moves.claim.task_id)
        parameters, failure = self._wishes(moves)
        has_sidecar = claim.sidecar is not None and os.path.lexists(moves.home / claim.sidecar)
        submission = Submission(
            task_id=claim.task_id,
            input_video=claim.video,
            original=str(home / claim.video),
            sidecar=str(home / str(claim.sidecar)) if has_sidecar else None,
            inbox=self._name,
            subfolder=claim.subfolder,
            outbox=str(self._outbox),
            parameters=parameters,
        )
        try:
            return self._spool.submit(submission, max_pending, failure)
        except OSError as error:
            reason = f"cannot be put into the queue: {error.strerror}"
            raise OSError(error.errno, reason, self._visible(claim)) from error

    def _wishes(self, moves: Moves) -> tuple[Parameters, Failure | None]:
        """Return what is asked for, and why it cannot be done."""
        claim = moves.claim
        parameters, failure = parameters_without_sidecar(claim.subfolder, self._defaults), None
        if claim.refused is not None:
            failure = SidecarError("invalid_sidecar", claim.refused).failure
        elif claim.sidecar is not None:
            try:
                path = moves.home / claim.sidecar
                parameters = read_sidecar(
                    path, claim.subfolder, self._defaults, self._allow_private
                )
            except SidecarError as error:
                failure = error.failure
        size = os.lstat(moves.home / claim.video).st_size
        return parameters, too_large(claim.video, size, self._max_bytes) or failure

    # --- A claim that was cut short ---

    def _recovered(self, claiming: Path, name: str) -> Task | None:
        shown = str(self._root / CLAIMING / name)
        try:
            task = self._read_and_ended(claiming / name)
        except Exception as error:
            # Whatever it was: it stays for the next time, and must not hold up the others.
            self._are_left = True
            is_foreseen = isinstance(error, OSError | SpoolError)
            self._once.tell(
                _UNFINISHED, True, of=shown, reason=_why(error), exc_info=not is_foreseen
            )
            return None
        self._once.tell(_UNFINISHED, False, of=shown)
        return task

    def _read_and_ended(self, path: Path) -> Task | None:
        if temporary_of(path.name) is not None:
            remove(path)
            return None
        if path.suffix != SUFFIX:
            return None
        try:
            return self._brought_to_an_end(read_claim(path), path)
        except BadClaim as error:
            shown = str(self._root / CLAIMING / path.name)
            server_log().error("claim is damaged", path=shown, reason=str(error))
            _set_aside(path)
            return None

    def _brought_to_an_end(self, claim: Claim, record: Path) -> Task | None:
        with ExitStack() as held:
            home = _entered(held, held_own_folder(self._root, *own_place(claim.task_id).parts))
            subfolder = PurePath(claim.subfolder)
            dropped = _entered(held, held_folder(self._root, *subfolder.parts))
            moves = None if home is None else Moves(claim, dropped, home)
            if moves is None or not moves.has_original():
                self._remove_home(claim)
            elif not self._is_known(claim.task_id):
                return self._finished(moves, record)
            remove(record)
            return None

    def _is_known(self, task_id: str) -> bool:
        try:
            self._spool.get(task_id)
        except UnknownTask:
            # One that was set aside is for the operator to mend, not to be made anew.
            return task_id in self._spool.unseen_ids()
        except RecordDamaged:
            return True
        return True

    # --- Folders ---

    def _remove_home(self, claim: Claim) -> None:
        place = own_place(claim.task_id)
        with ExitStack() as held:
            day = _entered(held, held_own_folder(self._root, *place.parent.parts))
            if day is None:
                return
            try:
                os.rmdir(day / place.name)
            except (FileNotFoundError, NotADirectoryError):
                return
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # what somebody else put there is not ours
                    raise
            sync_folder(day)

    @contextlib.contextmanager
    def _told(self, found: Found) -> Iterator[None]:
        """Have an error name the file as people know it, not the folder that we hold."""
        try:
            yield
        except OSError as error:
            if error.filename is not None and not str(error.filename).startswith(_HELD):
                raise
            raise OSError(error.errno, _reason(error), self._visible(found)) from error

    def _visible(self, file: Found | Claim) -> str:
        return str(self._root / file.subfolder / file.video)


class _Folders:
    """Folders of an inbox that are held open, each from when it is asked for first."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._held = ExitStack()
        self._paths: dict[tuple[PurePath, bool], Path] = {}

    def __enter__(self) -> _Folders:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def dropped(self, subfolder: str) -> Path:
        """
        Return the path of a folder that files are dropped into.

        Raises:
            FileNotFoundError, NotADirectoryError: as `held_folder`.
        """
        place = PurePath(subfolder)
        return self._open(place, False, lambda: held_folder(self._root, *place.parts))

    def own(self, place: PurePath) -> Path:
        """
        Return the path of a folder that is the service's alone, which is made if need be.

        Raises:
            OSError: as `held_new_folder`.
        """
        return self._open(
            place, True, lambda: held_new_folder(self._root, *place.parts, mode=_MODE)
        )

    def _open(
        self, place: PurePath, is_own: bool, opened: Callable[[], AbstractContextManager[Path]]
    ) -> Path:
        if (place, is_own) not in self._paths:
            self._paths[place, is_own] = self._held.enter_context(opened())
        return self._paths[place, is_own]


@contextlib.contextmanager
def _new_home(claim: Claim, record: Path, folders: _Folders) -> Iterator[Path]:
    place = own_place(claim.task_id)
    with ExitStack() as held:
        try:
            day = folders.own(place.parent)
            home = held.enter_context(held_new_folder(day, place.name, mode=_MODE))
        except BaseException:
            remove(record)  # nothing has been moved yet
            raise
        yield home


def _is_as_found(dropped: Path, found: Found) -> bool:
    try:
        video = os.lstat(dropped / found.video)
        sidecar = None if found.sidecar is None else os.lstat(dropped / found.sidecar)
    except FileNotFoundError:
        return False
    are_files = all(stat.S_ISREG(s.st_mode) for s in (video, sidecar) if s is not None)
    return are_files and Stamp.of(video) == found.stamp


def _end(record: Path) -> None:
    try:
        # Not flushed, which takes a tenth of a claim's time: the task is accepted, and a claim
        # too many is removed at the next start.
        os.unlink(record)
    except OSError as error:
        server_log().warning("claim not removed", task_id=record.stem, reason=str(error))


def _entered(held: ExitStack, folder: AbstractContextManager[Path]) -> Path | None:
    """Hold a folder as long as `held`; None where it is not there, or a link is."""
    try:
        return held.enter_context(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _set_aside(path: Path) -> None:
    for number in itertools.count():
        end = f"{_DAMAGED}.{number}" if number else _DAMAGED
        with contextlib.suppress(FileExistsError):
            move_atomically(path, path.with_name(path.name + end))
            return


def _why(error: Exception) -> str | None:
    if isinstance(error, OSError):
        return _reason(error)
    return error.message if isinstance(error, SpoolError) else repr(error)


def _reason(error: OSError) -> str | None:
    if error.errno == errno.EXDEV:
        return "lies on another file system than its inbox; make that folder an inbox of its own"
    return error.strerror
