"""
One inbox: a thread that finds what was dropped there and has it claimed.

Events are hints, a scan is the truth. Each inbox has its own thread, so that a share that
hangs stops nobody else.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.candidates import Candidates, Rules
from daemon.claims import Claims, Found
from daemon.disk import shortage
from daemon.held_folder import held_own_folder
from daemon.hints import Hints, News
from daemon.inbox_place import InboxUnavailable, Place, find_place, make_place
from daemon.logs import Once, server_log
from daemon.originals import OWN_FOLDER
from daemon.scan import files_below
from daemon.spool_errors import QueueFull, SpoolError
from daemon.task import Task
from daemon.watch import Watch, WatchUnavailable

# Between the news that came meanwhile.
_LOOKS_PER_TURN = 500
_CLAIMING_S = 0.05
# What is ready beyond that waits to be looked at until it is its turn.
_ENOUGH_READY = 32
_HOLD_S = 1.0
# After so many failures in a row nothing will go well: each costs writes to the disk.
_FAILURES_IN_A_ROW = 3
_POLL_S = 1.0
_WATCH_AGAIN_S = 60.0
# A scan may take at most every so manieth part of the time.
_SCAN_SHARE = 20
_HUNG_AFTER_S = 60.0
# A single look or claim may wait that long for a disk that many write to.
_WEDGED_AFTER_S = 300.0
_NOT_YET = "it has not been looked at yet"


@dataclass(frozen=True)
class WatcherHealth:
    """
    How an inbox is.

    Attributes:
        mount: the mount point that it lies in, to be remembered for the next start; None while
            unknown.
        watching: do events tell of changes, or only scans?
        reason: why it is not available, what it lacks, or why there are no events; None where
            nothing is so.
        is_well: is there nothing that somebody should mend? A share is polled and well.
    """

    name: str
    path: Path
    is_available: bool
    watching: Literal["events", "polling"]
    reason: str | None
    mount: str | None
    is_well: bool


class InboxWatcher:
    """
    Watches one inbox and has claimed what is ready.

    Args:
        known_mount: the `mount` of its health in the last run; tells that a share is away.
        may_claim: is asked before each claim; while it says no, files stay where they are.
        is_truncated: does a video's container state more bytes than there are?
        accepted: is called in this inbox's thread with each new task.
        min_free_gb: with less the inbox is not well; files are taken as long as that goes.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        rules: Rules,
        claims: Claims,
        may_claim: Callable[[], bool],
        is_truncated: Callable[[Path], bool],
        accepted: Callable[[Task], None],
        known_mount: str | None,
        min_free_gb: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._root = root
        self._rules = rules
        self._claims = claims
        self._may_claim = may_claim
        self._is_truncated = is_truncated
        self._accepted = accepted
        self._clock = clock
        self._hints = Hints(clock)
        self._once = Once(server_log(), clock=clock)
        self._thread = threading.Thread(target=self._run, name=f"inbox {name}", daemon=True)
        self._mount = known_mount
        self._was_there = False
        self._place: Place | None = None
        self._away: str | None = _NOT_YET
        self._missed: str | None = None  # why it was away, since the watcher looked last
        self._min_free_gb = min_free_gb
        self._shortage: str | None = None
        self._candidates: Candidates | None = None
        self._watch: Watch | None = None
        self._unwatched: str | None = None
        self._is_polled_by_nature = False
        self._is_rebuilding = False
        self._watch_again = 0.0
        self._next_scan = clock()
        self._soonest_scan = clock()
        self._held_until = clock()
        self._failures = 0
        self._left_claims = False
        self._busy_since: float | None = None
        self._moved_at = clock()

    @property
    def name(self) -> str:
        """Which inbox it is."""
        return self._name

    @property
    def root(self) -> Path:
        """Which folder it is."""
        return self._root

    @property
    def has_looked(self) -> bool:
        """Has it looked at the inbox, there or away, at least once? For any thread."""
        return self._away != _NOT_YET

    def start(self) -> None:
        """Begin; returns at once, also where the inbox hangs."""
        self._thread.start()

    def stop(self) -> None:
        """Claim nothing more, and end when a claim that is under way is finished; does not wait."""
        self._hints.stop()

    def join(self, timeout: float) -> None:
        """Wait so long for the end."""
        self._thread.join(timeout)

    def rescan(self) -> None:
        """Look at everything soon. For any thread."""
        self._hints.rescan()

    def is_away(self) -> bool:
        """
        Is it away, or of no use, just now? For any thread, which waits for as long as it hangs.

        So it is, too, where the service's own folder in it is closed, or might be anybody's.
        If so its health tells of that from now on, however long the next scan is still to come.
        """
        try:
            find_place(self._root, self._mount)
            self._look_at_own_folder()
        except InboxUnavailable as error:
            self._missed = error.reason
            self.rescan()
            return True
        return self._away is not None

    def _look_at_own_folder(self) -> None:
        try:
            with held_own_folder(self._root, OWN_FOLDER):
                return
        except FileNotFoundError:
            return  # who took that away for good must not be waited for
        except OSError as error:
            raise InboxUnavailable(f"{error.filename}: {error.strerror}") from error

    def health(self) -> WatcherHealth:
        """Return how it is. For any thread."""
        away, lack, unwatched = self._away or self._missed, self._shortage, self._unwatched
        since = self._busy_since
        silent = 0.0 if since is None else self._clock() - since
        if away is None and silent > _HUNG_AFTER_S:
            away = f"{self._root} has not answered for {silent:.0f} s"
        watching: Literal["events", "polling"] = "polling" if unwatched else "events"
        return WatcherHealth(
            name=self._name,
            path=self._root,
            is_available=away is None,
            watching=watching,
            reason=away or lack or unwatched,
            mount=self._mount,
            is_well=not away and not lack and (unwatched is None or self._is_polled_by_nature),
        )

    def is_wedged(self) -> bool:
        """
        Has it come to a stand, so that only a new start of the program helps? For any thread.

        Not where there are no events: it may be a share that hangs, which no start mends.
        """
        if self._thread.ident is not None and not self._thread.is_alive():
            return True
        is_at_work = self._busy_since is not None and self._watch is not None
        return is_at_work and self._clock() - self._moved_at > _WEDGED_AFTER_S

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            self._close_watch()

    def _turn(self) -> bool:
        """Do what is due; return whether to go on."""
        news = self._hints.take(self._patience(self._clock()))
        if news.is_stop:
            return False
        self._busy_since = self._moved_at = self._clock()
        try:
            self._heed(news, self._busy_since)
        except Exception as error:
            # Whatever it was must not end the watching. It may come again at every turn.
            self._once.tell(
                "inbox cannot be worked on", True, of=self._name, reason=repr(error), exc_info=True
            )
            self._held_until = self._clock() + _HOLD_S
            self._next_scan = max(self._next_scan, self._held_until)
        finally:
            self._busy_since = None
        return True

    def _patience(self, now: float) -> float:
        """Return for how long nothing is due."""
        moments = [self._next_scan]
        if self._candidates is not None:
            look = self._candidates.next_look()
            moments += [] if look is None else [look]
            moments += [self._held_until] if self._candidates.has_ready() else []
        return max(min(moments) - now, 0.0)

    def _heed(self, news: News, now: float) -> None:
        if news.ended is not None:
            self._close_watch()
            self._poll(news.ended, now)
        if news.are_lost:
            self._is_rebuilding = True  # folders that came in the meantime are not watched
            server_log().warning("events were lost, scanning", inbox=self._name)
        if news.is_gone:
            self._place = None  # a share that is mounted again may look just the same
        if news.is_rescan or news.are_lost or news.is_gone or news.ended is not None:
            self._next_scan = min(self._next_scan, max(now, self._soonest_scan))
        if self._candidates is not None:
            self._apply(news, self._candidates, now)
        if now >= self._next_scan:
            self._scan(now)
        if self._candidates is not None:
            is_held = self._clock() < self._held_until
            enough = None if is_held else _ENOUGH_READY
            self._candidates.look(self._clock(), _LOOKS_PER_TURN, enough)
            self._claim_some(self._candidates)

    def _apply(self, news: News, candidates: Candidates, now: float) -> None:
        if news.are_lost:
            candidates.lose_events(now)
        if news.ended is not None:
            candidates.forget_events(now)
        for path, (event, at) in news.files.items():
            candidates.heard(path, event, at, now)
        for folder in news.folders:
            self._look_below(folder, candidates)

    def _scan(self, now: float) -> None:
        try:
            if not self._was_there:
                make_place(self._root, self._mount)
            place = find_place(self._root, self._mount)
            if self._missed is not None:
                self._place = None  # who enters looks at all that is needed
            if place == self._place and self._left_claims:
                self._finish_claims()
            if place != self._place:
                self._enter(place)
            elif self._is_rebuilding or (self._watch is None and now >= self._watch_again):
                self._open_watch()
            self._missed = None
            self._look_at_all()
            self._shortage = self._found_shortage()
        except InboxUnavailable as error:
            self._leave(error.reason)
        ended = self._clock()
        took = ended - now
        interval = self._rules.rescan_s
        if self._away is None and self._unwatched is not None:
            interval = min(interval, _POLL_S)
        self._soonest_scan = ended + min(_SCAN_SHARE * took, self._rules.rescan_s)
        self._next_scan = ended + max(_SCAN_SHARE * took, interval)

    def _found_shortage(self) -> str | None:
        try:
            return shortage(self._root, self._min_free_gb)
        except OSError as error:
            raise InboxUnavailable(f"{self._root}: {error.strerror}") from error

    def _look_at_all(self) -> None:
        assert self._candidates is not None
        seen = self._look_below("", self._candidates)
        self._candidates.missed(seen, self._clock())

    def _look_below(self, folder: str, candidates: Candidates) -> set[str]:
        seen = set()
        with contextlib.suppress(FileNotFoundError):  # the inbox is gone; the next scan says so
            for path in files_below(self._root, folder, candidates.cannot_enter):
                seen.add(path)
                self._moved_at = self._clock()
                candidates.saw(path, self._moved_at)
        return seen

    def _enter(self, place: Place) -> None:
        """It is there, for the first time or again, or another folder is in its place."""
        self._close_watch()
        self._hints.forget_events()  # of the folder that was here before
        self._place, self._candidates = None, None
        self._finish_claims()
        self._candidates = Candidates(self._name, self._root, self._rules, self._is_truncated)
        self._open_watch()
        self._place, self._mount = place, place.mount_point
        self._was_there, self._away = True, None
        self._once.tell("inbox is not available", False, of=self._name)

    def _finish_claims(self) -> None:
        """Bring claims to an end that were cut short, by a crash or by a disk that refused."""
        try:
            tasks = self._claims.recover()
        except (OSError, SpoolError) as error:
            reason = f"what was claimed there cannot be recovered: {error}"
            raise InboxUnavailable(reason) from error
        self._left_claims = self._claims.are_left  # then the next scan tries again
        for task in tasks:
            self._accepted(task)

    def _leave(self, reason: str) -> None:
        self._close_watch()
        self._hints.forget_events()
        self._place, self._candidates, self._away = None, None, reason
        self._missed = None
        self._once.tell("inbox is not available", True, of=self._name, reason=reason)

    def _open_watch(self) -> None:
        self._close_watch()
        try:
            self._watch = Watch(self._root, self._hints)
        except WatchUnavailable as error:
            self._poll(error.reason, self._clock(), error.is_expected)
            return
        self._unwatched, self._is_rebuilding = None, False
        self._once.tell("inbox is polled", False, of=self._name)

    def _close_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _poll(self, reason: str, now: float, is_expected: bool = False) -> None:
        self._unwatched, self._is_rebuilding = reason, False
        self._is_polled_by_nature = is_expected
        self._watch_again = now + _WATCH_AGAIN_S
        self._once.tell("inbox is polled", True, of=self._name, reason=reason)

    def _claim_some(self, candidates: Candidates) -> None:
        end = self._clock() + _CLAIMING_S
        with self._claims.session() as claim:
            while (now := self._clock()) < end:
                if now < self._held_until or not candidates.has_ready():
                    return
                if not self._may_claim():
                    self._held_until = now + _HOLD_S
                    return
                self._moved_at = now
                found = candidates.take_ready(now)
                if found is None:
                    return
                self._claim(claim, found, candidates, now)

    def _claim(
        self,
        claim: Callable[[Found], Task | None],
        found: Found,
        candidates: Candidates,
        now: float,
    ) -> None:
        try:
            task = claim(found)
        except QueueFull:
            self._held_until = now + _HOLD_S
            self._once.tell("queue is full, files wait", True, of=self._name)
            return
        except Exception as error:  # of this file; the next one must not suffer
            candidates.failed(found, error, now)
            self._left_claims = True  # perhaps: what could not be undone is finished later
            self._failures += 1
            if self._failures >= _FAILURES_IN_A_ROW:
                self._held_until = now + _HOLD_S
            return
        self._failures = 0
        self._once.tell("queue is full, files wait", False, of=self._name)
        if task is None:
            candidates.changed(found, now)
        else:
            candidates.taken(found, task.task_id, now)
            self._accepted(task)
