"""
Boxes of an MP4 that FFmpeg's muxer does not write for us: clean aperture, HDR, spherical,
stereo, and of copied tracks Dolby Vision too.

FFmpeg would write them from side data of the stream, which PyAV cannot set on a stream it
encodes. So they are put into the finished file, whose index must lie at its end: there it
may grow without moving a single sample.

Source: ISO/IEC 14496-12 (clap, mdcv, clli, amve); Google Spherical Video V2 RFC (st3d, sv3d).
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.audit_mp4 import CHILDREN, FORMS
from pipeline.boxes import Box, walk_boxes
from pipeline.parts import payload_of
from pipeline.sidedata import (
    Projection,
    Spherical,
    Stereo,
    StereoLayout,
    parse_ambient_light,
    parse_content_light,
    parse_mastering_display,
    parse_spherical,
    parse_stereo,
)
from pipeline.spherical_v1 import UUID as SPHERICAL_V1
from pipeline.spherical_v1 import parse_xml

# What FFmpeg's muxer leaves out of the description of a copied track, or writes in other words:
# Dolby Vision, spherical and stereo.
_LEFT_OUT = ("dvcC", "dvvC", "dvwC", "st3d", "sv3d", "vexu", "hfov")
_DOLBY_VISION = frozenset({"dvcC", "dvvC", "dvwC"})
_DOLBY_VISION_USED = 5  # bytes of it; the others are reserved
_LARGEST_XML = 1 << 16
_LARGEST_FORM = 256  # bytes of a box that has one form
# Hz. FFmpeg's muxer of MP4 takes no MP3 below it (MPEG-2.5), which ISO has no number for.
LOWEST_MP3_RATE = 16_000
_SHAPES = frozenset({"equi", "cbmp", "prji"})
_ST3D_MODE: dict[int, int] = {
    StereoLayout.MONO: 0,
    StereoLayout.TOP_BOTTOM: 1,
    StereoLayout.SIDE_BY_SIDE: 2,
}
_ST3D_RIGHT_LEFT = 4
# An index is a few bytes for each sample; one of a day's frames has about 40 MB.
_LARGEST_INDEX = 1 << 30


def insert_in_video_entry(
    path: Path, boxes: Sequence[bytes], replacing: Collection[str] = ()
) -> None:
    """
    Append `boxes` to the first video track's sample entry of a finished file, in place.

    The file is whole only after the call: use it on one that nobody reads yet.

    Args:
        replacing: kinds of boxes that the entry is to lose, where it has any.

    Raises:
        ValueError: there is no video track, or the index does not come last.
        OSError: the file cannot be written.
    """
    addition = b"".join(boxes)
    if not addition:
        return
    with path.open("r+b") as file:
        all_boxes = list(walk_boxes(file))
        lineage = _video_entry(all_boxes, path)
        moov = lineage[0]
        if moov.payload_size > _LARGEST_INDEX:
            raise ValueError(f"{path.name} has an index of {moov.payload_size} bytes")
        file.seek(moov.offset)
        replaced = _children(all_boxes, lineage[-1], replacing)
        index = _with_addition(file.read(moov.size), lineage, addition, replaced)
        file.seek(moov.offset)
        file.write(index)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def left_out_boxes(path: Path) -> dict[str, bytes]:
    """
    Return the boxes of a file's first video track that FFmpeg's muxer would leave out of a copy.

    By kind, whole; an empty one is of a kind that the muxer is to leave out besides, since it
    would say the same in other words, and FFmpeg reads no file that says it twice. Of a box only
    what has a known form is taken: the rest might be anybody's text. What the older form of
    spherical pictures says is stated in the newer one.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        boxes = _described(file)
        lineage = _first_video_entry(boxes)
        children = _first_children(boxes, lineage[-1], _LEFT_OUT) if lineage else []
        found = {box.kind: _known_part(file, box, boxes) for box in children}
        kept = {kind: box for kind, box in found.items() if box}
        said = _said_in_older_form(file, boxes, lineage[1]) if lineage else None
    if said is not None and not {"sv3d", "vexu"} & kept.keys():
        sphere, stereo = said
        kept = {"st3d": _st3d(stereo) if stereo else b"", "sv3d": _sv3d(sphere)} | kept
        kept = {kind: box for kind, box in kept.items() if box}
    if {"st3d", "sv3d"} & kept.keys():
        kept = {"vexu": b"", "hfov": b""} | kept
    return kept


