"""
How an AVI counts the time of its sound, and a copy that is to count as the original does.

A header states how long a tick is, and how many bytes a tick stands for: none where each chunk is
a tick. FFmpeg's AVI muxer goes by the block size in both, which most codecs state as they like.
It is not to be told of another one through PyAV, so the finished file is corrected in place.

Bytes tell no time where frames of one length have more of them and fewer, as of MP3 with a
variable bit rate: GStreamer writes such. VLC states a second's bytes as it has measured them, which
parts sound and picture by and by. There the frames are counted.

Source: OpenDML AVI 1.02; dwScale, dwRate, dwLength and dwSampleSize of AVISTREAMHEADER.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer

from pipeline.boxes import completeness
from pipeline.chunks import StreamClock, state_chunk_clock, stream_clocks

_LARGEST_BIT_RATE = (1 << 31) - 1  # that the muxer can count with
# FFmpeg cuts these into frames, whatever the chunks were, and its muxer has a frame's length for
# a tick.
_IN_FRAMES = frozenset({"mp1", "mp2", "mp3", "ac3", "aac"})
# Half the samples of HE-AAC's frames are made by its decoder: how many there are is not known here.
_OF_KNOWN_LENGTH = _IN_FRAMES - {"aac"}
_AC3_SAMPLES = 1536  # of each frame, which FFmpeg's parser does not tell
# Of all streams, among which frames of a variable bit rate show their sizes.
_MOST_PACKETS, _MOST_BYTES = 1000, 32 << 20
# Bytes by which frames of a constant bit rate differ, the most in layer I of MPEG.
_PADDING = 4
_MOST_ODD = 0.1  # of a constant bit rate's: a first one that begins amid a frame, and damaged ones


def uneven_tracks(container: InputContainer, path: Path) -> frozenset[int]:
    """
    Return the indices of an opened file's tracks of sound to which `FrameCount` applies.

    Bytes tell the time of all others, and go on to do so past what is damaged.
    """
    if "avi" not in container.format.name.split(","):
        return frozenset()
    usual: dict[int, Fraction] = {}
    for stream, clock in zip(container.streams, _clocks_of(path), strict=False):
        context: Any = stream.codec_context
        is_in_frames = context is not None and context.codec.canonical_name in _OF_KNOWN_LENGTH
        if is_in_frames and clock.tick_bytes and _samples_of_frame(stream):
            usual[stream.index] = _ticks_of_frame(stream) * clock.tick_bytes
    found: Counter[int] = Counter()
    odd: Counter[int] = Counter()
    surplus = dict.fromkeys(usual, Fraction(0))
    if usual:
        left = _MOST_BYTES
        with contextlib.suppress(av.error.FFmpegError):  # told where the file is read to its end
            for packet in itertools.islice(container.demux(), _MOST_PACKETS):
                index = packet.stream_index
                if packet.size and index in usual:
                    found[index] += 1
                    beyond = packet.size - usual[index]
                    if abs(beyond) > _PADDING:
                        odd[index] += 1
                    else:
                        surplus[index] += beyond
                left -= packet.size
                if left < 0:
                    break
    return frozenset(
        index
        for index in found
        if odd[index] > found[index] * _MOST_ODD or abs(surplus[index]) > _PADDING
    )


class FrameCount:
    """Times a track's packets, each of which is a frame, by how many there were before."""

    def __init__(self, stream: Any) -> None:
        self._length = _ticks_of_frame(stream)
        self._frames = 0
        self._first: int | None = None

    def place(self, packet: av.Packet[Any]) -> None:
        """Have the track's next packet begin where the one before ends."""
        if not packet.size:
            return
        if self._first is None:
            self._first = packet.pts or 0
        start, end = (round(n * self._length) for n in (self._frames, self._frames + 1))
        packet.pts = packet.dts = self._first + start
        packet.duration = end - start
        self._frames += 1


def _ticks_of_frame(stream: Any) -> Fraction:
    seconds = Fraction(_samples_of_frame(stream), stream.codec_context.sample_rate)
    return seconds / Fraction(stream.time_base)


def _samples_of_frame(stream: Any) -> int:
    """Return how many samples each of a stream's packets holds; 0 where that is not known."""
    context = stream.codec_context
    is_ac3 = context.codec.canonical_name == "ac3"
    return _AC3_SAMPLES if is_ac3 else int(context.frame_size)


def set_bit_rates(kept: Sequence[Any], streams: Mapping[int, Any], original: Path) -> None:
    """Have FFmpeg's AVI muxer count the time of ADPCM as the original does."""
    clocks = _clocks_of(original)
    for stream in kept:
        if stream.codec_context.name.startswith("adpcm_") and stream.index < len(clocks):
            # It goes by the bit rate, which some encoders state far too low or too high: two
            # blocks may have one time then, or the sound comes out at another speed.
            bit_rate = round(8 * clocks[stream.index].tick_bytes / stream.time_base)
            if 0 < bit_rate <= _LARGEST_BIT_RATE:
                streams[stream.index].codec_context.bit_rate = bit_rate


def state_clocks(
    kept: Sequence[Any], packets: Mapping[int, int], original: Path, copy: Path
) -> None:
    """
    Correct the clocks of sound of which each chunk is a tick.

    Args:
        kept: streams of the original, in the order of the copy.
        packets: how many were copied, by the original's stream index.
        copy: the finished file.

    Raises:
        OSError: it cannot be written.
    """
    before, after = _clocks_of(original), _clocks_of(copy)
    if completeness(original).is_truncated:
        before = [replace(clock, length=0) for clock in before]  # is not that long any more
    with copy.open("r+b") as file:
        for stream, muxed in zip(kept, after, strict=True):
            if stream.type != "audio" or stream.index >= len(before):
                continue
            count = packets[stream.index]
            clock = _chunk_clock(stream.codec_context, before[stream.index], muxed, count)
            if clock is not None:
                state_chunk_clock(file, clock)


def _chunk_clock(
    context: Any, original: StreamClock, muxed: StreamClock, packets: int
) -> StreamClock | None:
    """Return the clock to state; None where ticks stand for bytes."""
    if context.codec.canonical_name in _IN_FRAMES:
        return replace(muxed, length=packets)
    if original.tick_bytes == 0:
        # There may be empty chunks between packets, as of Vorbis, which lasts several ticks.
        length = max(packets, original.length)
        return replace(muxed, scale=original.scale, rate=original.rate, length=length)
    return None


def _clocks_of(path: Path) -> list[StreamClock]:
    with path.open("rb") as file:
        return stream_clocks(file)
