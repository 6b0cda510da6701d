"""What is drawn on a face: how alike it leaves it, how far it goes, and where."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import face_change
from pipeline.face_canvas import CROP_SIDE, MARGIN, SIDE
from pipeline.face_change import (
    Drawing,
    Portrait,
    blank,
    change,
    ellipse,
    likeness,
    portrait,
    smoothness,
    turn_away,
)
from tests.face_files import embedder

CPU = torch.device("cpu")
AMPLITUDE = 25.0
SIGMA = 0.8


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(seed: int = 1) -> Portrait:
    noise = np.random.default_rng(seed).normal(0, 1, (3, SIDE, SIDE)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(plane, (0, 0), 2.5) for plane in noise])
    scales = np.array([200.0, 40.0, 40.0], np.float32)[:, None, None]
    return portrait(torch.from_numpy((128 + scales * smooth).clip(16, 235)))


def drawn(
    seen: Portrait, steps: int = 8, seed: int = 3, start: Drawing | None = None, count: int = 2
) -> Drawing:
    generator = torch.Generator().manual_seed(seed)
    start = start or blank(CPU, generator)
    embedders = [embedder(number) for number in range(count)]
    return turn_away(start, seen, embedders, AMPLITUDE, SIGMA, steps, generator)


def weighted_rms(drawing: Drawing, seen: Portrait) -> float:
    weight = seen.bound.square()
    return float(((drawing.shape.square() * weight).sum() / weight.sum()).sqrt())


def test_the_embedders_see_somebody_else() -> None:
    seen, embedders = picture(), [embedder(0), embedder(1)]
    nothing = blank(CPU, torch.Generator().manual_seed(3))
    before = likeness(nothing, seen, embedders, AMPLITUDE, SIGMA)
    few, more = (
        likeness(drawn(seen, steps), seen, embedders, AMPLITUDE, SIGMA) for steps in (2, 8)
    )
    assert before > 0.98
    assert more < few < before
    assert more < 0.7


def test_noise_as_strong_does_not() -> None:
    seen, embedders = picture(), [embedder(0), embedder(1)]
    found = drawn(seen)
    noise = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    noise = Drawing(noise * weighted_rms(found, seen), found.momentum)
    ours, random = (likeness(d, seen, embedders, AMPLITUDE, SIGMA) for d in (found, noise))
    assert 1 - ours > 3 * (1 - random)


def test_likeness_is_that_of_the_crop_and_one_without_a_drawing() -> None:
    seen, embedders = picture(), [embedder(0)]
    blanked = Drawing(torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE))
    assert likeness(blanked, seen, embedders, AMPLITUDE, SIGMA) == pytest.approx(1.0)
    outside = torch.full((SIDE, SIDE), 2.0)
    inside = slice(MARGIN, MARGIN + CROP_SIDE)
    outside[inside, inside] = 0.0
    bound = torch.ones(SIDE, SIDE)
    around = Portrait(seen.canvas, bound)
    assert likeness(Drawing(outside, outside), around, embedders, 5.0, 0.01) == pytest.approx(
        1.0, abs=1e-4
    )


@pytest.mark.parametrize("steps", [1, 8, 40])
def test_a_drawing_keeps_to_its_rms_and_to_its_largest(steps: int) -> None:
    seen = picture()
    found = drawn(seen, steps, count=1)
    assert weighted_rms(found, seen) <= 1.001 * face_change._LARGEST_RMS
    assert float(found.shape.abs().max()) <= face_change._LARGEST
    if steps > 8:
        assert weighted_rms(found, seen) > 0.8 * face_change._LARGEST_RMS


def test_nothing_is_drawn_outside_the_ellipse() -> None:
    seen = picture()
    in_luma = change(drawn(seen), seen, AMPLITUDE, SIGMA)
    y, x = np.mgrid[:SIDE, :SIDE]
    outside = np.hypot((x - MARGIN - 56) / 60, (y - MARGIN - 60) / 77) >= 1
    assert not in_luma.numpy()[outside].any()
    assert float(in_luma.abs().max()) > AMPLITUDE / 4
    rim = np.ones((SIDE, SIDE), bool)
    rim[1:-1, 1:-1] = False
    assert outside[rim].all()
    inside = np.hypot((x - MARGIN - 56) / 60, (y - MARGIN - 60) / 77) <= 0.76
    assert (ellipse(CPU).numpy()[inside] == 1).all()


def test_skin_bears_a_little_and_hair_more() -> None:
    canvas = torch.full((3, SIDE, SIDE), 128.0)
    noise = torch.randn(SIDE, SIDE // 2, generator=torch.Generator().manual_seed(0))
    canvas[0, :, SIDE // 2 :] += 40 * noise
    bound = portrait(canvas).bound
    skin, hair = bound[90, 60], bound[90, 115]
    assert float(skin) == pytest.approx(face_change._FLOOR, abs=0.01)
    assert float(hair) > 1.5 * float(skin)


def test_embedders_see_a_change_of_luma_alone() -> None:
    """The colours that they are shown are those of the picture."""
    seen = picture()
    shown: list[Tensor] = []
    network = embedder()

    class Noted:
        def features(self, batch: Tensor) -> list[Tensor]:
            shown.append(batch.detach())
            return network.features(batch)

    likeness(drawn(seen), seen, [Noted()], AMPLITUDE, SIGMA)  # type: ignore[list-item]
    before, after = shown
    assert before.shape == (1, 3, CROP_SIDE, CROP_SIDE)
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert not torch.equal(before[:, 0], after[:, 0])


def test_levels_that_embedders_see_stay_within_0_and_255() -> None:
    seen = picture()
    shown: list[Tensor] = []
    network = embedder()

    class Noted:
        def features(self, batch: Tensor) -> list[Tensor]:
            shown.append(batch.detach())
            return network.features(batch)

    likeness(drawn(seen), seen, [Noted()], 300.0, SIGMA)  # type: ignore[list-item]
    assert float(shown[1].min()) == 0
    assert float(shown[1].max()) == 255


def test_a_recogniser_may_cut_the_face_out_otherwise() -> None:
    """What lowers the likeness does so too turned, shifted and blurred a little."""
    seen, network = picture(), embedder()
    in_luma = change(drawn(seen, count=1), seen, AMPLITUDE, SIGMA)
    changed = seen.canvas.clone()
    changed[0] = (changed[0] + in_luma).clamp(0, 255)
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 3.0, 1.03)
    pair = []
    for canvas in (seen.canvas, changed):
        moved = [cv2.warpAffine(plane, turn, (SIDE, SIDE)) for plane in canvas.numpy()]
        inside = slice(MARGIN, MARGIN + CROP_SIDE)
        blurred = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.0) for plane in moved])
        (features,) = network.features(torch.from_numpy(blurred[None, :, inside, inside]))
        pair.append(features)
    assert float(torch.nn.functional.cosine_similarity(*pair)) < 0.8


def test_a_seed_draws_the_same_and_another_one_something_else() -> None:
    seen = picture()
    first, again, other = (drawn(seen, 4, seed) for seed in (7, 7, 8))
    assert torch.equal(first.shape, again.shape)
    assert torch.equal(first.momentum, again.momentum)
    assert (first.shape - other.shape).abs().mean() > 0.05


def test_global_random_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    drawn(picture(), 2)
    assert torch.equal(torch.rand(3), expected)


def test_a_drawing_is_drawn_on() -> None:
    seen = picture()
    first = drawn(seen)
    kept = first.shape.clone(), first.momentum.clone()
    second = drawn(seen, steps=1, start=first)
    assert torch.equal(first.shape, kept[0])
    assert torch.equal(first.momentum, kept[1])
    change_of_it = float((second.shape - first.shape).square().mean().sqrt())
    assert 0 < change_of_it < 0.5 * float(first.shape.square().mean().sqrt())
    assert float((second.momentum * first.momentum).sum()) > 0


def test_momentum_counts() -> None:
    seen = picture()
    first = drawn(seen)
    without = Drawing(first.shape, torch.zeros_like(first.momentum))
    second, other = (drawn(seen, steps=1, start=start) for start in (first, without))
    assert not torch.allclose(second.shape, other.shape)


def test_a_small_face_gets_a_smoother_drawing() -> None:
    """A pixel of its canvas is a fraction of one of the frame: finer would be lost there."""
    assert smoothness(0.3) == smoothness(1.0)
    assert smoothness(4.0) > 2 * smoothness(1.5) > 0
    seen, generator = picture(), torch.Generator().manual_seed(0)
    drawing = Drawing(torch.randn(SIDE, SIDE, generator=generator), torch.zeros(SIDE, SIDE))

    def roughness(canvas_per_frame: float) -> float:
        in_luma = change(drawing, seen, AMPLITUDE, smoothness(canvas_per_frame))[80:100, 80:100]
        return float(in_luma.diff(dim=1).abs().mean() / in_luma.abs().mean())

    assert roughness(5.0) < 0.7 * roughness(1.0)


def test_the_change_is_as_strong_as_its_amplitude() -> None:
    seen = picture()
    drawing = drawn(seen, 2)
    weak, strong = (change(drawing, seen, amplitude, SIGMA) for amplitude in (4.0, 8.0))
    assert torch.allclose(2 * weak, strong)
