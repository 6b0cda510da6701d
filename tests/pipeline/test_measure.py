"""How far apart two pictures are."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.measure import (
    EQUAL_DB,
    FrameMeasure,
    measure_planes,
    psnr_db,
    snr_db,
    ssim,
    summarise,
)
from pipeline.planes import Planes


def _textured(height: int = 96, width: int = 128, seed: int = 0) -> Planes:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 400, (height, width))
    luma = (128 + cv2.GaussianBlur(noise, (0, 0), 4)).clip(40, 210).astype(np.uint8)
    chroma = np.full(((height + 1) // 2, (width + 1) // 2), 120, np.uint8)
    return Planes(luma, chroma, chroma.copy(), 8)


def _at_ten_bits(picture: Planes) -> Planes:
    luma, cb, cr = (plane.astype(np.uint16) * np.uint16(4) for plane in picture)
    return Planes(luma, cb, cr, 10)


def _with_luma(picture: Planes, luma: NDArray[Any]) -> Planes:
    kind: Any = picture.luma.dtype
    return Planes(luma.astype(kind), picture.cb, picture.cr, picture.depth)


def test_equal_pictures_have_the_cap_for_psnr_and_one_for_ssim() -> None:
    picture = _textured()

    measure = measure_planes(picture, picture.copy())

    assert measure.psnr_db == EQUAL_DB
    assert measure.ssim == pytest.approx(1)
    assert (measure.largest, measure.mean, measure.p999) == (0, 0, 0)
    assert measure.rms == (0, 0, 0)


def test_a_shift_by_ten_levels_is_28_dot_13_db() -> None:
    picture = _textured()

    measure = measure_planes(picture, _with_luma(picture, picture.luma + 10))

    assert measure.psnr_db == pytest.approx(20 * math.log10(255 / 10))
    assert measure.psnr_db == pytest.approx(28.13, abs=0.01)
    assert (measure.largest, measure.mean, measure.p999) == (10, 10, 10)
    assert measure.rms == (10, 0, 0)


def test_gaussian_noise_of_known_sigma_has_the_psnr_of_that_sigma() -> None:
    picture = _textured(240, 320)
    noise = np.random.default_rng(1).normal(0, 5, picture.luma.shape).round()
    rounding = 1 / 12  # variance that rounding to whole levels adds

    measure = measure_planes(picture, _with_luma(picture, picture.luma + noise))

    assert measure.psnr_db == pytest.approx(10 * math.log10(255**2 / (25 + rounding)), abs=0.1)
    assert measure.mean == pytest.approx(5 * math.sqrt(2 / math.pi), abs=0.1)
    assert measure.p999 == pytest.approx(3.29 * 5, abs=1.5)


def test_ssim_agrees_with_its_definition_computed_window_by_window() -> None:
    """The reference: Wang's formula at each place, its weights written out."""
    a = _textured(20, 24).luma.astype(np.float64)
    b = a + np.random.default_rng(2).normal(0, 8, a.shape)
    at = np.arange(-5, 6)
    line = np.exp(-(at**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / np.outer(line, line).sum()

    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            cov = (weights * (p - mp) * (q - mq)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append(
                (2 * mp * mq + c1) * (2 * cov + c2) / ((mp * mp + mq * mq + c1) * (vp + vq + c2))
            )

    assert ssim(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(
        np.mean(values), abs=1e-4
    )


def test_a_flat_change_of_brightness_hurts_ssim_less_than_noise_of_equal_size() -> None:
    picture = _textured()
    signs = np.random.default_rng(3).choice([-6, 6], picture.luma.shape)

    shifted = measure_planes(picture, _with_luma(picture, picture.luma + 6))
    noisy = measure_planes(picture, _with_luma(picture, picture.luma + signs))

    assert shifted.psnr_db == pytest.approx(noisy.psnr_db)
    assert noisy.ssim < shifted.ssim - 0.05


def test_a_picture_smaller_than_the_window_is_measured_too() -> None:
    picture = _textured(8, 8)

    assert measure_planes(picture, picture.copy()).ssim == pytest.approx(1)


def test_ten_bit_changes_are_told_in_levels_of_eight_bits() -> None:
    picture = _at_ten_bits(_textured())

    measure = measure_planes(picture, _with_luma(picture, picture.luma + 6))

    assert (measure.largest, measure.mean, measure.p999) == (1.5, 1.5, 1.5)
    assert measure.psnr_db == pytest.approx(20 * math.log10(255 / 1.5))


def test_an_eight_bit_picture_equals_itself_at_ten_bits() -> None:
    picture = _textured()

    for measure in (
        measure_planes(picture, _at_ten_bits(picture)),
        measure_planes(_at_ten_bits(picture), picture),
    ):
        assert measure.psnr_db == EQUAL_DB
        assert measure.ssim == pytest.approx(1)


def test_a_change_of_colour_alone_shows_in_the_largest_change_and_not_in_psnr() -> None:
    picture = _textured()
    tinted = Planes(picture.luma, picture.cb + 9, picture.cr, 8)

    measure = measure_planes(picture, tinted)

    assert measure.psnr_db == EQUAL_DB
    assert (measure.largest, measure.p999) == (9, 9)
    assert measure.rms == (0, 9, 0)


def test_pictures_of_different_sizes_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="sizes"):
        measure_planes(_textured(96, 128), _textured(96, 126))


def test_one_wild_sample_in_ten_thousand_is_beyond_the_percentile() -> None:
    chroma = np.full((50, 50), 128, np.uint8)
    picture = Planes(np.full((100, 100), 50, np.uint8), chroma, chroma, 8)
    luma = picture.luma.copy()
    luma[3, 4] = 250

    measure = measure_planes(picture, _with_luma(picture, luma))

    assert measure.largest == 200
    assert measure.p999 == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), depth=st.sampled_from([8, 10]))
def test_measures_agree_with_plain_arithmetic(seed: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    kind: Any = np.uint8 if depth == 8 else np.uint16

    def picture() -> Planes:
        shapes = ((13, 17), (7, 9), (7, 9))
        luma, cb, cr = (rng.integers(0, 1 << depth, s).astype(kind) for s in shapes)
        return Planes(luma, cb, cr, depth)

    a, b = picture(), picture()
    changes = [np.abs(p.astype(int) - q) / a.level for p, q in zip(a, b, strict=True)]

    measure = measure_planes(a, b)

    assert measure.largest == max(c.max() for c in changes)
    assert measure.mean == pytest.approx(changes[0].mean())
    assert measure.rms == pytest.approx([math.sqrt((c**2).mean()) for c in changes])
    quantiles = [np.quantile(c, 0.999, method="inverted_cdf") for c in changes]
    assert measure.p999 == pytest.approx(max(quantiles))


def _measure(rms: float, ssim: float = 0.9, largest: float = 1.0) -> FrameMeasure:
    return FrameMeasure(psnr_db(rms), ssim, largest, rms, (rms, rms, rms), largest)


def test_frames_together_have_the_psnr_of_their_mean_squared_change() -> None:
    together = summarise([_measure(3, 0.9, 20), _measure(4, 0.8, 10)])

    assert together.frames == 2
    assert together.psnr_db == pytest.approx(10 * math.log10(255**2 / 12.5))
    assert together.worst_psnr_db == psnr_db(4)
    assert (together.ssim, together.worst_ssim) == (pytest.approx(0.85), 0.8)
    assert (together.largest, together.p999, together.mean) == (20, 20, 3.5)


def test_one_unchanged_frame_does_not_make_the_whole_look_unchanged() -> None:
    assert summarise([_measure(0), _measure(5)]).psnr_db < 40


def test_no_frames_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no frames"):
        summarise([])


def test_snr_is_the_ratio_of_energies_within_the_cap() -> None:
    assert snr_db(100, 1) == pytest.approx(20)
    assert snr_db(1, 100) == pytest.approx(-20)
    assert snr_db(5, 0) == EQUAL_DB
    assert snr_db(1, 1e-300) == EQUAL_DB


def test_snr_of_silence_is_not_a_number() -> None:
    assert snr_db(0, 1) is None
    assert snr_db(0, 0) is None
