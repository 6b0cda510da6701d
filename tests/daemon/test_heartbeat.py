"""A process gets on while bytes move or it says so; how long it takes is no measure."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from services import wait_until

from daemon.heartbeat import Heartbeat

# Moves a byte whenever it gets a line.
ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", ECHO], text=True, **pipes) as started:  # type: ignore[call-overload]
        echo(started)
        wait_until(lambda: state(started.pid) == "S", "it waits")
        yield started
        started.kill()


def echo(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("x\n")
    process.stdin.flush()
    assert process.stdout.readline() == "x\n"


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_a_process_that_moves_nothing_is_quiet(process: subprocess.Popen[str]) -> None:
    heartbeat = Heartbeat(process.pid, 0.0)
    for now in range(1, 6):
        heartbeat.look(now)
    assert heartbeat.quiet_seconds == 5
    assert heartbeat.stopped_seconds == 0


def test_bytes_that_move_are_a_sign_of_life(process: subprocess.Popen[str]) -> None:
    heartbeat = Heartbeat(process.pid, 0.0)
    for now in range(1, 6):
        echo(process)
        heartbeat.look(now)
        assert heartbeat.quiet_seconds == 0
    heartbeat.look(6)
    assert heartbeat.quiet_seconds == 1


@pytest.mark.parametrize(
    "act", ["open('/dev/zero', 'rb', 0).read(1)", "open('/dev/null', 'wb', 0).write(b'x')"]
)
def test_so_are_bytes_that_are_only_read_or_only_written(act: str) -> None:
    code = f"import time\nprint(flush=True)\nwhile True:\n  {act}\n  time.sleep(0.01)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        heartbeat, seconds = Heartbeat(process.pid, 0.0), itertools.count(1)

        def has_moved() -> bool:
            heartbeat.look(next(seconds))
            return heartbeat.quiet_seconds == 0

        try:
            wait_until(has_moved, "a byte moves")
        finally:
            process.kill()


def test_so_is_what_the_process_says(process: subprocess.Popen[str]) -> None:
    heartbeat = Heartbeat(process.pid, 0.0)
    heartbeat.look(1)
    heartbeat.beat(2)
    assert heartbeat.quiet_seconds == 0
    heartbeat.look(2.5)
    assert heartbeat.quiet_seconds == 0.5


def test_a_stopped_process_is_told_apart(process: subprocess.Popen[str]) -> None:
    heartbeat = Heartbeat(process.pid, 0.0)
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: state(process.pid) == "T", "it stands")
    heartbeat.look(1)
    heartbeat.look(2)
    assert heartbeat.stopped_seconds == 2
    os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: state(process.pid) != "T", "it goes on")
    heartbeat.look(3)
    assert heartbeat.stopped_seconds == 0


def test_time_in_which_nobody_looked_hardly_counts(process: subprocess.Popen[str]) -> None:
    """The machine slept, or the service was stopped together with its workers."""
    heartbeat = Heartbeat(process.pid, 0.0)
    heartbeat.look(10_000)
    assert heartbeat.quiet_seconds == 2


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    heartbeat = Heartbeat(process.pid, 0.0)
    heartbeat.look(1)
    assert heartbeat.quiet_seconds == 1
    assert heartbeat.stopped_seconds == 0
