"""
In which order a track's channels lie: read without harm, and brought into the usual one.

A QuickTime file may name the speaker of each channel, so that they lie in any order. FFmpeg
keeps such a list in memory of its own, which PyAV 18.1 copies by its address and frees with
every copy: reading such a layout, or decoding into one, corrupts the heap. So a context is
made to forget its list before anything is decoded, and the blocks are sorted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph

# FFmpeg's order of speakers; whatever has no list of its own has its channels in it.
_USUAL_ORDER = (
    "FL FR FC LFE BL BR FLC FRC BC SL SR TC TFL TFC TFR TBL TBC TBR DL DR WL WR SDL SDR LFE2"
    " TSL TSR BFC BFL BFR SSL SSR TTL TTR"
)
# PyAV cuts longer ones off, as of twenty-odd speakers in no layout that has a name.
_LONGEST_NAME = 128
_PLACE = {speaker: place for place, speaker in enumerate(_USUAL_ORDER.split())}


@dataclass(frozen=True)
class Channels:
    """
    What a file says of a track's channels.

    Attributes:
        layout: FFmpeg's name for the speakers in their usual order.
        order: for each channel of `layout` its place in the file; None where they lie so.
        unkept: speakers that the file names and that no layout can, such as one that is there
            twice; `layout` then only counts.
    """

    count: int
    layout: str
    order: tuple[int, ...] | None = None
    unkept: str | None = None


def settle(context: Any) -> Channels:
    """
    Return the channels of a context that is not open yet, and make it safe to read and decode.

    Where they lie in an order of their own, decoded blocks afterwards only count them, unless
    the codec itself knows better: see `ChannelSorter`.
    """
    layout = context.layout  # its list, if there is one, is now the context's and this one's
    if not layout.nb_channels:
        return Channels(0, layout.name)
    channels = _described(layout)
    is_counted = channels.order is not None or channels.unkept is not None
    # The context takes on a layout without a list, and does not free the one that it had:
    # `layout` does, as the only one that is left.
    context.layout = _counted(channels.count) if is_counted else channels.layout
    return channels


class ChannelSorter:
    """Brings one track's decoded blocks into the usual order."""

    def __init__(self, layout: str, order: tuple[int, ...] | None) -> None:
        """
        Args:
            layout, order: as of `Channels`.
        """
        self._layout = layout
        self._order = order
        self._graph: Graph | None = None
        self._kind: tuple[str, int] | None = None  # of the blocks that the graph takes

    def sorted(self, frame: av.AudioFrame) -> av.AudioFrame:
        """Return the same samples with their channels in the usual order."""
        if self._order is None or frame.layout.name != _counted(len(self._order)):
            return frame  # nothing to do, or the codec told its decoder where each belongs
        kind = (frame.format.name, frame.sample_rate)
        if self._graph is None or kind != self._kind:
            self._graph, self._kind = self._new_graph(self._order, *kind), kind
        pts, time_base = frame.pts, frame.time_base
        self._graph.push(frame)
        done = self._graph.pull()
        assert isinstance(done, av.AudioFrame)
        done.pts, done.time_base = pts, time_base
        return done

    def _new_graph(self, order: tuple[int, ...], sample_format: str, rate: int) -> Graph:
        graph = Graph()
        source = graph.add_abuffer(
            sample_rate=rate,
            format=sample_format,
            layout=_counted(len(order)),
            time_base=Fraction(1, rate),
        )
        places = "|".join(str(place) for place in order)
        sort = graph.add("channelmap", map=places, channel_layout=self._layout)
        source.link_to(sort)
        sort.link_to(graph.add("abuffersink"))
        graph.configure()
        return graph


def _described(layout: av.AudioLayout) -> Channels:
    count, name = layout.nb_channels, layout.name
    if " (" not in name and "+" not in name:  # no list of speakers
        return Channels(count, name)
    speakers = [channel.name for channel in layout.channels]
    usual = _in_usual_order(speakers)
    name = av.AudioLayout("+".join(usual)).name if usual else ""
    if not usual or len(name) >= _LONGEST_NAME:
        return Channels(count, _counted(count), unkept="+".join(speakers))
    order = None if usual == speakers else tuple(speakers.index(s) for s in usual)
    return Channels(count, name, order)


def _in_usual_order(speakers: list[str]) -> list[str]:
    """Return the speakers sorted; none of them where one is unknown or there twice."""
    if len(set(speakers)) < len(speakers) or not _PLACE.keys() >= set(speakers):
        return []
    return sorted(speakers, key=_PLACE.__getitem__)


def _counted(channels: int) -> str:
    """Return FFmpeg's name for so many channels of which nothing else is known."""
    return f"{channels} channels"
