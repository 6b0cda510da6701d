"""
How everything is, for what watches over it: `/health` for probes, `/metrics` for Prometheus.

Both tell what the service wrote of itself and what lies under `state/`, never what this process
has counted: so every web process tells the same, and all of them survive a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from daemon import health
from daemon.health import Health
from daemon.task_id import created_at
from daemon.web.auth import caller, require_admin
from daemon.web.context import Context, context
from daemon.web.languages import language, text
from daemon.web.sentences import translated, translated_part

blueprint = Blueprint("monitoring", __name__)

_GB = 1 << 30
# How sentences about a part of the service begin: "inbox main: ...", "temp: ...".
_PART = re.compile(r"([\w .-]{1,100}): ")


@dataclass(frozen=True)
class _Seen:
    """What was told last, if it still counts, and what is wrong."""

    service: Health | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@blueprint.get("/health")
def show_health() -> Response:
    """Answer whether all is well, and if not what is wrong; only an admin is told of paths."""
    seen = _look(context())
    is_well = not seen.problems
    response = jsonify(
        {
            "status": "healthy" if is_well else "unhealthy",
            "service": "unknown" if seen.service is None else seen.service.status.value,
            **(_all_of(seen) if caller().is_admin else _outline(seen)),
        }
    )
    response.status_code = 200 if is_well else 503
    return response


@blueprint.get("/metrics")
def show_metrics() -> Response:
    """Answer with gauges in Prometheus' text format."""
    require_admin()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gauges(context()))
    response = Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)
    response.headers["Cache-Control"] = "no-store"
    return response


def _look(known: Context) -> _Seen:
    told, now = health.read(known.state), known.spool.now()
    is_alive = health.is_process_alive(known.state)
    trouble = health.trouble_of(known.state)
    problems = health.problems_now(told, now, is_alive, trouble)
    service = told if health.is_fresh(told, now) else None
    # A damaged record keeps nothing from working, and may lie there for long.
    return _Seen(service, problems, health.records_to_mend(_damaged(known)))


def _damaged(known: Context) -> Sequence[Path]:
    try:
        return known.spool.damaged()
    except OSError:  # the state cannot be read, which is a problem told by itself
        return []


def _all_of(seen: _Seen) -> dict[str, Any]:
    told = {} if seen.service is None else seen.service.as_dict()
    inboxes = told.get("inboxes", {})
    return {
        "problems": _told(seen.problems),
        "warnings": _told(seen.warnings),
        "workers": told.get("workers"),
        "inboxes": {name: _inbox(inbox) for name, inbox in inboxes.items()},
        "free_gb": told.get("free_gb", {}),
    }


def _told(sentences: Iterable[str]) -> list[str]:
    return [translated(sentence, language()) for sentence in sentences]


def _inbox(told: Mapping[str, Any]) -> dict[str, Any]:
    reason = told["reason"]
    return {**told, "reason": None if reason is None else translated(reason, language())}


def _outline(seen: _Seen) -> dict[str, Any]:
    """Return which parts are not well, without a word that could name a file or a user."""
    parts = dict.fromkeys(_part(problem) for problem in seen.problems)
    named = (translated_part(part, language()) for part in parts)
    return {"problems": [text("monitoring.part", part=part) for part in named]}


def _part(problem: str) -> str:
    found = _PART.match(problem)
    return found[1] if found else "service"


class _Gauges(Collector):
    def __init__(self, known: Context) -> None:
        self._known = known

    def collect(self) -> Iterator[Metric]:
        """Yield what is so now."""
        seen = _look(self._known)
        yield from self._of_tasks()
        yield _gauge("service_up", "Is the service heard of?", seen.service is not None)
        yield _gauge(
            "problems", "Things that are not well, as /health names them.", len(seen.problems)
        )
        damaged = len(self._known.spool.damaged())
        yield _gauge("damaged_records", "Records set aside for somebody to look at.", damaged)
        if seen.service is not None:
            yield from _of_service(seen.service)

    def _of_tasks(self) -> Iterator[Metric]:
        index = self._known.index
        counts = GaugeMetricFamily(
            "media_cleaner_tasks", "Tasks by their status.", labels=["status"]
        )
        for status, count in index.counts().items():
            counts.add_metric([status.value], count)
        yield counts
        oldest = index.queue().oldest
        now = self._known.spool.now()
        age = 0.0 if oldest is None else max(0.0, (now - created_at(oldest)).total_seconds())
        yield _gauge("oldest_pending_seconds", "Age of the oldest task that waits.", age)


def _of_service(service: Health) -> Iterator[Metric]:
    workers = GaugeMetricFamily(
        "media_cleaner_workers", "Worker processes: wanted, ready, at work.", labels=["state"]
    )
    for state in ("size", "ready", "busy"):
        workers.add_metric([state], getattr(service.workers, state))
    yield workers
    inboxes = GaugeMetricFamily(
        "media_cleaner_inbox_available", "Can the inbox be read?", labels=["inbox"]
    )
    for name, inbox in service.inboxes.items():
        inboxes.add_metric([name], inbox.is_available)
    yield inboxes
    free = GaugeMetricFamily(
        "media_cleaner_free_bytes", "Room where a folder lies.", labels=["folder"]
    )
    for name, gb in service.free_gb.items():
        if gb is not None:
            free.add_metric([name], gb * _GB)
    yield free


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"media_cleaner_{name}", help_text, value=float(value))
