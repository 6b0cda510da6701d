"""One frame of a video as a picture, as a player shows it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2

from pipeline.errors import UnreadableMedia
from pipeline.moments import Moments
from pipeline.probe import probe
from pipeline.settings import Limits
from pipeline.shown import displayed

# Decoding is done for one frame alone, so there is little to share.
_THREADS = 2
# Containers and people round times by up to a millisecond, and the first frame's as well; the
# shortest frames that are taken (limits.max_fps) last 4 ms.
_ROUNDING = Fraction(1, 500)


@dataclass(frozen=True)
class Still:
    """
    A frame as a picture.

    Attributes:
        png: as a player shows it; whoever looks for changes finds no others in it.
        seconds: when it begins, from the video's first.
        duration: of the video, in seconds; None where its container does not say.
    """

    png: bytes
    seconds: float
    duration: float | None


def still(path: Path, moment: Fraction, limits: Limits) -> Still:
    """
    Return the frame that is shown at a moment.

    Args:
        moment: seconds from the first frame; after the last one it is that.

    Raises:
        MediaError: as `probe`, or the video has no frame that can be decoded.
    """
    info = probe(path, limits)
    with closing(Moments(info, limits, _THREADS).since(moment + _ROUNDING)) as frames:
        shown = next(frames, None)
    if shown is None:
        raise UnreadableMedia(f"{path.name} has no frame that can be decoded.")
    _, data = cv2.imencode(".png", displayed(shown.frame, info.video))
    duration = None if info.duration is None else float(info.duration)
    return Still(data.tobytes(), float(shown.seconds), duration)
