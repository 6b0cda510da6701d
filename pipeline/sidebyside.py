"""
Original, protected and their difference as one picture, for eyes.

Each is shown as a player shows it: turned, mirrored, with square pixels.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.conversion import ANY_MATRIX
from pipeline.display import orientation, upright
from pipeline.errors import OutputFailed
from pipeline.pairing import (
    Pairing,
    frame_pairs,
    frame_times,
    is_padded,
    nearest,
    pair_frames,
)
from pipeline.reader import MediaInfo, VideoTrack
from pipeline.settings import Limits
from pipeline.verify import SAMPLED_FRAMES, measured_pairs, most_changed_pair, open_pair

Image = NDArray[np.uint8]

AMPLIFICATION = 8
_LARGEST_WIDTH = 3840
_GREY, _DARK = 128, 24
_GAP = 4
# That swscale converts to RGB, by their numbers in H.273.
_KNOWN_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def picture(
    original: Path,
    protected: Path,
    png: Path,
    moment: float | None = None,
    limits: Limits | None = None,
) -> None:
    """
    Write original, protected and amplified difference side by side.

    Args:
        png: where to; it appears whole or not at all.
        moment: seconds from the first frame; None is where the picture changed most.

    Raises:
        UnreadableMedia: naming the file of the two that cannot be read.
        OutputFailed: `png` cannot be written.
    """
    limits = limits or Limits()
    first, second = open_pair(original, protected, limits)
    pair = _frames_at(first, second, moment, limits)
    size = pair[0].width, pair[0].height
    coded = in_colour(pair[1])
    if is_padded(size, (pair[1].width, pair[1].height)):
        coded = coded[: size[1], : size[0]]
    shown = displayed(pair[0], first.video), as_displayed(coded, second.video)
    _write_png(png, side_by_side(*shown))


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
        protected = _resized(protected, width, height)
    change = protected.astype(np.int16) - original.astype(np.int16)
    difference = np.clip(_GREY + AMPLIFICATION * change, 0, 255).astype(np.uint8)
    panels = (
        ("original", original),
        ("protected", protected),
        (f"difference x{AMPLIFICATION}", difference),
    )
    size = _panel_size(width, height, largest_width)
    return _in_a_row([_labelled(label, _resized(panel, *size)) for label, panel in panels])


def displayed(frame: av.VideoFrame, track: VideoTrack) -> Image:
    """Return a frame as a player shows it, (height, width, 3) BGR."""
    return as_displayed(in_colour(frame), track)


def in_colour(frame: av.VideoFrame) -> Image:
    """Return a frame as it is coded, (height, width, 3) BGR."""
    # swscale refuses what it does not know, such as ICtCp: better shown in colours a little off.
    matrix = None if int(frame.colorspace) in _KNOWN_MATRICES else ANY_MATRIX
    shown = frame.reformat(format="bgr24", src_colorspace=matrix, threads=1)
    return np.asarray(shown.to_ndarray(), np.uint8)


def as_displayed(coded: Image, track: VideoTrack) -> Image:
    """Return a (height, width, 3) picture, as it is coded, as a player shows it."""
    height, width = coded.shape[:2]
    aspect = track.sample_aspect or 1
    # The smaller side grows: no line is thrown away.
    if aspect > 1:
        coded = _resized(coded, round(width * aspect), height)
    elif aspect < 1:
        coded = _resized(coded, width, round(height / aspect))
    return np.ascontiguousarray(upright(coded, orientation(track.display_matrix)))


def _frames_at(
    original: MediaInfo, protected: MediaInfo, moment: float | None, limits: Limits
) -> tuple[av.VideoFrame, av.VideoFrame]:
    first, second = (frame_times(info, limits).seconds for info in (original, protected))
    if moment is None:
        pairing = pair_frames(first, second, SAMPLED_FRAMES)
        measures = list(measured_pairs(original, protected, pairing, limits))
        pair = pairing.pairs[most_changed_pair(measures)]
    else:
        number = nearest(first, moment)
        pair = (number, number if len(first) == len(second) else nearest(second, first[number]))
    return next(frame_pairs(original, protected, Pairing("index", (pair,)), limits))


def _panel_size(width: int, height: int, largest_width: int | None) -> tuple[int, int]:
    if largest_width is None:
        return width, height
    scale = min(1.0, (largest_width - 2 * _GAP) // 3 / width)
    return max(1, int(width * scale)), max(1, int(height * scale))


def _resized(image: Image, width: int, height: int) -> Image:
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=way)  # type: ignore[return-value]


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


def _write_png(path: Path, image: Image) -> None:
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    done, data = cv2.imencode(".png", image)
    if not done:
        raise OutputFailed(f"{path} cannot be written: the picture could not be encoded.")
    try:
        partial.write_bytes(data.tobytes())
        os.replace(partial, path)
    except OSError as error:
        raise OutputFailed(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
