"""
What is removed when its time has come: the table "What removes what" in `docs/FOLDERS.md`.

What may go is decided by the pure functions below `Rules`; whatever is removed of a task is
removed under its lock, after deciding once more. One trouble never stops the next removal; what
a crash, a lock or a missing folder left is met at the next time.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath

from daemon.claim_file import SUFFIX
from daemon.mounts import why_away
from daemon.originals import CLAIMING, ORIGINALS, inbox_of, own_place
from daemon.outbox import remove_status, result_path
from daemon.removal import names_in, remove_file, remove_folder, remove_if_empty
from daemon.spool import Spool
from daemon.spool_errors import RecordDamaged, SpoolError, UnknownTask, WrongStatus
from daemon.task import Status, Task
from daemon.task_id import created_at, is_task_id

MOST_DAYS = 3650  # that a cleanup can be asked for
_ATTEMPT = re.compile(r"([0-9a-f-]{36})\.([0-9a-f]+)")
# Reading 10,000 records takes 1 s of CPU. So a nightly look does not go further back than to tasks
# that took a week from their creation to their end; once a week, and at first, it looks at all.
_WEEK = timedelta(days=7)
# A missing share is one trouble for thousands of tasks.
_MOST_PROBLEMS = 20
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_FAR_AHEAD = datetime(9999, 1, 1, tzinfo=UTC)
# Where folders lay mounted, by folder, as `health.known_mounts` has it.
_Mounts = Mapping[str, str]


class ShareAway(SpoolError):
    """What is to be removed lies on a share that is not mounted now."""

    code = "share_away"


@dataclass(frozen=True)
class Rules:
    """After how many days what may go; None is never."""

    results_days: float | None
    failed_days: float | None
    originals_days: float | None
    records_days: float | None


@dataclass(frozen=True)
class Cleaned:
    """
    What a removal came to.

    Attributes:
        deleted_tasks: tasks that are gone, record and files.
        removed: results, originals and left-overs that are gone, those of deleted tasks too.
        problems: what could not be removed and why, in sentences.
    """

    deleted_tasks: int = 0
    removed: int = 0
    freed_bytes: int = 0
    problems: tuple[str, ...] = ()


def is_due(moment: datetime, days: float | None, now: datetime) -> bool:
    """Have so many days gone by since then? Never, where `days` is None."""
    return days is not None and moment + timedelta(days=days) <= now


def may_lose_result(task: Task, rules: Rules, now: datetime) -> bool:
    """May the result go?"""
    is_done = task.status is Status.COMPLETED
    return is_done and is_due(task.ended_at, rules.results_days, now)


def may_lose_upload(task: Task, rules: Rules, now: datetime) -> bool:
    """May the original go? True only of one that was uploaded."""
    if task.inbox is not None or not task.is_ended:
        return False
    is_done = task.status is Status.COMPLETED
    return is_due(task.ended_at, rules.results_days if is_done else rules.failed_days, now)


def may_lose_dropped(task: Task, rules: Rules, now: datetime) -> bool:
    """May the original and its sidecar go? True only of one that was dropped."""
    if task.inbox is None or not task.is_ended or may_be_retried(task, rules, now):
        return False
    return is_due(task.ended_at, rules.originals_days, now)


def may_be_retried(task: Task, rules: Rules, now: datetime) -> bool:
    """Is its original kept, as that of a task that has ended without a result?"""
    is_done = task.status is Status.COMPLETED
    return not is_done and not is_due(task.ended_at, rules.failed_days, now)


class Retention:
    """Applies the rules, each night."""

    def __init__(self, spool: Spool, inboxes: Iterable[Path], rules: Rules) -> None:
        self._spool = spool
        self._inboxes = tuple(inboxes)
        self._rules = rules
        self._last: datetime | None = None
        self._last_whole: datetime | None = None

    def run(self, now: datetime, mounts: _Mounts) -> Cleaned:
        """
        Remove what may go by now.

        Args:
            mounts: where folders lay mounted; a record of files on a share that is away stays.
        """
        tally = _Tally()
        self._remove_files(now, tally)
        if self._rules.records_days is not None:
            until = now - timedelta(days=self._rules.records_days)
            # A file that is to be kept longer keeps its record: nothing else says what it is.
            _remove_tasks(
                self._spool,
                until,
                tally,
                mounts,
                lambda task: not self._keeps_files(task, now, mounts),
            )
        if self._rules.originals_days is not None:
            for inbox in self._inboxes:
                with tally.noting(f"the originals in {inbox}"):
                    self._remove_dropped(inbox, now, tally)
        return tally.total()

    def _remove_files(self, now: datetime, tally: _Tally) -> None:
        """Remove results, and originals of uploads, of tasks whose records stay."""
        for moment, first in self._looks(now):
            for task in _down_to(first, self._spool.ended_until(moment)):
                if isinstance(task, RecordDamaged):
                    tally.note(task.message)
                elif _has_files(task, self._rules, now):
                    with tally.noting(f"the files of task {task.task_id}"):
                        self._spool.tend(task.task_id, lambda task: self._strip(task, now, tally))

    def _looks(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield until when tasks have ended that are to be seen, and the oldest creation."""
        days = {self._rules.results_days, self._rules.failed_days} - {None}
        last, self._last = self._last, now
        moments = sorted((now - timedelta(days=number or 0) for number in days), reverse=True)
        # Ahead of now: of a clock that has been set back since.
        if last is None or self._last_whole is None or not _is_of_this_week(self._last_whole, now):
            self._last_whole = now
            yield from ((moment, _LONG_AGO) for moment in moments[:1])
        else:
            yield from ((moment, moment - (now - last) - _WEEK) for moment in moments)

    def _keeps_files(self, task: Task, now: datetime, mounts: _Mounts) -> bool:
        result, original = result_path(task), Path(task.original)
        kept: list[tuple[Path, Path]] = []
        if result is not None and not may_lose_result(task, self._rules, now):
            kept.append((result, Path(task.outbox)))
        if task.inbox is None and not may_lose_upload(task, self._rules, now):
            kept.append((original, inbox_of(original)))
        # Without its record nobody knows that it is kept, and `originals_days` alone would count.
        is_limited = task.inbox is not None and self._rules.originals_days is not None
        if is_limited and may_be_retried(task, self._rules, now):
            kept.append((original, inbox_of(original)))
        return any(_may_be_there(path, base, mounts) for path, base in kept)

    def _strip(self, task: Task, now: datetime, tally: _Tally) -> None:
        if may_lose_result(task, self._rules, now):
            tally.add(_remove_result(task))
        if may_lose_upload(task, self._rules, now):
            tally.add(_remove_upload(task))

    def _remove_dropped(self, inbox: Path, now: datetime, tally: _Tally) -> None:
        if not inbox.is_dir():
            return  # a share that is not mounted: the health tells
        kept = self._spool.unseen_ids()
        for day in names_in(inbox, ORIGINALS):
            for task_id in names_in(inbox, ORIGINALS / day):
                if is_task_id(task_id) and task_id not in kept:
                    with tally.noting(f"the original of task {task_id}"):
                        self._remove_one_dropped(inbox, task_id, now, tally)
            # Not of a day whose folder a claim may be about to use.
            if day < (now - timedelta(days=2)).date().isoformat():
                remove_if_empty(inbox, ORIGINALS / day)

    def _remove_one_dropped(self, inbox: Path, task_id: str, now: datetime, tally: _Tally) -> None:
        place = own_place(task_id)
        if not is_due(created_at(task_id), self._rules.originals_days, now):
            return  # whatever became of it since
        # Looked at before the record: a claim goes only after its record has come.
        if os.path.lexists(inbox / CLAIMING / f"{task_id}{SUFFIX}"):
            return

        def act(task: Task) -> None:
            if may_lose_dropped(task, self._rules, now):
                tally.add(remove_folder(inbox, place))

        try:
            self._spool.tend(task_id, act)
        except UnknownTask:
            tally.add(remove_folder(inbox, place))


