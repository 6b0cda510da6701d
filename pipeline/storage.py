"""
Tell a disk or a share that fails from a file that breaks off.

What breaks off is protected as far as it can be read. What a share did not give just now is still
there, and a copy of the half that came would pass for the whole.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av.error

from pipeline.boxes import completeness
from pipeline.errors import InputFailed, PipelineError, UnreadableMedia, cause_among
from pipeline.probe import open_media

_FAILURES = (
    *(errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOMEDIUM, errno.EREMOTEIO, errno.EUCLEAN),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    *(errno.ECONNRESET, errno.ECONNABORTED, errno.EBADMSG),
)
_READ_BYTES = 1 << 20


@contextlib.contextmanager
def storage_failure_told(original: Path) -> Iterator[None]:
    """
    Raises:
        InputFailed: in the place of whatever it led to that `original` cannot be read.
    """
    try:
        yield
    except (PipelineError, OSError) as error:
        cause: Any = cause_among(error, _FAILURES)
        if cause is not None:
            _read_through(original)
            # The result's disk may have answered it as well, but that has errors of its own.
            if isinstance(error, UnreadableMedia) or not isinstance(error, PipelineError):
                _refuse_what_is_whole(original, cause)
        raise


def refuse_what_storage_lost(original: Path, error: av.error.FFmpegError) -> None:
    """
    Take a file whose reading ended by an error for one that breaks off, if it may be one.

    Raises:
        InputFailed: its disk or share failed.
    """
    if error.errno in _FAILURES:
        _read_through(original)
        _refuse_what_is_whole(original, error)


def _refuse_what_is_whole(original: Path, error: OSError | av.error.FFmpegError) -> None:
    # The failure is over. FFmpeg calls it one too, each time, where a file ends amid a packet, and
    # where the head of a Matroska file is damaged.
    if error.errno != errno.EIO or (_has_stated_length(original) and _opens(original)):
        raise _failed(original, error)


def _has_stated_length(original: Path) -> bool:
    found = completeness(original)
    return found.stated_bytes is not None and not found.is_truncated


def _opens(original: Path) -> bool:
    try:
        open_media(original, packets_only=True).close()
    except UnreadableMedia:
        return False
    return True


def _read_through(original: Path) -> None:
    try:
        with original.open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass
    except OSError as error:
        raise _failed(original, error) from error


def _failed(original: Path, error: OSError | av.error.FFmpegError) -> InputFailed:
    return InputFailed(
        f"{original.name} cannot be read: {error.strerror}. Its disk or network share fails: mend"
        " that, then try again."
    )
