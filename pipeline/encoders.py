"""
Frames of one track into packets of the output's: the encoders, and what FFmpeg lets them get wrong.

What becomes of the packets is `writer`'s business.
"""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray

from pipeline.aspect import set_aspect
from pipeline.audio_plan import AudioPlan
from pipeline.captions import registered_messages
from pipeline.errors import OutputFailed
from pipeline.filters import PictureFilter
from pipeline.media import FieldOrder, VideoTrack
from pipeline.packets import packet_like
from pipeline.sei import with_registered_user_data, without_settings_sei
from pipeline.timeline import Placed, decoding_times
from pipeline.video_plan import VideoPlan

_BITEXACT = 1 << 23  # AV_CODEC_FLAG_BITEXACT: no version strings inside the packets
_MOST_X265_FRAMES = 16  # at once; told of more, x265 does not begin
_CODEC_NAME = {"libx264": "h264", "libx265": "hevc"}


class PictureEncoder:
    """
    Encodes the picture.

    Attributes:
        stream: the output's, that takes the packets.
    """

    def __init__(
        self, container: OutputContainer, plan: VideoPlan, track: VideoTrack, threads: int
    ) -> None:
        """
        Add the picture to `container`.

        Args:
            threads: of the encoder, 0 for all cores.
        """
        self._plan = plan
        self._time_base = track.time_base
        is_top_first = track.field_order is FieldOrder.TOP_FIRST
        # The encoder goes by the frame's own mark, whatever it was told at the start.
        self._marker = PictureFilter("setfield", "mode=tff") if is_top_first else None
        self._durations: dict[int, int] = {}  # of the frames inside the encoder, by pts
        self._captions: dict[int, bytes] = {}
        self._has_begun = False
        self.stream: Any = _added_picture(container, plan, track, threads)

    def encode(self, frame: av.VideoFrame, placed: Placed, captions: bytes) -> list[av.Packet[Any]]:
        """
        Return the packets that are ready, each with its frame's times and length.

        Args:
            frame: of the plan's format and coded size.
            captions: of `CaptionReader`; a codec without a place for them goes without.

        Raises:
            OutputFailed: the encoder gave up.
        """
        frame.pts = placed.pts
        frame.time_base = self._time_base
        frame.duration = placed.duration
        if self._marker is not None:
            frame = self._marker.filtered(frame)
        self._durations[placed.pts] = placed.duration
        if captions:
            self._captions[placed.pts] = captions
        return [self._finished(packet) for packet in _encoded(self.stream, frame)]

    def flush(self) -> list[av.Packet[Any]]:
        """
        Return what is left.

        Raises:
            OutputFailed: the encoder gave up.
        """
        packets = _encoded(self.stream, None)
        if not self._has_begun and len(packets) <= 2:
            # x265 4.2 does not set the decoding times of one or two frames: they are left over.
            # Those of more are the encoder's: as late as the latest, of frames that are shown long
            # they would begin seconds before the picture, and FFmpeg's MP4 muxer states its start
            # by those before zero.
            shown = [packet.pts or 0 for packet in packets]
            for packet, at in zip(packets, decoding_times(shown), strict=True):
                packet.dts = at
        return [self._finished(packet) for packet in packets]

    def _finished(self, packet: av.Packet[Any]) -> av.Packet[Any]:
        pts = packet.pts
        assert pts is not None  # an encoder's packets all have one
        fitting = self._with_fitting_sei(packet, self._captions.pop(pts, b""))
        fitting.duration = self._durations.pop(pts, 0)
        self._has_begun = True
        return fitting

    def _with_fitting_sei(self, packet: av.Packet[Any], captions: bytes) -> av.Packet[Any]:
        """Return the packet with its picture's captions, the first one less x264's settings."""
        codec = _CODEC_NAME.get(self._plan.encoder)
        if codec is None or (self._has_begun and not captions):
            return packet
        data = bytes(packet)
        if not self._has_begun:
            data = without_settings_sei(data, codec)
        if captions:
            data = with_registered_user_data(data, codec, registered_messages(captions))
        fitting = packet_like(packet, data)
        fitting.stream = packet.stream
        return fitting


