"""
A sound, what the network is told of it, and how its directions change it, as torch has to see it.

After `pipeline.generator` and `pipeline.audio`, in short: without what these do besides, and at a
strength that is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.masking import hearing_model, hold
from pipeline.speech import RATE

FRAME = RATE // 50  # samples from one answer of an encoder to the next, 20 ms

_MODEL = hearing_model(RATE)
_WIDTH = len(_MODEL.window)
_WINDOW = torch.tensor(_MODEL.window)
_OVERLAPPED = 1.5  # what four times overlapped squares of Hann's window add up to
_LEAST, _MOST = 1e-2, 1e4  # of a band's energy over its threshold, as the generator clips it
_DOWN, _UP = 0.98, 7.0  # by which a band's gain may fall below 1, and rise above it
_FURTHEST = 2.0  # direction, once their RMS is 1
_QUIET = 0.03  # of the loudest frame: less is no speech
_TINY = 1e-12


@dataclass(frozen=True)
class Analysed:
    """
    A sound. Its windows begin and end beyond it, each a hop after the last.

    Attributes:
        samples: (n,) at `RATE`, full scale is 1.
        spectra: (windows, bins), windowed.
        room: (windows, bands) energy ratio of the held masking threshold to the sound.
        features: (windows, bands) that the network is given.
        spoken: (n / FRAME,) 1 where something is said, 0 in pauses.
    """

    samples: Tensor
    spectra: Tensor
    room: Tensor
    features: Tensor
    spoken: Tensor

    def changed(self, directions: Tensor, strength: float) -> Tensor:
        """
        Return the (n,) samples that (windows, bands) directions make of it.

        Args:
            strength: energy ratio by which the masking threshold is raised.
        """
        bound = (strength * self.room).sqrt()
        limits = torch.where(directions > 0, bound.clamp(max=_UP), bound.clamp(max=_DOWN))
        spectra = self.spectra * _to_bins(directions * limits)
        windows = torch.fft.irfft(spectra, n=_WIDTH) * (_WINDOW / _OVERLAPPED)
        length = (len(windows) - 1) * _MODEL.hop + _WIDTH
        change = F.fold(windows.mT[None], (1, length), (1, _WIDTH), stride=(1, _MODEL.hop))
        return self.samples + change[0, 0, 0, _WIDTH : _WIDTH + len(self.samples)]


def analyse(samples: NDArray[np.float32]) -> Analysed:
    """Look at (n,) samples."""
    spectra = _MODEL.spectra(np.pad(samples, (_WIDTH, _WIDTH + _MODEL.hop))[None])
    power = _MODEL.power(spectra)
    energy, threshold = _MODEL.band_energy(power) + _TINY, _MODEL.threshold(power)
    features = np.log10(np.clip(energy / threshold, _LEAST, _MOST)) / 2
    sound = torch.from_numpy(samples)
    level = sound.unfold(0, FRAME, FRAME).square().mean(1).sqrt()
    return Analysed(
        sound,
        torch.from_numpy(spectra[0]),
        torch.from_numpy(hold(threshold, None) / energy),
        torch.from_numpy(features),
        (level > level.max() * _QUIET).float(),
    )


def evened(directions: Tensor, spoken: Tensor) -> Tensor:
    """
    Return (windows, bands) directions whose RMS is 1 where something is said.

    So a network cannot gain by the mean strength of its directions, which the product sets.
    """
    begins = (torch.arange(len(directions)) * _MODEL.hop - _WIDTH) / FRAME
    weights = spoken[begins.round().long().clamp(0, len(spoken) - 1)]
    mean = (directions.square().mean(1) * weights).sum() / weights.sum().clamp(min=1)
    return (directions / mean.clamp(min=1e-4).sqrt()).clamp(-_FURTHEST, _FURTHEST)


def _to_bins(bands: Tensor) -> Tensor:
    between = _MODEL.interpolation
    lower = bands[:, between.lower] * torch.tensor(between.lower_share)
    return lower + bands[:, between.upper] * torch.tensor(between.upper_share)
