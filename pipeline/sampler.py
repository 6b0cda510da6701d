"""Keep a few original pictures, spread over a video whose length nobody knows yet."""

from __future__ import annotations

from pipeline.planes import Planes

_MOST_PICTURES = 12
_MOST_BYTES = 20 << 20


class Sampler:
    """
    Keeps every n-th picture; whenever there are too many, every second one goes.

    Memory is bounded: at most 12 pictures, fewer of large ones, and never under 2.
    """

    def __init__(self) -> None:
        self._pictures: dict[int, Planes] = {}
        self._stride = 1

    @property
    def pictures(self) -> dict[int, Planes]:
        """The kept pictures, by frame number."""
        return self._pictures

    def offer(self, index: int, picture: Planes) -> None:
        """Consider the picture of frame `index`; it is copied if kept."""
        if index % self._stride:
            return
        self._pictures[index] = picture.copy()
        size = sum(plane.nbytes for plane in picture)
        if len(self._pictures) > max(2, min(_MOST_PICTURES, _MOST_BYTES // size)):
            self._stride *= 2
            self._pictures = {i: p for i, p in self._pictures.items() if not i % self._stride}
