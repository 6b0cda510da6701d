"""What was found when one video was measured against another, as a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.jod import JodMeasure
from pipeline.measure import EQUAL_DB, PictureMeasure
from pipeline.report import aligned, change_words, channel_words, number, plain, size_words


@dataclass(frozen=True)
class VideoFacts:
    """
    What one of the two files holds.

    Attributes:
        width, height: as coded, before it is turned.
        frames: all that can be decoded.
        seconds: from the first frame to the end of the last.
    """

    name: str
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    frames: int
    seconds: float
    size_bytes: int


@dataclass(frozen=True)
class TrackComparison:
    """
    One track of sound, decoded, against the track of the same place in the original.

    Attributes:
        track: 1 for the first of the file.
        codec, sample_rate, channels: of the original.
        protected_codec: of the other.
        seconds: how much of it both have; the ratios are of this.
        shift_ms: how much later the protected sound is.
        snr_db: signal-to-noise ratio over all channels; 100 stands for equal, None for a
            silent original.
        nmr_db: noise-to-mask ratio; None where nothing can be told.
    """

    track: int
    codec: str
    protected_codec: str
    sample_rate: int
    channels: int
    seconds: float
    shift_ms: float
    snr_db: float | None
    nmr_db: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    One video measured against another.

    Attributes:
        alignment: `index` where both have as many frames, else `time`.
        picture: of the sampled pairs of frames.
        jod: of a few of them; None where it cannot be told, and `why_no_jod` says why.
        most_changed_seconds: time of the sampled frame with the greatest change, from the
            first frame of the original.
        largest_shift_ms: greatest difference between the times of two frames of the same
            number; None where frames were matched by time.
        metadata_left: what an audit of the protected file found.
        notes: what else is different, in sentences.
    """

    original: VideoFacts
    protected: VideoFacts
    alignment: Literal["index", "time"]
    picture: PictureMeasure
    jod: JodMeasure | None
    why_no_jod: str | None
    most_changed_seconds: float
    largest_shift_ms: float | None
    audio: tuple[TrackComparison, ...]
    metadata_left: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def size_ratio(self) -> float | None:
        """Protected bytes by original bytes."""
        before, after = self.original.size_bytes, self.protected.size_bytes
        return after / before if before else None

    @property
    def audio_nmr_db(self) -> float | None:
        """The greatest noise-to-mask ratio of any track."""
        return max((t.nmr_db for t in self.audio if t.nmr_db is not None), default=None)

    @property
    def audio_snr_db(self) -> float | None:
        """The least signal-to-noise ratio of any track."""
        return min((t.snr_db for t in self.audio if t.snr_db is not None), default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, always with the same keys in the same order."""
        picture = self.picture
        return plain(
            {
                "original": dataclasses.asdict(self.original),
                "protected": dataclasses.asdict(self.protected),
                "alignment": self.alignment,
                "frames_measured": picture.frames,
                "psnr_db": picture.psnr_db,
                "worst_psnr_db": picture.worst_psnr_db,
                "ssim": picture.ssim,
                "worst_ssim": picture.worst_ssim,
                "jod": self.jod,
                "largest_change": picture.largest,
                "mean_change": picture.mean,
                "p999_change": picture.p999,
                "rms_change": picture.rms,
                "most_changed_seconds": self.most_changed_seconds,
                "largest_shift_ms": self.largest_shift_ms,
                "size_ratio": self.size_ratio,
                "audio": self.audio,
                "audio_nmr_db": self.audio_nmr_db,
                "audio_snr_db": self.audio_snr_db,
                "metadata_left": self.metadata_left,
                "notes": self.notes,
            }
        )

    def lines(self) -> list[str]:
        """Return the comparison for people, in aligned columns."""
        return aligned([*self._files(), *self._picture(), *self._sound(), *self._rest()])

    def _files(self) -> Iterable[tuple[str, str]]:
        yield "original", _file_words(self.original)
        yield "protected", _file_words(self.protected)
        yield "size", size_words(self.original.size_bytes, self.protected.size_bytes)

    def _picture(self) -> Iterable[tuple[str, str]]:
        matched = "by number" if self.alignment == "index" else "by time"
        yield "measured", f"{self.picture.frames} frames, matched {matched}"
        yield (
            "PSNR",
            f"{decibels(self.picture.psnr_db)}, worst frame {decibels(self.picture.worst_psnr_db)}",
        )
        yield "SSIM", f"{self.picture.ssim:.4f}, worst frame {self.picture.worst_ssim:.4f}"
        yield "JOD", self._jod_words()
        picture = self.picture
        yield "change", change_words(picture.mean, picture.p999, picture.largest)
        yield "most at", f"{self.most_changed_seconds:.2f} s"

    def _jod_words(self) -> str:
        if self.jod is None:
            return f"not measured: {self.why_no_jod}"
        mean, worst = self.jod.mean, self.jod.worst
        return f"{mean:.2f}, worst frame {worst:.2f} ({self.jod.frames} frames as still pictures)"

    def _sound(self) -> Iterable[tuple[str, str]]:
        for track in self.audio:
            snr = decibels(track.snr_db) if track.snr_db is not None else "-"
            yield (
                f"sound {track.track}",
                f"SNR {snr}, NMR {number(track.nmr_db, '{:.1f} dB', '-')}"
                f" ({track.codec} -> {track.protected_codec}, {track.sample_rate} Hz,"
                f" {channel_words(track.channels)})",
            )

    def _rest(self) -> Iterable[tuple[str, str]]:
        yield "metadata", "; ".join(self.metadata_left) or "none left"
        yield from (("note", note) for note in self.notes)


def decibels(value: float) -> str:
    """Return a ratio in words; the cap that stands for equality is called so."""
    return "equal" if value >= EQUAL_DB else f"{value:.2f} dB"


def _file_words(facts: VideoFacts) -> str:
    return (
        f"{facts.name}: {facts.frames} frames, {facts.seconds:.2f} s,"
        f" {facts.width}x{facts.height} {facts.pixel_format}, {facts.codec} in {facts.container}"
    )
