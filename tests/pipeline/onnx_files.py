"""ONNX files that the tests make: exported by torch, or written operator by operator."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

# Found, not imported: onnx2pytorch imports torchvision, which has to be mended first.
without_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnx2pytorch")),
    reason="the extra `onnx` is not installed",
)
SIDE = 32


class Residual(nn.Module):
    """A small ResNet: a stem, two blocks, six classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.first = self._branch()
        self.second = self._branch()
        self.head = nn.Linear(8, 6)

    @staticmethod
    def _branch() -> nn.Sequential:
        inner = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        return nn.Sequential(*inner, nn.Conv2d(8, 8, 3, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        maps = torch.relu(self.stem(pictures))
        maps = torch.relu(maps + self.first(maps))
        maps = torch.relu(maps + self.second(maps))
        return self.head(maps.mean(dim=(2, 3)))


class Grouped(Residual):
    """Moves channels between groups, for as many pictures as it was exported with."""

    def forward(self, pictures: Tensor) -> Tensor:
        maps = torch.relu(self.stem(pictures))
        number = pictures.shape[0]
        mixed = maps.reshape(number, 2, 4, SIDE // 2, SIDE // 2).transpose(1, 2)
        return self.head((maps + mixed.reshape(maps.shape)).mean(dim=(2, 3)))


class Embedder(nn.Module):
    """Laid out as face embedders are: PReLU, a layer over all places, length one."""

    side = SIDE

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.PReLU(8))
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * (self.side // 4) ** 2, 16)

    def forward(self, pictures: Tensor) -> Tensor:
        flat = torch.flatten(self.norm(self.maps(pictures)), 1)
        return nn.functional.normalize(self.head(flat))


class Faces(Embedder):
    """The same for pictures of the usual size."""

    side = 112


def seeded(build: type[nn.Module]) -> nn.Module:
    """Return a network with weights of its own; the norms' statistics differ from the start's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.uniform_(-0.5, 0.5)
                part.running_var.uniform_(0.5, 2.0)
    return module.eval()


def export(
    path: Path,
    module: nn.Module,
    side: int | tuple[int, int] = SIDE,
    dynamic: Sequence[int] = (0,),
    channels: int = 3,
    **options: Any,
) -> Path:
    """Write a network as ONNX; `dynamic` are the dimensions of its input that may vary."""
    sides = side if isinstance(side, tuple) else (side, side)
    axes = {dimension: f"d{dimension}" for dimension in dynamic}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.rand(1, channels, *sides),),
            str(path),
            input_names=["pictures"],
            dynamic_axes={"pictures": axes},
            **{"opset_version": 17, "dynamo": False, **options},
        )
    return path


def write(
    path: Path,
    nodes: Sequence[Any],
    weights: dict[str, np.ndarray],
    shape: Sequence[int | str | None] = ("n", 3, SIDE, SIDE),
    domains: Sequence[str] = (),
) -> Path:
    """Write a graph of `nodes` from `x` to `y`, without any check of it."""
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", "length"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(name, 1) for name in domains)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    return path
