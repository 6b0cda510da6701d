"""A pattern takes its share of what the frame bears, and never more than the budget."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.limiter import limited
from pipeline.motion import Layer

BUDGET = 6.9


def pattern() -> Layer:
    return np.random.default_rng(1).uniform(-1, 1, (160, 240)).astype(np.float32)


def bound(level: float) -> Layer:
    return np.full((80, 120), level, np.float32)


def rms(layer: Layer) -> float:
    return float(np.sqrt(np.square(layer, dtype=np.float64).mean()))


def test_a_pattern_takes_its_share_of_the_bound() -> None:
    assert np.allclose(limited(pattern(), bound(4.0), BUDGET), 4.0 * pattern())


def test_a_place_that_bears_nothing_is_not_changed() -> None:
    borne = bound(4.0)
    borne[:, :60] = 0.0
    change = limited(pattern(), borne, BUDGET)
    assert np.abs(change[:, :119]).max() == 0.0
    assert np.abs(change[:, 122:]).max() > 3.9


def test_a_change_over_the_budget_is_brought_down_to_it() -> None:
    change = limited(pattern(), bound(15.0), BUDGET)
    assert rms(change) == pytest.approx(BUDGET)
    assert np.allclose(change, pattern() * (BUDGET / rms(pattern())), atol=1e-4)


def test_what_is_given_is_not_written() -> None:
    drawn, borne = pattern(), bound(40.0)
    limited(drawn, borne, BUDGET)
    assert np.array_equal(drawn, pattern())
    assert np.array_equal(borne, bound(40.0))
