from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from pipeline.stripes import gaussian_blur
from pipeline.transforms import (
    block_dct,
    blur,
    compress,
    enlarge,
    halve,
    inverse_block_dct,
    look,
    publish,
    quantise,
    rearranged,
    rescale,
    shrink,
    shuffled_places,
    straight_places,
    straight_through,
    within_windows,
)

CPU = torch.device("cpu")


def seen(batch: Tensor, places: Tensor) -> Tensor:
    """Each of the pictures as it looks at its own places."""
    pairs = zip(batch, places.split(1), strict=True)
    return torch.cat([look(picture, there) for picture, there in pairs])


def cut_out(batch: Tensor, drawn: Generator) -> Tensor:
    size = batch.shape[-2:]
    return seen(batch, within_windows(straight_places(len(batch), size, CPU), size, drawn))


def shuffle_and_rotate(batch: Tensor, drawn: Generator) -> Tensor:
    return seen(batch, shuffled_places(len(batch), batch.shape[-2:], drawn, CPU))


def rearrange(batch: Tensor, cuts: Tensor, swaps: Tensor, angles: Tensor) -> Tensor:
    return seen(batch, rearranged(batch.shape[-2:], cuts, swaps, angles))


RANDOM = [rescale, blur, compress, publish, cut_out, shuffle_and_rotate]


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def picture(count: int = 1, height: int = 40, width: int = 56) -> Tensor:
    """Smooth content and noise, within the levels of video."""
    noise = torch.rand(count, 3, height, width, generator=generator(5))
    ramp = torch.linspace(40, 200, width).expand(count, 3, height, width)
    return ramp + 30 * noise


def high_frequency(batch: Tensor) -> float:
    planes = batch.flatten(0, 1)
    return float((planes - gaussian_blur(planes, 1.0)).std())


@pytest.mark.parametrize("transform", RANDOM)
@pytest.mark.parametrize("size", [(40, 56), (33, 47), (17, 18)])
def test_transforms_keep_shape_and_range(transform, size):
    batch = picture(3, *size)
    result = transform(batch, generator())
    assert result.shape == batch.shape
    assert result.isfinite().all()
    assert result.min() > 0
    assert result.max() < 290


@pytest.mark.parametrize("transform", RANDOM)
def test_gradients_reach_nearly_every_sample(transform):
    batch = picture(2).requires_grad_()
    (gradient,) = torch.autograd.grad(transform(batch, generator()).square().sum(), batch)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.7


