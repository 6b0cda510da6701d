"""
The directions along which recognisers of speech that the operator names find other words.

Ascent by the sign of the gradient with momentum (Dong et al., "Boosting adversarial attacks with
momentum", CVPR 2018), of how unlike a recogniser finds what is said before and after. It is asked
about features and not about words: that needs no transcript and no language, and carries over
further to recognisers that are not asked (`benchmarks/strength/RESULTS.md`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.generator import GeneratedDirections
from pipeline.masking import hearing_model, hold
from pipeline.misleading import Directions, Stretch
from pipeline.recognisers import Recognisers, likeness
from pipeline.speech import RATE

_STEPS = 30
_STEP, _MOMENTUM = 0.25, 0.7
_FURTHEST = 3.0  # of what tanh is taken of: 0.995
_TINY = 1e-12


class GradientDirections:
    """Answers for 6.1 s at once, and listens to a second to each side."""

    blocks = 72
    reach = 188
    ratio_db = -1.1

    def __init__(
        self, recognisers: Recognisers, nmr_db: float, lowest_gain: float, highest_gain: float
    ) -> None:
        """
        Args:
            nmr_db: noise-to-mask ratio that the sound is to have, about.
            lowest_gain, highest_gain: of a band.
        """
        self._recognisers = recognisers
        self._strength = 10 ** ((nmr_db - self.ratio_db) / 10)
        self._bounds = 1 - lowest_gain, highest_gain - 1
        self._generated = GeneratedDirections()

    def __call__(self, stretch: Stretch) -> Directions:
        """Return (windows - 2 `reach`, bands) directions."""
        device, networks = self._recognisers.device, self._recognisers.networks
        change = Change(stretch, self._strength, self._bounds, device)
        opened = torch.tensor(stretch.openness, device=device)
        with torch.no_grad():
            before = [network.features(change.sound) for network in networks]
        place = self._start(stretch).to(device)
        speed = torch.zeros_like(place)
        for _ in range(_STEPS):
            place.requires_grad_(True)
            after = change(torch.tanh(place))
            alike = [
                likeness(features, network.features(after), _over(opened, len(features)))
                for network, features in zip(networks, before, strict=True)
            ]
            gradient = torch.autograd.grad(torch.stack(alike).sum(), place)[0]
            speed = _MOMENTUM * speed - gradient / (gradient.abs().mean() + _TINY)
            place = (place.detach() + _STEP * speed.sign()).clamp(-_FURTHEST, _FURTHEST)
            self._recognisers.tell_asked()
        return torch.tanh(place)[self.reach : -self.reach].cpu().numpy()

    def _start(self, stretch: Stretch) -> Tensor:
        """Return the generator's directions, as far as it answers, before tanh."""
        generated = torch.from_numpy(self._generated(stretch)).clamp(-0.9, 0.9).atanh()
        return F.pad(generated, (0, 0, self._generated.reach, self._generated.reach))


class Change:
    """The change of a stretch, as `audio` makes it, in torch."""

    def __init__(
        self, stretch: Stretch, strength: float, bounds: tuple[float, float], device: torch.device
    ) -> None:
        """
        Args:
            strength: energy ratio by which the masking threshold is raised.
            bounds: by how much a band's gain may fall below 1, and rise above.
        """
        model = hearing_model(RATE)
        power = model.power(model.spectra(stretch.samples))
        held = hold(model.threshold(power, stretch.quietest), None)
        room = np.sqrt(strength * held / (model.band_energy(power) + _TINY))
        room *= stretch.openness[:, None]
        mean = stretch.samples.mean(axis=0, keepdims=True)
        spectra = model.spectra(mean)[0]
        self._down, self._up = (
            torch.tensor(np.minimum(room, bound), device=device) for bound in bounds
        )
        self._spectra = torch.tensor(spectra, device=device)
        self._window = torch.tensor(model.window, device=device)
        self._between = [
            torch.tensor(part, device=device) for part in dataclasses.astuple(model.interpolation)
        ]
        self._hop = model.hop
        self.sound = torch.tensor(mean[0], device=device)

    def __call__(self, directions: Tensor) -> Tensor:
        """Return the (n,) changed samples, all channels' mean, for (windows, bands) directions."""
        gains = torch.where(directions > 0, directions * self._up, directions * self._down)
        lower, upper, lower_share, upper_share = self._between
        bins = gains[:, lower] * lower_share + gains[:, upper] * upper_share
        width = len(self._window)
        # Hann squared, four times overlapped, adds up to 1.5.
        windows = torch.fft.irfft(self._spectra * bins, n=width) * (self._window / 1.5)
        length = (len(windows) - 1) * self._hop + width
        change = F.fold(windows.T[None], (1, length), (1, width), stride=(1, self._hop))
        return self.sound[:length] + change[0, 0, 0]


def _over(openness: Tensor, frames: int) -> Tensor:
    """Return (frames,) weights of a recogniser's answers from (windows,) of the gate."""
    return F.interpolate(openness[None, None], frames, mode="linear")[0, 0] + _TINY
