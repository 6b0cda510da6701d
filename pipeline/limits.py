"""Bounds on what this process may take from the machine while it reads a hostile file."""

from __future__ import annotations

import resource
from pathlib import Path


def limit_address_space(gigabytes: float) -> None:
    """
    Let this process map at most so much more memory than it does now.

    Beyond it an allocation fails and the task with it, instead of the machine. Not for a
    process that uses CUDA, whose driver reserves address space by the terabyte.
    """
    mapped_pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = mapped_pages * resource.getpagesize() + int(gigabytes * (1 << 30))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        bound = min(bound, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
