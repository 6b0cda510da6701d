"""
Which times of a track's blocks of sound count, and which only jitter about the samples.

Whoever notes when a block came in, as apps that record a phone's screen and live streams do, is off
by some tens of milliseconds, now late and now early; so are the times that HandBrake gives Vorbis,
whose blocks are of several lengths. Players play on. Filling each such pause with silence, and
cutting away each overlap, leaves little of the sound whole. Where a piece is missing, all that
follows is late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.timeline import AUDIO_JITTER

# Seconds for which all times have to be off in one direction: jitter comes back sooner.
_LASTING = Fraction(1, 4)
_MOST_WAITING = 64  # as of sound with pauses between all its blocks
# Seconds between them: blocks that are off so differently do not jitter, but crowd behind a pause.
_WIDEST = Fraction(1, 2)


@dataclass(frozen=True)
class Block:
    """Samples, (channels, n) float32, and the second they begin at; None: after those before."""

    time: Fraction | None
    samples: NDArray[np.float32]


class Settler:
    """Holds back blocks whose times are off until it shows whether they stay so."""

    def __init__(self, sample_rate: int) -> None:
        """
        Args:
            sample_rate: in Hz.
        """
        self._rate = sample_rate
        self._waiting: list[Block] = []
        self._end: Fraction | None = None  # of what was given out

    def settled(self, block: Block) -> Iterator[Block]:
        """Take the next block and yield those, in order, whose place is known."""
        self._waiting.append(block)
        yield from self._placed(is_last=False)

    def finish(self) -> Iterator[Block]:
        """Yield the rest: what is off at the end stays so."""
        yield from self._placed(is_last=True)

    def _placed(self, *, is_last: bool) -> Iterator[Block]:
        while self._waiting:
            offsets = self._offsets()
            first = offsets.get(0)
            if first is None or abs(first) <= AUDIO_JITTER:
                yield self._given_out(self._waiting[0].time)
                continue
            back = _first_back(offsets, is_late=first > 0)
            if back is not None:
                yield from (self._given_out(None) for _ in range(back))
            elif is_last or self._is_lasting():
                yield self._given_out(self._least_moved(first, offsets))
            else:
                return

    def _offsets(self) -> dict[int, Fraction]:
        """Return, by place, how much later than their samples' turn those begin that say when."""
        offsets: dict[int, Fraction] = {}
        turn = self._end
        for place, block in enumerate(self._waiting):
            if turn is None:
                break
            if block.time is not None:
                offsets[place] = block.time - turn
            turn += self._length(block)
        return offsets

    def _least_moved(self, first: Fraction, offsets: Mapping[int, Fraction]) -> Fraction:
        """Return when the first that waits begins: by its own time, unless that jitters."""
        assert self._end is not None  # else nothing is off
        least = min(offsets.values(), key=abs)
        return self._end + (least if AUDIO_JITTER < abs(first - least) <= _WIDEST else first)

    def _is_lasting(self) -> bool:
        times = [block.time for block in self._waiting if block.time is not None]
        return len(self._waiting) >= _MOST_WAITING or times[-1] - times[0] >= _LASTING

    def _given_out(self, time: Fraction | None) -> Block:
        """Take the first that waits out, to begin at a time; at its turn for None."""
        block = self._waiting.pop(0)
        start = self._end
        if time is not None and (start is None or abs(time - start) > AUDIO_JITTER):
            start = time
        self._end = None if start is None else start + self._length(block)
        return replace(block, time=time)

    def _length(self, block: Block) -> Fraction:
        return Fraction(block.samples.shape[1], self._rate)


def _first_back(offsets: Mapping[int, Fraction], *, is_late: bool) -> int | None:
    """Return the place of the first that is off no more, or in the other direction."""
    direction = 1 if is_late else -1
    places = (place for place, offset in offsets.items() if offset * direction <= AUDIO_JITTER)
    return next(places, None)
