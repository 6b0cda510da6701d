"""
What the service does by the clock. Knows when, not what.

A job never overlaps with itself; runs that were missed, as while the machine slept, are made up
for by one. A job that raises is one line of level ERROR in server.log, and has its next turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfoNotFoundError

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from tzlocal import get_localzone

from daemon.logs import server_log


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


class Schedule:
    """Runs jobs in threads of its own, from `start` to `stop`."""

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
    except (ZoneInfoNotFoundError, ValueError):
        return datetime.now().astimezone().tzinfo or UTC


_DEFAULTS = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}


def _trigger(job: Every | Daily) -> dict[str, object]:
    if isinstance(job, Every):
        return {"trigger": "interval", "seconds": job.seconds}
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
