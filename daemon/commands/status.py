"""`media-cleaner status`: everything about one task."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import Any

from daemon.console import say, say_json
from daemon.operator_queue import local_time, opened_queue
from daemon.outbox import result_path
from daemon.task import Task
from pipeline.report import aligned

Row = tuple[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("task_id", metavar="ID", help="the task, as `list` shows it")


def run(arguments: argparse.Namespace) -> None:
    """Say how a task is."""
    with opened_queue(arguments) as queue:
        task = queue.spool.get(arguments.task_id)
        values = queue.view(task, queue.positions([task]))
    if arguments.json:
        say_json(values)
    else:
        say(aligned(_rows(task, values)))


def _rows(task: Task, values: Mapping[str, Any]) -> Iterator[Row]:
    yield "task", task.task_id
    yield "status", values["status_text"]
    yield "video", task.input_video
    yield from _if_any("user", task.user_id)
    yield from _place_and_progress(task, values)
    yield from _times(task)
    yield from _if_any("error", task.error_message)
    yield from _if_any("error code", task.error_code)
    result = result_path(task)
    if result is not None:
        yield "result", str(result) if os.path.exists(result) else f"{result} (not there)"
    yield "original", task.original
    if task.sidecar is not None:
        yield "sidecar", task.sidecar if os.path.lexists(task.sidecar) else f"{task.sidecar} (gone)"
    yield from _if_any("notes", task.parameters.notes)
    yield "parameters", _words(task.parameters.model_dump(mode="json", exclude=_SHOWN_APART))
    for name, value in (task.report or {}).items():
        yield from _if_any(f"report {name}", _words(value))


_SHOWN_APART = {"user_id", "notes"}


def _place_and_progress(task: Task, values: Mapping[str, Any]) -> Iterator[Row]:
    if values["queue_position"] is not None:
        yield "place", f"{values['queue_position']} in the queue"
    if task.progress:
        total = "" if task.total_frames is None else f" of {task.total_frames}"
        frames = "" if task.processed_frames is None else f", frame {task.processed_frames}{total}"
        yield "progress", f"{task.progress:.1f} %{frames}"
    if values["eta_s"] is not None:
        yield "to go", f"about {values['eta_s']:.0f} s"
    if task.attempts or task.retries:
        yield "attempts", f"{task.attempts}, retries {task.retries}"


def _times(task: Task) -> Iterator[Row]:
    yield "created", local_time(task.created_at)
    yield from _if_any("started", local_time(task.started_at))
    yield from _if_any("ended", local_time(task.completed_at))


def _if_any(label: str, text: str | None) -> Iterator[Row]:
    if text:
        yield label, text


def _words(value: object) -> str:
    """Return a value of a record in words; empty where it says nothing."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words}" for name, v in value.items() if (words := _words(v)))
    if isinstance(value, (list, tuple)):
        return "; ".join(_words(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
