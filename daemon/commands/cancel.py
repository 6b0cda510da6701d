"""`media-cleaner cancel`: call a task off."""

from __future__ import annotations

import argparse

from daemon.operator_queue import opened_queue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("task_id", metavar="ID", help="the task, as `list` shows it")


def run(arguments: argparse.Namespace) -> None:
    """Call a task off; one that runs is stopped by its service within 2 s."""
    with opened_queue(arguments) as queue:
        task = queue.spool.cancel(arguments.task_id)
        queue.say_changed(task, "cancelled", arguments.json)
