"""Who is who from anchor to anchor, and where his change lies on every frame between."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import cv2
import numpy as np
import pytest
import torch

from pipeline import faces
from pipeline.display import Orientation
from pipeline.face_canvas import CROP_SIDE, MARGIN, Landmarks, Patch, alignment_of, cut_out
from pipeline.face_detector import FaceDetector
from pipeline.face_networks import FaceNetworks
from pipeline.faces import FaceArtist
from pipeline.motion import Flow, flow_size
from pipeline.planes import Planes
from tests.face_files import SIDES_PER_CROP, landmarks_of, mark, networks

HEIGHT, WIDTH = 240, 320
SIDE_OF_MARK = 16
FAR_TOO_STRONG = 0.8  # so that the small embedder sees it
COLD, WARM = faces._COLD_STEPS, faces._WARM_STEPS


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def face_networks(tmp_path_factory: pytest.TempPathFactory) -> FaceNetworks:
    return networks(tmp_path_factory.mktemp("faces"))


def picture(
    *marks: tuple[int, int] | tuple[int, int, int], size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Planes:
    """A textured picture with marked faces at x, y, of one size or of that of their mark."""
    height, width = size
    noise = np.random.default_rng(1).normal(size=size).astype(np.float32)
    luma = (110 + 120 * cv2.GaussianBlur(noise, (0, 0), 2)).clip(16, 235).astype(np.uint8)
    colours = (np.full((height // 2, width // 2), 128, np.uint8) for _ in range(2))
    found = Planes(luma, *colours, depth=8)
    for x, y, *side in marks:
        mark(found, x, y, side[0] if side else SIDE_OF_MARK)
    return found


def artist(networks: FaceNetworks, size: tuple[int, int] = (HEIGHT, WIDTH)) -> FaceArtist:
    return FaceArtist(networks, *size, strength=0.12, seed=1)


def still() -> Flow:
    return np.zeros((*flow_size(HEIGHT, WIDTH), 2), np.float32)


def pan(x: float, y: float = 0.0) -> Flow:
    """The flow from a frame whose content has moved by x, y pixels since the anchor."""
    flow = still()
    flow[:] = -np.array((x, y)) * flow.shape[0] / HEIGHT
    return flow


def zoom(growth: float, x: float, y: float) -> Flow:
    """The flow from a frame that shows everything larger than the anchor, about x, y."""
    flow = still()
    ratio = flow.shape[0] / HEIGHT
    down, across = np.mgrid[: flow.shape[0], : flow.shape[1]]
    places = np.stack(((across + 0.5) / ratio - 0.5 - x, (down + 0.5) / ratio - 0.5 - y), axis=-1)
    flow[:] = places * (1 / growth - 1) * ratio
    return flow


class Recorder:
    """Stands in front of `turn_away` and remembers with what it was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.starts: list[torch.Tensor] = []
        self.results: list[torch.Tensor] = []
        self.steps: list[int] = []
        self.amplitudes: list[float] = []
        self._turn_away = faces.turn_away
        monkeypatch.setattr(faces, "turn_away", self)

    def __call__(self, drawing: torch.Tensor, *arguments: object) -> torch.Tensor:
        _, _, amplitude, _, steps, _ = arguments
        assert isinstance(steps, int)
        assert isinstance(amplitude, float)
        self.starts.append(drawing)
        self.steps.append(steps)
        self.amplitudes.append(amplitude)
        self.results.append(self._turn_away(drawing, *arguments))  # type: ignore[arg-type]
        return self.results[-1]


def ellipse_of(patch: Patch) -> tuple[np.ndarray, float]:
    """Return the centre of what a patch stands in for, pixels, and how large it is, pixels."""
    gone = 1 - patch.kept
    y, x = np.mgrid[: gone.shape[0], : gone.shape[1]]
    centre = np.array([(gone * x).sum(), (gone * y).sum()]) / gone.sum()
    return centre + (patch.x, patch.y), float(np.sqrt(gone.sum()))


