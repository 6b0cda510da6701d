"""
How the service is, told by itself in `state/service.json`, and what others make of it.

The service writes the file anew every 2 s; commands and web processes read it. It is not
durable, and counts only while the service lives and the file is fresh.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from daemon.atomic import write_volatile
from daemon.disk import shortage, unusable, why_closed

WRITE_SECONDS = 2.0
STALE_SECONDS = 15.0
_NAME = "service.json"
_LOCK = "service.lock"
_MOST_BYTES = 1 << 20


class ServiceStatus(StrEnum):
    """What the service is about."""

    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Workers:
    """How many processes there should be, how many take work, and how many are at work."""

    size: int
    ready: int
    busy: int


@dataclass(frozen=True)
class InboxHealth:
    """
    How one inbox is.

    Attributes:
        watching: how files are found, by `events` or `polling`.
        reason: why it is not available, what it lacks, or why it is watched no better.
        mount: the mount point that it lay in when it was last seen; None while unknown.
    """

    path: str
    is_available: bool
    watching: str
    reason: str | None = None
    mount: str | None = None


@dataclass(frozen=True)
class Health:
    """
    What the service tells of itself.

    Attributes:
        inboxes: by name.
        free_gb: by what a folder is for; None where it cannot be told.
        mounts: where the file systems of outboxes, temp and state are mounted, by folder.
        statuses_until: what changed before then is told in its status file; None while unknown.
        retention_held_until: until when nothing is removed for its age; None where it is not held.
        problems: sentences that say what is wrong and what to do.
        url: where the service's page is, None while nobody answers there.
    """

    pid: int
    started_at: datetime
    updated_at: datetime
    status: ServiceStatus
    workers: Workers
    inboxes: Mapping[str, InboxHealth] = field(default_factory=dict)
    free_gb: Mapping[str, float | None] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    url: str | None = None
    mounts: Mapping[str, str] = field(default_factory=dict)
    statuses_until: datetime | None = None
    retention_held_until: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        values = asdict(self)
        values["started_at"] = self.started_at.isoformat()
        values["updated_at"] = self.updated_at.isoformat()
        for name in ("statuses_until", "retention_held_until"):
            values[name] = values[name] and values[name].isoformat()
        values["free_gb"] = {
            name: None if free is None else round(free, 2) for name, free in self.free_gb.items()
        }
        return values


def write(state: Path, health: Health) -> None:
    """Tell how the service is."""
    text = json.dumps(health.as_dict(), ensure_ascii=False, indent=1)
    write_volatile(state / _NAME, text.encode("utf-8", "backslashreplace") + b"\n")


def end(state: Path) -> None:
    """Tell that the service has ended; the next one finds there how the inboxes lay."""
    last = read(state)
    if last is not None:
        write(state, replace(last, status=ServiceStatus.STOPPED, free_gb={}, problems=(), url=None))


def read(state: Path) -> Health | None:
    """
    Return what a service told last, which may be long ago; None where nothing sensible.

    Nor where the state cannot be read; `trouble_of` tells of that.
    """
    try:
        with (state / _NAME).open("rb") as file:
            return _parsed(json.loads(file.read(_MOST_BYTES)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # not durable: a crash may have emptied it


def known_mounts(state: Path) -> dict[str, str]:
    """Return where inboxes and other folders lay mounted when a service saw them, by folder."""
    told = read(state)
    if told is None:
        return {}
    of_inboxes = {seen.path: seen.mount for seen in told.inboxes.values() if seen.mount}
    return {**told.mounts, **of_inboxes}


def trouble_of(state: Path) -> str | None:
    """
    Return why a service can tell nothing there just now, in a sentence; None where it could.

    For others than the service: a state that is full, locked or away keeps it from telling that.
    """
    try:
        reason = why_closed(state) or shortage(state, 0.0)
    except OSError as error:
        reason = unusable(state, error)
    return None if reason is None else f"state: {reason}"


def is_process_alive(state: Path) -> bool:
    """
    Does a process live with the number of the one that took the state last?

    The lock itself is not tried: a service that starts in that moment would take us for
    another one and give up. Nor is this all: the service may run in another container, or the
    number be another process's by now; so it only tells what may be behind a service's silence.
    """
    try:
        return _lives(int((state / _LOCK).read_bytes()[:32]))
    except (OSError, ValueError):
        return False


def is_fresh(health: Health | None, now: datetime) -> bool:
    """Has the service been heard of lately, and not of its end?"""
    if health is None or health.status is ServiceStatus.STOPPED:
        return False
    return abs(_silence_seconds(health, now)) <= STALE_SECONDS


def problems_now(
    health: Health | None, now: datetime, is_alive: bool, trouble: str | None = None
) -> tuple[str, ...]:
    """
    Return all that is wrong, in sentences that say what to do; empty when all is well.

    Args:
        is_alive: what `is_process_alive` said.
        trouble: what `trouble_of` said; counts while the service is silent.
    """
    if health is not None and is_fresh(health, now):
        return health.problems
    if trouble is not None:  # it may be well, and not be able to say so
        return (trouble,)
    if not is_alive:
        return ("No service runs on this state, so tasks wait; start it: media-cleaner serve.",)
    if health is None or health.status is ServiceStatus.STOPPED:  # it is just starting
        return ("The service has not told yet how it is; look again in some seconds.",)
    return (
        f"The service (process {health.pid}) has not been heard of for"
        f" {_silence_seconds(health, now):.0f} s; look into logs/server.log and restart it.",
    )


def records_to_mend(damaged: Sequence[Path]) -> tuple[str, ...]:
    """Return what is to be done about records that were set aside, in a sentence if there are."""
    if not damaged:
        return ()
    count = f"{len(damaged)} records lie" if len(damaged) > 1 else "A record lies"
    return (
        f"{count} in {damaged[0].parent}, such as {damaged[0].name}; mend what is a task's and"
        " move it back to its status' folder, or move it away.",
    )


def _silence_seconds(health: Health, now: datetime) -> float:
    return (now - health.updated_at).total_seconds()


def _lives(pid: int) -> bool:
    if pid <= 0:  # no process, but all of them
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # another user's
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _parsed(values: Mapping[str, Any]) -> Health:
    until, held_until = values.get("statuses_until"), values.get("retention_held_until")
    return Health(
        pid=int(values["pid"]),
        started_at=_time(values["started_at"]),
        updated_at=_time(values["updated_at"]),
        status=ServiceStatus(values["status"]),
        workers=Workers(**values["workers"]),
        inboxes={name: InboxHealth(**inbox) for name, inbox in values["inboxes"].items()},
        free_gb=dict(values["free_gb"]),
        problems=tuple(str(problem) for problem in values["problems"]),
        url=values.get("url"),
        mounts=dict(values.get("mounts", {})),
        statuses_until=until and _time(until),
        retention_held_until=held_until and _time(held_until),
    )


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError("no offset")
    return moment
