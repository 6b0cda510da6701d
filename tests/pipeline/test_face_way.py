"""Faces from a file to its protected copy, its report and its preview."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import media
import numpy as np
import pytest
from media import Video, make_video
from numpy.typing import NDArray

import pipeline.faces
from pipeline.display import UPRIGHT, Orientation, orientation
from pipeline.errors import SurrogateUnavailable
from pipeline.face_canvas import Landmarks
from pipeline.face_detector import FaceDetector
from pipeline.face_networks import load_faces
from pipeline.parameters import Parameters
from pipeline.planes import Planes, planes_of
from pipeline.preview import preview
from pipeline.probe import probe
from pipeline.protect import protect
from pipeline.report import Report
from pipeline.settings import FaceSettings, Settings
from pipeline.video import VideoProtector
from tests.face_files import SIDES_PER_CROP, torchscript, yunet
from tests.pipeline.onnx_files import without_onnx

MEDIA = Path(__file__).parents[2] / "../shared/media"
SIDE = 16
RED = 255, 0, 0
FAST = Settings(preset="ultrafast", threads=1, device="cpu")
Places = list[tuple[int, int]]
FAR_TOO_MUCH = 300.0  # what is drawn cannot be taken for stripes then
PAIR = [(80, 130), (230, 130)]
# Of three seeds the worst was -0.18 and 0.27.
LEAST_MISLED = {"asl_book.mkv": 0.05, "friday_speech_bw.mp4": 0.363}
HOW = "docs/NETWORKS.md says how to get them"


def faces_in(folder: Path) -> Settings:
    folder.mkdir(exist_ok=True)
    named = FaceSettings(yunet(folder / "yunet.onnx"), (torchscript(folder / "mine.pt"),))
    return replace(FAST, faces=named)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return faces_in(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Places:
    """Return the list of places, none yet, at which videos are made with marked faces."""
    places: Places = []
    plain = media.scene

    def scene(width: int, height: int, frame: int, *, shift: float = 2.0) -> NDArray[np.uint8]:
        image = plain(width, height, 0)
        for x, y in places:
            image[y - SIDE // 2 : y + SIDE // 2, x - SIDE // 2 : x + SIDE // 2] = RED
        return image

    monkeypatch.setattr(media, "scene", scene)
    return places


def run(video: Path, settings: Settings, epsilon: float = 0.12) -> tuple[Path, Report]:
    outcome = protect(video, None, Parameters(epsilon=epsilon), settings)
    return outcome.output, outcome.report


def row(report: Report, name: str) -> list[str]:
    return [line for line in report.lines() if line.split()[0] == name]


def luma_of(path: Path) -> list[NDArray[np.int16]]:
    with av.open(str(path)) as container:
        return [
            planes_of(f.reformat(format="yuv420p")).luma.astype(np.int16)
            for f in container.decode(video=0)
        ]


def test_the_report_tells_what_was_done_to_faces(
    tmp_path: Path, faces: Settings, marked: Places
) -> None:
    marked += PAIR
    video = make_video(tmp_path / "a.mp4", Video(frames=12))
    _, report = run(video, faces)
    assert report.faces is not None
    assert report.faces.embedders == ("mine.pt",)
    anchors = 2  # every tenth frame
    assert report.faces.found == anchors * len(PAIR)
    assert report.faces.similarity is not None
    assert -1 <= report.faces.similarity < 0.999
    (line,) = row(report, "faces")
    assert line.split()[1:3] == ["4", "changed,"]
    assert f"cosine similarity {report.faces.similarity:.2f}" in line
    assert line.endswith("by mine.pt")
    told = json.loads(json.dumps(report.as_dict()))["faces"]
    assert told["embedders"] == ["mine.pt"]
    assert told["found"] == 4
    assert told["similarity"] == pytest.approx(report.faces.similarity, abs=1e-3)
    assert not any("faces" in note for note in report.notes)


def test_a_video_without_faces_and_one_without_networks(
    tmp_path: Path, faces: Settings, marked: Places
) -> None:
    video = make_video(tmp_path / "a.mp4", Video(frames=3))
    _, report = run(video, faces)
    assert report.faces is not None
    assert (report.faces.found, report.faces.similarity) == (0, None)
    (line,) = row(report, "faces")
    assert "0 changed" in line
    assert "similarity" not in line
    assert report.as_dict()["faces"]["similarity"] is None

    _, report = run(make_video(tmp_path / "b.mp4", Video(frames=3)), FAST)
    assert report.faces is None
    assert report.as_dict()["faces"] is None
    assert row(report, "faces") == []


def test_the_copy_has_the_drawing_where_the_face_is(
    tmp_path: Path, faces: Settings, marked: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.faces, "_AMPLITUDE", FAR_TOO_MUCH)
    marked += PAIR[:1]
    video = make_video(tmp_path / "a.mp4", Video(frames=3))
    x, y = PAIR[0]
    half = round(SIDES_PER_CROP * SIDE / 4)
    face = slice(y - half, y + half), slice(x - half, x + half)

    def coarse(settings: Settings) -> NDArray[np.float32]:
        output, _ = run(video, settings, 0.2)
        change = (luma_of(output)[0] - luma_of(video)[0]).astype(np.float32)
        output.unlink()
        return cv2.GaussianBlur(change, (0, 0), 2.0)

    ours, other = coarse(faces), coarse(FAST)
    assert np.abs(ours[face]).mean() > 2 * np.abs(other[face]).mean()


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_faces_are_found_in_a_video_that_is_shown_turned(
    tmp_path: Path, faces: Settings, marked: Places, rotation: int
) -> None:
    """As phones write them: the marks alone are found either way, upright ones are changed."""
    looked: list[Orientation] = []
    find = FaceDetector.find

    def noted(self: FaceDetector, original: Planes, way: Orientation) -> list[Landmarks]:
        looked.append(way)
        return find(self, original, way)

    marked += PAIR[:1]
    video = make_video(tmp_path / "a.mp4", Video(frames=2, rotation=rotation))
    wanted = orientation(probe(video, FAST.limits).video.display_matrix)
    assert wanted != UPRIGHT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaceDetector, "find", noted)
        _, report = run(video, faces)
        preview(video, tmp_path / "a.png", Fraction(0), Parameters(), faces)
    assert set(looked) == {wanted}
    assert len(looked) == 2
    assert report.faces is not None
    assert report.faces.found == 1


def test_a_crowd_s_rest_is_told_in_a_note(tmp_path: Path, faces: Settings, marked: Places) -> None:
    marked += [(64 + 128 * column, 80 + 160 * row) for row in range(2) for column in range(5)]
    video = make_video(tmp_path / "a.mp4", Video(width=640, height=320, frames=3))
    _, report = run(video, faces)
    assert report.faces is not None
    assert report.faces.found == 8
    (note,) = [note for note in report.notes if "Faces" in note]
    assert note.startswith("Faces on anchors that got no change of their own: 2;")


def test_a_network_that_cannot_be_used_fails_the_video(tmp_path: Path, faces: Settings) -> None:
    video = make_video(tmp_path / "a.mp4", Video(frames=3))
    gone = replace(FAST, faces=FaceSettings(faces.faces.detector, (tmp_path / "gone.pt",)))
    for work in (
        lambda: run(video, gone),
        lambda: preview(video, tmp_path / "a.png", Fraction(0), Parameters(), gone),
    ):
        with pytest.raises(SurrogateUnavailable, match=r"^faces\.embedders: there is no file"):
            work()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_preview_shows_what_faces_get(
    tmp_path: Path, faces: Settings, marked: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.faces, "_AMPLITUDE", FAR_TOO_MUCH)
    marked += PAIR[:1]
    video = make_video(tmp_path / "a.mp4", Video(frames=12))
    x, y = PAIR[0]
    half = round(SIDES_PER_CROP * SIDE / 4)
    shares = []
    for settings in (faces, FAST):
        png = tmp_path / "a.png"
        preview(video, png, Fraction(1, 5), Parameters(epsilon=0.2), settings)
        image = cv2.imread(str(png))
        assert image is not None
        width = (image.shape[1] - 8) // 3
        panels = [
            cv2.cvtColor(image[-240:, at : at + width], cv2.COLOR_BGR2GRAY).astype(np.float32)
            for at in (0, width + 4)
        ]
        coarse = cv2.GaussianBlur(panels[1] - panels[0], (0, 0), 2.0)
        shares.append(np.abs(coarse[y - half : y + half, x - half : x + half]).mean())
    assert shares[0] > 2 * shares[1]


def test_a_preview_tells_what_was_done_to_faces(
    tmp_path: Path, faces: Settings, marked: Places
) -> None:
    marked += PAIR
    video, png = make_video(tmp_path / "a.mp4", Video(frames=7)), tmp_path / "a.png"
    found = preview(video, png, Fraction(1, 5), Parameters(), faces)
    assert found.faces is not None
    assert (found.faces.embedders, found.faces.found) == (("mine.pt",), len(PAIR))
    assert found.faces.similarity is not None
    assert -1 <= found.faces.similarity < 0.9999
    told = json.loads(json.dumps(found.as_dict()))["faces"]
    assert told == {
        "embedders": ["mine.pt"],
        "found": len(PAIR),
        "similarity": pytest.approx(found.faces.similarity, abs=1e-3),
    }
    (line,) = [line for line in found.lines() if line.startswith("faces ")]
    assert line.endswith("by mine.pt")
    assert f"2 changed, cosine similarity {found.faces.similarity:.2f}" in line

    without = preview(video, png, Fraction(1, 5), Parameters(), FAST)
    assert without.faces is None
    assert without.as_dict()["faces"] is None
    assert not [line for line in without.lines() if line.startswith("faces ")]


# -- the published networks -----------------------------------------------------------------


def published() -> Settings:
    """Return the settings with YuNet and SFace; skips the test where they are not."""
    folder = os.environ.get("MEDIA_CLEANER_FACE_NETWORKS")
    if not folder:
        pytest.skip(f"MEDIA_CLEANER_FACE_NETWORKS names no folder with YuNet and SFace; {HOW}")
    files = [
        Path(folder) / f"face_{name}.onnx"
        for name in ("detection_yunet_2023mar", "recognition_sface_2021dec")
    ]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        pytest.skip(f"{', '.join(absent)} not in {folder}; {HOW}")
    return replace(FAST, faces=FaceSettings(files[0], (files[1],)))


def clip(name: str, frames: int) -> list[Planes]:
    path = MEDIA / name
    if not path.exists():
        pytest.skip("the real clips are not here")
    with av.open(str(path)) as container:
        decoded = islice(container.decode(video=0), frames)
        return [planes_of(frame.reformat(format="yuv420p")).copy() for frame in decoded]


@without_onnx
@pytest.mark.parametrize("name", LEAST_MISLED)
def test_published_networks_see_somebody_else_in_a_real_face(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """By what SFace finds in the written frames; above 0.363 it takes two faces for one person."""
    settings = published()
    frames = clip(name, 30)
    networks = load_faces(settings)
    assert networks is not None
    parameters = Parameters(epsilon=0.2, every_n_frames=10)
    height, width = frames[0].luma.shape
    subject = VideoProtector(width, height, parameters, settings, None, 1, networks)
    target = frames[0].copy()
    for number, frame in enumerate(frames):
        subject.protect(frame, target)
        summary = subject.summary.faces
        assert summary is not None
        assert summary.found >= number // 10 + 1  # on every anchor
    assert subject.summary.anchors == 3
    assert summary.embedders == ("face_recognition_sface_2021dec.onnx",)
    assert summary.similarity is not None
    assert summary.similarity < LEAST_MISLED[name]
    assert capfd.readouterr() == ("", "")