def older_sphere(path: Path) -> Spherical | None:
    """
    Return what the first video track says of its sphere in the older form alone.

    FFmpeg reads of that only that there is one, and not its view and part.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        boxes = _described(file)
        lineage = _first_video_entry(boxes)
        if not lineage or _first_children(boxes, lineage[-1], ("sv3d", "vexu")):
            return None
        said = _said_in_older_form(file, boxes, lineage[1])
    return said[0] if said else None


def _said_in_older_form(
    file: BinaryIO, boxes: Sequence[Box], track: Box
) -> tuple[Spherical, Stereo | None] | None:
    payloads = (payload_of(file, b, _LARGEST_XML) for b in _children(boxes, track, ("uuid",)))
    read = (parse_xml(payload) for payload in payloads if payload.startswith(SPHERICAL_V1))
    return next((said for said in read if said is not None), None)


def _described(file: BinaryIO) -> list[Box]:
    """Return the boxes of the index, less those of fragments."""
    described = itertools.takewhile(lambda box: box.kind != "moof", walk_boxes(file))
    return [box for box in described if box.path[0] == "moov"]


def _first_children(boxes: Sequence[Box], parent: Box, kinds: Collection[str]) -> list[Box]:
    found: dict[str, Box] = {}
    for box in _children(boxes, parent, kinds):
        found.setdefault(box.kind, box)
    return list(found.values())


def _children(boxes: Sequence[Box], parent: Box, kinds: Collection[str]) -> list[Box]:
    inside = (b for b in boxes if parent.offset < b.offset and b.end <= parent.end)
    return [b for b in inside if b.path[:-1] == parent.path and b.kind in kinds]


def _known_part(file: BinaryIO, box: Box, boxes: Sequence[Box]) -> bytes:
    """Return a box as far as its form is known; nothing where what matters is not."""
    if box.kind == "svhd":
        return _NAMELESS
    if box.kind in FORMS:
        payload = payload_of(file, box, _LARGEST_FORM)
        if box.kind in _DOLBY_VISION:
            payload = payload[:_DOLBY_VISION_USED].ljust(len(payload), b"\0")
        is_whole = len(payload) == box.payload_size
        return _box(box.kind, payload) if is_whole and FORMS[box.kind].fullmatch(payload) else b""
    inner = _first_children(boxes, box, CHILDREN[box.kind])
    parts = {b.kind: part for b in inner if (part := _known_part(file, b, boxes))}
    if (box.kind == "proj" and not _SHAPES & parts.keys()) or not parts.keys() - {"svhd"}:
        return b""
    return _box(box.kind, b"".join(parts.values()))


def clean_aperture(width: int, height: int, pad_right: int, pad_bottom: int) -> bytes:
    """
    Return a `clap` that hides the padding of a picture.

    Args:
        width, height: of the picture as it is shown, in pixels.
        pad_right, pad_bottom: columns and rows that were added to it.
    """
    # The offsets are from the centre of the coded picture to the centre of the shown one.
    return _box(
        "clap",
        struct.pack(">IIIIiIiI", width, 1, height, 1, -pad_right, 2, -pad_bottom, 2),
    )


def mastering_display(side_data: bytes) -> bytes:
    """Return `mdcv` from AVMasteringDisplayMetadata; empty where that is incomplete."""
    display = parse_mastering_display(side_data)
    if display is None:
        return b""
    places = (*display.green, *display.blue, *display.red, *display.white)
    most = 0xFFFF_FFFF
    luminance = (min(most, display.max_luminance), min(most, display.min_luminance))
    return _box("mdcv", struct.pack(">8H2I", *(min(p, 0xFFFF) for p in places), *luminance))


def content_light(side_data: bytes) -> bytes:
    """Return `clli` from AVContentLightMetadata."""
    light = parse_content_light(side_data)
    return _box("clli", struct.pack(">2H", min(light.max_cll, 0xFFFF), min(light.max_fall, 0xFFFF)))


def ambient_light(side_data: bytes) -> bytes:
    """Return `amve` from AVAmbientViewingEnvironment."""
    light = parse_ambient_light(side_data)
    values = (min(light.illuminance, 0xFFFF_FFFF), *(min(place, 0xFFFF) for place in light.white))
    return _box("amve", struct.pack(">I2H", *values))


def stereo_3d(side_data: bytes) -> bytes:
    """Return `st3d` from AVStereo3D; empty where the box has no word for its layout."""
    return _st3d(parse_stereo(side_data))


def _st3d(stereo: Stereo) -> bytes:
    mode = _ST3D_MODE.get(stereo.layout)
    if stereo.is_inverted:
        mode = _ST3D_RIGHT_LEFT if stereo.layout == StereoLayout.SIDE_BY_SIDE else None
    return b"" if mode is None else _box("st3d", struct.pack(">IB", 0, mode))


def spherical(side_data: bytes) -> bytes:
    """Return `sv3d` from AVSphericalMapping; empty where the box has no word for it."""
    return _sv3d(parse_spherical(side_data))


def _sv3d(sphere: Spherical) -> bytes:
    if sphere.projection == Projection.CUBEMAP:
        shape = _box("cbmp", struct.pack(">III", 0, 0, sphere.padding))
    elif sphere.projection in (Projection.EQUIRECTANGULAR, Projection.EQUIRECTANGULAR_TILE):
        bounds = (sphere.top, sphere.bottom, sphere.left, sphere.right)
        shape = _box("equi", struct.pack(">I4I", 0, *bounds))
    else:
        return b""
    pose = _box("prhd", struct.pack(">Iiii", 0, sphere.yaw, sphere.pitch, sphere.roll))
    return _box("sv3d", _NAMELESS + _box("proj", pose + shape))


def _box(kind: str, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind.encode()) + payload


_NAMELESS = _box("svhd", struct.pack(">IB", 0, 0))


def _video_entry(boxes: Sequence[Box], path: Path) -> list[Box]:
    """Return moov, trak, mdia, minf, stbl, stsd and the first video track's sample entry."""
    top = [box for box in boxes if len(box.path) == 1]
    if top[-1].kind != "moov":
        raise ValueError(f"the index of {path.name} is not at its end")
    lineage = _first_video_entry(boxes)
    if lineage is None:
        raise ValueError(f"{path.name} has no video track that is described")
    return lineage


