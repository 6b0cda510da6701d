"""`media-cleaner cleanup`: remove ended tasks with their files, now."""

from __future__ import annotations

import argparse
import dataclasses

from daemon import health
from daemon.console import say, say_json
from daemon.errors import UsageError
from daemon.numbers import number
from daemon.operator_queue import opened_queue
from daemon.retention import MOST_DAYS, cleanup
from daemon.spool_errors import SpoolError


class NotAllRemoved(SpoolError):
    """Something is left, to be removed the next time."""

    code = "not_all_removed"

    def __init__(self, first: str) -> None:
        super().__init__(f"not everything could be removed: {first}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument(
        "--days",
        type=number,
        required=True,
        metavar="N",
        help=f"those that ended at least so many days ago, 0 to {MOST_DAYS}; 0 is all ended",
    )


def run(arguments: argparse.Namespace) -> None:
    """
    Remove the tasks, and say what became of it.

    Raises:
        NotAllRemoved: some are still there.
    """
    days = arguments.days
    if not 0 <= days <= MOST_DAYS:
        raise UsageError(f"--days is {days:g}; allowed is a number from 0 to {MOST_DAYS}.")
    with opened_queue(arguments) as queue:
        mounts = health.known_mounts(queue.state)
        cleaned = cleanup(queue.spool, days, queue.spool.now(), mounts)
    if arguments.json:
        say_json(dataclasses.asdict(cleaned))
    else:
        said = f"tasks removed: {cleaned.deleted_tasks}, {cleaned.freed_bytes / 1e6:.1f} MB"
        say([said, *(f"kept: {problem}" for problem in cleaned.problems)])
    if cleaned.problems:
        raise NotAllRemoved(cleaned.problems[0])
