"""
The network of `pipeline.generator` in torch, which differentiates it.

Its weights have the names and shapes that they have in the product's file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.masking import hearing_model
from pipeline.speech import RATE

DILATIONS = (1, 2, 4, 8, 1, 2, 4, 1)  # of the layers, in windows
_WIDTH, _INNER = 128, 256
_FIRST_TAPS, _TAPS, _LAST_TAPS = 5, 7, 3
_LAST_DEVIATION = 0.02  # nearly no direction at first


class Network(nn.Module):
    """Unlike the product's, it makes up zeros around its input, and so answers for all of it."""

    def __init__(self) -> None:
        super().__init__()
        bands = hearing_model(RATE).bands
        self.first = _Convolution(_FIRST_TAPS, bands, _WIDTH)
        self._layers = [_Layer(dilation) for dilation in DILATIONS]
        for number, layer in enumerate(self._layers):
            self.add_module(str(number), layer)
        self.last = _Last(_LAST_TAPS, _WIDTH, bands)

    def forward(self, features: Tensor) -> Tensor:
        """Return (batch, windows, bands) of the same; directions once tanh is taken."""
        rows: Tensor = self.first(features)
        for layer in self._layers:
            rows = layer(rows)
        answer: Tensor = self.last(rows)
        return answer


class _Convolution(nn.Module):
    """Over windows: kernel (taps, in, out), bias (out,)."""

    def __init__(self, taps: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernel = _even(taps * inputs, taps, inputs, outputs)
        self.bias = _even(taps * inputs, outputs)

    def forward(self, rows: Tensor) -> Tensor:
        """Return (batch, windows, out) of (batch, windows, in)."""
        weight, padding = self.kernel.permute(2, 1, 0), len(self.kernel) // 2
        return F.conv1d(rows.mT, weight, self.bias, padding=padding).mT


class _Last(_Convolution):
    """The same of what is normalised: scale and shift (in,)."""

    def __init__(self, taps: int, inputs: int, outputs: int) -> None:
        super().__init__(taps, inputs, outputs)
        nn.init.normal_(self.kernel, std=_LAST_DEVIATION)
        self.scale, self.shift = _ones(inputs), _zeros(inputs)

    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(F.layer_norm(rows, self.scale.shape, self.scale, self.shift))


class _Layer(nn.Module):
    """As `pipeline.generator` has it."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self._dilation = dilation
        self.scale, self.shift = _ones(_WIDTH), _zeros(_WIDTH)
        self.kernel, self.bias = _even(_TAPS, _TAPS, _WIDTH), _even(_TAPS, _WIDTH)
        self.widen, self.widen_bias = _even(_WIDTH, _WIDTH, _INNER), _even(_WIDTH, _INNER)
        self.narrow, self.narrow_bias = _even(_INNER, _INNER, _WIDTH), _even(_INNER, _WIDTH)

    def forward(self, rows: Tensor) -> Tensor:
        """Return (batch, windows, width) of the same."""
        normal = F.layer_norm(rows, self.scale.shape, self.scale, self.shift)
        mixed = F.conv1d(
            normal.mT,
            self.kernel.mT[:, None],
            self.bias,
            padding=self._dilation * (_TAPS // 2),
            dilation=self._dilation,
            groups=_WIDTH,
        ).mT
        wide = F.relu(mixed @ self.widen + self.widen_bias)
        return rows + wide @ self.narrow + self.narrow_bias


def _even(inputs: int, *shape: int) -> nn.Parameter:
    """Return what torch begins with: evenly spread, the narrower the more inputs are summed."""
    bound = inputs**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _ones(count: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(count))


def _zeros(count: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(count))
