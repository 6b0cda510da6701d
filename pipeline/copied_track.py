"""
A track whose packets are copied as they are: which of them go into the output, and when.

Only times and lengths are changed: to the output's clock, and to what its container can say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import OutputContainer

from pipeline.adts import stated_format
from pipeline.codec_header import clean_header
from pipeline.errors import InvalidParameters
from pipeline.hidden import HiddenPackets
from pipeline.media import AudioTrack, SubtitleTrack
from pipeline.packets import packet_like
from pipeline.sidedata import discarded_samples
from pipeline.subtitles import plain_text
from pipeline.timeline import PacketClock
from pipeline.tta import end_tick, end_with_file


@dataclass(frozen=True)
class CopiedSpan:
    """From the start of a copied track's first packet to the end of its last, in seconds."""

    start: Fraction
    end: Fraction


class CopiedTrack:
    """
    One track on its way into the output.

    Attributes:
        stream: the output's, that takes its packets.
        span: of all packets so far, on the output's clock; None where there was none with a time.
    """

    def __init__(
        self,
        track: AudioTrack | SubtitleTrack,
        original: Any,
        target: OutputContainer,
        origin: Fraction,
    ) -> None:
        """
        Add the track to `target`.

        Args:
            original: its stream, in the original.
            origin: seconds on the original's clock that become zero.

        Raises:
            InvalidParameters: the container does not take it as it is.
        """
        container = target.format.name
        kind = "audio" if isinstance(track, AudioTrack) else "subtitle"
        sample_rate = track.sample_rate if isinstance(track, AudioTrack) else None
        self.span: CopiedSpan | None = None
        # Matroska has no MP4 text.
        self._is_retexted = container == "matroska" and track.codec == "mov_text"
        self._is_unnamed = original.codec_context is None
        self.stream: Any
        if self._is_retexted:
            self.stream = target.add_mux_stream("subrip", time_base=track.time_base)
        elif self._is_unnamed:
            self.stream = target.add_mux_stream(track.codec, time_base=track.time_base)
        else:
            self.stream = _copy_of(track, original, target)
        self._track = track
        self._shift = round(origin / track.time_base)
        self._end = end_tick(original)
        self._hidden = HiddenPackets(kind, container)
        self._clock = PacketClock(track.time_base, kind, container, sample_rate)
        self._lengths = None
        if isinstance(track, AudioTrack) and container != "matroska":
            self._lengths = _HeardLengths(track)
        # An edit list would have to skip what lies before: past one, FFmpeg gives the subtitles
        # that follow too early.
        self._begins_at_zero = isinstance(track, SubtitleTrack) and container != "matroska"
        self._aac_formats: set[int | None] = set()

    def placed(self, packet: av.Packet[Any]) -> Iterator[av.Packet[Any]]:
        """
        Yield what is to be muxed now, given the track's next packet.

        Raises:
            InvalidParameters: the sound changes its format, which no container can say.
        """
        if self._end is not None:
            end_with_file(packet, self._end)
        if packet.pts is not None:
            packet.pts -= self._shift
        if packet.dts is not None:
            packet.dts -= self._shift
        for kept in self._hidden.kept(packet):
            yield from self._shown(kept)

    def _shown(self, packet: av.Packet[Any]) -> Iterator[av.Packet[Any]]:
        if self._begins_at_zero and packet.pts is not None and packet.pts < 0:
            left = packet.pts + (packet.duration or 0)
            if left <= 0:
                return
            packet.pts, packet.dts, packet.duration = 0, 0, left
        packet.pts, packet.dts = self._clock.place(packet.pts, packet.dts, packet.duration)
        if self._lengths is not None:
            packet.duration = self._lengths.of(packet)
        self._extend_span(packet)
        if self._track.codec == "aac":
            self._refuse_change(packet)
        if self._is_retexted:
            text = plain_text(bytes(packet))
            if not text:
                return  # MP4 fills the time between two subtitles with empty ones
            packet = packet_like(packet, text)
        elif self._is_unnamed:
            packet = packet_like(packet, bytes(packet))  # without what lies beside: comments, too
        packet.stream = self.stream
        yield packet

    def _refuse_change(self, packet: av.Packet[Any]) -> None:
        self._aac_formats.add(stated_format(packet))
        if len(self._aac_formats) > 1:
            raise InvalidParameters(
                f"The sound of stream {self._track.index} changes its channels or its rate on the"
                " way, or is damaged there, and cannot be copied; use another audio_level than"
                " none, which encodes it anew.",
                "audio_level",
            )

    def _extend_span(self, packet: av.Packet[Any]) -> None:
        if packet.pts is None:
            return
        start = packet.pts * self._track.time_base
        end = (packet.pts + (packet.duration or 0)) * self._track.time_base
        span = self.span or CopiedSpan(start, end)
        self.span = CopiedSpan(min(span.start, start), max(span.end, end))


def _copy_of(track: AudioTrack | SubtitleTrack, original: Any, target: OutputContainer) -> Any:
    try:
        stream = target.add_stream_from_template(original)
    except ValueError as error:
        # G.711 and ADPCM, for some, which Matroska has no name of its own for.
        raise InvalidParameters(
            f"The {track.codec} sound of stream {track.index} cannot be copied into"
            f" {target.format.name}; use another audio_level than none, which encodes it anew.",
            "audio_level",
        ) from error
    clean_header(stream)
    return stream


class _HeardLengths:
    """
    For how many ticks the packets of a track are heard, which is all MP4 can say of their filling.

    Matroska and Ogg tell how many of the last packet's samples are to be discarded; Ogg's duration
    is without them already, so they are taken off a whole packet's.
    """

    def __init__(self, track: AudioTrack) -> None:
        self._sample = Fraction(1, track.sample_rate) / track.time_base  # in ticks
        self._interval = _Interval()
        self._longest = 0

    def of(self, packet: av.Packet[Any]) -> int:
        """Return the ticks that a packet is heard, given all before it."""
        interval = self._interval.to(packet)
        duration = packet.duration or interval
        whole = self._longest = max(duration, self._longest)
        heard = math.ceil(whole - discarded_samples(packet) * self._sample)
        return min(duration, heard) if heard > 0 else duration


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
