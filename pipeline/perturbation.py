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

import torch
from torch import Generator, Tensor

from pipeline.network import Network, similarity
from pipeline.stripes import gaussian_blur
from pipeline.surrogate import Surrogates
from pipeline.transforms import cut_out, publish, shrink, shuffle_and_rotate, straight_through

# Over these each step's gradient is averaged: plain copies of the picture for the networks
# asked, shuffled ones for those that are not. Twice as many take twice the time and mislead
# others a tenth more.
_PLAIN_COPIES, _SHUFFLED_COPIES = 1, 1
_DECAY = 0.8
# A step, in bounds: two go from one bound to the other.
_STRIDE = 1.0
# Of gradients of luma and of colour, in pixels of a picture with a short side of 256. Finer changes
# cost more bits, and after the codec mislead less; wider ones of colour stain.
_LUMA_SIGMA, _COLOUR_SIGMA = 4.0, 2.6
_SMOOTHING_SIDE = 256


@torch.enable_grad()
def refine(
    start: Tensor,
    frame: Tensor,
    limit: Tensor,
    surrogates: Surrogates,
    steps: int,
    generator: Generator,
    momentum: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """
    Turn the surrogates further away from what they see in `frame`.

    Args:
        start: (3, h, w) float32 levels of Y, Cb, Cr: the change to start from.
        frame: (3, h, w) float32 levels, 0-255, the original.
        limit: (1 or 3, h, w) levels, not negative: the bound on the change at each place.
        steps: 2 suffice from the anchor before, with its momentum; 6 to 8 from stripes.
        generator: on any device. On the CPU the same seed gives the same change to the bit;
            on an accelerator, but for the order in which it sums.
        momentum: as returned for the anchor before, carried to this one; None to begin with.
            With it the change differs less from anchor to anchor, and takes a twelfth fewer bits.

    Returns:
        The change, (3, h, w) levels within `limit`, and the momentum of its gradients, the same
        shape; both without a gradient of their own.
    """
    bound = limit.expand_as(start)
    change = _start(start.detach(), bound, generator)
    if momentum is None:
        momentum = torch.zeros_like(change)
    for _ in range(steps):
        gradient = _smooth(_similarity_gradient(change, frame, surrogates, generator))
        momentum = _DECAY * momentum + _normalised(gradient)
        change = project(change - _STRIDE * bound * _soft_sign(momentum), bound)
    return change, momentum


def project(change: Tensor, bound: Tensor) -> Tensor:
    """Return the nearest change within `bound`, same shape."""
    return torch.clamp(change, -bound, bound)


def _start(change: Tensor, bound: Tensor, generator: Generator) -> Tensor:
    """Return the change within its bound; similarity has no slope at no change at all."""
    if not change.any():
        draws = torch.randn(change.shape, generator=generator, device=generator.device)
        change = bound * _soft_sign(_smooth(draws.to(change)))
    return project(change, bound)


def _similarity_gradient(
    change: Tensor, frame: Tensor, surrogates: Surrogates, generator: Generator
) -> Tensor:
    """Return (3, h, w): the slope of similarity, averaged over copies and networks."""
    leaf = change.detach().requires_grad_()
    total = frame + leaf
    protected = straight_through(total, total.clamp(0.0, 255.0))
    twin = _twin(generator)
    # No larger than networks see them: what happens to copies takes time by their size.
    largest = max(network.input_size for network in surrogates.networks)
    height, width = (min(largest, side) for side in frame.shape[-2:])
    with torch.no_grad():
        originals = _copies(frame, (height, width), twin)
    copies = _copies(protected, (height, width), generator)
    slopes = [_slope(network, originals, copies.detach()) for network in surrogates.networks]
    (gradient,) = torch.autograd.grad(copies, leaf, torch.stack(slopes).mean(dim=0))
    return gradient


def _copies(picture: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Return (copies, 3, *size): the picture as it may reach a recogniser, each time otherwise."""
    batch = picture.expand(_PLAIN_COPIES + _SHUFFLED_COPIES, *picture.shape)
    seen = publish(shrink(cut_out(batch, generator), size), generator)
    plain, shuffled = seen.split((_PLAIN_COPIES, _SHUFFLED_COPIES))
    return torch.cat((plain, shuffle_and_rotate(shuffled, generator)))


def _slope(network: Network, originals: Tensor, copies: Tensor) -> Tensor:
    """
    Return one network's slope of similarity in each copy, of mean size 1: none dominates.

    Zeros where it has none, as networks that divide by a deviation on a black picture: a step
    that is no number would stay in the momentum of all anchors to come.
    """
    with torch.no_grad():
        before = network.features(originals)
    leaf = copies.requires_grad_()
    (slope,) = torch.autograd.grad(similarity(before, network.features(leaf)), leaf)
    return _normalised(slope) if slope.isfinite().all() else torch.zeros_like(slope)


def _twin(generator: Generator) -> Generator:
    """Return a generator that will draw what this one will: both pictures meet the same."""
    twin = Generator(device=generator.device)
    twin.set_state(generator.get_state())
    return twin


def _smooth(planes: Tensor) -> Tensor:
    scale = min(planes.shape[-2:]) / _SMOOTHING_SIDE
    luma, colour = planes.split((1, 2))
    return torch.cat(
        (gaussian_blur(luma, _LUMA_SIGMA * scale), gaussian_blur(colour, _COLOUR_SIGMA * scale))
    )


def _normalised(gradient: Tensor) -> Tensor:
    return gradient / gradient.abs().mean().clamp_min(torch.finfo(gradient.dtype).tiny)


def _soft_sign(momentum: Tensor) -> Tensor:
    """Return -1 to 1: the sign where the momentum is large, linear around 0."""
    return torch.tanh(momentum / momentum.abs().mean().clamp_min(1e-12))
