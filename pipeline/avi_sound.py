"""
Have a copied AVI count the time of its sound as the original does.

A header states how long a tick is, and how many bytes a tick stands for: none where each chunk is
a tick. FFmpeg's AVI muxer goes by the block size in both, which most codecs state as they like.
It is not to be told of another one through PyAV, so the finished file is corrected in place.

Source: OpenDML AVI 1.02; dwScale, dwRate, dwLength and dwSampleSize of AVISTREAMHEADER.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.boxes import completeness
from pipeline.chunks import StreamClock, state_chunk_clock, stream_clocks

_LARGEST_BIT_RATE = (1 << 31) - 1  # that the muxer can count with
# FFmpeg cuts these into frames, whatever the chunks were, and its muxer has a frame's length for
# a tick.
_IN_FRAMES = frozenset({"mp1", "mp2", "mp3", "ac3", "aac"})


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
