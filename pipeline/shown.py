"""A frame as a player shows it: in colour, turned, mirrored, with square pixels."""

from __future__ import annotations

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.conversion import ANY_MATRIX, as_understood
from pipeline.display import orientation, upright
from pipeline.media import VideoTrack

Image = NDArray[np.uint8]

# That swscale converts to RGB, by their numbers in H.273.
_KNOWN_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})


def displayed(frame: av.VideoFrame, track: VideoTrack) -> Image:
    """Return a frame as a player shows it, (height, width, 3) BGR."""
    return as_displayed(in_colour(frame), track)


def in_colour(frame: av.VideoFrame) -> Image:
    """Return a frame as it is coded, (height, width, 3) BGR."""
    # swscale refuses what it does not know, such as ICtCp: better shown in colours a little off.
    matrix = None if int(frame.colorspace) in _KNOWN_MATRICES else ANY_MATRIX
    shown = as_understood(frame).reformat(format="bgr24", src_colorspace=matrix, threads=1)
    return np.asarray(shown.to_ndarray(), np.uint8)


def as_displayed(coded: Image, track: VideoTrack) -> Image:
    """Return a (height, width, 3) picture, as it is coded, as a player shows it."""
    height, width = coded.shape[:2]
    aspect = track.sample_aspect or 1
    # The smaller side grows: no line is thrown away.
    if aspect > 1:
        coded = resized(coded, round(width * aspect), height)
    elif aspect < 1:
        coded = resized(coded, width, round(height / aspect))
    return np.ascontiguousarray(upright(coded, orientation(track.display_matrix)))


def resized(image: Image, width: int, height: int) -> Image:
    """Return a picture at another size."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=way)  # type: ignore[return-value]
