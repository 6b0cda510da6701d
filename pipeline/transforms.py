"""
The random transforms that EoT averages over, on pictures of Y, Cb and Cr.

`publish` is what really happens to a picture on its way to a recogniser: it is shrunk,
blurred, its colour halved, its blocks quantised. It and its parts take (n, channels, height,
width) float32 levels, give the same shape, treat each of the n copies differently, and let
gradients through.

`look` shows a picture from elsewhere, at places that each of n copies has of its own: in a
window, since many see a part of it alone; and shuffled, for transfer to networks we do not know.

Random numbers come from the generator's own device, so that one on the CPU draws alike for every
device.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pipeline.stripes import gaussian_blur

_SMALLEST_SCALE = 0.5
_LARGEST_SIGMA = 1.0
_BLURS = 16
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
    # One of a few, whose weights are then at hand.
    draws = torch.randint(_BLURS, (len(batch),), generator=generator, device=generator.device)
    sigmas = [largest_sigma * draw / (_BLURS - 1) for draw in draws.tolist()]
    copies = zip(batch, sigmas, strict=True)
    return torch.stack([gaussian_blur(copy, sigma) if sigma else copy for copy, sigma in copies])


def compress(
    batch: Tensor, generator: Generator, qualities: tuple[int, int] = _QUALITIES
) -> Tensor:
    """Halve the colour planes and quantise all, each copy (3, h, w) at a random JPEG quality."""
    scales = _step_scale(_uniform(generator, (len(batch),), *qualities)).to(batch)
    # Not slices, whose gradients are whole pictures of zeros.
    luma, chroma = batch.split((1, 2), dim=1)
    luma = quantise(luma, scales, _table(_LUMA_STEPS, batch.device))
    chroma = quantise(halve(chroma), scales, _table(_CHROMA_STEPS, batch.device))
    return torch.cat((luma, enlarge(chroma, batch.shape[-2:])), dim=1)


def look(picture: Tensor, places: Tensor) -> Tensor:
    """
    Return (n, channels, *size): what of (channels, h, w) lies at places (n, 2, *size).

    Interpolated without averaging, as most programs shrink a picture to a recogniser's input.
    """
    batch, grid = picture.expand(len(places), *picture.shape), places.permute(0, 2, 3, 1)
    return F.grid_sample(batch, grid, padding_mode="reflection", align_corners=False)


def within_windows(places: Tensor, shape: tuple[int, int], generator: Generator) -> Tensor:
    """
    Return the places of a window, for each copy another, that are those of a whole picture.

    Some recognisers squeeze a picture into their square, most cut the square out of it. Of
    each side a window keeps from `_SMALLEST_WINDOW` of the short side to all, wherever that lies.

    Args:
        places: (n, 2, height, width), x and y from -1 to 1.
        shape: height and width of the picture.
    """
    height, width = shape
    least = _SMALLEST_WINDOW * min(height, width) / torch.tensor([width, height])
    share = least + (1 - least) * _uniform(generator, (len(places), 2), 0.0, 1.0).cpu()
    middle = (1 - share) * _uniform(generator, (len(places), 2), -1.0, 1.0).cpu()
    share, middle = (part[..., None, None].to(places) for part in (share, middle))
    return places * share + middle


def straight_places(count: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Return (count, 2, *size), x and y from -1 to 1: each sample's own place."""
    height, width = size
    y, x = ((torch.arange(n, device=device) * 2 + 1) / n - 1 for n in (height, width))
    grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)))
    return grid.expand(count, -1, -1, -1)


def shuffled_places(
    count: int, size: tuple[int, int], generator: Generator, device: torch.device
) -> Tensor:
    """
    Return (count, 2, *size): of 2 x 2 blocks that change places and rotate by up to 24 degrees.

    After Wang et al. 2024, "Boosting adversarial transferability by block shuffle and
    rotation" (arXiv:2308.10299); unlike theirs, what a rotated block uncovers shows the
    picture around it and not black.
    """
    cuts = _uniform(generator, (count, 2), *_CUTS)
    swaps = _uniform(generator, (count, 2), 0.0, 1.0) < 0.5
    angles = _uniform(generator, (count, 2, 2), -_LARGEST_ANGLE, _LARGEST_ANGLE)
    return rearranged(size, *(draw.to(device) for draw in (cuts, swaps, angles)))


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
    return _times(blocks, _block_basis(batch.device).T)


def inverse_block_dct(coefficients: Tensor) -> Tensor:
    """Return (n, channels, height, width) of whole blocks: the inverse of `block_dct`."""
    blocks = _times(coefficients, _block_basis(coefficients.device))
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def _times(blocks: Tensor, matrix: Tensor) -> Tensor:
    """Return blocks (..., 8, 8), each as a row of 64 times (64, 64): one product for them all."""
    return (blocks.reshape(-1, _BLOCK * _BLOCK) @ matrix).reshape(blocks.shape)


def rearranged(size: tuple[int, int], cuts: Tensor, swaps: Tensor, angles: Tensor) -> Tensor:
    """
    Return (n, 2, *size): the places of a picture cut in 2 x 2 blocks that are swapped and rotated.

    Args:
        size: height and width.
        cuts: (n, 2) where rows and columns are cut, as a share of the side.
        swaps: (n, 2) bool, whether the two parts change places.
        angles: (n, 2, 2) radians, by which each block is rotated around its middle.
    """
    height, width = size
    row, row_part, row_middle = _shuffled(height, cuts[:, 0], swaps[:, 0])
    column, column_part, column_middle = _shuffled(width, cuts[:, 1], swaps[:, 1])
    # Each row and column picks its part's block: indexing takes several times as long.
    picks = [F.one_hot(part, 2).to(angles) for part in (row_part, column_part)]
    cosine, sine = (picks[0] @ part @ picks[1].mT for part in (angles.cos(), angles.sin()))
    down, right = (row - row_middle)[:, :, None], (column - column_middle)[:, None, :]
    y = (row_middle[:, :, None] + cosine * down + sine * right) * (2 / height) - 1
    x = (column_middle[:, None, :] + cosine * right - sine * down) * (2 / width) - 1
    return torch.stack((x, y), dim=1)


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


def _step_scale(quality: Tensor) -> Tensor:
    """Return by what a JPEG encoder multiplies its tables at a quality of 1-100 (libjpeg)."""
    return torch.where(quality < 50, 50 / quality, 2 - quality / 50)


@functools.lru_cache(maxsize=4)
def _table(steps: str, device: torch.device) -> Tensor:
    values = [float(step) for step in steps.split()]
    return torch.tensor(values, device=device).reshape(_BLOCK, _BLOCK)


@functools.lru_cache(maxsize=2)
def _block_basis(device: torch.device) -> Tensor:
    """Return (64, 64): a row for each frequency of a block's orthonormal DCT-II."""
    place = torch.arange(_BLOCK, dtype=torch.float32, device=device)
    basis = torch.cos(torch.pi / _BLOCK * (place[None] + 0.5) * place[:, None])
    basis[0] *= math.sqrt(0.5)
    basis *= math.sqrt(2 / _BLOCK)
    return torch.kron(basis, basis)


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
