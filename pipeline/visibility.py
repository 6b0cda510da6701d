"""
How much change each place bears unseen.

The eye misses a change where the picture itself has contrast in the change's own band; so
the bound follows that contrast and is near nothing on sky, wall and skin.

`largest_change` is for anchors; `quick_bound` is the same formula in OpenCV, on a picture so
small that every frame can be asked.

After contrast masking as in Legge and Foley 1980 (a power of the masking contrast, here another
one above a knee); band and powers were set by experiment against ColorVideoVDP.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.stripes import double, gaussian_blur, halve, scale_of

_Array = NDArray[np.float32]

# In pixels of a working picture with a short side of 256.
_BAND_FINE_SIGMA = 1.03
_BAND_COARSE_SIGMA = 2.0
_ENERGY_SIGMA = 4.05
# How far from a flat neighbour a place must lie to count as textured. Without it the bound
# spreads over the edges of flat areas, where colour shows as fringes: so colour keeps farther
# away. At equal visibility (JOD 9.5) recognisers are misled as often, and walls stay clean.
_LUMA_MARGIN = 4.0
_COLOUR_MARGIN = 6.0
_MARGIN_SIGMA = 3.0
# A place bears at most so many times its deviation among 3 x 3 neighbours, as a geometric mean of
# the surroundings. The band and its energy reach some 8 pixels over an edge into a clear sky: rays
# stood out from every roof. And a lone edge, which has flat ground on both sides, is no texture.
_LUMA_DETAIL = 1.15
_COLOUR_DETAIL = 0.8
_DETAIL_SIGMA = 3.0
# Variance of the noise of a flat place, levels squared: keeps the logarithm finite.
_NOISE_VARIANCE = 0.02
# The band filter's gain, so that the contrast is in levels of the band's own peak.
_BAND_GAIN = 1.6
# Energy of the noise of a flat place, levels squared: keeps the logarithm finite.
_NOISE_ENERGY = 0.05
# Up to the knee, in levels of contrast, the bound grows faster than the contrast and above it far
# slower. With the first power throughout, the eighth of all places with the largest bound took more
# than half of what is seen (JOD) for a third of what recognisers lose.
_KNEE_CONTRAST = 3.2
_POWER_BELOW, _POWER_ABOVE = 1.2, 0.4
# Levels of change per epsilon, where luma's mask has an RMS of 1.
_AMPLITUDE = 66.0
_LARGEST_AMPLITUDE = 17.2
# Of the colour planes' bound in luma's, at the knee; their bound grows with the mask's square,
# since stains of green and purple are seen on skin and walls. JOD forgives them, eyes do not.
_COLOUR_SHARE = 0.3
# Where the picture itself has little colour, a change of colour is seen at once, JOD or no JOD: a
# white house got green and purple stains. In levels of deviation, taken within a few pixels and
# averaged geometrically, lest one red door opens the white wall beside it; noise of film and codec
# lies below the first. At equal JOD it costs one part in twenty of the effect.
_COLOURLESS, _COLOURFUL = 0.7, 2.5
_COLOUR_SIGMA, _COLOUR_SPREAD_SIGMA = 3.0, 8.0
# Without this power of the mask's RMS a busy scene shows its change far more than a calm one.
# With it clips of one epsilon differ least in JOD; but text on black would take too much, so
# from some calmness on there is no more.
_CALMING_POWER = -0.4
_CALMEST = 0.1
# ... and without this bound, in amplitudes, a lone object on a calm ground would take it all.
_LARGEST_CHANGE = 2.0
# Margin and, in log energy, detail: of luma and of colour.
_KEEPING_AWAY = (
    (_LUMA_MARGIN, 2 * math.log(_LUMA_DETAIL)),
    (_COLOUR_MARGIN, 2 * math.log(_COLOUR_DETAIL)),
)


def largest_change(luma: Tensor, scale: float, strength: float) -> Tensor:
    """
    Return (3, height, width): the bound on the change of Y, Cb and Cr, in levels.

    Args:
        luma: (height, width) float32 in levels of 0-255, at working size.
        scale: of the working picture, see `stripes.scale_of`.
        strength: epsilon x video_strength.
    """
    # The energy is smooth enough for half the size, where all this costs a quarter.
    energy, half = _log_energy(luma, scale), scale / 2
    detail = gaussian_blur(_log_variance(luma), _DETAIL_SIGMA * half)
    inside = _inside(energy, [margin * half for margin, _ in _KEEPING_AWAY], half)
    masks = _mask(torch.minimum(inside, torch.cat([detail + more for _, more in _KEEPING_AWAY])))
    masks[1] *= _COLOUR_SHARE * masks[1]
    amplitude = min(_AMPLITUDE * strength, _LARGEST_AMPLITUDE)
    contrast = masks[0].square().mean().sqrt().clamp_min(_CALMEST)
    bound = (masks * (amplitude * contrast**_CALMING_POWER)).clamp_max(_LARGEST_CHANGE * amplitude)
    in_luma, in_colour = double(bound, *luma.shape)
    return torch.stack((in_luma, in_colour, in_colour))


def colour_share(colours: Tensor, scale: float) -> Tensor:
    """
    Return (height, width), 0 to 1: how much of its bound a change of colour may use.

    Args:
        colours: (2, height, width) float32, Cb and Cr in levels, at working size.
        scale: of the working picture.
    """
    half, sigma = halve(colours), _COLOUR_SIGMA * scale / 2
    blurred = gaussian_blur(torch.cat((half, half * half)), sigma)
    mean, square = blurred[:2], blurred[2:]
    variance = (square - mean * mean).clamp_min(0.0).sum(dim=0, keepdim=True)
    spread = _COLOUR_SPREAD_SIGMA * scale / 2
    deviation = torch.exp(0.5 * gaussian_blur((variance + _NOISE_VARIANCE).log(), spread))
    share = (deviation - _COLOURLESS) / (_COLOURFUL - _COLOURLESS)
    return double(share.clamp(0.0, 1.0), *colours.shape[-2:])[0]


def band_contrast(luma: Tensor, scale: float) -> Tensor:
    """
    Return (height, width) in levels: the contrast around each place in the stripes' band.

    Args:
        luma: (height, width) float32 in levels of 0-255.
        scale: of the picture, see `stripes.scale_of`.
    """
    return double(_log_energy(luma, scale).mul(0.5).exp_(), *luma.shape)[0]


def quick_bound(picture: NDArray[np.uint8]) -> _Array:
    """
    Return (ceil(height / 2), ceil(width / 2), 2): what luma and colour bear, in amplitudes.

    Proportional to `largest_change`, nearly, at a fraction of its cost.

    Args:
        picture: (height, width) luma of the whole frame, at 160 lines or so.
    """
    scale = scale_of(*picture.shape)
    half = scale / 2
    energy = _quick_log_energy(picture, scale)
    detail = _blurred(_quick_log_variance(picture), _DETAIL_SIGMA * half)
    in_luma, in_colour = (
        _quick_mask(np.minimum(_quick_inside(energy, margin * half, half), detail + more))
        for margin, more in _KEEPING_AWAY
    )
    contrast = max(cv2.norm(in_luma, cv2.NORM_L2) / math.sqrt(in_luma.size), _CALMEST)
    calming = contrast**_CALMING_POWER
    in_colour *= in_colour
    bounds = np.stack((in_luma * calming, in_colour * (_COLOUR_SHARE * calming)))
    return np.minimum(bounds, _LARGEST_CHANGE, out=bounds).transpose(1, 2, 0)


def _log_energy(luma: Tensor, scale: float) -> Tensor:
    """Return (1, height, width) halved: log energy in the stripes' band, levels squared."""
    plane = luma[None]
    fine = gaussian_blur(plane, _BAND_FINE_SIGMA * scale)
    band = _BAND_GAIN * (fine - gaussian_blur(plane, _BAND_COARSE_SIGMA * scale))
    return (gaussian_blur(halve(band * band), _ENERGY_SIGMA * scale / 2) + _NOISE_ENERGY).log()


