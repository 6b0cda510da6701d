"""
The directions that a small network gives, by what it learnt against recognisers of speech.

A perturbation generator (Poursaeed et al., "Generative adversarial perturbations", CVPR 2018),
trained by `training/speech.py` against the encoders of two Whisper models. In NumPy: torch's
threads would take the cores from decoder and encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.masking import hearing_model
from pipeline.misleading import Directions, Samples, Stretch
from pipeline.speech import RATE

_NETWORK_FILE = Path(__file__).with_name("generator.npz")
_LEAST, _MOST = 1e-2, 1e4  # of a band's energy over its threshold
_TINY = 1e-12
_NORM_FLOOR = 1e-5  # torch's


class GeneratedDirections:
    """Answers for 1.4 s at once, and is given 0.4 s more to each side."""

    blocks = 16
    reach = 72
    ratio_db = -5.9

    def __init__(self) -> None:
        self._network = _load_network()

    def __call__(self, stretch: Stretch) -> Directions:
        """Return (windows - 2 `reach`, bands) directions."""
        return self._network(features(stretch))


def features(stretch: Stretch) -> Samples:
    """Return (windows, bands): half the decades by which each is above its masking threshold."""
    model = hearing_model(RATE)
    power = model.power(model.spectra(stretch.samples))
    threshold = model.threshold(power, stretch.quietest)
    above = (model.band_energy(power) + _TINY) / threshold
    return np.log10(np.clip(above, _LEAST, _MOST)) / 2


@dataclass(frozen=True)
class _Layer:
    """
    What one residual layer does: normalise, look along time in each channel, and mix channels.

    Attributes:
        dilation: windows from one tap of the kernel to the next.
        scale, shift: (width,) after normalisation.
        kernel, bias: (taps, width) and (width,).
        widen, narrow: (width, inner) and (inner, width) matrices; each has a bias.
    """

    dilation: int
    scale: Samples
    shift: Samples
    kernel: Samples
    bias: Samples
    widen: Samples
    widen_bias: Samples
    narrow: Samples
    narrow_bias: Samples

    @property
    def reach(self) -> int:
        return self.dilation * (len(self.kernel) // 2)

    def __call__(self, rows: Samples) -> Samples:
        """Return (n - 2 reach, width) of (n, width)."""
        kept = len(rows) - 2 * self.reach
        normal = _normalised(rows, self.scale, self.shift)
        mixed = np.tile(self.bias, (kept, 1))
        for tap, weights in enumerate(self.kernel):
            start = tap * self.dilation
            mixed += normal[start : start + kept] * weights
        wide = np.maximum(mixed @ self.widen + self.widen_bias, 0)
        change: Samples = wide @ self.narrow + self.narrow_bias
        return rows[self.reach : self.reach + kept] + change


_LAYER = [field.name for field in fields(_Layer) if field.name != "dilation"]


class _Network:
    """Convolutions over windows, each band a channel; no windows are made up around the input."""

    def __init__(self, weights: Mapping[str, NDArray[np.generic]]) -> None:
        single = {name: np.asarray(array, np.float32) for name, array in weights.items()}
        self._first, self._first_bias = single["first.kernel"], single["first.bias"]
        self._last, self._last_bias = single["last.kernel"], single["last.bias"]
        self._scale, self._shift = single["last.scale"], single["last.shift"]
        dilations = weights["dilations"].tolist()
        self._layers = [
            _Layer(dilation, **{name: single[f"{number}.{name}"] for name in _LAYER})
            for number, dilation in enumerate(dilations)
        ]
        ends = len(self._first) // 2 + len(self._last) // 2
        assert ends + sum(layer.reach for layer in self._layers) == GeneratedDirections.reach

    def __call__(self, features: Samples) -> Directions:
        """Return (n - 2 `reach`, bands) directions of (n, bands) features."""
        rows = _convolved(features, self._first) + self._first_bias
        for layer in self._layers:
            rows = layer(rows)
        rows = _normalised(rows, self._scale, self._shift)
        return np.tanh(_convolved(rows, self._last) + self._last_bias)


def _convolved(rows: Samples, kernel: Samples) -> Samples:
    """Return the (n - taps + 1, out) correlation of (n, in) with (taps, in, out)."""
    kept = len(rows) - len(kernel) + 1
    products = [rows[tap : tap + kept] @ matrix for tap, matrix in enumerate(kernel)]
    return np.sum(products, axis=0, dtype=np.float32)


def _normalised(rows: Samples, scale: Samples, shift: Samples) -> Samples:
    """Return rows of mean 0 and deviation 1, then scaled and shifted (Ba et al. 2016)."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + np.float32(_NORM_FLOOR))
    return centred / deviation * scale + shift


@lru_cache(maxsize=1)
def _load_network() -> _Network:
    with np.load(_NETWORK_FILE) as weights:
        return _Network(weights)
