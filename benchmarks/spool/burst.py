"""
Thousands of files moved in at once, until all are tasks that wait.

The one worker is busy all the time with a long video, as workers are where thousands wait.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from clip import make_clip
from figures import load, print_head, print_row
from house import House, wait_for_quiet, wait_until

_DROPS = 10_000
_TOO_MANY = 30_000
_MAX_PENDING = 20_000  # the default
_ALL = ("pending", "processing", "completed", "failed", "cancelled")
_LONG = "long.mp4"
_POLL_SECONDS = 0.25
_FULL_SECONDS = 30.0
_LONG_FRAMES = 60_000  # some minutes of work where each is an anchor frame


def measure(folder: Path, rounds: int) -> None:
    """Print how long the service takes to accept them, and at what cost."""
    print_head(
        "files", "moved in s", "all tasks s", "a second", "CPU s", "inspector CPU s", "peak MB",
        "load",
    )  # fmt: skip
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            _print_burst(Path(place))
    print()
    print_head(
        "files", f"{_MAX_PENDING} pending s", "CPU share while full", "left in the inbox",
        "all tasks s, after room was made", "lost", "taken twice", "peak MB", "load",
    )  # fmt: skip
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            _print_overfull(Path(place))


def _print_burst(folder: Path) -> None:
    house = _staged(folder, _DROPS)
    with house.running():
        _keep_busy(house)
        before, began = house.usage().cpu, time.monotonic()
        _move_in(house)
        moved = time.monotonic() - began
        wait_until(lambda: house.count(*_ALL) > _DROPS, _POLL_SECONDS)
        took = time.monotonic() - began
        usage, inspector = house.usage(), house.usage_of_children()["daemon.inspector_process"]
    values = [moved, took, _DROPS / took, usage.cpu - before, inspector.cpu, usage.peak]
    print_row([str(_DROPS), *(f"{value:.1f}" for value in values), load()])


def _print_overfull(folder: Path) -> None:
    house = _staged(folder, _TOO_MANY)
    with house.running():
        _keep_busy(house)
        began = time.monotonic()
        _move_in(house)
        wait_until(lambda: house.count("pending") >= _MAX_PENDING, _POLL_SECONDS)
        full = time.monotonic() - began
        share = _cpu_share(house)
        left = len(list(house.inbox.glob("*.mp4")))
        began = time.monotonic()
        _make_room(house)
        wait_until(lambda: house.count(*_ALL) > _TOO_MANY, _POLL_SECONDS)
        took = time.monotonic() - began
        peak = house.usage().peak
    names = _input_videos(house)
    lost, twice = _TOO_MANY - len(set(names)), len(names) - len(set(names))
    print_row(
        [str(_TOO_MANY), f"{full:.1f}", f"{share:.2f}", str(left), f"{took:.1f}"]
        + [str(lost), str(twice), f"{peak:.0f}", load()]
    )


def _staged(folder: Path, count: int) -> House:
    house = House(folder)
    make_clip(folder / "clip.mp4")
    data = (folder / "clip.mp4").read_bytes()
    for number in range(count):
        (house.staging / f"drop-{number:05}.mp4").write_bytes(data)
    make_clip(house.staging / _LONG, _LONG_FRAMES)
    os.sync()  # what we wrote must not be flushed on the service's account
    wait_for_quiet()
    return house


def _keep_busy(house: House) -> None:
    """Give the worker enough to do that nothing else is begun."""
    (house.staging / f"{_LONG}.yaml").write_text("every_n_frames: 1\n")
    for name in (f"{_LONG}.yaml", _LONG):
        (house.staging / name).rename(house.inbox / name)
    wait_until(lambda: house.count("processing") == 1)


def _move_in(house: House) -> None:
    for name in os.listdir(house.staging):
        os.rename(house.staging / name, house.inbox / name)


def _cpu_share(house: House) -> float:
    before = house.usage().cpu
    time.sleep(_FULL_SECONDS)
    return (house.usage().cpu - before) / _FULL_SECONDS


def _make_room(house: House) -> None:
    """Call off as many tasks as must wait outside, as an operator does it by `mv`."""
    records = sorted((house.state / "pending").rglob("*-*.json"))
    for path in records[: _TOO_MANY - _MAX_PENDING]:
        path.rename(house.state / "cancelled" / path.name)


def _input_videos(house: House) -> list[str]:
    paths = [path for status in _ALL for path in (house.state / status).rglob("*-*.json")]
    names = [json.loads(path.read_bytes())["input_video"] for path in paths]
    return [name for name in names if name != _LONG]
