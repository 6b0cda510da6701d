"""From a whole file to its dispatch: single drops onto an idle service with a warm worker."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from clip import make_clip
from figures import load, print_head, print_row, quantile
from house import House, wait_for_quiet, wait_until

_DROPS = 50
_SIDECAR = "mode: strip\n"  # ends at once
_GRACE_SECONDS = 2.0  # the default of sidecar_grace_s
_WRITING_SECONDS = 0.05


def measure(folder: Path, rounds: int) -> None:
    """Print how long a file that is whole waits, in milliseconds."""
    print_head("drop", "n", "accepted p50", "dispatched p50", "p95", "max", "load")
    for name, drop in (("moved in", _move_in), ("written and closed", _write)):
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                _print_round(name, House(Path(place)), drop)


def _print_round(name: str, house: House, drop: Callable[[House, str], float]) -> None:
    make_clip(house.staging / "clip.mp4")
    wait_for_quiet()
    with house.running():
        whole = {video: _dropped(house, video, drop) for video in _videos()}
    accepted, started = house.events("accepted"), house.events("started")
    to_accepted = [1000 * (accepted[video] - at) for video, at in whole.items()]
    to_started = [1000 * (started[video] - at) for video, at in whole.items()]
    values = [quantile(to_accepted, 0.5)]
    values += [quantile(to_started, share) for share in (0.5, 0.95, 1.0)]
    print_row([name, str(len(whole)), *(f"{value:.0f}" for value in values), load()])


def _videos() -> list[str]:
    return [f"drop-{number:02}.mp4" for number in range(_DROPS)]


def _dropped(house: House, video: str, drop: Callable[[House, str], float]) -> float:
    """Drop a video and wait for its end; return since when it was whole, as its rule says."""
    (house.staging / "sidecar").write_text(_SIDECAR)
    (house.staging / "sidecar").rename(house.inbox / f"{video}.yaml")
    # At no fixed moment of the service's own turns.
    time.sleep(random.uniform(0.2, 0.7))
    at = drop(house, video)
    wait_until(lambda: video in house.events("completed"), pause_seconds=0.02)
    return at


def _move_in(house: House, video: str) -> float:
    data = (house.staging / "clip.mp4").read_bytes()
    (house.staging / video).write_bytes(data)
    at = time.time()
    (house.staging / video).rename(house.inbox / video)
    return at


def _write(house: House, video: str) -> float:
    data = (house.staging / "clip.mp4").read_bytes()
    with (house.inbox / video).open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(_WRITING_SECONDS)
        file.write(data[len(data) // 2 :])
    return time.time() + _GRACE_SECONDS
