"""What a video file holds, as values; nothing is opened here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path

from pipeline import chroma
from pipeline.crop import Crop


class FieldOrder(Enum):
    """How a frame's two fields follow each other in time."""

    PROGRESSIVE = "progressive"
    TOP_FIRST = "tff"
    BOTTOM_FIRST = "bff"


# Of colours, in the code points of ITU-T H.273; of their range, in FFmpeg's numbers.
UNSPECIFIED, BT709, BT601 = 2, 1, 6
UNSPECIFIED_RANGE, LIMITED_RANGE, FULL_RANGE = 0, 1, 2


@dataclass(frozen=True)
class Colour:
    """Colour description: code points of ITU-T H.273, and FFmpeg's number of the range."""

    primaries: int
    transfer: int
    matrix: int
    range: int

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer is PQ (SMPTE ST 2084) or HLG (ARIB STD-B67)."""
        return self.transfer in (16, 18)

    def completed(self, other: Colour) -> Colour:
        """Return this, with what `other` says where this says nothing."""
        return Colour(
            other.primaries if self.primaries == UNSPECIFIED else self.primaries,
            other.transfer if self.transfer == UNSPECIFIED else self.transfer,
            other.matrix if self.matrix == UNSPECIFIED else self.matrix,
            self.range or other.range,
        )


@dataclass(frozen=True)
class VideoTrack:
    """
    The moving picture, as its container and its first frame describe it.

    Attributes:
        width, height: of the part that is shown.
        crop: which part of the decoded frames that is; None for all of them.
        chroma_location: FFmpeg's number of where chroma lies, or will in 4:2:0; 0 where it is not
            known.
        has_times_as_decoding: frames are shown when the file says that they are decoded.
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
    ambient_light: bytes | None  # AVAmbientViewingEnvironment
    spherical: bytes | None  # AVSphericalMapping
    stereo: bytes | None  # AVStereo3D
    has_alpha: bool
    has_dolby_vision: bool
    has_dynamic_hdr: bool
    has_captions: bool
    has_times: bool  # the file says when each frame is shown
    crop: Crop | None = None
    chroma_location: int = chroma.UNSPECIFIED
    has_times_as_decoding: bool = False

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
        is_deep: its codec is lossless, with more than 16 bits a sample.
        end: seconds on the file's clock, where an MP4 states it.
        is_counted: what the file says of times is wrong, and `FrameCount` is right.
        has_guessed_times: the file states only some blocks' times; see `StatedTimes`.
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
    is_deep: bool = False
    is_counted: bool = False
    has_guessed_times: bool = False


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


_LONGEST_FRAME = (1 << 31) - 1  # ticks; FFmpeg's muxer of MP4 takes no more


@dataclass(frozen=True)
class PictureEnd:
    """
    When a container says that its picture ends, for a last frame that does not say so itself.

    Attributes:
        seconds: on the file's clock.
        are_lengths_made_up: what FFmpeg says of how long frames are shown is not in the file.
    """

    seconds: Fraction
    are_lengths_made_up: bool

    def length_of_last(self, pts: int, duration: int | None, time_base: Fraction) -> int | None:
        """Return for how long the last frame is shown, in ticks, of which FFmpeg has `duration`."""
        left = round(self.seconds / time_base) - pts
        is_told = duration and not self.are_lengths_made_up
        return left if 0 < left <= _LONGEST_FRAME and not is_told else duration


@dataclass(frozen=True)
class MediaInfo:
    """
    What a file holds.

    Attributes:
        container: FFmpeg's name, such as `mov,mp4,m4a,3gp,3g2,mj2` or `matroska,webm`.
        start: seconds on the file's clock at which its first stream begins.
        duration: seconds, None where the container does not say.
        lead: seconds from `start` to the first frame, where frames do not say when they are shown.
        picture_end: None where the container does not say.
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
    picture_end: PictureEnd | None = None
    lead: Fraction = Fraction(0)

    @property
    def tracks(self) -> dict[int, AudioTrack | SubtitleTrack]:
        """Sound and subtitles, by stream index."""
        return {t.index: t for t in self.audio} | {t.index: t for t in self.subtitles}

    @property
    def expected_frames(self) -> int | None:
        """About how many frames there are, for a progress bar; None if unknown."""
        if self.video.stated_frames:
            return self.video.stated_frames
        if self.duration is None:
            return None
        return max(1, round(self.duration * self.video.frame_rate))
