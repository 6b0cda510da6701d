"""
How far apart two pictures or two sounds are, as numbers.

Pure arithmetic on planes and samples: which frames and samples belong together is decided
by the callers. Changes are in levels of an 8-bit plane whatever the depth, so that numbers
of 8-bit and 10-bit videos can be laid side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.planes import Plane, Planes

# Equal pictures and equal sounds have no finite PSNR or SNR, and JSON knows no infinity:
# this stands for "equal, or too near to matter". One sample of an 8K frame off by one level
# is 124 dB; 16-bit sound cannot exceed 98.
EQUAL_DB = 100.0

# Wang et al. 2004, section III-C.
_WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


@dataclass(frozen=True)
class FrameMeasure:
    """
    How far a protected picture is from its original.

    Attributes:
        psnr_db: of luma, against a peak of 255 levels; `EQUAL_DB` for equal pictures.
        ssim: of luma, 1 for equal pictures.
        largest: greatest change of any sample of the three planes, 8-bit levels.
        mean: mean absolute change of luma, 8-bit levels.
        rms: root of the mean squared change of Y, Cb, Cr, 8-bit levels.
        p999: the 99.9th percentile of the absolute change, of the plane where it is
            greatest, 8-bit levels.
    """

    psnr_db: float
    ssim: float
    largest: float
    mean: float
    rms: tuple[float, float, float]
    p999: float


@dataclass(frozen=True)
class PictureMeasure:
    """
    The measures of the sampled frames of one video, taken together.

    Attributes:
        frames: how many were measured.
        psnr_db: from the mean squared change of luma over all of them.
        worst_psnr_db: of the frame that changed most.
        ssim, worst_ssim: mean and least.
        largest, p999: greatest of any frame.
        mean: mean of the frames' means.
        rms: of Y, Cb, Cr over all frames.
    """

    frames: int
    psnr_db: float
    worst_psnr_db: float
    ssim: float
    worst_ssim: float
    largest: float
    mean: float
    rms: tuple[float, float, float]
    p999: float


def measure_planes(original: Planes, protected: Planes) -> FrameMeasure:
    """
    Return how far `protected` is from `original`; their depths may differ.

    Raises:
        ValueError: the pictures have different sizes.
    """
    changes = [_change(a, b) for a, b in _at_one_depth(original, protected)]
    level = max(original.level, protected.level)
    luma = changes[0]
    rms = [change.rms / level for change in changes]
    return FrameMeasure(
        psnr_db=psnr_db(rms[0]),
        ssim=ssim(_as_levels(original), _as_levels(protected)),
        largest=max(change.largest for change in changes) / level,
        mean=luma.mean / level,
        rms=(rms[0], rms[1], rms[2]),
        p999=max(change.percentile(0.999) for change in changes) / level,
    )


def summarise(measures: Sequence[FrameMeasure]) -> PictureMeasure:
    """
    Return the measures of several frames as one.

    Raises:
        ValueError: there are none.
    """
    if not measures:
        raise ValueError("no frames were measured")
    squares = np.mean([np.square(m.rms) for m in measures], axis=0)
    rms = tuple(float(value) for value in np.sqrt(squares))
    return PictureMeasure(
        frames=len(measures),
        psnr_db=psnr_db(rms[0]),
        worst_psnr_db=min(m.psnr_db for m in measures),
        ssim=float(np.mean([m.ssim for m in measures])),
        worst_ssim=min(m.ssim for m in measures),
        largest=max(m.largest for m in measures),
        mean=float(np.mean([m.mean for m in measures])),
        rms=(rms[0], rms[1], rms[2]),
        p999=max(m.p999 for m in measures),
    )


def psnr_db(rms: float) -> float:
    """Return the PSNR of an RMS change in 8-bit levels, at most `EQUAL_DB`."""
    return EQUAL_DB if rms == 0 else min(EQUAL_DB, 20 * math.log10(255 / rms))


def snr_db(signal: float, noise: float) -> float | None:
    """
    Return the ratio of two energies in dB, within ±`EQUAL_DB`; None for a silent signal.
    """
    if signal == 0:
        return None
    if noise == 0:
        return EQUAL_DB
    return max(-EQUAL_DB, min(EQUAL_DB, 10 * math.log10(signal / noise)))


def ssim(original: NDArray[np.float32], protected: NDArray[np.float32]) -> float:
    """
    Return the mean structural similarity of two (height, width) pictures in levels of 0-255.

    Wang et al. 2004 ("Image quality assessment: from error visibility to structural
    similarity"): Gaussian window of 11 and sigma 1.5, population variance, means over the
    places where the window lies wholly inside, no downscaling before. A picture smaller
    than the window is measured with mirrored borders.
    """
    mean_a, mean_b = _smooth(original), _smooth(protected)
    squares = mean_a * mean_a + mean_b * mean_b
    product = mean_a * mean_b
    variances = _smooth(original * original + protected * protected) - squares
    covariance = _smooth(original * protected) - product
    index = (2 * product + _C1) * (2 * covariance + _C2)
    index /= (squares + _C1) * (variances + _C2)
    return float(np.mean(_inside(index), dtype=np.float64))


@dataclass(frozen=True)
class _Change:
    """How often each absolute change occurs: counts[v] samples changed by v."""

    counts: NDArray[np.int64]

    @property
    def largest(self) -> int:
        return int(np.flatnonzero(self.counts)[-1])

    @property
    def mean(self) -> float:
        return float(np.average(np.arange(len(self.counts)), weights=self.counts))

    @property
    def rms(self) -> float:
        squares = np.arange(len(self.counts), dtype=np.float64) ** 2
        return math.sqrt(np.average(squares, weights=self.counts))

    def percentile(self, share: float) -> int:
        """Return the least change that `share` of all samples do not exceed."""
        reached = np.cumsum(self.counts)
        return int(np.searchsorted(reached, share * reached[-1]))


def _at_one_depth(original: Planes, protected: Planes) -> list[tuple[Plane, Plane]]:
    depth = max(original.depth, protected.depth)
    pairs = []
    for a, b in zip(original, protected, strict=True):
        if a.shape != b.shape:
            raise ValueError(f"pictures of different sizes: {a.shape} and {b.shape}")
        pairs.append((_deepened(a, original.depth, depth), _deepened(b, protected.depth, depth)))
    return pairs


def _deepened(plane: Plane, depth: int, wanted: int) -> Plane:
    if depth == wanted:
        return plane
    return plane.astype(np.uint16) * np.uint16(1 << (wanted - depth))


def _change(original: Plane, protected: Plane) -> _Change:
    difference = cv2.absdiff(original, protected)
    return _Change(np.bincount(difference.ravel()))


def _as_levels(picture: Planes) -> NDArray[np.float32]:
    return picture.luma.astype(np.float32) / np.float32(picture.level)


def _smooth(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    return cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), _SIGMA)  # type: ignore[return-value]


def _inside(index: NDArray[Any]) -> NDArray[Any]:
    border = _WINDOW // 2
    if min(index.shape) < _WINDOW:
        return index
    return index[border:-border, border:-border]
