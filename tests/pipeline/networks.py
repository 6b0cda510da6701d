"""A small network with weights that the tests make."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


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
