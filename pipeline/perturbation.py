"""
Gradient steps of the network way: make networks see something else, within the bound.

No label is needed: the loss is the cosine similarity between what networks see in the
protected and in the original picture, in middle layers and at the output. That drives them
away from whatever is there, and carries over to networks we do not know better than a wrong
label does.

After MI-FGSM (Dong et al. 2018, arXiv:1710.06081), translation-invariant gradients (Dong et
al. 2019, arXiv:1904.02884) and expectation over transformation (Athalye et al. 2018,
arXiv:1707.07397). Unlike them, the bound differs from place to place, and a step is not the
gradient's sign but a soft one, so that the change stays smooth: what is finer than a
recogniser's input is lost in the codec, and costs bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from pipeline.network import Network, similarity
from pipeline.stripes import gaussian_blur
from pipeline.surrogate import Surrogates
from pipeline.transforms import (
    look,
    publish,
    shuffled_places,
    straight_places,
    within_windows,
)

# How many copies of the picture a step's gradient is averaged over: plain ones for the networks
# asked, shuffled ones for those that are not.
Copies = tuple[int, int]
_DECAY = 0.8
# A step, in bounds: two go from one bound to the other.
_STRIDE = 1.0
# Of gradients, in pixels of a picture with a short side of 256. Finer changes cost more bits, and
# after the codec mislead less.
_GRADIENT_SIGMA = 4.0
_SMOOTHING_SIDE = 256


@torch.enable_grad()
def refine(
    start: Tensor,
    frame: Tensor,
    limit: Tensor,
    surrogates: Surrogates,
    steps: Sequence[Copies],
    generator: Generator,
    momentum: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """
    Turn the surrogates further away from what they see in `frame`.

    Args:
        start: (h, w) float32 levels of luma: the change to start from.
        frame: (3, height, width) float32 levels of Y, Cb, Cr, 0-255, the original; as large or
            larger.
        limit: (h, w) levels, not negative: the bound on the change at each place.
        steps: the copies of each; one of one copy suffices from the anchor before, with its
            momentum, where those of neighbouring anchors differ; some of both from stripes.
        generator: on any device. On the CPU the same seed gives the same change to the bit;
            on an accelerator, but for the order in which it sums.
        momentum: as returned for the anchor before, carried to this one; None to begin with.
            With it the change differs less from anchor to anchor, and takes a twelfth fewer bits.

    Returns:
        The change, (h, w) levels within `limit`, and the momentum of its gradients, the same
        shape; both without a gradient of their own.
    """
    change = _start(start.detach(), limit, generator)
    if momentum is None:
        momentum = torch.zeros_like(change)
    for copies in steps:
        gradient = _smooth(_similarity_gradient(change, frame, surrogates, copies, generator))
        momentum = _DECAY * momentum + _normalised(gradient)
        change = project(change - _STRIDE * limit * _soft_sign(momentum), limit)
    return change, momentum


def changed(pictures: Tensor, change: Tensor) -> Tensor:
    """Return pictures (..., 3, h, w) with a change (..., h, w) of their luma, within 0 to 255."""
    luma, colours = pictures.split((1, 2), dim=-3)
    return torch.cat(((luma + change.unsqueeze(-3)).clamp(0.0, 255.0), colours), dim=-3)


def project(change: Tensor, bound: Tensor) -> Tensor:
    """Return the nearest change within `bound`, same shape."""
    return torch.clamp(change, -bound, bound)


def _start(change: Tensor, bound: Tensor, generator: Generator) -> Tensor:
    """Return the change within its bound; similarity has no gradient at no change at all."""
    if not change.any():
        draws = torch.randn(change.shape, generator=generator, device=generator.device)
        change = bound * _soft_sign(_smooth(draws.to(change)))
    return project(change, bound)


def _similarity_gradient(
    change: Tensor, frame: Tensor, surrogates: Surrogates, copies: Copies, generator: Generator
) -> Tensor:
    """Return (h, w): the gradient of similarity, averaged over copies and networks."""
    places = _places(frame, copies, surrogates, generator)
    leaf = change.detach().requires_grad_()
    seen, change_seen = look(frame, places), look(leaf[None], places)[:, 0]
    with torch.no_grad():
        originals = publish(seen, _twin(generator))
        protected = publish(changed(seen, change_seen), generator)
    gradients = [_gradient(network, originals, protected) for network in surrogates.networks]
    # Past what publishing does, as if it did nothing: it blurs far less than gradients are
    # smoothed, and the way back through it took as long as that through a small network.
    (gradient,) = torch.autograd.grad(change_seen, leaf, torch.stack(gradients).mean(dim=0))
    return gradient


def _places(frame: Tensor, copies: Copies, surrogates: Surrogates, generator: Generator) -> Tensor:
    """Return (n, 2, height, width): where copies look, each as a recogniser may see the picture."""
    # No larger than networks see them: what happens to copies takes time by their size.
    largest = max(network.input_size for network in surrogates.networks)
    height, width = frame.shape[-2:]
    size = min(largest, height), min(largest, width)
    plain, shuffled = copies
    whole = torch.cat(
        (
            straight_places(plain, size, frame.device),
            shuffled_places(shuffled, size, generator, frame.device),
        )
    )
    return within_windows(whole, (height, width), generator)


def _gradient(network: Network, originals: Tensor, copies: Tensor) -> Tensor:
    """
    Return one network's gradient in each copy's luma, (n, h, w), of mean size 1: none dominates.

    Zeros where it has none, as networks that divide by a deviation on a black picture: a step
    that is no number would stay in the momentum of all anchors to come.
    """
    with torch.no_grad():
        before = network.features(originals)
    leaf = copies.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(similarity(before, network.features(leaf)), leaf)
    in_luma = gradient[:, 0]
    return _normalised(in_luma) if in_luma.isfinite().all() else torch.zeros_like(in_luma)


def _twin(generator: Generator) -> Generator:
    """Return a generator that will draw what this one will: both pictures meet the same."""
    twin = Generator(device=generator.device)
    twin.set_state(generator.get_state())
    return twin


def _smooth(plane: Tensor) -> Tensor:
    scale = min(plane.shape) / _SMOOTHING_SIDE
    return gaussian_blur(plane[None], _GRADIENT_SIGMA * scale)[0]


def _normalised(gradient: Tensor) -> Tensor:
    return gradient / gradient.abs().mean().clamp_min(torch.finfo(gradient.dtype).tiny)


def _soft_sign(momentum: Tensor) -> Tensor:
    """Return -1 to 1: the sign where the momentum is large, linear around 0."""
    return torch.tanh(momentum / momentum.abs().mean().clamp_min(1e-12))
