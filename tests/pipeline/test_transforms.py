"""What happens to a picture on its way to a recogniser, with gradients."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pipeline.transforms import (
    View,
    as_seen,
    blurred,
    cosine_basis,
    draw_view,
    quantised,
    resized,
    shuffled,
    subsampled,
    to_rgb,
)
from tests.pipeline.networks import picture

NEUTRAL = View(scale=1.0, blur=0.0, quality=100.0, order=(0, 1, 2, 3), degrees=(0.0,) * 4)


@pytest.mark.parametrize(("height", "width"), [(96, 128), (97, 131), (33, 16)])
def test_every_view_has_the_networks_size_and_passes_gradients(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        frames = picture(height, width)[None].requires_grad_()
        seen = as_seen(frames, draw_view(generator), 64)
        assert seen.shape == (1, 3, 64, 64)
        assert seen.min() >= 0
        assert seen.max() <= 1
        (gradient,) = torch.autograd.grad(seen.sum(), frames)
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).float().mean() > 0.5


def test_views_follow_from_the_generator_and_stay_in_their_ranges() -> None:
    views = [draw_view(torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert views[7] == draw_view(torch.Generator().manual_seed(7))
    assert len(set(views)) == len(views)
    for view in views:
        assert 0.5 <= view.scale <= 1
        assert 0 <= view.blur <= 1
        assert 60 <= view.quality <= 95
        assert sorted(view.order) == [0, 1, 2, 3]
        assert all(-24 <= d <= 24 for d in view.degrees)


def test_a_view_of_whole_quarters_is_the_picture_itself() -> None:
    frames = resized(to_rgb(picture()[None]), 64)
    torch.testing.assert_close(shuffled(frames, NEUTRAL), frames, atol=1e-5, rtol=0)


def test_quarters_come_to_their_places() -> None:
    frames = torch.zeros(1, 1, 8, 8)
    frames[..., :4, :4], frames[..., :4, 4:], frames[..., 4:, :4] = 1, 2, 3
    moved = shuffled(frames, View(1.0, 0.0, 100.0, (3, 2, 1, 0), (0.0,) * 4))
    assert [moved[0, 0, y, x].item() for y, x in ((0, 0), (0, 7), (7, 0), (7, 7))] == [0, 3, 2, 1]


def test_the_cosines_are_orthonormal() -> None:
    basis = cosine_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(8), atol=1e-6, rtol=0)
    block = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    ours = (basis @ torch.from_numpy(block) @ basis.T).numpy()
    np.testing.assert_allclose(ours, cv2.dct(block), atol=1e-5)


def test_quantising_takes_more_the_lower_the_quality() -> None:
    frames = picture(97, 131)[None]
    errors = [(quantised(frames, q) - frames).square().mean().item() for q in (95, 75, 50, 10)]
    assert errors == sorted(errors)
    assert errors[0] > 0
    assert quantised(frames, 75).shape == frames.shape


def test_quantising_passes_the_gradient_through() -> None:
    frames = picture(32, 32)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(quantised(frames, 75).sum(), frames)
    torch.testing.assert_close(gradient, torch.ones_like(gradient), atol=1e-4, rtol=0)


def test_subsampling_leaves_luma_and_takes_fine_chroma() -> None:
    frames = torch.full((1, 3, 32, 32), 128.0)
    frames[:, :, :, ::2] += 20
    halved = subsampled(frames)
    assert torch.equal(halved[:, 0], frames[:, 0])
    assert halved[:, 1:].std() < 0.1


def test_a_blur_keeps_the_mean_and_takes_detail() -> None:
    frames = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    soft = blurred(frames, 1.0)
    assert soft.mean().item() == pytest.approx(frames.mean().item(), abs=0.01)
    assert soft.std() < 0.5 * frames.std()
    assert blurred(frames, 0.0) is frames


@pytest.mark.parametrize(
    ("ycc", "rgb"),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((81, 90, 240), (255, 0, 0)),
        ((41, 240, 110), (0, 0, 255)),
    ],
)
def test_colours_are_those_of_bt601(ycc: tuple[int, ...], rgb: tuple[int, ...]) -> None:
    frame = torch.tensor(ycc, dtype=torch.float32).view(1, 3, 1, 1)
    found = (255 * to_rgb(frame)).flatten().tolist()
    assert found == pytest.approx(rgb, abs=2)
