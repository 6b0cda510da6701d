"""
The part of a coded picture that its container says to show.

FFmpeg reads it from the container but leaves the cropping to others, and PyAV does not tell of
it: so it is read from the file here, and frames are cropped before anybody sees them. What
the codec itself crops, its decoder does.

Source: ISO/IEC 14496-12 (clap), RFC 9559 (PixelCropTop and the like).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av

from pipeline.boxes import Box, walk_boxes
from pipeline.elements import EBML_MAGIC, video_track_numbers
from pipeline.filters import PictureFilter
from pipeline.parts import payload_of

_TRACK = ("moov", "trak", "mdia")
_ENTRIES = (*_TRACK, "minf", "stbl", "stsd")
_ENTRY_SIZE = struct.Struct(">HH")
_CLAP = struct.Struct(">IIIIiIiI")


@dataclass(frozen=True)
class Crop:
    """The shown part of frames that are `coded_width` x `coded_height`, in pixels."""

    coded_width: int
    coded_height: int
    left: int
    top: int
    width: int
    height: int


def stated_crops(path: Path) -> list[Crop | None]:
    """
    Return what an MP4 or Matroska file says to show of each of its video tracks, in its order.

    None where that is the whole picture, or what is said is nonsense; empty for other files.
    """
    with path.open("rb") as file:
        is_matroska = file.read(4) == EBML_MAGIC
        return list(_matroska_crops(file) if is_matroska else _mp4_crops(file))


def aligned_to_fields(crop: Crop, lines: int) -> Crop | None:
    """
    Return the crop of an interlaced picture, moved up to where a line of the upper field begins.

    What was to be its first line stays in the field that it is of, and so does its chroma; a few
    lines more are shown.

    Args:
        lines: from one such place to the next: two, or twice the lines that chroma is shared by.
    """
    more = crop.top % lines
    return _sensible(replace(crop, top=crop.top - more, height=crop.height + more))


class Cropper:
    """Cuts the shown part out of frames, without copying it."""

    def __init__(self, crop: Crop | None) -> None:
        self._crop = crop
        if crop is not None:
            # Exact: otherwise an odd edge of a 4:2:0 picture is moved to the next even one.
            part = f"{crop.width}:{crop.height}:{crop.left}:{crop.top}:exact=1"
            self._filter = PictureFilter("crop", part)

    def cropped(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return what is shown of `frame`; all of it where it is of another size than foreseen."""
        crop = self._crop
        if crop is None or (frame.width, frame.height) != (crop.coded_width, crop.coded_height):
            return frame
        return self._filter.filtered(frame)


def _mp4_crops(file: BinaryIO) -> Iterator[Crop | None]:
    boxes = walk_boxes(file)
    if not any(box.path == ("moov",) for box in boxes):
        return
    is_video = False
    entry: Box | None = None  # the first: what later ones say is for other frames
    size, crop = (0, 0), None
    for box in itertools.takewhile(lambda box: len(box.path) > 1, boxes):
        if box.path == _TRACK:
            if is_video:
                yield crop
            is_video, entry, crop = False, None, None
        elif box.path == (*_TRACK, "hdlr"):
            is_video = payload_of(file, box, 12)[8:] == b"vide"
        elif box.path[:-1] == _ENTRIES and entry is None:
            entry = box
            size = _ENTRY_SIZE.unpack_from(payload_of(file, box, 28).ljust(28, b"\0"), 24)
        elif box.path[:-2] == _ENTRIES and box.kind == "clap" and _is_in(box, entry):
            crop = _clean_aperture(payload_of(file, box, _CLAP.size), *size)
    if is_video:
        yield crop


def _is_in(box: Box, entry: Box | None) -> bool:
    return entry is not None and box.offset < entry.end


def _clean_aperture(payload: bytes, coded_width: int, coded_height: int) -> Crop | None:
    if len(payload) < _CLAP.size:
        return None
    numbers = _CLAP.unpack(payload)
    if not all(numbers[1::2]):
        return None
    width, height, right, down = (Fraction(n, d) for n, d in zip(*[iter(numbers)] * 2, strict=True))
    # The offsets are from the centre of the coded picture to that of the shown one.
    left = (coded_width - width) / 2 + right
    top = (coded_height - height) / 2 + down
    return _sensible(
        Crop(coded_width, coded_height, round(left), round(top), round(width), round(height))
    )


def _matroska_crops(file: BinaryIO) -> Iterator[Crop | None]:
    return map(_pixel_crop, video_track_numbers(file))


def _pixel_crop(track: dict[str, int]) -> Crop | None:
    coded_width, coded_height = track.get("PixelWidth", 0), track.get("PixelHeight", 0)
    left, top = track.get("PixelCropLeft", 0), track.get("PixelCropTop", 0)
    width = coded_width - left - track.get("PixelCropRight", 0)
    height = coded_height - top - track.get("PixelCropBottom", 0)
    return _sensible(Crop(coded_width, coded_height, left, top, width, height))


def _sensible(crop: Crop) -> Crop | None:
    """Return a crop that cuts something off and leaves something; None for another."""
    is_inside = (
        0 <= crop.left <= crop.coded_width - crop.width
        and 0 <= crop.top <= crop.coded_height - crop.height
        and crop.width > 0
        and crop.height > 0
    )
    is_whole = (crop.width, crop.height) == (crop.coded_width, crop.coded_height)
    return crop if is_inside and not is_whole else None
