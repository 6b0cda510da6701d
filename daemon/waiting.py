"""
What waits in the queue, kept in memory by lane so that choosing the next reads nothing.

The spool's names are the truth; they are listed again every second or so, and only records
that were not known are read.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence

from daemon.fairness import Lane
from daemon.task import Task


class Waiting:
    """The pending tasks by name, and by lane those whose records have been read."""

    def __init__(self) -> None:
        self._ids: list[str] = []  # of all that wait, oldest first
        self._lane_of: dict[str, Lane] = {}
        self._lanes: dict[Lane, list[str]] = {}  # oldest first

    @property
    def ids(self) -> Sequence[str]:
        """All that wait, oldest first."""
        return self._ids

    @property
    def oldest(self) -> Mapping[Lane, str]:
        """The oldest task of each lane."""
        return {lane: ids[0] for lane, ids in self._lanes.items()}

    def unread(self, most: int) -> list[str]:
        """Return the oldest tasks whose records have not been read."""
        found = (task_id for task_id in self._ids if task_id not in self._lane_of)
        return [task_id for task_id, _ in zip(found, range(most), strict=False)]

    def listed(self, ids: Iterable[str]) -> tuple[set[str], set[str]]:
        """Take a new list of all that waits; return which came and which went."""
        before, self._ids = set(self._ids), sorted(ids)
        now = set(self._ids)
        for task_id in before - now:
            self._forget(task_id)
        return now - before, before - now

    def add(self, task: Task) -> None:
        """Put a pending task into its lane."""
        if task.task_id in self._lane_of:
            return
        place = bisect.bisect_left(self._ids, task.task_id)
        if self._ids[place : place + 1] != [task.task_id]:
            self._ids.insert(place, task.task_id)
        lane = Lane(task.inbox, task.user_id)
        self._lane_of[task.task_id] = lane
        bisect.insort(self._lanes.setdefault(lane, []), task.task_id)

    def remove(self, task_id: str) -> None:
        """Forget a task that waits no longer."""
        place = bisect.bisect_left(self._ids, task_id)
        if self._ids[place : place + 1] == [task_id]:
            del self._ids[place]
        self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        lane = self._lane_of.pop(task_id, None)
        if lane is not None:
            self._lanes[lane].remove(task_id)
            if not self._lanes[lane]:
                del self._lanes[lane]
