"""
TTA in Matroska: how many samples there are is told by nothing but the file's length.

FFmpeg takes the last packet to last as long as every other, more than a second. A copy that goes
by it lasts longer than its original, and the decoder looks in that packet for samples that are
not there, and loses it.

Source: Matroska codec specifications, A_TTA1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import av

from pipeline.probe import stated_end


def stated_ends(streams: Mapping[int, Any]) -> dict[int, int]:
    """Return the tick at which the file ends for each of its streams of TTA, by their index."""
    return {
        index: math.floor(end / stream.time_base)
        for index, stream in streams.items()
        if stream.codec_context.name == "tta" and (end := stated_end(stream.container))
    }


def end_with_file(packet: av.Packet[Any], end: int) -> None:
    """Shorten a packet that would last beyond the tick `end`."""
    if packet.pts is not None and packet.duration and packet.pts < end:
        packet.duration = min(packet.duration, end - packet.pts)
