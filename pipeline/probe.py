"""
Open one video file and nothing else, and tell what is in it.

FFmpeg may open this one file, by a whitelist of containers and of the `file` protocol: playlists
and scripts that name other files are refused.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition

from pipeline.avi_sound import uneven_tracks
from pipeline.boxes import completeness, is_encrypted
from pipeline.channels import Channels, settle
from pipeline.edits import begins_late
from pipeline.elements import has_encrypted_track, states_duration
from pipeline.errors import LimitExceeded, UnreadableMedia, UnsupportedMedia
from pipeline.frame_rate import stated_rates
from pipeline.language import language_code
from pipeline.media import (
    UNSPECIFIED,
    AudioTrack,
    Chapter,
    MediaInfo,
    PictureEnd,
    SubtitleTrack,
    VideoTrack,
)
from pipeline.picture_track import frame_rate_of, stated_colour, video_track
from pipeline.settings import Limits
from pipeline.subtitles import unnamed_webvtt
from pipeline.telemetry import telemetry_in

# Containers that hold their own streams. Not among them: playlists (hls, dash), scripts
# (concat), still images (image2, gif, png_pipe), subtitles, devices.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,mxf_opatom,"
    "gxf,nut,rm,dv,ivf,wtv"
)
NOT_A_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
# FFmpeg's muxers state when these end, on a clock that need not begin at zero; other programs how
# long they last.
_COUNT_FROM_ZERO = frozenset({"matroska", "nut"})
_STILL_PICTURE_BRANDS = frozenset({"avif", "avis", "mif1", "msf1", "heic", "heix", "heif"})
_AV_TIME_BASE = 1_000_000
# Of which FFmpeg gives every packet in MP4 the same length, whatever the file says of it.
_OF_GUESSED_LENGTH = frozenset({"vp8", "vp9"})
# Beside PCM; of other codecs floats are what a lossy one is decoded to.
_LOSSLESS_FLOATS = frozenset({"wavpack", "mp4als"})
# Without a single frame among so many packets, a file is not worth reading to its end.
_MOST_DAMAGED_PACKETS = 3000


def open_media(
    path: Path, *, packets_only: bool = False, with_hidden: bool = False
) -> InputContainer:
    """
    Open a media file for reading, and nothing but this file.

    Args:
        packets_only: no frame is decoded. What only frames tell, as the codec's delay, is then
            not known; telling takes four fifths of the time.
        with_hidden: give out packets, too, that an edit list hides and no decoder needs.

    Raises:
        UnreadableMedia: not a container we know, damaged at its head, or not readable.
    """
    return _opened(path, packets_only, with_hidden)[0]


def _opened(
    path: Path, packets_only: bool = False, with_hidden: bool = False
) -> tuple[InputContainer, dict[int, Channels]]:
    """Return the file, opened, and the channels of its tracks of sound by stream index."""
    container = _open(path, packets_only, with_hidden)
    # Before anybody can look at them.
    contexts = {s.index: s.codec_context for s in container.streams.audio}
    return container, {i: settle(c) for i, c in contexts.items() if c is not None}


def _open(path: Path, packets_only: bool, with_hidden: bool) -> InputContainer:
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _CONTAINERS,
    }
    if packets_only:
        options["skip_frame"] = "all"  # of the decoders that FFmpeg asks about the first frames
    if with_hidden:
        options["ignore_editlist"] = "1"
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
        refuse_still_picture(container, path)
        refuse_encrypted(container, path)
        check_streams(container, path, limits)
        stream = main_video(container, path)
        check_size(stream.codec_context.width, stream.codec_context.height, path, limits)
        stated = stated_colour(stream)  # a decoder may say otherwise
        first, packets_before = _first_frame(container, stream, path)
        check_size(first.width, first.height, path, limits)
        _refuse_sensor_data(first, path)
        check_time(container, stream, path, limits)
        video = video_track(container, stream, first, stated, path)
        info = _describe(container, video, first, channels, path)
    info = replace(info, lead=_lead(info, first, packets_before))
    _check_dolby_vision(info)
    return info


def _why_not_opened(path: Path) -> str:
    if completeness(path).is_truncated:
        return f"{path.name} ends before its index; copy it again."
    return f"{path.name} is not a video we can read; check that it plays, or convert it to MP4."


def refuse_still_picture(container: InputContainer, path: Path) -> None:
    """
    Raises:
        UnreadableMedia: it is one, in a container of videos.
    """
    brand = container.metadata.get("major_brand", "").strip().lower()
    if brand in _STILL_PICTURE_BRANDS:
        raise UnreadableMedia(f"{path.name} is a still picture, not a video.")


def refuse_encrypted(container: InputContainer, path: Path) -> None:
    """
    Raises:
        UnsupportedMedia: a track is encrypted. It cannot be decoded, and what a player needs
            to decrypt it lies where no copy has it.
    """
    names = container.format.name.split(",")
    if ("mov" in names and is_encrypted(path)) or (
        "matroska" in names and has_encrypted_track(path)
    ):
        raise UnsupportedMedia(f"{path.name} is encrypted; decrypt it first.")


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


def main_video(container: InputContainer, path: Path) -> Any:
    """
    Return the video stream that counts: the default, else the first.

    Raises:
        UnreadableMedia: there is none.
    """
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


def check_size(width: int, height: int, path: Path, limits: Limits) -> None:
    """
    Raises:
        LimitExceeded: a frame has more pixels than `limits` allow.
    """
    if width * height > limits.max_pixels:
        raise LimitExceeded(
            f"{path.name} is {width}x{height}, {width * height} pixels;"
            f" at most {limits.max_pixels} are allowed (limits.max_pixels)."
        )


def _first_frame(container: InputContainer, stream: Any, path: Path) -> tuple[av.VideoFrame, int]:
    """Return the first frame, and how many packets came before the one that let it out."""
    packets = itertools.islice(container.demux(stream), _MOST_DAMAGED_PACKETS)
    try:
        for number, packet in enumerate(packets):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue  # a damaged packet; the next key frame may be sound
            if frames:
                return frames[0], number
    except av.error.FFmpegError as error:
        raise UnreadableMedia(f"{path.name} breaks off before its first frame.") from error
    raise UnreadableMedia(
        f"{path.name} has no frame that can be decoded ({stream.codec_context.name});"
        " it is damaged or empty."
    )


def _describe(
    container: InputContainer,
    video: VideoTrack,
    first: av.VideoFrame,
    channels: dict[int, Channels],
    path: Path,
) -> MediaInfo:
    counted = uneven_tracks(container, path)
    audio = tuple(
        _audio_track(s, channels[s.index], s.index in counted)
        for s in container.streams.audio
        if _is_decodable_audio(s)
    )
    telemetry = telemetry_in(container)
    unnamed = unnamed_webvtt(container, path)
    subtitles = tuple(
        _subtitle_track(s)
        for s in container.streams.subtitles
        if s.index in unnamed or (s.codec_context is not None and s.index not in telemetry)
    )
    kept = {video.index, *(t.index for t in audio), *(t.index for t in subtitles)}
    dropped = tuple(
        telemetry_words(s) if s.index in telemetry else _dropped_stream(s)
        for s in container.streams
        if s.index not in kept
    )
    return MediaInfo(
        path=path,
        container=container.format.name,
        start=_start(container, video, first),
        duration=_duration(container),
        video=video,
        audio=audio,
        subtitles=subtitles,
        chapters=_chapters(container),
        dropped=dropped,
        is_truncated=completeness(path).is_truncated,
        picture_end=picture_end(container, container.streams[video.index], path),
    )


def _start(container: InputContainer, video: VideoTrack, first: av.VideoFrame) -> Fraction:
    start = Fraction(container.start_time or 0, _AV_TIME_BASE)
    if first.pts is None or not video.has_times or video.has_times_as_decoding:
        return start
    # FFmpeg leaves out streams whose start it does not know; a frame before the start
    # would lie before the output's zero, where muxers drop it.
    return min(start, first.pts * video.time_base)


def _lead(info: MediaInfo, first: av.VideoFrame, packets_before: int) -> Fraction:
    """Return how long after the file's start a picture begins that has no times of display."""
    video = info.video
    if video.has_times or first.dts is None:
        return Fraction(0)
    # Each packet that the decoder takes before it gives a frame out is a frame of delay.
    shown = first.dts * video.time_base - packets_before / video.frame_rate
    return max(Fraction(0), shown - info.start)


