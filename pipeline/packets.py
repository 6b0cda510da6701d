"""Packets made anew, since PyAV lets nobody write to those that there are."""

from __future__ import annotations

from typing import Any

import av


def packet_like(packet: av.Packet[Any], data: bytes) -> av.Packet[Any]:
    """Return a packet with other data at the same time."""
    copy: av.Packet[Any] = av.Packet(data)
    copy.time_base = packet.time_base
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.is_keyframe = packet.is_keyframe
    return copy
