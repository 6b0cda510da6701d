"""
A new file that is written through FFmpeg: opened, abandoned, and what its failures mean to users.

Which tracks go in is the business of `writer` and `strip`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import OutputContainer

from pipeline.errors import OutputFailed, UnsupportedMedia

# FFmpeg's names of those of MP4 and its kind, which differ in what they take.
MP4_MUXERS = frozenset({"mp4", "mov", "3gp"})
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
    if muxer in MP4_MUXERS:
        options["movflags"] = "+write_colr+faststart" if may_move_index else "+write_colr"
        # Of what is encoded by quality FFmpeg states an average of 0 bit/s there: players on
        # GStreamer, as WebKit on Linux, then hold too little for both tracks and stop.
        options["write_btrt"] = "0"
    if is_unofficial:
        options["strict"] = "unofficial"
    return av.open(str(path.absolute()), "w", format=muxer, options=options)


def open_output_for_any_codec(path: Path, muxer: str) -> OutputContainer:
    """
    Begin such a file for codecs too that its container has no name for but Windows' one.

    So cameras' recorders put telephone sound into Matroska and HEVC into AVI. PyAV asks FFmpeg
    beforehand what a container takes by the book; its muxer `tee` is asked nothing, and hands
    all on to the one that is named here, but for chapters.

    Args:
        muxer: FFmpeg's name of it, Matroska's or AVI's.

    Raises:
        FFmpegError, OSError: it cannot be made.
    """
    name = re.sub(r"([\\'|\s])", r"\\\1", str(path.absolute()))
    return av.open(f"[f={muxer}:fflags=+bitexact]{name}", "w", format="tee")


def is_taken_by_the_book(muxer: str, stream: Any) -> bool:
    """Tell whether `open_output` gives a file that the packets of an opened stream can go into."""
    if muxer == "mp4" and _is_pcm_for_unknown_speakers(stream):
        return False  # as the muxer says only in the end
    with av.open(os.devnull, "w", format=muxer) as trial:
        try:
            copy = trial.add_stream_from_template(stream, opaque=True)
            if muxer in MP4_MUXERS and stream.type == "video":
                # Of each codec they take some tags alone, and say so no sooner than here.
                copy.codec_context.codec_tag = stream.codec_context.codec_tag
                trial.start_encoding()
        except (ValueError, *_REFUSED):
            return False
    return True


def _is_pcm_for_unknown_speakers(stream: Any) -> bool:
    context = stream.codec_context
    is_pcm = stream.type == "audio" and context.name.startswith("pcm_")
    is_counted = is_pcm and context.layout.name.endswith(" channels")
    return is_counted and context.channels > 1  # a single one needs no place


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
