"""Networks from ONNX files, which the tests write with torch and with onnx itself."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import SurrogateUnavailable
from pipeline.network import IMAGENET_MEAN, IMAGENET_STD
from pipeline.onnx_file import OnnxNetwork, UnfitOnnx, load_onnx
from pipeline.settings import Settings
from pipeline.surrogate import Surrogates, find_obstacles, load_surrogates
from tests.pipeline.onnx_files import (
    SIDE,
    Embedder,
    Faces,
    Grouped,
    Residual,
    export,
    seeded,
    without_onnx,
    write,
)

pytestmark = without_onnx

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {
    "filter": np.linspace(-1, 1, 4 * 3, dtype=np.float32).reshape(4, 3, 1, 1),
    "map": np.linspace(-1, 1, 4 * 4, dtype=np.float32).reshape(4, 4),
}


def node(kind: str, inputs: list[str], output: str, domain: str = "", **attributes: object):
    from onnx import helper

    return helper.make_node(kind, inputs, [output], domain=domain, **attributes)


def simple() -> list:
    """Return a graph that uses LAYERS: filter, mean over places, linear map."""
    return [
        node("Conv", ["x", "filter"], "maps"),
        node("GlobalAveragePool", ["maps"], "pool"),
        node("Flatten", ["pool"], "flat"),
        node("Gemm", ["flat", "map"], "y"),
    ]


def pictures(number: int = 2, side: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(number, 3, side, side, generator=generator) * 4 - 2


def load(*names: str, **weights: Path) -> Surrogates:
    surrogates = load_surrogates(Settings(surrogates=names, weights=weights, device="cpu"))
    assert surrogates is not None
    return surrogates


def refusal(path: Path) -> str:
    with pytest.raises(SurrogateUnavailable) as caught:
        load("mine", mine=path)
    message = caught.value.message
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "surrogate: embedded" in message
    return message


def assert_same_answers(network: OnnxNetwork, original: nn.Module) -> None:
    """Whether answers and gradients are those of the network that was exported."""
    batch = pictures().requires_grad_()
    parts = batch.split(network.batch_size or len(batch))
    answers = torch.cat([network.module(part) for part in parts])
    expected = original(batch)
    torch.testing.assert_close(answers, expected, rtol=1e-4, atol=1e-4)
    direction = torch.linspace(-1, 1, answers.numel()).reshape(answers.shape)
    found, wanted = (
        torch.autograd.grad((output * direction).sum(), batch)[0] for output in (answers, expected)
    )
    assert wanted.any()
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize("build", [Residual, Grouped, Embedder])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE},
        {"opset_version": 13},
    ],
)
def test_answers_and_gradients_are_those_of_the_network_that_was_exported(tmp_path, build, options):
    module = seeded(build)
    network = load_onnx(export(tmp_path / "net.onnx", module, **options))
    assert (network.input_size, network.batch_size) == (SIDE, None)
    assert_same_answers(network, module)


def test_the_middle_layers_of_an_onnx_file_are_compared_too(tmp_path):
    surrogates = load("faces", faces=export(tmp_path / "net.onnx", seeded(Residual)))
    (network,) = surrogates.networks
    assert surrogates.names == ("faces",)
    assert len(network.taps) == 2
    batch = (torch.rand(2, 3, 40, 30) * 255).requires_grad_()
    features = network.features(batch)
    assert [len(feature) for feature in features] == [2, 2, 2]
    for feature in features:
        assert torch.autograd.grad(feature.sum(), batch, retain_graph=True)[0].any()


def test_an_onnx_file_sees_pictures_in_its_own_size(tmp_path):
    module = seeded(Residual)
    path = export(tmp_path / "net.onnx", module)
    (network,) = load(str(path)).networks
    assert (network.name, network.input_size) == ("net.onnx", SIDE)
    batch = torch.rand(2, 3, 40, 30) * 255
    expected = module(network._prepare(batch)).argmax(dim=1)
    assert torch.equal(network.top1(batch), expected)


def test_a_network_of_any_size_sees_224_pixels(tmp_path):
    path = export(tmp_path / "net.onnx", seeded(Residual), dynamic=(0, 2, 3))
    assert load_onnx(path).input_size == 224


@pytest.mark.parametrize("unknown", [None, 0, -1])
def test_a_side_that_the_file_leaves_open_is_like_the_other(tmp_path, unknown):
    path = write(tmp_path / "net.onnx", simple(), LAYERS, shape=("n", 3, unknown, 48))
    assert load_onnx(path).input_size == 48


def test_a_file_for_one_picture_that_computes_on_several_is_given_several(tmp_path):
    module = seeded(Residual)
    network = load_onnx(export(tmp_path / "net.onnx", module, dynamic=()))
    assert network.batch_size is None
    assert_same_answers(network, module)


def test_a_file_that_computes_on_one_picture_only_is_given_one_at_a_time(tmp_path):
    module = seeded(Grouped)
    path = export(tmp_path / "net.onnx", module, dynamic=())
    network = load_onnx(path)
    assert network.batch_size == 1
    assert_same_answers(network, module)
    (surrogate,) = load("mine", mine=path).networks
    batch = torch.rand(3, 3, 40, 30) * 255
    features = surrogate.features(batch)
    assert [len(feature) for feature in features] == [3] * len(features)
    assert torch.equal(surrogate.top1(batch), module(surrogate._prepare(batch)).argmax(dim=1))


def test_a_file_whose_pictures_influence_each_other_is_given_one_at_a_time(tmp_path):
    nodes = [
        *simple()[:3],
        node("Gemm", ["flat", "map"], "scores"),
        node("Softmax", ["scores"], "y", axis=0),
    ]
    assert load_onnx(write(tmp_path / "net.onnx", nodes, LAYERS)).batch_size == 1


def test_a_loaded_network_is_in_eval_mode_and_its_parameters_are_frozen(tmp_path):
    (network,) = load(str(export(tmp_path / "net.onnx", seeded(Residual)))).networks
    assert not any(part.training for part in network.module.modules())
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


def test_loading_leaves_the_global_random_numbers_alone(tmp_path):
    path = export(tmp_path / "net.onnx", seeded(Residual))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_onnx(path)
    assert torch.equal(torch.rand(4), expected)


def test_names_in_a_file_are_only_names(tmp_path):
    """Two that differ in a dot and an underscore are two; what reads as code is not run."""
    trace = tmp_path / "trace"
    name = f'"),__import__("pathlib").Path("{trace}").touch(),("'
    one, two = LAYERS["filter"], -2 * LAYERS["filter"]
    nodes = [
        node("Conv", ["x", "w.a"], "forward"),
        node("Conv", ["x", "w_a"], name, name=name),
        node("Add", ["forward", name], "maps"),
        *simple()[1:],
    ]
    path = write(tmp_path / "net.onnx", nodes, {"w.a": one, "w_a": two, "map": LAYERS["map"]})
    expected = torch.from_numpy(one + two)
    maps = nn.functional.conv2d(pictures(), expected).mean(dim=(2, 3))
    torch.testing.assert_close(
        load_onnx(path).module(pictures()), maps @ torch.from_numpy(LAYERS["map"])
    )
    assert not trace.exists()


@pytest.mark.parametrize(
    ("side", "channels", "reason"),
    [((32, 48), 3, "takes (any, 3, 32, 48)"), (32, 1, "takes (any, 1, 32, 32)")],
)
def test_an_input_that_is_no_square_picture_is_named(tmp_path, side, channels, reason):
    class Any(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return batch.mean(dim=(2, 3))

    path = export(tmp_path / "net.onnx", Any(), side=side, channels=channels)
    assert reason in refusal(path)


def test_channels_that_come_last_are_told_to_come_first(tmp_path):
    path = write(tmp_path / "net.onnx", simple(), LAYERS, shape=("n", 32, 32, 3))
    assert "channels first" in refusal(path)


def test_other_numbers_than_float32_are_named(tmp_path):
    path = export(tmp_path / "net.onnx", seeded(Residual))
    import onnx

    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    path.write_bytes(model.SerializeToString())
    assert "takes FLOAT16, not FLOAT" in refusal(path)


def test_weights_that_old_files_list_as_inputs_are_no_inputs(tmp_path):
    path = write(tmp_path / "net.onnx", simple(), LAYERS)
    import onnx
    from onnx import helper

    model = onnx.load(str(path))
    for name, value in LAYERS.items():
        model.graph.input.append(helper.make_tensor_value_info(name, 1, value.shape))
    path.write_bytes(model.SerializeToString())
    assert load_onnx(path).input_size == SIDE
    model.graph.input.append(helper.make_tensor_value_info("mask", 1, ["n", 1]))
    path.write_bytes(model.SerializeToString())
    assert "takes 2 inputs" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"not a network\n", b"PK\x03\x04" + bytes(500)])
def test_a_file_that_is_something_else_is_named(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert "cannot be read as an ONNX file" in refusal(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(tmp_path, share):
    path = export(tmp_path / "net.onnx", seeded(Residual))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "cannot be read as an ONNX file" in refusal(path)


def test_a_file_that_is_too_large_to_be_checked_is_named(tmp_path, monkeypatch):
    """The checker writes it into memory, for which there may be too little, or over 2 GB."""
    from google.protobuf.message import EncodeError

    def check(_model: object) -> None:
        raise EncodeError("Failed to serialize proto")

    path = export(tmp_path / "net.onnx", seeded(Residual))
    monkeypatch.setattr("onnx.checker.check_model", check)
    assert "cannot be read as an ONNX file (EncodeError" in refusal(path)


@pytest.mark.parametrize("start", range(0, 4000, 400))
def test_a_damaged_file_is_loaded_or_refused(tmp_path, start):
    path = export(tmp_path / "net.onnx", seeded(Residual))
    content = bytearray(path.read_bytes())
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    with contextlib.suppress(SurrogateUnavailable):
        load("mine", mine=path)


@pytest.mark.parametrize("kind", ["Load", "Relu"])
def test_operators_that_are_not_onnx_s_own_are_named(tmp_path, kind):
    """Even those whose name is one of torch's functions, or of ONNX's operators."""
    nodes = [*simple()[:3], node(kind, ["flat"], "y", domain="com.example")]
    path = write(tmp_path / "net.onnx", nodes, LAYERS, domains=["com.example"])
    assert f"com.example.{kind}" in refusal(path)


def test_they_are_found_in_the_branches_of_a_condition_too(tmp_path):
    from onnx import TensorProto, helper

    branch = helper.make_graph(
        [node("Load", ["flat"], "out", domain="com.example")],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4])],
    )
    nodes = [*simple()[:3], node("If", ["yes"], "y", then_branch=branch, else_branch=branch)]
    weights = {**LAYERS, "yes": np.array(True)}
    path = write(tmp_path / "net.onnx", nodes, weights, domains=["com.example"])
    assert "com.example.Load" in refusal(path)


def test_an_operator_that_onnx_does_not_have_is_named(tmp_path):
    path = write(tmp_path / "net.onnx", [*simple()[:3], node("Load", ["flat"], "y")], LAYERS)
    assert "Load" in refusal(path)


def test_an_operator_that_the_library_does_not_know_is_not_guessed(tmp_path, monkeypatch):
    """As one of a later ONNX would be, which the checker knows before the library does."""
    import onnx

    monkeypatch.setattr(onnx.checker, "check_model", lambda model: None)
    path = write(tmp_path / "net.onnx", [*simple()[:3], node("Hardshrink", ["flat"], "y")], LAYERS)
    message = refusal(path)
    assert "cannot be turned into a torch network" in message
    assert "Hardshrink" in message


def test_a_file_in_training_mode_is_refused(tmp_path):
    options = {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False}
    path = export(tmp_path / "net.onnx", seeded(Residual).train(), **options)
    assert "cannot be turned into a torch network" in refusal(path)


def test_a_network_without_a_gradient_is_refused(tmp_path):
    first, *others = simple()
    first.input[0] = "whole"
    nodes = [node("Ceil", ["x"], "whole"), first, *others]
    assert "passes no usable gradient" in refusal(write(tmp_path / "net.onnx", nodes, LAYERS))


def test_a_graph_that_fails_on_its_own_input_is_named(tmp_path):
    nodes = [node("Flatten", ["x"], "flat"), node("Gemm", ["flat", "map"], "y")]
    assert "does not work on (1, 3, 32, 32)" in refusal(write(tmp_path / "n.onnx", nodes, LAYERS))


def beside(path: Path, location: str) -> Path:
    """Move the weights of a file into another one, as `location` names it."""
    import onnx

    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, location)
    data = b""
    for tensor in model.graph.initializer:
        offset = onnx.StringStringEntryProto(key="offset", value=str(len(data)))
        length = onnx.StringStringEntryProto(key="length", value=str(len(tensor.raw_data)))
        tensor.external_data.extend([offset, length])
        data += tensor.raw_data
        tensor.ClearField("raw_data")
    (path.parent / location).write_bytes(data)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_file_are_read(tmp_path):
    module = seeded(Residual)
    path = beside(export(tmp_path / "net.onnx", module), "net.weights")
    assert_same_answers(load_onnx(path), module)
    (tmp_path / "net.weights").unlink()
    assert "net.weights" in refusal(path)


def test_weights_out_of_the_file_s_folder_are_not_read(tmp_path):
    (tmp_path / "in").mkdir()
    path = export(tmp_path / "in" / "net.onnx", seeded(Residual))
    assert "ValidationError" in refusal(beside(path, "../secret"))


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_links_beside_the_file_are_not_followed(tmp_path, make):
    path = beside(export(tmp_path / "net.onnx", seeded(Residual)), "net.weights")
    (tmp_path / "net.weights").rename(tmp_path / "elsewhere")
    make(tmp_path / "elsewhere", tmp_path / "net.weights")
    assert "ValidationError" in refusal(path)


def test_without_the_extra_it_is_named_at_once(tmp_path, monkeypatch):
    path = export(tmp_path / "net.onnx", seeded(Residual))
    monkeypatch.setitem(sys.modules, "onnx2pytorch", None)
    assert "pip install 'media-cleaner[onnx]'" in refusal(path)
    settings = Settings(surrogates=(str(path),), device="cpu")
    (obstacle,) = find_obstacles(settings)
    assert "pip install 'media-cleaner[onnx]'" in obstacle
    monkeypatch.undo()
    assert find_obstacles(settings) == ()


def test_an_error_of_the_file_is_one_of_its_own_kind(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"")
    with pytest.raises(UnfitOnnx, match="cannot be read"):
        load_onnx(path)


# --- docs/NETWORKS.md ---

IN_TORCH, IN_ONNX = re.findall(
    r"^```python\n(.*?)^```$",
    (ROOT / "docs/NETWORKS.md").read_text(encoding="utf-8").partition("\n# Faces\n")[0],
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:You are using the legacy:DeprecationWarning")
@pytest.mark.parametrize("code", [IN_TORCH, IN_ONNX], ids=["in torch", "in ONNX"])
def test_an_embedder_of_other_values_is_made_fit_as_the_document_says(tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    embedder = seeded(Faces)
    export(tmp_path / "embedder.onnx", embedder, side=112)
    exec(code, {"embedder": embedder})
    network = load_onnx(tmp_path / "faces.onnx")
    assert (network.input_size, network.batch_size) == (112, None)
    rgb = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    mean, deviation = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    found = network.module((rgb - mean) / deviation)
    torch.testing.assert_close(found, embedder(2 * rgb - 1), rtol=1e-4, atol=1e-4)
    assert load("faces", faces=tmp_path / "faces.onnx").names == ("faces",)
