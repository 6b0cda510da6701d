"""
The network way: move a change by the gradient of surrogates, within what the eye allows.

Label-free: what shrinks is the likeness of the surrogates' features of the protected picture
to those of the original, which carries over to other networks better than a class's
probability does. Each step averages over random views (EoT), gathers momentum (MI-FGSM,
Dong et al. 2018) and is smoothed (TI, Dong et al. 2019), since a recogniser's input and the
encoder throw fine detail away.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.surrogate import INPUT_SIZE, Network, Surrogates
from pipeline.transforms import View, as_seen, blurred, draw_view

_VIEWS = 4
_MOMENTUM = 0.9
# In pixels at a short side of 256: nothing above an eighth of a cycle per pixel at 720 lines.
_SMOOTHING_SIGMA = 1.2
# All steps together can carry a sample from one bound to the other and half the way back.
_REACH = 3.0


def refine(
    pattern: Tensor,
    frame: Tensor,
    limit: Tensor,
    surrogates: Surrogates,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """
    Return a change like `pattern` that moves the surrogates' features further.

    Args:
        pattern: (3, height, width), change of Y, Cb, Cr in levels, to start from.
        frame: (3, height, width), the picture in levels of 0-255, on the surrogates' device.
        limit: (1 or 3, height, width), largest change of each sample, levels.
        steps: gradient steps; each costs a forward and a backward pass of 4 views.
        generator: of the CPU; makes the views.

    Returns:
        (3, height, width) within the limit, without gradient.
    """
    change = project(pattern.detach(), limit)
    momentum = torch.zeros_like(change)
    for _ in range(steps):
        views = [draw_view(generator) for _ in range(_VIEWS)]
        gradient = _descent(change, frame, surrogates, views)
        momentum = _MOMENTUM * momentum + gradient
        direction = _smoothed(momentum)
        direction = (direction / _rms(direction)).clamp(-1, 1)
        change = project(change - (_REACH / steps) * limit * direction, limit)
    return change


def project(change: Tensor, limit: Tensor) -> Tensor:
    """Return the nearest change of which no sample is beyond its limit."""
    return torch.clamp(change, -limit, limit)


def likeness(change: Tensor, frame: Tensor, network: Network, views: list[View]) -> Tensor:
    """Return the mean cosine of a network's features with and without the change, a scalar."""
    with torch.no_grad():
        before = network.features(_seen(frame, views))
    after = network.features(_seen(frame + change, views))
    cosines = [
        F.cosine_similarity(b.flatten(1), a.flatten(1)).mean()
        for b, a in zip(before, after, strict=True)
    ]
    return torch.stack(cosines).mean()


def _seen(frame: Tensor, views: list[View]) -> Tensor:
    return torch.cat([as_seen(frame[None], view, INPUT_SIZE) for view in views])


def _descent(change: Tensor, frame: Tensor, surrogates: Surrogates, views: list[View]) -> Tensor:
    """Return the sum of the networks' gradients, each scaled so that none outweighs another."""
    total = torch.zeros_like(change)
    for network in surrogates.networks:
        leaf = change.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(likeness(leaf, frame, network, views), leaf)
        total += gradient / gradient.abs().mean().clamp_min(1e-12)
    return total


def _smoothed(change: Tensor) -> Tensor:
    return blurred(change[None], _SMOOTHING_SIGMA)[0]


def _rms(change: Tensor) -> Tensor:
    return change.square().mean().sqrt().clamp_min(1e-12)
