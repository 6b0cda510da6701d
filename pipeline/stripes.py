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

import torch
import torch.nn.functional as F
from torch import Tensor

# The constants below are in pixels of a picture whose short side has this many.
WORKING_SHORT_SIDE = 256
# Of luma, wide and soft: at equal visibility (JOD) they mislead as well as fine, sharp ones, cost
# fewer bits, and a lone edge does not become a row of beads. Of colour, fine: wide ones stain.
_LUMA_PERIOD, _COLOUR_PERIOD = 14.0, 9.0
_SOFTNESS_SIGMA = 1.5
_STRUCTURE_SIGMA = 6.0
_CARRIERS = 8  # a power of two, like the side of a tile: wrapping is a bit mask
_RADIAL_OCTAVES = 0.3
_ANGULAR_SIGMA = 0.25
# Side of a carrier. The carriers wrap around, so a picture of any size can be covered.
_TILE = 512
# Slope of the sign at a zero crossing: saturated one pixel away, but not jagged.
_SATURATION = 3.0
# Below four pixels a period is lost in the 4:2:0 planes, so small pictures get fewer stripes.
_SHORTEST_PERIOD = 4.0


def working_size(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) at which patterns are computed: a short side of at most 256."""
    ratio = min(1.0, WORKING_SHORT_SIDE / min(height, width))
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def scale_of(height: int, width: int) -> float:
    """Return by what the constants of stripes and visibility are multiplied at a working size."""
    return max(min(height, width) / WORKING_SHORT_SIDE, _SHORTEST_PERIOD / _COLOUR_PERIOD)


def make_carriers(scale: float, generator: torch.Generator) -> Tensor:
    """
    Return (2, 8, 512, 512) float32 stripe fields of unit deviation that wrap around.

    The first eight are luma's, the others colour's, of a shorter period. Carrier k is white
    noise kept only near the period and near the wave direction k * pi / 8, measured from x
    towards y; its stripes run at right angles to that.

    Args:
        scale: of the working picture, see `scale_of`.
        generator: of the CPU, whatever the device the carriers go to; its seed makes them.
    """
    fields = torch.empty(2, _CARRIERS, _TILE, _TILE)
    # One by one: all at once would take 50 MB more, which the process then keeps.
    for number, noise in enumerate(torch.randn(_CARRIERS, _TILE, _TILE, generator=generator)):
        spectrum = torch.fft.rfft2(noise)
        for kind, period in enumerate((_LUMA_PERIOD, _COLOUR_PERIOD)):
            kept = spectrum * _filter(period * scale, number)
            field = torch.fft.irfft2(kept, s=(_TILE, _TILE))
            fields[kind, number] = field / field.std()
    return fields


def stripes(luma: Tensor, displacement: Tensor, carriers: Tensor, scale: float) -> Tensor:
    """
    Return (3, height, width) in [-1, 1]: stripes of Y, Cb and Cr across the structure of `luma`.

    Args:
        luma: (height, width) float32 in levels of 0-255, at working size.
        displacement: (2, height, width), x and y in pixels: pixel p samples the carriers
            at p + displacement. Moving it with the picture moves the stripes.
        carriers: of `make_carriers`, on the same device.
        scale: of the working picture, see `scale_of`.
    """
    along = structure_angle(luma, _STRUCTURE_SIGMA * scale)
    choice = torch.round(along * (_CARRIERS / math.pi)).int() & (_CARRIERS - 1)
    in_luma, in_colour = (
        (_sample(fields, choice, displacement) * _SATURATION).clamp(-1.0, 1.0)
        for fields in carriers
    )
    soft = gaussian_blur(in_luma[None], _SOFTNESS_SIGMA * scale)[0]
    return torch.stack((soft, in_colour, in_colour))


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
        return _separable(planes, _gaussian_taps(sigma))
    # Halving and doubling blur a little themselves: a variance of 0.25 + 0.5.
    narrow = math.sqrt(sigma * sigma - 0.75) / 2
    return double(gaussian_blur(halve(planes), narrow), *planes.shape[-2:])


def halve(planes: Tensor) -> Tensor:
    """Return (n, ceil(height / 2), ceil(width / 2)): averages of two by two pixels."""
    return F.avg_pool2d(planes[None], 2, ceil_mode=True, count_include_pad=False)[0]


def double(planes: Tensor, height: int, width: int) -> Tensor:
    """Return (n, height, width): halved planes back at their first size, interpolated."""
    doubled = F.interpolate(planes[None], scale_factor=2.0, mode="bilinear", align_corners=False)
    return doubled[0, :, :height, :width]


def _filter(period: float, number: int) -> Tensor:
    """Return (512, 257): log-Gaussian around the period, Gaussian around a carrier's direction."""
    y = torch.fft.fftfreq(_TILE)[:, None]
    x = torch.fft.rfftfreq(_TILE)[None, :]
    radius = torch.hypot(x, y).clamp_min(1e-6)
    octaves = torch.log2(radius * period)
    radial = torch.exp(-0.5 * (octaves / _RADIAL_OCTAVES) ** 2)
    direction = number * (math.pi / _CARRIERS)
    away = (torch.atan2(y, x) - direction + math.pi / 2) % math.pi - math.pi / 2
    return radial * torch.exp(-0.5 * (away / _ANGULAR_SIGMA) ** 2)


