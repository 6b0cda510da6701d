"""
Draw on a face what makes networks that recognise faces see somebody else.

Luma alone: colour stains brows and eyes, although metrics forgive it. The bound is contrast
masking with a floor, inside a soft ellipse, so that skin takes a little and hair and eyes more;
it holds on average over the face and not at each place, as what is drawn is smooth and reads as
light and shade. It is one drawing for one person, drawn on from anchor to anchor.

MI-FGSM (Dong et al. 2018, arXiv:1710.06081) with a step along the gradient instead of its sign,
and expectation over transformation (Athalye et al. 2018, arXiv:1707.07397).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pipeline.errors import SurrogateUnavailable
from pipeline.face_canvas import CROP_SIDE, MARGIN, SIDE
from pipeline.network import Network, similarity
from pipeline.perturbation import changed
from pipeline.stripes import gaussian_blur
from pipeline.visibility import band_contrast

# Half axes and centre of the ellipse, pixels of the canvas, and where its soft rim begins.
_HALF_WIDTH, _HALF_HEIGHT = 60.0, 77.0
_CENTRE_X, _CENTRE_Y = MARGIN + 56.0, MARGIN + 60.0
_RIM = 0.77
# What a place bears grows with this power of its contrast, in so many levels, within these limits:
# smooth skin takes a change as well.
_REFERENCE_CONTRAST, _POWER = 8.0, 0.6
_FLOOR, _CEILING = 0.5, 1.58
# Of a drawing, in masks: at one place, and in the RMS over the face.
_LARGEST, _LARGEST_RMS = 2.5, 1.0
# What is drawn is smooth by so many pixels of the canvas, or of the frame where those are larger.
_SMOOTHEST, _FRAME_SIGMA = 0.6, 0.45
_GRADIENT_SIGMA = 1.0
_DECAY = 0.9
# RMS of a step, in bounds: eight from nothing go far beyond the largest drawing.
_STRIDE = 0.375
# The ellipse's box, (4, 2).
BOX = np.array(
    [(_CENTRE_X + x * _HALF_WIDTH, _CENTRE_Y + y * _HALF_HEIGHT) for y in (-1, 1) for x in (-1, 1)]
)
# How recognisers may cut the face out otherwise: deviations of the angle in radians, the scale,
# and the shift in pixels of the canvas; and blur it, pixels.
_TURN, _GROWTH, _SHIFT = 0.05, 0.03, 1.5
_LEAST_BLUR, _MOST_BLUR, _BLURS = 0.4, 2.0, 16


@dataclass(frozen=True)
class Portrait:
    """
    One picture of a person.

    Attributes:
        canvas: (3, SIDE, SIDE) float32, Y, Cb and Cr, levels.
        bound: (SIDE, SIDE), what each place bears, in amplitudes.
    """

    canvas: Tensor
    bound: Tensor


def portrait(canvas: Tensor) -> Portrait:
    """Return the picture with its bound; `canvas` as of `face_canvas.cut_out`, on a device."""
    contrast = torch.from_numpy(band_contrast(canvas[0].cpu().numpy())).to(canvas)
    mask = (contrast / _REFERENCE_CONTRAST).pow(_POWER).clamp(_FLOOR, _CEILING)
    return Portrait(canvas, mask * ellipse(canvas.device))


@functools.lru_cache(maxsize=2)
def ellipse(device: torch.device) -> Tensor:
    """Return (SIDE, SIDE): 1 on the face, 0 beyond its soft rim."""
    places = torch.arange(SIDE, dtype=torch.float32, device=device)
    x, y = (places - _CENTRE_X) / _HALF_WIDTH, (places - _CENTRE_Y) / _HALF_HEIGHT
    radius = torch.hypot(x[None, :], y[:, None])
    return ((1 - radius) / (1 - _RIM)).clamp(0.0, 1.0)


def blank(device: torch.device, generator: Generator) -> Tensor:
    """Return a drawing to begin with: next to nothing, as nothing at all has no gradient."""
    return 0.1 * torch.randn(SIDE, SIDE, generator=generator).to(device)


def change(drawing: Tensor, seen: Portrait, amplitude: float, sigma: float) -> Tensor:
    """
    Return (SIDE, SIDE): the change of luma, levels.

    Args:
        amplitude: levels where the bound is 1.
        sigma: of `smoothness`.
    """
    return amplitude * _smooth(drawing, sigma) * seen.bound


def smoothness(canvas_per_frame: float) -> float:
    """Return how smooth a drawing is, pixels of the canvas, that has so many to the frame's one."""
    return max(_SMOOTHEST, _FRAME_SIGMA * canvas_per_frame)