def _first_video_entry(boxes: Sequence[Box]) -> list[Box] | None:
    """Return the same of any file; None where there is none."""
    video_header = next((b for b in boxes if b.path == (*_MINF, "vmhd")), None)
    if video_header is None:
        return None
    minf = _around(boxes, video_header)[-2]
    inside = [b for b in boxes if minf.offset < b.offset < minf.end]
    entry = next((b for b in inside if b.path[:-1] == (*_MINF, "stbl", "stsd")), None)
    return None if entry is None else _around(boxes, entry)


_MINF = ("moov", "trak", "mdia", "minf")


def _around(boxes: Sequence[Box], inner: Box) -> list[Box]:
    """Return the boxes that hold `inner`, from the top down, and `inner` itself."""
    return [
        b
        for b in boxes
        if b.offset <= inner.offset and inner.end <= b.end and b.path == inner.path[: len(b.path)]
    ]


def _with_addition(
    index: bytes, lineage: Sequence[Box], addition: bytes, replaced: Sequence[Box]
) -> bytes:
    """Return the bytes of `moov`, its innermost box less `replaced` and with `addition`."""
    start, at = lineage[0].offset, lineage[-1].end - lineage[0].offset
    changed = bytearray(index[:at] + addition + index[at:])
    for box in reversed(replaced):
        del changed[box.offset - start : box.end - start]
    growth = len(addition) - sum(box.size for box in replaced)
    for box in lineage:
        place = box.offset - start
        size = box.size + growth
        if box.header_size == 16:
            changed[place + 8 : place + 16] = size.to_bytes(8)
        elif int.from_bytes(index[place : place + 4]):  # zero says "to the end", and stays
            changed[place : place + 4] = size.to_bytes(4)
    return bytes(changed)
