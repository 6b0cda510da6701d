"""
One video through decoder, protection and encoder.

What comes of it is checked and given out by `protect`.
"""

from __future__ import annotations

import os
import secrets
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av

from pipeline.audio_plan import AudioPlan
from pipeline.captions import CaptionReader
from pipeline.conversion import blank_frame, to_working_format
from pipeline.copied_track import CopiedSpan
from pipeline.display import orientation
from pipeline.errors import LimitExceeded, UnreadableMedia
from pipeline.face_networks import load_faces
from pipeline.faces import face_report
from pipeline.media import AudioTrack, MediaInfo
from pipeline.metadata import Audit
from pipeline.notes import face_notes, packet_notes, reader_notes
from pipeline.packets import keep_joined
from pipeline.parameters import Mode, Parameters
from pipeline.plan import OutputPlan
from pipeline.planes import planes_of
from pipeline.progress import Progress, ShowProgress, Watch
from pipeline.readback import CopiedSound, EncodedSound, Expected, ReadBack
from pipeline.reader import AudioItem, Item, PacketItem, Reader, VideoItem
from pipeline.recognisers import load_recognisers
from pipeline.report import Report, TrackReport
from pipeline.sampler import Sampler
from pipeline.settings import Limits, Settings
from pipeline.sound import Sound, SoundProtector
from pipeline.stages import run_stages
from pipeline.surrogate import load_surrogates
from pipeline.timeline import FrameClock, JoinedClock, Placed, time_of
from pipeline.video import VideoProtector
from pipeline.writer import Writer

_QUEUE_BYTES = 8 << 20  # of frames that wait between two stages
_MOST_DECODING = 4  # threads
# Packets of sound that wait for the picture; a decoder holds back a second or two of it at most.
_MOST_WAITING = 128


@dataclass(frozen=True)
class _Picture:
    frame: av.VideoFrame
    placed: Placed
    captions: bytes


_Result = _Picture | Sound | PacketItem
_SoundItem = AudioItem | PacketItem


class _Output:
    """Hands each result to the writer's fitting method, and counts frames."""

    def __init__(self, writer: Writer, show: Callable[[int], None]) -> None:
        self._writer, self._show = writer, show
        self._frames = 0
        self.close, self.abandon = writer.close, writer.abandon

    def write(self, result: _Result) -> None:
        if isinstance(result, _Picture):
            self._writer.write_picture(result.frame, result.placed, result.captions)
            self._frames += 1
            self._show(self._frames)
        elif isinstance(result, Sound):
            self._writer.write_sound(result.track, result.samples, result.at)
        else:
            self._writer.copy_packet(result.track, result.packet)


