"""What this machine has, and how many workers follow from it."""

from __future__ import annotations

import os
from pathlib import Path

# One worker on a 1080p video holds about 600 MB; a network or a video of 4K needs more.
_WORKER_BYTES = 2 << 30


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def default_workers() -> int:
    """
    Return how many workers fit the machine: one core and 2 GiB of memory for each.

    Two videos at once on two cores are done a third sooner than one after the other, for the
    same CPU seconds: the stages of one never fill both.
    """
    return max(1, min(cores(), _memory_bytes() // _WORKER_BYTES))


def threads_of(videos: int) -> int:
    """
    Return how many threads the encoder of each of so many videos at once may use.

    0 lets it take as many as it likes, for one that has the machine to itself.
    """
    return 0 if videos <= 1 else max(1, cores() // videos)


def _memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        name, _, amount = line.partition(":")
        if name == "MemTotal":
            return int(amount.split()[0]) * 1024
    return _WORKER_BYTES
