"""Original, protected and their difference as one picture, for eyes."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

import av
import cv2
import numpy as np

from pipeline.errors import OutputFailed
from pipeline.media import MediaInfo
from pipeline.pairing import Pairing, frame_pairs, frame_times, is_padded, pair_frames
from pipeline.publish import publish
from pipeline.settings import Limits
from pipeline.shown import Image, as_displayed, displayed, in_colour, resized
from pipeline.verify import SAMPLED_FRAMES, measured_pairs, most_changed_pair, open_pair

AMPLIFICATION = 8
_LARGEST_WIDTH = 3840
_GREY, _DARK = 128, 24
_GAP = 4
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def picture(
    original: Path,
    protected: Path,
    png: Path,
    limits: Limits | None = None,
) -> None:
    """
    Write original, protected and amplified difference side by side, where that changed most.

    Args:
        png: where to; it appears whole or not at all.

    Raises:
        UnreadableMedia: naming the file of the two that cannot be read.
        OutputFailed: `png` cannot be written.
    """
    limits = limits or Limits()
    first, second = open_pair(original, protected, limits)
    pair = _most_changed_frames(first, second, limits)
    size = pair[0].width, pair[0].height
    coded = in_colour(pair[1])
    if is_padded(size, (pair[1].width, pair[1].height)):
        coded = coded[: size[1], : size[0]]
    shown = displayed(pair[0], first.video), as_displayed(coded, second.video)
    write_png(png, side_by_side(*shown), may_replace=True)


def write_png(png: Path, image: Image, may_replace: bool) -> None:
    """
    Write a picture; it appears whole or not at all.

    Raises:
        OutputFailed: it cannot be written, or a file of that name is there that may not be
            replaced.
    """
    done, data = cv2.imencode(".png", image)
    if not done:
        raise OutputFailed(f"{png} cannot be written: the picture could not be encoded.")
    partial = png.with_name(f".{secrets.token_hex(8)}.part")
    try:
        partial.write_bytes(data.tobytes())
        publish(partial, png, may_replace)
    except OSError as error:
        raise OutputFailed(f"{png} cannot be written: {error.strerror}.") from error
    finally:
        # Where nothing could be written there is nothing to remove, and the reason is told.
        with contextlib.suppress(OSError):
            partial.unlink()


def side_by_side(
    original: Image, protected: Image, largest_width: int | None = _LARGEST_WIDTH
) -> Image:
    """
    Return three labelled panels in one picture.

    The third is grey where nothing changed, else eight times the change around grey.

    Args:
        original, protected: (height, width, 3) BGR; the second is scaled to the first.
        largest_width: of the whole, pixels; None leaves the panels at full size.
    """
    height, width = original.shape[:2]
    if protected.shape != original.shape:
        protected = resized(protected, width, height)
    change = protected.astype(np.int16) - original.astype(np.int16)
    difference = np.clip(_GREY + AMPLIFICATION * change, 0, 255).astype(np.uint8)
    panels = (
        ("original", original),
        ("protected", protected),
        (f"difference x{AMPLIFICATION}", difference),
    )
    size = _panel_size(width, height, largest_width)
    return _in_a_row([_labelled(label, resized(panel, *size)) for label, panel in panels])


def _most_changed_frames(
    original: MediaInfo, protected: MediaInfo, limits: Limits
) -> tuple[av.VideoFrame, av.VideoFrame]:
    first, second = (frame_times(info, limits).seconds for info in (original, protected))
    pairing = pair_frames(first, second, SAMPLED_FRAMES)
    measures = list(measured_pairs(original, protected, pairing, limits))
    pair = pairing.pairs[most_changed_pair(measures)]
    return next(frame_pairs(original, protected, Pairing("index", (pair,)), limits))


def _panel_size(width: int, height: int, largest_width: int | None) -> tuple[int, int]:
    if largest_width is None:
        return width, height
    scale = min(1.0, (largest_width - 2 * _GAP) // 3 / width)
    return max(1, int(width * scale)), max(1, int(height * scale))


def _labelled(label: str, panel: Image) -> Image:
    """Return the panel under a dark strip with its name, small enough to fit."""
    width = panel.shape[1]
    # All strips alike: as if each held the longest name.
    (wide, tall), below = cv2.getTextSize(f"difference x{AMPLIFICATION}", _FONT, 1.0, 1)
    scale = min(0.8, 0.9 * width / wide)
    height = max(8, round((tall + below) * scale * 1.6))
    strip = np.full((height, width, 3), _DARK, np.uint8)
    at = (max(2, width // 50), height - round(height * 0.35))
    cv2.putText(strip, label, at, _FONT, scale, (240, 240, 240), 1, cv2.LINE_AA)
    return np.concatenate([strip, panel])


def _in_a_row(panels: list[Image]) -> Image:
    gap = np.full((panels[0].shape[0], _GAP, 3), _DARK, np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
