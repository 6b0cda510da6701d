"""What a process and all those below it cost."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# Written to clear_refs: the peak begins anew.
_RESET_PEAK = "5"


@dataclass(frozen=True)
class Usage:
    """CPU seconds and bytes written so far, and resident bytes, now and at most."""

    cpu: float
    written: int
    rss: int
    peak: int


def usage(pid: int) -> Usage:
    """Return what a process and all below it have used."""
    found = [_usage_of_one(each) for each in _tree(pid)]
    return Usage(
        sum(u.cpu for u in found),
        sum(u.written for u in found),
        sum(u.rss for u in found),
        sum(u.peak for u in found),
    )


def forget_peaks(pid: int) -> None:
    """Have the peaks of a process and all below it begin anew."""
    for each in _tree(pid):
        Path(f"/proc/{each}/clear_refs").write_text(_RESET_PEAK)


def _usage_of_one(pid: int) -> Usage:
    """Return what a process has used, and those of its children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    values = {
        name: text.split()[0]
        for file in ("io", "status")
        for name, _, text in (
            line.partition(":") for line in Path(f"/proc/{pid}/{file}").read_text().splitlines()
        )
        if text.split()
    }
    rss, peak = (1024 * int(values[name]) for name in ("VmRSS", "VmHWM"))
    return Usage(sum(map(int, words[11:15])) / _TICKS, int(values["write_bytes"]), rss, peak)


def _tree(pid: int) -> list[int]:
    children = [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]
    return [pid, *(each for child in children for each in _tree(child))]
