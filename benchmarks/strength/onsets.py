"""
What the ear hears before and between sounds: a change ahead of an onset, and in silence.

Measured on samples as the protection gives them out; a codec adds a spread and a noise of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]  # (channels, n), full scale is 1

_STEP = 0.005  # s; the places where an onset may be looked for
_BEFORE_STEPS, _AFTER_STEPS = 4, 2
_LEAST_RISE_DB = 10.0
_QUIETEST_DB = -30.0  # of an onset, against the stretch's loudest 10 ms
_APART_STEPS = 20
_SILENCE_SECONDS = 0.010  # shorter runs of zeros are quiet sound
# Stand for hardly any change, and for a change where the original has hardly anything.
_NOTHING_DB, _ALL_DB = -60.0, 60.0


@dataclass(frozen=True)
class BeforeOnsets:
    """
    Level of the change against the original's, in the 20 ms before each onset, dB.

    Attributes:
        mean_db: of the energies of all of them; -60 stands for that and for less.
        worst_db: of the onset where it is greatest.
        count: onsets.
    """

    mean_db: float
    worst_db: float
    count: int


def before_onsets(original: Samples, changed: Samples, rate: int) -> BeforeOnsets | None:
    """
    Return how loud the change is just before onsets; None where there is no onset.

    Args:
        original, changed: of one shape.
        rate: Hz.
    """
    step = round(_STEP * rate)
    places = onsets(original, rate)
    if not places:
        return None
    before = [slice(place - _BEFORE_STEPS * step, place) for place in places]
    change = np.subtract(changed, original, dtype=np.float64)
    added = np.array([_energy(change[:, part]) for part in before])
    there = np.array([_energy(original[:, part]) for part in before])
    pairs = zip(added, there, strict=True)
    return BeforeOnsets(
        _ratio_db(added.sum(), there.sum()), max(_ratio_db(*pair) for pair in pairs), len(places)
    )


def onsets(original: Samples, rate: int) -> list[int]:
    """
    Return where sound sets in, as sample numbers.

    An onset is where 10 ms are at least 10 dB above the 20 ms before, and no more than 30 dB
    below the loudest 10 ms; within 100 ms only the steepest counts.
    """
    step = round(_STEP * rate)
    steps = original.shape[1] // step
    energy = np.square(original[:, : steps * step], dtype=np.float64)
    levels = energy.reshape(len(original), steps, step).sum(axis=(0, 2))
    sums = np.concatenate([[0.0], np.cumsum(levels)])
    places = np.arange(_BEFORE_STEPS, steps - _AFTER_STEPS + 1)
    after = (sums[places + _AFTER_STEPS] - sums[places]) / _AFTER_STEPS
    before = (sums[places] - sums[places - _BEFORE_STEPS]) / _BEFORE_STEPS
    loud = after > after.max(initial=0.0) * 10 ** (_QUIETEST_DB / 10)
    rise = np.where(loud, after / np.maximum(before, 1e-12), 0.0)
    return [int(places[at]) * step for at in _peaks(rise, 10 ** (_LEAST_RISE_DB / 10))]


def silence_changed(original: Samples, changed: Samples, rate: int) -> float | None:
    """
    Return which share of the digitally silent samples is not exactly silent any more.

    Silent are runs of exact zeros on all channels that last 10 ms; None where there are none.
    """
    zero = ~original.any(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], zero, [False]]).astype(int)))
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    parts = [slice(a, b) for a, b in runs if b - a >= _SILENCE_SECONDS * rate]
    if not parts:
        return None
    moved = sum(int(changed[:, part].any(axis=0).sum()) for part in parts)
    return moved / sum(part.stop - part.start for part in parts)


def with_pause(samples: Samples, rate: int, seconds: float = 0.3) -> Samples:
    """Return the samples with a digitally silent pause in the middle."""
    middle = samples.shape[1] // 2
    pause = np.zeros((len(samples), round(seconds * rate)), np.float32)
    return np.concatenate([samples[:, :middle], pause, samples[:, middle:]], axis=1)


def _peaks(rise: NDArray[np.float64], least: float) -> list[int]:
    """Return the places of the greatest values, in order, none near another."""
    found: list[int] = []
    for at in np.argsort(rise)[::-1]:
        if rise[at] < least:
            break
        if all(abs(at - other) >= _APART_STEPS for other in found):
            found.append(int(at))
    return sorted(found)


def _energy(samples: NDArray[np.float32] | NDArray[np.float64]) -> float:
    return float(np.square(samples, dtype=np.float64).sum())


def _ratio_db(added: float, there: float) -> float:
    if added == 0:
        return _NOTHING_DB
    if there == 0:
        return _ALL_DB
    return max(_NOTHING_DB, min(_ALL_DB, 10 * math.log10(added / there)))