class Transcoder:
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
        self.frames = self._encoded = 0
        self._info, self._plan, self._settings = info, plan, settings
        self._progress = progress
        self._frame_clock = FrameClock(info)
        self._clock = self._frame_clock.clock
        self._origin = self._clock.origin * track.time_base
        self._captions = CaptionReader(track)
        self._timestamps = array("q")
        self._held: _Picture | None = None
        self._told: int | None = None
        self._sampler = Sampler()
        self._picture = VideoProtector(
            plan.video.coded_width,
            plan.video.coded_height,
            parameters,
            settings,
            load_surrogates(settings),
            # Unpredictable, so that what is added to one video tells nothing of another's.
            secrets.randbits(63),
            load_faces(settings),
            orientation(track.display_matrix),
        )
        is_masked = any(a.is_masked for a in plan.audio)
        self._recognisers = load_recognisers(settings, self._show_alive) if is_masked else None
        self._joins = {a.track.index: _joined_clock(a, self._clock.shifts) for a in plan.audio}
        self._waiting: dict[int, list[_SoundItem]] = {index: [] for index in self._joins}
        self._sounds = {
            a.track.index: SoundProtector(
                a,
                parameters.audio_level,
                self._origin,
                self._joins[a.track.index],
                settings.limits.max_duration_h * 3600,
                self._recognisers,
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
            lambda: self._finish(reader),
            _Output(writer, self._show_encoded),
            depth=self._queue_depth(),
            cancelled=cancelled,
        )
        self._copied = writer.copied_spans
        self.copied_streams = writer.copied_streams
        self._reader_notes = reader_notes(reader, self._clock, self._sounds)

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
        watch: Watch,
    ) -> Report:
        """Say what was done."""
        summary, picture = self._picture.summary, check.picture
        assert picture is not None  # the first frame is always a sample
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
            psnr_db=picture.psnr_db,
            ssim=picture.ssim,
            largest_change=picture.largest,
            mean_change=picture.mean,
            p999_change=picture.p999,
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
                *face_notes(summary.faces),
                *packet_notes(checked),
            ),
            seconds=watch.seconds,
            cpu_seconds=watch.cpu_seconds,
        )

    def _transform(self, item: Item) -> Iterator[_Result]:
        if isinstance(item, VideoItem):
            picture = self._protect_picture(item.frame)
            if self._info.picture_end is None:
                yield picture
                return
            # One is held back: not until the next comes is it known not to be the last.
            held, self._held = self._held, picture
            self._told = item.frame.duration
            if held is not None:
                yield held
        elif isinstance(item.track, AudioTrack):
            yield from self._sound(item)
        else:
            yield item

    def _sound(self, item: _SoundItem) -> Iterator[_Result]:
        """
        Hand on the next sound of a track.

        Where its clock starts anew it waits for the picture's, whose decoder holds back frames.
        """
        waiting = self._waiting[item.track.index]
        waiting.append(item)
        is_ahead = self._joins[item.track.index].is_ahead(_time_of(waiting[0]))
        if not is_ahead or len(waiting) == _MOST_WAITING:
            yield from self._let_go(waiting)

    def _let_go(self, waiting: list[_SoundItem]) -> Iterator[_Result]:
        for item in waiting:
            if isinstance(item, AudioItem):
                yield from self._sounds[item.track.index].protect(item.frame)
            else:
                keep_joined(item.packet, self._joins[item.track.index])
                _check_copied(item, self._origin, self._settings.limits)
                yield item
        waiting.clear()

    def _finish(self, reader: Reader) -> Iterator[_Result]:
        if not self.frames:
            raise UnreadableMedia(f"{self._info.path.name} has no frame that can be decoded.")
        if self._held is not None:
            # The file's own end is of no use where that was not reached, or its clock began anew.
            is_whole = not reader.ended_early and not self._clock.jumps
            yield self._lasting(self._held) if is_whole else self._held
        for waiting in self._waiting.values():
            yield from self._let_go(waiting)
        for sound in self._sounds.values():
            yield from sound.finish()

    def _protect_picture(self, frame: av.VideoFrame) -> _Picture:
        placed = self._frame_clock.place(frame)
        _check_length(placed, self.frames, self._info, self._settings.limits)
        # Held while its planes are in use: they are views of its memory.
        original = to_working_format(frame, self._plan.video)
        protected = blank_frame(self._plan.video)
        planes = planes_of(original)
        self._picture.protect(planes, planes_of(protected))
        self._sampler.offer(self.frames, planes)
        self._timestamps.append(placed.pts)
        self.frames += 1
        return _Picture(protected, placed, self._captions.read(frame))

    def _lasting(self, last: _Picture) -> _Picture:
        """Return the last picture, shown as long as the container says."""
        end, placed = self._info.picture_end, last.placed
        assert end is not None  # else none is held back
        at = placed.pts + self._clock.origin
        length = end.length_of_last(at, self._told, self._info.video.time_base)
        return replace(last, placed=replace(placed, duration=length or placed.duration))

    def _show_encoded(self, frames: int) -> None:
        self._encoded = frames
        self._show_alive()

    def _show_alive(self) -> None:
        """Tell the frames so far: while a recogniser is asked, none are encoded for long."""
        self._progress(Progress("protect", self._encoded, self._info.expected_frames))

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
            if not sound.samples:
                continue  # nothing came of it, as a note says
            summary = sound.summary
            is_changed = summary.nmr_db is not None
            asked = self._recognisers if is_changed else None
            yield TrackReport(
                number,
                plan.encoder or track.codec,
                track.sample_rate,
                track.channels,
                "masked" if is_changed else "unchanged",
                summary.nmr_db,
                summary.snr_db,
                summary.speech_share,
                () if asked is None else asked.names,
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


def _check_length(placed: Placed, frames: int, info: MediaInfo, limits: Limits) -> None:
    hours = (placed.pts + placed.duration) * info.video.time_base / 3600
    if hours > limits.max_duration_h or frames > limits.max_duration_h * 3600 * limits.max_fps:
        raise LimitExceeded(
            f"{info.path.name} is longer than it states;"
            f" at most {limits.max_duration_h:g} hours are allowed (limits.max_duration_h)."
        )


def _joined_clock(plan: AudioPlan, shifts: Sequence[Fraction]) -> JoinedClock:
    """Return one in seconds for frames, in ticks for packets that are copied."""
    return JoinedClock(shifts, plan.track.time_base if plan.encoder is None else Fraction(1))


def _time_of(item: _SoundItem) -> int | Fraction | None:
    if isinstance(item, AudioItem):
        return time_of(item.frame)
    if item.packet.is_discard:
        return None  # as in `keep_joined`
    return item.packet.dts if item.packet.pts is None else item.packet.pts


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
