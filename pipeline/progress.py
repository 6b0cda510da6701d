"""How far the work on one video is, and what it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """
    How far the work is.

    Attributes:
        phase: `protect`, then `read back`; or `strip`. Last of all `audit`, told once, when
            nothing is written any more.
    """

    phase: str
    frames: int
    total: int | None


ShowProgress = Callable[[Progress], None]


class Watch:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._wall

    @property
    def cpu_seconds(self) -> float:
        return time.process_time() - self._cpu
