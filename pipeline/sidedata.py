"""
Read what FFmpeg says beside a picture's samples (HDR, spherical and stereo), and a packet's.

The bytes are FFmpeg's own C structures, as PyAV hands them out; layouts of libavutil 60
(mastering_display_metadata.h, spherical.h, stereo3d.h), in this machine's byte order.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Any

import av
from av.sidedata.sidedata import SideDataContainer

_MASTERING = struct.Struct("=20iii")
_LIGHT = struct.Struct("=II")
_AMBIENT = struct.Struct("=6i")
_SPHERICAL = struct.Struct("=iiiiIIIII")
_STEREO = struct.Struct("=iiii")
# Units of H.265 annex D and of ISO 14496-12: steps of 0.00002, and of 0.0001 cd/m².
_CHROMATICITY_STEPS = 50_000
_LUMINANCE_STEPS = 10_000
_SKIP = struct.Struct("<II")  # samples to discard at a packet's start and at its end


@dataclass(frozen=True)
class MasteringDisplay:
    """
    The display a picture was graded on.

    Attributes:
        red, green, blue, white: CIE 1931 x and y in steps of 0.00002.
        max_luminance, min_luminance: in steps of 0.0001 cd/m².
    """

    red: tuple[int, int]
    green: tuple[int, int]
    blue: tuple[int, int]
    white: tuple[int, int]
    max_luminance: int
    min_luminance: int

    def x265(self) -> str:
        """Return the value of x265's parameter `master-display`."""
        places = {"G": self.green, "B": self.blue, "R": self.red, "WP": self.white}
        colours = "".join(f"{name}({x},{y})" for name, (x, y) in places.items())
        return f"{colours}L({self.max_luminance},{self.min_luminance})"


@dataclass(frozen=True)
class ContentLight:
    """Brightest sample and brightest frame average, in cd/m²."""

    max_cll: int
    max_fall: int

    def x265(self) -> str:
        """Return the value of x265's parameter `max-cll`."""
        return f"{self.max_cll},{self.max_fall}"


@dataclass(frozen=True)
class AmbientLight:
    """
    The surroundings in which a picture is meant to be viewed.

    Attributes:
        illuminance: in steps of 0.0001 lux.
        white: CIE 1931 x and y in steps of 0.00002.
    """

    illuminance: int
    white: tuple[int, int]


class Projection(IntEnum):
    """How a sphere lies in the picture (AVSphericalProjection)."""

    EQUIRECTANGULAR = 0
    CUBEMAP = 1
    EQUIRECTANGULAR_TILE = 2
    HALF_EQUIRECTANGULAR = 3
    RECTILINEAR = 4
    FISHEYE = 5
    PARAMETRIC_IMMERSIVE = 6


@dataclass(frozen=True)
class Spherical:
    """
    A picture of a whole sphere, or a part of one.

    Attributes:
        projection: a `Projection`, or a number that a newer FFmpeg knows.
        yaw, pitch, roll: of the initial view, in 1/65536 degree.
        left, top, right, bottom: what a tile lacks of the whole, in 1/2**32 of its size.
        padding: pixels around each face of a cube map.
    """

    projection: int
    yaw: int
    pitch: int
    roll: int
    left: int
    top: int
    right: int
    bottom: int
    padding: int


class StereoLayout(IntEnum):
    """Where the two eyes' views are (AVStereo3DType)."""

    MONO = 0
    SIDE_BY_SIDE = 1
    TOP_BOTTOM = 2
    FRAME_SEQUENCE = 3


@dataclass(frozen=True)
class Stereo:
    """Two views in one picture; `layout` is a `StereoLayout` or another of FFmpeg's numbers."""

    layout: int
    is_inverted: bool  # the right eye's view comes first


def parse_mastering_display(data: bytes) -> MasteringDisplay | None:
    """Return what AVMasteringDisplayMetadata says; None where primaries or luminance lack."""
    numbers = _MASTERING.unpack_from(data)
    has_primaries, has_luminance = numbers[20:]
    if not (has_primaries and has_luminance):
        return None
    values = [_fraction(*numbers[i : i + 2]) for i in range(0, 20, 2)]
    red, green, blue, white = (
        (_steps(x, _CHROMATICITY_STEPS), _steps(y, _CHROMATICITY_STEPS))
        for x, y in zip(values[0:8:2], values[1:8:2], strict=True)
    )
    minimum, maximum = (_steps(value, _LUMINANCE_STEPS) for value in values[8:])
    return MasteringDisplay(red, green, blue, white, maximum, minimum)


def parse_content_light(data: bytes) -> ContentLight:
    """Return what AVContentLightMetadata says."""
    return ContentLight(*_LIGHT.unpack_from(data))


def parse_ambient_light(data: bytes) -> AmbientLight:
    """Return what AVAmbientViewingEnvironment says."""
    numbers = _AMBIENT.unpack_from(data)
    illuminance, x, y = (_fraction(*numbers[i : i + 2]) for i in (0, 2, 4))
    white = _steps(x, _CHROMATICITY_STEPS), _steps(y, _CHROMATICITY_STEPS)
    return AmbientLight(_steps(illuminance, _LUMINANCE_STEPS), white)


def parse_spherical(data: bytes) -> Spherical:
    """Return what AVSphericalMapping says."""
    return Spherical(*_SPHERICAL.unpack_from(data))


def packed_spherical(sphere: Spherical) -> bytes:
    """Return AVSphericalMapping that says so."""
    return _SPHERICAL.pack(*astuple(sphere))


def parse_stereo(data: bytes) -> Stereo:
    """Return what AVStereo3D says of the layout of the views."""
    layout, flags, _view, _primary_eye = _STEREO.unpack_from(data)
    return Stereo(layout, bool(flags & 1))


def _fraction(numerator: int, denominator: int) -> Fraction:
    # A denominator of zero is a damaged stream's; its value means nothing.
    return Fraction(numerator, denominator) if denominator else Fraction(0)


def _steps(value: Fraction, steps: int) -> int:
    return max(0, round(value * steps))


_CONTAINER: Any = SideDataContainer  # typed as if it took no frame


def beside(frame: av.VideoFrame) -> Any:
    """
    Return what lies beside a frame's samples, a mapping of PyAV's by kinds and by their names.

    Not `frame.side_data`, which the frame keeps and which keeps the frame: asked of each frame, it
    has some hundreds of MB of them wait until Python's collector looks for such circles.

    Raises:
        ValueError: there is a kind that PyAV has no name for.
    """
    return _CONTAINER(frame)


def discarded_samples(packet: av.Packet[Any]) -> int:
    """Return how many samples of each channel a decoder is to discard at a packet's end."""
    for data in packet.iter_sidedata():
        if data.data_type == "skip_samples" and len(bytes(data)) >= _SKIP.size:
            return int(_SKIP.unpack_from(bytes(data))[1])
    return 0