def middle_of_face(x: float, y: float, side: float = SIDE_OF_MARK) -> np.ndarray:
    """Return the ellipse's centre for a face whose mark is at x, y: a little above the nose."""
    return np.array((x - 0.03 * side / 28, y - 11.74 * SIDES_PER_CROP * side / 112))


def written(subject: FaceArtist, original: Planes) -> Planes:
    """Return the picture with what its faces get now, and no other change."""
    whole = np.zeros(original.luma.shape, np.int16)
    for patch in subject.patches(1.0):
        patch.lay(whole, 1.0, peak=127)
    luma = (original.luma + whole).clip(0, 255).astype(np.uint8)
    return Planes(luma, original.cb, original.cr, depth=8)


def seen_alike(
    networks: FaceNetworks, original: Planes, protected: Planes, face: Landmarks
) -> float:
    """Return how alike the first embedder finds a face that it cuts out of either picture."""
    inside = slice(MARGIN, MARGIN + CROP_SIDE)
    crops = (cut_out(p, alignment_of(face))[None, :, inside, inside] for p in (original, protected))
    pair = (networks.embedders[0].features(torch.from_numpy(crop))[0] for crop in crops)
    return float(torch.nn.functional.cosine_similarity(*pair))


def share_of_stripes_kept(patches: list[Patch]) -> float:
    return min((float(patch.kept.min()) for patch in patches), default=1.0)


# -- who is who ---------------------------------------------------------------------------------


def test_a_face_that_moved_with_the_picture_is_the_same_person(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    subject = artist(face_networks)
    subject.begin_shot(picture((100, 120)))
    for frame in range(1, 6):
        subject.follow(pan(12 * frame))
    subject.continue_shot(picture((160, 120)))
    assert recorder.steps == [COLD, WARM]
    assert recorder.starts[1] is recorder.results[0]


def test_a_face_elsewhere_is_somebody_else(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    subject = artist(face_networks)
    subject.begin_shot(picture((100, 120)))
    subject.follow(still())
    subject.continue_shot(picture((160, 120)))
    assert recorder.steps == [COLD, COLD]
    assert recorder.starts[1] is not recorder.results[0]
    assert recorder.starts[1].abs().max() < 0.5  # next to nothing
    assert not torch.equal(*recorder.starts)


def test_each_of_several_is_drawn_on_by_himself(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    subject = artist(face_networks)
    subject.begin_shot(picture((60, 100, 14), (230, 100, 18)))
    subject.follow(still())
    subject.continue_shot(picture((60, 100, 16), (230, 100, 14)))
    assert recorder.steps == [COLD, COLD, WARM, WARM]
    # The widest first: those have changed places.
    assert recorder.starts[2] is recorder.results[1]
    assert recorder.starts[3] is recorder.results[0]


def test_a_cut_starts_anew(face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    subject = artist(face_networks)
    subject.begin_shot(picture((100, 120)))
    subject.begin_shot(picture((100, 120)))
    assert recorder.steps == [COLD, COLD]
    subject.begin_shot(picture())
    assert subject.patches(0.2) == []


def test_of_a_crowd_the_widest_eight_are_drawn_on(face_networks: FaceNetworks) -> None:
    size = 320, 640
    places = [(64 + 128 * column, 80 + 160 * row) for row in range(2) for column in range(5)]
    crowd = [(x, y, 10 + 2 * number) for number, (x, y) in enumerate(places)]
    subject = artist(face_networks, size)
    subject.begin_shot(picture(*crowd, size=size))
    patches = subject.patches(1.0)
    assert (len(patches), subject.summary.found, subject.summary.passed_over) == (8, 8, 2)
    found = sorted(tuple(np.rint(ellipse_of(patch)[0] / 32).astype(int)) for patch in patches)
    wanted = sorted(tuple(np.rint(middle_of_face(*m) / 32).astype(int)) for m in crowd[2:])
    assert found == wanted
    subject.continue_shot(picture(*crowd, size=size))
    assert (subject.summary.found, subject.summary.passed_over) == (16, 4)


# -- where it lies ------------------------------------------------------------------------------


@pytest.mark.parametrize(("x", "y", "side"), [(100, 120, 16), (170, 110, 30), (300, 230, 20)])
def test_a_patch_lies_on_the_face_and_is_as_large(
    face_networks: FaceNetworks, x: int, y: int, side: int
) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((x, y, side)))
    (patch,) = subject.patches(1.0)
    assert share_of_stripes_kept([patch]) == 0
    assert np.abs(patch.change).max() > 1
    assert not patch.change[patch.kept == 1].any()
    if x < 200:  # all of it is in the picture
        centre, size = ellipse_of(patch)
        assert centre == pytest.approx(middle_of_face(x, y, side), abs=1.0)
        assert size == pytest.approx(SIDES_PER_CROP * side, rel=0.15)


def test_what_is_drawn_stays_on_the_face_when_the_picture_pans(
    face_networks: FaceNetworks,
) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((100, 100)))
    (first,) = subject.patches(1.0)
    for frame in range(1, 9):
        subject.follow(pan(8 * frame, 4 * frame))
        (patch,) = subject.patches(1.0)
        centre, size = ellipse_of(patch)
        assert centre == pytest.approx(middle_of_face(100 + 8 * frame, 100 + 4 * frame), abs=1.0)
        assert size == pytest.approx(ellipse_of(first)[1], rel=0.01)
    # As drawn, moved by whole pixels as far as the flow is exact.
    assert patch.change.shape == first.change.shape
    assert np.corrcoef(patch.change.ravel(), first.change.ravel())[0, 1] > 0.98


def test_it_grows_with_the_face_when_the_picture_zooms(face_networks: FaceNetworks) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120)))
    (first,) = subject.patches(1.0)
    for growth in (1.1, 1.2, 1.3):
        subject.follow(zoom(growth, 120.0, 100.0))
    (patch,) = subject.patches(1.0)
    centre, size = ellipse_of(patch)
    start = ellipse_of(first)[0] - (120, 100)
    assert centre == pytest.approx(np.array((120, 100)) + 1.3 * start, abs=1.0)
    assert size == pytest.approx(1.3 * ellipse_of(first)[1], rel=0.02)


