"""What is drawn on a face: how alike it leaves it, how far it goes, and where."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline import face_change
from pipeline.errors import SurrogateUnavailable
from pipeline.face_canvas import CROP_SIDE, MARGIN, SIDE
from pipeline.face_change import (
    Portrait,
    blank,
    change,
    ellipse,
    likeness,
    portrait,
    smoothness,
    turn_away,
)
from pipeline.network import Network
from tests.face_files import embedder

CPU = torch.device("cpu")
AMPLITUDE = 25.0
SIGMA = 0.8


pytestmark = pytest.mark.usefixtures("one_thread")


def picture(seed: int = 1) -> Portrait:
    noise = np.random.default_rng(seed).normal(0, 1, (3, SIDE, SIDE)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(plane, (0, 0), 2.5) for plane in noise])
    scales = np.array([200.0, 40.0, 40.0], np.float32)[:, None, None]
    return portrait(torch.from_numpy((128 + scales * smooth).clip(16, 235)))


def drawn(
    seen: Portrait, steps: int = 8, seed: int = 3, start: Tensor | None = None, count: int = 2
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    start = blank(CPU, generator) if start is None else start
    embedders = [embedder(number) for number in range(count)]
    return turn_away(start, seen, embedders, AMPLITUDE, SIGMA, steps, generator)


def weighted_rms(drawing: Tensor, seen: Portrait) -> float:
    weight = seen.bound.square()
    return float(((drawing.square() * weight).sum() / weight.sum()).sqrt())


def with_it(drawing: Tensor, seen: Portrait) -> Tensor:
    """Return the canvas with the drawing, in whole levels as a frame has them."""
    canvas = seen.canvas.clone()
    canvas[0] = (canvas[0] + change(drawing, seen, AMPLITUDE, SIGMA)).round().clamp(0, 255)
    return canvas


def alike(drawing: Tensor, seen: Portrait, count: int = 2) -> float:
    embedders = [embedder(number) for number in range(count)]
    return likeness(seen.canvas, with_it(drawing, seen), embedders)


def test_the_embedders_see_somebody_else() -> None:
    seen = picture()
    before = alike(blank(CPU, torch.Generator().manual_seed(3)), seen)
    few, more = (alike(drawn(seen, steps), seen) for steps in (2, 8))
    assert before > 0.98
    assert more < few < before
    assert more < 0.7


def test_noise_as_strong_does_not() -> None:
    seen = picture()
    found = drawn(seen)
    noise = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    ours, random = (alike(d, seen) for d in (found, noise * weighted_rms(found, seen)))
    assert 1 - ours > 3 * (1 - random)


def test_likeness_is_the_mean_over_embedders_of_the_cosine_of_both_crops() -> None:
    first, second = picture(1).canvas, picture(2).canvas
    inside = slice(MARGIN, MARGIN + CROP_SIDE)
    cosines = []
    for network in (embedder(0), embedder(1)):
        pair = (network.features(c[None, :, inside, inside])[0] for c in (first, second))
        cosines.append(float(torch.nn.functional.cosine_similarity(*pair)))
    assert abs(cosines[0] - cosines[1]) > 0.01
    found = likeness(first, second, [embedder(0), embedder(1)])
    assert found == pytest.approx(np.mean(cosines), abs=1e-5)
    assert likeness(first, first, [embedder(0)]) == pytest.approx(1.0)
    around = second.clone()
    around[:, inside, inside] = first[:, inside, inside]
    assert likeness(first, around, [embedder(0)]) == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [1, 8, 40])
def test_a_drawing_keeps_to_its_rms_and_to_its_largest(steps: int) -> None:
    seen = picture()
    found = drawn(seen, steps, count=1)
    assert weighted_rms(found, seen) <= 1.001 * face_change._LARGEST_RMS
    assert float(found.abs().max()) <= face_change._LARGEST
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


class Noted:
    """An embedder that remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Tensor] = []
        self._network = embedder()

    def features(self, batch: Tensor) -> list[Tensor]:
        self.shown.append(batch.detach())
        return self._network.features(batch)


def shown_while_drawing(seen: Portrait, amplitude: float) -> list[Tensor]:
    """Return what an embedder is shown by one step: the picture, and it with a drawing."""
    noted, start = Noted(), drawn(seen)
    generator = torch.Generator().manual_seed(4)
    turn_away(start, seen, [noted], amplitude, SIGMA, 1, generator)  # type: ignore[list-item]
    return noted.shown


