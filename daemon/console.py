"""What the commands say: answers on standard output, one line of complaint on standard error."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO


class AnswerLost(Exception):
    """Standard output takes nothing more: its reader is gone or its disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the answer cannot be written: {error.strerror}.")
        self.is_unwanted = isinstance(error, BrokenPipeError)


def say(lines: Iterable[str]) -> None:
    """Print lines for people."""
    if sys.stdout is None:  # closed by who started us: nobody wants the answer
        return
    for line in lines:
        # By bytes, so that a name that is no text in this terminal's encoding can be said.
        encoding = sys.stdout.encoding or "utf-8"
        _write(printable(line).encode(encoding, "backslashreplace"))


def say_json(value: Any) -> None:
    """Print one JSON value, UTF-8 whatever the terminal's encoding."""
    if sys.stdout is None:
        return
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    # JSON lets the control characters of Latin-1 through, which terminals obey.
    text = re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)
    # A file name that is no UTF-8 holds lone surrogates; `\udc80` is how JSON writes one.
    _write(text.encode("utf-8", "backslashreplace"))


def complain(message: str) -> None:
    """Print the one line that says what went wrong, if there is anybody to say it to."""
    if sys.stderr is None:  # closed by who started us; `print` would turn to standard output
        return
    # Full, or its reader is gone: how the program ends says it all the same.
    with contextlib.suppress(OSError):
        print(f"media-cleaner: {printable(message)}", file=sys.stderr)


def shows_both() -> bool:
    """Whether answers and complaints are seen one below the other, on a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


def hold_standard_streams() -> None:
    """
    Open nothing in the place of a standard stream that who started us has closed.

    Else the next file that is opened has its number, and is written to by whatever of FFmpeg's
    libraries or a child has something to complain of.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)  # as standard streams are


def let_go_of_complaints() -> None:
    """Forget what standard error has not taken, or Python's end would fail for it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.flush()
    except OSError:
        _forget(sys.stderr)


def printable(text: str) -> str:
    """Return `text` with what could move the cursor or break the line written as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def keep_details(error: BaseException) -> Path | None:
    """Write where `error` came from to a file for a report; None where even that fails."""
    try:
        handle, name = tempfile.mkstemp(prefix="media-cleaner-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return None
    return Path(name)


def _write(line: bytes) -> None:
    try:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        _forget(sys.stdout)
        raise AnswerLost(error) from error


def _forget(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, or Python tries again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
