"""What a container and the first frames say of the picture."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition

from pipeline.chroma import CENTRE, UNSPECIFIED, chroma_location
from pipeline.conversion import is_grey
from pipeline.crop import Crop, aligned_to_fields, stated_crops
from pipeline.filters import picture_graph
from pipeline.media import FULL_RANGE, Colour, FieldOrder, VideoTrack
from pipeline.mp4 import older_sphere
from pipeline.sidedata import beside, packed_spherical
from pipeline.timeline import MOST_REORDERED

# FFmpeg 8.1 has three kinds of side data that PyAV 18.1 has no name for; room for some more.
_MOST_UNNAMED_KINDS = 16


def video_track(
    container: InputContainer, stream: Any, first: av.VideoFrame, stated: Colour, path: Path
) -> VideoTrack:
    """
    Return what is known of a stream of pictures by its container and its first frame.

    Args:
        stated: its colour before that frame was decoded.
    """
    order = _field_order(stream, first)
    crop = _crop(container, stream, first, order, path)
    side = side_data_of(first)
    has_dolby_vision = "DOVI_METADATA" in side or "DOVI_RPU_BUFFER" in side
    colour = _colour(stream, first)
    # Of Dolby Vision the codec's silence says that no other player understands the picture.
    colour = colour if has_dolby_vision else colour.completed(stated)
    layout = first.format
    times_as_decoding = has_times_as_decoding(container, stream, first.dts)
    return VideoTrack(
        index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        width=crop.width if crop else first.width,
        height=crop.height if crop else first.height,
        pixel_format=layout.name,
        depth=max(component.bits for component in layout.components),
        time_base=stream.time_base,
        frame_rate=frame_rate_of(stream),
        stated_frames=stream.frames,
        sample_aspect=sample_aspect(stream),
        colour=colour,
        field_order=order,
        display_matrix=_display_matrix(side),
        mastering_display=side.get("MASTERING_DISPLAY_METADATA"),
        content_light=side.get("CONTENT_LIGHT_LEVEL"),
        ambient_light=side.get("AMBIENT_VIEWING_ENVIRONMENT"),
        spherical=_spherical(container, side, path),
        stereo=side.get("STEREO3D"),
        has_alpha=has_alpha_beside(stream) or any(part.is_alpha for part in layout.components),
        has_dolby_vision=has_dolby_vision,
        has_dynamic_hdr="DYNAMIC_HDR_PLUS" in side or "DYNAMIC_HDR_VIVID" in side,
        has_captions="A53_CC" in side,
        has_times=times_as_decoding or _has_times(container, stream, first),
        has_times_as_decoding=times_as_decoding,
        crop=crop,
        chroma_location=_chroma_location(stream, first),
    )


# Until B-frames come, which a codec may do without for a while.
_MOST_PACKETS = 100
# Some minutes of MPEG-4, in which they are told without being decoded, by a frame's header:
# vop_start_code, and vop_coding_type.
_MOST_PACKETS_OF_MPEG4 = 5000
_B_FRAME = re.compile(rb"\x00\x00\x01\xb6[\x80-\xbf]")


def _has_times(container: InputContainer, stream: Any, first: av.VideoFrame) -> bool:
    if not stream.codec_context.has_b_frames:
        return True
    names = container.format.name.split(",")
    # It has none of display: where frames are reordered, FFmpeg's are a guess.
    if "avi" in names or _is_called_as_in_avi(container, stream):
        return False
    return "mov" not in names or not _are_shown_as_decoded(container, stream, first)


def _are_shown_as_decoded(container: InputContainer, stream: Any, first: av.VideoFrame) -> bool:
    """
    Tell whether an MP4 says of reordered frames only when they are decoded.

    As where raw H.264 or HEVC was copied into it: no packet has a time of display of its own (no
    `ctts`), and the frames come with those of others, to and fro.
    """
    last, is_shuffled = first.pts or 0, False
    with contextlib.suppress(av.error.FFmpegError):  # told where the file is read to its end
        for packet in itertools.islice(container.demux(stream), _MOST_PACKETS):
            if packet.size and packet.pts != packet.dts:
                return False
            for frame in packet.decode():
                if frame.pts is not None:
                    is_shuffled |= frame.pts < last
                    last = frame.pts
    return is_shuffled


def has_times_as_decoding(container: InputContainer, stream: Any, last: int | None = None) -> bool:
    """
    Tell whether a stream's times of decoding are those of display, whatever FFmpeg takes them for.

    As of frames in order in AVI: it has no other times, and FFmpeg has those of H.264 begin when
    the next one does. And as of MPEG-4 in Matroska that goes by AVI's name, of which most muxers
    write when a frame is decoded, as AVI does: these never go back. mkvmerge writes when it is
    shown, if it knows.

    Args:
        container: is read on from where it is.
        last: such a time of a packet before.
    """
    if not stream.codec_context.has_b_frames:
        return "avi" in container.format.name.split(",")
    if not _is_called_as_in_avi(container, stream):
        return False
    b_frames = 0
    with contextlib.suppress(av.error.FFmpegError):  # told where the file is read to its end
        for packet in itertools.islice(container.demux(stream), _MOST_PACKETS_OF_MPEG4):
            if _B_FRAME.search(bytes(packet)):
                b_frames += 1
                if last is not None and packet.dts is not None and packet.dts < last:
                    return True
                if b_frames > MOST_REORDERED:
                    break
            last = packet.dts
    return False


def _is_called_as_in_avi(container: InputContainer, stream: Any) -> bool:
    """Whether it is MPEG-4 in Matroska, called V_MS/VFW/FOURCC: FFmpeg tells its four letters."""
    context = stream.codec_context
    is_mpeg4 = context.codec.canonical_name == "mpeg4" and "matroska" in container.format.name
    return is_mpeg4 and any(map(ord, context.codec_tag))


def _spherical(container: InputContainer, side: Mapping[str, bytes], path: Path) -> bytes | None:
    found = side.get("SPHERICAL")
    if found is None or "mov" not in container.format.name:
        return found
    older = older_sphere(path)
    return packed_spherical(older) if older else found


def _crop(
    container: InputContainer, stream: Any, first: av.VideoFrame, order: FieldOrder, path: Path
) -> Crop | None:
    tracks = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    crops = stated_crops(path)
    if len(crops) != len(tracks):
        return None
    crop = crops[[s.index for s in tracks].index(stream.index)]
    if crop is None or (first.width, first.height) != (crop.coded_width, crop.coded_height):
        return None  # meant for other frames, as where the codec has cropped them itself
    if order is FieldOrder.PROGRESSIVE:
        return crop
    lines_of_chroma = 4 // first.format.chroma_height(4)
    return aligned_to_fields(crop, 2 * lines_of_chroma)


def has_alpha_beside(stream: Any) -> bool:
    """Whether alpha lies beside the picture's own data, as VP8's and VP9's does in Matroska."""
    # FFmpeg's name of the element AlphaMode; its muxer writes a tag of that name too, in capitals.
    return any(stream.metadata.get(name) == "1" for name in ("alpha_mode", "ALPHA_MODE"))


