"""What a service costs that has nothing to do."""

from __future__ import annotations

import time
from pathlib import Path

from ended import COUNTS
from figures import load, print_head, print_row
from history import house_with
from house import House, Usage, wait_for_quiet

_SETTLE_SECONDS = 15.0
_SECONDS = 60.0
_WORKER = "daemon.worker"


def measure(folder: Path, rounds: int) -> None:
    """Print the CPU seconds of a minute and the memory, for a short history and a long one."""
    houses = {count: house_with(folder, count) for count in COUNTS}
    print_head(
        "ended tasks", "service CPU s/min", "children CPU s/min", "service MB", "worker MB", "load"
    )
    for _ in range(rounds):
        for count, house in houses.items():
            wait_for_quiet()
            _print_minute(count, house)


def _print_minute(count: int, house: House) -> None:
    with house.running():
        time.sleep(_SETTLE_SECONDS)
        service, children = house.usage(), house.usage_of_children()
        time.sleep(_SECONDS)
        service_now, children_now = house.usage(), house.usage_of_children()
    cpu = service_now.cpu - service.cpu
    others = _sum(children_now) - _sum(children)
    memory = service_now.rss, children_now[_WORKER].rss
    print_row(
        [str(count), f"{cpu:.2f}", f"{others:.2f}", *(f"{rss:.0f}" for rss in memory), load()]
    )


def _sum(usages: dict[str, Usage]) -> float:
    return sum(usage.cpu for usage in usages.values())