def test_a_wrong_flow_does_not_blow_the_face_up(face_networks: FaceNetworks) -> None:
    """It is shifted by what most of its places say."""
    for growth in (4.0, 0.2):
        subject = artist(face_networks)
        subject.begin_shot(picture((150, 120)))
        (first,) = subject.patches(1.0)
        subject.follow(zoom(growth, *ellipse_of(first)[0]))
        (patch,) = subject.patches(1.0)
        assert ellipse_of(patch)[1] == pytest.approx(ellipse_of(first)[1], rel=0.01)
        assert ellipse_of(patch)[0] == pytest.approx(ellipse_of(first)[0], abs=12.0)


def test_noise_in_the_flow_moves_the_face_hardly(face_networks: FaceNetworks) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120)))
    (first,) = subject.patches(1.0)
    noise = np.random.default_rng(0).normal(0, 2, still().shape).astype(np.float32)
    subject.follow(noise)
    (patch,) = subject.patches(1.0)
    assert ellipse_of(patch)[0] == pytest.approx(ellipse_of(first)[0], abs=1.5)


def test_a_face_that_left_the_picture_is_not_drawn_where_it_was(
    face_networks: FaceNetworks,
) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((250, 120)))
    left = 0
    for frame in range(1, 10):
        subject.follow(pan(20 * frame))
        for patch in subject.patches(1.0):
            assert patch.x >= left
            left = patch.x
    assert left > WIDTH - 60