def _log_variance(luma: Tensor) -> Tensor:
    """Return (1, height, width) halved: log variance among 3 x 3 neighbours, levels squared."""
    padded = F.pad(luma[None, None], (1, 1, 1, 1), mode="replicate")[0]
    mean, square = _mean_of_nine(padded), _mean_of_nine(padded * padded)
    return halve(((square - mean * mean).clamp_min(0.0) + _NOISE_VARIANCE).log())


def _mean_of_nine(planes: Tensor) -> Tensor:
    """Return the means of 3 x 3 neighbours; sums of slices are ten times as fast as pooling."""
    rows = planes[:, :-2] + planes[:, 1:-1] + planes[:, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def _inside(energy: Tensor, margins: Sequence[float], scale: float) -> Tensor:
    """Return the least energy within each of `margins`, smoothed: textures without their rims."""
    reaches = (max(1, round(margin)) for margin in margins)
    least = [_least(_least(energy, reach, axis=2), reach, axis=1) for reach in reaches]
    return gaussian_blur(torch.cat(least), _MARGIN_SIGMA * scale)


def _least(planes: Tensor, reach: int, axis: int) -> Tensor:
    """Return the least of the neighbours up to `reach` along one axis; pooling takes thrice."""
    pad = (0, 0, reach, reach) if axis == 1 else (reach, reach, 0, 0)
    padded = F.pad(planes[:, None], pad, mode="replicate")[:, 0]
    length = planes.shape[axis]
    least = padded.narrow(axis, 0, length).clone()
    for shift in range(1, 2 * reach + 1):
        torch.minimum(least, padded.narrow(axis, shift, length), out=least)
    return least


def _mask(log_energy: Tensor) -> Tensor:
    """Return what a place of that energy bears, 1 at the knee."""
    log_contrast = 0.5 * log_energy - math.log(_KNEE_CONTRAST)
    below = log_contrast.clamp_max(0.0).mul_(_POWER_BELOW - _POWER_ABOVE)
    return log_contrast.mul_(_POWER_ABOVE).add_(below).exp_()


def _quick_log_energy(picture: NDArray[np.uint8], scale: float) -> _Array:
    fine = _blurred(picture, _BAND_FINE_SIGMA * scale)
    band = fine - _blurred(picture, _BAND_COARSE_SIGMA * scale)
    band *= np.float32(_BAND_GAIN)
    band *= band
    energy = _blurred(_halved(band), _ENERGY_SIGMA * scale / 2)
    return _log(energy + np.float32(_NOISE_ENERGY))


def _quick_log_variance(picture: NDArray[np.uint8]) -> _Array:
    plane = picture.astype(np.float32)
    mean, square = (
        cv2.boxFilter(p, cv2.CV_32F, (3, 3), borderType=cv2.BORDER_REPLICATE)
        for p in (picture, plane * plane)
    )
    variance = np.asarray(square - mean * mean, np.float32)
    return _halved(_log(np.maximum(variance, 0.0) + np.float32(_NOISE_VARIANCE)))


def _quick_inside(energy: _Array, margin: float, scale: float) -> _Array:
    side = 2 * max(1, round(margin)) + 1
    least = cv2.erode(energy, np.ones((side, side), np.uint8))
    return _blurred(np.asarray(least, np.float32), _MARGIN_SIGMA * scale)


def _quick_mask(log_energy: _Array) -> _Array:
    log_contrast = 0.5 * log_energy - np.float32(math.log(_KNEE_CONTRAST))
    below = np.minimum(log_contrast, np.float32(0.0)) * np.float32(_POWER_BELOW - _POWER_ABOVE)
    log_contrast *= np.float32(_POWER_ABOVE)
    log_contrast += below
    return np.asarray(cv2.exp(log_contrast), np.float32)  # several times as fast as NumPy's


def _log(plane: _Array) -> _Array:
    return np.asarray(cv2.log(plane), np.float32)


def _blurred(plane: _Array | NDArray[np.uint8], sigma: float) -> _Array:
    taps = _quick_taps(sigma)
    blurred = cv2.sepFilter2D(plane, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32)


@functools.lru_cache(maxsize=16)
def _quick_taps(sigma: float) -> _Array:
    """Return the weights that OpenCV takes for float32; for bytes it would take fewer."""
    return np.asarray(cv2.getGaussianKernel(round(8 * sigma + 1) | 1, sigma, cv2.CV_32F))


def _halved(plane: _Array) -> _Array:
    height, width = ((side + 1) // 2 for side in plane.shape)
    halved = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(halved, np.float32)
