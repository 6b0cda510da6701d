"""When the next process may be started, after some that did not come up."""

from __future__ import annotations

_LONGEST_PAUSE_SECONDS = 60.0


class Restarts:
    """
    Pauses that grow while processes die before they are of use: 1 s, 2 s, up to a minute.

    Attributes:
        trouble: how the last one failed, None where one has come up since.
        due_at: when the next may be started.
    """

    def __init__(self, name: str = "a worker process") -> None:
        """`name` is what `trouble` calls such a process."""
        self._name = name
        self.trouble: str | None = None
        self.due_at = float("-inf")
        self._pause = 0.0
        self._told: set[str] = set()

    def may_start(self, now: float) -> bool:
        """Say whether the pause is over."""
        return now >= self.due_at

    def failed(self, reason: str, now: float) -> bool:
        """Take note of a process that did not come up; say whether the reason is a new one."""
        if self.may_start(now):  # several that fail together are one failure
            self._pause = min(max(2 * self._pause, 1.0), _LONGEST_PAUSE_SECONDS)
            self.due_at = now + self._pause
        self.trouble = f"{self._name} {reason}"
        is_news = reason not in self._told
        self._told.add(reason)
        return is_news

    def succeeded(self) -> None:
        """Take note of a process that came up."""
        self.trouble = None
        self.due_at = float("-inf")
        self._pause = 0.0
        self._told.clear()
