"""
How much change each place bears unseen.

The eye misses a change where the picture itself has contrast in the change's own band; so
the bound follows that contrast and is near nothing on sky, wall and skin.

`largest_change` is asked of every frame, so it works on the small picture that the flow is
measured on.

After contrast masking as in Legge and Foley 1980 (a power of the masking contrast, here another
one above a knee); band and powers were set by experiment against ColorVideoVDP.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.stripes import scale_of

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
# A place bears at most so many times its deviation among 3 x 3 neighbours of the small picture, as
# a geometric mean of the surroundings. The band and its energy reach some 8 pixels over an edge
# into a clear sky: rays stood out from every roof. And a lone edge, flat beside it, is no texture.
_LUMA_DETAIL = 0.9
_COLOUR_DETAIL = 0.62
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
# Levels of change per epsilon, where luma's mask has an RMS of 1; and how many more for what of it
# lies above the default. So 0.20, for those who want effect before all, uses what it may show:
# 62 throughout left JOD at 9.0 there, half a JOD over what is asked of stills.
_AMPLITUDE, _MORE_AMPLITUDE = 63.5, 46.0
_ACCELERATED_FROM = 0.12
_LARGEST_AMPLITUDE = 21.5
# Of the colour planes' bound in luma's, at the knee; their bound grows with the mask's square,
# since stains of green and purple are seen on skin and walls. JOD forgives them, eyes do not.
_COLOUR_SHARE = 0.3
# Where the picture itself has little colour, a change of colour is seen at once, JOD or no JOD: a
# white house got green and purple stains. In levels of deviation, taken within a few pixels and
# averaged geometrically, lest one red door opens the white wall beside it; noise of film and codec
# lies below the first. At equal JOD it costs one part in twenty of the effect.
_COLOURLESS, _COLOURFUL = 0.7, 2.5
_COLOUR_SIGMA, _COLOUR_SPREAD_SIGMA = 3.0, 8.0
# Nowhere are stains of green and purple seen as soon as on a face, where they lie about eyes, lips
# and hair; so of the bound of colour so much is left on what has the colour of skin. People's skin
# differs in luma and in how much colour it has, hardly in its hue.
_SKIN_SHARE = 0.2
# Levels of Cr above the middle for each of Cb below it: flatter than the first slope lie wood and
# orange, steeper than the second pink and purple; what is redder than the last is no skin.
_SKIN_SLOPES = (0.6, 4.5)
_SKIN_MARGINS = (3.0, 6.0)  # levels beyond each slope from which all of it counts as skin
_REDDEST_SKIN, _RED_MARGIN = 50.0, 10.0
_SKIN_SPREAD_SIGMA = 5.0  # eyes and lips lie within a face
# On dark ground, black trims and shadows, change is seen on a screen in a dim room; ColorVideoVDP's
# stands in a lit one, whose reflections hide it. So dark places bear this share, growing with their
# mean luma up to a level, and all others a little more: recognisers are misled as often at equal
# JOD.
_DARK_SHARE = 0.5
_BLACK, _BRIGHT = 16.0, 70.0
_LIGHT_SIGMA = 4.0
_LEAST_IN_SHADOW = 0.6  # levels: rounded it is one, so that black frames are changed, too
# Without this power of the mask's RMS a busy scene shows its change far more than a calm one.
# With it clips of one epsilon differ least in JOD; but text on black would take too much, so
# from some calmness on there is no more.
_CALMING_POWER = -0.4
_CALMEST = 0.04
# ... and without this bound, in amplitudes, a lone object on a calm ground would take it all.
_LARGEST_CHANGE = 2.0
# Margin and, in log energy, detail: of luma and of colour.
_KEEPING_AWAY = (
    (_LUMA_MARGIN, 2 * math.log(_LUMA_DETAIL)),
    (_COLOUR_MARGIN, 2 * math.log(_COLOUR_DETAIL)),
)


def band_contrast(luma: _Array) -> _Array:
    """
    Return (height, width) in levels: the contrast around each place in the stripes' band.

    Args:
        luma: (height, width) in levels of 0-255, at the size that the constants are in.
    """
    height, width = luma.shape
    contrast = np.asarray(cv2.exp(np.float32(0.5) * _log_energy(luma, 1.0)), np.float32)
    return np.asarray(cv2.resize(contrast, (width, height)), np.float32)


def largest_change(
    luma: NDArray[np.uint8], colours: Sequence[_Array], strength: float
) -> tuple[_Array, _Array]:
    """
    Return the bounds on the change of luma and of colour, each (ceil(h / 2), ceil(w / 2)), levels.

    Args:
        luma: (h, w) of the whole frame, of `motion.flow_picture`.
        colours: Cb and Cr, each (ceil(h / 2), ceil(w / 2)), in levels, 128 for none.
        strength: epsilon x video_strength.
    """
    scale = scale_of(*luma.shape)
    half = scale / 2  # energy and detail are smooth enough for half the size
    energy = _log_energy(luma, scale)
    detail = _blurred(_log_variance(luma), _DETAIL_SIGMA * half)
    in_luma, in_colour = (
        _mask(np.minimum(_inside(energy, margin * half, half), detail + more))
        for margin, more in _KEEPING_AWAY
    )
    in_colour *= in_colour
    in_colour *= np.float32(_COLOUR_SHARE)
    amplitude = _amplitude(strength)
    contrast = max(cv2.norm(in_luma, cv2.NORM_L2) / math.sqrt(in_luma.size), _CALMEST)
    gain = np.float32(amplitude * contrast**_CALMING_POWER)
    for mask in (in_luma, in_colour):
        mask *= gain
        np.minimum(mask, _LARGEST_CHANGE * amplitude, out=mask)
    in_colour *= _colourfulness(colours, half)
    light = _light(luma, half)
    in_shadow = np.maximum(in_luma * light, np.minimum(in_luma, np.float32(_LEAST_IN_SHADOW)))
    return in_shadow, in_colour * light


def _amplitude(strength: float) -> float:
    """Return levels of change where luma's mask has an RMS of 1."""
    more = _MORE_AMPLITUDE * max(0.0, strength - _ACCELERATED_FROM)
    return min(_AMPLITUDE * strength + more, _LARGEST_AMPLITUDE)


