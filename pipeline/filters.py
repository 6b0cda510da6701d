"""FFmpeg's filters for pictures, by which PyAV does what its frames cannot be asked or told."""

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
