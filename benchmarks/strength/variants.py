"""
Protected files, the control and the baselines, all made by the product's own `protect`.

Only what changes the planes or the samples is exchanged, so that one encoder, with one set of
options, makes all files that are compared. Seeds are fixed here; in use they are random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import baselines
import numpy as np
from numpy.typing import NDArray

import pipeline.protect
import pipeline.sound
import pipeline.transcode
from pipeline.audio import TrackMasker
from pipeline.parameters import AudioLevel, Parameters
from pipeline.report import Report
from pipeline.settings import Settings
from pipeline.sound import Untouched
from pipeline.surrogate import load_surrogates
from pipeline.video import VideoProtector

_SEED = 20261126
CONTROL, PROTECT, NETWORK, REFERENCE = "control", "protect", "network way", "EoT-4 FGSM"
FACES = "faces"
_PATTERNS: dict[str, baselines.Draw] = {
    "sign noise": baselines.sign_noise,
    "coarse noise": baselines.coarse_noise,
    "one Gabor": baselines.one_gabor,
    "bare stripes": baselines.bare_stripes,
}
BASELINES = tuple(_PATTERNS)


@dataclass(frozen=True)
class Method:
    """One way of changing a picture, and its nominal strength."""

    name: str
    epsilon: float

    @property
    def slug(self) -> str:
        """A name for files."""
        return f"{self.name.replace(' ', '-')}_{self.epsilon:.2f}"


def make_picture(original: Path, target: Path, method: Method, networks: Settings | None) -> Report:
    """
    Write `original` as changed by `method` to `target`.

    Args:
        networks: the settings of the network way or of the face way; needed by these two and
            by the reference design.

    Raises:
        PipelineError: why there is no result.
        ValueError: the method needs networks, and there are none.
    """
    parameters = Parameters(epsilon=method.epsilon, audio_level=AudioLevel.NONE)
    settings = _settings(method, networks)
    with patch.object(pipeline.transcode, "VideoProtector", _protector(method, networks)):
        return pipeline.protect.protect(original, target, parameters, settings).report


def make_sound(
    original: Path, target: Path, level: AudioLevel, recognisers: tuple[Path, ...] = ()
) -> Report:
    """
    Write `original` with its sound masked; with `NONE`, encoded anew and not changed.

    Args:
        recognisers: for the network way of the sound.

    Raises:
        PipelineError: why there is no result.
    """
    # `none` would copy the packets, and a control has to pass the same codec.
    parameters = Parameters(audio_level=AudioLevel.WEAK if level is AudioLevel.NONE else level)
    with (
        patch.object(pipeline.sound, "TrackMasker", _masker(level)),
        patch.object(pipeline.transcode, "VideoProtector", lambda *_: baselines.Plain()),
    ):
        settings = Settings(threads=1, recognisers=recognisers)
        return pipeline.protect.protect(original, target, parameters, settings).report


def masked(samples: NDArray[np.float32], rate: int, level: AudioLevel) -> NDArray[np.float32]:
    """Return (channels, n) sound as `make_sound` masks it, before any codec."""
    masker = TrackMasker(rate, len(samples), level)
    return np.concatenate([masker.push(samples), masker.finish()], axis=1)


def _settings(method: Method, networks: Settings | None) -> Settings:
    if method.name not in (NETWORK, FACES):
        return Settings(threads=1)
    if networks is None:
        raise ValueError(f"the method {method.name} needs a network")
    return networks


def _protector(method: Method, networks: Settings | None) -> Callable[..., Any]:
    if method.name == CONTROL:
        return lambda *_: baselines.Plain()
    if method.name in (PROTECT, NETWORK, FACES):
        return lambda width, height, parameters, settings, surrogates, _seed, *rest: VideoProtector(
            width, height, parameters, settings, surrogates, _SEED, *rest
        )
    draw = _reference(networks) if method.name == REFERENCE else _PATTERNS[method.name]
    return lambda _w, _h, parameters, *_: baselines.HeldPattern(draw, parameters, _SEED)


def _reference(networks: Settings | None) -> baselines.Draw:
    surrogates = load_surrogates(networks) if networks else None
    if surrogates is None:
        raise ValueError("the reference design needs a network")
    return baselines.reference_design(surrogates)


def _masker(level: AudioLevel) -> Callable[..., Any]:
    if level is AudioLevel.NONE:
        return lambda *_: Untouched()
    return TrackMasker
