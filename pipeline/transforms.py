"""
The random transforms that EoT averages over, on pictures of Y, Cb and Cr.

`publish` is what really happens to a picture on its way to a recogniser: it is shrunk,
blurred, its colour halved, its blocks quantised; and `cut_out`, since many see a part of it
alone. `shuffle_and_rotate` is for transfer to networks we do not know. All take (n, channels,
height, width) float32 levels, give the same shape, treat each of the n copies differently, and
let gradients through. Random numbers come from the generator's own device, so that one on the
CPU draws alike for every device.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

_SMALLEST_SCALE = 0.5
_LARGEST_SIGMA = 1.0
# JPEG's qualities; the quantisers of H.264 at CRF 18-28 lie among these.
_QUALITIES = (40, 95)
_LARGEST_ANGLE = math.radians(24)
# Of the short side; a common recogniser's square has seven eighths of it.
_SMALLEST_WINDOW = 0.85
# Where a picture is cut in two for shuffling, as a share of its side.
_CUTS = (0.3, 0.7)
_BLOCK = 8
# JPEG's example tables (ITU-T T.81, annex K).
_LUMA_STEPS = """
    16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56
    14 17 22 29 51 87 80 62  18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92
    49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""
_CHROMA_STEPS = """
    17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99
    47 66 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
    99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99"""


def publish(batch: Tensor, generator: Generator) -> Tensor:
    """Return the copies (n, 3, h, w) as a site or a codec would pass them on."""
    return compress(blur(rescale(batch, generator), generator), generator)


def rescale(batch: Tensor, generator: Generator, smallest: float = _SMALLEST_SCALE) -> Tensor:
    """Shrink each copy by a random factor from `smallest` to 1, and enlarge it again."""
    scales = _uniform(generator, (len(batch),), smallest, 1.0).tolist()
    copies = zip(batch.split(1), scales, strict=True)
    return torch.cat([_there_and_back(copy, scale) for copy, scale in copies])


def blur(batch: Tensor, generator: Generator, largest_sigma: float = _LARGEST_SIGMA) -> Tensor:
    """Blur each copy by a Gaussian of random sigma, from 0 to `largest_sigma` pixels."""
    sigmas = _uniform(generator, (len(batch),), 0.0, largest_sigma)
    return gaussian_blur(batch, sigmas.to(batch), largest_sigma)


def compress(
    batch: Tensor, generator: Generator, qualities: tuple[int, int] = _QUALITIES
) -> Tensor:
    """Halve the colour planes and quantise all, each copy (3, h, w) at a random JPEG quality."""
    scales = _step_scale(_uniform(generator, (len(batch),), *qualities)).to(batch)
    # Not slices, whose gradients are whole pictures of zeros.
    luma, chroma = batch.split((1, 2), dim=1)
    luma = quantise(luma, scales, _table(_LUMA_STEPS, batch))
    chroma = quantise(halve(chroma), scales, _table(_CHROMA_STEPS, batch))
    return torch.cat((luma, enlarge(chroma, batch.shape[-2:])), dim=1)


def shuffle_and_rotate(batch: Tensor, generator: Generator) -> Tensor:
    """
    Cut each copy in 2 x 2 blocks, swap them at random and rotate each by up to 24 degrees.

    After Wang et al. 2024, "Boosting adversarial transferability by block shuffle and
    rotation" (arXiv:2308.10299); unlike theirs, what a rotated block uncovers shows the
    picture around it and not black.
    """
    count = len(batch)
    cuts = _uniform(generator, (count, 2), *_CUTS)
    swaps = _uniform(generator, (count, 2), 0.0, 1.0) < 0.5
    angles = _uniform(generator, (count, 2, 2), -_LARGEST_ANGLE, _LARGEST_ANGLE)
    return rearrange(batch, *(draw.to(batch.device) for draw in (cuts, swaps, angles)))


def cut_out(batch: Tensor, generator: Generator, smallest: float = _SMALLEST_WINDOW) -> Tensor:
    """
    Show each copy through a window of its own, stretched to the whole.

    Some recognisers squeeze a picture into their square, most cut the square out of it. Of
    each side a window keeps from `smallest` of the short side to all, wherever that lies.
    """
    height, width = batch.shape[-2:]
    least = smallest * min(height, width) / torch.tensor([width, height])
    share = least + (1 - least) * _uniform(generator, (len(batch), 2), 0.0, 1.0).cpu()
    middle = (1 - share) * _uniform(generator, (len(batch), 2), -1.0, 1.0).cpu()
    windows = torch.cat((torch.diag_embed(share), middle[..., None]), dim=2).to(batch)
    grid = F.affine_grid(windows, list(batch.shape), align_corners=False)
    return F.grid_sample(batch, grid, padding_mode="reflection", align_corners=False)


def gaussian_blur(batch: Tensor, sigmas: Tensor, largest_sigma: float) -> Tensor:
    """Blur each copy by its own sigma (n,), in pixels and at most `largest_sigma`; 0 is none."""
    radius = math.ceil(3 * largest_sigma)
    if radius == 0:
        return batch
    count, channels, height, width = batch.shape
    # One grouped call takes a fifth of the time of a call per copy.
    taps = _gaussian_taps(sigmas, radius).repeat_interleave(channels, 0)[:, None]
    planes = batch.reshape(1, count * channels, height, width)
    planes = F.pad(planes, (radius,) * 4, mode="replicate")
    planes = F.conv2d(planes, taps[..., None], groups=count * channels)
    planes = F.conv2d(planes, taps[..., None, :], groups=count * channels)
    return planes.reshape(batch.shape)


def halve(batch: Tensor) -> Tensor:
    """Return the copies at half the size, rounded up, as 4:2:0 keeps colour."""
    return F.avg_pool2d(batch, 2, ceil_mode=True, count_include_pad=False)