def _is_decodable_audio(stream: Any) -> bool:
    context = stream.codec_context
    return context is not None and context.channels > 0 and context.sample_rate > 0


def _audio_track(stream: Any, channels: Channels, is_counted: bool) -> AudioTrack:
    context = stream.codec_context
    codec = context.codec.canonical_name
    return AudioTrack(
        index=stream.index,
        codec=codec,
        sample_rate=context.sample_rate,
        channels=channels.count,
        layout=channels.layout,
        time_base=stream.time_base,
        language=language_code(stream.metadata.get("language")),
        disposition=int(stream.disposition),
        end=_stated_end(stream),
        channel_order=channels.order,
        unkept_speakers=channels.unkept,
        is_deep=_is_deep(codec, context.format),
        is_counted=is_counted,
        has_guessed_times=stream.container.format.name in ("mpegts", "mpeg"),
    )


def _is_deep(codec: str, samples: av.AudioFormat | None) -> bool:
    # Lossy codecs are decoded to 16 bits or to floats; of what has no packet it may not be known.
    kind = "" if samples is None else samples.name
    is_lossless_float = kind.startswith("flt") and codec in _LOSSLESS_FLOATS
    return kind.startswith("s32") or codec.startswith("pcm_f") or is_lossless_float


def _stated_end(stream: Any) -> Fraction | None:
    # Other containers state a length that is rounded, or that of the longest track.
    if "mp4" not in stream.container.format.name or stream.duration is None:
        return None
    return Fraction((stream.start_time or 0) + stream.duration) * stream.time_base


