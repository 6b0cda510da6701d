"""The small network that says which way to change speech."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.generator import GeneratedDirections
from pipeline.masking import OVERLAP, hearing_model
from pipeline.misleading import Stretch
from pipeline.speech import RATE
from tests.pipeline.voices import voice

MODEL = hearing_model(RATE)
REACH = GeneratedDirections.reach


def stretch(samples: NDArray[np.float32]) -> Stretch:
    windows = samples.shape[1] // MODEL.hop - OVERLAP + 1
    return Stretch(samples, np.ones(windows, np.float32), 1.0)


def test_there_is_a_direction_for_each_window_and_band_but_the_context() -> None:
    samples = voice(3, RATE)
    directions = GeneratedDirections()(stretch(samples))
    windows = samples.shape[1] // MODEL.hop - OVERLAP + 1
    assert directions.shape == (windows - 2 * REACH, MODEL.bands)
    assert directions.dtype == np.float32
    assert np.abs(directions).max() <= 1
    assert directions.std() > 0.1


def test_a_direction_depends_on_no_window_beyond_its_reach() -> None:
    samples = voice(4, RATE)
    other = samples.copy()
    window = 300
    other[:, (window + REACH + OVERLAP) * MODEL.hop :] *= -0.3
    other[:, : (window - REACH) * MODEL.hop] = 0
    before, after = (GeneratedDirections()(stretch(each)) for each in (samples, other))
    inner = window - REACH
    assert np.allclose(before[inner], after[inner], atol=1e-4)
    assert not np.allclose(before[inner + 30], after[inner + 30], atol=1e-4)
