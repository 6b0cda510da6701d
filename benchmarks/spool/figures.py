"""Measured values in the words of a table."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median, and the range if there is one."""
    median = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def print_head(*names: str) -> None:
    """Print the head of a table."""
    print_row(names)
    print_row("---" for _ in names)


def print_row(cells: Iterable[str]) -> None:
    """Print one line of a table."""
    print("| " + " | ".join(cells) + " |", flush=True)


def load() -> str:
    """Return the load of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"