def side_data_of(frame: av.VideoFrame) -> dict[str, bytes]:
    """Return what lies beside a frame's samples, FFmpeg's structures by PyAV's names of them."""
    try:
        found = list(beside(frame))  # not its keys: the data
    except ValueError:
        # PyAV's list of kinds ends before FFmpeg's: one it has no name for (Exif of a
        # motion-JPEG frame, for one) hides them all, the rotation too.
        found = list(beside(_without_unnamed_side_data(frame)))
    return {data.type.name: bytes(data) for data in found}


def _without_unnamed_side_data(frame: av.VideoFrame) -> Any:
    kinds_of_pyav: Any = SideDataType  # typed as if it were not an enumeration
    first = max(kind.value for kind in kinds_of_pyav) + 1
    kinds = range(first, first + _MOST_UNNAMED_KINDS)
    graph = picture_graph(frame, *(("sidedata", f"mode=delete:type={kind}") for kind in kinds))
    graph.push(frame)
    return graph.pull()


def _display_matrix(side: dict[str, bytes]) -> tuple[int, ...] | None:
    raw = side.get("DISPLAYMATRIX")
    if raw is None or len(raw) < 36:
        return None
    numbers = memoryview(raw[:36]).cast("i")
    identity = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    return None if tuple(numbers) == identity else tuple(numbers)


