"""
The header that AAC has in each packet of MPEG-TS: where it changes, no other container follows.

MP4 and Matroska state once, for the whole track, how many channels there are and how fast; a
decoder is silent where the packets say otherwise.

Source: ISO/IEC 13818-7, 6.2 (adts_fixed_header).
"""

from __future__ import annotations

from typing import Any

import av

_SYNC, _SYNC_MASK = 0xFFF0, 0xFFF6
# Profile, sampling rate and channels, without the private bit between.
_STATED_MASK = 0xFDC0


def stated_format(packet: av.Packet[Any]) -> int | None:
    """Return a number for the format that a packet's header states; None without a header."""
    head = bytes(memoryview(packet)[:4])
    if len(head) < 4 or int.from_bytes(head[:2]) & _SYNC_MASK != _SYNC:
        return None
    return int.from_bytes(head[2:]) & _STATED_MASK
