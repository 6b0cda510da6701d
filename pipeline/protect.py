"""
Protect one video: the one entry to everything else in this package.

    plan ─ decode ▶ protect ▶ encode ─ read back ─ audit ─ report ─ rename

Composes, computes nothing. Callable from a worker process as from a command line: progress
and cancellation are callbacks, errors pickle, nothing global is changed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2

from pipeline.boxes import completeness
from pipeline.conversion import blank_frame, to_working_format
from pipeline.display import orientation
from pipeline.errors import (
    InvalidParameters,
    LimitExceeded,
    MetadataLeft,
    OutOfMemory,
    OutputFailed,
    UnreadableMedia,
)
from pipeline.face_networks import load_faces
from pipeline.faces import FaceSummary
from pipeline.media import AudioTrack, MediaInfo
from pipeline.metadata import Audit, audit, inventory
from pipeline.parameters import Mode, Parameters
from pipeline.plan import OutputPlan, check_suffix, plan_output
from pipeline.planes import planes_of
from pipeline.probe import probe
from pipeline.readback import CopiedSound, EncodedSound, Expected, ReadBack, read_back
from pipeline.reader import AudioItem, Item, PacketItem, Reader, VideoItem
from pipeline.report import FaceReport, Report, TrackReport
from pipeline.sampler import Sampler
from pipeline.settings import Limits, Settings
from pipeline.sound import Sound, SoundProtector
from pipeline.stages import run_stages
from pipeline.strip import strip
from pipeline.surrogate import load_surrogates
from pipeline.timeline import Placed, VideoClock
from pipeline.video import VideoProtector
from pipeline.writer import CopiedSpan, Writer

_LONGEST_STEM = 200  # bytes; file systems allow 255 for the whole name
_NOTED_LOSS_SECONDS = 0.1
_QUEUE_BYTES = 8 << 20  # of frames that wait between two stages
_MOST_DECODING = 4  # threads


@dataclass(frozen=True)
class Progress:
    """
    How far the work is.

    Attributes:
        phase: `protect`, then `read back`; or `strip`. Last of all `audit`, told once, when
            nothing is written any more.
    """

    phase: str
    frames: int
    total: int | None


@dataclass(frozen=True)
class Outcome:
    """A finished file and what is to be said of it."""

    output: Path
    report: Report


ShowProgress = Callable[[Progress], None]


def protect(
    original: Path,
    output: Path | None,
    parameters: Parameters,
    settings: Settings,
    *,
    may_replace: bool = True,
    progress: ShowProgress = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Outcome:
    """
    Make a protected copy of `original`; it appears under its name only when it is complete.

    Args:
        output: where to, its ending naming the container; by default beside the original,
            as `<stem>_protected` with the ending that fits.
        may_replace: whether a file of that name, which may have come while the work went on,
            is replaced.

    Raises:
        PipelineError: why there is no result. Nothing is left behind.
        Cancelled: `cancelled` said so. Nothing is left behind.
    """
    if output is not None and output.exists() and output.samefile(original):
        raise InvalidParameters(f"{output} is the original, which is never altered; name another.")
    if output is not None and parameters.mode is Mode.PROTECT:
        check_suffix(output.suffix)
    elif output is not None and output.suffix.lower() != original.suffix.lower():
        raise InvalidParameters(
            f"{output.name}: strip keeps the container; let the name end in {original.suffix}."
        )
    suffix = output.suffix if output else planned_suffix(original, parameters, settings)
    output = output or original.with_name(protected_name(original, suffix))
    partial = output.with_name(f".{secrets.token_hex(8)}.part{suffix}")
    try:
        report = protect_into(
            original, partial, parameters, settings, progress=progress, cancelled=cancelled
        )
        publish(partial, output, may_replace)
    finally:
        # Where nothing could be written there is nothing to remove, and the reason is told.
        with contextlib.suppress(OSError):
            partial.unlink()
    return Outcome(output, report)


def protected_name(original: Path, suffix: str) -> str:
    """Return the file name of `original`'s protected copy; a long stem is cut."""
    return derived_name(original, f"_protected{suffix}")


