"""
Decide what the output looks like: container, encoders, which tracks are copied.

Decisions only; nothing is opened but a codec to see whether it takes a track.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import av.error
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from pipeline import chroma, mp4
from pipeline.errors import InvalidParameters, UnsupportedMedia
from pipeline.masking import MAX_RATE, MIN_RATE
from pipeline.media import AudioTrack, Colour, FieldOrder, MediaInfo, SubtitleTrack, VideoTrack
from pipeline.parameters import AudioLevel, Parameters
from pipeline.settings import PRESETS, Settings
from pipeline.sidedata import parse_content_light, parse_mastering_display

# What may be copied into MP4 and is played there by common players.
_MP4_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"})
_MP4_SUBTITLES = frozenset({"mov_text"})
_MOV_AUDIO = _MP4_AUDIO - {"opus", "flac"}
# mov_text becomes SubRip there.
_MATROSKA_SUBTITLES = frozenset(
    (
        *("mov_text", "subrip", "srt", "ass", "ssa", "webvtt"),
        *("dvdsub", "dvd_subtitle", "dvbsub", "dvb_subtitle", "pgssub", "hdmv_pgs_subtitle"),
    )
)
# H.273 code points.
_RGB_MATRIX, _BT709, _BT601 = 0, 1, 6
_UNSPECIFIED = 2
_LIMITED_RANGE, _FULL_RANGE = 1, 2
# Numbers of primaries, transfers and matrices that the encoders take. With another one x265 4.2
# does not begin, and x264 writes the one for "unspecified".
_TAKEN = {
    "libx264": tuple(frozenset(range(end)) - {3} for end in (13, 19, 15)),
    "libx265": tuple(frozenset(range(end)) - {3} for end in (13, 19, 16)),
}
# x265's wrapper takes no smaller picture.
_SHORTEST_SIDE_IN_HEVC = 16
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
_AAC_BITS_PER_CHANNEL = 96_000


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


@dataclass(frozen=True)
class AudioPlan:
    """How one audio track goes out: encoded anew, or copied where `encoder` is None."""

    track: AudioTrack
    encoder: str | None
    layout: str
    bit_rate: int | None
    is_masked: bool


@dataclass(frozen=True)
class OutputPlan:
    """
    What the output will be.

    Attributes:
        container: FFmpeg's muxer, `mp4`, `mov` or `matroska`.
        notes: plain sentences for the report: what is not kept, and why.
    """

    container: str
    video: VideoPlan
    audio: tuple[AudioPlan, ...]
    subtitles: tuple[SubtitleTrack, ...]
    notes: tuple[str, ...]

    @property
    def suffix(self) -> str:
        """The file name's ending."""
        return _SUFFIX_OF[self.container]

    @property
    def copied(self) -> frozenset[int]:
        """Indices of the streams whose packets are copied."""
        sound = (a.track.index for a in self.audio if a.encoder is None)
        return frozenset((*sound, *(s.index for s in self.subtitles)))


_CONTAINER_OF = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_SUFFIX_OF = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}


def plan_output(
    info: MediaInfo, parameters: Parameters, settings: Settings, suffix: str | None = None
) -> OutputPlan:
    """
    Return how `info`'s video is written.

    Args:
        suffix: the file name's ending that the user asks for; None for our choice, which is
            MP4, or Matroska where a track to be kept does not fit MP4.

    Raises:
        InvalidParameters: the container asked for cannot hold this video.
        UnsupportedMedia: the encoder does not take its size.
    """
    is_copied = parameters.audio_level is AudioLevel.NONE
    container = _container(info, is_copied, suffix)
    notes = list(info.dropped and [f"Not kept: {', '.join(info.dropped)}."])
    video = _plan_video(info.video, container, settings, notes)
    _check_sides(video, info.path.name)
    audio = tuple(_plan_audio(track, is_copied, container, notes) for track in info.audio)
    subtitles = _plan_subtitles(info.subtitles, container, notes)
    notes.extend(_lost_places(audio, container))
    return OutputPlan(container, video, audio, subtitles, tuple(notes))


