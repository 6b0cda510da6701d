"""
The files in an inbox, and which of them may be taken, the longest ready first.

No thread of its own: whoever owns it tells what was seen and heard, and when, asks when to
call again, and takes what is ready. Paths are from the inbox's root. A clock only keeps it from
looking for so long at a stretch that nothing is taken meanwhile.

What will never be taken is named in the log, once for as long as it lies there.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path

from daemon import names
from daemon.claims import Found
from daemon.disk import NO_ROOM
from daemon.logs import Once, server_log
from daemon.open_writers import is_open_for_writing
from daemon.pairing import Pairing, status_at
from daemon.small_file import IRREGULAR, NO_FILE
from daemon.stability import Event, Probes, Quiet, Stamp, Tracker, ready_at

_SIDECAR_CLOSED_S = 0.5
# So many that are no videos are named; then the log says that there are more.
_MOST_STRANGERS = 10_000
_MOST_TAKEN = 10_000
# A file can have as many names as its owner likes, and to look into it is dear.
_MOST_ANSWERS = 1000
# A look into a file takes from no time to seconds, where a stranger made it or a share hangs.
_LONGEST_LOOKING_S = 0.5
# A claim asks once more whether the file is what was seen, so a moment does not matter.
_FRESH_S = 0.1
_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 600.0
_REMINDER_S = 600.0
# Not the file's fault: it is to be taken soon after the disk is well again.
_OF_THE_DISK = (*NO_ROOM, errno.EROFS)


@dataclass(frozen=True)
class Rules:
    """
    When a file of an inbox is taken; config.yaml says what the words mean.

    Attributes:
        extensions: of videos, in lower case with their dot.
    """

    settle_s: float
    sidecar_grace_s: float
    incomplete_wait_s: float
    rescan_s: float
    extensions: Collection[str]


class _Kind(Enum):
    VIDEO = "video"
    SIDECAR = "sidecar"
    STRANGER = "stranger"


@dataclass(slots=True)
class _File:
    """
    Attributes:
        due: when to look at it again; None if only when something happens.
        looked_at: when that was done last.
        ready_since: since when it may be taken; None if it may not.
        sidecar: its name, of a video that is ready.
        unreadable: what lies at a better sidecar's name and is no file: its path, and what it is.
        used: the sidecar that was taken in this one's stead, and the task that it is of.
        failures: how often taking it went wrong.
        is_awaited: was it told that more of it has to come?
    """

    kind: _Kind
    tracker: Tracker
    due: float | None = None
    looked_at: float = 0.0
    ready_since: float | None = None
    sidecar: str | None = None
    unreadable: tuple[str, str] | None = None
    used: tuple[str, str] | None = None
    failures: int = 0
    is_named: bool = False
    is_awaited: bool = False


class Candidates:
    """All files of one inbox that may have to be taken or named."""

    def __init__(
        self,
        name: str,
        root: Path,
        rules: Rules,
        is_truncated: Callable[[Path], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._rules = rules
        self._is_truncated = is_truncated
        self._answers: OrderedDict[Stamp, bool] = OrderedDict()
        self._clock = clock
        self._log = server_log().bind(inbox=name)
        self._once = Once(self._log, _REMINDER_S)
        self._files: dict[str, _File] = {}
        self._due: list[tuple[float, int, str]] = []
        self._ready: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._pairing = Pairing(root, rules.extensions, self._log)
        self._taken: OrderedDict[str, str] = OrderedDict()  # videos, and their stems, by task
        self._strangers = 0

    def saw(self, path: str, now: float) -> None:
        """A scan came across this name."""
        file = self._files.get(path)
        if file is None:
            self._track(path, now)
            return
        is_done = file.is_named and file.kind is _Kind.STRANGER
        if not is_done and file.due is None and file.ready_since is None:
            self._schedule(path, file, now)

    def missed(self, seen: Collection[str], now: float) -> None:
        """A scan of everything came across these names and no others."""
        for path in self._files.keys() - seen:
            # It may have come after the scan had passed its folder.
            self._schedule(path, self._files[path], now)

    def heard(self, path: str, event: Event, at: float, now: float) -> None:
        """An event told of this name, at an earlier time."""
        if path not in self._files and (event is Event.GONE or not self._track(path, now)):
            return
        file = self._files[path]
        file.tracker.notice(event, at)
        self._schedule(path, file, now)

    def lose_events(self, now: float) -> None:
        """Events may have been lost."""
        self._each_again(lambda tracker: tracker.lose_events(now), now)

    def forget_events(self, now: float) -> None:
        """There are no events any more."""
        self._each_again(lambda tracker: tracker.forget_events(now), now)

    def cannot_enter(self, folder: str, reason: str) -> None:
        """A scan could not look into this folder."""
        self._once.tell("folder cannot be looked into", True, of=folder, reason=reason)

    def next_look(self) -> float | None:
        """Return when `look` should be called."""
        while self._due:
            at, _, path = self._due[0]
            file = self._files.get(path)
            if file is not None and file.due == at:
                return at
            heapq.heappop(self._due)
        return None

    def look(self, now: float, most: int, enough: int | None = None) -> None:
        """
        Look at the files whose time has come, at `most` so many of them, and not for long.

        Where so many wait to be taken, `enough` of them will do: the others are looked at when
        it is their turn, not now and then again.
        """
        end = self._clock() + _LONGEST_LOOKING_S
        for _ in range(most):
            at = self.next_look()
            if at is None or at > now or self._clock() >= end:
                return
            if enough is not None and len(self._ready) >= enough:
                return
            _, _, path = heapq.heappop(self._due)
            file = self._files[path]
            file.due = None
            self._look(path, file, now)

    def has_ready(self) -> bool:
        """Is there a file to take, as it seems?"""
        while self._ready:
            at, _, path = self._ready[0]
            file = self._files.get(path)
            if file is not None and file.ready_since == at:
                return True
            heapq.heappop(self._ready)
        return False

    def take_ready(self, now: float) -> Found | None:
        """
        Return the file that has been ready for the longest, None if there is none.

        What became of it must be told by one of the three that follow; else it keeps its place.
        """
        while self.has_ready():
            _, _, path = self._ready[0]
            file = self._files[path]
            if now - file.looked_at > _FRESH_S:
                # It has waited: what was seen then counts no more.
                heapq.heappop(self._ready)
                file.ready_since = None
                self._look(path, file, now)
                if file.ready_since is None:
                    continue
            stamp = file.tracker.stamp
            assert stamp is not None  # it was looked at
            folder, name = os.path.split(path)
            return Found(folder, name, file.sidecar, stamp, _refused_sidecar(file))
        return None

    def taken(self, found: Found, task_id: str, now: float) -> None:
        """It is a task now."""
        path = _path(found)
        for key in (path, names.stem(path)):
            self._taken[key] = task_id
            self._taken.move_to_end(key)
        while len(self._taken) > _MOST_TAKEN:
            self._taken.popitem(last=False)
        self._tell_unreadable(path, found, task_id)
        self._note_unused(found, task_id)
        self._forget(path, now)

    def changed(self, found: Found, now: float) -> None:
        """It had changed when it was to be taken, and lies there again."""
        file = self._files.get(_path(found))
        if file is not None:
            file.tracker.put_back(now)
            self._schedule(_path(found), file, now)

    def failed(self, found: Found, error: Exception, now: float) -> None:
        """It could not be taken; others may be."""
        path = _path(found)
        file = self._files[path]
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        place = f"{found.subfolder or '.'}: {reason}"  # others there wait for the same
        self._once.tell("file cannot be taken", True, of=place, file=path)
        is_disk = getattr(error, "errno", None) in _OF_THE_DISK
        pause = _FIRST_PAUSE_S if is_disk else self._growing_pause(file)
        self._schedule(path, file, now + pause)

    def _growing_pause(self, file: _File) -> float:
        pause = min(_FIRST_PAUSE_S * 2**file.failures, _LONGEST_PAUSE_S)
        file.failures += 1
        return pause

    def _tell_unreadable(self, path: str, found: Found, task_id: str) -> None:
        """Name what lies at a better sidecar's name than the one that was taken."""
        file = self._files.get(path)
        if file is None or file.unreadable is None or found.sidecar is None:
            return
        sidecar, what = file.unreadable
        self._log.warning(
            "sidecar cannot be read, its video was taken with another",
            file=sidecar,
            reason=f"it is {what}, not a file",
            used=found.sidecar,
            task_id=task_id,
        )

    def _note_unused(self, found: Found, task_id: str) -> None:
        """Remember which sidecars lay there beside the one that was taken."""
        if found.sidecar is None:
            return
        for name in names.sidecar_names(found.video):
            other = self._files.get(os.path.join(found.subfolder, name))
            if other is not None and name != found.sidecar:
                other.used = found.sidecar, task_id

    def _track(self, path: str, now: float) -> bool:
        """Begin to know a file; return whether there was room for that."""
        name = os.path.basename(path)
        if names.is_left_alone(name):
            return False
        kind = self._kind(name)
        if kind is _Kind.STRANGER:
            is_full = self._strangers >= _MOST_STRANGERS
            self._once.tell("too many files that are no videos to name them all", is_full)
            if is_full:
                return False
            self._strangers += 1
        if kind is _Kind.VIDEO:
            self._pairing.add_video(path)
        file = _File(kind, Tracker(self._quiet(kind)))
        self._files[path] = file
        self._schedule(path, file, now)
        return True

    def _kind(self, name: str) -> _Kind:
        if names.is_video(name, self._rules.extensions):
            return _Kind.VIDEO
        return _Kind.SIDECAR if names.is_sidecar(name) else _Kind.STRANGER

    def _quiet(self, kind: _Kind) -> Quiet:
        closed_s = self._rules.sidecar_grace_s
        if kind is _Kind.SIDECAR:
            closed_s = min(_SIDECAR_CLOSED_S, closed_s)
        return Quiet(closed_s, self._rules.settle_s, self._rules.incomplete_wait_s)

    def _each_again(self, tell: Callable[[Tracker], None], now: float) -> None:
        for path, file in self._files.items():
            tell(file.tracker)
            if not file.is_named:
                self._schedule(path, file, now)

    def _schedule(self, path: str, file: _File, at: float) -> None:
        file.ready_since = None
        if file.due != at:
            file.due = at
            heapq.heappush(self._due, (at, next(self._order), path))

    def _push_ready(self, path: str, file: _File) -> None:
        assert file.ready_since is not None
        heapq.heappush(self._ready, (file.ready_since, next(self._order), path))

    def _forget(self, path: str, now: float) -> None:
        kind = self._files.pop(path).kind
        if kind is _Kind.STRANGER:
            self._strangers -= 1
        elif kind is _Kind.SIDECAR:
            self._pairing.remove_sidecar(path)
        else:
            self._pairing.remove_video(path)
            self._look_again_at_sidecars(path, now)

    def _look_again_at_sidecars(self, video: str, now: float) -> None:
        """The video is gone; those that are left have none now, or another."""
        folder, name = os.path.split(video)
        for sidecar in names.sidecar_names(name):
            path = os.path.join(folder, sidecar)
            if file := self._files.get(path):
                self._schedule(path, file, now)

    def _look(self, path: str, file: _File, now: float) -> None:
        file.looked_at = now
        try:
            status = os.lstat(self._root / path)
        except (FileNotFoundError, NotADirectoryError):
            self._forget(path, now)
            return
        except OSError as error:
            self.cannot_enter(os.path.dirname(path), error.strerror or str(error))
            self._schedule(path, file, now + self._rules.rescan_s)
            return
        if stat.S_ISDIR(status.st_mode):
            self._forget(path, now)
            return
        file.tracker.look(Stamp.of(status), now)
        if what := IRREGULAR.get(stat.S_IFMT(status.st_mode)):
            self._name_when_still(path, file, now, what)
        elif file.kind is _Kind.VIDEO:
            self._look_at_video(path, file, now)
        elif file.kind is _Kind.SIDECAR:
            self._look_at_sidecar(path, file, now)
        else:
            self._name_when_still(path, file, now, "not a video")

    def _look_at_video(self, path: str, file: _File, now: float) -> None:
        at = file.tracker.whole_at(now, self._probes(path, file.tracker))
        if at <= now:
            file.sidecar, sidecar_at = self._sidecar_of(path, file, now)
            at = ready_at(at, sidecar_at, self._rules.sidecar_grace_s)
        elif file.tracker.is_incomplete:
            self._tell_awaited(path, file, at - now)
        if at > now:
            self._schedule(path, file, at)
        else:
            file.is_named = False
            file.ready_since = at
            self._push_ready(path, file)

    def _tell_awaited(self, path: str, file: _File, wait_s: float) -> None:
        """Say once of a file that it waits for its rest, which may take as long as minutes."""
        if file.is_awaited:
            return
        file.is_awaited = True
        self._log.info(
            "video is not whole yet",
            file=path,
            reason="its container states more bytes than there are",
            taken_at=(datetime.now().astimezone() + timedelta(seconds=wait_s)).isoformat(
                timespec="seconds"
            ),
        )

    def _probes(self, path: str, tracker: Tracker) -> Probes:
        place = self._root / path
        return Probes(
            lambda: is_open_for_writing(place),
            lambda: self._is_stamp_truncated(tracker.stamp, place),
        )

    def _is_stamp_truncated(self, stamp: Stamp | None, place: Path) -> bool:
        """Ask once of each file, whatever names it has."""
        assert stamp is not None  # it was looked at
        answer = self._answers.get(stamp)
        if answer is None:
            answer = self._answers[stamp] = self._is_truncated(place)
            if len(self._answers) > _MOST_ANSWERS:
                self._answers.popitem(last=False)
        return answer

    def _sidecar_of(self, video: str, file: _File, now: float) -> tuple[str | None, float | None]:
        """Return the name of a video's sidecar and when it is whole; None twice if it has none."""
        file.unreadable = None
        for path in self._pairing.sidecars_of(video):
            status = status_at(self._root / path)
            if status is None:
                continue
            if stat.S_ISREG(status.st_mode):
                return os.path.basename(path), self._sidecar_at(path, Stamp.of(status), now)
            file.unreadable = file.unreadable or (path, NO_FILE[stat.S_IFMT(status.st_mode)])
        return None, None

    def _sidecar_at(self, path: str, stamp: Stamp, now: float) -> float:
        """Return when a sidecar is or may become whole."""
        if path not in self._files:
            self._track(path, now)
        tracker = self._files[path].tracker
        tracker.look(stamp, now)
        return tracker.whole_at(now, self._sidecar_probes(path))

    def _sidecar_probes(self, path: str) -> Probes:
        place = self._root / path
        return Probes(lambda: is_open_for_writing(place), lambda: False)

    def _look_at_sidecar(self, path: str, file: _File, now: float) -> None:
        at = file.tracker.whole_at(now, self._sidecar_probes(path))
        if at > now:
            self._schedule(path, file, at)
            return
        is_contested = self._pairing.is_contested(path)
        if videos := self._pairing.videos_of(path):
            for video in videos:
                if self._files[video].ready_since is None:
                    self._schedule(video, self._files[video], now)
        elif is_contested:
            return  # it was told
        elif file.used is not None:
            self._name_unused(path, file, *file.used)
        elif not file.is_named:
            self._name_orphan(path, file, at, now)

    def _name_unused(self, path: str, file: _File, used: str, task_id: str) -> None:
        file.is_named, file.used = True, None
        self._log.warning(
            "sidecar not used, its video had another", file=path, used=used, task_id=task_id
        )

    def _name_orphan(self, path: str, file: _File, whole: float, now: float) -> None:
        task_id = self._taken.get(names.stem(path))
        wait = self._rules.settle_s if task_id else self._rules.incomplete_wait_s
        if now < whole + wait:
            self._schedule(path, file, whole + wait)
            return
        file.is_named = True
        if task_id:
            self._log.warning("sidecar came after its video was taken", file=path, task_id=task_id)
        else:
            self._log.warning("sidecar without a video", file=path)

    def _name_when_still(self, path: str, file: _File, now: float, what: str) -> None:
        if file.is_named:
            return
        if now < file.tracker.still_at():
            self._schedule(path, file, file.tracker.still_at())
            return
        file.is_named = True
        self._log.info("left where it is", file=path, reason=what)


def _refused_sidecar(file: _File) -> str | None:
    """Return why a video's sidecar cannot be read, where it has no other."""
    if file.sidecar is not None or file.unreadable is None:
        return None
    path, what = file.unreadable
    return f"{os.path.basename(path)} is {what}, not a file, and so is not read."


def _path(found: Found) -> str:
    return os.path.join(found.subfolder, found.video)
