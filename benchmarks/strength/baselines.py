"""
What is compared: other ways of changing a picture by the same number of levels.

A baseline stands where the product has its `VideoProtector`; conversion, encoder and muxer are
the product's own. All but the reference design change luma alone. Each is drawn at an anchor
frame and held on the screen until the next one, as in the reference design.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.parameters import Parameters
from pipeline.planes import Planes
from pipeline.stripes import make_carriers, scale_of, stripes, working_size
from pipeline.surrogate import Surrogates
from pipeline.transforms import publish
from pipeline.video import VideoSummary

_Field = NDArray[np.float32]
# (original, random numbers) to (channels, h, w) in [-1, 1] at any size: luma, or Y, Cb, Cr.
Draw = Callable[[Planes, torch.Generator], Tensor]

# The side of a grain, in pixels of the frame.
_COARSE = 8
# Of the eight carriers: waves at 45 degrees.
_ORIENTATION = 2
_SATURATION = 3.0
_EOT_COPIES = 4


class Plain:
    """Changes nothing: the control."""

    def protect(self, original: Planes, protected: Planes) -> None:
        """Copy `original` into `protected`."""
        for source, target in zip(original, protected, strict=True):
            target[:] = source

    @property
    def summary(self) -> VideoSummary:
        """Nothing was done."""
        return _summary()


class HeldPattern:
    """Adds one pattern, drawn anew at each anchor frame."""

    def __init__(self, draw: Draw, parameters: Parameters, seed: int) -> None:
        self._draw = draw
        # Nominal: 6.9 levels at 0.12 are 7 of an 8-bit plane.
        self._budget = round(parameters.budget)
        self._interval = parameters.every_n_frames
        self._generator = torch.Generator().manual_seed(seed)
        self._field: _Field = np.zeros((1, 1, 1), np.float32)
        self._frames = 0

    def protect(self, original: Planes, protected: Planes) -> None:
        """
        Write `original` with the pattern into `protected`.

        Raises:
            ValueError: the picture has more than 8 bits; pieces are cut with 8.
        """
        if original.depth != 8:
            raise ValueError(f"a picture of {original.depth} bits")
        if self._frames % self._interval == 0:
            self._field = self._draw(original, self._generator).numpy().astype(np.float32)
        for index, (source, target) in enumerate(zip(original, protected, strict=True)):
            if index < len(self._field):
                cv2.add(source, self._enlarged(index, source.shape), target, None, cv2.CV_8U)
            else:
                target[:] = source
        self._frames += 1

    @property
    def summary(self) -> VideoSummary:
        """As the product's, as far as it applies."""
        return _summary()

    def _enlarged(self, index: int, shape: tuple[int, ...]) -> NDArray[np.int16]:
        size = (shape[1], shape[0])
        field = cv2.resize(self._field[index], size, interpolation=cv2.INTER_LINEAR)
        return np.rint(field * self._budget).astype(np.int16)


def sign_noise(original: Planes, generator: torch.Generator) -> Tensor:
    """Return +1 or -1 for each pixel."""
    return torch.randint(0, 2, (1, *original.luma.shape), generator=generator) * 2.0 - 1.0


def coarse_noise(original: Planes, generator: torch.Generator) -> Tensor:
    """Return +1 or -1 for grains of 8 x 8 pixels, interpolated between their centres."""
    height, width = original.luma.shape
    size = (1, -(-height // _COARSE), -(-width // _COARSE))
    return torch.randint(0, 2, size, generator=generator) * 2.0 - 1.0


def one_gabor(original: Planes, generator: torch.Generator) -> Tensor:
    """Return saturated Gabor noise of the product's period and one orientation."""
    height, width = working_size(*original.luma.shape)
    carrier = make_carriers(scale_of(height, width), generator)[_ORIENTATION]
    carrier = carrier[:-1, :-1]  # the last row and column are the first ones again
    repeats = (-(-height // carrier.shape[0]), -(-width // carrier.shape[1]))
    tiled = carrier.repeat(*repeats)[None, :height, :width]
    return (tiled * _SATURATION).clamp(-1.0, 1.0)


def bare_stripes(original: Planes, generator: torch.Generator) -> Tensor:
    """Return the product's stripes without what the eye bears, equally strong everywhere."""
    luma = _working(original)[0]
    scale = scale_of(*luma.shape)
    still = torch.zeros(2, *luma.shape)
    return stripes(luma, still, make_carriers(scale, generator), scale)[None]


def reference_design(surrogates: Surrogates) -> Draw:
    """Return one step of FGSM on the first network, its gradient averaged over four copies."""

    @torch.enable_grad()
    def draw(original: Planes, generator: torch.Generator) -> Tensor:
        network, frame = surrogates.networks[0], _working(original)
        label = network.top1(frame[None]).repeat(_EOT_COPIES)
        change = torch.zeros_like(frame, requires_grad=True)
        copies = publish((frame + change).repeat(_EOT_COPIES, 1, 1, 1), generator)
        loss = F.cross_entropy(network.features(copies)[-1], label)
        return torch.autograd.grad(loss, change)[0].sign()

    return draw


def _working(original: Planes) -> Tensor:
    """Return (3, h, w) levels at the product's working size."""
    height, width = working_size(*original.luma.shape)
    planes: list[Any] = list(original)
    small = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in planes]
    return torch.from_numpy(np.stack(small).astype(np.float32))


def _summary() -> VideoSummary:
    return VideoSummary(0, 0, "cpu", (), None)