def check_suffix(suffix: str) -> str:
    """
    Return the muxer for a file name's ending.

    Raises:
        InvalidParameters: there is none.
    """
    container = _CONTAINER_OF.get(suffix.lower())
    if container is None:
        raise InvalidParameters(
            f"An output {suffix or 'without an ending'} is not possible;"
            f" use {', '.join(_CONTAINER_OF)}."
        )
    return container


def _container(info: MediaInfo, is_copied: bool, suffix: str | None) -> str:
    asked = None
    if suffix is not None:
        asked = check_suffix(suffix)
    if asked == "matroska":
        return asked
    misfits = _misfits(info, is_copied, asked or "mp4")
    if not misfits:
        return asked or "mp4"
    if asked is not None:
        raise InvalidParameters(
            f"{suffix} cannot hold this video's {' and '.join(misfits)}; name the output .mkv."
        )
    return "matroska"


def _misfits(info: MediaInfo, is_copied: bool, container: str) -> list[str]:
    if is_copied:
        fitting = _MOV_AUDIO if container == "mov" else _MP4_AUDIO
        sound = [t.codec for t in info.audio if t.codec not in fitting]
    else:
        sound = [t.layout for t in info.audio if container == "mp4" and not _fits_mp4(t)]
    text = [
        t.codec
        for t in info.subtitles
        if t.codec not in _MP4_SUBTITLES and t.codec in _MATROSKA_SUBTITLES
    ]
    return [f"{c} sound" for c in sound] + [f"{c} subtitles" for c in text]


def _plan_subtitles(
    tracks: tuple[SubtitleTrack, ...], container: str, notes: list[str]
) -> tuple[SubtitleTrack, ...]:
    fitting = _MATROSKA_SUBTITLES if container == "matroska" else _MP4_SUBTITLES
    notes.extend(f"Not kept: {t.codec} subtitles." for t in tracks if t.codec not in fitting)
    return tuple(t for t in tracks if t.codec in fitting)


def _lost_places(audio: tuple[AudioPlan, ...], container: str) -> Iterator[str]:
    """Yield a note for each track of whose channels the output cannot say where they belong."""
    for plan in audio:
        track, sound = plan.track, f"Sound of stream {plan.track.index}"
        if plan.encoder is not None:
            if track.unkept_speakers is not None:
                yield (
                    f"{sound}: the speakers that the file names ({track.unkept_speakers}) are not"
                    " kept, the channels are."
                )
        elif container == "matroska" and _is_ordered_by_container(track):
            yield f"{sound}: Matroska cannot say in which order its channels lie."


def _is_ordered_by_container(track: AudioTrack) -> bool:
    # Other codecs than PCM have an order of their own.
    has_list = track.channel_order is not None or track.unkept_speakers is not None
    return has_list and track.codec.startswith("pcm_")


def _plan_video(
    track: VideoTrack, container: str, settings: Settings, notes: list[str]
) -> VideoPlan:
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


def _check_sides(video: VideoPlan, name: str) -> None:
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
    if colour.matrix == _RGB_MATRIX or pixels.is_rgb or pixels.has_palette:
        matrix = _BT709 if track.height >= 720 else _BT601
        return Colour(colour.primaries, colour.transfer, matrix, _LIMITED_RANGE)
    return colour


