"""
What the service does by the clock. Knows when, not what.

A job never overlaps with itself; runs that were missed, as while the machine slept, are made up
for by one. A job that raises is one line of level ERROR in server.log, and has its next turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfoNotFoundError

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from tzlocal import get_localzone

from daemon.logs import server_log

# Less than that is no setting of the clock.
_CORRECTION_SECONDS = 1.0


@dataclass(frozen=True)
class Every:
    """A job that runs so often."""

    name: str
    seconds: float
    act: Callable[[], object]


@dataclass(frozen=True)
class Daily:
    """A job that runs at this hour of the machine's own time."""

    name: str
    hour: int
    act: Callable[[], object]


def _steady_seconds() -> float:
    """Return seconds that nobody sets, and that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClockWatch:
    """Notices that the machine's clock was set. For one thread at a time."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = _steady_seconds,
    ) -> None:
        self._clock, self._steady = clock, steady
        self._lead = clock() - steady()

    def seconds_set(self) -> float:
        """
        Return by how much it was set forward since the last call, less than 0 for back.

        0 for what is no more than a correction.
        """
        lead = self._clock() - self._steady()
        moved, self._lead = lead - self._lead, lead
        return moved if abs(moved) > _CORRECTION_SECONDS else 0.0


class Schedule:
    """
    Runs jobs in threads of its own, from `start` to `stop`.

    Where the clock is set back, what is planned waits until the clock is there again, for a year if
    need be: it is to be made anew then.
    """

    def __init__(self, jobs: Iterable[Every | Daily]) -> None:
        listed = list(jobs)
        # As many threads as jobs, so that one that hangs in a share holds up no other.
        executor = ThreadPoolExecutor(max(1, len(listed)))
        self._scheduler = BackgroundScheduler(
            executors={"default": executor}, job_defaults=_DEFAULTS, timezone=_local_zone()
        )
        for job in listed:
            self._scheduler.add_job(_guarded(job), id=job.name, name=job.name, **_trigger(job))
        self._scheduler.add_listener(_tell_too_slow, EVENT_JOB_MAX_INSTANCES)
        # It would say the same, as a warning each time.
        logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)

    def start(self) -> None:
        """Begin; the first turn of each job comes when its time has gone by."""
        self._scheduler.start()

    def stop(self) -> None:
        """Begin nothing more. What runs comes to its end by itself, and is not waited for."""
        self._scheduler.shutdown(wait=False)


def _local_zone() -> tzinfo:
    """Return the machine's time zone; one that is no name, such as `MSK-3`, as its offset."""
    try:
        return get_localzone()
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the last: TZ names a folder
        return datetime.now().astimezone().tzinfo or UTC


_DEFAULTS = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}


class _Again(BaseTrigger):
    """
    So long after each turn the next.

    APScheduler's own counts what was missed, turn by turn: where the clock is set forward from
    1970, as on a machine without a battery, that takes hours, and memory by the gigabyte.
    """

    def __init__(self, seconds: float) -> None:
        self._pause = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        # By the zone's own clock an hour would be left out or come twice when summer time ends.
        return now.astimezone(UTC) + self._pause


def _trigger(job: Every | Daily) -> dict[str, object]:
    if isinstance(job, Every):
        return {"trigger": _Again(job.seconds)}
    return {"trigger": "cron", "hour": job.hour, "minute": 0}


def _guarded(job: Every | Daily) -> Callable[[], None]:
    def act() -> None:
        try:
            job.act()
        except Exception:
            server_log().exception("a scheduled job failed", job=job.name)

    return act


def _tell_too_slow(event: JobSubmissionEvent) -> None:
    server_log().debug("a scheduled job is still at it; its turn is left out", job=event.job_id)
