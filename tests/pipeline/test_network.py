from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.network import Network, choose_taps, first_tensor, rgb_of, similarity
from pipeline.torchvision_import import import_torchvision


def classifier(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return import_torchvision().models.get_model(name, weights=None).eval()


def tower(layers: int) -> nn.Sequential:
    convolutions = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(layers)]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def ycbcr(*levels: float) -> Tensor:
    return torch.tensor(levels, dtype=torch.float32).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("levels", "rgb"),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (1, 1, 1)),
        ((81.5, 90.2, 240), (1, 0, 0)),
        ((144.6, 53.8, 34.2), (0, 1, 0)),
        ((41, 240, 109.8), (0, 0, 1)),
        ((255, 128, 128), (1, 1, 1)),
    ],
)
def test_levels_become_rgb_as_bt601_defines(levels, rgb):
    assert rgb_of(ycbcr(*levels)).flatten().tolist() == pytest.approx(rgb, abs=0.01)


def test_places_beyond_white_still_have_a_gradient():
    levels = ycbcr(250, 128, 128).requires_grad_()
    (gradient,) = torch.autograd.grad(rgb_of(levels).sum(), levels)
    assert gradient[0, 0] > 0


def test_features_are_those_of_the_taps_then_the_output():
    module = tower(4)
    network = Network("tower", module, 32, ("1", "2"))
    features = network.features(torch.rand(2, 3, 40, 60) * 255)
    assert [feature.shape for feature in features] == [(2, 3 * 32 * 32)] * 2 + [(2, 3)]
    assert torch.allclose(module[3:](features[1].reshape(2, 3, 32, 32)), features[2], atol=1e-5)


class InPlace(nn.Module):
    """Writes to its input, as wrappers do that normalise anew."""

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.sub_(0.5).mul_(2.0).square()


def test_a_network_may_write_to_its_input():
    network, batch = Network("in place", InPlace(), 8), torch.full((2, 3, 8, 8), 100.0)
    leaf = batch.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network.features(leaf)[0].sum(), leaf)
    assert gradient.any()
    assert torch.equal(leaf, batch)


def test_features_leave_no_hook_behind_even_when_the_network_fails():
    module = tower(4)
    network = Network("tower", module, 32, ("1",))
    with pytest.raises(RuntimeError):
        network.features(torch.rand(2, 5, 40, 60))
    network.features(torch.rand(1, 3, 40, 60))
    assert not any(part._forward_hooks for part in module.modules())


def test_input_is_normalised_by_the_network_s_own_mean_and_deviation():
    network = Network("same", nn.Flatten(), 8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    (output,) = network.features(ycbcr(235, 128, 128).expand(1, 3, 20, 20))
    assert output.tolist()[0] == pytest.approx([2.0] * 192, abs=0.01)


def test_top1_is_the_largest_output_of_each_picture():
    network = Network("mean colour", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8)
    red, blue = ycbcr(81.5, 90.2, 240), ycbcr(41, 240, 109.8)
    batch = torch.cat((red, blue)).expand(2, 3, 20, 20)
    assert network.top1(batch).tolist() == [0, 2]


def test_taps_of_a_plain_tower_lie_at_half_and_three_quarters():
    assert choose_taps(tower(8), 16) == ("3", "5")


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("resnet18", ("layer2", "layer3")),
        ("mobilenet_v3_small", ("features.6", "features.9")),
        ("squeezenet1_1", ("features.7", "features.10")),
        ("shufflenet_v2_x0_5", ("stage3.3", "stage3.7")),
    ],
)
def test_taps_of_known_networks_are_ends_of_middle_blocks(name, taps):
    assert choose_taps(classifier(name), 224) == taps


def test_taps_of_a_transformer_are_its_middle_layers():
    vit = import_torchvision().models.VisionTransformer
    with torch.random.fork_rng(devices=[]):
        small = vit(32, 16, num_layers=8, num_heads=2, hidden_dim=16, mlp_dim=16).eval()
    layers = "encoder.layers.encoder_layer_"
    assert choose_taps(small, 32) == (layers + "3", layers + "5")


def test_a_network_without_maps_has_no_taps():
    assert choose_taps(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)), 8) == ()


def test_similarity_is_one_for_the_same_and_minus_one_for_the_opposite():
    features = [torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([[1.0], [1.0]])]
    assert similarity(features, features) == pytest.approx(1.0)
    assert similarity(features, [-feature for feature in features]) == pytest.approx(-1.0)


def test_the_output_may_begin_with_a_tensor_but_must_hold_one():
    tensor = torch.zeros(1)
    assert first_tensor(tensor) is first_tensor((tensor, 1)) is first_tensor([tensor]) is tensor
    for nothing in ({"out": tensor}, (), (1, tensor)):
        with pytest.raises(TypeError, match="not a tensor"):
            first_tensor(nothing)
