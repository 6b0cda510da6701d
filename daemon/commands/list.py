"""`media-cleaner list`: the newest tasks, one a line."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator

from daemon.console import say, say_json
from daemon.errors import UsageError
from daemon.numbers import whole_number
from daemon.operator_queue import fitted, local_time, opened_queue, tell_damaged
from daemon.task import Status, Task
from daemon.task_id import is_task_id
from pipeline.errors import InvalidParameters
from pipeline.parameters import Parameters

_MOST = 100_000
_NARROWEST, _WIDEST = 80, 120
_ID, _STATUS, _DONE, _CREATED = 36, 10, 5, 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("--user", metavar="USER", help="only this user's")
    parser.add_argument(
        "--status", choices=[status.value for status in Status], help="only those of this status"
    )
    parser.add_argument(
        "--limit", type=whole_number, default=50, metavar="N", help="at most so many (default: 50)"
    )
    parser.add_argument(
        "--before", metavar="ID", help="only older ones than this task: a next page"
    )


def run(arguments: argparse.Namespace) -> None:
    """Show the tasks, newest first."""
    _check(arguments)
    with opened_queue(arguments) as queue:
        page = queue.spool.list(
            user_id=arguments.user,
            status=None if arguments.status is None else Status(arguments.status),
            limit=arguments.limit,
            before=arguments.before,
        )
        positions = queue.positions(page.tasks) if arguments.json else {}
    tell_damaged(page.damaged)
    if arguments.json:
        tasks = [queue.view(task, positions) for task in page.tasks]
        say_json({"count": len(tasks), "tasks": tasks})
    else:
        say(_table(page.tasks))


def _check(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.limit <= _MOST:
        raise UsageError(f"--limit is {arguments.limit}; allowed is a number from 1 to {_MOST}.")
    if arguments.user is not None:
        try:
            Parameters.parse({"user_id": arguments.user})
        except InvalidParameters as error:
            raise UsageError(f"--user: {error.message}") from error
    if arguments.before is not None and not is_task_id(arguments.before):
        raise UsageError(f"--before is {arguments.before!r}; allowed is a task's whole id.")


def _table(tasks: tuple[Task, ...]) -> Iterator[str]:
    if not tasks:
        yield "no tasks"
        return
    has_users = any(task.user_id for task in tasks)
    for cells in (("TASK", "STATUS", "DONE", "CREATED", "USER", "VIDEO"), *map(_cells, tasks)):
        yield _line(cells, has_users)


def _cells(task: Task) -> tuple[str, ...]:
    done = f"{task.progress:.0f} %"
    created = local_time(task.created_at)[:_CREATED]
    return task.task_id, task.status.value, done, created, task.user_id or "", task.input_video


def _line(cells: tuple[str, ...], has_users: bool) -> str:
    task_id, status, done, created, user, video = cells
    line = f"{task_id:<{_ID}} {status:<{_STATUS}} {done:>{_DONE}} {created:<{_CREATED}} "
    rest = _width() - len(line)
    if has_users:
        width = max(8, rest // 3)
        line += fitted(user, width) + " "
        rest -= width + 1
    return (line + fitted(video, max(rest, 8))).rstrip()


def _width() -> int:
    """Return the width of the terminal, within what a table can do with."""
    if sys.stdout is None or not sys.stdout.isatty():
        return _WIDEST
    return min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
