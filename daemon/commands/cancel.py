"""`media-cleaner cancel`: call a task off."""

from __future__ import annotations

import argparse

from daemon.console import say, say_json
from daemon.operator_queue import name_of, opened_queue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("task_id", metavar="ID", help="the task, as `list` shows it")


def run(arguments: argparse.Namespace) -> None:
    """Call a task off; one that runs is stopped by its service within 2 s."""
    with opened_queue(arguments) as queue:
        task = queue.spool.cancel(arguments.task_id)
        queue.refresh(task)
        values = queue.view(task, queue.positions([task]))
    if arguments.json:
        say_json(values)
    else:
        say([f"cancelled: {name_of(task)}"])
