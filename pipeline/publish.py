"""Names of copies, and a finished file's way to its name."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pipeline.errors import OutputFailed

_LONGEST_STEM = 200  # bytes; file systems allow 255 for the whole name


def protected_name(original: Path, suffix: str) -> str:
    """Return the file name of `original`'s protected copy; a long stem is cut."""
    return derived_name(original, f"_protected{suffix}")


def derived_name(original: Path, ending: str) -> str:
    """Return `original`'s name without its suffix and with `ending`; a long stem is cut."""
    stem = os.fsencode(original.stem)[:_LONGEST_STEM]
    # A cut may fall inside a character.
    return f"{stem.decode('utf-8', 'ignore')}{ending}"


def publish(partial: Path, output: Path, may_replace: bool) -> None:
    """
    Rename durably: file and folder reach the disk before anyone is told.

    Raises:
        OutputFailed: the disk does not take it, or a file of that name has come that may not
            be replaced.
    """
    try:
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if not may_replace and output.exists():
            raise OutputFailed(f"{output} has come to be meanwhile; name another, or replace it.")
        os.replace(partial, output)
    except OSError as error:
        raise OutputFailed(f"{output} cannot be written: {error.strerror}.") from error
    # Some network shares cannot do this for a folder; the result is there all the same.
    with contextlib.suppress(OSError):
        _sync_folder(output.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
