"""What this machine has, and how many workers follow from it."""

from __future__ import annotations

import os
from pathlib import Path

# One worker on a 1080p video holds about 600 MB, more in the network way.
_WORKER_BYTES = 1 << 30
# Decoding, protecting and encoding one video overlap in about two threads.
_CORES_PER_WORKER = 2


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def default_workers() -> int:
    """Return how many workers fit the machine: two cores and 1 GiB of memory for each."""
    by_memory = _memory_bytes() // _WORKER_BYTES
    return max(1, min(cores() // _CORES_PER_WORKER, by_memory))


def threads_of(workers: int) -> int:
    """Return how many threads the encoder of each worker may use; 0 lets it take all cores."""
    return 0 if workers == 1 else max(1, cores() // workers)


def _memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        name, _, amount = line.partition(":")
        if name == "MemTotal":
            return int(amount.split()[0]) * 1024
    return _WORKER_BYTES