def _light(luma: NDArray[np.uint8], scale: float) -> _Array:
    """Return (ceil(h / 2), ceil(w / 2)), 0 to 1: how much of its bound a place's light allows."""
    mean = _blurred(_halved(luma), _LIGHT_SIGMA * scale)
    above_black = np.clip((mean - np.float32(_BLACK)) / np.float32(_BRIGHT - _BLACK), 0.0, 1.0)
    return np.float32(_DARK_SHARE) + np.float32(1 - _DARK_SHARE) * above_black


def _colourfulness(colours: Sequence[_Array], scale: float) -> _Array:
    """Return (height, width), 0 to 1: how much of its bound a change of colour may use."""
    means = blue, red = [_blurred(plane, _COLOUR_SIGMA * scale) for plane in colours]
    variance = np.full(colours[0].shape, _NOISE_VARIANCE, np.float32)
    for plane, mean in zip(colours, means, strict=True):
        square = _blurred(plane * plane, _COLOUR_SIGMA * scale)
        variance += np.maximum(square - mean * mean, 0.0)
    spread = _blurred(_log(variance), _COLOUR_SPREAD_SIGMA * scale)
    deviation = np.asarray(cv2.exp(np.float32(0.5) * spread), np.float32)
    share = (deviation - np.float32(_COLOURLESS)) / np.float32(_COLOURFUL - _COLOURLESS)
    share = np.clip(share, 0.0, 1.0)
    share *= 1 - np.float32(1 - _SKIN_SHARE) * _skin(blue, red, scale)
    return share


def _skin(blue: _Array, red: _Array, scale: float) -> _Array:
    """Return (height, width), 0 to 1: whether the mean Cb and Cr, levels, are those of skin."""
    less_blue, more_red = 128 - blue, red - 128
    above = (more_red - _SKIN_SLOPES[0] * less_blue) / _SKIN_MARGINS[0]
    below = (_SKIN_SLOPES[1] * less_blue - more_red) / _SKIN_MARGINS[1]
    redder = (_REDDEST_SKIN - more_red) / _RED_MARGIN
    inside = np.minimum(np.minimum(above, below, out=above), redder, out=above)
    np.clip(inside, 0.0, 1.0, out=inside)
    spread = _blurred(np.asarray(inside, np.float32), _SKIN_SPREAD_SIGMA * scale)
    return np.asarray(np.minimum(2 * spread, 1.0), np.float32)


def _log_energy(picture: _Array | NDArray[np.uint8], scale: float) -> _Array:
    """Return (ceil(h / 2), ceil(w / 2)): log energy in the stripes' band, levels squared."""
    fine = _blurred(picture, _BAND_FINE_SIGMA * scale)
    band = fine - _blurred(picture, _BAND_COARSE_SIGMA * scale)
    band *= np.float32(_BAND_GAIN)
    band *= band
    energy = _blurred(_halved(band), _ENERGY_SIGMA * scale / 2)
    return _log(energy + np.float32(_NOISE_ENERGY))


def _log_variance(picture: NDArray[np.uint8]) -> _Array:
    plane = picture.astype(np.float32)
    mean, square = (
        cv2.boxFilter(p, cv2.CV_32F, (3, 3), borderType=cv2.BORDER_REPLICATE)
        for p in (picture, plane * plane)
    )
    variance = np.asarray(square - mean * mean, np.float32)
    return _halved(_log(np.maximum(variance, 0.0) + np.float32(_NOISE_VARIANCE)))


def _inside(energy: _Array, margin: float, scale: float) -> _Array:
    side = 2 * max(1, round(margin)) + 1
    least = cv2.erode(energy, np.ones((side, side), np.uint8))
    return _blurred(np.asarray(least, np.float32), _MARGIN_SIGMA * scale)


def _mask(log_energy: _Array) -> _Array:
    log_contrast = 0.5 * log_energy - np.float32(math.log(_KNEE_CONTRAST))
    below = np.minimum(log_contrast, np.float32(0.0)) * np.float32(_POWER_BELOW - _POWER_ABOVE)
    log_contrast *= np.float32(_POWER_ABOVE)
    log_contrast += below
    return np.asarray(cv2.exp(log_contrast), np.float32)  # several times as fast as NumPy's


def _log(plane: _Array) -> _Array:
    return np.asarray(cv2.log(plane), np.float32)


def _blurred(plane: _Array | NDArray[np.uint8], sigma: float) -> _Array:
    taps = _taps(sigma)
    blurred = cv2.sepFilter2D(plane, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32)


@functools.lru_cache(maxsize=16)
def _taps(sigma: float) -> _Array:
    """Return the weights that OpenCV takes for float32; for bytes it would take fewer."""
    return np.asarray(cv2.getGaussianKernel(round(8 * sigma + 1) | 1, sigma, cv2.CV_32F))


def _halved(plane: _Array | NDArray[np.uint8]) -> _Array:
    height, width = ((side + 1) // 2 for side in plane.shape)
    halved = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(halved, np.float32)
