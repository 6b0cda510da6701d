"""
Whose task is next: a turn for each inbox, and within an inbox a turn for each user. No I/O.

Without it a thousand files of one user would keep everybody else waiting until they are done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Lane:
    """The tasks that wait for one another: those of one user in one inbox."""

    inbox: str | None  # None: uploads
    user_id: str | None


class Turns:
    """Remembers who was served last."""

    def __init__(self) -> None:
        self._served: dict[Hashable, int] = {}
        self._count = 0

    def choose(self, waiting: Collection[Lane], running: Iterable[Lane]) -> Lane:
        """
        Return the lane whose oldest task is next; `waiting` has at least one.

        First the inbox with the fewest running tasks, of several the one that was served
        longest ago; then the user within it, likewise.
        """
        busy = list(running)
        inboxes = Counter(lane.inbox for lane in busy)
        users = Counter(busy)

        def order(lane: Lane) -> tuple[int, int, int, int]:
            return (
                inboxes[lane.inbox],
                self._served.get(lane.inbox, 0),
                users[lane],
                self._served.get(lane, 0),
            )

        return min(waiting, key=order)

    def serve(self, lane: Lane) -> None:
        """Note that a task of this lane begins."""
        self._count += 1
        self._served[lane.inbox] = self._served[lane] = self._count
