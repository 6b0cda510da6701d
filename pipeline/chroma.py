"""
Where the chroma samples of a 4:2:0 picture lie between those of luma.

FFmpeg knows it of every stream, whichever codec, but PyAV 18.1 does not tell. FFmpeg's Matroska
muxer writes it into a track's header, though: so one is written, into memory, and read.

Source: RFC 9559 (ChromaSitingHorz, ChromaSitingVert).
"""

from __future__ import annotations

import io
from typing import Any

import av
import av.error

from pipeline.elements import walk_elements
from pipeline.parts import payload_of

# FFmpeg's numbers.
UNSPECIFIED, LEFT, CENTRE, TOP_LEFT, TOP = range(5)
# By Matroska's two: 1 is at the left or upper sample of luma, 2 halfway to the next.
_LOCATION = {(1, 2): LEFT, (2, 2): CENTRE, (1, 1): TOP_LEFT, (2, 1): TOP}
# Codecs that FFmpeg's Matroska muxer does not take: what their decoders say of every picture.
_OF_CODEC = {"dvvideo": TOP_LEFT, "h263": CENTRE}


def chroma_location(stream: Any) -> int:
    """
    Return FFmpeg's number for where the chroma of an opened file's video stream lies.

    `UNSPECIFIED` too where Matroska has no word for it (below luma) or does not take the codec.
    """
    if stream.codec_context.name in _OF_CODEC:
        return _OF_CODEC[stream.codec_context.name]
    header = io.BytesIO()
    try:
        with av.open(header, "w", format="matroska") as container:
            container.add_stream_from_template(stream, opaque=True)
            container.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return UNSPECIFIED
    sitings = {
        element.kind: int.from_bytes(payload_of(header, element))
        for element in walk_elements(header)
        if element.kind.startswith("ChromaSiting")
    }
    place = sitings.get("ChromaSitingHorz", 0), sitings.get("ChromaSitingVert", 0)
    return _LOCATION.get(place, UNSPECIFIED)
