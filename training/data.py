"""Recordings of speech, and stretches of them, drawn at random and made to differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.speech import RATE

Recording = NDArray[np.int16]  # (n,) at `RATE`; half of what float32 takes, and all that files hold
Sound = NDArray[np.float32]  # (n,) at `RATE`, full scale is 1

LENGTH = RATE * 16 // 5  # samples of a stretch, 3.2 s
_FULL = 32_768
_KINDS = (".g722", ".gsm", ".ogg", ".wav")
_NO_SPEECH = ("beep", "music", "silence", "tones")  # in names of files and folders
_LEAST_PEAK = 0.02


def read_recordings(folders: Iterable[Path]) -> list[Recording]:
    """Return what is said in all files below some folders, where it lasts a second or more."""
    sounds = [_read(folder / name) for folder in folders for name in _speech_below(folder)]
    return [sound for sound in sounds if len(sound) >= RATE and _is_heard(sound)]


def _speech_below(folder: Path) -> list[Path]:
    names = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.suffix in _KINDS)
    return [name for name in names if not any(word in str(name) for word in _NO_SPEECH)]


def _read(file: Path) -> Recording:
    convert = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    blocks: list[NDArray[Any]] = [np.zeros(0, np.int16)]
    # Raw GSM and G.722 have no mark of their own to be told by.
    with av.open(str(file), format=file.suffix[1:]) as container:
        for frame in container.decode(audio=0):
            frame.pts = None
            blocks += [piece.to_ndarray().ravel() for piece in convert.resample(frame)]
        blocks += [piece.to_ndarray().ravel() for piece in convert.resample(None)]
    return np.asarray(np.concatenate(blocks), np.int16)


def _is_heard(sound: Recording) -> bool:
    return max(int(sound.max()), -int(sound.min())) >= _LEAST_PEAK * _FULL


def draw(recordings: Sequence[Recording], random: np.random.Generator) -> Sound:
    """
    Return (`LENGTH`,) of one recording, no two alike.

    Faster or slower, with pitch and formants; anywhere in it, or it anywhere in silence; louder or
    quieter; and by chance brighter or duller, in noise, or as from a telephone.
    """
    recording = recordings[int(random.integers(len(recordings)))]
    sound = _cut(_at_speed(recording, random.uniform(0.82, 1.22)), random)
    sound = sound * np.float32(random.uniform(0.1, 0.9) / (np.abs(sound).max() + 1e-3))
    if random.random() < 0.5:
        decibels = random.normal(0, 6)
        sound = _filtered(sound, lambda hertz: 10 ** (decibels / 20 * (2 * hertz / RATE - 0.2)))
    if random.random() < 0.3:
        sound = sound + noise_below(sound, 8, 40, random)
    if random.random() < 0.2:
        edge = random.uniform(3300, 6500)
        sound = _filtered(sound, lambda hertz: 1 / (1 + np.exp((hertz - edge) / 80)))
    return sound


def noise_below(
    sound: Sound, least_db: float, most_db: float, random: np.random.Generator
) -> Sound:
    """Return noise between white and nearly pink, so many dB weaker than a sound as a whole."""
    spectrum = np.fft.rfft(random.standard_normal(len(sound)))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** random.uniform(0, 0.7)
    noise = np.fft.irfft(spectrum, len(sound))
    level = sound.std() * 10 ** (-random.uniform(least_db, most_db) / 20)
    return (noise * (level / noise.std())).astype(np.float32)


def _at_speed(recording: Recording, speed: float) -> Sound:
    places = np.arange(0, len(recording) - 1, speed)
    return np.interp(places, np.arange(len(recording)), recording / _FULL).astype(np.float32)


def _cut(sound: Sound, random: np.random.Generator) -> Sound:
    spare = len(sound) - LENGTH
    start = random.integers(abs(spare) + 1)
    return sound[start : start + LENGTH] if spare > 0 else np.pad(sound, (start, -spare - start))


def _filtered(sound: Sound, gain: Callable[[NDArray[Any]], NDArray[Any]]) -> Sound:
    """Return a sound with each frequency, given in Hz, times its gain."""
    spectrum = np.fft.rfft(sound) * gain(np.fft.rfftfreq(len(sound), 1 / RATE))
    return np.fft.irfft(spectrum, len(sound)).astype(np.float32)
