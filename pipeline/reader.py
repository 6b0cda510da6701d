"""
Open a video, tell what is in it, and decode it.

FFmpeg may open this one file and nothing else, by a whitelist of containers and of the
`file` protocol: playlists and scripts that name other files are refused. What becomes of
the frames is left to others; a decoded frame is never written to.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition

from pipeline.boxes import completeness
from pipeline.channels import Channels, ChannelSorter, settle
from pipeline.chroma import UNSPECIFIED, chroma_location
from pipeline.crop import Crop, Cropper, aligned_to_fields, stated_crops
from pipeline.errors import LimitExceeded, UnreadableMedia, UnsupportedMedia
from pipeline.settings import Limits

# Containers that hold their own streams. Not among them: playlists (hls, dash), scripts
# (concat), still images (image2, gif, png_pipe), subtitles, devices.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,mxf_opatom,"
    "gxf,nut,rm,dv,ivf,wtv"
)
NOT_A_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_STILL_PICTURE_BRANDS = frozenset({"avif", "avis", "mif1", "msf1", "heic", "heix", "heif"})
_AV_TIME_BASE = 1_000_000
# Without a single frame among so many packets, a file is not worth reading to its end.
_MOST_DAMAGED_PACKETS = 3000


class FieldOrder(Enum):
    """How a frame's two fields follow each other in time."""

    PROGRESSIVE = "progressive"
    TOP_FIRST = "tff"
    BOTTOM_FIRST = "bff"


@dataclass(frozen=True)
class Colour:
    """Colour description in the code points of ITU-T H.273; 2 is "unspecified"."""

    primaries: int
    transfer: int
    matrix: int
    range: int  # FFmpeg's: 0 unspecified, 1 limited, 2 full

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer is PQ (SMPTE ST 2084) or HLG (ARIB STD-B67)."""
        return self.transfer in (16, 18)


@dataclass(frozen=True)
class VideoTrack:
    """
    The moving picture, as its container and its first frame describe it.

    Attributes:
        width, height: of the part that is shown.
        crop: which part of the decoded frames that is; None for all of them.
        chroma_location: FFmpeg's number, of 4:2:0 alone; 0 where it is not known.
    """

    index: int
    codec: str
    width: int
    height: int
    pixel_format: str
    depth: int
    time_base: Fraction
    frame_rate: Fraction
    stated_frames: int  # 0 where the container does not say
    sample_aspect: Fraction | None
    colour: Colour
    field_order: FieldOrder
    display_matrix: tuple[int, ...] | None
    mastering_display: bytes | None  # AVMasteringDisplayMetadata
    content_light: bytes | None  # AVContentLightMetadata
    spherical: bytes | None  # AVSphericalMapping
    stereo: bytes | None  # AVStereo3D
    has_alpha: bool
    has_dolby_vision: bool
    has_captions: bool
    has_times: bool  # the file says when each frame is shown
    crop: Crop | None = None
    chroma_location: int = UNSPECIFIED

    @property
    def is_hdr(self) -> bool:
        """Whether the picture needs more than 8 bits to look as it does."""
        return self.colour.is_hdr


@dataclass(frozen=True)
class AudioTrack:
    """
    One audio track.

    Attributes:
        layout, channel_order, unkept_speakers: as of `Channels`.
        end: seconds on the file's clock, where an MP4 states it.
    """

    index: int
    codec: str
    sample_rate: int
    channels: int
    layout: str
    time_base: Fraction
    language: str | None
    disposition: int
    end: Fraction | None = None
    channel_order: tuple[int, ...] | None = None
    unkept_speakers: str | None = None


@dataclass(frozen=True)
class SubtitleTrack:
    """One subtitle track."""

    index: int
    codec: str
    time_base: Fraction
    language: str | None
    disposition: int


@dataclass(frozen=True)
class Chapter:
    """One chapter, in seconds from the file's origin of time."""

    start: Fraction
    end: Fraction


