"""
Hints about what happens in an inbox.

Events can be lost at any time. They make the service quick; that nothing is missed is left
to the scans of `daemon.inbox`.

watchdog's reader of inotify(7) is used without its observers. Those watch every folder below a
root, the service's own too (one for each task, for ever), keep silent when the table of
watches is full or events were lost, and let all events wait for half a second behind a file
that was moved away.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)
from watchdog.observers.inotify_c import InotifyConstants as Bits

from daemon import mounts
from daemon.hints import Hints
from daemon.names import is_left_alone
from daemon.stability import Event

_CAME = Bits.IN_CREATE | Bits.IN_MOVED_TO
_WENT = Bits.IN_DELETE | Bits.IN_MOVED_FROM
_SELF_WENT = Bits.IN_DELETE_SELF | Bits.IN_MOVE_SELF | Bits.IN_UNMOUNT
_MASK = Mask(
    (_CAME | _WENT | Bits.IN_MODIFY | Bits.IN_CLOSE_WRITE)
    | (Bits.IN_DELETE_SELF | Bits.IN_MOVE_SELF)
    | (Bits.IN_ONLYDIR | Bits.IN_DONT_FOLLOW | Bits.IN_EXCL_UNLINK)
)
_KINDS = (
    (Bits.IN_MOVED_TO, Event.MOVED_IN),
    (Bits.IN_CREATE, Event.CREATED),
    (Bits.IN_CLOSE_WRITE, Event.CLOSED),
    (Bits.IN_MODIFY, Event.WRITING),
    (_WENT, Event.GONE),
)
# With these nothing can be watched; with others one folder cannot, and the scan tells why.
_EXHAUSTED = (errno.ENOSPC, errno.ENOMEM)
# What watchdog returns for a folder that may not be entered.
_REFUSED = -1
_numbers = itertools.count(1)  # of callbacks, whose names are to be unique
# Each write sends an event, but equal ones in a row that nobody has read yet become one. So a
# busy writer costs next to nothing, where each event by itself takes 30 microseconds.
_WRITES_PAUSE_S = 0.005


class WatchUnavailable(Exception):
    """
    There can be no events; the reason is for people.

    Attributes:
        is_expected: it lies in the file system's nature, and nobody need do anything.
    """

    def __init__(self, reason: str, is_expected: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_expected = is_expected


@dataclass(frozen=True)
class _Watched:
    """A folder's path below the root, "" for the root itself, and our name for its callback."""

    path: str
    callback: CallbackId


