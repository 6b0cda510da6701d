"""
Decide how a track of sound goes out: by which encoder, as which layout.

Nothing is opened but a codec to see whether it takes a track.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av.error
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from pipeline.errors import InvalidParameters
from pipeline.masking import MAX_RATE, MIN_RATE
from pipeline.media import AudioTrack

_AAC_BITS_PER_CHANNEL = 96_000
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


@dataclass(frozen=True)
class AudioPlan:
    """
    How one audio track goes out.

    Attributes:
        encoder: FFmpeg's name; None where the packets are copied.
        layout: FFmpeg's name of the channels' layout.
        bit_rate: in bit/s; None for a lossless encoder, or where the packets are copied.
        is_masked: whether a change is hidden in it.
    """

    track: AudioTrack
    encoder: str | None
    layout: str
    bit_rate: int | None
    is_masked: bool


def plan_audio(track: AudioTrack, is_copied: bool, container: str, notes: list[str]) -> AudioPlan:
    """
    Return how a track of sound goes out.

    Args:
        container: FFmpeg's muxer, `mp4`, `mov` or `matroska`.
        notes: sentences about what is not kept are added to these.

    Raises:
        InvalidParameters: no encoder of the container's takes it.
    """
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


def fits_mp4(track: AudioTrack) -> bool:
    """Whether MP4 takes the sound and says which speaker each channel is for."""
    layout = _known_layout(track)
    if _is_within_aac(track):
        return True
    if _takes("flac", track.sample_rate, layout):
        return layout in _FLAC_LAYOUTS or not _names_speakers(layout)
    return _names_speakers(layout)  # as PCM, which is refused there where nobody knows them


def lost_places(audio: tuple[AudioPlan, ...], container: str) -> Iterator[str]:
    """Yield a note for each track of whose channels the output cannot say where they belong."""
    for plan in audio:
        track, sound = plan.track, f"Sound of stream {plan.track.index}"
        if plan.encoder is not None:
            if track.layout.startswith("ambisonic"):
                # No encoder of ours knows them: FLAC's number of channels stands for speakers.
                yield f"{sound}: the mark that it is ambisonic ({track.layout}) is not kept."
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


def _is_within_aac(track: AudioTrack) -> bool:
    layout = _known_layout(track)
    return layout in _AAC_LAYOUTS and _takes("aac", track.sample_rate, layout)


def _names_speakers(layout: str) -> bool:
    return not layout.endswith(" channels")  # FFmpeg's words where only their number is known


def _known_layout(track: AudioTrack) -> str:
    """
    Return the layout's name; where the file only counts channels, the usual one.

    A channel alone is mono, whichever speaker it was made for: it loses nothing as AAC.
    """
    return "mono" if track.channels == 1 else _USUAL_LAYOUTS.get(track.layout, track.layout)


def _takes(encoder: str, sample_rate: int, layout: str) -> bool:
    try:
        codec = Codec(encoder, "w")
        context = codec.create("audio")
        context.sample_rate = sample_rate
        context.layout = layout
        context.format = codec.audio_formats[0]  # type: ignore[index]
        context.time_base = Fraction(1, sample_rate)
        context.open()
    except (UnknownCodecError, av.error.FFmpegError, ValueError):
        return False
    return True