def _sample(carriers: Tensor, choice: Tensor, displacement: Tensor) -> Tensor:
    """Return (height, width): carrier `choice` of each pixel, bilinear at its displaced place."""
    height, width = choice.shape
    x = displacement[0] + torch.arange(width, device=choice.device)
    y = displacement[1] + torch.arange(height, device=choice.device)[:, None]
    left, top = x.floor(), y.floor()
    right_share, bottom_share = x - left, y - top
    # 32 bits are enough to count the carriers' samples, and half as much memory to go through.
    wrap, column, row = _TILE - 1, left.int(), top.int()
    columns = (column & wrap, (column + 1) & wrap)
    first = choice * (_TILE * _TILE)
    rows = (first + (row & wrap) * _TILE, first + ((row + 1) & wrap) * _TILE)
    flat = carriers.reshape(-1)

    def at(row: Tensor, column: Tensor) -> Tensor:
        return flat.index_select(0, (row + column).reshape(-1)).view(height, width)

    upper = torch.lerp(at(rows[0], columns[0]), at(rows[0], columns[1]), right_share)
    lower = torch.lerp(at(rows[1], columns[0]), at(rows[1], columns[1]), right_share)
    return torch.lerp(upper, lower, bottom_share)


def _sobel(luma: Tensor) -> tuple[Tensor, Tensor]:
    smooth = [tap / 16 for tap in (1.0, 4.0, 6.0, 4.0, 1.0)]
    slope = [tap / 8 for tap in (-1.0, -2.0, 0.0, 2.0, 1.0)]
    plane = luma[None]
    across = _convolve(_convolve(plane, slope, vertical=False), smooth, vertical=True)
    down = _convolve(_convolve(plane, slope, vertical=True), smooth, vertical=False)
    return across[0], down[0]


@functools.lru_cache(maxsize=64)
def _gaussian_taps(sigma: float) -> tuple[float, ...]:
    reach = max(1, math.ceil(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return tuple((taps / taps.sum()).tolist())


def _separable(planes: Tensor, taps: Sequence[float]) -> Tensor:
    return _convolve(_convolve(planes, taps, vertical=False), taps, vertical=True)


def _convolve(planes: Tensor, taps: Sequence[float], *, vertical: bool) -> Tensor:
    """Correlate each of (n, height, width) with `taps` along one axis, edges repeated."""
    reach = len(taps) // 2
    pad = (0, 0, reach, reach) if vertical else (reach, reach, 0, 0)
    padded = F.pad(planes[:, None], pad, mode="replicate")[:, 0]
    axis, length = (1, planes.shape[1]) if vertical else (2, planes.shape[2])
    # A sum of shifted planes: with one channel torch's convolution takes five times as long.
    total = padded.narrow(axis, 0, length) * taps[0]
    for shift, tap in enumerate(taps[1:], start=1):
        if tap:
            total.add_(padded.narrow(axis, shift, length), alpha=tap)
    return total
