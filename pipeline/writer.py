"""
Encode and mux the output: one new file, written once.

Only the planned tracks go in, with their language and disposition and no other tag; every
timestamp is the original's. What FFmpeg's muxer cannot write goes in afterwards (mp4.py).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.filter import Graph
from numpy.typing import NDArray

from pipeline import mp4
from pipeline.adts import stated_format
from pipeline.aspect import set_aspect, state_aspects
from pipeline.audio_plan import AudioPlan
from pipeline.captions import registered_messages
from pipeline.chapters import chapters_for
from pipeline.codec_header import clean_header
from pipeline.edits import skip_priming, state_length
from pipeline.errors import InvalidParameters, OutputFailed, UnsupportedMedia
from pipeline.hidden import HiddenPackets
from pipeline.media import AudioTrack, Chapter, FieldOrder, MediaInfo, SubtitleTrack
from pipeline.plan import OutputPlan
from pipeline.probe import open_media
from pipeline.sei import with_registered_user_data, without_settings_sei
from pipeline.sidedata import discarded_samples
from pipeline.subtitles import plain_text
from pipeline.timeline import PacketClock, Placed, decoding_times
from pipeline.tta import end_with_file, stated_ends
from pipeline.video_plan import VideoPlan

_BITEXACT = 1 << 23  # AV_CODEC_FLAG_BITEXACT: no version strings inside the packets
_MOST_X265_FRAMES = 16  # at once; told of more, x265 does not begin
_CODEC_NAME = {"libx264": "h264", "libx265": "hevc"}


@dataclass(frozen=True)
class CopiedSpan:
    """From the start of a copied track's first packet to the end of its last, in seconds."""

    start: Fraction
    end: Fraction


