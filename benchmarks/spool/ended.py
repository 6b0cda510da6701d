"""What a long history costs: the start of the service, the commands, the door of the queue."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from figures import load, print_head, print_row, quantile, spread
from history import house_with
from house import House, wait_for_quiet

from daemon.__main__ import main
from daemon.spool import Spool
from daemon.task import Status, Submission

COUNTS = (10, 100_000)
_CALLS = 10
_SUBMITS = 200


def measure(folder: Path, rounds: int) -> None:
    """Print all of it, for a short history and a long one."""
    houses = {count: house_with(folder, count) for count in COUNTS}
    print_head("ended tasks", "start to ready s", "load")
    for count, house in houses.items():
        wait_for_quiet()
        print_row([str(count), spread([_start(house) for _ in range(rounds)], 2), load()])
    print()
    print_head("ended tasks", "command", "in process ms", "whole process ms", "load")
    for count, house in houses.items():
        for words in _commands(house):
            wait_for_quiet()
            _print_command(count, house, words)
    print()
    print_head("ended tasks", "submit p50 ms", "p95 ms", "load")
    for _ in range(rounds):
        wait_for_quiet()
        _print_submits(houses)


def _start(house: House) -> float:
    with house.running() as took:
        return took


def _commands(house: House) -> list[list[str]]:
    newest = Spool(house.state).list(status=Status.COMPLETED, limit=1).tasks[0]
    return [["list"], ["list", "--json"], ["stats"], ["status", newest.task_id]]


def _print_command(count: int, house: House, words: list[str]) -> None:
    line = ["--config", str(house.config), *words]
    inside = [_milliseconds(lambda: _called(line)) for _ in range(_CALLS + 1)][1:]
    whole = [_milliseconds(lambda: _processed(line)) for _ in range(_CALLS)]
    shown = " ".join("ID" if word.count("-") == 4 else word for word in words)
    print_row([str(count), shown, spread(inside), spread(whole, 0), load()])


def _called(line: list[str]) -> None:
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")):
        code = main(line)
    if code:
        raise RuntimeError(f"{line} ended with {code}")


def _processed(line: list[str]) -> None:
    command = [sys.executable, "-m", "daemon", *line]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _print_submits(houses: dict[int, House]) -> None:
    """Submit by turns, so that whatever else goes on at the time meets all alike."""
    spools = {count: Spool(house.state) for count, house in houses.items()}
    took: dict[int, list[float]] = {count: [] for count in houses}
    for _ in range(_SUBMITS):
        for count, spool in spools.items():
            took[count].append(_milliseconds(lambda spool=spool: _submit(spool)))
    for count, values in took.items():
        cells = [f"{quantile(values, share):.2f}" for share in (0.5, 0.95)]
        print_row([str(count), *cells, load()])
    for spool in spools.values():
        for task_id in spool.pending_ids():
            spool.cancel(task_id)
            spool.remove(task_id, lambda task: None)


def _submit(spool: Spool) -> None:
    submission = Submission(
        task_id=spool.new_id(), input_video="a.mp4", original="/in/a.mp4", outbox="/out"
    )
    spool.submit(submission, max_pending=20_000)


def _milliseconds(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - began)
