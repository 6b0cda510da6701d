"""
What was done to one video and what was measured, as a value.

Nothing is measured here. A field that does not apply is None, and `null` in JSON.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.parameters import Mode

_DIGITS = 4


@dataclass(frozen=True)
class TrackReport:
    """
    What became of one track of sound.

    Attributes:
        track: 1 for the first track of the file.
        codec: in the protected file.
        treatment: `masked`; `unchanged` where it was encoded anew but held nothing to mask;
            or `copied`, packet by packet.
        nmr_db: noise-to-mask ratio of what was added, before the codec.
        snr_db: signal-to-noise ratio of it, before the codec.
        speech_share: share of the time that was taken for speech, 0 to 1.
        recognisers: names of the networks by whose gradient it was changed.
    """

    track: int
    codec: str
    sample_rate: int
    channels: int
    treatment: Literal["masked", "unchanged", "copied"]
    nmr_db: float | None = None
    snr_db: float | None = None
    speech_share: float | None = None
    recognisers: tuple[str, ...] = ()


@dataclass(frozen=True)
class FaceReport:
    """
    What became of faces.

    Attributes:
        embedders: names of the networks that were to see somebody else.
        found: faces that got a change of their own; at each anchor they count anew.
        similarity: mean cosine similarity, -1 to 1, of what the embedders see in a face as it was
            written, before the codec, and as it was, in up to one frame of each interval between
            anchors; None where there was no face.
    """

    embedders: tuple[str, ...]
    found: int
    similarity: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    One finished video.

    Attributes:
        surrogate: `embedded`, or the names of the networks, separated by commas.
        device: what the perturbation was computed on, such as `cpu` or `cuda`.
        frames: of the protected file, each decoded when it was read back.
        psnr_db, ssim: of luma, sampled frames, after the codec; 100 dB stands for equal.
        largest_change, mean_change, p999_change: levels of an 8-bit plane, sampled frames,
            after the codec; the greatest of any plane, the mean of luma, and the 99.9th
            percentile of the plane and frame where it is greatest.
        top1_changed: share of the anchors that surrogates were asked about, each shot's first and a
            fifth of the others, whose top answer changed, 0-1.
        faces: None where no network for faces is named.
        size_ratio: protected bytes by original bytes.
        audio_nmr_db, audio_snr_db: of the track that changed most.
        seconds: from start to end; cpu_seconds: of all threads.
        metadata_removed: what the original said beside picture and sound and the copy does not, in
            words.
        audit: what an audit of the finished file's bytes found left; empty when clean.
        notes: what the user should know, in sentences.
    """

    mode: Mode
    container: str
    video_codec: str
    original_bytes: int
    protected_bytes: int
    seconds: float
    cpu_seconds: float
    surrogate: str | None = None
    device: str | None = None
    frames: int | None = None
    anchors: int | None = None
    cuts: int | None = None
    psnr_db: float | None = None
    ssim: float | None = None
    largest_change: float | None = None
    mean_change: float | None = None
    p999_change: float | None = None
    top1_changed: float | None = None
    faces: FaceReport | None = None
    audio: tuple[TrackReport, ...] = ()
    metadata_removed: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()
    is_truncated: bool = False
    notes: tuple[str, ...] = ()

    @property
    def size_ratio(self) -> float | None:
        """Protected bytes by original bytes."""
        return self.protected_bytes / self.original_bytes if self.original_bytes else None

    @property
    def frames_per_second(self) -> float | None:
        """Frames by seconds of work."""
        return self.frames / self.seconds if self.frames and self.seconds > 0 else None

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
        return {name: plain(getattr(self, name)) for name in _ORDER}

    def lines(self) -> list[str]:
        """Return the report for people, in aligned columns."""
        rows = [*self._work(), *self._picture(), *self._sound(), *self._rest()]
        return aligned(rows)

    def _work(self) -> Iterable[tuple[str, str]]:
        rate = number(self.frames_per_second, "{:.1f} frames a second")
        yield "time", _joined(f"{self.seconds:.1f} s", rate, f"{self.cpu_seconds:.1f} s of CPU")
        if self.surrogate is not None:
            yield "surrogate", _joined(self.surrogate, self.device and f"on {self.device}")
        if self.frames is not None:
            anchors = number(self.anchors, "{} anchors")
            yield "frames", _joined(str(self.frames), anchors, number(self.cuts, "{} cuts"))

    def _picture(self) -> Iterable[tuple[str, str]]:
        if self.psnr_db is not None:
            yield "picture", f"PSNR {self.psnr_db:.2f} dB, SSIM {number(self.ssim, '{:.4f}')}"
            yield "change", change_words(self.mean_change, self.p999_change, self.largest_change)
        if self.top1_changed is not None:
            yield "top answer", f"changed in {self.top1_changed:.0%} of the anchors asked about"
        yield from face_rows(self.faces)

    def _sound(self) -> Iterable[tuple[str, str]]:
        for track in self.audio:
            yield (
                f"sound {track.track}",
                _joined(
                    f"{track.treatment} ({track.codec}, {track.sample_rate} Hz,"
                    f" {channel_words(track.channels)})",
                    number(track.nmr_db, "NMR {:.1f} dB"),
                    number(track.snr_db, "SNR {:.1f} dB"),
                    f"by {', '.join(track.recognisers)}" if track.recognisers else None,
                ),
            )

    def _rest(self) -> Iterable[tuple[str, str]]:
        yield "size", size_words(self.original_bytes, self.protected_bytes)
        yield "file", f"{self.video_codec} in {self.container}"
        yield "removed", ", ".join(self.metadata_removed) or "nothing"
        yield "audit", "; ".join(self.audit) or "clean"
        yield from (("note", note) for note in self.notes)