@pytest.mark.parametrize(
    ("found_at", "drawn_at"), [(150, 150), (152, 151), (148, 149), (154, 154), (158, 158)]
)
def test_a_face_found_anew_hardly_trembles(
    face_networks: FaceNetworks, found_at: int, drawn_at: int
) -> None:
    """Within three pixels of where it was carried the mean of both counts, beyond the new place."""
    side = 28  # a pixel of the canvas is one of the frame
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120, side)))
    subject.follow(still())
    subject.continue_shot(picture((found_at, 120, side)))
    (patch,) = subject.patches(1.0)
    assert ellipse_of(patch)[0] == pytest.approx(middle_of_face(drawn_at, 120, side), abs=0.4)


def test_what_counts_as_a_tremor_is_measured_on_the_face(face_networks: FaceNetworks) -> None:
    """So many pixels of the frame are more for a small face than for a large one."""
    for side, drawn_at in ((12, 152), (36, 151)):
        subject = artist(face_networks)
        subject.begin_shot(picture((150, 130, side)))
        subject.continue_shot(picture((152, 130, side)))
        (patch,) = subject.patches(1.0)
        assert ellipse_of(patch)[0] == pytest.approx(middle_of_face(drawn_at, 130, side), abs=0.4)


# -- when it comes and goes ------------------------------------------------------------------


def test_a_new_drawing_takes_over_from_the_one_before(face_networks: FaceNetworks) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120)))
    (before,) = subject.patches(0.2)
    assert np.array_equal(before.change, subject.patches(1.0)[0].change)
    subject.follow(still())
    subject.continue_shot(picture((150, 120)))
    first, half, new = (subject.patches(share)[0].change for share in (0.0, 0.5, 1.0))
    assert np.abs(new - before.change).max() > 0.1
    assert half == pytest.approx((first + new) / 2, abs=1e-3)
    assert np.abs(first - before.change).max() < 0.05 * np.abs(before.change).max()
    assert share_of_stripes_kept(subject.patches(0.5)) == 0


def missed(subject: FaceArtist, anchors: int = 1, flow: Flow | None = None) -> None:
    """Let so many anchors pass at which nobody is found."""
    for _ in range(anchors):
        subject.follow(still() if flow is None else flow)
        subject.continue_shot(picture())


def test_a_face_missed_at_one_anchor_stays_as_it_was(face_networks: FaceNetworks) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120)))
    (before,) = subject.patches(1.0)
    missed(subject)
    for share in (0.2, 0.5, 1.0, 1.2):
        (patch,) = subject.patches(share)
        assert np.abs(patch.change - before.change).max() < 0.05 * np.abs(before.change).max()
        assert share_of_stripes_kept([patch]) == 0
    assert subject.summary.found == 1


def test_a_face_missed_at_two_fades_out_and_then_gives_no_patch(
    face_networks: FaceNetworks,
) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120)))
    largest = float(np.abs(subject.patches(1.0)[0].change).max())
    missed(subject, 2)
    for share in (0.2, 0.5, 0.8):
        (patch,) = subject.patches(share)
        assert np.abs(patch.change).max() == pytest.approx((1 - share) * largest, rel=0.02)
        assert share_of_stripes_kept([patch]) == pytest.approx(share, abs=0.01)
    for share in (1.0, 1.2):
        assert subject.patches(share) == []
    missed(subject)
    assert subject.patches(0.2) == []


def test_while_it_is_missed_and_fades_out_it_moves_with_the_picture(
    face_networks: FaceNetworks,
) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((80, 120)))
    missed(subject, 2, pan(20))
    subject.follow(pan(10))
    (patch,) = subject.patches(0.4)
    assert ellipse_of(patch)[0] == pytest.approx(middle_of_face(130, 120), abs=1.0)


def test_a_face_seen_between_two_anchors_that_miss_it_stays(face_networks: FaceNetworks) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120)))
    for _ in range(3):
        missed(subject)
        subject.look(picture((150, 120)), still())
        assert share_of_stripes_kept(subject.patches(0.8)) == 0
    missed(subject)
    assert share_of_stripes_kept(subject.patches(0.8)) == 0
    assert subject.summary.found == 1


