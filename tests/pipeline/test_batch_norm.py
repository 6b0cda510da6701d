from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.batch_norm import fold_batch_norm
from pipeline.torchvision_import import import_torchvision


def normalised(module: nn.Module) -> nn.Module:
    """The module in eval mode, its statistics those of no trivial data."""
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            size = part.num_features
            part.running_mean, part.running_var = 0.1 * torch.randn(size), 0.5 + torch.rand(size)
            part.weight.data, part.bias.data = 0.5 + torch.rand(size), 0.1 * torch.randn(size)
    return module.eval()


def count_norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def answers(module: nn.Module, batch: Tensor) -> Tensor:
    with torch.no_grad():
        return module(batch)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("mobilenet_v3_small", 0),
        ("resnet18", 0),
        ("regnet_y_400mf", 0),
        ("shufflenet_v2_x0_5", 0),
        ("vgg11_bn", 0),
        ("squeezenet1_1", 0),
        ("densenet121", 62),  # of which it takes most before a convolution
    ],
)
def test_a_folded_network_sees_what_it_saw(name: str, left: int) -> None:
    with torch.random.fork_rng(devices=[]):
        module = normalised(import_torchvision().models.get_model(name, weights=None))
        batch = torch.rand(1, 3, 64, 64)
    names = [part for part, _ in module.named_modules()]
    expected = answers(module, batch)
    fold_batch_norm(module)
    assert count_norms(module) == left
    assert [part for part, _ in module.named_modules()] == names
    assert torch.allclose(answers(module, batch), expected, rtol=1e-3, atol=1e-4)


class Shared(nn.Module):
    """Asks one convolution and one normalisation twice, and takes an output in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 3, padding=1)
        self.forked = nn.Conv2d(3, 3, 3, padding=1)
        self.once = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))

    def forward(self, batch: Tensor) -> Tensor:
        first = self.norms[0](self.twice(batch)) + self.norms[1](self.twice(2 * batch))
        forked = self.forked(batch)
        last = self.norms[3](self.once[0](batch)) + self.norms[3](self.once[1](batch))
        return torch.cat((first, forked, self.norms[2](forked), last))


def test_what_is_used_elsewhere_as_well_is_left_alone() -> None:
    with torch.random.fork_rng(devices=[]):
        module, batch = normalised(Shared()), torch.rand(2, 3, 16, 16)
    expected = answers(module, batch)
    fold_batch_norm(module)
    assert count_norms(module) == 4
    assert torch.equal(answers(module, batch), expected)
