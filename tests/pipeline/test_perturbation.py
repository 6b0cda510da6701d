from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from pipeline import perturbation
from pipeline.network import Network, choose_taps, similarity
from pipeline.perturbation import Copies, _places, _smooth, _twin, changed, project, refine
from pipeline.surrogate import Surrogates
from pipeline.torchvision_import import import_torchvision
from pipeline.transforms import publish

HEIGHT, WIDTH = 96, 128


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def network(seed: int = 0, gain: float = 1.0) -> Network:
    """A small convolutional network with weights of its own, its features far from constant."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for narrow, wide in ((3, 8), (8, 16), (16, 16)):
            layers += [nn.Conv2d(narrow, wide, 5, 2, 2), nn.BatchNorm2d(wide), nn.Tanh()]
        module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10))
    module[0].weight.data *= gain
    module.eval().requires_grad_(False)
    return Network(f"network {seed}", module, 64, choose_taps(module, 64))


def surrogates(*networks: Network) -> Surrogates:
    return Surrogates(networks or (network(),), torch.device("cpu"))


def frame() -> Tensor:
    coarse = torch.rand(1, 3, 12, 16, generator=generator(7))
    picture = F.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic")[0].clamp(0, 1) * 220 + 16
    picture[1:] = 128 + 0.2 * (picture[1:] - 128)
    return picture


def limit() -> Tensor:
    """Bounds of 2 to 10 levels, and none at all on the left."""
    bound = torch.linspace(2, 10, WIDTH).expand(HEIGHT, WIDTH).clone()
    bound[..., :16] = 0
    return bound


def stripes() -> Tensor:
    """Soft ones, as those that the product starts from."""
    return limit() * torch.sin(2 * torch.pi * torch.arange(WIDTH) / 9)


def likeness(change: Tensor, *networks: Network) -> float:
    """How alike the networks find original and protected, as published 8 times."""
    both = []
    for picture in (frame(), changed(frame(), change)):
        both.append(publish(picture.expand(8, -1, -1, -1), generator(99)))
    scores = [similarity(n.features(both[0]), n.features(both[1])) for n in networks]
    return float(torch.stack(scores).mean())


def both(steps: int) -> tuple[Copies, ...]:
    """So many steps, each of a plain copy and a shuffled one."""
    return ((1, 1),) * steps


def refined(start: Tensor, steps: int, *networks: Network, seed: int = 1) -> Tensor:
    asked = surrogates(*networks)
    change, _ = refine(start, frame(), limit(), asked, both(steps), generator(seed))
    return change


def difference(change: Tensor, *networks: Network) -> float:
    return 1.0 - likeness(change, *networks)


@pytest.mark.parametrize("seed", range(3))
def test_steps_make_the_network_see_something_else_than_stripes_do(seed):
    start, seen = stripes(), network(seed)
    assert difference(refined(start, 8, seen), seen) > 1.2 * difference(start, seen)


def test_steps_work_on_a_network_of_torchvision():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = import_torchvision().models.squeezenet1_1(weights=None).eval()
    module.requires_grad_(False)
    squeeze = Network("squeezenet1_1", module, 96, choose_taps(module, 96))
    start = stripes()
    assert difference(refined(start, 3, squeeze), squeeze) > 1.2 * difference(start, squeeze)


def test_more_steps_from_where_the_last_ended_do_more_than_as_many_from_stripes():
    """On average: what random copies a step sees weighs as much as that."""
    warm = cold = 0.0
    for number, seed in itertools.product(range(3), range(2, 6)):
        seen = network(number)
        warm += difference(refined(refined(stripes(), 4, seen), 4, seen, seed=seed), seen)
        cold += difference(refined(stripes(), 4, seen, seed=seed), seen)
    assert warm > 1.1 * cold


def test_with_the_momentum_steps_go_on_as_if_they_had_not_paused():
    drawn, two = generator(4), surrogates()
    change, momentum = refine(stripes(), frame(), limit(), two, both(2), drawn)
    paused, _ = refine(change, frame(), limit(), two, both(2), drawn, momentum)
    drawn = generator(4)
    at_once, _ = refine(stripes(), frame(), limit(), two, both(4), drawn)
    assert torch.equal(paused, at_once)
    without, _ = refine(change, frame(), limit(), two, both(2), generator(4))
    assert not torch.equal(without, at_once)


def test_plain_copies_see_a_window_and_shuffled_ones_its_parts_elsewhere():
    places = _places(frame(), (1, 0), surrogates(), generator(3))[0]
    steps = places[0].diff(dim=1), places[1].diff(dim=0)
    for step in steps:  # one scale throughout, and nothing beyond the picture
        assert torch.allclose(step, step.mean(), atol=1e-5)
    assert places.abs().max() <= 1
    assert all(side.max() - side.min() < 1.96 for side in places)  # of 1.97 for all of 64 samples
    parts = _places(frame(), (0, 1), surrogates(), generator(3))[0]
    assert (parts[0].diff(dim=1).abs() > 0.2).any()


@pytest.mark.parametrize("copies", [(1, 0), (2, 3)])
def test_any_number_of_copies_is_asked(copies):
    seen = network()
    change, _ = refine(stripes(), frame(), limit(), surrogates(seen), [copies] * 4, generator(1))
    assert difference(change, seen) > 1.2 * difference(stripes(), seen)


def test_a_change_may_be_smaller_than_the_picture():
    seen, half = network(), (HEIGHT // 2, WIDTH // 2)
    small, bound = (
        F.interpolate(x[None, None], half, mode="area")[0, 0] for x in (stripes(), limit())
    )
    change, momentum = refine(small, frame(), bound, surrogates(seen), both(4), generator(1))
    assert change.shape == momentum.shape == half
    before, after = (
        F.interpolate(x[None, None], (HEIGHT, WIDTH), mode="bilinear")[0, 0]
        for x in (small, change)
    )
    assert difference(after, seen) > 1.5 * difference(before, seen)


@pytest.mark.parametrize(
    ("input_size", "size"), [(40, (64, 64)), (100, (96, 100)), (224, (96, 128))]
)
def test_copies_are_as_large_as_the_largest_network_sees_them_and_not_larger_than_the_picture(
    input_size, size
):
    asked = surrogates(network(), replace(network(2), input_size=input_size))
    assert _places(frame(), (1, 1), asked, generator()).shape == (2, 2, *size)


def test_without_a_change_to_start_from_one_is_found():
    found = refined(torch.zeros(HEIGHT, WIDTH), 4)
    assert difference(found, network()) > difference(stripes(), network())
    assert refined(torch.zeros(HEIGHT, WIDTH), 0).any()


class Deviation(nn.Module):
    """Pools a deviation, whose slope at none at all is no number."""

    def forward(self, batch: Tensor) -> Tensor:
        return batch.flatten(2).var(dim=2).sqrt()


def test_where_a_network_has_no_slope_the_start_remains_and_others_still_steer():
    black = torch.tensor([16.0, 128.0, 128.0])[:, None, None].expand(3, HEIGHT, WIDTH)
    pooling = Network("pooling", Deviation(), 64, ())
    start = project(torch.full((HEIGHT, WIDTH), 1e-30), limit())
    for networks, is_steered in (((pooling,), False), ((pooling, network()), True)):
        asked = surrogates(*networks)
        change, momentum = refine(start, black, limit(), asked, both(2), generator(1))
        assert change.isfinite().all()
        assert bool(momentum.any()) is is_steered
        assert torch.equal(change, start) is not is_steered


def test_a_change_is_of_luma_and_stays_within_the_levels():
    pictures = torch.stack((frame(), frame()))
    pictures[:, 0, 0, 0] = 250.0
    found = changed(pictures, torch.stack((stripes(), 10 + 0 * stripes())))
    assert torch.equal(found[0, 0, :, 16:], pictures[0, 0, :, 16:] + stripes()[:, 16:])
    assert torch.equal(found[:, 1:], pictures[:, 1:])
    assert found[1, 0, 0, 0] == 255.0


def test_a_start_beyond_the_bound_is_brought_within():
    assert torch.equal(refined(5 * stripes(), 0), project(5 * stripes(), limit()))


@given(st.integers(0, 5), st.integers(0, 2**31))
def test_projection_keeps_within_and_is_idempotent(power, seed):
    bound = torch.rand(5, 6, generator=generator(seed))
    change = 10.0**power * torch.randn(5, 6, generator=generator(seed + 1))
    projected = project(change, bound)
    assert (projected.abs() <= bound).all()
    assert torch.equal(project(projected, bound), projected)


def test_no_sample_changes_by_more_than_its_bound():
    change, _ = refine(stripes(), frame(), limit(), surrogates(), both(3), generator())
    assert change.shape == (HEIGHT, WIDTH)
    assert (change.abs() <= limit()).all()
    assert change[..., :16].abs().max() == 0


def test_the_result_has_no_gradient_and_the_arguments_are_left_alone():
    start, picture, bound = stripes(), frame(), limit()
    change, momentum = refine(start, picture, bound, surrogates(), both(2), generator())
    assert not change.requires_grad
    assert not momentum.requires_grad
    assert torch.equal(start, stripes())
    assert torch.equal(picture, frame())
    assert torch.equal(bound, limit())


def test_the_same_seed_gives_the_same_change_to_the_bit():
    first, second, other = (refined(stripes(), 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_original_and_protected_meet_the_same_transforms():
    drawn = generator(5)
    torch.rand(3, generator=drawn)
    twin = _twin(drawn)
    assert torch.equal(torch.rand(4, generator=twin), torch.rand(4, generator=drawn))


class Witness(nn.Module):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.shown.append(batch.detach().clone())
        return batch.flatten(1)


def test_networks_are_shown_a_difference_only_where_there_is_a_change():
    witness = Witness()
    asked = surrogates(Network("witness", witness, 64, ()))
    nothing = torch.zeros(HEIGHT, WIDTH)
    refine(nothing, frame(), nothing, asked, both(2), generator())
    for original, protected in zip(witness.shown[::2], witness.shown[1::2], strict=True):
        assert torch.equal(original, protected)


def test_global_random_numbers_are_neither_used_nor_touched():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = refined(stripes(), 2)
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(refined(stripes(), 2), first)


def test_no_parameter_gathers_a_gradient():
    seen = network()
    refined(stripes(), 2, seen)
    assert all(parameter.grad is None for parameter in seen.module.parameters())


def test_steps_work_within_no_grad():
    with torch.no_grad():
        change = refined(stripes(), 2)
    assert torch.equal(change, refined(stripes(), 2))


def test_two_networks_are_both_misled():
    first, second = network(0), network(1)
    change = refined(stripes(), 6, first, second)
    assert difference(change, first) > 1.2 * difference(stripes(), first)
    assert difference(change, second) > 1.2 * difference(stripes(), second)


def test_no_network_dominates_by_the_size_of_its_gradient():
    """A network a hundred times as sensitive leaves the other its say."""
    calm, shrill = network(0), network(1, gain=100.0)
    change = refined(stripes(), 4, calm, shrill)
    assert difference(change, calm) > 1.2 * difference(stripes(), calm)


def test_a_dark_or_bright_picture_gives_finite_changes():
    for level in (0.0, 255.0):
        flat = torch.full((3, HEIGHT, WIDTH), level)
        change, _ = refine(stripes(), flat, limit(), surrogates(), both(2), generator())
        assert change.isfinite().all()


@pytest.mark.parametrize(("period", "least", "most"), [(40.0, 0.75, 0.9), (9.0, 0.0, 0.05)])
def test_gradients_keep_what_the_codec_keeps(period, least, most):
    wave = torch.cos(2 * torch.pi * torch.arange(256) / period).expand(256, 256)
    kept = _smooth(wave)[:, 32:-32].std() / wave[:, 32:-32].std()
    assert least <= kept <= most


def test_each_step_smooths_its_gradient(monkeypatch):
    smooth = refined(stripes(), 2)
    monkeypatch.setattr(perturbation, "_smooth", lambda plane: plane)
    assert not torch.equal(refined(stripes(), 2), smooth)


@pytest.mark.parametrize("size", [(97, 131), (256, 257)])
def test_odd_sizes_are_taken(size):
    picture = torch.full((3, *size), 100.0)
    change, _ = refine(
        torch.zeros(size), picture, torch.ones(size), surrogates(), both(1), generator()
    )
    assert change.shape == size
