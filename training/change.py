"""
A sound, what the network is told of it, and how its directions change it: as the product does it.

At a strength that is given, and without what `pipeline.audio` does besides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.generator import features
from pipeline.gradient import Change
from pipeline.masking import OVERLAP, hearing_model
from pipeline.misleading import Stretch
from pipeline.speech import RATE

FRAME = RATE // 50  # samples from one answer of an encoder to the next, 20 ms

_HOP = hearing_model(RATE).hop
_WIDTH = OVERLAP * _HOP  # of a window
_BOUNDS = 0.98, 7.0  # by which a band's gain may fall below 1, and rise above it
_FURTHEST = 2.0  # direction, once their RMS is 1
_QUIET = 0.03  # of the loudest frame: less is no speech


@dataclass(frozen=True)
class Analysed:
    """
    A sound. Its windows begin and end beyond it, each a hop after the last.

    Attributes:
        samples: (n,) at `RATE`, full scale is 1.
        stretch: the same with silence around it.
        features: (windows, bands) that the network is given.
        spoken: (n / FRAME,) 1 where something is said, 0 in pauses.
    """

    samples: Tensor
    stretch: Stretch
    features: Tensor
    spoken: Tensor

    def changed(self, directions: Tensor, strength: float) -> Tensor:
        """
        Return the (n,) samples that (windows, bands) directions make of it.

        Args:
            strength: energy ratio by which the masking threshold is raised.
        """
        change = Change(self.stretch, strength, _BOUNDS, directions.device)
        return change(directions)[_WIDTH : _WIDTH + len(self.samples)]


def analyse(samples: NDArray[np.float32]) -> Analysed:
    """Look at (n,) samples."""
    padded = np.pad(samples, (_WIDTH, _WIDTH + _HOP))[None]
    windows = (padded.shape[1] - _WIDTH) // _HOP + 1
    stretch = Stretch(padded, np.ones(windows, np.float32), 1.0)
    sound = torch.from_numpy(samples)
    level = sound.unfold(0, FRAME, FRAME).square().mean(1).sqrt()
    return Analysed(
        sound,
        stretch,
        torch.from_numpy(features(stretch)),
        (level > level.max() * _QUIET).float(),
    )


def evened(directions: Tensor, spoken: Tensor) -> Tensor:
    """
    Return (windows, bands) directions whose RMS is 1 where something is said.

    So a network cannot gain by the mean strength of its directions, which the product sets.
    """
    begins = (torch.arange(len(directions)) * _HOP - _WIDTH) / FRAME
    weights = spoken[begins.round().long().clamp(0, len(spoken) - 1)]
    mean = (directions.square().mean(1) * weights).sum() / weights.sum().clamp(min=1)
    return (directions / mean.clamp(min=1e-4).sqrt()).clamp(-_FURTHEST, _FURTHEST)
