"""Decide how the picture is encoded: by which encoder, with which options, padded by what."""

from __future__ import annotations

from dataclasses import dataclass, replace

import av

from pipeline import chroma, mp4
from pipeline.errors import UnsupportedMedia
from pipeline.media import (
    BT601,
    BT709,
    LIMITED_RANGE,
    UNSPECIFIED,
    Colour,
    FieldOrder,
    VideoTrack,
)
from pipeline.settings import PRESETS, Settings
from pipeline.sidedata import parse_content_light, parse_mastering_display

_RGB_MATRIX = 0  # H.273
# Numbers of primaries, transfers and matrices that the encoders take. With another one x265 4.2
# does not begin, and x264 writes the one for "unspecified".
_TAKEN = {
    "libx264": tuple(frozenset(range(end)) - {3} for end in (13, 19, 15)),
    "libx265": tuple(frozenset(range(end)) - {3} for end in (13, 19, 16)),
}
# x265's wrapper takes no smaller picture.
_SHORTEST_SIDE_IN_HEVC = 16
# Of a smaller picture x265 makes blocks of 16, which no level that takes long sides has.
_SHORTEST_SIDE_IN_LEVELS = 32
# Propagating costs between frames, x265 4.2 writes beyond its memory where a picture is up to 48
# pixels wide, and the process dies or goes on with other data broken.
_NARROWEST_TREE = 64
# What each encoder makes, and the most pixels of a side that it takes; but OpenCV, by which motion
# is followed, counts in 16 bits.
_LONGEST_SIDE = {
    "libx264": ("H.264", 16_384),
    "libx265": ("HEVC", 32_766),
    "libvpx-vp9": ("VP9", 32_766),
}


@dataclass(frozen=True)
class VideoPlan:
    """
    How the picture is encoded.

    Attributes:
        width, height: of the picture as it is shown.
        pad_right, pad_bottom: repeated columns and rows that the codec needs, 0 or 1; up to 3 rows
            below an interlaced picture.
        codec_tag: the container's four letters, None for its own choice.
    """

    encoder: str
    pixel_format: str
    width: int
    height: int
    pad_right: int
    pad_bottom: int
    colour: Colour
    options: dict[str, str]
    codec_tag: str | None

    @property
    def coded_width(self) -> int:
        """Width that the encoder sees."""
        return self.width + self.pad_right

    @property
    def coded_height(self) -> int:
        """Height that the encoder sees."""
        return self.height + self.pad_bottom

    @property
    def is_padded(self) -> bool:
        """Whether the container has to crop the picture on display."""
        return bool(self.pad_right or self.pad_bottom)


def plan_video(
    track: VideoTrack, container: str, settings: Settings, notes: list[str]
) -> VideoPlan:
    """
    Return how the picture goes out.

    Args:
        container: FFmpeg's muxer, `mp4`, `mov` or `matroska`.
        notes: sentences about what is not kept are added to these.
    """
    _note_losses(track, container, notes)
    is_deep = track.depth > 8 or track.is_hdr
    if is_deep and min(track.width, track.height) < _SHORTEST_SIDE_IN_HEVC:
        notes.append("10 bits are not kept: HEVC takes no picture as small as this.")
        is_deep = False
    is_odd = bool(track.width % 2 or track.height % 2)
    # Matroska's crop cannot be written through FFmpeg's muxer: there an odd size is kept. Elsewhere
    # 10 bits go before it, as the encoder that takes one has 8.
    is_kept = container == "matroska" or (settings.odd_size == "keep" and not is_deep)
    keeps_odd = is_odd and is_kept
    if keeps_odd and is_deep:
        notes.append("10 bits are not kept at an odd size in Matroska (VP9); name the output .mp4.")
    encoder = "libvpx-vp9" if keeps_odd else "libx265" if is_deep else "libx264"
    if track.has_captions and encoder == "libvpx-vp9":
        notes.append("Closed captions inside the video stream are not kept: VP9 has none.")
    colour = _output_colour(track)
    if encoder in _TAKEN:
        colour = _colour_as_taken(encoder, colour, notes)
    if encoder == "libx264":
        track = _with_fields_as_kept(track, container, notes)
    return VideoPlan(
        encoder=encoder,
        pixel_format="yuv420p10le" if encoder == "libx265" else "yuv420p",
        width=track.width,
        height=track.height,
        pad_right=0 if keeps_odd else track.width % 2,
        pad_bottom=0 if keeps_odd else -track.height % _lines_in_step(encoder, track),
        colour=colour,
        options=_OPTIONS_OF[encoder](track, settings, notes) | _chroma_options(track),
        # Apple's players take HEVC only under this name.
        codec_tag="hvc1" if encoder == "libx265" and container != "matroska" else None,
    )


def check_sides(video: VideoPlan, name: str) -> None:
    """
    Raises:
        UnsupportedMedia: the encoder takes no picture of that size.
    """
    codec, most = _LONGEST_SIDE[video.encoder]
    if max(video.coded_width, video.coded_height) > most:
        raise UnsupportedMedia(
            f"{name} is {video.width}x{video.height}; {codec} takes sides of up to {most} pixels:"
            " scale it first."
        )


