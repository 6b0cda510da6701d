"""
API keys: one file each under `state/keys`, which holds a hash and never the key.

A key is 256 random bits, so it cannot be guessed and one SHA-256 of it is enough; what hashes
for passwords guard against, the short and the well-known, it cannot be.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon import atomic
from daemon.errors import CannotListen
from daemon.logs import Once, server_log
from daemon.spool_errors import SpoolError
from pipeline.errors import InvalidParameters
from pipeline.parameters import Parameters

FOLDER = "keys"
ALLOWED_NAMES = "1 to 64 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
# Tells a person, and a program that looks for lost secrets, what the text is.
_PREFIX = "mc_"
_KEY_BYTES = 32
_SUFFIX = ".json"
_MOST_BYTES = 1 << 16
_LOOK_SECONDS = 2.0


class KeyExists(SpoolError):
    """There is a key of this name."""

    code = "key_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a key {name} already; revoke it first, or take another name.")


class UnknownKey(SpoolError):
    """There is no key of this name."""

    code = "unknown_key"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no key {name}; `keys list` shows those there are.")


class KeyUnreadable(SpoolError):
    """A key's file cannot be used, so nobody can call by it."""

    code = "key_unreadable"


@dataclass(frozen=True)
class Key:
    """
    Who may call, as far as it is kept.

    Attributes:
        user_id: whose tasks it sees, and whose its uploads are; an admin's may have none.
        sha256: of the key's text, in hex.
    """

    name: str
    user_id: str | None
    is_admin: bool
    sha256: str
    created_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return what may be shown, as JSON can hold it."""
        return {
            "name": self.name,
            "user_id": self.user_id,
            "is_admin": self.is_admin,
            "created_at": self.created_at.isoformat(),
        }


def is_key_name(name: str) -> bool:
    """Can a key have this name?"""
    return _NAME.fullmatch(name) is not None


def add(
    folder: Path, name: str, user_id: str | None, is_admin: bool, now: datetime
) -> tuple[str, Key]:
    """
    Make a key; durable when this returns.

    Args:
        name: one that `is_key_name`.

    Returns:
        The key's text, which cannot be had again, and what is kept of it.

    Raises:
        KeyExists: the name is taken.
    """
    text = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    key = Key(name, user_id, is_admin, _hash(text), now)
    _make_closed_folder(folder)
    content = json.dumps({**key.as_dict(), "sha256": key.sha256}, indent=1) + "\n"
    try:
        atomic.write_new(_path(folder, name), content.encode(), mode=0o600)
    except FileExistsError:
        raise KeyExists(name) from None
    return text, key


def revoke(folder: Path, name: str) -> None:
    """
    Remove a key for good, one whose file is damaged too.

    Raises:
        UnknownKey: there is none of this name.
    """
    if not is_key_name(name):  # nor a path to somewhere else
        raise UnknownKey(name)
    try:
        atomic.remove(_path(folder, name))
    except FileNotFoundError:
        raise UnknownKey(name) from None


def listed(folder: Path) -> tuple[list[Key], list[KeyUnreadable]]:
    """Return the keys by name, and what is wrong with those that cannot be read."""
    keys: list[Key] = []
    unreadable: list[KeyUnreadable] = []
    for path in _paths(folder):
        try:
            keys.append(_read(path))
        except FileNotFoundError:
            continue  # revoked in this moment
        except KeyUnreadable as error:
            unreadable.append(error)
    return keys, unreadable


def are_there(folder: Path) -> bool:
    """
    Is any key there now? One that cannot be read counts, lest its damage opens the door.

    Raises:
        CannotListen: the folder cannot be looked at, so nobody can tell who may be let in.
    """
    try:
        return bool(_fingerprint(folder))
    except OSError as error:
        raise CannotListen(
            f"the API keys cannot be read: {folder}: {error.strerror}; it has to be a folder of"
            " the service's user."
        ) from error


class Keys:
    """
    The keys as those who answer requests see them; for any number of threads.

    They are looked at every two seconds at most, so that what was added or revoked counts soon
    and a request costs no reading of files.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._once = Once(server_log(), clock=clock)
        self._seen: _Seen | None = None
        self._look_at = float("-inf")

    @property
    def were_there(self) -> bool:
        """
        Was any key there at the last look? One that cannot be read counts, as in `are_there`.

        Raises:
            OSError: the folder cannot be looked at, and never could.
        """
        return bool(self._current().fingerprint)

    def look(self) -> None:
        """
        Remember what is there, for when it cannot be read; the next request looks again.

        Raises:
            OSError: it cannot.
        """
        with self._lock:
            self._seen = self._looked(self._seen)

    def find(self, text: str) -> Key | None:
        """
        Return the key that `text` is, None where it is none.

        Raises:
            OSError: the folder cannot be looked at, and never could.
        """
        given = _hash(text)
        # All of them, so that the time tells nothing of which one was nearly right.
        found = [k for k in self._current().keys if hmac.compare_digest(k.sha256, given)]
        return found[0] if found else None

    def named(self, name: str) -> Key | None:
        """
        Return the key of a name, None where there is none.

        Raises:
            OSError: as `find`.
        """
        return next((key for key in self._current().keys if key.name == name), None)

    def _current(self) -> _Seen:
        with self._lock:
            if self._seen is None or self._clock() >= self._look_at:
                self._seen = self._looked(self._seen)
                self._look_at = self._clock() + _LOOK_SECONDS
            return self._seen

    def _looked(self, before: _Seen | None) -> _Seen:
        try:
            seen = self._read_anew(before)
        except OSError as error:
            self._once.tell("API keys cannot be read", True, reason=str(error))
            if before is None:
                raise
            return before
        self._once.tell("API keys cannot be read", False)
        return seen

    def _read_anew(self, before: _Seen | None) -> _Seen:
        fingerprint = _fingerprint(self._folder)
        state = _identity(self._folder.parent)
        if before is not None and before.fingerprint and not fingerprint:
            _check_same(before.state, state)
        if before is not None and before.fingerprint == fingerprint:
            return before
        keys, unreadable = listed(self._folder)
        for trouble in unreadable:
            server_log().warning("an API key cannot be read", reason=trouble.message)
        return _Seen(fingerprint, tuple(keys), state)


_Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class _Seen:
    fingerprint: _Fingerprint
    keys: tuple[Key, ...]
    state: tuple[int, int] | None  # device and inode of the folder that holds the keys' own


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _check_same(before: tuple[int, int] | None, now: tuple[int, int] | None) -> None:
    """
    Raises:
        OSError: `state` was moved away or is not mounted, which revokes nothing; an empty
            folder may lie in its place.
    """
    if now != before:
        raise FileNotFoundError(errno.ENOENT, "the folder that holds the keys is another one")


def _fingerprint(folder: Path) -> _Fingerprint:
    """Return what changes whenever a key's file does; empty where there is none."""
    found = []
    for path in _paths(folder):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue  # revoked in this moment
        found.append((path.name, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _paths(folder: Path) -> list[Path]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    # Not the temporary file of a key that is just being added.
    ours = [n for n in names if n.endswith(_SUFFIX) and is_key_name(n.removesuffix(_SUFFIX))]
    return [folder / name for name in sorted(ours)]


def _read(path: Path) -> Key:
    try:
        with path.open("rb") as file:
            return _parsed(path.name.removesuffix(_SUFFIX), json.loads(file.read(_MOST_BYTES)))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyUnreadable(
            f"{path}: {error.strerror}; it must be readable by the service's user."
        ) from error
    except (ValueError, TypeError, KeyError, InvalidParameters) as error:
        raise KeyUnreadable(f"{path} is no key's file ({error}); revoke and add it.") from error


def _parsed(name: str, values: Any) -> Key:
    sha256, is_admin = values["sha256"], values["is_admin"]
    if values["name"] != name:
        raise ValueError(f"it names {values['name']!r}")
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError("sha256 is no hash")
    if not isinstance(is_admin, bool):
        raise ValueError("is_admin is neither true nor false")
    user_id = Parameters.parse({"user_id": values["user_id"]}).user_id
    if user_id is None and not is_admin:
        raise ValueError("it is nobody's")
    return Key(name, user_id, is_admin, sha256, datetime.fromisoformat(values["created_at"]))


def _hash(text: str) -> str:
    # Whatever a header may hold, if only to be no key.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _make_closed_folder(folder: Path) -> None:
    atomic.make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    atomic.sync_folder(folder.parent)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}{_SUFFIX}"
