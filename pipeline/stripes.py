"""
The embedded perturbation: stripes across the structure of the picture, without any weights.

Recognisers read the direction of edges and texture; stripes at right angles to them, of a
period that survives both the encoder and a recogniser's small input, drown that reading.
How strong they may be at each place is `visibility`'s business, moving them `motion`'s.

All are torch functions of a working-size picture, so one code serves CPU and accelerator.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# The constants below are in pixels of a picture whose short side has this many.
WORKING_SHORT_SIDE = 256
# Wider stripes change flat ground more, finer ones cost more bits.
_PERIOD = 11.0
# They are soft: a lone edge does not become a row of beads, and they cost fewer bits.
_SOFTNESS_SIGMA = 1.5
_STRUCTURE_SIGMA = 5.0
_CARRIERS = 8  # a power of two, like the side of a tile: wrapping is a bit mask
_RADIAL_OCTAVES = 0.2
_ANGULAR_SIGMA = 0.12
# Side of a carrier. The carriers wrap around, so a picture of any size can be covered.
TILE = 512
_STRIDE = TILE + 1  # of its rows in memory
# Slope of the sign at a zero crossing: saturated one pixel away, but not jagged.
_SATURATION = 3.0
# Pixels that a period has at least: small pictures get fewer stripes, not finer ones.
_SHORTEST_PERIOD = 4.0


def working_size(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) at which patterns are computed: a short side of at most 256."""
    ratio = min(1.0, WORKING_SHORT_SIDE / min(height, width))
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def scale_of(height: int, width: int) -> float:
    """Return by what the constants of stripes and visibility are multiplied at a working size."""
    return max(min(height, width) / WORKING_SHORT_SIDE, _SHORTEST_PERIOD / _PERIOD)


def make_carriers(scale: float, generator: torch.Generator) -> Tensor:
    """
    Return (8, 513, 513) float32 stripe fields of unit deviation that wrap around.

    Carrier k is white noise kept only near the period and near the wave direction k * pi / 8,
    measured from x towards y; its stripes run at right angles to that. The last row and column
    are the first ones again, so that each sample has its right and lower neighbour beside it.

    Args:
        scale: of the working picture, see `scale_of`.
        generator: of the CPU, whatever the device the carriers go to; its seed makes them.
    """
    fields = torch.empty(_CARRIERS, _STRIDE, _STRIDE)
    band = _band(_PERIOD * scale)
    # One by one: all at once would take 50 MB more, which the process then keeps.
    for number, noise in enumerate(torch.randn(_CARRIERS, TILE, TILE, generator=generator)):
        spectrum = torch.fft.rfft2(noise).mul_(_sector(number)).mul_(band)
        field = torch.fft.irfft2(spectrum, s=(TILE, TILE))
        fields[number, :TILE, :TILE] = field / field.std()
    fields[..., TILE, :] = fields[..., 0, :]
    fields[..., TILE] = fields[..., 0]
    return fields


def stripes(luma: Tensor, displacement: Tensor, carriers: Tensor, scale: float) -> Tensor:
    """
    Return (height, width) in [-1, 1]: stripes across the structure of `luma`.

    Args:
        luma: (height, width) float32 in levels of 0-255, at working size.
        displacement: (2, height, width), x and y in pixels: pixel p samples the carriers
            at p + displacement. Moving it with the picture moves the stripes.
        carriers: of `make_carriers`, on the same device.
        scale: of the working picture, see `scale_of`.
    """
    along = structure_angle(luma, _STRUCTURE_SIGMA * scale)
    choice = torch.round(along * (_CARRIERS / math.pi)).int() & (_CARRIERS - 1)
    places = _places(choice, displacement)
    sharp = _sample(carriers, places).mul_(_SATURATION).clamp_(-1.0, 1.0)
    return gaussian_blur(sharp[None], _SOFTNESS_SIGMA * scale)[0]


def structure_angle(luma: Tensor, sigma: float) -> Tensor:
    """
    Return (height, width), radians from x towards y modulo pi: the direction edges run in.

    From the structure tensor: 5-tap Sobel, averaged with a Gaussian of `sigma` pixels.
    """
    gradient_x, gradient_y = _sobel(luma)
    products = torch.stack(
        (gradient_x * gradient_x - gradient_y * gradient_y, 2 * gradient_x * gradient_y)
    )
    difference, cross = gaussian_blur(products, sigma)
    return (torch.atan2(cross, difference) + math.pi) / 2  # the gradient's direction + pi / 2


def gaussian_blur(planes: Tensor, sigma: float) -> Tensor:
    """
    Return (n, height, width) blurred by `sigma` pixels, edges repeated.

    Wide blurs work at half size, which is several times as fast and differs little.
    """
    if sigma < 3.0 or min(planes.shape[-2:]) < 8:
        taps = _gaussian_taps(sigma)
        return _convolve(_convolve(planes, taps, vertical=False), taps, vertical=True)
    # Halving and doubling blur a little themselves: a variance of 0.25 + 0.5.
    narrow = math.sqrt(sigma * sigma - 0.75) / 2
    return _double(gaussian_blur(_halve(planes), narrow), *planes.shape[-2:])