def _with_fields_as_kept(track: VideoTrack, container: str, notes: list[str]) -> VideoTrack:
    """Return the track as progressive where H.264 would need lines that cannot be hidden."""
    needs_padding = track.height % _lines_in_step("libx264", track) != 0
    if not (needs_padding and container == "matroska"):
        return track
    notes.append("The mark that the picture is interlaced is not kept (Matroska, its height).")
    return replace(track, field_order=FieldOrder.PROGRESSIVE)


def _lines_in_step(encoder: str, track: VideoTrack) -> int:
    """Return what a coded height has to be a multiple of."""
    # Each field of 4:2:0 has an even number of lines. Fields are marked in H.264 alone.
    has_fields = encoder == "libx264" and track.field_order is not FieldOrder.PROGRESSIVE
    return 4 if has_fields else 2


def _note_losses(track: VideoTrack, container: str, notes: list[str]) -> None:
    if track.has_alpha:
        notes.append("The alpha channel is not kept.")
    if track.has_dolby_vision:
        notes.append("The Dolby Vision layer is not kept; its HDR base layer is.")
    if track.has_dynamic_hdr:
        notes.append("The HDR10+ or HDR Vivid curves are not kept; the HDR picture is.")
    is_matroska = container == "matroska"
    if track.spherical is not None and (is_matroska or not mp4.spherical(track.spherical)):
        notes.append("The mark that the picture is spherical is not kept.")
    if track.ambient_light is not None and is_matroska:
        notes.append("The mark of the surroundings that HDR is meant for is not kept (Matroska).")
    if track.stereo is not None and (is_matroska or not mp4.stereo_3d(track.stereo)):
        notes.append("The mark that the picture is stereoscopic is not kept.")
    if track.depth > 10:
        notes.append(f"{track.depth} bits a sample become 10.")


def _output_colour(track: VideoTrack) -> Colour:
    colour, pixels = track.colour, av.VideoFormat(track.pixel_format)
    is_rgb = pixels.is_rgb or pixels.has_palette
    if not is_rgb and colour.matrix != _RGB_MATRIX:
        return colour
    matrix = BT709 if track.height >= 720 else BT601
    # Grey of a PNG is said to be RGB, but its levels stay as they are.
    return replace(colour, matrix=matrix, range=LIMITED_RANGE if is_rgb else colour.range)


def _colour_as_taken(encoder: str, colour: Colour, notes: list[str]) -> Colour:
    """Return the colour with what the encoder refuses, above all reserved numbers, unspecified."""
    primaries, transfers, matrices = _TAKEN[encoder]
    taken = Colour(
        colour.primaries if colour.primaries in primaries else UNSPECIFIED,
        colour.transfer if colour.transfer in transfers else UNSPECIFIED,
        colour.matrix if colour.matrix in matrices else UNSPECIFIED,
        colour.range,
    )
    if taken != colour:
        notes.append(
            "Numbers of the colour description that the encoder does not take are not kept."
        )
    return taken


def _chroma_options(track: VideoTrack) -> dict[str, str]:
    # Left is where players look for it unless told otherwise.
    if track.chroma_location in (chroma.UNSPECIFIED, chroma.LEFT):
        return {}
    return {"chroma_sample_location": str(track.chroma_location)}


def _x264_options(track: VideoTrack, settings: Settings, notes: list[str]) -> dict[str, str]:
    options = {"crf": str(settings.crf), "preset": settings.preset}
    if track.field_order is not FieldOrder.PROGRESSIVE:
        options["x264-params"] = f"{track.field_order.value}=1"
    return options


def _x265_options(track: VideoTrack, settings: Settings, notes: list[str]) -> dict[str, str]:
    # info=0: otherwise the stream names x265's version and every setting.
    parameters = ["info=0", "log-level=none"]
    if settings.threads:
        # FFmpeg's number of threads is here that of the frames worked on at once.
        parameters.append(f"pools={settings.threads}")
    if track.width < _NARROWEST_TREE:
        parameters.append("cutree=0")
    if min(track.width, track.height) < _SHORTEST_SIDE_IN_LEVELS:
        parameters.append("allow-non-conformance=1")
    if track.mastering_display is not None:
        mastering = parse_mastering_display(track.mastering_display)
        if mastering is not None:
            parameters.append(f"master-display={mastering.x265()}")
    if track.content_light is not None:
        light = parse_content_light(track.content_light)
        parameters.append(f"max-cll={light.x265()}")
    if track.field_order is not FieldOrder.PROGRESSIVE:
        notes.append("The mark that the 10-bit picture is interlaced is not kept.")
    return {
        "crf": str(settings.crf),
        "preset": settings.preset,
        "x265-params": ":".join(parameters),
    }


def _vp9_options(track: VideoTrack, settings: Settings, notes: list[str]) -> dict[str, str]:
    speed = 8 - PRESETS.index(settings.preset)
    if track.field_order is not FieldOrder.PROGRESSIVE:
        notes.append("The mark that the picture is interlaced is not kept (VP9, odd size).")
    # VP9's scale is 0-63; at x264's 20 it looks alike around 28.
    crf = min(63, round(settings.crf * 1.4))
    return {"crf": str(crf), "b": "0", "deadline": "good", "cpu-used": str(speed), "row-mt": "1"}


_OPTIONS_OF = {
    "libx264": _x264_options,
    "libx265": _x265_options,
    "libvpx-vp9": _vp9_options,
}
