"""Frames in, protected frames out: the budget, the motion, the cuts, and nothing that jumps."""

from __future__ import annotations

import math
import tracemalloc
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import faces
from pipeline.face_canvas import CROP_SIDE, MARGIN, alignment_of, cut_out
from pipeline.face_networks import FaceNetworks
from pipeline.parameters import Parameters
from pipeline.planes import Planes, planes_of
from pipeline.settings import Settings
from pipeline.video import VideoProtector
from tests.face_files import SIDES_PER_CROP, mark, networks

MEDIA = Path(__file__).parents[2] / "../shared/media"
Change = NDArray[np.int32]


pytestmark = pytest.mark.usefixtures("one_thread")


def protector(planes: Planes, seed: int = 1, **parameters: float) -> VideoProtector:
    height, width = planes.luma.shape
    chosen = Parameters.parse(parameters)
    return VideoProtector(width, height, chosen, Settings(device="cpu"), None, seed)


def blank(planes: Planes) -> Planes:
    """Return planes to write into, filled with what must not stay."""
    return Planes(*(np.full_like(plane, 77) for plane in planes), depth=planes.depth)


def protect(frames: list[Planes], seed: int = 1, **parameters: float) -> list[Planes]:
    subject = protector(frames[0], seed, **parameters)
    results = []
    for frame in frames:
        results.append(blank(frame))
        subject.protect(frame, results[-1])
    return results


def change(original: Planes, protected: Planes) -> Change:
    """Return what luma was changed by; colours never are."""
    assert np.array_equal(original.cb, protected.cb)
    assert np.array_equal(original.cr, protected.cr)
    return protected.luma.astype(np.int32) - original.luma


def measured(original: Planes, protected: Planes) -> tuple[float, float]:
    """Return the largest and the RMS change, in levels of 8 bits."""
    difference = change(original, protected) / original.level
    return float(np.abs(difference).max()), float(np.sqrt(np.square(difference).mean()))


