"""
One file of log lines that several processes may append to. It never raises.

Every line is its own open, one write and close (30 µs): so a rotation by another process, or a
folder that was removed and came back, needs no care, and lines of two processes never mix. A
line that cannot be written (a full disk, a folder that is gone) is lost; that is said once on
standard error when it begins (a disk that is full now and then: once in a while), and in the
file, with how many were lost, when it ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

from daemon.atomic import write_all
from daemon.console import complain

MOST_BYTES = 10_000_000
KEPT = 5
_PAUSE_SECONDS = 60.0
# What another process is just writing is whole within microseconds.
_LOOKS, _BETWEEN_LOOKS_SECONDS = 5, 0.01


class LineFile(logging.Handler):
    """Appends to `path`, whoever rotates it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._lost = 0
        self._told = -_PAUSE_SECONDS
        self._refusal: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line, or count it as lost."""
        try:
            self._append(self._bytes(record))
        except OSError as error:
            self._refusal = f"{self._path} cannot be written: {error.strerror}"
            self._lose(self._refusal)
        except Exception as error:  # a fact that cannot even be shown: a fault of whoever logged it
            self._lose(f"a line for {self._path} cannot be made: {type(error).__name__}: {error}")

    def trouble(self) -> str | None:
        """Return why lines are lost, after another try; None where they are not, or no longer."""
        if self._refusal is None:
            return None
        self.acquire()
        try:
            self._append(b"")  # how many were lost: else nobody tries before the next event
        except OSError as error:
            self._refusal = f"{self._path} cannot be written: {error.strerror}"
        finally:
            self.release()
        return self._refusal

    def _append(self, data: bytes) -> None:
        lost = self._bytes(self._end_of_loss()) if self._lost else b""
        try:
            self._write(lost + data)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._write(lost + data)
        self._lost, self._refusal = 0, None

    def _write(self, data: bytes) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o640)
        try:
            # A disk that was full left a line cut short, this process's or another's.
            write_all(descriptor, data if _ends_line(descriptor) else b"\n" + data)
        finally:
            os.close(descriptor)

    def _bytes(self, record: logging.LogRecord) -> bytes:
        # The undecodable bytes of a file's name are lone surrogates: written as `\udc80`, which
        # is how JSON writes one.
        return self.format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _end_of_loss(self) -> logging.LogRecord:
        text = f"{self._lost} log lines before this one could not be written"
        return logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)

    def _lose(self, reason: str) -> None:
        self._lost += 1
        now = time.monotonic()
        if self._lost == 1 and now >= self._told + _PAUSE_SECONDS:
            self._told = now
            tell_on_stderr(f"{reason}; log lines are lost until it can be.")


class RotatedLineFile(LineFile):
    """The same in the one process that rotates: `NAME` becomes `NAME.1` and so on."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES, kept: int = KEPT) -> None:
        super().__init__(path)
        self._most_bytes = most_bytes
        self._kept = kept
        self._is_stuck = False

    def _append(self, data: bytes) -> None:
        if _size(self._path) + len(data) > self._most_bytes:
            try:
                self._rotate()
                self._is_stuck = False
            except OSError as error:
                self._tell_stuck(error)  # a file that grows is better than a line that is lost
        super()._append(data)

    def _rotate(self) -> None:
        for number in range(self._kept, 0, -1):
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            with contextlib.suppress(FileNotFoundError):
                os.replace(newer, f"{self._path}.{number}")

    def _tell_stuck(self, error: OSError) -> None:
        if not self._is_stuck:
            tell_on_stderr(f"{self._path} cannot be rotated: {error.strerror}; it goes on growing.")
        self._is_stuck = True


def tell_on_stderr(sentence: str) -> None:
    """Say what the logs themselves cannot say, if there is anybody to say it to."""
    with contextlib.suppress(ValueError):  # it was closed meanwhile
        complain(sentence)


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):  # not there yet; or the writing will tell
        return os.stat(path).st_size
    return 0


def _ends_line(descriptor: int) -> bool:
    """Whether the file ends with a whole line, now or as soon as another process is through."""
    for _ in range(_LOOKS):
        size = os.fstat(descriptor).st_size
        if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
            return True
        time.sleep(_BETWEEN_LOOKS_SECONDS)
    return False
