"""A pattern takes its share of what the frame bears, and never more than the budget."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.limiter import limited
from pipeline.motion import Field, Layer

BUDGET = 6.9


def pattern(channels: int) -> Field:
    return np.random.default_rng(1).uniform(-1, 1, (160, 240, channels)).astype(np.float32)


def bound(level: float) -> NDArray[np.float32]:
    return np.full((80, 120), level, np.float32)


def rms(layer: Layer) -> float:
    return float(np.sqrt(np.square(layer, dtype=np.float64).mean()))


@pytest.mark.parametrize("channels", [2, 3])
def test_luma_and_colour_take_their_share_of_their_own_bound(channels: int) -> None:
    drawn = pattern(channels)
    changes = limited(drawn, (bound(4.0), bound(1.5)), BUDGET)
    assert len(changes) == channels
    for channel, (change, level) in enumerate(zip(changes, (4.0, 1.5, 1.5), strict=False)):
        assert np.allclose(change, level * drawn[..., channel])


def test_a_place_that_bears_nothing_is_not_changed() -> None:
    in_luma = bound(4.0)
    in_luma[:, :60] = 0.0
    change, _ = limited(pattern(2), (in_luma, bound(1.0)), BUDGET)
    assert np.abs(change[:, :119]).max() == 0.0
    assert np.abs(change[:, 122:]).max() > 3.9


def test_a_layer_over_the_budget_is_brought_down_to_it_and_others_stay() -> None:
    drawn = pattern(3)
    luma, cb, cr = limited(drawn, (bound(15.0), bound(2.0)), BUDGET)
    assert rms(luma) == pytest.approx(BUDGET)
    assert np.allclose(cb, 2 * drawn[..., 1])
    assert np.allclose(cr, 2 * drawn[..., 2])


def test_what_is_given_is_not_written() -> None:
    drawn, bounds = pattern(2), (bound(40.0), bound(2.0))
    before = [array.copy() for array in (drawn, *bounds)]
    limited(drawn, bounds, BUDGET)
    assert all(map(np.array_equal, before, (drawn, *bounds)))
