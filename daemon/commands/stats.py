"""`media-cleaner stats`: how many tasks there are, and how the service is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from daemon import health
from daemon.console import say, say_json
from daemon.disk import in_words
from daemon.health import Health
from daemon.intake import counted, intake_of
from daemon.operator_queue import OperatorQueue, local_time, opened_queue
from pipeline.report import aligned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take nothing but what every command takes."""


def run(arguments: argparse.Namespace) -> None:
    """Count the tasks and say how the service is."""
    with opened_queue(arguments) as queue:
        counts = counted(queue)
        intake = intake_of(queue)
        damaged = queue.spool.damaged()
        service, problems = _service(queue, damaged)
    if arguments.json:
        told = service and service.as_dict()
        say_json({"queue": counts, "intake": intake, "service": told, "problems": list(problems)})
    else:
        say(aligned(_rows(counts, intake, service, problems)))


def _service(
    queue: OperatorQueue, damaged: Sequence[Path]
) -> tuple[Health | None, tuple[str, ...]]:
    told, now = health.read(queue.state), queue.spool.now()
    is_alive = health.is_process_alive(queue.state)
    trouble = health.trouble_of(queue.state)
    problems = health.problems_now(told, now, is_alive, trouble)
    service = told if is_alive or health.is_fresh(told, now) else None
    return service, (*problems, *health.records_to_mend(damaged))


def _rows(
    counts: Mapping[str, int], intake: str, service: Health | None, problems: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    for status, count in counts.items():
        yield status, str(count)
    yield "intake", intake
    if service is not None:
        yield from _service_rows(service)
    for problem in problems:
        yield "problem", problem
    if not problems:
        yield "problems", "none"


def _service_rows(service: Health) -> Iterator[tuple[str, str]]:
    since = local_time(service.started_at)
    yield "service", f"{service.status.value}, process {service.pid}, since {since}"
    workers = service.workers
    yield "workers", f"{workers.busy} busy, {workers.ready} ready of {workers.size}"
    for name, inbox in service.inboxes.items():
        state = f"watched by {inbox.watching}" if inbox.is_available else "not available"
        reason = f" ({inbox.reason})" if inbox.reason else ""
        yield f"inbox {name}", f"{inbox.path}: {state}{reason}"
    for name, free in service.free_gb.items():
        yield f"free {name}", "unknown" if free is None else in_words(free)