@torch.enable_grad()
def turn_away(
    drawing: Tensor,
    seen: Portrait,
    embedders: Sequence[Network],
    amplitude: float,
    sigma: float,
    steps: int,
    generator: Generator,
) -> Tensor:
    """
    Draw on so that the embedders see somebody else than in the picture as it is.

    Args:
        drawing: (SIDE, SIDE), in bounds, before it is smoothed.
        amplitude: levels where the bound is 1.
        sigma: of `smoothness`.
        generator: of the CPU.

    Raises:
        SurrogateUnavailable: an embedder answers with what is no number.
    """
    canvas = seen.canvas[None]
    with torch.no_grad():
        originals = [network.features(_crop(canvas)) for network in embedders]
    # None of the anchor before: where a face moves, it would go on where that one pointed.
    momentum = torch.zeros_like(drawing)
    for _ in range(steps):
        leaf = drawing.detach().requires_grad_()
        drawn = change(leaf, seen, amplitude, sigma)
        copy = _cut_out_otherwise(changed(canvas, drawn), generator)
        pairs = zip(embedders, originals, strict=True)
        alike = torch.stack([similarity(before, n.features(copy)) for n, before in pairs])
        (gradient,) = torch.autograd.grad(alike.mean(), leaf)
        if not gradient.isfinite().all():
            names = ", ".join(network.name for network in embedders)
            raise SurrogateUnavailable(
                f"faces.embedders: {names} answers a face of this video with no finite numbers;"
                " give another file, or remove `faces:`."
            )
        gradient = _smooth(gradient, _GRADIENT_SIGMA)
        momentum = _DECAY * momentum + gradient / gradient.abs().mean().clamp_min(1e-12)
        step = momentum / momentum.square().mean().sqrt().clamp_min(1e-12)
        drawing = _held(drawing - _STRIDE * step, seen.bound)
    return drawing


@torch.no_grad()
def likeness(original: Tensor, protected: Tensor, embedders: Sequence[Network]) -> float:
    """Return how alike embedders find two canvases (3, SIDE, SIDE), -1 to 1."""
    pair = _crop(original[None]), _crop(protected[None])
    found = [similarity(*(network.features(face) for face in pair)) for network in embedders]
    return float(torch.stack(found).mean())


def _held(drawing: Tensor, bound: Tensor) -> Tensor:
    """Return a drawing with no more than its RMS over the face and at one place."""
    weight = bound.square()
    rms = ((drawing.square() * weight).sum() / weight.sum().clamp_min(1e-12)).sqrt()
    return (drawing * (_LARGEST_RMS / rms.clamp_min(_LARGEST_RMS))).clamp(-_LARGEST, _LARGEST)


def _cut_out_otherwise(canvas: Tensor, generator: Generator) -> Tensor:
    """Return (1, 3, 112, 112): the face as a recogniser may cut it out, each time otherwise."""
    crop = F.grid_sample(canvas, _crop_grid(generator).to(canvas), align_corners=False)
    # One of a few, whose weights are then at hand.
    draw = int(torch.randint(_BLURS, (1,), generator=generator)) / (_BLURS - 1)
    return gaussian_blur(crop[0], _LEAST_BLUR + (_MOST_BLUR - _LEAST_BLUR) * draw)[None]


def _crop_grid(generator: Generator) -> Tensor:
    """Return (1, 112, 112, 2): where each pixel of a crop lies on the canvas, for grid_sample."""
    turn, growth, *shift = torch.randn(4, generator=generator).tolist()
    size, (x, y) = 1 + _GROWTH * growth, (2 * _SHIFT * step / SIDE for step in shift)
    cosine, sine = size * math.cos(_TURN * turn), size * math.sin(_TURN * turn)
    placed = torch.tensor([[[cosine, -sine, x], [sine, cosine, y]]])
    whole = F.affine_grid(placed, [1, 1, SIDE, SIDE], align_corners=False)
    return _crop(whole.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _crop(canvases: Tensor) -> Tensor:
    inside = slice(MARGIN, MARGIN + CROP_SIDE)
    return canvases[..., inside, inside]


def _smooth(plane: Tensor, sigma: float) -> Tensor:
    return gaussian_blur(plane[None], sigma)[0]
