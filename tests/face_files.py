"""
Files for the face way that the tests make: a detector of marked faces, and small embedders.

A marked face is a red square where the nose is, as wide as a quarter of what recognisers
cut out; the detector is an ONNX graph with the input and the outputs of YuNet, which OpenCV loads
and decodes as YuNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.face_canvas import CROP_SIDE, Landmarks
from pipeline.face_detector import FaceDetector
from pipeline.face_networks import FaceNetworks
from pipeline.network import Network
from pipeline.planes import Planes

SIDES_PER_CROP = 4.0
# Y, Cb and Cr of red, limited range.
RED = (81, 90, 240)
# Where ArcFace has the landmarks, from the nose, in crops.
_FROM_NOSE = (
    np.array([(-17.73, -20.04), (17.51, -20.24), (0.0, 0.0), (-14.48, 20.63), (14.7, 20.47)])
    / CROP_SIDE
)
# The box that goes with a face: width and height in marks.
BOX = (2.5, 3.2)
# Marks are nearer to each other than this, or wider, at 320 lines: they are not told apart.
_WINDOW = 64


def landmarks_of(x: float, y: float, side: float) -> Landmarks:
    """Return the landmarks of a face marked by a square of that side, its centre at x, y."""
    return np.array((x, y)) + SIDES_PER_CROP * side * _FROM_NOSE


def mark(picture: Planes, x: int, y: int, side: int) -> None:
    """Draw the mark of a face, its centre at x, y; pixels of the frame, the side even."""
    left, top = (place - side // 2 for place in (x, y))
    for plane, level, share in zip(picture, RED, (1, 2, 2), strict=True):
        rows, columns = (slice(max(0, at // share), (at + side) // share) for at in (top, left))
        plane[rows, columns] = level * picture.level


def yunet(path: Path) -> Path:
    """Write the detector of marked faces; skips the test where onnx is not installed."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes: list[Any] = []
    weights: dict[str, NDArray[Any]] = {}

    def constant(value: Any, kind: type = np.float32) -> str:
        name = f"constant{len(weights)}"
        weights[name] = np.asarray(value, kind)
        return name

    def node(kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"node{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def in_0_to_1(value: str) -> str:
        return node("Clip", value, constant(0.0), constant(1.0))

    def answer(name: str, value: str, length: int) -> None:
        last = node("Transpose", value, perm=[0, 2, 3, 1])
        shape = constant([1, -1, length], np.int64)
        node("Reshape", last, shape, output=name)

    # How much of each pixel, B, G and R, is red.
    filters = np.array([-0.5, -0.5, 1.0], np.float32).reshape(1, 3, 1, 1) / 60
    red = in_0_to_1(node("Conv", "input", constant(filters), constant([-82 / 60])))
    # Around each cell of 8 pixels: the area of the mark, and its centre from the cell's.
    offsets = np.arange(_WINDOW) - (_WINDOW - 1) / 2
    across, down = np.meshgrid(offsets, offsets)
    moments = [
        node(
            "Conv",
            red,
            constant(kernel[None, None]),
            strides=[8, 8],
            pads=[_WINDOW // 2 - 4] * 4,
            kernel_shape=[_WINDOW, _WINDOW],
        )
        for kernel in (np.ones_like(across), across, down)
    ]
    area = node("Add", moments[0], constant(1e-3))
    x, y = (node("Div", moment, area) for moment in moments[1:])
    side = node("Sqrt", area)
    sure = in_0_to_1(node("Sub", area, constant(8.0)))
    for offset in (x, y):
        near = node("Sub", constant(4.01), node("Abs", offset))
        sure = node("Mul", sure, in_0_to_1(node("Mul", near, constant(1e4))))
    from_corner = [node("Mul", node("Add", o, constant(4.0)), constant(1 / 8)) for o in (x, y)]
    sizes = [node("Log", node("Mul", side, constant(share / 8))) for share in BOX]
    places = [
        node("Add", from_corner[axis], node("Mul", side, constant(SIDES_PER_CROP * shift / 8)))
        for landmark in _FROM_NOSE
        for axis, shift in enumerate(landmark)
    ]
    found = {
        "cls": (sure, 1),
        "obj": (sure, 1),
        "bbox": (node("Concat", *from_corner, *sizes, axis=1), 4),
        "kps": (node("Concat", *places, axis=1), 10),
    }
    outputs = []
    for name, (value, length) in found.items():
        answer(f"{name}_8", value, length)
        for stride in (16, 32):  # nothing is found there
            kernel = constant(np.zeros((length, 1, stride, stride)))
            sides = {"strides": [stride] * 2, "kernel_shape": [stride] * 2}
            answer(f"{name}_{stride}", node("Conv", red, kernel, **sides), length)
        outputs += [
            helper.make_tensor_value_info(f"{name}_{s}", 1, [1, f"cells{s}", length])
            for s in (8, 16, 32)
        ]
    graph = helper.make_graph(
        nodes,
        "marks",
        [helper.make_tensor_value_info("input", 1, [1, 3, "height", "width"])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


class Recogniser(nn.Module):
    """A small embedder with random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4, padding=2),
            nn.PReLU(8),
            nn.Conv2d(8, 16, 3, stride=4, padding=1),
            nn.PReLU(16),
        )
        self.head = nn.Linear(16 * 7 * 7, 32, bias=False)

    def forward(self, faces: Tensor) -> Tensor:
        return self.head(self.body(faces).flatten(1))


def recogniser(seed: int = 0) -> nn.Module:
    """Return the embedder in eval mode, its parameters frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Recogniser().eval().requires_grad_(False)


def embedder(seed: int = 0) -> Network:
    """Return the embedder as the face way has it."""
    return Network(f"mine{seed}", recogniser(seed), CROP_SIDE, (), (0.5,) * 3, (0.5,) * 3)


def networks(folder: Path, number: int = 1) -> FaceNetworks:
    """Return the detector of marked faces and so many embedders, on the CPU."""
    detector = FaceDetector(yunet(folder / "yunet.onnx"))
    return FaceNetworks(detector, tuple(map(embedder, range(number))), torch.device("cpu"))


def torchscript(path: Path, module: nn.Module | None = None, side: int = CROP_SIDE) -> Path:
    """Write an embedder as TorchScript."""
    pictures = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.jit.trace(module or recogniser(), pictures, check_trace=False).save(str(path))
    return path


def onnx_embedder(
    path: Path, *, levels: bool = False, side: int = CROP_SIDE, operators: Sequence[str] = ()
) -> Path:
    """
    Write an embedder as ONNX, operator by operator.

    Args:
        levels: it begins by subtracting and scaling, as those that take levels do.
        operators: what pictures go through before everything else.
    """
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(0)
    weights = {
        "mean": np.array(127.5),
        "scale": np.array(1 / 127.5),
        "filters": rng.normal(size=(8, 3, 5, 5)) / 9,
        "map": rng.normal(size=(8 * (side // 8) ** 2, 32)) / 40,
    }
    steps = [("Sub", "mean"), ("Mul", "scale")] if levels else []
    steps += [(kind, "") for kind in operators]
    nodes, last = [], "faces"
    for number, (kind, weight) in enumerate(steps):
        inputs = [last, weight] if weight else [last]
        last = f"step{number}"
        nodes.append(helper.make_node(kind, inputs, [last]))
    size = {"kernel_shape": [5, 5], "strides": [8, 8], "pads": [0, 0, 0, 0]}
    nodes += [
        helper.make_node("Conv", [last, "filters"], ["maps"], **size),
        helper.make_node("Relu", ["maps"], ["bright"]),
        helper.make_node("Flatten", ["bright"], ["flat"]),
        helper.make_node("Gemm", ["flat", "map"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info("faces", 1, ["n", 3, side, side])],
        [helper.make_tensor_value_info("embedding", 1, ["n", 32])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path.write_bytes(model.SerializeToString())
    return path
