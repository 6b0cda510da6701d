"""
Which end is told next: few at once, one at a time to each receiver of a user, fair between users.

A receiver that does not answer is left alone for a while, all that one user has for it. What
another has for it goes on: two addresses at one host may be two services. And no user takes
all turns that there are at once. No I/O; one thread uses it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from daemon.webhook_state import PAUSES_SECONDS

AT_ONCE = 4
_MOST_OF_A_USER = AT_ONCE - 1
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(minutes=5)
# Nothing is put off for longer: what is due later than that was planned by a clock that was set
# back meanwhile.
_FARTHEST = timedelta(seconds=1.2 * PAUSES_SECONDS[-1])
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Turn:
    """One end to be told: not before `due`, to `receiver`, for `user_id`."""

    due: datetime
    task_id: str
    receiver: str = field(compare=False)
    user_id: str | None = field(compare=False)


@dataclass
class _Receiver:
    """What one user has for one receiver."""

    is_busy: bool = False
    pause: timedelta = timedelta()
    resumes_at: datetime = _LONG_AGO
    served: int = 0  # the number of its last turn
    waiting: list[Turn] = field(default_factory=list)  # a heap


class Turns:
    """All turns that are to come or are being taken; a task has at most one."""

    def __init__(self) -> None:
        self._receivers: dict[tuple[str, str | None], _Receiver] = {}
        self._known: dict[str, Turn] = {}  # by task
        self._taken: Counter[str | None] = Counter()  # by user
        self._served: dict[str | None, int] = {}  # the number of each user's last turn
        self._numbers = itertools.count(1)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._known

    def add(self, turn: Turn) -> None:
        """
        Take note of an end to be told.

        Of a task that is known already, nothing, but where it waits for a later turn: that one was
        of an end before a retry.
        """
        known = self._known.get(turn.task_id)
        if known is not None and not (turn.due < known.due and self._withdraw(known)):
            return
        self._known[turn.task_id] = turn
        receiver = self._receivers.setdefault((turn.receiver, turn.user_id), _Receiver())
        heapq.heappush(receiver.waiting, turn)

    def _withdraw(self, turn: Turn) -> bool:
        """Take a turn back; False where it is being taken."""
        waiting = self._receivers[turn.receiver, turn.user_id].waiting
        if turn not in waiting:
            return False
        waiting.remove(turn)
        heapq.heapify(waiting)
        return True

    def take(self, now: datetime) -> Turn | None:
        """Return whose turn it is; None where nothing is due, or as much as may be is taken."""
        if self._taken.total() >= AT_ONCE:
            return None
        due = [
            receiver
            for receiver in self._free()
            if _has_come(receiver.resumes_at, now, _LONGEST_PAUSE)
            and _has_come(receiver.waiting[0].due, now, _FARTHEST)
        ]
        if not due:
            return None
        receiver = min(due, key=self._rank)
        turn = heapq.heappop(receiver.waiting)
        receiver.is_busy = True
        self._taken[turn.user_id] += 1
        receiver.served = self._served[turn.user_id] = next(self._numbers)
        return turn

    def done(self, turn: Turn, has_answered: bool, now: datetime) -> None:
        """Take note that a turn is over; one that is to be tried again is added anew."""
        self._known.pop(turn.task_id, None)
        self._taken -= Counter([turn.user_id])
        receiver = self._receivers[turn.receiver, turn.user_id]
        receiver.is_busy = False
        if has_answered:
            receiver.pause, receiver.resumes_at = timedelta(), _LONG_AGO
        else:
            receiver.pause = min(max(2 * receiver.pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            receiver.resumes_at = now + receiver.pause
        self._forget(now)

    def next_due(self) -> datetime | None:
        """Return when something may be told, as far as time goes; None where nothing waits."""
        return min(
            (max(receiver.resumes_at, receiver.waiting[0].due) for receiver in self._free()),
            default=None,
        )

    def _free(self) -> list[_Receiver]:
        if self._taken.total() >= AT_ONCE:
            return []
        return [
            receiver
            for (_, user_id), receiver in self._receivers.items()
            if not receiver.is_busy and receiver.waiting and self._taken[user_id] < _MOST_OF_A_USER
        ]

    def _rank(self, receiver: _Receiver) -> tuple[object, ...]:
        """Those with the fewest under way first, then those served longest ago, then the oldest."""
        turn = receiver.waiting[0]
        served = self._served.get(turn.user_id, 0)
        return self._taken[turn.user_id], served, receiver.served, turn

    def _forget(self, now: datetime) -> None:
        """Forget receivers and users that nothing is waiting for."""
        for name, receiver in list(self._receivers.items()):
            has_rested = _has_come(receiver.resumes_at, now, _LONGEST_PAUSE)
            if not receiver.waiting and not receiver.is_busy and has_rested:
                del self._receivers[name]
        if not self._receivers:
            self._served.clear()


def _has_come(moment: datetime, now: datetime, farthest: timedelta) -> bool:
    return not now < moment <= now + farthest
