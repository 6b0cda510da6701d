"""
A new file that is written through FFmpeg: opened, abandoned, and what its failures mean to users.

Which tracks go in is the business of `writer` and `strip`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
from av.container import OutputContainer

from pipeline.errors import OutputFailed, UnsupportedMedia

# What FFmpeg's muxers answer, once their file is open, to times, sizes or codec headers that
# their container cannot hold. A full, broken or closed disk says none of these.
_REFUSED = (av.error.ArgumentError, av.error.InvalidDataError, av.error.PatchWelcomeError)


def open_output(
    path: Path, muxer: str, *, may_move_index: bool, is_unofficial: bool = False
) -> OutputContainer:
    """
    Begin a file that names no program's version.

    Args:
        muxer: FFmpeg's name of it.
        may_move_index: an MP4's index goes to its front in the end, so that a browser plays before
            it has the whole file; not where something is to be added to it afterwards.
        is_unofficial: what others write there and the standard does not have is written, too.

    Raises:
        FFmpegError, OSError: it cannot be made.
    """
    options = {"fflags": "+bitexact"}
    if muxer in ("mp4", "mov"):
        options["movflags"] = "+write_colr+faststart" if may_move_index else "+write_colr"
        # Of what is encoded by quality FFmpeg states an average of 0 bit/s there: players on
        # GStreamer, as WebKit on Linux, then hold too little for both tracks and stop.
        options["write_btrt"] = "0"
    if is_unofficial:
        options["strict"] = "unofficial"
    return av.open(str(path.absolute()), "w", format=muxer, options=options)


def abandon_output(container: OutputContainer, path: Path) -> None:
    """Remove a file that is not complete, and let go of it."""
    # Removed first: closing writes an index, and moving it to the front of a large file
    # takes long. Without a name that step fails at once, which is what we want.
    with contextlib.suppress(OSError):  # nothing is there, as on a read-only disk
        path.unlink()
    with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
        container.close()


@contextlib.contextmanager
def refusal_told(name: str, muxer: str) -> Iterator[None]:
    """
    Raises:
        UnsupportedMedia: a muxer refuses inside what the video `name` states.
    """
    try:
        yield
    except _REFUSED as error:
        raise UnsupportedMedia(
            f"{name} states times or tracks that {muxer} cannot hold ({_reason(error)});"
            " it may be damaged. Convert it first."
        ) from error


@contextlib.contextmanager
def failure_told(path: Path) -> Iterator[None]:
    """
    Raises:
        OutputFailed: the file `path` cannot be written inside.
    """
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise OutputFailed(
            f"The copy cannot be written in {path.parent.absolute()}: {_reason(error)}."
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
