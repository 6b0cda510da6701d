"""
How much change each place bears unseen.

The eye misses a change where the picture itself has contrast in the change's own band; so
the bound follows that contrast and is near nothing on sky, wall and skin.

After contrast masking as in Legge and Foley 1980 (a power of the masking contrast); band,
power and spread were set by experiment against ColorVideoVDP.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.stripes import double, gaussian_blur, halve

# In pixels of a working picture with a short side of 256.
_BAND_FINE_SIGMA = 1.03
_BAND_COARSE_SIGMA = 2.0
_ENERGY_SIGMA = 4.05
_SPREAD_SIGMA = 6.5
# How far from a flat neighbour a place must lie to count as textured. Without it the bound
# spreads over the edges of flat areas, where colour shows as fringes: so colour keeps farther
# away. At equal visibility (JOD 9.5) recognisers are misled as often, and walls stay clean.
_LUMA_MARGIN = 4.0
_COLOUR_MARGIN = 6.0
_MARGIN_SIGMA = 3.0
# The band filter's gain, so that the contrast is in levels of the band's own peak.
_BAND_GAIN = 1.6
# Energy of the noise of a flat place, levels squared: keeps the logarithm finite.
_NOISE_ENERGY = 0.05
_REFERENCE_CONTRAST = 8.0
_POWER = 1.2
_LARGEST_MASK = 2.5
# Levels of change per epsilon, where the mask and its RMS are 1.
_AMPLITUDE = 72.0
_LARGEST_AMPLITUDE = 19.0
# Of the colour planes' bound in luma's. In full, it misleads recognisers a little more at the
# same JOD, but stains skin and walls green and purple, which that metric forgives and eyes do not.
_COLOUR_SHARE = 0.6
# Without this power of the mask's RMS a busy scene shows its change far more than a calm one:
# visibility within one clip swung from JOD 7.8 to 9.8.
_CALMING_POWER = -0.47
# ... and without this bound, in amplitudes, a lone object on a calm ground would take it all.
_LARGEST_CHANGE = 2.0


def largest_change(luma: Tensor, scale: float, strength: float) -> Tensor:
    """
    Return (3, height, width): the bound on the change of Y, Cb and Cr, in levels.

    Args:
        luma: (height, width) float32 in levels of 0-255, at working size.
        scale: of the working picture, see `stripes.scale_of`.
        strength: epsilon x video_strength.
    """
    # The energy is smooth enough for half the size, where all this costs a quarter.
    energy = _log_energy(luma, scale)
    # A geometric mean: one strong edge in a flat neighbourhood must not open all of it.
    around = gaussian_blur(energy, _SPREAD_SIGMA * scale / 2)
    in_luma, in_colour = (
        _mask(torch.minimum(around, _inside(energy, margin * scale / 2, scale / 2)))
        for margin in (_LUMA_MARGIN, _COLOUR_MARGIN)
    )
    amplitude = min(_AMPLITUDE * strength, _LARGEST_AMPLITUDE)
    calmed = amplitude * _mask(around).square().mean().sqrt() ** _CALMING_POWER
    bound = torch.cat((in_luma, _COLOUR_SHARE * in_colour)) * calmed
    return double(bound.clamp_max(_LARGEST_CHANGE * amplitude), *luma.shape)[[0, 1, 1]]


def _log_energy(luma: Tensor, scale: float) -> Tensor:
    """Return (1, height, width) halved: log energy in the stripes' band, levels squared."""
    plane = luma[None]
    fine = gaussian_blur(plane, _BAND_FINE_SIGMA * scale)
    band = _BAND_GAIN * (fine - gaussian_blur(plane, _BAND_COARSE_SIGMA * scale))
    return (gaussian_blur(halve(band * band), _ENERGY_SIGMA * scale / 2) + _NOISE_ENERGY).log()


def _inside(energy: Tensor, margin: float, scale: float) -> Tensor:
    """Return the least energy within `margin` pixels, smoothed: textures without their rims."""
    reach = max(1, round(margin))
    across = F.max_pool2d(-energy, (1, 2 * reach + 1), 1, (0, reach))
    least = -F.max_pool2d(across, (2 * reach + 1, 1), 1, (reach, 0))
    return gaussian_blur(least, _MARGIN_SIGMA * scale)


def _mask(log_energy: Tensor) -> Tensor:
    """Return what a place of that energy bears, in (0, 2.5]."""
    contrast = torch.exp(0.5 * log_energy) / _REFERENCE_CONTRAST
    return (contrast**_POWER).clamp_max(_LARGEST_MASK)
