"""Sounds made on the spot: a voice that detectors take for one, chords, drums."""

from __future__ import annotations

import numpy as np
from scipy import signal

_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))
_BANDWIDTHS = (60, 90, 120)


def voice(seconds: float, rate: int, seed: int = 1) -> np.ndarray:
    """Return (1, n) float32: glottal pulses through formants, in syllables with fricatives."""
    random = np.random.default_rng(seed)
    sound = np.zeros(0)
    while len(sound) < seconds * 16_000:
        sound = np.concatenate([sound, _fricative(random), _vowel(random)])
    ratio = signal.resample_poly(sound[: int(seconds * 16_000)], rate, 16_000)
    return (0.3 * ratio).astype(np.float32)[None]


def chords(seconds: float, rate: int) -> np.ndarray:
    """Return (1, n) float32: struck chords that ring out."""
    at = np.arange(int(seconds * rate)) / rate
    notes = [261.6, 329.6, 392.0]
    partials = [np.sin(2 * np.pi * n * k * at + k) / k**1.5 for n in notes for k in range(1, 7)]
    return (0.08 * sum(partials) * np.exp(-1.5 * (at % 1))).astype(np.float32)[None]


def drums(seconds: float, rate: int) -> np.ndarray:
    """Return (1, n) float32: a bass drum four times a second, a snare on every other beat."""
    random = np.random.default_rng(2)
    at = np.arange(int(seconds * rate)) / rate
    beat, phase = np.divmod(at, 0.25)
    bass = 0.4 * np.sin(2 * np.pi * 60 * phase) * np.exp(-12 * phase)
    snare = 0.2 * random.standard_normal(len(at)) * np.exp(-30 * phase) * (beat % 2)
    return (bass + snare).astype(np.float32)[None]


def _vowel(random: np.random.Generator) -> np.ndarray:
    rate = 16_000
    at = np.arange(int(rate * random.uniform(0.12, 0.25))) / rate
    bend = np.sin(2 * np.pi * random.uniform(0.5, 2) * at + random.uniform(0, 6))
    phase = np.cumsum(120 * 2 ** (0.3 * bend)) / rate
    sound = np.diff(np.floor(phase), prepend=0) + 0.01 * random.standard_normal(len(at))
    for frequency, bandwidth in zip(_VOWELS[random.integers(4)], _BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * bandwidth / rate)
        poles = [1, -2 * radius * np.cos(2 * np.pi * frequency / rate), radius**2]
        sound = signal.lfilter([1 - radius], poles, sound)
    edges = np.minimum(at / 0.03, (at[-1] - at) / 0.04)
    return sound / np.abs(sound).max() * np.minimum(1, edges)


def _fricative(random: np.random.Generator) -> np.ndarray:
    hiss = random.standard_normal(int(16_000 * random.uniform(0.03, 0.1)))
    return 0.05 * signal.lfilter([1, -0.95], [1], hiss) * np.hanning(len(hiss))
