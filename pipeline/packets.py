"""What packets say without being decoded, and packets made anew: PyAV lets nobody write to them."""

from __future__ import annotations

from typing import Any

import av

from pipeline.timeline import JoinedClock


def packet_like(packet: av.Packet[Any], data: bytes) -> av.Packet[Any]:
    """Return a packet with other data at the same time."""
    copy: av.Packet[Any] = av.Packet(data)
    copy.time_base = packet.time_base
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.is_keyframe = packet.is_keyframe
    return copy


def show_when_decoded(packet: av.Packet[Any]) -> None:
    """Have what a packet says of its decoding be said of its display."""
    packet.pts, packet.dts = packet.dts, None


def repeats_picture(packet: av.Packet[Any]) -> bool:
    """Whether it is one of Theora's that hold nothing: the picture before is shown on."""
    # What flushes a decoder has no place in memory.
    is_empty = not packet.size and packet.buffer_ptr != 0
    return is_empty and packet.stream.codec_context.name == "theora"


def keep_joined(packet: av.Packet[Any], clock: JoinedClock) -> None:
    """
    Have a packet of sound stay with the picture where the file's clock starts anew.

    Args:
        clock: of the packet's track, in its ticks.
    """
    if packet.is_discard:
        return  # what decoders need before a place that an edit list jumps to goes back in time
    at = packet.dts if packet.pts is None else packet.pts
    shift = round(clock.shift(at, packet.duration or 0))
    if shift:
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
