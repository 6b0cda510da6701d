"""
Find faces and their five landmarks, by YuNet through OpenCV.

Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector". Its file is the operator's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from pipeline.display import UPRIGHT, Orientation, coded_points, upright
from pipeline.errors import SurrogateUnavailable
from pipeline.face_canvas import Landmarks
from pipeline.motion import shrink
from pipeline.planes import Planes

# The frame is looked at at this share of its size, but with a short side of so many pixels at
# least, or as it is: at either, faces of the narrowest are found.
_SHARE, _SHORT_SIDE = 0.3, 320
_SURE_SCORE = 0.6
# Boxes that overlap by more are one face.
_LARGEST_OVERLAP = 0.3
_MOST_BOXES = 500
_MIRRORED = [1, 0, 2, 4, 3]  # landmarks of a face seen in a mirror
_LANDMARKS = slice(4, 14)  # of a row that begins with a box and ends with its score
# Below this width, pixels of the frame, nobody is recognised.
_NARROWEST = 24.0


class FaceDetector:
    """One network in memory; not for several threads at once."""

    def __init__(self, file: Path) -> None:
        """
        Raises:
            SurrogateUnavailable: the file is no such network.
        """
        try:
            with _silent():
                self._network = cv2.FaceDetectorYN.create(
                    str(file), "", (32, 32), _SURE_SCORE, _LARGEST_OVERLAP, _MOST_BOXES
                )
                self._network.detect(np.zeros((32, 32, 3), np.uint8))
        except (cv2.error, OSError) as error:
            raise SurrogateUnavailable(
                f"faces.detector: {file} is not YuNet as an ONNX file, or it is damaged; take"
                " face_detection_yunet_2023mar.onnx of the OpenCV Zoo, or remove `faces`."
            ) from error

    def find(self, original: Planes, way: Orientation = UPRIGHT) -> list[Landmarks]:
        """
        Return the landmarks of each face, in pixels of the frame, the widest face first.

        Args:
            way: how the frame is shown; faces are found upright alone.
        """
        small = _picture(original)
        ratio = original.luma.shape[1] / small.shape[1], original.luma.shape[0] / small.shape[0]
        picture = np.ascontiguousarray(upright(small, way))
        height, width = picture.shape[:2]
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(picture)
        if rows is None:
            return []
        faces = sorted(np.asarray(rows, np.float64), key=lambda row: -row[2])
        return [
            _as_coded(row[_LANDMARKS].reshape(5, 2), way, height, width) * ratio
            for row in faces
            if row[2] * ratio[0] >= _NARROWEST and _is_face(row[_LANDMARKS].reshape(5, 2))
        ]


def _as_coded(landmarks: Landmarks, way: Orientation, height: int, width: int) -> Landmarks:
    # In a mirror the left eye is the right one, and so are the corners of the mouth.
    order = _MIRRORED if way.is_mirror_image else slice(None)
    return coded_points(landmarks, way, height, width)[order]


def _is_face(landmarks: Landmarks) -> bool:
    """Whether landmarks are places that differ; networks answer all sorts of things."""
    return bool(np.isfinite(landmarks).all() and np.ptp(landmarks, axis=0).min() >= 1.0)


def _picture(original: Planes) -> np.ndarray:
    """Return (height, width, 3) uint8 BGR, small."""
    height, width = original.luma.shape
    ratio = min(1.0, max(_SHARE, _SHORT_SIDE / min(height, width)))
    size = max(1, round(height * ratio)), max(1, round(width * ratio))
    small = [shrink(plane, *size) for plane in original]
    if original.level > 1:
        small = [cv2.convertScaleAbs(plane, alpha=1 / original.level) for plane in small]
    luma, cb, cr = small
    # Full range or limited, 601 or 709: detectors are indifferent to a tint.
    return cv2.cvtColor(cv2.merge([luma, cr, cb]), cv2.COLOR_YCrCb2BGR)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep OpenCV from telling on stderr of engines that it tries first."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        logging.setLogLevel(level)
