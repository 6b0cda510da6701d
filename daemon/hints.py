"""
What an inbox's thread is told by others: by the file system, the scheduler, the service.

Others put news in, at any rate; the thread takes all of it at once. Of one file only the
newest event is kept, so a flood of writes takes no memory. Where there is news of too many
files they are forgotten and a scan is asked for: the disk knows better than any list.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.stability import Event

_MOST_FILES = 100_000


@dataclass
class News:
    """
    What came in since the last time.

    Attributes:
        files: by their paths below the inbox: the newest event and when it came, oldest
            first.
        folders: new ones, into which to look.
        are_lost: were there events that nobody tells of any more?
        ended: why there are no events any more.
        is_gone: was the inbox itself moved, removed or unmounted?
        is_rescan: did somebody ask for a scan?
        is_stop: shall the thread end?
    """

    files: dict[str, tuple[Event, float]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    are_lost: bool = False
    ended: str | None = None
    is_gone: bool = False
    is_rescan: bool = False
    is_stop: bool = False


class Hints:
    """A letterbox for one thread. All of it is safe for any thread and never waits long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._news = News()
        self._changed = threading.Condition()
        self._is_urgent = False

    def file(self, path: str, event: Event) -> None:
        """Something happened to a file, or to a folder's name."""
        with self._changed:
            files = self._news.files
            files.pop(path, None)
            files[path] = (event, self._clock())
            if len(files) > _MOST_FILES:
                files.clear()
                self._news.are_lost = True
            if event is not Event.WRITING:  # which only says that there is time
                self._wake()

    def folder(self, path: str) -> None:
        """A folder came, maybe with files in it."""
        with self._changed:
            self._news.folders.add(path)
            self._wake()

    def lost(self) -> None:
        """Events were lost."""
        with self._changed:
            self._news.are_lost = True
            self._wake()

    def end(self, reason: str) -> None:
        """There will be no more events."""
        with self._changed:
            self._news.ended = reason
            self._wake()

    def gone(self) -> None:
        """The inbox went away; what is in its place now is another one."""
        with self._changed:
            self._news.is_gone = True
            self._wake()

    def rescan(self) -> None:
        """Look at everything."""
        with self._changed:
            self._news.is_rescan = True
            self._wake()

    def stop(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._news.is_stop = True
            self._wake()

    def forget_events(self) -> None:
        """Drop what the file system has told, but not what others ask."""
        with self._changed:
            old = self._news
            self._news = News(is_rescan=old.is_rescan, is_stop=old.is_stop)

    def take(self, patience_seconds: float) -> News:
        """Return the news; wait for some if there are none, but no longer than that."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_urgent, patience_seconds)
            news, self._news, self._is_urgent = self._news, News(), False
            return news

    def _wake(self) -> None:
        self._is_urgent = True
        self._changed.notify()