@dataclass(frozen=True)
class MediaInfo:
    """
    What a file holds.

    Attributes:
        container: FFmpeg's name, such as `mov,mp4,m4a,3gp,3g2,mj2` or `matroska,webm`.
        start: seconds on the file's clock at which its first stream begins.
        duration: seconds, None where the container does not say.
        dropped: streams that a protected copy leaves out, in words.
        is_truncated: the container states more bytes than there are.
    """

    path: Path
    container: str
    start: Fraction
    duration: Fraction | None
    video: VideoTrack
    audio: tuple[AudioTrack, ...]
    subtitles: tuple[SubtitleTrack, ...]
    chapters: tuple[Chapter, ...]
    dropped: tuple[str, ...]
    is_truncated: bool

    @property
    def tracks(self) -> dict[int, AudioTrack | SubtitleTrack]:
        """Sound and subtitles, by stream index."""
        tracks: dict[int, AudioTrack | SubtitleTrack] = {t.index: t for t in self.audio}
        tracks.update({t.index: t for t in self.subtitles})
        return tracks

    @property
    def expected_frames(self) -> int | None:
        """About how many frames there are, for a progress bar; None if unknown."""
        if self.video.stated_frames:
            return self.video.stated_frames
        if self.duration is None:
            return None
        return max(1, round(self.duration * self.video.frame_rate))


def open_media(path: Path) -> InputContainer:
    """
    Open a media file for reading, and nothing but this file.

    Raises:
        UnreadableMedia: not a container we know, damaged at its head, or not readable.
    """
    return _opened(path)[0]


def _opened(path: Path) -> tuple[InputContainer, dict[int, Channels]]:
    """Return the file, opened, and the channels of its tracks of sound by stream index."""
    container = _open(path)
    # Before anybody can look at them.
    contexts = {s.index: s.codec_context for s in container.streams.audio}
    return container, {i: settle(c) for i, c in contexts.items() if c is not None}


def _open(path: Path) -> InputContainer:
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _CONTAINERS,
    }
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UnreadableMedia(f"{path.name} cannot be read: {error.strerror}.") from error
    if size == 0:
        raise UnreadableMedia(f"{path.name} is empty; copy it again.")
    try:
        # An absolute path cannot be taken for a protocol, as `concat:a|b.mp4` would be.
        return av.open(
            str(path.absolute()),
            "r",
            options=options,
            metadata_errors="replace",
        )
    except PermissionError as error:
        raise UnreadableMedia(f"{path.name} may not be read: {error.strerror}.") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise UnreadableMedia(_why_not_opened(path)) from error


def probe(path: Path, limits: Limits) -> MediaInfo:
    """
    Return what a file holds, having decoded its first frame.

    Raises:
        UnreadableMedia: no video, or none that can be decoded.
        UnsupportedMedia: of a kind that cannot be protected.
        LimitExceeded: beyond one of `limits`.
    """
    container, channels = _opened(path)
    with container:
        _refuse_still_picture(container, path)
        check_streams(container, path, limits)
        stream = _main_video(container, path)
        _check_size(stream.codec_context.width, stream.codec_context.height, path, limits)
        first = _first_frame(container, stream, path)
        _check_size(first.width, first.height, path, limits)
        info = _describe(container, stream, first, channels, path)
    _check_time(info, limits)
    _check_dolby_vision(info)
    return info


@dataclass(frozen=True)
class VideoItem:
    """The next frame of the picture."""

    frame: av.VideoFrame


@dataclass(frozen=True)
class AudioItem:
    """The next decoded samples of one audio track."""

    track: AudioTrack
    frame: av.AudioFrame


@dataclass(frozen=True)
class PacketItem:
    """The next packet of a track that is copied as it is."""

    track: AudioTrack | SubtitleTrack
    packet: av.Packet[Any]


Item = VideoItem | AudioItem | PacketItem


