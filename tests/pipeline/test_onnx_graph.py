"""A graph computes the same after `prepare`, and the library then takes it as it is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.onnx_file import require_onnx
from pipeline.onnx_graph import prepare
from tests.pipeline.onnx_files import Embedder, Grouped, Residual, export, seeded, without_onnx

pytestmark = without_onnx

RNG = np.random.default_rng(0)
SQUARE = RNG.standard_normal((4, 4)).astype(np.float32)
ROW = RNG.standard_normal(4).astype(np.float32)
BATCH = RNG.standard_normal((2, 4, 4)).astype(np.float32)


def graph_of(*nodes: tuple[str, list[str], str, dict[str, Any]], **weights: np.ndarray) -> Any:
    """Return a model from `x` to `y`, (2, 4, 4); nodes are kind, inputs, output, attributes."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [out], **more) for kind, inputs, out, more in nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4, 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def computed(model: Any, batch: np.ndarray) -> np.ndarray:
    """Return what the graph gives by ONNX's own reference."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, {model.graph.input[0].name: batch})[0]


def answered(model: Any, batch: np.ndarray) -> np.ndarray:
    """Return what the library's network gives."""
    _, onnx2pytorch = require_onnx()
    with torch.no_grad():
        return onnx2pytorch.ConvertModel(model).eval()(torch.from_numpy(batch)).numpy()


def constant(value: np.ndarray) -> dict[str, Any]:
    from onnx import numpy_helper

    return {"value": numpy_helper.from_array(value)}


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(
            lambda: graph_of(("MatMul", ["w", "x"], "y", {}), w=SQUARE), id="constant first"
        ),
        pytest.param(
            lambda: graph_of(("MatMul", ["x", "w"], "y", {}), w=BATCH), id="constant of rank 3"
        ),
        pytest.param(
            lambda: graph_of(
                ("MatMul", ["x", "w"], "p", {}), ("Add", ["p", "b"], "y", {}), w=SQUARE, b=ROW
            ),
            id="bias",
        ),
        pytest.param(
            lambda: graph_of(
                ("MatMul", ["x", "w"], "p", {}),
                ("Add", ["b", "p"], "y", {}),
                w=SQUARE,
                b=ROW[:, None],
            ),
            id="sum with a constant that is no bias",
        ),
        pytest.param(
            lambda: graph_of(
                ("Constant", [], "w", constant(BATCH[:1].transpose(1, 2, 0))),
                ("Conv", ["x", "w"], "y", {}),
            ),
            id="weights as a Constant",
        ),
        pytest.param(
            lambda: graph_of(
                ("Identity", ["w"], "copy", {}), ("MatMul", ["x", "copy"], "y", {}), w=SQUARE
            ),
            id="weights as a copy",
        ),
        pytest.param(
            lambda: graph_of(
                ("Add", ["x", "a.b"], "p", {}),
                ("Sub", ["p", "a_b"], "y", {}),
                a_b=ROW,
                **{"a.b": SQUARE},
            ),
            id="names that differ in a dot",
        ),
    ],
)
def test_what_the_library_takes_otherwise_is_brought_into_its_form(build):
    model = build()
    expected = computed(model, BATCH)
    prepare(model.graph)
    np.testing.assert_allclose(computed(model, BATCH), expected, rtol=1e-5)
    np.testing.assert_allclose(answered(model, BATCH), expected, rtol=1e-4, atol=1e-5)


def test_branches_of_a_condition_still_see_what_lies_outside():
    from onnx import TensorProto, helper

    def branch(kind: str) -> Any:
        inner = helper.make_node(kind, ["p.q", "copy"], ["out"])
        value = helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 4, 4])
        return helper.make_graph([inner], kind, [], [value])

    model = graph_of(
        ("Identity", ["w"], "copy", {}),
        ("Relu", ["x"], "p.q", {}),
        ("If", ["yes"], "y", {"then_branch": branch("Add"), "else_branch": branch("Sub")}),
        w=SQUARE,
        yes=np.array(True),
    )
    expected = computed(model, BATCH)
    prepare(model.graph)
    np.testing.assert_allclose(answered(model, BATCH), expected, rtol=1e-5)


@pytest.mark.parametrize("build", [Residual, Grouped, Embedder])
@pytest.mark.parametrize("folding", [True, False])
def test_an_exported_network_computes_the_same_afterwards(tmp_path: Path, build, folding):
    onnx, _ = require_onnx()
    training = torch.onnx.TrainingMode.EVAL if folding else torch.onnx.TrainingMode.PRESERVE
    options = {"do_constant_folding": folding, "training": training}
    model = onnx.load(str(export(tmp_path / "net.onnx", seeded(build), **options)))
    batch = RNG.standard_normal((2, 3, 32, 32)).astype(np.float32)
    expected = computed(model, batch)
    prepare(model.graph)
    onnx.checker.check_model(model)
    np.testing.assert_allclose(computed(model, batch), expected, rtol=1e-5)