@pytest.mark.parametrize("transform", RANDOM)
def test_the_same_seed_gives_the_same_copies_and_another_seed_others(transform):
    batch = picture(2)
    first, second, other = (transform(batch, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("transform", RANDOM)
def test_each_copy_is_treated_differently(transform):
    batch = picture(1).expand(4, -1, -1, -1)
    copies = transform(batch, generator())
    assert not any(torch.equal(copies[0], copy) for copy in copies[1:])


@pytest.mark.parametrize("transform", RANDOM)
def test_global_random_numbers_are_not_touched(transform):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    transform(picture(2), generator())
    assert torch.equal(torch.rand(4), expected)


def test_a_batch_is_not_written_to():
    batch = picture(2)
    before = batch.clone()
    for transform in RANDOM:
        transform(batch, generator())
    assert torch.equal(batch, before)


def test_rescaling_by_one_and_blurring_by_nothing_change_nothing():
    batch = picture(2)
    assert torch.equal(rescale(batch, generator(), smallest=1.0), batch)
    assert torch.equal(blur(batch, generator(), largest_sigma=0.0), batch)


def test_rescaling_and_blurring_take_away_detail():
    batch = picture(2)
    assert high_frequency(rescale(batch, generator())) < 0.8 * high_frequency(batch)
    assert high_frequency(blur(batch, generator())) < 0.9 * high_frequency(batch)


def test_blur_and_compression_keep_a_flat_picture():
    flat = torch.full((2, 3, 33, 47), 100.0)
    assert torch.allclose(blur(flat, generator()), flat, atol=1e-3)
    assert torch.allclose(rescale(flat, generator()), flat, atol=1e-3)
    assert torch.allclose(compress(flat, generator(), (100, 100)), flat, atol=0.1)


def test_the_cosine_transform_of_blocks_is_orthonormal():
    batch = picture(2)
    coefficients = block_dct(batch)
    assert coefficients.shape == (2, 3, 5, 7, 8, 8)
    assert torch.allclose(inverse_block_dct(coefficients), batch, atol=1e-3)
    assert torch.allclose(coefficients.square().sum(), batch.square().sum(), rtol=1e-4)
    assert coefficients[0, 0, 0, 0, 0, 0] == pytest.approx(8 * batch[0, 0, :8, :8].mean().item())


def test_quantising_moves_coefficients_to_whole_steps_and_never_by_more_than_half():
    batch = picture(1)
    steps = torch.full((8, 8), 10.0)
    result = quantise(batch, torch.tensor([1.0]), steps)
    ratios = block_dct(result) / 10
    assert torch.allclose(ratios, ratios.round(), atol=1e-3)
    assert (block_dct(result) - block_dct(batch)).abs().max() <= 5.001


def test_lower_quality_changes_more():
    batch = picture(1)
    best, worst = (compress(batch, generator(), (q, q)) for q in (95, 40))
    assert (best - batch)[:, 0].std() < 0.5 * (worst - batch)[:, 0].std()


def test_compression_halves_colour_but_not_luma():
    batch = picture(1)
    result = compress(batch, generator(), (100, 100))
    assert (result - batch)[:, 0].abs().max() < 3
    expected = enlarge(halve(batch[:, 1:]), (40, 56))
    assert (result[:, 1:] - expected).abs().max() < 3
    assert high_frequency(result[:, 1:]) < 0.5 * high_frequency(batch[:, 1:])


@pytest.mark.parametrize(("size", "half"), [((40, 56), (20, 28)), ((33, 47), (17, 24))])
def test_halving_rounds_odd_sizes_up_as_4_2_0_does(size, half):
    assert halve(picture(1, *size)).shape[-2:] == half


def test_shrinking_averages_instead_of_dropping_samples():
    noise = torch.rand(1, 3, 64, 64, generator=generator())
    # A sample of the small picture is drawn from 64 and not from the 4 nearest ones.
    assert shrink(noise, (16, 16)).std() < 0.35 * noise.std()


def still(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cuts, swaps and angles that leave a picture as it is."""
    return (
        torch.full((count, 2), 0.5),
        torch.zeros(count, 2, dtype=torch.bool),
        torch.zeros(count, 2, 2),
    )


def test_blocks_neither_swapped_nor_rotated_change_nothing():
    batch = picture(2)
    assert torch.allclose(rearrange(batch, *still(2)), batch, atol=1e-2)


def test_swapped_blocks_change_places():
    batch = picture(1)
    cuts, swaps, angles = still(1)
    swaps[0, 1] = True
    expected = torch.cat((batch[..., 28:], batch[..., :28]), dim=-1)
    assert torch.allclose(rearrange(batch, cuts, swaps, angles), expected, atol=1e-2)


def test_a_block_rotates_around_its_own_middle_alone():
    batch = picture(1, 40, 80)
    cuts, swaps, angles = still(1)
    angles[0, 0, 0] = math.pi / 2
    result = rearrange(batch, cuts, swaps, angles)
    assert torch.allclose(result[..., 20:, :], batch[..., 20:, :], atol=1e-2)
    assert torch.allclose(result[..., :20, 40:], batch[..., :20, 40:], atol=1e-2)
    inner, turned = batch[..., :20, 10:30], result[..., :20, 10:30]
    quarter_turns = [torch.rot90(inner, turns, (-2, -1)) for turns in (1, 3)]
    assert any(torch.allclose(turned, quarter, atol=1e-2) for quarter in quarter_turns)


def test_straight_through_gives_the_exact_value_with_the_other_s_gradient():
    value = torch.tensor([0.4, 1.6], requires_grad=True)
    result = straight_through(2 * value, value.round())
    assert torch.equal(result, torch.tensor([0.0, 2.0]))
    (gradient,) = torch.autograd.grad(result.sum(), value)
    assert torch.equal(gradient, torch.tensor([2.0, 2.0]))


def test_a_window_keeps_from_most_of_the_short_side_to_all():
    """Of a picture that is twice as wide as high: of its width from 0.425 on."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 50), torch.linspace(0, 1, 100), indexing="ij")
    places = torch.stack((x, y, y)).expand(200, -1, -1, -1)
    seen = cut_out(places, generator())
    lowest, highest = seen.flatten(2).min(dim=2).values, seen.flatten(2).max(dim=2).values
    width, height = (highest - lowest)[:, :2].unbind(dim=1)
    assert 0.40 < width.min() < 0.48
    assert 0.80 < height.min() < 0.88
    assert min(width.max(), height.max()) > 0.96
    assert lowest[:, 0].min() < 0.05  # it lies anywhere
    assert highest[:, 0].max() > 0.95