class Reader:
    """
    Decodes one file once, from beginning to end; `items` opens and closes it.

    Attributes:
        damaged_packets: packets that could not be decoded and were passed over.
        ended_early: the container broke off before its end.
    """

    def __init__(
        self, info: MediaInfo, copied: frozenset[int], limits: Limits, threads: int = 0
    ) -> None:
        """
        Args:
            copied: indices of the streams that yield packets.
            threads: of the picture's decoder; each holds some frames more. 0 takes every core.
        """
        self._threads = threads
        self.damaged_packets = 0
        self.ended_early = False
        self._info = info
        self._copied = copied
        self._limits = limits

    def items(self, since: Fraction | None = None) -> Generator[Item, None, None]:
        """
        Yield frames, samples and packets in the order in which the file holds them.

        Args:
            since: seconds on the file's clock; begin about the key frame before. A coarse or
                wrong index leads elsewhere, which the first frame's time shows.
        """
        with open_media(self._info.path) as container:
            picture: Any = container.streams[self._info.video.index]
            # Decoding frames in parallel loses the last ones before the place of a cut.
            picture.thread_type = "SLICE" if self._info.is_truncated else "AUTO"
            picture.thread_count = self._threads
            if since is not None:
                # A file that cannot be searched is read from where it stands.
                with contextlib.suppress(av.error.FFmpegError):
                    container.seek(math.floor(since / picture.time_base), stream=picture)
            yield from self._items(container)

    def _items(self, container: InputContainer) -> Iterator[Item]:
        tracks = self._info.tracks
        wanted = [self._info.video.index, *tracks]
        streams = [container.streams[index] for index in wanted]
        cropper = Cropper(self._info.video.crop)
        sorters = {
            track.index: ChannelSorter(track.layout, track.channel_order)
            for track in self._info.audio
        }
        for packet in self._packets(container, streams):
            # Not packet.stream_index: PyAV leaves it 0 on the packets that flush decoders.
            index = packet.stream.index
            track = tracks.get(index)
            if track is None:
                yield from self._pictures(packet, cropper)
            elif index in self._copied:
                if packet.size:
                    yield PacketItem(track, packet)
            elif isinstance(track, AudioTrack):
                blocks = map(sorters[index].sorted, self._decode(packet))
                yield from (AudioItem(track, block) for block in blocks)

    def _pictures(self, packet: av.Packet[Any], cropper: Cropper) -> Iterator[VideoItem]:
        for frame in self._decode(packet):
            # A stream may change its size halfway.
            _check_size(frame.width, frame.height, self._info.path, self._limits)
            yield VideoItem(cropper.cropped(frame))

    def _packets(self, container: InputContainer, streams: list[Any]) -> Iterator[av.Packet[Any]]:
        packets = container.demux(streams)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                # The rest of a damaged container is out of reach; flush the decoders, so
                # that the frames they still hold are not lost.
                self.ended_early = True
                yield from (_flush_packet(stream) for stream in streams)
                return
            yield packet

    def _decode(self, packet: av.Packet[Any]) -> list[Any]:
        try:
            return packet.decode()
        except av.error.EOFError:
            return []
        except av.error.FFmpegError:
            self.damaged_packets += 1
            return []


def _flush_packet(stream: Any) -> av.Packet[Any]:
    packet: av.Packet[Any] = av.Packet()
    packet.stream = stream
    return packet


def _why_not_opened(path: Path) -> str:
    if completeness(path).is_truncated:
        return f"{path.name} ends before its index; copy it again."
    return f"{path.name} is not a video we can read; check that it plays, or convert it to MP4."


def _refuse_still_picture(container: InputContainer, path: Path) -> None:
    brand = container.metadata.get("major_brand", "").strip().lower()
    if brand in _STILL_PICTURE_BRANDS:
        raise UnreadableMedia(f"{path.name} is a still picture, not a video.")


def check_streams(container: InputContainer, path: Path, limits: Limits) -> None:
    """
    Raises:
        LimitExceeded: more streams than `limits` allow.
    """
    if len(container.streams) > limits.max_streams:
        raise LimitExceeded(
            f"{path.name} has {len(container.streams)} streams;"
            f" at most {limits.max_streams} are allowed (limits.max_streams)."
        )


def _main_video(container: InputContainer, path: Path) -> Any:
    pictures = [
        s
        for s in container.streams.video
        if not s.disposition & NOT_A_PICTURE and s.codec_context is not None
    ]
    if not pictures:
        has_sound = bool(container.streams.audio)
        what = "has sound but no moving picture" if has_sound else "holds no video we can decode"
        raise UnreadableMedia(f"{path.name} {what}; it cannot be protected.")
    defaults = [s for s in pictures if s.disposition & Disposition.default]
    return (defaults or pictures)[0]