def test_somebody_new_gets_all_of_his_change_at_once(face_networks: FaceNetworks) -> None:
    subject = artist(face_networks)
    subject.begin_shot(picture())
    subject.follow(still())
    subject.continue_shot(picture((150, 120)))
    now, later = subject.patches(0.2), subject.patches(1.0)
    assert share_of_stripes_kept(now) == 0
    assert np.array_equal(now[0].change, later[0].change)


def test_somebody_who_comes_between_anchors_is_found_there_and_followed(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    subject = artist(face_networks)
    subject.begin_shot(picture((60, 80)))
    subject.follow(pan(15))
    subject.look(picture((75, 80), (200, 120)), pan(15))
    assert recorder.steps == [COLD, COLD]  # who is known is let be
    patches = subject.patches(0.8)
    assert [float(round(ellipse_of(p)[0][0])) for p in patches] == pytest.approx([75, 200], abs=1)
    subject.follow(pan(35))
    patches = subject.patches(1.0)
    assert [float(round(ellipse_of(p)[0][0])) for p in patches] == pytest.approx([95, 220], abs=1)
    subject.continue_shot(picture((95, 80), (220, 120)))
    assert recorder.steps == [COLD, COLD, WARM, WARM]


@pytest.mark.parametrize("anchors", [1, 2])
def test_somebody_missed_is_found_again_by_an_anchor_as_himself(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch, anchors: int
) -> None:
    recorder = Recorder(monkeypatch)
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120)))
    missed(subject, anchors)
    subject.follow(still())
    subject.continue_shot(picture((150, 120)))
    assert recorder.steps == [COLD, WARM]
    assert recorder.starts[1] is recorder.results[0]
    for share in (0.2, 1.0):
        assert len(subject.patches(share)) == 1
        assert share_of_stripes_kept(subject.patches(share)) == 0
    # He may be missed once more.
    missed(subject)
    assert share_of_stripes_kept(subject.patches(0.8)) == 0


def test_somebody_who_fades_out_is_found_again_by_a_look_as_himself(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120)))
    missed(subject, 2)
    subject.follow(still())
    subject.look(picture((150, 120)), still())
    assert recorder.steps == [COLD, WARM]
    assert recorder.starts[1] is recorder.results[0]
    for share in (0.8, 1.0):
        assert len(subject.patches(share)) == 1
        assert share_of_stripes_kept(subject.patches(share)) == 0
    missed(subject)
    assert share_of_stripes_kept(subject.patches(0.8)) == 0


