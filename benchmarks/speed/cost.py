"""What a piece of work costs, as the kernel counts it."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """
    CPU and wall seconds, and what else was used.

    Attributes:
        cpu: user and system time of all threads, of children too.
        peak_mb: most memory resident at once.
        written_mb: bytes given to `write`, temporary files included.
        size: bytes of what came out.
        frames: of the picture; 0 where they were not counted.
        without_read_back: CPU seconds before the finished file was read back.
    """

    cpu: float
    wall: float
    peak_mb: float
    written_mb: float
    size: int
    frames: int = 0
    without_read_back: float = 0.0


class Meter:
    """Counts from its making on, for this process and the children it has waited for."""

    def __init__(self) -> None:
        self._cpu, self._wall, self._written = _cpu(), time.monotonic(), _written()

    @property
    def cpu(self) -> float:
        """CPU seconds so far."""
        return _cpu() - self._cpu

    @property
    def wall(self) -> float:
        """Wall seconds so far."""
        return time.monotonic() - self._wall

    @property
    def written_mb(self) -> float:
        """Megabytes written so far."""
        return (_written() - self._written) / 1e6


def cost_of_command(command: Sequence[str], output: Path) -> Cost:
    """
    Run a command that makes `output`.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    meter = Meter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen would wait for it again
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(cpu, meter.wall, usage.ru_maxrss / 1024, meter.written_mb, output.stat().st_size)


def reset_peak() -> None:
    """Let `peak_mb` count anew from the memory that is in use now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Return the most memory that this process had resident since `reset_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Return the median, and the range in brackets."""
    numbers = (statistics.median(values), min(values), max(values))
    median, least, most = (form.format(number) for number in numbers)
    return f"{median} ({least}-{most})"


def median(costs: Sequence[Cost], of: Callable[[Cost], float]) -> float:
    """Return the median of one of the costs' fields."""
    return statistics.median(of(cost) for cost in costs)


def _cpu() -> float:
    return sum(os.times()[:4])


def _written() -> int:
    # The kernel adds what a child had written when it is waited for.
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])