def picture_end(container: InputContainer, stream: Any, path: Path) -> PictureEnd | None:
    """
    Return when an opened file says that a stream of pictures ends; None where it does not say.

    Of Matroska that states no rate, of MP4 whose frames have a length that FFmpeg makes up, and of
    Ogg, where the last one may be repeated. In all others the last frame says how long it is shown.
    """
    names = container.format.name.split(",")
    codec = stream.codec_context.codec.canonical_name
    is_made_up = ("ogg" in names and codec == "theora") or (
        "mp4" in names and codec in _OF_GUESSED_LENGTH
    )
    end: Fraction | None = None
    if completeness(path).is_truncated:
        return None
    if "matroska" in names and stream.index not in stated_rates(container, path):
        # Not `stated_end`: where it is taken for a length but is an end, as of libwebm, a picture
        # that begins late would last too long.
        # Where the file says nothing, FFmpeg may have reckoned it by the sound's bit rate.
        stated = container.duration if states_duration(path) else None
        end = Fraction(stated, _AV_TIME_BASE) if stated else None
    elif is_made_up and stream.duration is not None:
        # Of fragments FFmpeg tells when they end: no index counts their frames. Where edits move
        # them, that may be their end before or after.
        is_in_fragments = "mp4" in names and not stream.frames
        if is_in_fragments and begins_late(path, stream.index):
            return None
        start = 0 if is_in_fragments else stream.start_time or 0
        end = (start + stream.duration) * stream.time_base
    return None if end is None else PictureEnd(end, is_made_up)


def _subtitle_track(stream: Any) -> SubtitleTrack:
    context = stream.codec_context
    return SubtitleTrack(
        index=stream.index,
        codec="webvtt" if context is None else context.codec.canonical_name,
        time_base=stream.time_base,
        language=language_code(stream.metadata.get("language")),
        disposition=int(stream.disposition),
    )


def telemetry_words(stream: Any) -> str:
    """Return what a subtitle track that a camera wrote is called where it is left out."""
    return f"subtitle track of the camera's own data (stream {stream.index})"


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


def stated_end(container: InputContainer) -> Fraction | None:
    """Return the seconds on a file's clock at which it says to end; None where it does not say."""
    stated = container.duration
    if not stated:
        return None
    # A recording may go on with the clock of what it was recorded from.
    start = _late_start(container)
    tags = {name.lower(): text for name, text in container.metadata.items()}
    is_ffmpegs = tags.get("encoder", "").startswith("Lavf")
    may_be_end = _COUNT_FROM_ZERO & set(container.format.name.split(","))
    is_end = is_ffmpegs and may_be_end and start < stated
    return Fraction(stated if is_end else start + stated, _AV_TIME_BASE)


def _duration(container: InputContainer) -> Fraction | None:
    end = stated_end(container)
    return end and end - Fraction(_late_start(container), _AV_TIME_BASE)


def _late_start(container: InputContainer) -> int:
    # What lies before zero, as an encoder's priming, is part of no length that is stated.
    return max(0, container.start_time or 0)


def check_time(container: InputContainer, stream: Any, path: Path, limits: Limits) -> None:
    """
    Raises:
        LimitExceeded: it lasts longer, or has more frames a second, than `limits` allow.
    """
    seconds, rate = _duration(container) or 0, frame_rate_of(stream)
    hours = float(seconds) / 3600
    if hours > limits.max_duration_h:
        raise LimitExceeded(
            f"{path.name} lasts {hours:.6g} hours;"
            f" at most {limits.max_duration_h:g} are allowed (limits.max_duration_h)."
        )
    # Over a moment an average says nothing: five frames within 6 ms are no 1000 a second.
    if rate > limits.max_fps and seconds >= 1:
        raise LimitExceeded(
            f"{path.name} has {float(rate):.6g} frames a second;"
            f" at most {limits.max_fps:g} are allowed (limits.max_fps)."
        )


def _refuse_sensor_data(first: av.VideoFrame, path: Path) -> None:
    # As of ProRes RAW. FFmpeg gives what the sensor measured, dark and green.
    if first.format.name.startswith("bayer_"):
        raise UnsupportedMedia(
            f"{path.name} holds a camera's sensor data (raw), which each program develops in its"
            " own way; develop it and export a video first."
        )


def _check_dolby_vision(info: MediaInfo) -> None:
    # Profile 5 has no picture that other players understand: its base layer is in Dolby's
    # own IPTPQc2 colours, which the stream marks by leaving the description unspecified.
    video = info.video
    if video.has_dolby_vision and video.colour.transfer == UNSPECIFIED and video.depth > 8:
        raise UnsupportedMedia(
            f"{info.path.name} is Dolby Vision without a compatible base layer (profile 5);"
            " its colours would be wrong. Convert it to HDR10 or SDR first."
        )