def derived_name(original: Path, ending: str) -> str:
    """Return `original`'s name without its suffix and with `ending`; a long stem is cut."""
    stem = os.fsencode(original.stem)[:_LONGEST_STEM]
    # A cut may fall inside a character.
    return f"{stem.decode('utf-8', 'ignore')}{ending}"


def planned_suffix(original: Path, parameters: Parameters, settings: Settings) -> str:
    """Return the file name's ending that fits `original`'s protected copy."""
    if parameters.mode is Mode.STRIP:
        return original.suffix
    return plan_output(probe(original, settings.limits), parameters, settings).suffix


def protect_into(
    original: Path,
    partial: Path,
    parameters: Parameters,
    settings: Settings,
    *,
    progress: ShowProgress = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Report:
    """
    Write the protected copy of `original` to `partial`, read it back and audit it.

    For callers that publish the result themselves; `partial` may be left behind on failure.
    Its ending names the container.

    Raises:
        PipelineError, Cancelled: as `protect`.
    """
    with lack_of_memory_told(original):
        if parameters.mode is Mode.STRIP:
            return _strip(original, partial, settings, progress, cancelled)
        return _protect(original, partial, parameters, settings, progress, cancelled)


@contextlib.contextmanager
def lack_of_memory_told(original: Path) -> Iterator[None]:
    """
    Raises:
        OutOfMemory: for whatever error says inside that there is not enough of it.
    """
    try:
        yield
    except (MemoryError, RuntimeError, SystemError, cv2.error) as error:
        if not _is_lack_of_memory(error):
            raise
        raise OutOfMemory(
            f"{original.name} needs more memory than there is, or than limits.worker_memory_gb"
            " allows."
        ) from error


def _is_lack_of_memory(error: Exception) -> bool:
    """Python, OpenCV, torch and the thread library each say it in their own way."""
    if isinstance(error.__cause__, MemoryError):
        return True  # a `SystemError`, where NumPy first had no memory for OpenCV's result
    words = ("insufficient memory", "allocate memory", "out of memory", "start new thread")
    return isinstance(error, MemoryError) or any(w in str(error).lower() for w in words)


def _protect(
    original: Path,
    partial: Path,
    parameters: Parameters,
    settings: Settings,
    progress: ShowProgress,
    cancelled: Callable[[], bool],
) -> Report:
    watch = _Watch()
    info = probe(original, settings.limits)
    plan = plan_output(info, parameters, settings, partial.suffix)
    work = _Work(info, plan, parameters, settings, progress)
    work.run(partial, cancelled)
    check = read_back(
        partial,
        work.expected(),
        name=original.name,
        threads=settings.threads,
        progress=lambda n: progress(Progress("read back", n, work.frames)),
        cancelled=cancelled,
    )
    progress(Progress("audit", work.frames, work.frames))
    checked = _audited(partial, work.copied_streams, original.name, cancelled)
    removed = inventory(original, cancelled)
    return work.report(partial, check, checked, removed, watch)


class _Watch:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._wall

    @property
    def cpu_seconds(self) -> float:
        return time.process_time() - self._cpu


@dataclass(frozen=True)
class _Picture:
    frame: av.VideoFrame
    placed: Placed


_Result = _Picture | Sound | PacketItem


class _Output:
    """Hands each result to the writer's fitting method, and counts frames."""

    def __init__(self, writer: Writer, show: Callable[[int], None]) -> None:
        self._writer, self._show = writer, show
        self._frames = 0
        self.close, self.abandon = writer.close, writer.abandon

    def write(self, result: _Result) -> None:
        if isinstance(result, _Picture):
            self._writer.write_picture(result.frame, result.placed)
            self._frames += 1
            self._show(self._frames)
        elif isinstance(result, Sound):
            self._writer.write_sound(result.track, result.samples, result.at)
        else:
            self._writer.copy_packet(result.track, result.packet)


class _Work:
    """One video on its way through the three stages."""

    def __init__(
        self,
        info: MediaInfo,
        plan: OutputPlan,
        parameters: Parameters,
        settings: Settings,
        progress: ShowProgress,
    ) -> None:
        track = info.video
        self.frames = 0
        self._info, self._plan, self._settings = info, plan, settings
        self._progress = progress
        self._clock = VideoClock(track.time_base, info.start, track.frame_rate)
        self._origin = self._clock.origin * track.time_base
        self._timestamps = array("q")
        self._sampler = Sampler()
        # Unpredictable, so that what is added to one video tells nothing of another's.
        seed = secrets.randbits(63)
        self._picture = VideoProtector(
            plan.video.coded_width,
            plan.video.coded_height,
            parameters,
            settings,
            load_surrogates(settings),
            seed,
            load_faces(settings),
            orientation(track.display_matrix),
        )
        self._sounds = {
            a.track.index: SoundProtector(
                a,
                parameters.audio_level,
                self._origin,
                settings.limits.max_duration_h * 3600,
                seed ^ (a.track.index + 1),
            )
            for a in plan.audio
            if a.encoder is not None
        }
        self._copied: dict[int, CopiedSpan] = {}
        self.copied_streams: frozenset[int] = frozenset()
        self._reader_notes: list[str] = []

    def run(self, partial: Path, cancelled: Callable[[], bool]) -> None:
        """Decode, protect, encode."""
        threads = self._settings.threads
        decoding = decoding_threads(threads)
        reader = Reader(self._info, self._plan.copied, self._settings.limits, decoding)
        writer = Writer(partial, self._plan, self._info, self._origin, threads)
        run_stages(
            reader.items(),
            self._transform,
            self._finish,
            _Output(writer, self._show_encoded),
            depth=self._queue_depth(),
            cancelled=cancelled,
        )
        self._copied = writer.copied_spans
        self.copied_streams = writer.copied_streams
        self._reader_notes = _reader_notes(reader, self._clock, self._sounds)

    def expected(self) -> Expected:
        """What reading the finished file back must find."""
        return Expected(
            timestamps=self._timestamps,
            time_base=self._info.video.time_base,
            samples=self._sampler.pictures,
            sound=[self._expected_sound(a.track.index) for a in self._plan.audio],
        )

    def report(
        self,
        partial: Path,
        check: ReadBack,
        checked: Audit,
        removed: tuple[str, ...],
        watch: _Watch,
    ) -> Report:
        """Say what was done."""
        summary, picture = self._picture.summary, check.picture
        return Report(
            mode=Mode.PROTECT,
            container=self._plan.container,
            video_codec=_CODEC_WORDS[self._plan.video.encoder],
            original_bytes=self._info.path.stat().st_size,
            protected_bytes=partial.stat().st_size,
            surrogate=", ".join(summary.surrogates) or "embedded",
            device=summary.device,
            frames=check.frames,
            anchors=summary.anchors,
            cuts=summary.cuts,
            psnr_db=picture.psnr_db if picture else None,
            ssim=picture.ssim if picture else None,
            largest_change=picture.largest if picture else None,
            mean_change=picture.mean if picture else None,
            p999_change=picture.p999 if picture else None,
            top1_changed=summary.top1_changed,
            faces=face_report(summary.faces),
            audio=tuple(self._track_reports()),
            metadata_removed=removed,
            audit=checked.findings,
            is_truncated=self._info.is_truncated,
            notes=(
                *self._truncation_notes(),
                *self._plan.notes,
                *self._reader_notes,
                *_face_notes(summary.faces),
                *_packet_notes(checked),
            ),
            seconds=watch.seconds,
            cpu_seconds=watch.cpu_seconds,
        )

    def _transform(self, item: Item) -> Iterator[_Result]:
        if isinstance(item, VideoItem):
            yield self._protect_picture(item.frame)
        elif isinstance(item, AudioItem):
            yield from self._sounds[item.track.index].protect(item.frame)
        else:
            _check_copied(item, self._origin, self._settings.limits)
            yield item

    def _finish(self) -> Iterator[_Result]:
        if not self.frames:
            raise UnreadableMedia(f"{self._info.path.name} has no frame that can be decoded.")
        for sound in self._sounds.values():
            yield from sound.finish()

    def _protect_picture(self, frame: av.VideoFrame) -> _Picture:
        pts = frame.pts if self._info.video.has_times else None
        placed = self._clock.place(pts, frame.duration)
        _check_length(placed, self.frames, self._info, self._settings.limits)
        # Held while its planes are in use: they are views of its memory.
        original = to_working_format(frame, self._plan.video)
        protected = blank_frame(self._plan.video)
        planes = planes_of(original)
        self._picture.protect(planes, planes_of(protected))
        self._sampler.offer(self.frames, planes)
        self._timestamps.append(placed.pts)
        self.frames += 1
        return _Picture(protected, placed)

    def _show_encoded(self, frames: int) -> None:
        self._progress(Progress("protect", frames, self._info.expected_frames))

    def _queue_depth(self) -> int:
        video = self._plan.video
        frame_bytes = video.coded_width * video.coded_height * 3 // 2
        frame_bytes *= 2 if video.pixel_format.endswith("10le") else 1
        return max(2, min(16, _QUEUE_BYTES // frame_bytes))

    def _expected_sound(self, index: int) -> EncodedSound | CopiedSound:
        picture_start = self._timestamps[0] * self._info.video.time_base
        sound = self._sounds.get(index)
        if sound is not None:
            return EncodedSound(
                sound.track.sample_rate,
                sound.track.channels,
                sound.samples,
                sound.start - picture_start,
            )
        span = self._copied.get(index)
        if span is None:  # a track without a single packet
            return CopiedSound(Fraction(0), Fraction(0))
        return CopiedSound(span.end - span.start, span.start - picture_start)

    def _track_reports(self) -> Iterator[TrackReport]:
        for number, plan in enumerate(self._plan.audio, 1):
            track, sound = plan.track, self._sounds.get(plan.track.index)
            if sound is None:
                yield TrackReport(number, track.codec, track.sample_rate, track.channels, "copied")
                continue
            summary = sound.summary
            yield TrackReport(
                number,
                plan.encoder or track.codec,
                track.sample_rate,
                track.channels,
                "unchanged" if summary.nmr_db is None else "masked",
                summary.nmr_db,
                summary.snr_db,
                summary.speech_share,
            )

    def _truncation_notes(self) -> list[str]:
        if not self._info.is_truncated:
            return []
        return ["The original is cut short; it is protected as far as it can be read."]


def decoding_threads(threads: int) -> int:
    """
    Return how many threads decode: half of the video's, from one to four.

    One alone does not keep up where key frames are all there is: at 67 Mbit/s each takes it 26 ms.
    More than four would be idle, and each holds some frames more, 25 MB at 1080 lines.

    Args:
        threads: that the video may use, 0 for as many as there are cores.
    """
    available = threads or len(os.sched_getaffinity(0))
    return min(max(1, available // 2), _MOST_DECODING)


_CODEC_WORDS = {"libx264": "h264", "libx265": "hevc", "libvpx-vp9": "vp9"}


def _reader_notes(
    reader: Reader, clock: VideoClock, sounds: Mapping[int, SoundProtector]
) -> list[str]:
    notes = []
    if reader.damaged_packets:
        count = reader.damaged_packets
        packets = "1 damaged packet was" if count == 1 else f"{count} damaged packets were"
        notes.append(f"{packets} passed over.")
    if reader.ended_early:
        notes.append("The original breaks off; what could be read of it is protected.")
    if clock.jumps:
        notes.append(f"The original's clock starts anew {clock.jumps} times; time goes on there.")
    if clock.moved:
        notes.append(
            f"{clock.moved} frames had the time of the one before; each is one tick later."
        )
    for sound in sounds.values():
        if sound.dropped_seconds >= _NOTED_LOSS_SECONDS:
            notes.append(
                f"{sound.dropped_seconds:.1f} s of sound in stream {sound.track.index} lay over"
                " other sound or before the picture's start and are left out."
            )
    return notes


def _check_length(placed: Placed, frames: int, info: MediaInfo, limits: Limits) -> None:
    hours = (placed.pts + placed.duration) * info.video.time_base / 3600
    if hours > limits.max_duration_h or frames > limits.max_duration_h * 3600 * limits.max_fps:
        raise LimitExceeded(
            f"{info.path.name} is longer than it states;"
            f" at most {limits.max_duration_h:g} hours are allowed (limits.max_duration_h)."
        )


def _check_copied(item: PacketItem, origin: Fraction, limits: Limits) -> None:
    track, packet = item.track, item.packet
    if not isinstance(track, AudioTrack) or packet.pts is None:
        return
    end = (packet.pts + (packet.duration or 0)) * track.time_base - origin
    if end > limits.max_duration_h * 3600:
        raise LimitExceeded(
            f"The sound of stream {track.index} goes on for more than"
            f" {limits.max_duration_h:g} hours (limits.max_duration_h)."
        )


def _audited(
    partial: Path, copied: frozenset[int], name: str, cancelled: Callable[[], bool]
) -> Audit:
    checked = audit(partial, copied, cancelled)
    if not checked.is_clean:
        raise MetadataLeft(
            f"The copy of {name} still holds metadata ({'; '.join(checked.findings)});"
            " it is not given out. Please report this with the original's container and codec."
        )
    return checked


def face_report(faces: FaceSummary | None) -> FaceReport | None:
    """Return what the report says of faces."""
    if faces is None:
        return None
    return FaceReport(faces.embedders, faces.found, faces.similarity)


def _face_notes(faces: FaceSummary | None) -> Iterator[str]:
    if faces is not None and faces.passed_over:
        yield (
            f"{faces.passed_over} faces on anchors got no change of their own: where there were"
            " many at once, the widest did."
        )


def _packet_notes(checked: Audit) -> list[str]:
    if not checked.in_copied_packets:
        return []
    words = "; ".join(checked.in_copied_packets)
    return [f"Inside the copied packets, which stay bit for bit: {words}."]


def _strip(
    original: Path,
    partial: Path,
    settings: Settings,
    progress: ShowProgress,
    cancelled: Callable[[], bool],
) -> Report:
    watch = _Watch()
    result = strip(
        original,
        partial,
        settings.limits,
        progress=lambda n, total: progress(Progress("strip", n, total)),
        cancelled=cancelled,
    )
    progress(Progress("audit", result.frames, result.frames))
    notes = [f"Not kept: {', '.join(result.dropped)}."] if result.dropped else []
    is_truncated = completeness(original).is_truncated
    if result.ended_early or is_truncated:
        notes.append("The original breaks off; what could be read of it is kept.")
    checked = _audited(partial, frozenset(result.streams), original.name, cancelled)
    notes += _packet_notes(checked)
    return Report(
        mode=Mode.STRIP,
        container=result.container,
        video_codec=result.video_codec,
        original_bytes=original.stat().st_size,
        protected_bytes=partial.stat().st_size,
        frames=result.frames,
        metadata_removed=inventory(original, cancelled),
        audit=checked.findings,
        is_truncated=is_truncated,
        notes=tuple(notes),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def publish(partial: Path, output: Path, may_replace: bool) -> None:
    """
    Rename durably: file and folder reach the disk before anyone is told.

    Raises:
        OutputFailed: the disk does not take it, or a file of that name has come that may not
            be replaced.
    """
    try:
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if not may_replace and output.exists():
            raise OutputFailed(f"{output} has come to be meanwhile; name another, or replace it.")
        os.replace(partial, output)
    except OSError as error:
        raise OutputFailed(f"{output} cannot be written: {error.strerror}.") from error
    folder = os.open(output.parent, os.O_RDONLY)
    try:
        # Some network shares cannot do this for a folder; the result is there all the same.
        with contextlib.suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)
