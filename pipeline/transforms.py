"""
What happens to a picture before a recogniser sees it, as differentiable random transforms.

The network way averages its gradient over them (EoT, Athalye et al. 2018), so that what it
finds survives the encoder, the recogniser's small input, and a network other than its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Luminance quantisation at quality 50: ITU-T T.81, table K.1.
_JPEG_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_BLOCK = 8
_MOST_DEGREES = 24.0


@dataclass(frozen=True)
class View:
    """
    One way in which a recogniser may come to see the picture.

    Attributes:
        scale: of the picture before it becomes the network's input, 0.5 to 1.
        blur: sigma in pixels, 0 to 1.
        quality: of the quantisation, JPEG's scale.
        order: which of the four quarters comes to which place.
        degrees: by which each quarter is turned.
    """

    scale: float
    blur: float
    quality: float
    order: tuple[int, ...]
    degrees: tuple[float, ...]


def draw_view(generator: torch.Generator) -> View:
    """Return a random view; `generator` is of the CPU."""
    scale, blur, quality, *turns = torch.rand(7, generator=generator).tolist()
    order = torch.randperm(4, generator=generator).tolist()
    return View(
        scale=0.5 + 0.5 * scale,
        blur=blur,
        quality=60 + 35 * quality,
        order=tuple(order),
        degrees=tuple(_MOST_DEGREES * (2 * turn - 1) for turn in turns),
    )


def as_seen(frames: Tensor, view: View, size: int) -> Tensor:
    """
    Return (n, 3, size, size) RGB in [0, 1] as a network sees the frames.

    Args:
        frames: (n, 3, height, width) Y, Cb, Cr in levels of 0-255.
    """
    coded = quantised(subsampled(blurred(frames, view.blur)), view.quality)
    rescaled = F.interpolate(
        coded, scale_factor=view.scale, mode="bilinear", antialias=True, align_corners=False
    )
    return shuffled(resized(to_rgb(rescaled), size), view)


def to_rgb(frames: Tensor) -> Tensor:
    """
    Return (n, 3, height, width) RGB in [0, 1] of Y, Cb, Cr levels.

    BT.601, limited range, whatever the video's own matrix: recognisers differ more among
    themselves than these do.
    """
    y = (frames[:, 0] - 16) * (255 / 219)
    cb, cr = frames[:, 1] - 128, frames[:, 2] - 128
    red = y + 1.5960 * cr
    green = y - 0.3918 * cb - 0.8130 * cr
    blue = y + 2.0172 * cb
    return (torch.stack((red, green, blue), dim=1) / 255).clamp(0, 1)


def resized(frames: Tensor, size: int) -> Tensor:
    """Return the frames at size x size, their aspect given up as most recognisers do."""
    return F.interpolate(
        frames, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )


def blurred(frames: Tensor, sigma: float) -> Tensor:
    """Return the frames blurred by a Gaussian of `sigma` pixels, edges repeated."""
    if sigma < 0.1:
        return frames
    reach = math.ceil(3 * sigma)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=frames.device) / sigma) ** 2)
    taps = (taps / taps.sum()).to(frames)
    channels = frames.shape[1]
    padded = F.pad(frames, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, taps.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(rows, taps.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)


def subsampled(frames: Tensor) -> Tensor:
    """Return the frames with chroma as 4:2:0 leaves it: means of two by two."""
    size = frames.shape[-2:]
    chroma = F.avg_pool2d(frames[:, 1:], 2, ceil_mode=True, count_include_pad=False)
    chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.cat((frames[:, :1], chroma[..., : size[0], : size[1]]), dim=1)


def quantised(frames: Tensor, quality: float) -> Tensor:
    """
    Return the frames after rounding the cosine transform of their 8 x 8 blocks.

    Rounding has no gradient; this one passes it through unchanged (Bengio et al. 2013).

    Args:
        quality: JPEG's scale, 1 to 100.
    """
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    steps = (torch.tensor(_JPEG_LUMINANCE, device=frames.device) * scale).clamp_min(1).to(frames)
    basis = cosine_basis().to(frames)
    blocks, size = _blocks(frames)
    coefficients = basis @ blocks @ basis.T / steps
    rounded = coefficients + (coefficients.round() - coefficients).detach()
    return _joined(basis.T @ (rounded * steps) @ basis, size)


def cosine_basis() -> Tensor:
    """Return (8, 8), the orthonormal DCT-II: row k is the k-th cosine."""
    k, n = torch.arange(_BLOCK)[:, None], torch.arange(_BLOCK)[None, :]
    basis = torch.cos(math.pi * (2 * n + 1) * k / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    basis[0] /= math.sqrt(2)
    return basis


def shuffled(frames: Tensor, view: View) -> Tensor:
    """
    Return the frames with their quarters turned and moved.

    Block shuffle and rotation (BSR, Wang et al. 2024) keeps the gradient from fitting one
    network's attention. Quarters are equal here; theirs have random sizes.
    """
    height, width = (side // 2 for side in frames.shape[-2:])
    quarters = [
        frames[..., top : top + height, left : left + width]
        for top in (0, height)
        for left in (0, width)
    ]
    turned = [_turned(q, d) for q, d in zip(quarters, view.degrees, strict=True)]
    a, b, c, d = (turned[place] for place in view.order)
    return torch.cat((torch.cat((a, b), dim=3), torch.cat((c, d), dim=3)), dim=2)


def _blocks(frames: Tensor) -> tuple[Tensor, tuple[int, int]]:
    height, width = frames.shape[-2:]
    padded = F.pad(frames, (0, -width % _BLOCK, 0, -height % _BLOCK), mode="replicate")
    n, channels, rows, columns = padded.shape
    blocks = padded.view(n, channels, rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK)
    return blocks.transpose(3, 4), (height, width)


def _joined(blocks: Tensor, size: tuple[int, int]) -> Tensor:
    n, channels, rows, columns = blocks.shape[:4]
    frames = blocks.transpose(3, 4).reshape(n, channels, rows * _BLOCK, columns * _BLOCK)
    return frames[..., : size[0], : size[1]]


def _turned(frames: Tensor, degrees: float) -> Tensor:
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).to(frames)
    grid = F.affine_grid(matrix.expand(len(frames), 2, 3), list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