def test_somebody_gone_for_three_anchors_is_somebody_else(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    subject = artist(face_networks)
    subject.begin_shot(picture((150, 120)))
    missed(subject, 3)
    subject.continue_shot(picture((150, 120)))
    assert recorder.steps == [COLD, COLD]


def test_no_more_than_eight_are_drawn_on_between_anchors_either(
    face_networks: FaceNetworks,
) -> None:
    size = 320, 640
    places = [(64 + 128 * column, 80 + 160 * row) for row in range(2) for column in range(5)]
    subject = artist(face_networks, size)
    subject.begin_shot(picture(*places[:3], size=size))
    flow = np.zeros((*flow_size(*size), 2), np.float32)
    subject.follow(flow)
    subject.look(picture(*places, size=size), flow)
    assert (len(subject.patches(1.0)), subject.summary.found) == (8, 8)


class Beyond:
    """Finds a face of which only an edge is in the picture, as detectors do."""

    def find(self, original: Planes, way: Orientation) -> list[Landmarks]:
        return [landmarks_of(-22, -22, SIDE_OF_MARK)]


def test_a_face_almost_outside_may_come_between_anchors(face_networks: FaceNetworks) -> None:
    """There is hardly a place of it where the flow could be read."""
    subject = artist(face_networks)
    subject.begin_shot(picture())
    subject._networks = replace(face_networks, detector=cast(FaceDetector, Beyond()))
    subject.follow(still())
    subject.look(picture(), still())
    assert subject.summary.found == 1
    (patch,) = subject.patches(1.0)
    assert (patch.x, patch.y) == (0, 0)


# -- how strong, and what is told -------------------------------------------------------------


def test_a_large_face_takes_less(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    size = 720, 720
    for side in (24, 108):  # crops of 13% and 60% of the short side
        artist(face_networks, size).begin_shot(picture((360, 360, side), size=size))
    small, large = recorder.amplitudes
    assert small == pytest.approx(0.12 * faces._AMPLITUDE)
    assert large == pytest.approx(small * (faces._SHARE / 0.6) ** faces._SHARE_POWER, rel=0.03)


def test_the_summary_tells_how_alike_faces_were_on_average(face_networks: FaceNetworks) -> None:
    """As somebody finds who cuts them out of the written pictures himself."""
    subject = FaceArtist(face_networks, HEIGHT, WIDTH, FAR_TOO_STRONG, seed=1)
    assert subject.summary.similarity is None
    found = []
    for marks in ([(60, 100), (230, 100)], [(60, 100)]):
        original = picture(*marks)
        subject.begin_shot(original)
        protected = written(subject, original)
        subject.rate(original, protected)
        found += [
            seen_alike(face_networks, original, protected, face)
            for face in face_networks.detector.find(original)
        ]
    assert len(found) == 3
    assert max(found) - min(found) > 0.01
    assert max(found) < 0.95
    assert subject.summary.embedders == ("mine0",)
    assert subject.summary.found == 3
    assert subject.summary.similarity == pytest.approx(np.mean(found), abs=1e-4)


def test_what_did_not_reach_the_picture_does_not_count(face_networks: FaceNetworks) -> None:
    subject, original = artist(face_networks), picture((150, 120))
    subject.begin_shot(original)
    subject.rate(original, original)
    assert subject.summary.similarity == pytest.approx(1.0)


def test_faces_are_compared_where_they_are_now(face_networks: FaceNetworks) -> None:
    subject = FaceArtist(face_networks, HEIGHT, WIDTH, FAR_TOO_STRONG, seed=1)
    later = picture((180, 130))
    subject.begin_shot(picture((150, 120)))
    subject.follow(pan(30, 10))
    protected = written(subject, later)
    subject.rate(later, protected)
    (face,) = face_networks.detector.find(later)
    expected = seen_alike(face_networks, later, protected, face)
    assert expected < 0.95
    assert subject.summary.similarity == pytest.approx(expected, abs=0.02)


def test_who_fades_out_is_not_compared_and_who_is_missed_once_is(
    face_networks: FaceNetworks,
) -> None:
    for anchors, counts in ((1, True), (2, False)):
        subject = artist(face_networks)
        subject.begin_shot(picture((150, 120)))
        missed(subject, anchors)
        subject.rate(picture(), picture())
        assert (subject.summary.similarity is not None) == counts


def test_the_more_strength_the_less_alike(face_networks: FaceNetworks) -> None:
    found, original = [], picture((150, 120))
    for strength in (0.04, 0.12, 0.4):
        subject = FaceArtist(face_networks, HEIGHT, WIDTH, strength, seed=1)
        subject.begin_shot(original)
        subject.rate(original, written(subject, original))
        assert subject.summary.similarity is not None
        found.append(subject.summary.similarity)
    weak, usual, strong = found
    assert 1 > weak > usual > strong > -1


def test_every_embedder_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    subject = artist(networks(tmp_path_factory.mktemp("two"), 2))
    assert subject.summary.embedders == ("mine0", "mine1")


def test_a_seed_gives_the_same_and_another_one_something_else(face_networks: FaceNetworks) -> None:
    results = []
    for seed in (7, 7, 8):
        subject = FaceArtist(face_networks, HEIGHT, WIDTH, 0.12, seed)
        subject.begin_shot(picture((150, 120)))
        subject.continue_shot(picture((150, 120)))
        results.append(subject.patches(1.0)[0].change)
    first, again, other = results
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.5
