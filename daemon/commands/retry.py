"""`media-cleaner retry`: try a failed or cancelled task again."""

from __future__ import annotations

import argparse

from daemon.operator_queue import opened_queue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("task_id", metavar="ID", help="the task, as `list` shows it")


def run(arguments: argparse.Namespace) -> None:
    """Put a failed or cancelled task back into the queue."""
    with opened_queue(arguments) as queue:
        task = queue.spool.retry(arguments.task_id)
        queue.say_changed(task, "pending again", arguments.json)
