"""
The older form in which an MP4 says that its picture is a sphere: XML in a `uuid` box of the track.

It is somebody's text, with names of cameras and programs, so no copy keeps it: what it says is
stated in the newer form's boxes.

Source: Google Spherical Video RFC, versions 1 (initial viewport) and 2 (prhd).
"""

from __future__ import annotations

import re

from pipeline.sidedata import Projection, Spherical, Stereo, StereoLayout

UUID = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
_LAYOUTS = {
    "mono": StereoLayout.MONO,
    "left-right": StereoLayout.SIDE_BY_SIDE,
    "top-bottom": StereoLayout.TOP_BOTTOM,
}
_DEGREE = 1 << 16
_WHOLE = 1 << 32  # of a picture's width or height
_HALF_TURN = 180  # in degrees


def parse_xml(xml: bytes) -> tuple[Spherical, Stereo | None] | None:
    """Return what the text says of the picture; None where that is no sphere we know."""
    if (_text(xml, "Spherical"), _text(xml, "ProjectionType")) != ("true", "equirectangular"):
        return None
    left, right = _bounds(xml, "Width", "Left")
    top, bottom = _bounds(xml, "Height", "Top")
    is_whole = (left, top, right, bottom) == (0, 0, 0, 0)
    sphere = Spherical(
        Projection.EQUIRECTANGULAR if is_whole else Projection.EQUIRECTANGULAR_TILE,
        # The newer form turns the sphere, not who looks: to the left, up and clockwise. What lies
        # to the right, up or clockwise of the middle comes before one who looks ahead by these.
        _degrees(xml, "InitialViewHeadingDegrees"),
        -_degrees(xml, "InitialViewPitchDegrees"),
        -_degrees(xml, "InitialViewRollDegrees"),
        left,
        top,
        right,
        bottom,
        padding=0,
    )
    layout = _LAYOUTS.get(_text(xml, "StereoMode"))
    return sphere, None if layout is None else Stereo(layout, is_inverted=False)


def _text(xml: bytes, name: str) -> str:
    found = re.search(rb"<GSpherical:%b>([^<>]{1,256})<" % name.encode(), xml)
    return found[1].decode("latin-1").strip().lower() if found else ""


def _number(xml: bytes, name: str) -> int | None:
    text = _text(xml, name)
    return int(text) if re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else None


def _degrees(xml: bytes, name: str) -> int:
    degrees = _number(xml, name) or 0
    # A heading may be counted from 0 to 359; the newer form goes from -180 to 180.
    return ((degrees + _HALF_TURN) % (2 * _HALF_TURN) - _HALF_TURN) * _DEGREE


def _bounds(xml: bytes, side: str, edge: str) -> tuple[int, int]:
    """Return what the picture lacks of the whole before it and after it."""
    whole = _number(xml, f"FullPano{side}Pixels")
    shown = _number(xml, f"CroppedAreaImage{side}Pixels")
    before = _number(xml, f"CroppedArea{edge}Pixels")
    if whole is None or shown is None or before is None:
        return 0, 0
    after = whole - before - shown
    if before < 0 or after < 0 or shown <= 0:
        return 0, 0
    return before * _WHOLE // whole, after * _WHOLE // whole
