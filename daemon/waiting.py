"""
What waits in the queue, kept in memory by lane so that choosing the next reads nothing.

The spool's names are the truth; they are listed again every second or so, and only records
that were not known are read. One that cannot be read, or not be begun, rests for a while.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Container, Iterable, Mapping, Sequence

from daemon.fairness import Lane
from daemon.task import Task


class Waiting:
    """The pending tasks by name, and by lane those whose records have been read."""

    def __init__(self) -> None:
        self._ids: list[str] = []  # of all that wait, oldest first
        self._unread: set[str] = set()
        self._rests: dict[str, float] = {}  # until when
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

    def count_outside(self, inboxes: Container[str | None]) -> int:
        """Return how many wait that came from no such inbox, as far as that is known."""
        inside = sum(len(ids) for lane, ids in self._lanes.items() if lane.inbox in inboxes)
        return len(self._ids) - inside

    def is_unread(self, task_id: str) -> bool:
        """Does it wait, and is its record still to be read?"""
        return task_id in self._unread

    def unread(self, most: int, now: float) -> list[str]:
        """Return the oldest tasks whose records have not been read and that do not rest."""
        found = (i for i in self._unread if self._rests.get(i, now) <= now)
        return heapq.nsmallest(most, found)

    def rest(self, task_id: str, until: float) -> None:
        """Leave a task unread until then, also one that is listed only later."""
        self._rests[task_id] = until

    def listed(self, ids: Iterable[str]) -> tuple[set[str], set[str]]:
        """Take a new list of all that waits; return which came and which went."""
        before, self._ids = set(self._ids), sorted(ids)
        now = set(self._ids)
        for task_id in before - now:
            self._forget(task_id)
        self._unread |= now - before
        self._rests = {task_id: end for task_id, end in self._rests.items() if task_id in now}
        return now - before, before - now

    def add(self, task: Task) -> None:
        """Put a pending task into its lane."""
        if task.task_id in self._lane_of:
            return
        place = bisect.bisect_left(self._ids, task.task_id)
        if self._ids[place : place + 1] != [task.task_id]:
            self._ids.insert(place, task.task_id)
        self._unread.discard(task.task_id)
        self._rests.pop(task.task_id, None)
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
        self._unread.discard(task_id)
        self._rests.pop(task_id, None)
        lane = self._lane_of.pop(task_id, None)
        if lane is not None:
            self._lanes[lane].remove(task_id)
            if not self._lanes[lane]:
                del self._lanes[lane]
