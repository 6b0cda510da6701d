"""
TTA in Matroska: how many samples there are is told by nothing but the file's length.

FFmpeg takes the last packet to last as long as every other, more than a second. A copy that goes
by it lasts longer than its original, and the decoder looks in that packet for samples that are
not there, and loses it.

Source: Matroska codec specifications, A_TTA1.
"""

from __future__ import annotations

import math
from typing import Any

import av

from pipeline.probe import stated_end


def end_tick(stream: Any) -> int | None:
    """Return the tick at which a stream of TTA ends with its file; None for any other stream."""
    is_tta = stream.codec_context is not None and stream.codec_context.name == "tta"
    end = stated_end(stream.container) if is_tta else None
    return None if end is None else math.floor(end / stream.time_base)


def end_with_file(packet: av.Packet[Any], end: int) -> None:
    """Shorten a packet that would last beyond the tick `end`."""
    if packet.pts is not None and packet.duration and packet.pts < end:
        packet.duration = min(packet.duration, end - packet.pts)
