"""
When is a file whole? One rule for the start, for events and for scans.

Pure: the clock is a number of seconds that never goes back, looks and events are told to it,
and what needs the disk is asked through `Probes`.

The age of a modification time is never trusted: the clocks of shares differ, and copying
programs set old times. "Still" means that two of our own looks saw the same `Stamp`, or that
no event came in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

# A file that somebody has open is looked at again no sooner than this.
_OPEN_AGAIN_S = 1.0


class Event(Enum):
    """What the file system told of a file; the newest counts."""

    MOVED_IN = "moved in"
    CREATED = "created"  # or linked: then nothing else follows
    WRITING = "writing"
    CLOSED = "closed after writing"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes with a file's content."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of a file that was looked at."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Quiet:
    """
    For how many seconds a file must have been still.

    Attributes:
        closed_s: after it was closed.
        settle_s: where no event tells of it.
        incomplete_s: where something says that more of it will come.
    """

    closed_s: float
    settle_s: float
    incomplete_s: float


@dataclass(frozen=True, slots=True)
class Probes:
    """
    What can be asked about one file.

    Attributes:
        is_open_for_writing: None where nobody can tell.
        is_truncated: does its container state more bytes than there are?
    """

    is_open_for_writing: Callable[[], bool | None]
    is_truncated: Callable[[], bool]


class Tracker:
    """What is known of one file."""

    __slots__ = ("_answer", "_asked", "_changed", "_distrusted", "_event", "_quiet", "_stamp")

    def __init__(self, quiet: Quiet) -> None:
        self._quiet = quiet
        self._event: Event | None = None
        self._stamp: Stamp | None = None
        self._changed = 0.0  # set by the first event or look
        self._asked: Stamp | None = None  # of what is_truncated gave this answer
        self._answer = False
        self._distrusted: int | None = None

    @property
    def stamp(self) -> Stamp | None:
        """What the last look saw."""
        return self._stamp

    @property
    def is_incomplete(self) -> bool:
        """Did `whole_at` find, of the file as it is, that its container states more bytes?"""
        return self._answer and self._asked == self._stamp

    def notice(self, event: Event, at: float) -> None:
        """An event came."""
        self._event = None if event is Event.GONE else event
        self._changed = at
        if event is not Event.WRITING:
            self._stamp = None  # the next look sees what the event told of: no change since

    def lose_events(self, now: float) -> None:
        """
        Events may have been lost.

        What was being written counts as still being written: that only costs time, while the
        opposite could take half a file.
        """
        if self._event in _SAYS_WHOLE:
            self.forget_events(now)

    def forget_events(self, now: float) -> None:
        """There are no events any more: start anew without."""
        self._event, self._stamp, self._changed = None, None, now

    def put_back(self, now: float) -> None:
        """
        The file was taken and put back, because it changed in that moment.

        Putting it back looks like moving in, which for once says nothing.
        """
        self._distrusted = self._stamp.inode if self._stamp else None
        self.forget_events(now)

    def look(self, stamp: Stamp, now: float) -> None:
        """The file was looked at."""
        before, self._stamp = self._stamp, stamp
        if before is None:
            self._first_look(stamp, now)
        elif before != stamp:
            self._changed = now
            self._event = self._after_change(before, stamp)

    def _first_look(self, stamp: Stamp, now: float) -> None:
        """Look for the first time since an event, or ever."""
        if self._event is Event.CREATED and not stamp.size:
            # Linked files come with their content; an empty one was opened to be written.
            self._event = Event.WRITING
        elif self._event is Event.CREATED or self._is_distrusted(stamp):
            self._event = None
        if self._event is None:
            self._changed = now  # without an event only what we see ourselves counts as still

    def _is_distrusted(self, stamp: Stamp) -> bool:
        # That somebody writes to it is believed: it can only make the file wait.
        return self._event is not Event.WRITING and stamp.inode == self._distrusted

    def _after_change(self, before: Stamp, stamp: Stamp) -> Event | None:
        if self._event not in _SAYS_WHOLE:
            return self._event
        # Uploaders set the time when all is written. Anything else is a write whose event is
        # still on its way, or one that sends none (through a memory map).
        is_only_time = (before.inode, before.size) == (stamp.inode, stamp.size)
        return Event.CLOSED if is_only_time else None

    def still_at(self) -> float:
        """Return when it has been still for `settle_s`, whatever the events say; look first."""
        return self._changed + self._quiet.settle_s

    def whole_at(self, now: float, probes: Probes) -> float:
        """
        Return since when it is whole; or, if that lies ahead, when to look and ask again.

        Call it after `look`.
        """
        at = self._quiet_at(now, probes)
        if at > now:
            return at
        if self._event is not Event.WRITING and probes.is_open_for_writing():
            return self._found_open(now)
        if self._is_truncated(probes):
            return max(at, self._changed + self._quiet.incomplete_s)
        return at

    def _quiet_at(self, now: float, probes: Probes) -> float:
        if self._event is Event.MOVED_IN:
            return self._changed
        if self._event is Event.CLOSED:
            return self._changed + self._quiet.closed_s
        if self._event is Event.WRITING:
            return self._written_at(now, probes)
        return self._changed + self._quiet.settle_s

    def _written_at(self, now: float, probes: Probes) -> float:
        """Written to and not closed, as far as events tell; the closing may have been lost."""
        if now < self.still_at():
            return self.still_at()
        is_open = probes.is_open_for_writing()
        if is_open:
            return self._found_open(now)
        if is_open is None:
            return self._changed + self._quiet.incomplete_s
        return self.still_at()

    def _found_open(self, now: float) -> float:
        self._changed = now
        if self._event is Event.MOVED_IN:
            self._event = Event.CLOSED
        wait = self._quiet.closed_s if self._event is Event.CLOSED else self._quiet.settle_s
        return now + max(wait, _OPEN_AGAIN_S)

    def _is_truncated(self, probes: Probes) -> bool:
        """Ask once for each stamp: the answer cannot change without it, and asking is dear."""
        if self._asked != self._stamp:
            self._answer, self._asked = probes.is_truncated(), self._stamp
        return self._answer


# Events after which nothing more is expected.
_SAYS_WHOLE = (Event.MOVED_IN, Event.CLOSED)


def ready_at(video_at: float, sidecar_at: float | None, grace_s: float) -> float:
    """
    Return when a video may be taken.

    Args:
        video_at: when it is whole.
        sidecar_at: when its sidecar is; None where it has none, or not yet.
        grace_s: for how long it waits for one.
    """
    return video_at + grace_s if sidecar_at is None else max(video_at, sidecar_at)
