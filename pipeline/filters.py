"""FFmpeg's filters for pictures: what PyAV's frames cannot be asked or told, they can."""

from __future__ import annotations

from fractions import Fraction

import av
from av.filter import Graph

_ANY_CLOCK = Fraction(1, 1000)


def picture_graph(frame: av.VideoFrame, *filters: tuple[str, str]) -> Graph:
    """
    Return a graph for frames of the size, format and time base of this one.

    Args:
        filters: names and arguments, in the order in which a frame goes through them.
    """
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or _ANY_CLOCK,
    )
    steps = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(source, *steps, graph.add("buffersink")).configure()
    return graph


class PictureFilter:
    """Takes frames through one filter, one by one, of whatever kind each is."""

    def __init__(self, name: str, arguments: str = "") -> None:
        self._filter = name, arguments
        self._graph: Graph | None = None
        self._kind: tuple[object, ...] = ()  # of the frames that the graph takes

    def filtered(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return what comes of a frame, at the same time."""
        kind = (frame.format.name, frame.width, frame.height, frame.time_base)
        if self._graph is None or kind != self._kind:
            self._graph, self._kind = picture_graph(frame, self._filter), kind
        pts, time_base = frame.pts, frame.time_base
        self._graph.push(frame)
        done = self._graph.pull()
        assert isinstance(done, av.VideoFrame)
        done.pts, done.time_base = pts, time_base
        return done
