"""Small networks with weights that the tests make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from media import scene
from torch import Tensor, nn

from pipeline.settings import Settings
from pipeline.torchvision_import import import_torchvision


class Small(nn.Module):
    """Three convolutions and ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 7, stride=4, padding=3),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
        )
        self.head = nn.Linear(512, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.body(pictures).flatten(1))


def torchscript(path: Path, seed: int = 0) -> Path:
    """Write a small network as TorchScript."""
    torch.manual_seed(seed)
    torch.jit.trace(Small().eval(), torch.zeros(1, 3, 224, 224)).save(str(path))
    return path


def state_dict(path: Path, name: str, classes: int = 1000) -> Path:
    """Write the state dict of torchvision's network of that name, with random weights."""
    torch.manual_seed(0)
    model = import_torchvision().models.get_model(name, num_classes=classes)
    torch.save(model.state_dict(), path)
    return path


def settings_for(name: str, file: Path | None = None) -> Settings:
    return Settings(surrogates=(name,), weights={name: file} if file else {}, device="cpu")


def picture(height: int = 96, width: int = 128) -> Tensor:
    """Return (3, height, width), Y, Cb, Cr in levels."""
    rgb = torch.from_numpy(scene(width, height, 0).astype(np.float32)).permute(2, 0, 1)
    red, green, blue = rgb
    y = 16 + (65.738 * red + 129.057 * green + 25.064 * blue) / 256
    cb = 128 + (-37.945 * red - 74.494 * green + 112.439 * blue) / 256
    cr = 128 + (112.439 * red - 94.154 * green - 18.285 * blue) / 256
    return torch.stack((y, cb, cr))