def enlarge(batch: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Return the copies at the larger `size` (height, width)."""
    return F.interpolate(batch, tuple(size), mode="bilinear", align_corners=False)


def shrink(batch: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the copies at another `size` (height, width), without aliasing where smaller."""
    if size == tuple(batch.shape[-2:]):
        return batch
    return F.interpolate(batch, size, mode="bilinear", align_corners=False, antialias=True)


def quantise(batch: Tensor, scales: Tensor, table: Tensor) -> Tensor:
    """
    Quantise 8 x 8 DCT blocks; gradients pass as if nothing had been rounded.

    Args:
        batch: (n, channels, height, width) levels.
        scales: (n,), by which each copy's table is multiplied; no step falls below 1.
        table: (8, 8) steps in levels, vertical frequency first.
    """
    return straight_through(batch, _quantised(batch.detach(), scales, table))


def _quantised(batch: Tensor, scales: Tensor, table: Tensor) -> Tensor:
    height, width = batch.shape[-2:]
    steps = (scales.reshape(-1, 1, 1, 1, 1, 1) * table).round().clamp_min(1.0)
    restored = inverse_block_dct((block_dct(batch) / steps).round() * steps)
    return restored[..., :height, :width]


def block_dct(batch: Tensor) -> Tensor:
    """Return (n, channels, rows, columns, 8, 8): the orthonormal DCT of 8 x 8 blocks."""
    height, width = batch.shape[-2:]
    padded = F.pad(batch, (0, -width % _BLOCK, 0, -height % _BLOCK), mode="replicate")
    blocks = padded.unflatten(3, (-1, _BLOCK)).unflatten(2, (-1, _BLOCK)).transpose(3, 4)
    basis = _dct_basis(batch)
    return basis @ blocks @ basis.T


def inverse_block_dct(coefficients: Tensor) -> Tensor:
    """Return (n, channels, height, width) of whole blocks: the inverse of `block_dct`."""
    basis = _dct_basis(coefficients)
    blocks = basis.T @ coefficients @ basis
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def rearrange(batch: Tensor, cuts: Tensor, swaps: Tensor, angles: Tensor) -> Tensor:
    """
    Cut each copy in 2 x 2 blocks, swap and rotate them.

    Args:
        batch: (n, channels, height, width).
        cuts: (n, 2) where rows and columns are cut, as a share of the side.
        swaps: (n, 2) bool, whether the two parts change places.
        angles: (n, 2, 2) radians, by which each block is rotated around its middle.
    """
    height, width = batch.shape[-2:]
    row, row_part, row_middle = _shuffled(height, cuts[:, 0], swaps[:, 0])
    column, column_part, column_middle = _shuffled(width, cuts[:, 1], swaps[:, 1])
    copy = torch.arange(len(batch), device=batch.device)[:, None, None]
    angle = angles[copy, row_part[:, :, None], column_part[:, None, :]]
    down, right = (row - row_middle)[:, :, None], (column - column_middle)[:, None, :]
    y = row_middle[:, :, None] + angle.cos() * down + angle.sin() * right
    x = column_middle[:, None, :] + angle.cos() * right - angle.sin() * down
    grid = torch.stack((2 * x / width - 1, 2 * y / height - 1), dim=-1).to(batch)
    return F.grid_sample(batch, grid, padding_mode="reflection", align_corners=False)


def straight_through(value: Tensor, exact: Tensor) -> Tensor:
    """Return `exact`, with the gradient of `value`."""
    return value + (exact - value).detach()


def _uniform(generator: Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    draws = torch.rand(shape, generator=generator, device=generator.device)
    return low + (high - low) * draws


def _there_and_back(copy: Tensor, scale: float) -> Tensor:
    height, width = copy.shape[-2:]
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    return enlarge(shrink(copy, small), (height, width))


def _gaussian_taps(sigmas: Tensor, radius: int) -> Tensor:
    """Return (n, 2 radius + 1), each row summing to 1."""
    distance = torch.arange(-radius, radius + 1, dtype=sigmas.dtype, device=sigmas.device)
    # A sigma of 0 would divide by it; with this one the middle tap alone is above 0.
    taps = torch.exp(-0.5 * (distance / sigmas[:, None].clamp_min(1e-2)).square())
    return taps / taps.sum(dim=1, keepdim=True)


def _step_scale(quality: Tensor) -> Tensor:
    """Return by what a JPEG encoder multiplies its tables at a quality of 1-100 (libjpeg)."""
    return torch.where(quality < 50, 50 / quality, 2 - quality / 50)


def _table(steps: str, like: Tensor) -> Tensor:
    values = [float(step) for step in steps.split()]
    return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(_BLOCK, _BLOCK)


def _dct_basis(like: Tensor) -> Tensor:
    """Return (8, 8): a row for each frequency of the orthonormal DCT-II."""
    place = torch.arange(_BLOCK, dtype=like.dtype, device=like.device)
    basis = torch.cos(torch.pi / _BLOCK * (place[None] + 0.5) * place[:, None])
    basis[0] *= math.sqrt(0.5)
    return basis * math.sqrt(2 / _BLOCK)


def _shuffled(size: int, cut: Tensor, swap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """
    Return where each place of one axis takes its sample from, all (n, size).

    Returns:
        The source's place in pixels (of pixel middles), its part (0 or 1), that part's middle.
    """
    place = torch.arange(size, device=cut.device) + 0.5
    border = (cut * size).round()[:, None]
    # To swap two parts is to roll the axis by the first one's length.
    source = (place + torch.where(swap[:, None], border, 0.0)) % size
    part = (source >= border).long()
    return source, part, torch.where(part == 0, border / 2, (border + size) / 2)
