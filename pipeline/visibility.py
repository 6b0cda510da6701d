"""
How much change of luma each place bears unseen.

The eye misses a change where the picture itself has contrast in the change's own band; so
the bound follows that contrast and is near nothing on sky, wall and skin. Colour is left alone:
at equal JOD recognisers are misled nearly as often without, and eyes see stains of green and
purple on skin, leaves and bright edges, which metrics forgive.

`largest_change` is asked of every frame, so it works on the small picture that the flow is
measured on.

After contrast masking as in Legge and Foley 1980 (a power of the masking contrast, here another
one above a knee); band and powers were set by experiment against ColorVideoVDP.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.stripes import scale_of

_Array = NDArray[np.float32]
_Colour = tuple[_Array, _Array]

# In pixels of a working picture with a short side of 256.
_BAND_FINE_SIGMA = 1.03
_BAND_COARSE_SIGMA = 2.0
_ENERGY_SIGMA = 4.05
# How far from a flat neighbour a place must lie to count as textured. Flat ground itself is kept
# clean by its own detail (below); this takes a few hundredths from rims and narrow textures.
_MARGIN = 4.0
_MARGIN_SIGMA = 3.0
# A place bears at most so many times its deviation among 3 x 3 neighbours of the small picture, as
# a geometric mean of the surroundings. The band and its energy reach some 8 pixels over an edge
# into a clear sky: rays stood out from every roof. And a lone edge, flat beside it, is no texture.
_DETAIL = 0.9
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
# lies above the default. So 0.20, for those who want effect before all, uses what it may show
# (without, it left half a JOD of that).
_AMPLITUDE, _MORE_AMPLITUDE = 86.0, 65.0
_ACCELERATED_FROM = 0.12
_LARGEST_AMPLITUDE = 30.0
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
# A frame that would show its change more than others bears less of it, such as a lawn seen from
# afar. What is seen of a change goes by its square over what masks it there: contrast in the
# stripes' band, and that of colour, which hides as much again at most. ColorVideoVDP has colour
# hide far more, but bars across a red petal are seen.
_COLOUR_MASKING = 0.46  # levels of contrast per variance of colour
_COLOUR_SIGMA = 3.2  # pixels: colour's band is what this takes away
# Far above so much, levels, of a change with an amplitude of one, all frames are seen alike.
_SEEN = 0.07


def band_contrast(luma: _Array) -> _Array:
    """
    Return (height, width) in levels: the contrast around each place in the stripes' band.

    Args:
        luma: (height, width) in levels of 0-255, at the size that the constants are in.
    """
    height, width = luma.shape
    contrast = np.asarray(cv2.exp(np.float32(0.5) * _log_energy(luma, 1.0)), np.float32)
    return np.asarray(cv2.resize(contrast, (width, height)), np.float32)


def largest_change(luma: NDArray[np.uint8], colour: _Colour, strength: float) -> _Array:
    """
    Return the bound on the change of luma, (ceil(h / 2), ceil(w / 2)), in levels.

    Args:
        luma: (h, w) of the whole frame, of `motion.flow_picture`.
        colour: of the same frame, of `motion.flow_colour`.
        strength: epsilon x video_strength.
    """
    scale = scale_of(*luma.shape)
    half = scale / 2  # energy and detail are smooth enough for half the size
    energy = _log_energy(luma, scale)
    inside = _inside(energy, _MARGIN * half, half)
    detail = _blurred(_log_variance(luma), _DETAIL_SIGMA * half)
    bound = _mask(np.minimum(inside, detail + np.float32(2 * math.log(_DETAIL))))
    contrast = max(cv2.norm(bound, cv2.NORM_L2) / math.sqrt(bound.size), _CALMEST)
    bound *= np.float32(contrast**_CALMING_POWER)
    np.minimum(bound, np.float32(_LARGEST_CHANGE), out=bound)
    bound *= np.float32(_amplitude(strength) * _unseen(bound, energy, colour, half))
    least = np.minimum(bound, np.float32(_LEAST_IN_SHADOW))
    return np.maximum(bound * _light(luma, half), least)


def _unseen(bound: _Array, log_energy: _Array, colour: _Colour, scale: float) -> float:
    """Return, 0 to 1, how much of its bound a frame may have lest it be seen more than others."""
    masking = np.asarray(cv2.exp(np.float32(0.5) * log_energy), np.float32)
    masking += np.minimum(np.float32(_COLOUR_MASKING) * _variance(colour, scale), masking)
    seen = cv2.norm(bound * bound / masking, cv2.NORM_L2) / math.sqrt(bound.size)
    return (1.0 + (seen / _SEEN) ** 2) ** -0.25


def _variance(colour: _Colour, scale: float) -> _Array:
    """Return (ceil(h / 2), ceil(w / 2)): variance of colour in its band, levels squared."""
    total = np.zeros_like(colour[0])
    for plane in colour:
        band = plane - _blurred(plane, _COLOUR_SIGMA * scale)
        total += band * band
    return _blurred(total, _ENERGY_SIGMA * scale)


def _amplitude(strength: float) -> float:
    """Return levels of change where luma's mask has an RMS of 1."""
    more = _MORE_AMPLITUDE * max(0.0, strength - _ACCELERATED_FROM)
    return min(_AMPLITUDE * strength + more, _LARGEST_AMPLITUDE)


def _light(luma: NDArray[np.uint8], scale: float) -> _Array:
    """Return (ceil(h / 2), ceil(w / 2)), 0 to 1: how much of its bound a place's light allows."""
    mean = _blurred(_halved(luma), _LIGHT_SIGMA * scale)
    above_black = np.clip((mean - np.float32(_BLACK)) / np.float32(_BRIGHT - _BLACK), 0.0, 1.0)
    return np.float32(_DARK_SHARE) + np.float32(1 - _DARK_SHARE) * above_black


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