class Watch:
    """
    Tells `hints` what happens below a folder, until it is closed.

    What is left alone by its name is not watched, nor are folders behind links. When the root
    goes, or no more folders can be watched, the hints are told, and nothing more will come.
    The methods whose names begin with `on_` are called by watchdog's thread, which all share.

    Raises:
        WatchUnavailable: it cannot be watched, or not all of it.
    """

    def __init__(self, root: Path, hints: Hints) -> None:
        # With its links followed here, so that none needs to be followed below.
        self._root = os.path.realpath(root)
        self._hints = hints
        self._lock = threading.RLock()  # for all that follows
        self._is_closed = False
        self._last: tuple[WatchDescriptor, bytes] | None = None
        self._folders: dict[WatchDescriptor, _Watched] = {}
        self._watches: dict[str, WatchDescriptor] = {}  # by path
        _refuse_remote(root)
        try:
            self._inotify = InotifyFD.get_instance()
        except OSError as error:
            raise WatchUnavailable(_reason(error)) from error
        with self._lock:
            try:
                if not self._add(""):
                    raise WatchUnavailable("the folder may not be read by this user")
                self._add_below("")
            except OSError as error:
                self.close()
                raise WatchUnavailable(_reason(error)) from error

    def close(self) -> None:
        """End it; no hint comes afterwards."""
        with self._lock:
            self._is_closed = True
            self._inotify.remove_callbacks(
                [(watch, folder.callback) for watch, folder in self._folders.items()]
            )
            self._folders, self._watches = {}, {}

    def on_event(self, event: InotifyEvent) -> None:
        """Something happened in a folder."""
        if event.is_modify and self._last == (event.wd, event.name):
            time.sleep(_WRITES_PAUSE_S)
        self._last = (event.wd, event.name)
        with self._lock:
            if not self._is_closed:
                self._tell_or_end(event)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """A folder went, and its watch with it."""
        with self._lock:
            folder = self._folders.pop(wd, None)
            if folder is not None:
                self._watches.pop(folder.path, None)

    def on_queue_overflow(self) -> None:
        """Events were lost."""
        with self._lock:
            if not self._is_closed:
                self._hints.lost()

    def _tell_or_end(self, event: InotifyEvent) -> None:
        try:
            self._tell(event)
        except OSError as error:
            # Out of watches: the inbox goes on by scans, and opens a new watch some time.
            self.close()
            self._hints.end(_reason(error))

    def _tell(self, event: InotifyEvent) -> None:
        folder, name = self._folders.get(event.wd), os.fsdecode(event.name)
        if folder is None or is_left_alone(name):
            return
        path = os.path.join(folder.path, name)
        if not name:
            if event.mask & _SELF_WENT and folder.path == "":
                self._hints.gone()
        elif event.mask & Bits.IN_ISDIR:
            self._tell_of_folder(event, path)
        else:
            kind = next(kind for mask, kind in _KINDS if event.mask & mask)
            self._hints.file(path, kind)

    def _tell_of_folder(self, event: InotifyEvent, path: str) -> None:
        # One that was moved away is watched still, and would be taken for what takes its place.
        self._remove(path)
        if event.mask & _WENT:
            self._hints.file(path, Event.GONE)
        else:
            self._add_found(path)
            self._add_below(path)
            self._hints.folder(path)  # for what came into it before it was watched

    def _add_below(self, folder: str) -> None:
        waiting = [folder]
        while waiting:
            # Each is watched before it is listed: what comes later sends events.
            found = [p for p in _folders_in(self._root, waiting.pop()) if self._add_found(p)]
            waiting.extend(found)

    def _add_found(self, path: str) -> bool:
        """Watch a folder; return whether that was possible, and is new."""
        if path in self._watches:
            return False
        try:
            return self._add(path)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise
            return False

    def _add(self, path: str) -> bool:
        name = os.fsencode(os.path.join(self._root, path))
        callback = CallbackId(next(_numbers))
        watch = self._inotify.add_callback(name, _MASK, self, callback)
        if watch == _REFUSED:
            self._inotify.remove_callbacks([(watch, callback)])
            return False
        known = self._folders.get(watch)
        if known is not None:  # under another path: it was moved, and the event is on its way
            self._inotify.remove_callbacks([(watch, known.callback)])
            self._watches.pop(known.path, None)
        self._folders[watch] = _Watched(path, callback)
        self._watches[path] = watch
        return True

    def _remove(self, path: str) -> None:
        """Watch a folder and those below it no longer."""
        for below in [p for p in self._watches if p == path or p.startswith(path + os.sep)]:
            watch = self._watches.pop(below)
            self._inotify.remove_callbacks([(watch, self._folders.pop(watch).callback)])


def _folders_in(root: str, folder: str) -> Iterator[str]:
    # Gone by now, or closed to us: the scan tells of that.
    with contextlib.suppress(OSError), os.scandir(os.path.join(root, folder)) as entries:
        for entry in entries:
            if not is_left_alone(entry.name) and entry.is_dir(follow_symlinks=False):
                yield os.path.join(folder, entry.name)


def _refuse_remote(root: Path) -> None:
    try:
        mount = mounts.mount_of(root)
    except OSError as error:
        raise WatchUnavailable(_reason(error)) from error
    if mount is not None and mounts.is_remote(mount.file_system):
        reason = f"{mount.file_system} tells nothing of what others write"
        raise WatchUnavailable(reason, is_expected=True)


def _reason(error: OSError) -> str:
    return _MEANINGS.get(error.errno or 0) or error.strerror or str(error)


# These errors mean something else here than their usual words say.
_MEANINGS = {
    errno.ENOSPC: "this user watches as many folders as fs.inotify.max_user_watches allows",
    errno.EMFILE: "this user has as many queues as fs.inotify.max_user_instances allows",
}
