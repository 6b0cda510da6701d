"""How long who asks for tasks waits, with many of them and the worker busy."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml
from clip import make_clip
from figures import load, print_head, print_row, quantile
from history import house_with
from house import House, wait_until
from processes import usage

_COUNT = 100_000
_USERS = 20  # as the history has them
_SECONDS = 20.0
_MOST_AT_ONCE = 64
_PATIENCE_SECONDS = 60.0
# With so many frames a video outlasts a measurement.
_FRAMES = 6000
_MOST_WAITING = 2
_WORKER = "daemon.worker"
_WEB = "daemon.web_server"
_FILTERS = (
    "",
    "limit=10",
    "status=completed",
    "status=failed",
    "user_id={user}",
    "user_id={user}&status=completed",
    "user_id={user}&status=cancelled",  # most users have none
    "before={task}",
    "user_id={user}&before={task}",
    "status=processing",
)


@dataclass(frozen=True)
class _Question:
    name: str
    per_second: int
    path: Callable[[random.Random, Sequence[str]], str]


def _page(chance: random.Random, task_ids: Sequence[str]) -> str:
    user = f"user-{chance.randrange(_USERS):02}"
    return "/tasks?" + chance.choice(_FILTERS).format(user=user, task=chance.choice(task_ids))


def _longest_page(chance: random.Random, task_ids: Sequence[str]) -> str:
    return f"/tasks?limit=500&before={chance.choice(task_ids)}"


def _one(chance: random.Random, task_ids: Sequence[str]) -> str:
    return f"/task/{chance.choice(task_ids)}"


def _nothing(chance: random.Random, task_ids: Sequence[str]) -> str:
    return "/"


_QUESTIONS = (
    _Question("`/tasks`, mixed filters", 50, _page),
    _Question("`/task/ID`", 50, _one),
    _Question("`/`, no task", 50, _nothing),
    _Question("`/tasks`, 500 of them", 5, _longest_page),
)


def measure(folder: Path, rounds: int) -> None:
    """Print the milliseconds of each kind of question, round by round, of one service."""
    house = house_with(folder, _COUNT)
    ended = ("completed", "failed", "cancelled")
    task_ids = [path.stem for name in ended for path in (house.state / name).rglob("*-*.json")]
    print_head(
        "round",
        "asked for",
        "a second",
        "n",
        "p50 ms",
        "p95",
        "p99",
        "max",
        "web CPU ms each",
        "worker CPU",
        "load",
    )
    with house.running(), _kept_busy(house):
        for number in range(rounds):
            for question in _QUESTIONS:
                _print_round(number + 1, house, question, task_ids)


def _print_round(number: int, house: House, question: _Question, task_ids: Sequence[str]) -> None:
    chance = random.Random(number)
    count = int(_SECONDS * question.per_second)
    paths = [question.path(chance, task_ids) for _ in range(count)]
    web = _web_pid(house)
    web_cpu, worker_cpu, began = usage(web).cpu, _worker_cpu(house), time.monotonic()
    took = _ask(_port(house), paths, question.per_second)
    share = (_worker_cpu(house) - worker_cpu) / (time.monotonic() - began)
    each = 1000 * (usage(web).cpu - web_cpu) / count
    values = (f"{quantile(took, part):.1f}" for part in (0.5, 0.95, 0.99, 1.0))
    asked = [str(number), question.name, str(question.per_second), str(count)]
    print_row([*asked, *values, f"{each:.1f}", f"{share:.2f}", load()])


def _ask(port: int, paths: Sequence[str], per_second: int) -> list[float]:
    """Ask at fixed moments, whether the questions before are answered or not."""
    began = time.monotonic() + 0.1
    answers = []
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        for number, path in enumerate(paths):
            due = began + number / per_second
            time.sleep(max(0.0, due - time.monotonic()))
            answers.append(pool.submit(_asked, port, path, due))
    return [answer.result() for answer in answers]


def _asked(port: int, path: str, due: float) -> float:
    """Return the milliseconds from when it was due to the last byte, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path} was answered with {answer.status}")
    return 1000 * (time.monotonic() - due)


@contextlib.contextmanager
def _kept_busy(house: House) -> Iterator[None]:
    """Have the worker always have a video to protect."""
    make_clip(house.staging / "long.mp4", _FRAMES)
    is_over = threading.Event()
    feeder = threading.Thread(target=_feed, args=(house, is_over))
    feeder.start()
    try:
        wait_until(lambda: house.count("processing") > 0)
        yield
    finally:
        is_over.set()
        feeder.join()


def _feed(house: House, is_over: threading.Event) -> None:
    for number in itertools.count():
        while house.count("pending") >= _MOST_WAITING:
            if is_over.wait(1.0):
                return
        copy = house.staging / f"busy-{number}.mp4"
        shutil.copyfile(house.staging / "long.mp4", copy)
        copy.rename(house.inbox / copy.name)
        # Until it is taken, it does not count as waiting.
        if is_over.wait(3.0):
            return


def _worker_cpu(house: House) -> float:
    return house.usage_of_children()[_WORKER].cpu


def _web_pid(house: House) -> int:
    """Return the process above those that answer."""
    for path in Path(f"/proc/{house.pid}/task").glob("*/children"):
        for pid in path.read_text().split():
            if _WEB in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                return int(pid)
    raise RuntimeError("the service has no process that answers requests")


def _port(house: House) -> int:
    port: int = yaml.safe_load(house.config.read_text())["port"]
    return port
