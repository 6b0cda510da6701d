"""
Does a process get anywhere?

It does while bytes move through its reads and writes, or while it says so itself. How long
something takes is no measure: long videos and slow shares are normal.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

# Time counts only while we look. Where the machine slept, or we were stopped together with the
# process, one look comes long after the other and says nothing of what was between.
_LONGEST_STEP_SECONDS = 2.0


class Heartbeat:
    """
    Watches one process by what the kernel tells of it.

    Attributes:
        quiet_seconds: for how long nothing has moved.
        stopped_seconds: for how long the process has been stopped, as by SIGSTOP.
    """

    def __init__(self, pid: int, now: float) -> None:
        self.quiet_seconds = 0.0
        self.stopped_seconds = 0.0
        self._pid = pid
        self._looked_at = now
        self._bytes = _bytes_moved(pid)

    def beat(self, now: float) -> None:
        """Take note that the process has said that it gets on, or was given something to do."""
        self._looked_at = now
        self.quiet_seconds = self.stopped_seconds = 0.0

    def look(self, now: float) -> None:
        """Look at it once more; to be done about once a second."""
        step = min(now - self._looked_at, _LONGEST_STEP_SECONDS)
        self._looked_at = now
        moved = _bytes_moved(self._pid)
        self.quiet_seconds = self.quiet_seconds + step if moved == self._bytes else 0.0
        self._bytes = moved
        self.stopped_seconds = self.stopped_seconds + step if _is_stopped(self._pid) else 0.0


def _bytes_moved(pid: int) -> int | None:
    """Return the bytes read and written so far, by files, pipes and sockets; None if unknown."""
    # Gone, or hidden from us: what the process says of itself is then all there is.
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/io").read_text("ascii").splitlines()
        counts = dict(line.split(": ") for line in lines)
        return int(counts["rchar"]) + int(counts["wchar"])
    return None


def _is_stopped(pid: int) -> bool:
    with contextlib.suppress(OSError):
        # The name stands in brackets and may hold anything, brackets too.
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return text.rpartition(")")[2].split()[0] == "T"
    return False