def cleanup(spool: Spool, days: float, now: datetime, mounts: _Mounts) -> Cleaned:
    """
    Remove the tasks that ended at least `days` ago, with their files; 0 is all that have ended.

    All: also those of a clock that was ahead and has been set back since.

    Args:
        mounts: where folders lay mounted; a task with files on a share that is away stays.
    """
    tally = _Tally()
    _remove_tasks(spool, now - timedelta(days=days) if days else _FAR_AHEAD, tally, mounts)
    return tally.total()


def sweep_temp(temp: Path, is_running: Callable[[str, str], bool]) -> Cleaned:
    """
    Remove the folders of attempts that do not run.

    `is_running` tells it of a task and a token; it is asked after the folders have been listed, so
    that an attempt that has just begun is known.
    """
    tally = _Tally()
    with tally.noting(f"what is left over in {temp}"):
        for name in names_in(temp, PurePath()):
            match = _ATTEMPT.fullmatch(name)
            if match and is_task_id(match[1]) and not is_running(match[1], match[2]):
                with tally.noting(f"the left-over {temp / name}"):
                    # Its own attempt, ending just now, may be faster. No link is followed.
                    with contextlib.suppress(FileNotFoundError):
                        shutil.rmtree(temp / name)
                    tally.removed += 1
    return tally.total()


