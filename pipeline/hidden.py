"""
Packets of a copied track that the original's edit list hides.

An editor that cuts an MP4 or QuickTime file without encoding it anew leaves the packets there and
has the edit list pass over them; FFmpeg's demuxer marks those. A copy has an edit list of its
own, which FFmpeg's muxer writes: it begins at zero, so what lies before stays hidden, and passes
over nothing else. Whatever else is hidden has to be left out, or it would be seen and heard again.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import av

from pipeline.errors import UnsupportedMedia
from pipeline.output import MP4_MUXERS
from pipeline.timeline import MOST_REORDERED

# FFmpeg's demuxer gives a second of preroll before the first sound that is heard.
_MOST_PREROLL = 1000


class HiddenPackets:
    """Leaves out hidden packets of a track of sound or subtitles, but for what decoders need."""

    def __init__(self, kind: str, container: str) -> None:
        """
        Args:
            kind: of the track: audio or subtitle.
            container: that is written, as FFmpeg names its muxer.
        """
        self._hides_start = container in MP4_MUXERS
        self._has_begun = False
        self._before: deque[av.Packet[Any]] = deque(maxlen=_MOST_PREROLL if kind == "audio" else 0)

    def kept(self, packet: av.Packet[Any]) -> list[av.Packet[Any]]:
        """Return what is to be written now, in order; times are the copy's."""
        if not packet.is_discard:
            before = [] if self._has_begun else self._needed_before(packet)
            self._has_begun = True
            return [*before, packet]
        if not self._has_begun:
            self._before.append(packet)
        return []

    def _needed_before(self, first: av.Packet[Any]) -> list[av.Packet[Any]]:
        before = list(self._before)
        self._before.clear()
        if self._hides_start and (first.pts or 0) < max(1, first.duration or 0):
            return before  # the track begins at zero: they stay hidden
        # One is heard, as where the original's is AAC's priming, which decoders need.
        return before[-1:]


class HiddenPictures:
    """
    Leaves out hidden packets at the end of a video track.

    Attributes:
        shown: packets of pictures that are shown.
        has_hidden_end: pictures after the end are written all the same, since some that are shown
            earlier need them.
    """

    def __init__(self, name: str) -> None:
        """
        Args:
            name: of the file.
        """
        self.shown = 0
        self.has_hidden_end = False
        self._name = name
        self._start: int | None = None
        self._end = 0
        self._held: list[av.Packet[Any]] = []
        self._is_cut = False

    @property
    def length(self) -> int:
        """Ticks from the first picture that is shown to the end of the last."""
        return self._end - (self._start or 0)

    def kept(self, packet: av.Packet[Any]) -> list[av.Packet[Any]]:
        """
        Return what is to be written now, in order.

        Raises:
            UnsupportedMedia: the edit list joins parts, and needs what is hidden between them;
                or what is hidden in front would not come before zero.
        """
        pts = packet.pts or 0
        if not packet.is_discard:
            return self._now_shown(packet, pts)
        if self._start is None:
            self._is_cut |= pts >= 0
            return [packet]
        if pts < self._start and not packet.is_keyframe:
            return [packet]  # shown before the first one, decoded after it
        if len(self._held) == MOST_REORDERED:
            self._is_cut = True
        else:
            self._held.append(packet)
        return []

    def _now_shown(self, packet: av.Packet[Any], pts: int) -> list[av.Packet[Any]]:
        if self._is_cut or any(pts >= (held.pts or 0) for held in self._held):
            raise UnsupportedMedia(
                f"{self._name} is cut by its edit list where a copy of its packets cannot be; use"
                " mode: protect."
            )
        ready, self._held = [*self._held, packet], []
        self.has_hidden_end |= len(ready) > 1
        self.shown += packet.size > 0  # not one that only repeats the picture before
        self._start = pts if self._start is None else min(self._start, pts)
        self._end = max(self._end, pts + (packet.duration or 0))
        return ready