class Writer:
    """
    The output file while it grows.

    After `close` the file is complete; after `abandon` it is gone. Whatever is done with a
    writer is done in one thread, FFmpeg's containers know no other's.
    """

    def __init__(
        self, path: Path, plan: OutputPlan, info: MediaInfo, origin: Fraction, threads: int
    ) -> None:
        """
        Args:
            path: of the file to make; its folder exists.
            origin: seconds on the original's clock that become zero.
            threads: of the video encoder, 0 for all cores.

        Raises:
            OutputFailed: the file cannot be made.
            UnsupportedMedia: the container does not take one of its tracks.
            InvalidParameters: nor one that is to be copied.
        """
        self.path = path
        self._plan = plan
        self._info = info
        self._origin = origin
        self.copied_spans: dict[int, CopiedSpan] = {}
        """Of each track copied so far, by stream index, on the output's clock."""
        is_top_first = info.video.field_order is FieldOrder.TOP_FIRST
        self._clocks: dict[int, PacketClock] = {}
        self._hidden: dict[int, HiddenPackets] = {}
        self._longest_sound: dict[int, int] = {}  # of each copied track's packets, in ticks
        self._intervals: dict[int, _Interval] = {}
        self._aac_formats: dict[int, int | None] = {}  # of each copied track's first packet
        self._marker = _TopFieldMarker(plan.video) if is_top_first else None
        self._retexted: set[int] = set()
        self._ends: dict[int, int] = {}
        self._boxes = _extra_boxes(plan, info)
        self._durations: dict[int, int] = {}
        self._captions: dict[int, bytes] = {}
        self._span: _Span | None = None
        self._held: av.Packet[Any] | None = None
        self._is_first_packet = True
        self._filled: set[int] = set()
        self._sound_end: dict[int, int] = {}
        self._first_sample: dict[int, int] = {}
        self._priming: dict[int, Fraction] = {}
        with _failure_told(path):
            self._container = self._open()
        with self._muxing():
            self._video = self._add_video(threads)
            self._encoders = {
                a.track.index: self._add_audio(a) for a in plan.audio if a.encoder is not None
            }
            self._copies = self._add_copies()
            # Of others nothing is left, and Matroska takes no time below zero.
            left = [c for c in info.chapters if c.start >= origin or c.end > origin]
            chapters = [_chapter(c, n, origin) for n, c in enumerate(left)]
            self._container.set_chapters(chapters_for(plan.container, chapters))

    @property
    def copied_streams(self) -> frozenset[int]:
        """Indices, in the output, of the streams whose packets are copied."""
        return frozenset(stream.index for stream in self._copies.values())

    def write_picture(self, frame: av.VideoFrame, placed: Placed, captions: bytes = b"") -> None:
        """
        Encode the next frame, which must be of the plan's format and coded size.

        Args:
            captions: of `CaptionReader`; a codec without a place for them goes without.
        """
        if self._marker is not None:
            frame = self._marker.marked(frame)
        frame.pts = placed.pts
        frame.time_base = self._info.video.time_base
        frame.duration = placed.duration
        self._durations[placed.pts] = placed.duration
        if captions:
            self._captions[placed.pts] = captions
        packets = self._encoded(self._video, frame)
        with self._muxing():
            self._mux_video(packets)

    def write_sound(self, track: AudioTrack, samples: NDArray[np.float32], at: int) -> None:
        """Encode (channels, n) samples, the first of them `at` samples after the origin."""
        if not samples.shape[1]:
            return
        stream = self._encoders[track.index]
        # Interleaved: PyAV 18.1 does not fill all planes of a frame of eight.
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T).reshape(1, -1),
            format="flt",
            layout=stream.codec_context.layout.name,
        )
        frame.sample_rate = track.sample_rate
        frame.time_base = Fraction(1, track.sample_rate)
        frame.pts = at
        packets = self._encoded(stream, frame)
        with self._muxing():
            self._mux_sound(stream, packets, at)
        self._sound_end[stream.index] = at + samples.shape[1]

    def copy_packet(self, track: AudioTrack | SubtitleTrack, packet: av.Packet[Any]) -> None:
        """Write one packet of a copied track as it is."""
        if track.index in self._ends:
            end_with_file(packet, self._ends[track.index])
        shift = round(self._origin / track.time_base)
        if packet.pts is not None:
            packet.pts -= shift
        if packet.dts is not None:
            packet.dts -= shift
        for kept in self._hidden_of(track).kept(packet):
            self._copy_shown(track, kept)

    def _copy_shown(self, track: AudioTrack | SubtitleTrack, packet: av.Packet[Any]) -> None:
        clock = self._clock_of(track)
        packet.pts, packet.dts = clock.place(packet.pts, packet.dts, packet.duration)
        if isinstance(track, AudioTrack) and self._plan.container != "matroska":
            packet.duration = self._heard(track, packet)
        self._extend_span(track, packet)
        if track.codec == "aac":
            self._refuse_change(track, packet)
        stream = self._copies[track.index]
        if track.index in self._retexted:
            text = plain_text(bytes(packet))
            if not text:
                return  # MP4 fills the time between two subtitles with empty ones
            packet = _packet_like(packet, text)
        packet.stream = stream
        with self._muxing():
            self._container.mux(packet)

    def _refuse_change(self, track: AudioTrack | SubtitleTrack, packet: av.Packet[Any]) -> None:
        stated = stated_format(packet)
        if stated != self._aac_formats.setdefault(track.index, stated):
            raise InvalidParameters(
                f"The sound of stream {track.index} changes its channels or its rate on the way,"
                " or is damaged there, and cannot be copied; use another audio_level than none,"
                " which encodes it anew.",
                "audio_level",
            )

    def _hidden_of(self, track: AudioTrack | SubtitleTrack) -> HiddenPackets:
        if track.index not in self._hidden:
            self._hidden[track.index] = HiddenPackets(_kind_of(track), self._plan.container)
        return self._hidden[track.index]

    def _clock_of(self, track: AudioTrack | SubtitleTrack) -> PacketClock:
        if track.index not in self._clocks:
            sample_rate = track.sample_rate if isinstance(track, AudioTrack) else None
            self._clocks[track.index] = PacketClock(
                track.time_base, _kind_of(track), self._plan.container, sample_rate
            )
        return self._clocks[track.index]

    def _heard(self, track: AudioTrack, packet: av.Packet[Any]) -> int:
        """
        Return for how many ticks a packet is heard, which is all that MP4 can say of its filling.

        Matroska and Ogg tell how many of the last packet's samples are to be discarded; Ogg's
        duration is without them already, so they are taken off a whole packet's.
        """
        interval = self._intervals.setdefault(track.index, _Interval()).to(packet)
        duration = packet.duration or interval
        whole = max(duration, self._longest_sound.get(track.index, 0))
        self._longest_sound[track.index] = whole
        discarded = discarded_samples(packet) * Fraction(1, track.sample_rate)
        heard = math.ceil(whole - discarded / track.time_base)
        return min(duration, heard) if heard > 0 else duration

    def _extend_span(self, track: AudioTrack | SubtitleTrack, packet: av.Packet[Any]) -> None:
        if packet.pts is None:
            return
        start = packet.pts * track.time_base
        end = (packet.pts + (packet.duration or 0)) * track.time_base
        span = self.copied_spans.get(track.index, CopiedSpan(start, end))
        self.copied_spans[track.index] = CopiedSpan(min(span.start, start), max(span.end, end))

    def close(self) -> None:
        """Flush the encoders, write the index, and add what FFmpeg's muxer left out."""
        with self._muxing():
            self._mux_video(self._flushed_video())
            self._release_last_packet()
            for stream in self._encoders.values():
                self._flush_sound(stream)
            self._container.close()
            if (aspect := self._info.video.sample_aspect) is not None:
                state_aspects(self.path, self._plan.container, [aspect])
            if self._plan.container != "matroska":
                skip_priming(self.path, self._priming_by_track())
                self._state_video_length()
            if self._boxes:
                mp4.insert_in_video_entry(self.path, self._boxes)

    def _flushed_video(self) -> list[av.Packet[Any]]:
        packets = self._encoded(self._video, None)
        if self._held is None:  # all of a short video
            # x265 4.2 does not set the decoding times of one or two frames: they are left over.
            shown = [packet.pts or 0 for packet in packets]
            for packet, at in zip(packets, decoding_times(shown), strict=True):
                packet.dts = at
        return packets

    def _encoded(self, stream: Any, frame: Any) -> list[av.Packet[Any]]:
        try:
            return list(stream.encode(frame))
        except av.error.FFmpegError as error:
            raise OutputFailed(
                f"The encoder {stream.codec_context.name} gave up ({error.strerror});"
                " the machine or limits.worker_memory_gb may be short of memory."
            ) from error

    @contextlib.contextmanager
    def _muxing(self) -> Iterator[None]:
        with _failure_told(self.path), refusal_told(self._info.path.name, self._plan.container):
            yield

    def _open(self) -> OutputContainer:
        options = {"fflags": "+bitexact"}
        if self._plan.container != "matroska":
            # The index in front lets a browser play before it has the whole file. It stays
            # at the end where boxes are added to it afterwards.
            options["movflags"] = "+write_colr" if self._boxes else "+write_colr+faststart"
        return av.open(str(self.path.absolute()), "w", format=self._plan.container, options=options)

    def _add_video(self, threads: int) -> Any:
        plan, track = self._plan.video, self._info.video
        rate = track.frame_rate.limit_denominator(100_000)
        stream: Any = self._container.add_stream(plan.encoder, rate=rate, options=plan.options)
        stream.width, stream.height = plan.coded_width, plan.coded_height
        stream.pix_fmt = plan.pixel_format
        stream.time_base = stream.codec_context.time_base = track.time_base
        stream.thread_count = _threads(plan.encoder, threads)
        stream.flags |= _BITEXACT
        stream.color_range = plan.colour.range
        stream.color_primaries = plan.colour.primaries
        stream.color_trc = plan.colour.transfer
        stream.colorspace = plan.colour.matrix
        if track.sample_aspect is not None:
            set_aspect(stream, self._plan.container, track.sample_aspect)
        if plan.codec_tag is not None:
            stream.codec_context.codec_tag = plan.codec_tag
        if track.display_matrix is not None:
            stream.set_display_matrix(track.display_matrix)
        return stream

    def _add_audio(self, plan: AudioPlan) -> Any:
        assert plan.encoder is not None
        stream: Any = self._container.add_stream(plan.encoder, rate=plan.track.sample_rate)
        stream.layout = plan.layout
        stream.time_base = stream.codec_context.time_base = Fraction(1, plan.track.sample_rate)
        if plan.bit_rate is not None:
            stream.bit_rate = plan.bit_rate
        stream.flags |= _BITEXACT
        _describe(stream, plan.track)
        return stream

    def _add_copies(self) -> dict[int, Any]:
        copied = [self._info.tracks[i] for i in sorted(self._plan.copied)]
        streams = {}
        with open_media(self._info.path) as original:
            self._ends = stated_ends({t.index: original.streams[t.index] for t in copied})
            for track in copied:
                stream = self._add_copy(track, original.streams[track.index])
                _describe(stream, track)
                streams[track.index] = stream
        return streams

    def _add_copy(self, track: AudioTrack | SubtitleTrack, template: Any) -> Any:
        if self._plan.container == "matroska" and track.codec == "mov_text":
            self._retexted.add(track.index)
            return self._container.add_mux_stream("subrip", time_base=track.time_base)
        try:
            stream = self._container.add_stream_from_template(template)
        except ValueError as error:
            # G.711 and ADPCM, for some, which Matroska has no name of its own for.
            raise InvalidParameters(
                f"The {track.codec} sound of stream {track.index} cannot be copied into"
                f" {self._plan.container}; use another audio_level than none, which encodes it"
                " anew.",
                "audio_level",
            ) from error
        clean_header(stream)
        return stream

    def _mux_sound(self, stream: Any, packets: list[av.Packet[Any]], at: int) -> None:
        if packets and stream.index not in self._priming:
            # The encoder puts its priming before the first sample it was given.
            assert packets[0].pts is not None
            first = self._first_sample.get(stream.index, at)
            self._priming[stream.index] = (first - packets[0].pts) * packets[0].time_base
        self._first_sample.setdefault(stream.index, at)
        if packets:
            self._filled.add(stream.index)
        self._container.mux(packets)

    def _priming_by_track(self) -> dict[int, Fraction]:
        """Return the priming by the track's place in the file; empty tracks get none there."""
        places = {index: place for place, index in enumerate(sorted(self._filled))}
        return {places[index]: seconds for index, seconds in self._priming.items()}

    def _flush_sound(self, stream: Any) -> None:
        packets = self._encoded(stream, None)
        end = self._sound_end.get(stream.index, 0)
        for packet in packets:
            # The last codec frame is filled up with silence, which is not part of the track.
            assert packet.pts is not None  # an encoder's packets all have one
            packet.duration = max(1, min(packet.duration or 0, end - packet.pts))
        self._mux_sound(stream, packets, 0)

    def _mux_video(self, packets: Iterable[av.Packet[Any]]) -> None:
        for packet in packets:
            packet = self._with_fitting_sei(packet)
            assert packet.pts is not None  # an encoder's packets all have one
            packet.duration = self._durations.pop(packet.pts, 0)
            self._span = _Span.including(self._span, packet)
            # One packet is held back, since the last one's duration needs a correction.
            if self._held is not None:
                self._container.mux(self._held)
            self._held = packet
            self._filled.add(self._video.index)

    def _release_last_packet(self) -> None:
        if self._held is None:
            return
        assert self._span is not None
        if self._plan.container != "matroska":
            self._held.duration = self._span.last_duration()
        self._container.mux(self._held)
        self._held = None

    def _state_video_length(self) -> None:
        if self._span is not None:
            tick = self._info.video.time_base
            # The picture is the first stream, so it is the first track.
            state_length(self.path, 0, self._span.shown * tick, self._span.decoded * tick)

    def _with_fitting_sei(self, packet: av.Packet[Any]) -> av.Packet[Any]:
        """Return the packet with its picture's captions, the first one less x264's settings."""
        codec = _CODEC_NAME.get(self._plan.video.encoder)
        captions = self._captions.pop(packet.pts or 0, b"")
        if codec is None or not (self._is_first_packet or captions):
            return packet
        data = bytes(packet)
        if self._is_first_packet:
            self._is_first_packet = False
            data = without_settings_sei(data, codec)
        if captions:
            data = with_registered_user_data(data, codec, registered_messages(captions))
        fitting = _packet_like(packet, data)
        fitting.stream = packet.stream
        return fitting

    def abandon(self) -> None:
        """Remove the file and let go of the encoders."""
        # Removed first: closing writes an index, and moving it to the front of a large file
        # takes long. Without a name that step fails at once, which is what we want.
        with contextlib.suppress(OSError):  # nothing is there, as on a read-only disk
            self.path.unlink()
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
            self._container.close()