def uniform(level: int, height: int = 96, width: int = 128, depth: int = 8) -> Planes:
    kind = np.uint8 if depth == 8 else np.uint16
    sizes = ((height, width), *2 * [((height + 1) // 2, (width + 1) // 2)])
    return Planes(*(np.full(size, level, kind) for size in sizes), depth=depth)


def from_luma(luma: NDArray[np.uint8]) -> Planes:
    colour = cv2.resize(luma, None, fx=0.5, fy=0.5) // 2 + 64
    return Planes(np.ascontiguousarray(luma), colour, colour[::-1].copy(), 8)


def scene(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    layers = sum(sigma * cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (1.2, 3.0, 9.0))
    return cv2.normalize(layers, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def panning(frames: int, step: int = 3, seed: int = 0) -> list[Planes]:
    """Return frames of 256 x 320, whose content moves to the left by `step` pixels a frame."""
    wide = scene(256, 320 + step * frames, seed)
    return [from_luma(wide[:, step * i : step * i + 320]) for i in range(frames)]


# -- the budget -----------------------------------------------------------------------------


@st.composite
def clips(draw: st.DrawFn) -> list[Planes]:
    """Noise from black to clipping, of any small size, 8 or 10 bits, one to four frames."""
    height, width = draw(st.integers(2, 40)), draw(st.integers(2, 40))
    depth = draw(st.sampled_from([8, 10]))
    kind, top = (np.uint8 if depth == 8 else np.uint16), (1 << depth) - 1
    low = draw(st.integers(0, top))
    high = draw(st.integers(low, top))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    sizes = ((height, width), *2 * [((height + 1) // 2, (width + 1) // 2)])

    def frame() -> Planes:
        planes = (rng.integers(low, high + 1, size).astype(kind) for size in sizes)
        return Planes(*planes, depth=depth)

    return [frame() for _ in range(draw(st.integers(1, 4)))]


@settings(max_examples=25, deadline=None)
@given(
    frames=clips(),
    epsilon=st.sampled_from([0.04, 0.12, 0.20]),
    strength=st.sampled_from([1.0, 2.0]),
    every=st.sampled_from([1, 2, 30]),
)
def test_every_frame_keeps_to_the_budget_and_its_colours(
    frames: list[Planes], epsilon: float, strength: float, every: int
) -> None:
    budget = Parameters(epsilon=epsilon, video_strength=strength).budget
    subject = protector(frames[0], epsilon=epsilon, video_strength=strength, every_n_frames=every)
    for original in frames:
        protected = blank(original)
        subject.protect(original, protected)
        peak, rms = measured(original, protected)
        assert peak <= 2.5 * budget
        assert rms <= budget
        assert protected.luma.max() < 1 << original.depth


def test_a_busy_picture_is_held_to_the_smallest_budget() -> None:
    """The stripes alone would change this scene by more than the budget."""
    frames = [from_luma(np.random.default_rng(0).integers(0, 256, (256, 320), np.uint8))]
    weak = Parameters(epsilon=0.04).budget
    luma = change(frames[0], protect(frames, epsilon=0.04)[0])
    assert 0.5 * weak < math.sqrt(np.square(luma).mean()) <= weak


@pytest.mark.parametrize("depth", [8, 10])
def test_a_lone_texture_is_held_to_the_largest_change_of_a_sample(depth: int) -> None:
    """On calm ground it bears more than that, and the frame's RMS is far below the budget."""
    luma = np.full((256, 320), 140, np.uint8)
    luma[104:136, 136:168] = scene(32, 32)
    planes = (plane.astype(np.uint16) << (depth - 8) for plane in from_luma(luma))
    original = Planes(*planes, depth) if depth > 8 else from_luma(luma)
    most = 2.5 * Parameters(epsilon=0.20).budget
    peak, _ = measured(original, protect([original], epsilon=0.20)[0])
    assert peak == math.floor(most * original.level) / original.level


def test_twice_the_epsilon_changes_about_twice_as_much() -> None:
    frames = panning(1)
    weak, strong = (
        np.abs(change(frames[0], protect(frames, epsilon=e)[0])).mean() for e in (0.06, 0.12)
    )
    assert strong == pytest.approx(2 * weak, rel=0.1)


# -- what is written, and what never is --------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3, 10])
def test_every_frame_is_changed_and_no_original_is_written(every: int) -> None:
    frames = panning(12)
    before = [frame.copy() for frame in frames]
    for plane in (plane for frame in frames for plane in frame):
        plane.setflags(write=False)
    for original, kept, protected in zip(
        frames, before, protect(frames, every_n_frames=every), strict=True
    ):
        for plane, copy in zip(original, kept, strict=True):
            assert np.array_equal(plane, copy)
        assert np.abs(change(original, protected)).mean() > 0.5


def test_planes_with_padded_lines_are_written_in_place() -> None:
    original = panning(1)[0]
    padded = Planes(*(np.zeros((p.shape[0], p.shape[1] + 32), p.dtype) for p in original), depth=8)
    views = [p[:, : o.shape[1]] for p, o in zip(padded, original, strict=True)]
    protector(original).protect(original, Planes(*views, depth=8))
    for ours, plain in zip(views, protect([original])[0], strict=True):
        assert np.array_equal(ours, plain)
    assert all((plane[:, -32:] == 0).all() for plane in padded)


def test_a_seed_gives_the_same_frames_and_another_seed_others() -> None:
    frames = panning(6)
    first, again, other = (protect(frames, seed=s, every_n_frames=3) for s in (7, 7, 8))
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a.luma, b.luma)
        assert np.array_equal(a.cr, b.cr)
        assert np.abs(a.luma.astype(int) - c.luma).mean() > 0.5


def test_ten_bits_get_the_change_of_eight_but_finer() -> None:
    eight = panning(1)[0]
    ten = Planes(*(plane.astype(np.uint16) * 4 for plane in eight), depth=10)
    coarse = change(eight, protect([eight])[0])
    fine = change(ten, protect([ten])[0])
    assert np.abs(fine / 4 - coarse).max() <= 0.75
    assert (fine % 4 != 0).mean() > 0.3
    assert abs((fine / 4 - coarse).mean()) < 0.05  # rounded, not cut off


@pytest.mark.parametrize("level", [0, 16, 128, 255])
@pytest.mark.parametrize("depth", [8, 10])
def test_an_even_frame_is_changed_by_about_one_level(level: int, depth: int) -> None:
    frames = [uniform(level << (depth - 8), depth=depth)] * 3
    for original, protected in zip(frames, protect(frames, every_n_frames=2), strict=True):
        luma = change(original, protected)
        assert 0 < np.abs(luma).max() <= original.level


@pytest.mark.parametrize("size", [(16, 16), (18, 34), (17, 33), (16, 300), (300, 16), (284, 160)])
def test_tiny_and_portrait_frames_are_protected(size: tuple[int, int]) -> None:
    frames = [from_luma(np.roll(scene(*size), i, axis=1)) for i in range(4)]
    frames = [
        Planes(f.luma, *(np.resize(p, [(s + 1) // 2 for s in size]) for p in (f.cb, f.cr)), depth=8)
        for f in frames
    ]
    for original, protected in zip(frames, protect(frames, every_n_frames=2), strict=True):
        assert np.abs(change(original, protected)).max() >= 2


# -- motion ------------------------------------------------------------------------------------


def correlation(first: Change, second: Change) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_the_change_moves_with_a_panning_picture_and_not_with_the_screen() -> None:
    frames = panning(8, step=4)
    changes = [change(o, p) for o, p in zip(frames, protect(frames), strict=True)]
    for later in (1, 4, 7):
        shift = 4 * later
        moved = correlation(changes[later][:, :-shift], changes[0][:, shift:])
        fixed = correlation(changes[later], changes[0])
        assert moved > 0.8
        assert fixed < 0.5


def test_stripes_go_on_across_an_anchor() -> None:
    """Ten frames later, with everything drawn anew twice, they are still those of the start."""
    frames = panning(11, step=2)
    changes = [change(o, p) for o, p in zip(frames, protect(frames, every_n_frames=4), strict=True)]
    assert correlation(changes[10][:, :-20], changes[0][:, 20:]) > 0.7


@pytest.mark.parametrize("every", [2, 5, 10])
def test_an_anchor_flickers_hardly_more_than_the_frames_between(every: int) -> None:
    flicker = flicker_of(panning(31, step=3), 3, every)
    anchors = [value for frame, value in flicker if frame % every == 0]
    between = [value for frame, value in flicker if frame % every != 0]
    assert np.mean(anchors) <= 1.5 * np.mean(between)


def flicker_of(frames: list[Planes], step: int, every: int) -> list[tuple[int, float]]:
    """Return how far each frame's change is from the one before, moved with the picture."""
    protected = protect(frames, every_n_frames=every)
    changes = [change(o, p) for o, p in zip(frames, protected, strict=True)]
    pairs = enumerate(zip(changes[1:], changes[:-1], strict=True), start=1)
    return [(i, float(np.abs(new[:, :-step] - old[:, step:]).mean())) for i, (new, old) in pairs]


def test_a_still_picture_gets_a_still_change_between_anchors() -> None:
    frames = panning(1) * 9
    protected = protect(frames, every_n_frames=20)
    for later in protected[1:]:
        assert np.array_equal(later.luma, protected[0].luma)


def test_ground_that_a_texture_has_left_is_clean_at_once() -> None:
    """A block of texture jumps farther than the flow can follow; no cut, no new anchor."""
    frames = [block_on_flat_ground(at) for at in (20, 200)]
    subject = protector(frames[0], every_n_frames=30)
    results = [blank(frame) for frame in frames]
    for frame, result in zip(frames, results, strict=True):
        subject.protect(frame, result)
    assert (subject.summary.anchors, subject.summary.cuts) == (1, 0)
    first, second = map(change, frames, results)
    left = slice(90, 150), slice(20, 80)
    assert np.abs(first[left]).mean() > 2.0
    assert np.abs(second[left]).mean() < 0.3


def test_a_texture_that_comes_to_flat_ground_is_changed_at_once() -> None:
    """It has lain in no anchor, and the flow cannot follow it there."""
    frames = [block_on_flat_ground(at) for at in (20, 200)]
    luma = change(frames[1], protect(frames, every_n_frames=30)[1])
    assert np.abs(luma[90:150, 200:260]).mean() > 2.0


def block_on_flat_ground(x: int) -> Planes:
    luma = np.full((256, 320), 120, np.uint8)
    luma[90:150, x : x + 60] = scene(60, 60)
    return from_luma(luma)


def test_a_cut_starts_anew() -> None:
    frames = panning(4, seed=0) + panning(4, seed=9)
    subject = protector(frames[0], every_n_frames=30)
    results = []
    for frame in frames:
        results.append(blank(frame))
        subject.protect(frame, results[-1])
    assert (subject.summary.anchors, subject.summary.cuts) == (2, 1)
    before, after = (change(frames[i], results[i]) for i in (3, 4))
    assert abs(correlation(before, after)) < 0.2


def test_anchors_come_every_n_frames() -> None:
    frames = panning(13)
    for every, expected in ((1, 13), (4, 4), (30, 1)):
        subject = protector(frames[0], every_n_frames=every)
        for frame in frames:
            subject.protect(frame, blank(frame))
        assert subject.summary.anchors == expected
        assert subject.summary.cuts == 0


# -- faces --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def face_networks(tmp_path_factory: pytest.TempPathFactory) -> FaceNetworks:
    return networks(tmp_path_factory.mktemp("faces"))


def with_faces(
    frames: list[Planes], given: FaceNetworks | None, **parameters: float
) -> tuple[list[Planes], VideoProtector]:
    height, width = frames[0].luma.shape
    chosen = Parameters.parse(parameters)
    subject = VideoProtector(width, height, chosen, Settings(device="cpu"), None, 1, given)
    results = []
    for frame in frames:
        results.append(blank(frame))
        subject.protect(frame, results[-1])
    return results, subject


def with_marks(
    frames: list[Planes], side: int, depth: int = 8, step: int = 3, start: int = 160
) -> list[Planes]:
    """Return the frames with a face that moves with what they show."""
    kind = np.uint8 if depth == 8 else np.uint16
    marked = []
    for number, frame in enumerate(frames):
        planes = (plane.astype(kind) * (1 << (depth - 8)) for plane in frame)
        marked.append(Planes(*planes, depth=depth))
        mark(marked[-1], start - step * number, 128, side)
    return marked


def inner_face(x: float, y: float, side: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether a pixel of a frame is well inside the ellipse of a face marked at x, y."""
    pixel = 112 / (SIDES_PER_CROP * side)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot((columns - x) * pixel / 60, ((rows - y) * pixel + 11.74) / 77) < 0.68


@pytest.mark.parametrize(
    ("epsilon", "depth", "side", "amplitude"),
    [
        (0.04, 8, 56, 70.0),
        (0.04, 10, 56, 900.0),
        (0.12, 8, 14, 900.0),
        (0.12, 10, 56, 70.0),
        (0.20, 8, 56, 900.0),
        (0.20, 10, 14, 900.0),
    ],
)
def test_faces_keep_to_the_budget_even_one_that_fills_the_frame(
    face_networks: FaceNetworks,
    monkeypatch: pytest.MonkeyPatch,
    epsilon: float,
    depth: int,
    side: int,
    amplitude: float,
) -> None:
    """Also were they drawn on by far more than they are."""
    monkeypatch.setattr(faces, "_AMPLITUDE", amplitude)
    frames = with_marks(panning(3), side, depth)
    budget = Parameters(epsilon=epsilon).budget
    results, subject = with_faces(frames, face_networks, epsilon=epsilon, every_n_frames=2)
    largest_rms = 0.0
    for original, protected in zip(frames, results, strict=True):
        peak, rms = measured(original, protected)
        assert peak <= 2.5 * budget
        assert rms <= budget
        largest_rms = max(largest_rms, rms)
    assert subject.summary.faces is not None
    assert subject.summary.faces.found == 2
    if amplitude > 100 and side > 50:
        assert largest_rms > 0.9 * budget


@pytest.mark.parametrize("depth", [8, 10])
def test_a_face_gets_its_drawing_instead_of_stripes(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    frames = with_marks(panning(4), 24, depth)
    for amplitude in (0.0, 70.0):
        monkeypatch.setattr(faces, "_AMPLITUDE", amplitude)
        results, _ = with_faces(frames, face_networks, every_n_frames=20)
        plain, _ = with_faces(frames, None, every_n_frames=20)
        for number, frame in enumerate(frames):
            inside = inner_face(160 - 3 * number, 128, 24, frame.luma.shape)
            luma = change(frame, results[number])
            striped = change(frame, plain[number])
            assert luma[inside].any() == (amplitude > 0)
            assert np.abs(striped[inside]).mean() > frame.level
            far = slice(0, 12), slice(0, 300)
            assert np.array_equal(luma[far], striped[far])


def test_ten_bits_of_a_face_get_the_change_of_eight(face_networks: FaceNetworks) -> None:
    (eight,), (ten,) = (with_marks(panning(1), 24, depth) for depth in (8, 10))
    coarse, fine = (
        change(frame, with_faces([frame], face_networks)[0][0]) for frame in (eight, ten)
    )
    inside = inner_face(160, 128, 24, eight.luma.shape)
    assert np.abs(coarse[inside]).mean() > 0.5
    assert np.abs(fine / 4 - coarse)[inside].max() <= 0.75


def test_where_no_face_is_found_the_frames_are_as_without_networks(
    face_networks: FaceNetworks,
) -> None:
    frames = panning(8)
    with_them, subject = with_faces(frames, face_networks, every_n_frames=5)
    without, other = with_faces(frames, None, every_n_frames=5)
    for a, b, c in zip(with_them, without, protect(frames, every_n_frames=5), strict=True):
        for ours, theirs, usual in zip(a, b, c, strict=True):
            assert np.array_equal(ours, theirs)
            assert np.array_equal(theirs, usual)
    assert other.summary.faces is None
    assert subject.summary.faces is not None
    assert (subject.summary.faces.found, subject.summary.faces.similarity) == (0, None)


def test_what_is_drawn_moves_with_the_face(face_networks: FaceNetworks) -> None:
    frames = with_marks(panning(6, step=4), 20, step=4)
    results, _ = with_faces(frames, face_networks, every_n_frames=20)
    places = [slice(130 - 4 * n, 190 - 4 * n) for n in range(6)]
    first, *_, last = (
        change(o, p)[90:150, place] for o, p, place in zip(frames, results, places, strict=True)
    )
    assert correlation(first, last) > 0.85


def test_somebody_who_comes_between_anchors_is_drawn_on_within_three_frames(
    face_networks: FaceNetworks,
) -> None:
    frames = panning(7)
    frames[2:] = with_marks(frames[2:], 24)
    results, subject = with_faces(frames, face_networks, every_n_frames=20)
    assert subject.summary.faces is not None
    assert subject.summary.faces.found == 1
    assert subject.summary.anchors == 1
    for number in (3, 6):
        inside = inner_face(160 - 3 * (number - 2), 128, 24, frames[0].luma.shape)
        assert change(frames[number], results[number])[inside].any()


def test_a_cut_begins_with_other_faces(face_networks: FaceNetworks) -> None:
    frames = [*with_marks(panning(3, seed=0), 24), *panning(3, seed=9)]
    results, subject = with_faces(frames, face_networks, every_n_frames=20)
    plain, _ = with_faces(frames, None, every_n_frames=20)
    assert subject.summary.cuts == 1
    assert not np.array_equal(results[2].luma, plain[2].luma)
    for ours, theirs in zip(results[3:], plain[3:], strict=True):
        assert np.array_equal(ours.luma, theirs.luma)


@pytest.fixture
def drawn_on_far_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the small embedder sees it."""
    monkeypatch.setattr(faces, "_AMPLITUDE", 400.0)


def seen_alike(given: FaceNetworks, original: Planes, protected: Planes) -> float:
    """Return how alike the embedder finds the frame's one face, which it cuts out itself."""
    (face,) = given.detector.find(original)
    inside = slice(MARGIN, MARGIN + CROP_SIDE)
    crops = (cut_out(p, alignment_of(face))[None, :, inside, inside] for p in (original, protected))
    pair = (given.embedders[0].features(torch.from_numpy(crop))[0] for crop in crops)
    return float(torch.nn.functional.cosine_similarity(*pair))


def similarity_of(subject: VideoProtector) -> float:
    assert subject.summary.faces is not None
    assert subject.summary.faces.similarity is not None
    return subject.summary.faces.similarity


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.usefixtures("drawn_on_far_too_much")
def test_how_alike_faces_are_is_measured_in_another_written_frame_of_each_interval(
    face_networks: FaceNetworks, depth: int
) -> None:
    frames = with_marks(panning(1) * 14, 24, depth, step=0)
    results, subject = with_faces(frames, face_networks, every_n_frames=4)
    pairs = zip(frames, results, strict=True)
    found = [seen_alike(face_networks, original, result) for original, result in pairs]
    rated = [0, 4 + 1, 8 + 2]  # and not the last, whose interval ends before its fourth frame
    expected = np.mean([found[number] for number in rated])
    assert expected < 0.97
    assert similarity_of(subject) == pytest.approx(expected, abs=1e-4)
    for others in ([0, 4, 8], [0, 4 + 1, 8 + 2, 12], range(14)):
        assert abs(np.mean([found[number] for number in others]) - expected) > 3e-4


@pytest.mark.usefixtures("drawn_on_far_too_much")
def test_how_alike_a_face_that_moves_is_found_is_measured_where_it_was_written(
    face_networks: FaceNetworks,
) -> None:
    frames = with_marks(panning(8, step=4), 24, step=4)
    results, subject = with_faces(frames, face_networks, every_n_frames=6)
    found = [seen_alike(face_networks, frames[number], results[number]) for number in (0, 6 + 1)]
    assert max(found) < 0.97
    assert similarity_of(subject) == pytest.approx(np.mean(found), abs=0.02)


@pytest.mark.usefixtures("drawn_on_far_too_much")
def test_a_drawing_that_never_reached_the_frames_is_told_by_its_likeness(
    face_networks: FaceNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = with_marks(panning(2), 24)
    _, subject = with_faces(frames, face_networks)
    drawn = similarity_of(subject)
    monkeypatch.setattr(faces.FaceArtist, "patches", lambda self, share: [])
    _, subject = with_faces(frames, face_networks)
    assert similarity_of(subject) > 0.98
    assert drawn < 0.95


@pytest.mark.usefixtures("drawn_on_far_too_much")
def test_the_likeness_of_a_single_frame_is_measured(face_networks: FaceNetworks) -> None:
    frames = with_marks(panning(1), 24)
    (result,), subject = with_faces(frames, face_networks)
    expected = seen_alike(face_networks, frames[0], result)
    assert similarity_of(subject) == pytest.approx(expected, abs=1e-4)


# -- the summary and the memory -----------------------------------------------------------------


def test_summary_of_the_embedded_way_names_no_network() -> None:
    frames = panning(1)
    subject = protector(frames[0])
    subject.protect(frames[0], blank(frames[0]))
    summary = subject.summary
    assert (summary.device, summary.surrogates, summary.top1_changed) == ("cpu", (), None)


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    frames = panning(8)
    subject, target = protector(frames[0], every_n_frames=4), blank(frames[0])
    tracemalloc.start()
    sizes = []
    for _ in range(6):
        for frame in frames:
            subject.protect(frame, target)
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[-1] - sizes[1] < 100_000


# -- real clips ---------------------------------------------------------------------------------


def clip(name: str, frames: int, step: int = 1) -> list[Planes]:
    path = MEDIA / name
    if not path.exists():
        pytest.skip("the real clips are not here")
    with av.open(str(path)) as container:
        chosen = islice(container.decode(video=0), 0, frames * step, step)
        return [planes_of(frame.reformat(format="yuv420p")).copy() for frame in chosen]


@pytest.mark.parametrize(
    "name", ["asl_book.mkv", "airplane_badaudio.mp4", "pose_square.mp4", "selfie_cyclist.mp4"]
)
def test_flat_blocks_of_real_pictures_stay_clean(name: str) -> None:
    frames = clip(name, 3, step=10)
    squares = []
    for original, protected in zip(frames, protect(frames, every_n_frames=1), strict=True):
        height, width = (side // 16 * 16 for side in original.luma.shape)
        blocks = (height // 16, 16, width // 16, 16)
        picture = original.luma[:height, :width].reshape(blocks).astype(float)
        difference = change(original, protected)[:height, :width].reshape(blocks)
        squares.append(np.square(difference).mean(axis=(1, 3))[picture.var(axis=(1, 3)) < 4])
    assert math.sqrt(np.concatenate(squares).mean()) <= 1.5


def test_cuts_of_a_real_clip_are_counted() -> None:
    frames = clip("street_bikes_cuts.mp4", 80)
    subject = protector(frames[0])
    for frame in frames:
        subject.protect(frame, blank(frame))
    assert subject.summary.cuts == 2
