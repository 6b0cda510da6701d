"""
Closed captions inside a video stream: CEA-608 and CEA-708, which lie beside the pictures.

They are subtitles, and stay. What the second field may hold besides (XDS: names of programme
and station, time of day) is metadata, and goes.

Source: ATSC A/53 part 4, 6.2.3 (`cc_data`); ITU-T T.35; CEA-608-E, section 9 (XDS).
"""

from __future__ import annotations

from collections.abc import Iterator

import av

from pipeline.media import VideoTrack
from pipeline.picture_track import side_data_of
from pipeline.sidedata import beside

# Whose decoders tell of captions.
_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "av1"})
_KIND = "A53_CC"
_PARITY = 0x80
_FILLING = bytes((_PARITY, _PARITY))
# A triplet's lowest bits: it counts; and is the second field's of CEA-608.
_COUNTS, _SECOND_FIELD = 0b100, 0b101
_XDS_END = 0x0F
_COMMANDS = range(0x10, 0x20)  # of captions, which interrupt XDS
_MOST_TRIPLETS = 31
# Country and provider of T.35, ATSC's identifier, and its type of captions.
_ATSC_CAPTIONS = b"\xb5\x00\x31GA94\x03"
_HAS_TRIPLETS = 0x40


class CaptionReader:
    """Reads one video's captions, frame by frame in the order in which they are shown."""

    def __init__(self, track: VideoTrack) -> None:
        self._may_have = track.codec in _CODECS
        self._has_at_first = track.has_captions
        self._is_in_xds = False

    def read(self, frame: av.VideoFrame) -> bytes:
        """Return the frame's `cc_data`: triplets of a kind and two bytes; mostly empty."""
        return self._without_xds(self._triplets(frame)) if self._may_have else b""

    def _triplets(self, frame: av.VideoFrame) -> bytes:
        try:
            found = beside(frame)
        except ValueError:  # a kind that PyAV has no name for; to go around it takes 2 ms
            return side_data_of(frame).get(_KIND, b"") if self._has_at_first else b""
        return bytes(found.get(_KIND) or b"")

    def _without_xds(self, triplets: bytes) -> bytes:
        kept = bytearray(triplets)
        for at in range(0, len(kept) - 2, 3):
            if not kept[at] & _COUNTS:
                kept[at + 1 : at + 3] = bytes(2)  # nobody is shown it
            if kept[at] & 0b111 != _SECOND_FIELD:
                continue
            first = kept[at + 1] & ~_PARITY
            if first in _COMMANDS:
                self._is_in_xds = False
            elif 0 < first <= _XDS_END:
                self._is_in_xds = True
            if self._is_in_xds:
                kept[at + 1 : at + 3] = _FILLING
                self._is_in_xds = first != _XDS_END
        return bytes(kept)


def registered_messages(triplets: bytes) -> Iterator[bytes]:
    """Yield the payloads of SEI messages (user_data_registered_itu_t_t35) that hold captions."""
    size = 3 * _MOST_TRIPLETS
    for start in range(0, len(triplets), size):
        piece = triplets[start : start + size]
        yield _ATSC_CAPTIONS + bytes((_HAS_TRIPLETS | len(piece) // 3, 0)) + piece + b"\xff"