def _kind_of(track: AudioTrack | SubtitleTrack) -> str:
    return "audio" if isinstance(track, AudioTrack) else "subtitle"


def _threads(encoder: str, threads: int) -> int:
    """Return how many threads to tell an encoder of, where `threads` are set; 0 for its choice."""
    if encoder == "libx264" and not threads:
        # x264 itself takes half as many again as there are cores: they wait for each other, for a
        # twentieth of its CPU time and no gain beside a decoder and a protecting stage.
        return len(os.sched_getaffinity(0))
    if encoder == "libx265":
        return min(threads, _MOST_X265_FRAMES)  # the size of its pool is among its own options
    return threads


class _TopFieldMarker:
    """
    Marks frames as showing their upper field first.

    The encoder goes by the frame's own mark, whatever it was told at the start, and PyAV
    cannot set it; a filter can.
    """

    def __init__(self, plan: VideoPlan) -> None:
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=plan.coded_width,
            height=plan.coded_height,
            format=av.VideoFormat(plan.pixel_format),
            time_base=Fraction(1, 1000),
        )
        mark = self._graph.add("setfield", "mode=tff")
        source.link_to(mark)
        mark.link_to(self._graph.add("buffersink"))
        self._graph.configure()

    def marked(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the same picture, marked; its time is lost."""
        frame.pts, frame.time_base = 0, Fraction(1, 1000)
        self._graph.push(frame)
        marked = self._graph.pull()
        assert isinstance(marked, av.VideoFrame)
        return marked


class _Interval:
    """
    How long a packet of copied sound lasts of which the file does not say: ALAC's in Matroska.

    MP4 has to say it of the last one, or that is not heard: as long as the closest two were apart,
    and a tick for what the file rounds.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._shortest: int | None = None

    def to(self, packet: av.Packet[Any]) -> int:
        """Return the ticks that a packet lasts, given all before it."""
        pts = packet.pts or 0
        if self._last is not None and pts > self._last:
            interval = pts - self._last + 1
            self._shortest = min(interval, self._shortest or interval)
        self._last = pts
        return self._shortest or 0


class _Span:
    """First and last instants of the video packets that were written, in ticks."""

    def __init__(self, packet: av.Packet[Any]) -> None:
        self.first_pts = packet.pts or 0
        self.first_dts = packet.dts or 0
        self.last_dts = self.first_dts
        self.end = self.first_pts

    @classmethod
    def including(cls, span: _Span | None, packet: av.Packet[Any]) -> _Span:
        span = span or cls(packet)
        pts = packet.pts or 0
        span.first_pts = min(span.first_pts, pts)
        span.last_dts = packet.dts or 0
        span.end = max(span.end, pts + (packet.duration or 0))
        return span

    @property
    def shown(self) -> int:
        """From the first frame to the end of the last."""
        return self.end - self.first_pts

    @property
    def decoded(self) -> int:
        """What the durations add up to in decoding order."""
        return self.last_dts - self.first_dts + self.last_duration()

    def last_duration(self) -> int:
        """
        Return the duration of the packet that is last in decoding order.

        MP4 adds up durations in decoding order; with B-frames the last of them has to make
        up for the delay, or the video's length is short of its last frame.
        """
        return max(1, self.shown - (self.last_dts - self.first_dts))


def _packet_like(packet: av.Packet[Any], data: bytes) -> av.Packet[Any]:
    """Return a packet with other data at the same time."""
    copy: av.Packet[Any] = av.Packet(data)
    copy.time_base = packet.time_base
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.is_keyframe = packet.is_keyframe
    return copy


# What FFmpeg's muxers answer, once their file is open, to times, sizes or codec headers that
# their container cannot hold. A full, broken or closed disk says none of these.
_REFUSED = (av.error.ArgumentError, av.error.InvalidDataError, av.error.PatchWelcomeError)


@contextlib.contextmanager
def refusal_told(name: str, container: str) -> Iterator[None]:
    """
    Raises:
        UnsupportedMedia: a muxer refuses inside what the video `name` states.
    """
    try:
        yield
    except _REFUSED as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnsupportedMedia(
            f"{name} states times or tracks that {container} cannot hold ({reason});"
            " it may be damaged. Convert it first."
        ) from error


@contextlib.contextmanager
def _failure_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputFailed(
            f"The protected copy cannot be written in {path.parent.absolute()}: {reason}."
        ) from error


def _extra_boxes(plan: OutputPlan, info: MediaInfo) -> list[bytes]:
    if plan.container == "matroska":
        return []
    video, track = plan.video, info.video
    boxes: list[bytes] = []
    if video.is_padded:
        boxes.append(
            mp4.clean_aperture(video.width, video.height, video.pad_right, video.pad_bottom)
        )
    if track.stereo is not None:
        boxes.append(mp4.stereo_3d(track.stereo))
    if track.spherical is not None:
        boxes.append(mp4.spherical(track.spherical))
    if track.mastering_display is not None:
        boxes.append(mp4.mastering_display(track.mastering_display))
    if track.content_light is not None:
        boxes.append(mp4.content_light(track.content_light))
    if track.ambient_light is not None:
        boxes.append(mp4.ambient_light(track.ambient_light))
    return [box for box in boxes if box]  # empty where MP4 has no way to say it


def _describe(stream: Any, track: AudioTrack | SubtitleTrack) -> None:
    if track.language is not None:
        stream.metadata["language"] = track.language
    stream.disposition = track.disposition


def _chapter(chapter: Chapter, number: int, origin: Fraction) -> Any:
    # Times stay, titles go: a title is a text of its author's. Some players list only
    # chapters that have one, so each bears its number.
    milliseconds = Fraction(1, 1000)
    return {
        "id": number,
        "start": max(0, round((chapter.start - origin) / milliseconds)),
        "end": round((chapter.end - origin) / milliseconds),
        "time_base": milliseconds,
        "metadata": {"title": f"Chapter {number + 1}"},
    }
