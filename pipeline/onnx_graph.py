"""
Bring an ONNX graph into the form that onnx2pytorch takes, without a change of what it computes.

The library fails on, or is misled by, some of what exporters write. Graphs and nodes are
protocol buffers, which are changed in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def prepare(graph: Any) -> None:
    """Change a graph that onnx's checker has found sound."""
    constants = _gather_constants(graph)
    names = _Names()
    _drop_copies(graph, constants, names)
    for node in graph.node:
        _drop_inference_flag(node)
    _part_constants(graph, constants)
    _rename(graph, names)


def subgraphs(node: Any) -> Iterator[Any]:
    """Yield the bodies that a node holds: of a loop, or the two branches of an If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


class _Names(dict[str, str]):
    """
    A plain new name for every name; a missing input's, which is empty, stays.

    The library takes names for those of modules and buffers, in which a dot parts levels and
    two names that differ in a dot and an underscore are one.
    """

    def __missing__(self, name: str) -> str:
        self[name] = f"v{len(self)}" if name else ""
        return self[name]


def _gather_constants(graph: Any) -> dict[str, int]:
    """
    Make every Constant of the graph one of its initializers; return each one's dimensions.

    The library knows weights as initializers only.
    """
    kept = []
    for node in graph.node:
        value = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if node.op_type == "Constant" and value:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value[0])
            tensor.name = node.output[0]
        else:
            kept.append(node)
    _replace(graph.node, kept)
    return {tensor.name: len(tensor.dims) for tensor in graph.initializer}


def _drop_copies(graph: Any, constants: dict[str, int], names: _Names) -> None:
    """
    Let copies of constants bear the name of what they copy.

    torch's exporter writes weights that are equal once, and Identity for the others.
    """
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        is_copy = node.op_type == "Identity" and node.input[0] in constants
        if is_copy and node.output[0] not in outputs:
            names[node.output[0]] = names[node.input[0]]
            constants[node.output[0]] = constants[node.input[0]]
        else:
            kept.append(node)
    _replace(graph.node, kept)


def _drop_inference_flag(node: Any) -> None:
    """Drop `training_mode: 0`, the default, which the library does not know; it refuses 1."""
    if node.op_type == "BatchNormalization":
        kept = [a for a in node.attribute if a.name != "training_mode" or a.i != 0]
        _replace(node.attribute, kept)


def _part_constants(graph: Any, constants: dict[str, int]) -> None:
    """
    Hand constants over as values where the library would take them for a layer's weights.

    It makes a linear layer of a MatMul with a constant, of whichever side and rank, and its bias
    of a constant that is added next, of whichever shape.
    """
    nodes: list[Any] = []
    products: set[str] = set()
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in constants and _misleads(node, place, constants[name], products):
                nodes.append(_copy_of(name, node, place))
        if node.op_type == "MatMul":
            products.add(node.output[0])
        nodes.append(node)
    _replace(graph.node, nodes)


def _misleads(node: Any, place: int, rank: int, products: set[str]) -> bool:
    if node.op_type == "MatMul":
        return place != 1 or rank != 2
    return node.op_type == "Add" and rank != 1 and not products.isdisjoint(node.input)


def _copy_of(name: str, node: Any, place: int) -> Any:
    """Return an Identity of a constant, which becomes the node's input at `place`."""
    copy = type(node)(op_type="Identity", input=[name], output=[f"{node.output[0]}/{place}/copy"])
    node.input[place] = copy.output[0]
    return copy


def _rename(graph: Any, names: _Names) -> None:
    # What is known of shapes in between goes, with its names: the library does not use it.
    del graph.value_info[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names[value.name]
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        for inner in subgraphs(node):
            _rename(inner, names)


def _replace(field: Any, values: Iterable[Any]) -> None:
    """Make `values` the members of a repeated field of messages."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copies)