def test_embedders_see_a_change_of_luma_alone() -> None:
    """The colours that they are shown are those of the picture."""
    seen = picture()
    (before, without), (same, after) = (shown_while_drawing(seen, a) for a in (0.0, AMPLITUDE))
    inside = slice(MARGIN, MARGIN + CROP_SIDE)
    assert torch.equal(before, seen.canvas[None, :, inside, inside])
    assert torch.equal(before, same)
    assert without.shape == after.shape == (1, 3, CROP_SIDE, CROP_SIDE)
    assert torch.equal(without[:, 1:], after[:, 1:])
    assert (without[:, 0] - after[:, 0]).abs().mean() > 2


def test_levels_that_embedders_see_stay_within_0_and_255() -> None:
    (_, after) = shown_while_drawing(picture(), 3000.0)
    assert -0.01 < float(after[:, 0].min()) < 20
    assert 235 < float(after[:, 0].max()) < 255.01


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
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.05


def test_global_random_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    drawn(picture(), 2)
    assert torch.equal(torch.rand(3), expected)


def test_a_drawing_is_drawn_on() -> None:
    seen = picture()
    first = drawn(seen)
    kept = first.clone()
    second = drawn(seen, steps=1, start=first)
    assert torch.equal(first, kept)
    change_of_it = float((second - first).square().mean().sqrt())
    assert 0 < change_of_it < 0.5 * float(first.square().mean().sqrt())


def moved_a_little(seen: Portrait) -> Portrait:
    return portrait(seen.canvas.roll((1, 2), dims=(1, 2)))


def in_other_light(seen: Portrait) -> Portrait:
    canvas = seen.canvas.clone()
    canvas[0] = (0.8 * canvas[0] + torch.linspace(0, 40, SIDE)).clamp(16, 235)
    return portrait(canvas)


@pytest.mark.parametrize("otherwise", [moved_a_little, in_other_light])
@pytest.mark.parametrize("steps", [1, 2])
def test_what_was_drawn_is_a_better_start_for_the_same_face_than_nothing(
    otherwise: Callable[[Portrait], Portrait], steps: int
) -> None:
    """Also where it has moved or changed since."""
    seen = picture()
    later = otherwise(seen)
    warm = alike(drawn(later, steps, seed=9, start=drawn(seen)), later)
    cold = alike(drawn(later, steps, seed=9), later)
    assert warm < cold - 0.1


class Broken(nn.Module):
    """An embedder that answers with what are no finite numbers."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, faces: Tensor) -> Tensor:
        return self.factor * faces.mean(dim=(2, 3))


@pytest.mark.parametrize("factor", [math.nan, math.inf])
@pytest.mark.parametrize("beside", [False, True])
def test_an_embedder_that_answers_with_no_numbers_is_told(factor: float, beside: bool) -> None:
    half = (0.5,) * 3
    broken = Network("broken.onnx", Broken(factor), CROP_SIDE, (), half, half)
    embedders = [embedder(), broken] if beside else [broken]
    generator = torch.Generator().manual_seed(0)
    start = blank(CPU, generator)
    with pytest.raises(SurrogateUnavailable) as caught:
        turn_away(start, picture(), embedders, AMPLITUDE, SIGMA, 1, generator)
    message = caught.value.message
    assert message.startswith("faces.embedders: ")
    assert "broken.onnx" in message
    assert "remove `faces:`" in message
    assert "\n" not in message


def test_a_small_face_gets_a_smoother_drawing() -> None:
    """A pixel of its canvas is a fraction of one of the frame: finer would be lost there."""
    assert smoothness(0.3) == smoothness(1.0)
    assert smoothness(4.0) > 2 * smoothness(1.5) > 0
    seen, generator = picture(), torch.Generator().manual_seed(0)
    drawing = torch.randn(SIDE, SIDE, generator=generator)

    def roughness(canvas_per_frame: float) -> float:
        in_luma = change(drawing, seen, AMPLITUDE, smoothness(canvas_per_frame))[80:100, 80:100]
        return float(in_luma.diff(dim=1).abs().mean() / in_luma.abs().mean())

    assert roughness(5.0) < 0.7 * roughness(1.0)


def test_landmarks_close_together_are_drawn_on_as_well() -> None:
    """A detector may put all of them within a few pixels of a wide box."""
    seen, generator = picture(), torch.Generator().manual_seed(0)
    sigma = smoothness(CROP_SIDE / 6)
    drawing = turn_away(blank(CPU, generator), seen, [embedder()], AMPLITUDE, sigma, 2, generator)
    assert drawing.isfinite().all()


def test_the_change_is_as_strong_as_its_amplitude() -> None:
    seen = picture()
    drawing = drawn(seen, 2)
    weak, strong = (change(drawing, seen, amplitude, SIGMA) for amplitude in (4.0, 8.0))
    assert torch.allclose(2 * weak, strong)
