"""
Read a network from an ONNX file, as a torch module that passes gradients.

An optional extra: onnx reads and checks the file, onnx2pytorch turns every operator into a torch
module and walks the graph at each call; neither makes code of what the file says. Weights that lie
beside the file are read from its own folder alone: onnx refuses a path that leads out of it, a
link and what is no plain file.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from pipeline.network import INPUT_SIZE, first_tensor
from pipeline.onnx_graph import prepare, subgraphs
from pipeline.torchvision_import import import_torchvision

# Domains of ONNX's own operators; those of vendors are not known to the library, which would
# take them for ONNX's of the same name.
_DOMAINS = ("", "ai.onnx")
# What the library raises on graphs that it does not take, at once or when they run.
_REFUSALS = (
    RuntimeError,
    RuntimeWarning,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
)
# Batches are computed in another order, which rounds otherwise: by 1e-6 in what was measured.
_TOLERANCE = 1e-3
_HINT = "export it anew, for pictures (n, 3, height, width) in float32"


class UnfitOnnx(Exception):
    """An ONNX file cannot be a surrogate; the text goes on after the file's name."""


@dataclass(frozen=True)
class OnnxNetwork:
    """
    What an ONNX file holds.

    Attributes:
        module: in eval mode, on the CPU.
        input_size: side of the square that it takes, pixels.
        batch_size: how many pictures it takes at once; None where it takes any number.
        takes_levels: whether the graph begins by subtracting, as networks do whose input
            is levels of 0-255 and not normalised.
    """

    module: nn.Module
    input_size: int
    batch_size: int | None
    takes_levels: bool


def require_onnx() -> tuple[ModuleType, ModuleType]:
    """
    Return the modules onnx and onnx2pytorch.

    Raises:
        ImportError: the extra is not installed.
        RuntimeError: torchvision, which they need, does not fit this torch.
    """
    import_torchvision()  # first: onnx2pytorch imports it too, without the mending
    importlib.import_module("onnx.checker")
    onnx2pytorch = importlib.import_module("onnx2pytorch")
    # A word of torch's to the authors of the library, which would go to each worker's log.
    warnings.filterwarnings("ignore", "Using a non-tuple sequence", module="onnx2pytorch")
    return importlib.import_module("onnx"), onnx2pytorch


def load_onnx(file: Path, side: int = INPUT_SIZE) -> OnnxNetwork:
    """
    Return the network that the file holds.

    Args:
        side: of the pictures for a network that takes any size, pixels.

    Raises:
        ImportError, RuntimeError: as `require_onnx`.
        UnfitOnnx: it is damaged or no ONNX, or does not take pictures as surrogates do.
    """
    onnx, onnx2pytorch = require_onnx()
    model = _read(file, onnx)
    _refuse_foreign_operators(model.graph)
    size = _input_size(model.graph, onnx) or side
    takes_levels = _begins_by_subtracting(model.graph)
    prepare(model.graph)
    module = _converted(model, onnx2pytorch)
    return OnnxNetwork(module, size, _batch_size(module, size), takes_levels)


def _read(file: Path, onnx: ModuleType) -> Any:
    """Return the model, its weights in memory, sound by the rules of ONNX."""
    from google.protobuf.message import Error as ProtobufError  # comes with onnx

    try:
        model = onnx.load(str(file))
        onnx.checker.check_model(model)
    except (OSError, ValueError, ProtobufError, onnx.checker.ValidationError) as error:
        raise UnfitOnnx(f"cannot be read as an ONNX file ({_brief(error)}): {_HINT}") from error
    return model


def _refuse_foreign_operators(graph: Any) -> None:
    foreign = {f"{n.domain}.{n.op_type}" for n in _all_nodes(graph) if n.domain not in _DOMAINS}
    if foreign:
        names = ", ".join(repr(name) for name in sorted(foreign)[:3])
        raise UnfitOnnx(f"uses operators that are not ONNX's own ({names[:160]}): {_HINT}")


def _all_nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from _all_nodes(inner)


def _inputs(graph: Any) -> list[Any]:
    weights = {tensor.name for tensor in graph.initializer}  # old files list them as inputs too
    return [value for value in graph.input if value.name not in weights]


def _begins_by_subtracting(graph: Any) -> bool:
    (pictures,) = _inputs(graph)
    return any(n.op_type == "Sub" and pictures.name in n.input for n in graph.node)


def _input_size(graph: Any, onnx: ModuleType) -> int | None:
    """Return the side of the square picture that the graph takes, pixels; None for any."""
    inputs = _inputs(graph)
    if len(inputs) != 1:
        raise UnfitOnnx(f"takes {len(inputs)} inputs, not one batch of pictures: {_HINT}")
    kind = inputs[0].type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        named = onnx.TensorProto.DataType.Name(kind.elem_type)
        raise UnfitOnnx(f"takes {named}, not FLOAT: {_HINT}")
    # Any length is a name, nothing, or with some exporters 0 or -1.
    shape = [d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim]
    return _side(shape)


def _side(shape: list[int | None]) -> int | None:
    told = "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"
    if len(shape) != 4 or shape[1] not in (3, None):
        last = ", channels first" if len(shape) == 4 and shape[3] == 3 else ""
        raise UnfitOnnx(f"takes {told}, not pictures of three channels: {_HINT}{last}")
    fixed = {length for length in shape[2:] if length is not None}
    if len(fixed) > 1:
        raise UnfitOnnx(f"takes {told}, but surrogates see squares: {_HINT}, both alike")
    return fixed.pop() if fixed else None


def _converted(model: Any, onnx2pytorch: ModuleType) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # It would try torch's function of that name, which may be another one.
        warnings.filterwarnings("error", "No explicit conversion", RuntimeWarning)
        try:
            with torch.random.fork_rng(devices=[]):  # weights are drawn, then overwritten
                module: nn.Module = onnx2pytorch.ConvertModel(model)
        except _REFUSALS as error:
            raise UnfitOnnx(
                f"cannot be turned into a torch network ({_brief(error)}): export it with other "
                "operators or another opset, or give it as TorchScript"
            ) from error
    return module.eval()


def _batch_size(module: nn.Module, size: int) -> int | None:
    """Find out whether pictures may go together: a dimension that is not fixed is no proof."""
    pictures = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        try:
            singly = torch.cat([first_tensor(module(picture)) for picture in pictures.split(1)])
        except _REFUSALS as error:
            what = f"does not work on (1, 3, {size}, {size})"
            raise UnfitOnnx(f"{what} ({_brief(error)}): {_HINT}") from error
        try:
            together = first_tensor(module(pictures))
        except _REFUSALS:
            return 1
    if together.shape != singly.shape:
        return 1
    return None if (together - singly).norm() <= _TOLERANCE * singly.norm() else 1


def _brief(error: BaseException) -> str:
    """Return an error's kind and first words, short enough for one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