def _halve(planes: Tensor) -> Tensor:
    """Return (n, ceil(height / 2), ceil(width / 2)): averages of two by two pixels."""
    odd_height, odd_width = (side % 2 for side in planes.shape[-2:])
    if odd_height or odd_width:
        planes = F.pad(planes[:, None], (0, odd_width, 0, odd_height), mode="replicate")[:, 0]
    rows = planes[:, ::2] + planes[:, 1::2]  # sums of slices take a quarter of pooling's time
    return rows[..., ::2].add(rows[..., 1::2]).mul_(0.25)


def _double(planes: Tensor, height: int, width: int) -> Tensor:
    """Return (n, height, width): halved planes back at their first size, interpolated."""
    return _doubled(_doubled(planes, axis=2), axis=1)[:, :height, :width]


def _band(period: float) -> Tensor:
    """Return (512, 257): how much of each wave is kept by its length, log-Gaussian."""
    y, x = _frequencies()
    octaves = torch.log2(torch.hypot(x, y).clamp_min(1e-6) * period)
    return torch.exp(-0.5 * (octaves / _RADIAL_OCTAVES) ** 2)


def _sector(number: int) -> Tensor:
    """Return (512, 257): how much by its direction, Gaussian around that of a carrier."""
    y, x = _frequencies()
    direction = number * (math.pi / _CARRIERS)
    away = (torch.atan2(y, x) - direction + math.pi / 2) % math.pi - math.pi / 2
    return torch.exp(-0.5 * (away / _ANGULAR_SIGMA) ** 2)


def _frequencies() -> tuple[Tensor, Tensor]:
    return torch.fft.fftfreq(TILE)[:, None], torch.fft.rfftfreq(TILE)[None, :]


@dataclass(frozen=True)
class _Places:
    """
    Where each pixel samples its carrier.

    Attributes:
        upper_left: (height * width,) int32: of the four samples around, counted through all
            carriers.
        right_share, lower_share: (height, width) weights of those on that side.
    """

    upper_left: Tensor
    right_share: Tensor
    lower_share: Tensor


def _places(choice: Tensor, displacement: Tensor) -> _Places:
    """Return where carrier `choice` of each pixel is sampled, at its displaced place."""
    height, width = choice.shape
    x = displacement[0] + torch.arange(width, device=choice.device)
    y = displacement[1] + torch.arange(height, device=choice.device)[:, None]
    left, top = x.floor(), y.floor()
    # 32 bits are enough to count the carriers' samples, and half as much memory to go through.
    column, row = (side.int().bitwise_and_(TILE - 1) for side in (left, top))
    row.add_(choice, alpha=_STRIDE).mul_(_STRIDE).add_(column)
    return _Places(row.reshape(-1), x.sub_(left), y.sub_(top))


def _sample(carriers: Tensor, places: _Places) -> Tensor:
    """Return (height, width): the carriers at these places, bilinear."""
    flat, shape = carriers.reshape(-1), places.right_share.shape
    upper_left, upper_right, lower_left, lower_right = (
        flat[corner:].index_select(0, places.upper_left).view(shape)
        for corner in (0, 1, _STRIDE, _STRIDE + 1)
    )
    upper = upper_left.lerp_(upper_right, places.right_share)
    lower = lower_left.lerp_(lower_right, places.right_share)
    return upper.lerp_(lower, places.lower_share)


def _sobel(luma: Tensor) -> tuple[Tensor, Tensor]:
    smooth = [tap / 16 for tap in (1.0, 4.0, 6.0, 4.0, 1.0)]
    slope = [tap / 8 for tap in (-1.0, -2.0, 0.0, 2.0, 1.0)]
    plane = luma[None]
    across = _convolve(_convolve(plane, slope, vertical=False), smooth, vertical=True)
    down = _convolve(_convolve(plane, slope, vertical=True), smooth, vertical=False)
    return across[0], down[0]


def _doubled(planes: Tensor, axis: int) -> Tensor:
    """Return (n, height, width) with one side doubled, interpolated; edges are repeated."""
    shape, length = list(planes.shape), planes.shape[axis]
    shape[axis] *= 2
    doubled = planes.new_empty(shape)
    padded = _padded(planes, 1, axis)
    # In place of torch's interpolation, which takes more than twice as long.
    for side in (0, 1):
        neighbours = padded.narrow(axis, 2 * side, length)
        every_second = (slice(None),) * axis + (slice(side, None, 2),)
        doubled[every_second] = torch.lerp(planes, neighbours, 0.25)  # `out=` has no gradient
    return doubled


@functools.lru_cache(maxsize=64)
def _gaussian_taps(sigma: float) -> tuple[float, ...]:
    reach = max(1, math.ceil(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return tuple((taps / taps.sum()).tolist())


def _convolve(planes: Tensor, taps: Sequence[float], *, vertical: bool) -> Tensor:
    """Correlate each of (n, height, width) with `taps` along one axis, edges repeated."""
    axis = 1 if vertical else 2
    padded, length = _padded(planes, len(taps) // 2, axis), planes.shape[axis]
    # A sum of shifted planes: with one channel torch's convolution takes five times as long.
    total = padded.narrow(axis, 0, length) * taps[0]
    for shift, tap in enumerate(taps[1:], start=1):
        if tap:
            total.add_(padded.narrow(axis, shift, length), alpha=tap)
    return total


def _padded(planes: Tensor, reach: int, axis: int) -> Tensor:
    """Return (n, height, width) with its edges repeated along one axis."""
    pad = (0, 0, reach, reach) if axis == 1 else (reach, reach, 0, 0)
    return F.pad(planes[:, None], pad, mode="replicate")[:, 0]
