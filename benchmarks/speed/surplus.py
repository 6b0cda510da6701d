"""
Where the surplus over a plain transcode comes from: the same video, of the product's work one
thing more each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pipeline.sound
from pipeline.parameters import AudioLevel
from pipeline.planes import Planes
from pipeline.sound import Untouched
from pipeline.video import VideoProtector

NOTHING = "decoded and encoded, nothing changed"
MASKED = "and the sound masked"
COMPUTED = "and the change computed, but the original encoded"
ADDED = "and the change encoded: the product"
STEPS = (NOTHING, MASKED, COMPUTED, ADDED)

_masker, _protect = pipeline.sound.TrackMasker, VideoProtector.protect


@contextmanager
def up_to(step: str) -> Iterator[None]:
    """Do as much as `step` says of what the product does to picture and sound."""
    pictures: dict[str, Callable[[VideoProtector, Planes, Planes], None]] = {
        NOTHING: _copy,
        MASKED: _copy,
        COMPUTED: _compute,
        ADDED: _protect,
    }
    masker = _untouched if step == NOTHING else _masker
    with (
        patch.object(VideoProtector, "protect", pictures[step]),
        patch.object(pipeline.sound, "TrackMasker", masker),
    ):
        yield


def _untouched(sample_rate: int, channels: int, level: AudioLevel, seed: int) -> Untouched:
    return Untouched()


def _copy(protector: VideoProtector, original: Planes, protected: Planes) -> None:
    for source, target in zip(original, protected, strict=True):
        target[:] = source


def _compute(protector: VideoProtector, original: Planes, protected: Planes) -> None:
    _protect(protector, original, protected)
    _copy(protector, original, protected)