def _chroma_location(stream: Any, first: av.VideoFrame) -> int:
    found = chroma_location(stream)
    if found != UNSPECIFIED or first.format.chroma_width(2) == 1 or is_grey(first):
        return found
    # Of pixels with a colour each, swscale lays that of four amid them unless the stream says else.
    return CENTRE


# Ticks a second: of DV's clock, and the fewest of one that is not counted in frames.
_DV_TICKS, _COARSE_CLOCK = 60_000, 1000


def frame_rate_of(stream: Any) -> Fraction:
    """Return how many frames a second a video stream has, as its container says."""
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    if rate == _DV_TICKS and stream.codec_context.name == "dvvideo":
        # FFmpeg 8.1 has the ticks of its clock there, of raw DV and of AVI's type 1, which is raw.
        rate = stream.base_rate
    elif rate == 1 / stream.time_base >= _COARSE_CLOCK and not _has_counted(stream):
        # FFmpeg's word for not knowing: a frame each tick. As of WebM that browsers record, and
        # stated in WebM that FFmpeg wrote when that was new.
        rate = None
    return rate if rate and rate > 0 else Fraction(25)


def _has_counted(stream: Any) -> bool:
    """Tell whether a stream's average is of its frames; Matroska's is what the file states."""
    return stream.average_rate is not None and "matroska" not in stream.container.format.name


def sample_aspect(stream: Any) -> Fraction | None:
    """Return a video stream's sample aspect, above all the container's; None if unknown."""
    aspect = stream.sample_aspect_ratio
    return aspect if aspect and aspect > 0 else None


def stated_colour(stream: Any) -> Colour:
    """Return what an opened file says of a stream's colour, if nothing of it was decoded yet."""
    context = stream.codec_context
    return Colour(
        primaries=int(context.color_primaries),
        transfer=int(context.color_trc),
        matrix=int(context.colorspace),
        range=int(context.color_range),
    )


def _colour(stream: Any, first: av.VideoFrame) -> Colour:
    is_full = first.format.name.startswith("yuvj")
    context = stream.codec_context
    return Colour(
        primaries=int(first.color_primaries),
        transfer=int(first.color_trc),
        matrix=int(context.colorspace),
        range=FULL_RANGE if is_full else int(first.color_range),
    )


def _field_order(stream: Any, first: av.VideoFrame) -> FieldOrder:
    # Players deinterlace by the frame's own mark. One of the lower field there is not: without the
    # upper's, the codec may not know (HuffYUV), and what the container states goes first.
    if first.interlaced_frame and _is_marked_top_first(first):
        return FieldOrder.TOP_FIRST
    codec = stream.codec_context.codec.canonical_name
    if first.interlaced_frame and codec in _CODECS_THAT_KNOW_THEIR_FIELDS:
        return FieldOrder.BOTTOM_FIRST
    unstated = FieldOrder.BOTTOM_FIRST if first.interlaced_frame else FieldOrder.PROGRESSIVE
    return _STATED_ORDER.get(stream.codec_context.field_order, unstated)


# What stands for the container's word there may be FFmpeg's parser's. It goes by what H.264 says
# beside the picture, where x264 may call the upper field first of either.
_CODECS_THAT_KNOW_THEIR_FIELDS = frozenset({"h264", "hevc", "mpeg2video", "mpeg1video"})
# AVFieldOrder: TT, BB, TB, BT. The latter two are what FFmpeg and QuickTime (`fiel` 9 and 14)
# write of whole pictures whose first line is shown early, and late.
_STATED_ORDER = {
    2: FieldOrder.TOP_FIRST,
    3: FieldOrder.BOTTOM_FIRST,
    4: FieldOrder.TOP_FIRST,
    5: FieldOrder.BOTTOM_FIRST,
}


def _is_marked_top_first(frame: av.VideoFrame) -> bool:
    # PyAV does not tell this mark; a filter does, by what it lets through.
    graph = picture_graph(frame, ("select", "eq(interlace_type,TOPFIRST)"))
    graph.push(frame)
    try:
        graph.pull()
    except av.error.BlockingIOError:
        return False
    return True
