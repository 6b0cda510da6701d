"""Faces are found in frames of any size, through OpenCV, with a network that the tests make."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.display import Orientation, coded_points, upright
from pipeline.errors import SurrogateUnavailable
from pipeline.face_canvas import alignment_of, moved
from pipeline.face_detector import FaceDetector
from pipeline.planes import Planes
from tests.face_files import landmarks_of, mark, onnx_embedder, torchscript, yunet

TEMPLATE = landmarks_of(0, 0, 28)  # a crop of 112 pixels


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> FaceDetector:
    return FaceDetector(yunet(tmp_path_factory.mktemp("faces") / "yunet.onnx"))


def grey(height: int, width: int, depth: int = 8) -> Planes:
    kind = np.uint8 if depth == 8 else np.uint16
    chroma = (height + 1) // 2, (width + 1) // 2
    sizes = ((height, width), 100), (chroma, 128), (chroma, 128)
    planes = (np.full(size, level << (depth - 8), kind) for size, level in sizes)
    return Planes(*planes, depth=depth)


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize(
    ("size", "x", "y", "side"),
    [
        ((240, 320), 150, 100, 20),
        ((240, 320), 160, 120, 56),
        ((719, 1281), 900, 300, 60),
        ((1080, 1920), 1700, 800, 120),
        ((1080, 1920), 300, 300, 40),
        ((1280, 720), 500, 1100, 50),
        ((90, 60), 30, 44, 12),
    ],
)
def test_landmarks_are_in_pixels_of_the_frame(
    detector: FaceDetector, size: tuple[int, int], x: int, y: int, side: int, depth: int
) -> None:
    picture = grey(*size, depth)
    mark(picture, x, y, side)
    (found,) = detector.find(picture)
    assert found.dtype == np.float64
    # A pixel of what is looked at is so many of the frame's.
    within = 0.6 / min(1.0, max(0.3, 320 / min(size)))
    assert found == pytest.approx(landmarks_of(x, y, side), abs=within)


def test_the_widest_face_comes_first_and_narrow_ones_are_left_out(detector: FaceDetector) -> None:
    picture = grey(480, 1280)
    sides = {100: 16, 300: 60, 500: 30, 700: 8, 900: 44}
    for x, side in sides.items():
        mark(picture, x, 240, side)
    found = [round(landmarks[2, 0], -1) for landmarks in detector.find(picture)]
    assert found == [300, 900, 500, 100]


def test_a_face_is_measured_in_pixels_of_the_frame(detector: FaceDetector) -> None:
    """As small in the picture that is looked at as one left out of a smaller frame."""
    for size, side, found in ((320, 8, 0), (960, 24, 1)):
        picture = grey(size, size)
        mark(picture, size // 2, size // 2, side)
        assert len(detector.find(picture)) == found


def test_a_face_as_narrow_as_any_is_found_in_a_frame_of_four_thousand_pixels(
    detector: FaceDetector,
) -> None:
    """Its mark is three pixels wide where the detector looks; at 320 lines it would be lost."""
    picture = grey(2160, 3840)
    mark(picture, 3005, 1505, 10)  # the box that goes with it is 25 pixels wide
    (found,) = detector.find(picture)
    assert found == pytest.approx(landmarks_of(3005, 1505, 10), abs=2)


@pytest.mark.parametrize(
    ("size", "looked_at"),
    [
        ((240, 320), (240, 320)),
        ((480, 640), (320, 427)),
        ((1280, 720), (569, 320)),
        ((1080, 1920), (324, 576)),
        ((2160, 3840), (648, 1152)),
    ],
)
def test_a_frame_is_looked_at_small_but_at_320_lines_at_least(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    looked_at: tuple[int, int],
) -> None:
    subject = FaceDetector(yunet(tmp_path / "yunet.onnx"))
    answers = Answers([])
    monkeypatch.setattr(subject, "_network", answers)
    assert subject.find(grey(*size)) == []
    assert answers.shapes == [looked_at]


def test_without_a_face_none_is_found(detector: FaceDetector) -> None:
    for size in ((240, 320), (1081, 1923), (16, 300), (3, 2)):
        assert detector.find(grey(*size)) == []


def test_the_size_of_one_frame_does_not_stay_for_the_next(detector: FaceDetector) -> None:
    for size in ((240, 320), (320, 240), (480, 360), (240, 320)):
        picture = grey(*size)
        mark(picture, 120, 120, 20)
        (found,) = detector.find(picture)
        assert found == pytest.approx(landmarks_of(120, 120, 20), abs=0.5)


WAYS = [Orientation(*flags) for flags in itertools.product((False, True), repeat=3)]


@pytest.mark.parametrize("way", WAYS)
def test_faces_are_upright_in_the_picture_as_it_is_shown(
    detector: FaceDetector, way: Orientation
) -> None:
    """The way back is checked by what is shown: there the eyes are above the mouth."""
    height, width = (961, 1280) if way.is_transposed else (1280, 961)
    shown = landmarks_of(400, 900, 60)  # x and y as it is shown
    coded = coded_points(shown, way, height, width)
    picture = grey(1280, 961)
    mark(picture, *np.rint(coded[2]).astype(int).tolist(), 60)

    (found,) = detector.find(picture, way)

    there = np.zeros((1280, 961), np.uint8)
    for number, (x, y) in enumerate(found):
        there[round(y - 0.5), round(x - 0.5)] = number + 1
    y, x = np.nonzero(upright(there, way))
    order = np.argsort(upright(there, way)[y, x])
    seen = np.stack((x, y), axis=1)[order]
    # In a mirror the left eye is the right one.
    expected = shown[[1, 0, 2, 4, 3]] if way.is_mirror_image else shown
    assert np.abs(seen - expected).max() < 5
    # Turned and enlarged alone, they come to the template.
    aligned = moved(found, alignment_of(found))
    assert np.abs(aligned - aligned[2] - (TEMPLATE - TEMPLATE[2])).max() < 2


def test_the_original_is_only_read(detector: FaceDetector) -> None:
    picture = grey(240, 320)
    mark(picture, 100, 100, 20)
    for plane in picture:
        plane.setflags(write=False)
    assert len(detector.find(picture)) == 1


class Answers:
    """Stands where the network is, and answers with rows of its own."""

    def __init__(self, rows: list[list[float]]) -> None:
        self._rows = np.array(rows, np.float32).reshape(-1, 15)
        self.shapes: list[tuple[int, ...]] = []

    def setInputSize(self, size: tuple[int, int]) -> None: ...

    def detect(self, picture: np.ndarray) -> tuple[int, np.ndarray]:
        self.shapes.append(picture.shape[:2])
        return 1, self._rows


def test_landmarks_that_are_no_places_are_no_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = FaceDetector(yunet(tmp_path / "yunet.onnx"))
    place = [50.0, 50, 90, 110]
    sound = landmarks_of(90, 90, 25).ravel().tolist()
    rows = [
        [*place, *([70.0] * 10), 0.9],
        [*place, *sound[:3], float("nan"), *sound[4:], 0.9],
        [*place, *sound[:3], float("inf"), *sound[4:], 0.9],
        [*place, *sound, 0.9],
    ]
    monkeypatch.setattr(subject, "_network", Answers(rows))
    assert len(subject.find(grey(240, 320))) == 1


def damaged(path: Path) -> Path:
    whole = yunet(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def pointer(path: Path) -> Path:
    """As a clone without Git LFS leaves it."""
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 232589\n")
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    "make", [damaged, pointer, empty, onnx_embedder, torchscript], ids=lambda make: make.__name__
)
def test_a_file_that_is_no_detector_is_refused_in_one_line(
    tmp_path: Path, make, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "other.onnx")
    capfd.readouterr()
    with pytest.raises(SurrogateUnavailable) as caught:
        FaceDetector(path)
    message = caught.value.message
    assert message.startswith(f"faces.detector: {path} ")
    assert "face_detection_yunet_2023mar.onnx" in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_nothing_is_told_on_stderr_and_the_log_level_is_as_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = yunet(tmp_path / "yunet.onnx")
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    try:
        logging.setLogLevel(logging.LOG_LEVEL_WARNING)
        capfd.readouterr()
        FaceDetector(path).find(grey(240, 320))
        assert capfd.readouterr() == ("", "")
        assert logging.getLogLevel() == logging.LOG_LEVEL_WARNING
    finally:
        logging.setLogLevel(before)
