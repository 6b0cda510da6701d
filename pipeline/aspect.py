"""
State a picture's sample aspect where PyAV cannot have FFmpeg's muxers write it.

MP4 and QuickTime are written from the codec's parameters, which PyAV sets. Matroska, WebM and
AVI are written from a field of the stream, which it cannot set: there the aspect is put into
the finished file. Nothing in it may grow without all that follows being moved, so the track
first gets a name, whose room the aspect then takes.

Source: RFC 9559, 5.1.4.1.28.8 to 14 (display size); OpenDML AVI 1.02 (vprp).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.chunks import walk_chunks
from pipeline.elements import Element, walk_elements
from pipeline.parts import payload_of

# With the zero at its end as long as AVI's `vprp`, and enough for Matroska's elements.
_NAME = "-" * 67
_PATCHED = frozenset({"matroska", "webm", "avi"})

_VIDEO, _VOID = b"\xe0", b"\xec"
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_UNIT_IS_ASPECT = b"\x03"
_DISPLAY = frozenset({"DisplayWidth", "DisplayHeight", "DisplayUnit"})
_LARGEST_TERM = 4000  # two 16-bit numbers of AVI then hold an aspect of up to 16


def set_aspect(stream: Any, muxer: str, aspect: Fraction) -> None:
    """Tell a new video stream of its samples' aspect; `state_aspects` has to follow."""
    stream.codec_context.sample_aspect_ratio = aspect
    if muxer in _PATCHED:
        stream.metadata["title"] = _NAME


def state_aspects(path: Path, muxer: str, aspects: Sequence[Fraction]) -> None:
    """
    Write into a finished file, in place, the aspects that its streams were told of.

    Args:
        muxer: FFmpeg's name of it.
        aspects: in the order of the streams.

    Raises:
        OSError: the file cannot be written.
    """
    if muxer in _PATCHED:
        with path.open("r+b") as file:
            if muxer == "avi":
                _in_avi(file, aspects)
            else:
                _in_matroska(file, aspects, muxer)


def _in_matroska(file: BinaryIO, aspects: Sequence[Fraction], muxer: str) -> None:
    for track, aspect in zip(list(_named_tracks(file)), aspects, strict=True):
        changed = _with_aspect(payload_of(file, track, track.payload_size), aspect, muxer)
        file.seek(track.payload_offset)
        file.write(changed)
    _renew_checksum(file)


def _named_tracks(file: BinaryIO) -> Iterator[Element]:
    track: Element | None = None
    for element in walk_elements(file):
        if element.kind == "Cluster":
            return  # all tracks stand before the first
        if element.kind == "TrackEntry":
            track = element
        elif element.kind == "Name" and track is not None:
            yield track


def _renew_checksum(file: BinaryIO) -> None:
    tracks: Element | None = None
    for element in walk_elements(file):
        if element.kind == "Cluster":
            return
        if element.kind == "Tracks":
            tracks = element
        elif element.kind == "CRC-32" and tracks is not None:
            file.seek(element.end)
            checksum = zlib.crc32(file.read(tracks.end - element.end))
            file.seek(element.payload_offset)
            file.write(checksum.to_bytes(4, "little"))
            return


def _with_aspect(track: bytes, aspect: Fraction, muxer: str) -> bytes:
    """Return the content of a `TrackEntry`, as long as it was, its name left out."""
    elements = [e for e in walk_elements(io.BytesIO(track)) if len(e.path) == 1]
    video = next(e for e in elements if e.kind == "Video")
    picture = _with_display_size(track[video.payload_offset : video.end], aspect, muxer)
    others = (track[e.offset : e.end] for e in elements if e.kind not in ("Name", "Video"))
    content = b"".join((*others, _element(_VIDEO, picture)))
    unused = len(track) - len(content) - len(_element(_VOID, b""))
    return content + _element(_VOID, bytes(unused))


def _with_display_size(video: bytes, aspect: Fraction, muxer: str) -> bytes:
    file = io.BytesIO(video)
    elements = [e for e in walk_elements(file) if len(e.path) == 1]
    numbers = {e.kind: int.from_bytes(payload_of(file, e, 8)) for e in elements}
    cropped = {side: numbers.get(f"PixelCrop{side}", 0) for side in _SIDES}
    # Of a stereoscopic picture the muxer has written the size of one view.
    width = numbers.get("DisplayWidth", numbers["PixelWidth"] - cropped["Left"] - cropped["Right"])
    height = numbers.get(
        "DisplayHeight", numbers["PixelHeight"] - cropped["Top"] - cropped["Bottom"]
    )
    others = (video[e.offset : e.end] for e in elements if e.kind not in _DISPLAY)
    return b"".join((*others, *_display_size(width, height, aspect, muxer)))


_SIDES = ("Left", "Right", "Top", "Bottom")


def _display_size(width: int, height: int, aspect: Fraction, muxer: str) -> Iterator[bytes]:
    if muxer == "webm":  # knows pixels only
        width = max(1, round(width * aspect))
    else:  # exact, where pixels would have to be rounded
        shown = aspect * width / height
        width, height = shown.numerator, shown.denominator
        yield _element(_DISPLAY_UNIT, _UNIT_IS_ASPECT)
    yield _element(_DISPLAY_WIDTH, width.to_bytes(8))
    yield _element(_DISPLAY_HEIGHT, height.to_bytes(8))


def _element(number: bytes, payload: bytes) -> bytes:
    return number + (1 << 56 | len(payload)).to_bytes(8) + payload


def _in_avi(file: BinaryIO, aspects: Sequence[Fraction]) -> None:
    header = form = b""
    left = list(aspects)
    for chunk in walk_chunks(file):
        if chunk.kind == "strh":
            header = payload_of(file, chunk)
        elif chunk.kind == "strf":
            form = payload_of(file, chunk)
        elif chunk.kind == "strn" and left:
            file.seek(chunk.offset)
            file.write(_video_properties(header, form, left.pop(0)))


def _video_properties(header: bytes, form: bytes, aspect: Fraction) -> bytes:
    """Return a `vprp` of one field, as FFmpeg writes it whatever the picture."""
    scale, rate = struct.unpack_from("<II", header, 20)
    width, height = map(abs, struct.unpack_from("<ii", form, 4))  # upside down is negative
    shown = (aspect * width / height).limit_denominator(_LARGEST_TERM)
    ratio = min(shown.numerator, 0xFFFF) << 16 | shown.denominator
    hertz = round(rate / max(1, scale))
    whole = (0, 0, hertz, width, height, ratio, width, height, 1)
    field = (height, width, height, width, 0, 0, 0, 0)
    return struct.pack("<4sI17I", b"vprp", 4 * 17, *whole, *field)