def _colour_as_taken(encoder: str, colour: Colour, notes: list[str]) -> Colour:
    """Return the colour with what the encoder refuses, above all reserved numbers, unspecified."""
    primaries, transfers, matrices = _TAKEN[encoder]
    taken = Colour(
        colour.primaries if colour.primaries in primaries else _UNSPECIFIED,
        colour.transfer if colour.transfer in transfers else _UNSPECIFIED,
        colour.matrix if colour.matrix in matrices else _UNSPECIFIED,
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


def _plan_audio(track: AudioTrack, is_copied: bool, container: str, notes: list[str]) -> AudioPlan:
    if is_copied:
        return AudioPlan(track, None, track.layout, None, False)
    is_masked = MIN_RATE <= track.sample_rate <= MAX_RATE
    if not is_masked:
        notes.append(
            f"Sound of stream {track.index} is not masked: {track.sample_rate} Hz is outside"
            f" {MIN_RATE}-{MAX_RATE}."
        )
    layout = _known_layout(track)
    # A codec's ceiling is 6144 bits a frame of 1024 samples and channel.
    bit_rate = min(_AAC_BITS_PER_CHANNEL, 6 * track.sample_rate) * track.channels
    if _is_within_aac(track):
        return AudioPlan(track, "aac", layout, bit_rate, is_masked)
    notes.append(
        f"Sound of stream {track.index} ({track.sample_rate} Hz, {track.layout})"
        " is beyond AAC and goes out lossless."
    )
    for encoder in _LOSSLESS_IN[container]:
        if _takes(encoder, track.sample_rate, layout):
            if (container, encoder) == ("matroska", "pcm_s24le") and _names_speakers(layout):
                notes.append(
                    f"Which speaker each channel of stream {track.index} is for ({track.layout})"
                    " is not kept."
                )
            return AudioPlan(track, encoder, layout, None, is_masked)
    raise InvalidParameters(
        f"Sound of stream {track.index} ({track.sample_rate} Hz, {track.channels} channels)"
        " fits no codec; use audio_level: none, which copies it.",
        "audio_level",
    )


def _is_within_aac(track: AudioTrack) -> bool:
    layout = _known_layout(track)
    return layout in _AAC_LAYOUTS and _takes("aac", track.sample_rate, layout)


def _fits_mp4(track: AudioTrack) -> bool:
    """Whether MP4 takes the sound and says which speaker each channel is for."""
    layout = _known_layout(track)
    if _is_within_aac(track):
        return True
    if _takes("flac", track.sample_rate, layout):
        return layout in _FLAC_LAYOUTS or not _names_speakers(layout)
    return _names_speakers(layout)  # as PCM, which is refused there where nobody knows them


def _names_speakers(layout: str) -> bool:
    return not layout.endswith(" channels")  # FFmpeg's words where only their number is known


def _known_layout(track: AudioTrack) -> str:
    """
    Return the layout's name; where the file only counts channels, the usual one.

    A channel alone is mono, whichever speaker it was made for: it loses nothing as AAC.
    """
    return "mono" if track.channels == 1 else _USUAL_LAYOUTS.get(track.layout, track.layout)


# Those that AAC has a number for. Others it describes speaker by speaker, and players take
# a bass for a voice.
_AAC_LAYOUTS = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"})
# Those that players take FLAC's numbers of channels for. In Matroska it says others by a comment,
# which is no part of what MP4 keeps of its headers.
_FLAC_LAYOUTS = frozenset(
    {"mono", "stereo", "3.0", "quad", "quad(side)", "5.0", "5.1", "6.1", "7.1"}
)
# QuickTime has no FLAC, but says which speakers PCM is for.
_LOSSLESS_IN = {
    "mp4": ("flac", "pcm_s24le"),
    "mov": ("pcm_s24le",),
    "matroska": ("flac", "pcm_s24le"),
}
_USUAL_LAYOUTS = {
    "downmix": "stereo",
    "2 channels": "stereo",
    "6 channels": "5.1",
    "8 channels": "7.1",
    # The same speakers by another name: AAC knows them as the ones at the back.
    "5.0(side)": "5.0",
    "5.1(side)": "5.1",
}


def _takes(encoder: str, sample_rate: int, layout: str) -> bool:
    try:
        context = Codec(encoder, "w").create("audio")
        context.sample_rate = sample_rate
        context.layout = layout
        context.format = Codec(encoder, "w").audio_formats[0]  # type: ignore[index]
        context.time_base = Fraction(1, sample_rate)
        context.open()
    except (UnknownCodecError, av.error.FFmpegError, ValueError):
        return False
    return True
