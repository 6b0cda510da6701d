"""
Decide what the output looks like: its container, and which tracks go into it and how.

Decisions only, as in `video_plan` and `audio_plan`, which decide for one track each.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.audio_plan import AudioPlan, fits_mp4, lost_places, plan_audio
from pipeline.errors import InvalidParameters
from pipeline.media import AudioTrack, MediaInfo, SubtitleTrack
from pipeline.mp4 import LOWEST_MP3_RATE
from pipeline.parameters import AudioLevel, Parameters
from pipeline.settings import Settings
from pipeline.video_plan import VideoPlan, check_sides, plan_video

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
    video = plan_video(info.video, container, settings, notes)
    check_sides(video, info.path.name)
    audio = tuple(plan_audio(track, is_copied, container, notes) for track in info.audio)
    subtitles = _plan_subtitles(info.subtitles, container, notes)
    notes.extend(lost_places(audio, container))
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
    asked = None if suffix is None else check_suffix(suffix)
    misfits = _misfits(info, is_copied, asked or "mp4")
    if asked == "matroska" or not misfits:
        return asked or "mp4"
    if asked is not None:
        raise InvalidParameters(
            f"{suffix} cannot hold this video's {' and '.join(misfits)}; name the output .mkv."
        )
    return "matroska"


def _misfits(info: MediaInfo, is_copied: bool, container: str) -> list[str]:
    if is_copied:
        sound = [t.codec for t in info.audio if not _may_be_copied(t, container)]
    else:
        sound = [t.layout for t in info.audio if container == "mp4" and not fits_mp4(t)]
    text = [
        t.codec
        for t in info.subtitles
        if t.codec not in _MP4_SUBTITLES and t.codec in _MATROSKA_SUBTITLES
    ]
    return [f"{c} sound" for c in sound] + [f"{c} subtitles" for c in text]


def _may_be_copied(track: AudioTrack, container: str) -> bool:
    if container == "mov":
        return track.codec in _MOV_AUDIO
    is_too_low = track.codec == "mp3" and track.sample_rate < LOWEST_MP3_RATE
    return track.codec in _MP4_AUDIO and not is_too_low


def _plan_subtitles(
    tracks: tuple[SubtitleTrack, ...], container: str, notes: list[str]
) -> tuple[SubtitleTrack, ...]:
    fitting = _MATROSKA_SUBTITLES if container == "matroska" else _MP4_SUBTITLES
    notes.extend(f"Not kept: {t.codec} subtitles." for t in tracks if t.codec not in fitting)
    return tuple(t for t in tracks if t.codec in fitting)
