"""A pair of sounds measured whole, as the meter of the product measures it in pieces."""

from __future__ import annotations

import numpy as np

from pipeline.masking import OVERLAP, NoiseToMask, NoiseToMaskMeter, Samples, hearing_model


def noise_to_mask(original: Samples, changed: Samples, sample_rate: int) -> NoiseToMask:
    """Return the ratios of a pair of (channels, n) sounds, a second at a time."""
    meter = NoiseToMaskMeter(sample_rate, original.shape[0])
    # The last windows reach beyond the end, as the first begin before the start.
    length = OVERLAP * hearing_model(sample_rate).hop
    tail = np.zeros((original.shape[0], length), np.float32)
    total = NoiseToMask()
    for start in range(0, original.shape[1], sample_rate):
        piece = slice(start, start + sample_rate)
        total += meter.push(original[:, piece], changed[:, piece] - original[:, piece])
    return total + meter.push(tail, tail)
