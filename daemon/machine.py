"""What this machine has, and how many workers follow from it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

# One worker on a 1080p video holds about 600 MB; a network or a video of 4K needs more.
_WORKER_BYTES = 2 << 30
# What one holds for itself before it has a video (174 MiB, torch without CUDA).
_IDLE_WORKER_BYTES = 170 << 20
_GROUP = re.compile(r"^[0-9]+:([^:\n]*):(.*)$", re.MULTILINE)  # a line of /proc/self/cgroup
# Of microseconds or bytes; longer is no time that a machine keeps, and more than one has.
_NUMBER = re.compile(r"[0-9]{1,15}")


def cores() -> int:
    """Return how many cores this process may use: those it may run on, as far as its time goes."""
    runs_on = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return runs_on if quota is None else max(1, min(runs_on, math.ceil(quota)))


def default_workers() -> int:
    """
    Return how many workers fit the machine: one core and 2 GiB of memory for each.

    Two videos at once on two cores are done a third sooner than one after the other, for the
    same CPU seconds: the stages of one never fill both.
    """
    return max(1, min(cores(), _memory_bytes() // _WORKER_BYTES))


def too_many_workers(workers: int) -> str | None:
    """Return that so many would fill the memory doing nothing; None where they may fit."""
    memory = _memory_bytes()
    most = max(1, memory // _IDLE_WORKER_BYTES)
    if workers <= most:
        return None
    return (
        f"{workers}, and the memory here ({memory / (1 << 30):.1f} GB) holds at most {most};"
        f" set fewer, such as {default_workers()}."
    )


def threads_of(videos: int) -> int:
    """
    Return how many threads the encoder of each of so many videos at once may use.

    0 lets it take as many as it likes, for one that has the machine to itself. FFmpeg knows
    nothing of quotas, so where there is one, what protects or previews a video is told.
    """
    if videos <= 1 and cpu_quota() is None:
        return 0
    return max(1, cores() // max(1, videos))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """
    Return how many CPU seconds a second this process gets, as containers and systemd limit it.

    None where no control group limits it. A group's limit holds for all below it, so the least of
    those on the way up counts. Both versions of control groups are asked.

    Args:
        root: below which `proc` and `sys` lie.
    """
    return min((q for folder in _groups(root, "cpu") for q in _quotas(folder)), default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in, as cgroups(7) has it."""
    mounted = root / "sys/fs/cgroup"
    for controllers, path in _GROUP.findall(_text(root / "proc/self/cgroup")):
        if not controllers:
            top = mounted
        elif controller in controllers.split(","):
            top = mounted / controller
        else:
            continue
        group = top / path.lstrip("/")
        # Up to the top itself: in a container it is the container's own group, and the path
        # may be the one that the host knows.
        yield from (group, *(parent for parent in group.parents if parent.is_relative_to(top)))


def _quotas(folder: Path) -> Iterator[float]:
    """Yield what a group's files say, those of version 2 and those of version 1."""
    match _text(folder / "cpu.max").split():
        case [quota, period]:
            yield from _quota(quota, period)
    quota, period = (_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    yield from _quota(quota, period)


def _quota(quota: str, period: str) -> Iterator[float]:
    """Yield the share; nothing for no limit ("max" or -1), or for what is no number."""
    if _NUMBER.fullmatch(quota) and _NUMBER.fullmatch(period) and int(period):
        yield int(quota) / int(period)


def _text(path: Path) -> str:
    """Return what a file of the kernel says; nothing where there is none, or no more."""
    try:
        return os.fsdecode(path.read_bytes())
    except (OSError, ValueError):
        # Also a group that went meanwhile, a sandbox, or a name with a zero byte, which no path
        # has: no limit is known from it.
        return ""


def _memory_bytes(root: Path = Path("/")) -> int:
    """Return how much this process may have at most, of the machine's or of its groups'."""
    limits = (limit for folder in _groups(root, "memory") for limit in _limits(folder))
    return min([_machine_bytes(root), *limits])


def _limits(folder: Path) -> Iterator[int]:
    """Yield what a group's files say, of either version; nothing for no limit."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        limit = _text(folder / name).strip()
        if _NUMBER.fullmatch(limit):
            yield int(limit)


def _machine_bytes(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, amount = line.partition(":")
        if name == "MemTotal":
            return int(amount.split()[0]) * 1024
    return _WORKER_BYTES
