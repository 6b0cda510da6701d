"""
Which way each band of speech is changed so that recognisers of speech misread it.

A direction for each window and band: from -1, lowered by as much as is masked, to 1, raised by as
much. A director finds them (`generator`, `gradient`) in sound of one rate and in stretches of one
length; here they are asked for as a track goes by, and brought to its own windows and bands.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.masking import OVERLAP, HearingModel, hearing_model
from pipeline.speech import RATE, Resampler

Samples = NDArray[np.float32]  # (channels, n), full scale is 1
Directions = NDArray[np.float32]  # (windows, bands), -1 to 1


@dataclass(frozen=True)
class Stretch:
    """
    What a director is asked about: windows of `hearing_model(RATE)`, one per hop.

    Attributes:
        samples: (channels, n) at `RATE`.
        openness: (windows,) of the gate for speech; 0 in what is there for its context.
        quietest: as of `HearingModel.threshold`.
    """

    samples: Samples
    openness: Samples
    quietest: float


class Director(Protocol):
    """
    Finds directions.

    Attributes:
        blocks: how many blocks of a track it is asked about at once.
        reach: windows to each side of these that it is given as well.
        ratio_db: noise-to-mask ratio of speech that is changed along its directions by as much as
            is masked.
    """

    @property
    def blocks(self) -> int: ...

    @property
    def reach(self) -> int: ...

    @property
    def ratio_db(self) -> float: ...

    def __call__(self, stretch: Stretch) -> Directions:
        """Return (windows - 2 `reach`, bands) directions."""


@dataclass(frozen=True)
class Directed:
    """
    A block of a track, with what is to become of it.

    Attributes:
        samples: (channels, n).
        openness: (windows,) how far the gate for speech stands open at each window's centre.
        directions: for the same windows; None where the gate is shut.
    """

    samples: Samples
    openness: Samples
    directions: Directions | None


class Misleader:
    """
    Has directions found for one track, in a stream.

    A block is given out when those that its director is asked about with it have been heard, and
    what follows them as far as that looks.
    """

    def __init__(self, sample_rate: int, channels: int, director: Director) -> None:
        self._director = director
        self._heard = _Heard(sample_rate, channels, director.reach)
        self._spread = _Spread(hearing_model(sample_rate))
        self._waiting: deque[tuple[Samples, Samples, NDArray[np.int64]]] = deque()

    def push(
        self, samples: Samples, openness: Samples, centres: NDArray[np.int64], quietest: float
    ) -> Iterator[Directed]:
        """
        Take the next block and yield those that are ready.

        Args:
            samples: (channels, n).
            openness: (windows,) of the gate.
            centres: (windows,) places of the windows, in samples of the track, rising.
            quietest: as of `HearingModel.threshold`.
        """
        self._heard.push(samples)
        self._waiting.append((samples, openness, centres))
        count = self._director.blocks
        if len(self._waiting) >= count and self._heard.reaches(self._waiting[count - 1][2][-1]):
            yield from self._directed([self._waiting.popleft() for _ in range(count)], quietest)

    def _directed(
        self, blocks: list[tuple[Samples, Samples, NDArray[np.int64]]], quietest: float
    ) -> Iterator[Directed]:
        openness = np.concatenate([block[1] for block in blocks])
        centres = np.concatenate([block[2] for block in blocks])
        found: list[Directions | None] = [None] * len(blocks)
        if openness.any():
            places, stretch = self._heard.stretch(centres, openness, quietest)
            directions = self._spread(self._director(stretch))
            found = list(np.split(_between(directions, places), len(blocks)))
        self._heard.forget_before(centres[-1])
        for (samples, opened, _), part in zip(blocks, found, strict=True):
            yield Directed(samples, opened, part)


class _Heard:
    """The sound at a director's rate. Window w has its centre at w hops, and two to each side."""

    def __init__(self, sample_rate: int, channels: int, reach: int) -> None:
        self._hop = hearing_model(RATE).hop
        self._resampler = Resampler(sample_rate, channels)
        self._windows_per_sample = float(self._resampler.ratio / self._hop)
        self._reach = reach
        # Silence before the start.
        self._first = -(reach + OVERLAP)  # hop of the first sample
        self._samples = np.zeros((channels, -self._first * self._hop), np.float32)

    def push(self, samples: Samples) -> None:
        self._samples = np.concatenate([self._samples, self._resampler.push(samples)], axis=1)

    def reaches(self, centre: int) -> bool:
        """Whether all is known that tells the directions at a place of the track."""
        end = self._end(math.floor(centre * self._windows_per_sample) + 1)
        return self._samples.shape[1] >= end * self._hop

    def stretch(
        self, centres: NDArray[np.int64], openness: Samples, quietest: float
    ) -> tuple[NDArray[np.float64], Stretch]:
        """Return the places of `centres` among the director's answers, and what it is asked."""
        places = centres * self._windows_per_sample
        first, last = math.floor(places[0]), math.floor(places[-1]) + 1
        samples = self._samples[:, self._start(first) * self._hop : self._end(last) * self._hop]
        windows = np.arange(first - self._reach, last + self._reach + 1)
        opened = np.interp(windows, places, openness, left=0, right=0).astype(np.float32)
        return places - first, Stretch(samples, opened, quietest)

    def forget_before(self, centre: int) -> None:
        """Forget what no directions at or after a place of the track depend on."""
        spare = self._start(math.floor(centre * self._windows_per_sample))
        if spare > 0:
            self._samples = self._samples[:, spare * self._hop :]
            self._first += spare

    def _start(self, window: int) -> int:
        """Return the hop, of those that are kept, at which its first sample lies."""
        return window - self._reach - OVERLAP // 2 - self._first

    def _end(self, window: int) -> int:
        return window + self._reach + OVERLAP // 2 - self._first


class _Spread:
    """From a director's bands to those of a track; 0 above what it hears."""

    def __init__(self, model: HearingModel) -> None:
        theirs = hearing_model(RATE).centres
        places = np.interp(model.centres, theirs, np.arange(len(theirs)))
        self._lower = np.minimum(places.astype(np.intp), len(theirs) - 2)
        self._share = (places - self._lower).astype(np.float32)
        self._heard = (model.centres <= RATE / 2).astype(np.float32)

    def __call__(self, directions: Directions) -> Directions:
        lower, upper = directions[:, self._lower], directions[:, self._lower + 1]
        return (lower + (upper - lower) * self._share) * self._heard


def _between(rows: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the rows at fractional places."""
    lower = places.astype(np.intp)
    share = (places - lower).astype(np.float32)[:, None]
    return rows[lower] + (rows[lower + 1] - rows[lower]) * share