def _check_size(width: int, height: int, path: Path, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise LimitExceeded(
            f"{path.name} is {width}x{height}, {width * height} pixels;"
            f" at most {limits.max_pixels} are allowed (limits.max_pixels)."
        )


def _first_frame(container: InputContainer, stream: Any, path: Path) -> av.VideoFrame:
    try:
        for packet in itertools.islice(container.demux(stream), _MOST_DAMAGED_PACKETS):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue  # a damaged packet; the next key frame may be sound
            if frames:
                return frames[0]
    except av.error.FFmpegError as error:
        raise UnreadableMedia(f"{path.name} breaks off before its first frame.") from error
    raise UnreadableMedia(
        f"{path.name} has no frame that can be decoded ({stream.codec_context.name});"
        " it is damaged or empty."
    )


def _describe(
    container: InputContainer,
    stream: Any,
    first: av.VideoFrame,
    channels: dict[int, Channels],
    path: Path,
) -> MediaInfo:
    order = _field_order(stream, first)
    crop = _crop(container, stream, first, order, path)
    video = _video_track(stream, first, order, crop)
    audio = tuple(
        _audio_track(s, channels[s.index])
        for s in container.streams.audio
        if _is_decodable_audio(s)
    )
    subtitles = tuple(
        _subtitle_track(s) for s in container.streams.subtitles if s.codec_context is not None
    )
    kept = {video.index, *(t.index for t in audio), *(t.index for t in subtitles)}
    dropped = tuple(_dropped_stream(s) for s in container.streams if s.index not in kept)
    return MediaInfo(
        path=path,
        container=container.format.name,
        start=_start(container, video, first),
        duration=Fraction(container.duration, _AV_TIME_BASE) if container.duration else None,
        video=video,
        audio=audio,
        subtitles=subtitles,
        chapters=_chapters(container),
        dropped=dropped,
        is_truncated=completeness(path).is_truncated,
    )


def _start(container: InputContainer, video: VideoTrack, first: av.VideoFrame) -> Fraction:
    start = Fraction(container.start_time or 0, _AV_TIME_BASE)
    if first.pts is None or not video.has_times:
        return start
    # FFmpeg leaves out streams whose start it does not know; a frame before the start
    # would lie before the output's zero, where muxers drop it.
    return min(start, first.pts * video.time_base)


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


def _video_track(
    stream: Any, first: av.VideoFrame, order: FieldOrder, crop: Crop | None
) -> VideoTrack:
    side = _side_data(first)
    layout = first.format
    return VideoTrack(
        index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        width=crop.width if crop else first.width,
        height=crop.height if crop else first.height,
        pixel_format=layout.name,
        depth=max(component.bits for component in layout.components),
        time_base=stream.time_base,
        frame_rate=_frame_rate(stream),
        stated_frames=stream.frames,
        sample_aspect=sample_aspect(stream),
        colour=_colour(stream, first),
        field_order=order,
        display_matrix=_display_matrix(side),
        mastering_display=side.get("MASTERING_DISPLAY_METADATA"),
        content_light=side.get("CONTENT_LIGHT_LEVEL"),
        spherical=side.get("SPHERICAL"),
        stereo=side.get("STEREO3D"),
        has_alpha=has_alpha_beside(stream) or any(part.is_alpha for part in layout.components),
        has_dolby_vision="DOVI_METADATA" in side or "DOVI_RPU_BUFFER" in side,
        has_captions="A53_CC" in side,
        # AVI has no times of display: where frames are reordered, FFmpeg's are a guess.
        has_times="avi" not in stream.container.format.name
        or not stream.codec_context.has_b_frames,
        crop=crop,
        chroma_location=chroma_location(stream) if _is_four_two_zero(layout) else UNSPECIFIED,
    )


def has_alpha_beside(stream: Any) -> bool:
    """Whether alpha lies beside the picture's own data, as VP8's and VP9's does in Matroska."""
    # FFmpeg's name of the element AlphaMode; its muxer writes a tag of that name too, in capitals.
    return any(stream.metadata.get(name) == "1" for name in ("alpha_mode", "ALPHA_MODE"))


def _side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    try:
        # Typed by PyAV as a mapping's keys; what it yields are the data.
        found: Any = list(frame.side_data)
        return {data.type.name: bytes(data) for data in found}
    except ValueError:
        # PyAV's list of kinds ends before FFmpeg's: one it has no name for (Exif of a
        # motion-JPEG frame, for one) hides them all.
        return {}


def _display_matrix(side: dict[str, bytes]) -> tuple[int, ...] | None:
    raw = side.get("DISPLAYMATRIX")
    if raw is None or len(raw) < 36:
        return None
    numbers = memoryview(raw[:36]).cast("i")
    identity = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    return None if tuple(numbers) == identity else tuple(numbers)


def _is_four_two_zero(layout: av.VideoFormat) -> bool:
    return (layout.chroma_width(2), layout.chroma_height(2)) == (1, 1)


def _frame_rate(stream: Any) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return rate if rate and rate > 0 else Fraction(25)


def sample_aspect(stream: Any) -> Fraction | None:
    """Return a video stream's sample aspect, above all the container's; None if unknown."""
    aspect = stream.sample_aspect_ratio
    return aspect if aspect and aspect > 0 else None


def _colour(stream: Any, first: av.VideoFrame) -> Colour:
    full = 2 if first.format.name.startswith("yuvj") else 0
    context = stream.codec_context
    return Colour(
        primaries=int(first.color_primaries),
        transfer=int(first.color_trc),
        matrix=int(context.colorspace),
        range=full or int(first.color_range),
    )


def _field_order(stream: Any, first: av.VideoFrame) -> FieldOrder:
    # Players deinterlace by the frame's own mark. One of the lower field there is not: without the
    # upper's, the codec may not know (HuffYUV), and what the container states goes first.
    if first.interlaced_frame and _is_marked_top_first(first, stream.time_base):
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


def _is_marked_top_first(frame: av.VideoFrame, time_base: Fraction) -> bool:
    # PyAV does not tell this mark; a filter does, by what it lets through.
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=time_base
    )
    top_first = graph.add("select", "eq(interlace_type,TOPFIRST)")
    graph.link_nodes(source, top_first, graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    try:
        graph.pull()
    except av.error.BlockingIOError:
        return False
    return True


def _is_decodable_audio(stream: Any) -> bool:
    context = stream.codec_context
    return context is not None and context.channels > 0 and context.sample_rate > 0


def _audio_track(stream: Any, channels: Channels) -> AudioTrack:
    context = stream.codec_context
    return AudioTrack(
        index=stream.index,
        codec=context.codec.canonical_name,
        sample_rate=context.sample_rate,
        channels=channels.count,
        layout=channels.layout,
        time_base=stream.time_base,
        language=_language(stream),
        disposition=int(stream.disposition),
        end=_stated_end(stream),
        channel_order=channels.order,
        unkept_speakers=channels.unkept,
    )


def _stated_end(stream: Any) -> Fraction | None:
    # Other containers state a length that is rounded, or that of the longest track.
    if "mp4" not in stream.container.format.name or stream.duration is None:
        return None
    return Fraction((stream.start_time or 0) + stream.duration) * stream.time_base


def _subtitle_track(stream: Any) -> SubtitleTrack:
    return SubtitleTrack(
        index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        time_base=stream.time_base,
        language=_language(stream),
        disposition=int(stream.disposition),
    )


def _language(stream: Any) -> str | None:
    language = stream.metadata.get("language")
    return language if language and language != "und" else None


def _dropped_stream(stream: Any) -> str:
    if stream.type == "video":
        kind = "attached picture" if stream.disposition & NOT_A_PICTURE else "second video track"
    elif stream.type in ("audio", "subtitle"):
        kind = f"{stream.type} track that cannot be decoded"
    else:
        kind = f"{stream.type} track"
    return f"{kind} (stream {stream.index})"


def _chapters(container: InputContainer) -> tuple[Chapter, ...]:
    return tuple(
        Chapter(chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"])
        for chapter in container.chapters()
        if chapter["time_base"]
    )


def _check_time(info: MediaInfo, limits: Limits) -> None:
    hours = float(info.duration or 0) / 3600
    if hours > limits.max_duration_h:
        raise LimitExceeded(
            f"{info.path.name} lasts {hours:.1f} hours;"
            f" at most {limits.max_duration_h:g} are allowed (limits.max_duration_h)."
        )
    # Over a moment an average says nothing: five frames within 6 ms are no 1000 a second.
    if info.video.frame_rate > limits.max_fps and (info.duration or 0) >= 1:
        raise LimitExceeded(
            f"{info.path.name} has {float(info.video.frame_rate):.0f} frames a second;"
            f" at most {limits.max_fps:g} are allowed (limits.max_fps)."
        )


def _check_dolby_vision(info: MediaInfo) -> None:
    # Profile 5 has no picture that other players understand: its base layer is in Dolby's
    # own IPTPQc2 colours, which the stream marks by leaving the description unspecified.
    video = info.video
    if video.has_dolby_vision and video.colour.transfer == 2 and video.depth > 8:
        raise UnsupportedMedia(
            f"{info.path.name} is Dolby Vision without a compatible base layer (profile 5);"
            " its colours would be wrong. Convert it to HDR10 or SDR first."
        )
