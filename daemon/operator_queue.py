"""
What the operator's commands share: the queue that the configuration names, and how it is shown.

They act on the spool directly, whether a service runs or not.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon import health
from daemon.config import Config, current_config
from daemon.console import complain, printable, say, say_json
from daemon.errors import ConfigError
from daemon.outbox import StatusFiles, results_folder
from daemon.spool import Spool
from daemon.spool_errors import RecordDamaged, SpoolError, TaskBusy
from daemon.task import Status, Task
from daemon.task_view import Language, view


class QueueUnusable(SpoolError):
    """The state may not be read or written by this user, or its disk refuses."""

    code = "queue_unusable"


@dataclass(frozen=True)
class OperatorQueue:
    """The queue of one configuration."""

    config: Config
    spool: Spool
    state: Path

    @property
    def language(self) -> Language:
        """Of status texts."""
        return self.config.language

    def view(self, task: Task, positions: Mapping[str, int]) -> dict[str, Any]:
        """Return a task as JSON can hold it."""
        return view(task, self.language, self.spool.now(), positions.get(task.task_id))

    def positions(self, tasks: Iterable[Task]) -> Mapping[str, int]:
        """Return the places in the queue, 1 for the oldest, if any of these tasks waits."""
        if not any(task.status is Status.PENDING for task in tasks):
            return {}
        return {task_id: n for n, task_id in enumerate(self.spool.pending_ids(), 1)}

    def say_changed(self, task: Task, act: str, as_json: bool) -> None:
        """Say what was done to a task, and have its status file say so."""
        self._refresh(task)
        if as_json:
            say_json(self.view(task, self.positions([task])))
        else:
            say([f"{act}: {task.task_id} ({task.input_video})"])

    def _refresh(self, task: Task) -> None:
        """Write a task's status file; where that fails it is told, and is the service's to do."""
        try:
            mounts = health.known_mounts(self.state)
            StatusFiles(self.spool, self.language, lambda: mounts).refresh(task.task_id)
        except OSError as error:
            place = error.filename or results_folder(task)  # a full disk refuses what has no name
            complain(f"the status file was not written: {error.strerror} ({place}).")
        except TaskBusy as error:
            complain(f"the status file was not written: {error.message}")


@contextlib.contextmanager
def opened_queue(arguments: argparse.Namespace) -> Iterator[OperatorQueue]:
    """
    Open the queue for one command.

    Raises:
        ConfigError: the configuration is wrong, or no queue was ever made where it says.
        QueueUnusable: the queue's files cannot be used.
    """
    config = current_config(arguments.config)
    state = config.place(config.state)
    try:
        if not state.is_dir():
            # Most likely the wrong folder to call from; a new, empty queue would only hide that.
            raise ConfigError(
                f"there is no queue at {state}; name the configuration by --config,"
                " or start the service, which makes it."
            )
        yield OperatorQueue(config, Spool(state), state)
    except OSError as error:
        raise unusable("the queue", state, error) from error


def unusable(what: str, folder: Path, error: OSError) -> QueueUnusable:
    """Return that files in a folder cannot be used, in a sentence that says what to do."""
    what_to_do = _WHAT_TO_DO.get(error.errno or 0, "`media-cleaner doctor` looks into that")
    return QueueUnusable(
        f"{what} cannot be used: {error.strerror} ({error.filename or folder}); {what_to_do}."
    )


_WHAT_TO_DO = {
    errno.EACCES: "call this as the service's user",
    errno.EPERM: "call this as the service's user",
    errno.EEXIST: "no folder is there; move it away",
    errno.EISDIR: "a folder is there; move it away",
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "let it be written to again",
}


def tell_damaged(damaged: Sequence[RecordDamaged]) -> None:
    """Say in one line which records were found damaged on the way."""
    if len(damaged) == 1:
        complain(damaged[0].message)
    elif damaged:
        complain(
            f"{len(damaged)} records are damaged and lie in {damaged[0].path.parent} now, such as"
            f" {damaged[0].path.name} ({damaged[0].reason}); mend or move them away."
        )


def local_time(moment: datetime | None) -> str:
    """Return a time as people of this place write it; empty for none."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def fitted(text: str, width: int) -> str:
    """Return `text` as it can be printed in exactly so many columns."""
    text = printable(text)
    if _columns(text) > width:
        while text and _columns(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _columns(text))


def _columns(text: str) -> int:
    return sum(_width(c) for c in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or character == "\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