# By itself FFmpeg's encoder puts noise of its own in the place of a sound's upper bands, and one
# channel's in the place of both, which at this rate nothing calls for: of music and wind, what
# lay in the middle was everywhere, and the noise-to-mask ratio up to 13 dB worse.
_AAC_OPTIONS = {"aac_pns": "0", "aac_is": "0"}


class SoundEncoder:
    """
    Encodes one track of sound; its times are samples after the origin.

    Attributes:
        stream: the output's, that takes the packets.
        priming: seconds that the encoder puts before the first sample; None until a packet came.
    """

    def __init__(self, container: OutputContainer, plan: AudioPlan) -> None:
        """Add the track, which is to be encoded, to `container`."""
        assert plan.encoder is not None
        self.priming: Fraction | None = None
        self._sample_rate = plan.track.sample_rate
        self._first: int | None = None
        self._end = 0
        options = _AAC_OPTIONS if plan.encoder == "aac" else {}
        stream: Any = container.add_stream(plan.encoder, self._sample_rate, options)
        stream.layout = plan.layout
        if plan.track.is_deep:
            stream.format = stream.codec_context.codec.audio_formats[-1]  # FLAC's first has 16 bits
        stream.time_base = stream.codec_context.time_base = Fraction(1, self._sample_rate)
        if plan.bit_rate is not None:
            stream.bit_rate = plan.bit_rate
        stream.flags |= _BITEXACT
        self.stream = stream

    def encode(self, samples: NDArray[np.float32], at: int) -> list[av.Packet[Any]]:
        """
        Return the packets that are ready, given (channels, n) samples, the first of them `at`.

        Raises:
            OutputFailed: the encoder gave up.
        """
        if not samples.shape[1]:
            return []
        # Interleaved: PyAV 18.1 does not fill all planes of a frame of eight.
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T).reshape(1, -1),
            format="flt",
            layout=self.stream.codec_context.layout.name,
        )
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = at
        if self._first is None:
            self._first = at
        self._end = at + samples.shape[1]
        packets = _encoded(self.stream, frame)
        self._note_priming(packets)
        return packets

    def flush(self) -> list[av.Packet[Any]]:
        """
        Return what is left.

        Raises:
            OutputFailed: the encoder gave up.
        """
        packets = _encoded(self.stream, None)
        for packet in packets:
            # The last codec frame is filled up with silence, which is not part of the track.
            assert packet.pts is not None  # an encoder's packets all have one
            packet.duration = max(1, min(packet.duration or 0, self._end - packet.pts))
        self._note_priming(packets)
        return packets

    def _note_priming(self, packets: list[av.Packet[Any]]) -> None:
        if packets and self.priming is None:
            assert packets[0].pts is not None
            self.priming = ((self._first or 0) - packets[0].pts) * packets[0].time_base


def _encoded(stream: Any, frame: Any) -> list[av.Packet[Any]]:
    try:
        return list(stream.encode(frame))
    except av.error.FFmpegError as error:
        raise OutputFailed(
            f"The encoder {stream.codec_context.name} gave up ({error.strerror});"
            " the machine or limits.worker_memory_gb may be short of memory."
        ) from error


def _added_picture(
    container: OutputContainer, plan: VideoPlan, track: VideoTrack, threads: int
) -> Any:
    rate = track.frame_rate.limit_denominator(100_000)
    stream: Any = container.add_stream(plan.encoder, rate=rate, options=plan.options)
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
        set_aspect(stream, container.format.name, track.sample_aspect)
    if plan.codec_tag is not None:
        stream.codec_context.codec_tag = plan.codec_tag
    if track.display_matrix is not None:
        stream.set_display_matrix(track.display_matrix)
    return stream


def _threads(encoder: str, threads: int) -> int:
    """Return how many threads to tell an encoder of, where `threads` are set; 0 for its choice."""
    if encoder == "libx264" and not threads:
        # x264 itself takes half as many again as there are cores: they wait for each other, for a
        # twentieth of its CPU time and no gain beside a decoder and a protecting stage.
        return len(os.sched_getaffinity(0))
    if encoder == "libx265":
        return min(threads, _MOST_X265_FRAMES)  # the size of its pool is among its own options
    return threads