def face_rows(faces: FaceReport | None) -> Iterable[tuple[str, str]]:
    """Yield the row about faces, where there is one."""
    if faces is not None:
        likeness = number(faces.similarity, "cosine similarity {:.2f}")
        found = f"{faces.found} changed"
        yield "faces", _joined(found, likeness, f"by {', '.join(faces.embedders)}")


def plain(value: Any) -> Any:
    """
    Return `value` as JSON can hold it: tuples as lists, enums by value, floats rounded.

    A float that is not finite says nothing and is no JSON: it becomes None.
    """
    if isinstance(value, Mode):
        return value.value
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return `label  text` lines with the texts beginning in one column."""
    kept = list(rows)
    width = max((len(label) for label, _ in kept), default=0)
    return [f"{label:<{width}}  {text}" for label, text in kept]


def number(value: float | None, form: str, missing: str = "") -> str:
    """Return `value` in the format `form`, or `missing` where there is none."""
    return missing if value is None else form.format(value)


def change_words(mean: float | None, p999: float | None, largest: float | None) -> str:
    """Return three changes, in levels of an 8-bit plane, as one phrase."""
    return (
        f"mean {number(mean, '{:.2f}', '-')}, 99.9 % within {number(p999, '{:.1f}', '-')},"
        f" largest {number(largest, '{:.1f}', '-')} of 255 levels"
    )


def size_words(original: int, protected: int) -> str:
    """Return two sizes in bytes as one phrase."""
    ratio = number(protected / original if original else None, " ({:.2f} times)")
    return f"{_bytes(original)} -> {_bytes(protected)}{ratio}"


def channel_words(channels: int) -> str:
    """Return a number of channels in words."""
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 1000 * size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e12:.1f} TB"


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


_ORDER = (
    "mode",
    "surrogate",
    "device",
    "frames",
    "anchors",
    "cuts",
    "psnr_db",
    "ssim",
    "largest_change",
    "mean_change",
    "p999_change",
    "top1_changed",
    "faces",
    "size_ratio",
    "original_bytes",
    "protected_bytes",
    "audio",
    "audio_nmr_db",
    "audio_snr_db",
    "seconds",
    "frames_per_second",
    "cpu_seconds",
    "metadata_removed",
    "audit",
    "container",
    "video_codec",
    "is_truncated",
    "notes",
)