def _remove_tasks(
    spool: Spool,
    moment: datetime,
    tally: _Tally,
    mounts: _Mounts,
    may_go: Callable[[Task], bool] = lambda task: True,
) -> None:
    for task in spool.ended_until(moment):
        if isinstance(task, RecordDamaged):
            tally.note(task.message)
            continue
        if not may_go(task):
            continue
        with tally.noting(f"task {task.task_id}"):
            spool.remove(task.task_id, lambda task: tally.add(*_remove_all(task, mounts)))
            tally.deleted_tasks += 1


def _down_to(
    first: datetime, found: Iterable[Task | RecordDamaged]
) -> Iterator[Task | RecordDamaged]:
    """Yield what was created then or later; `found` begins with the newest."""
    for item in found:
        if created_at(item.task_id) < first:
            return
        yield item


def _is_of_this_week(moment: datetime, now: datetime) -> bool:
    return timedelta() <= now - moment < _WEEK


def _has_files(task: Task, rules: Rules, now: datetime) -> bool:
    """Is there anything that may go? Looks without the lock, which costs more."""
    result = result_path(task) if may_lose_result(task, rules, now) else None
    upload = task.original if may_lose_upload(task, rules, now) else None
    return any(path is not None and os.path.lexists(path) for path in (result, upload))


def _may_be_there(path: Path, base: Path, mounts: _Mounts) -> bool:
    """Is a file there, or its inbox or outbox away, so that nobody can tell?"""
    if os.path.lexists(path):
        return True
    try:
        base.stat()
        _check_mounted(base, mounts)
    except (ShareAway, OSError):
        return True
    return False


def _check_mounted(base: Path, mounts: _Mounts) -> None:
    """
    Raises:
        ShareAway: what shows there is the folder that the share was mounted on.
        OSError: it was there once and is not, or does not answer.
    """
    known = mounts.get(str(base))
    if (away := why_away(base, known)) is not None:
        raise ShareAway(f"{away}; mount it.")
    if known is not None:
        base.stat()


def _remove_all(task: Task, mounts: _Mounts) -> Iterator[int]:
    # What is not found on a share that is away is not removed, and without its record would stay.
    _check_mounted(Path(task.outbox), mounts)
    if task.inbox is None:
        _check_mounted(inbox_of(Path(task.original)), mounts)
    yield _remove_result(task)
    if task.inbox is None:
        yield _remove_upload(task)
    # Last: while it is there, whoever looks at the outbox knows of the task.
    yield remove_status(task)


def _remove_result(task: Task) -> int:
    if task.output_video is None:
        return 0
    return remove_file(Path(task.outbox), PurePath(task.output_video))


def _remove_upload(task: Task) -> int:
    """Remove the folder that an upload was given; one that lies elsewhere was put there by hand."""
    place = own_place(task.task_id)
    folder = Path(task.original).parent
    if folder.parts[-len(place.parts) :] != place.parts:
        return 0
    return remove_folder(folder.parents[len(place.parts) - 1], place)


@dataclass
class _Tally:
    deleted_tasks: int = 0
    removed: int = 0
    freed_bytes: int = 0
    problems: dict[str, None] = field(default_factory=dict)  # as a set that keeps its order
    unsaid: int = 0

    def add(self, *freed: int) -> None:
        """Count things that were removed, by their bytes; 0 is one that was not there."""
        self.removed += sum(1 for size in freed if size)
        self.freed_bytes += sum(freed)

    def note(self, problem: str) -> None:
        """Keep a problem, if it is new and not one too many."""
        if problem not in self.problems and len(self.problems) >= _MOST_PROBLEMS:
            self.unsaid += 1
        else:
            self.problems[problem] = None

    @contextlib.contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Keep what goes wrong with a removal, and go on after it."""
        try:
            yield
        except (UnknownTask, WrongStatus):
            pass  # removed or retried by somebody else in this moment
        except SpoolError as error:
            self.note(error.message)
        except FileNotFoundError as error:
            self.note(f"{error.filename} is not there; nothing below it was removed.")
        except OSError as error:
            self.note(f"{what} could not be removed: {error.strerror} ({error.filename}).")
        except ValueError as error:
            self.note(f"{what} could not be removed: {error}.")

    def total(self) -> Cleaned:
        """Return what it came to."""
        more = (f"{self.unsaid} more could not be removed.",) if self.unsaid else ()
        return Cleaned(self.deleted_tasks, self.removed, self.freed_bytes, (*self.problems, *more))
