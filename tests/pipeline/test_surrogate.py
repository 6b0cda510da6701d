from __future__ import annotations

import pickle
import urllib.error
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline import network_file
from pipeline.errors import SurrogateUnavailable
from pipeline.settings import Settings
from pipeline.surrogate import Surrogates, load_surrogates
from pipeline.torchvision_import import import_torchvision

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


class Small(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, 4, 5, stride=4)
        self.linear = nn.Linear(4, 6)

    def forward(self, picture: Tensor) -> Tensor:
        return self.linear(torch.relu(self.convolution(picture)).mean(dim=(2, 3)))


class Particular(Small):
    """Refuses other sizes by itself."""

    def forward(self, picture: Tensor) -> Tensor:
        if picture.shape[-1] != 112:
            raise ValueError("give me 112 pixels")
        return self.convolution(picture)


class Squeezed(Small):
    """Of one picture its output has a dimension less."""

    def forward(self, picture: Tensor) -> Tensor:
        return super().forward(picture).squeeze()


class Flat(Small):
    """Gives all pictures' numbers in one row, as a trace of `reshape(1, -1)` does."""

    def forward(self, picture: Tensor) -> Tensor:
        return super().forward(picture).reshape(1, -1)


class Viewed(Small):
    """Its rows are a view of its maps, which these have to lie in memory for as torch has them."""

    def forward(self, picture: Tensor) -> Tensor:
        return self.convolution(picture).view(picture.shape[0], -1)


class Deep(Small):
    """Has weights of five dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Conv3d(1, 4, 3)

    def forward(self, picture: Tensor) -> Tensor:
        return self.deep(self.convolution(picture)[:, None]).mean(dim=(2, 3, 4))


class Detached(Small):
    def forward(self, picture: Tensor) -> Tensor:
        return super().forward(picture).detach()


class Fixed(nn.Module):
    """Takes pictures of 32 x 32 only."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 32 * 32, 4)

    def forward(self, picture: Tensor) -> Tensor:
        return self.linear(picture.flatten(1))


class Constant(Small):
    def forward(self, picture: Tensor) -> Tensor:
        return super().forward(0 * picture)


class Dictionary(Small):
    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        return {"out": super().forward(picture)}


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().eval()


def scripted(path: Path, module: nn.Module, side: int = 224, channels: int = 3) -> Path:
    example = torch.rand(1, channels, side, side)
    torch.jit.trace(module, example, strict=False).save(path)
    return path


def state_dict(path: Path, name: str, **options: object) -> Path:
    models = import_torchvision().models
    torch.save(seeded(lambda: models.get_model(name, weights=None, **options)).state_dict(), path)
    return path


def load(*names: str, **weights: Path) -> Surrogates:
    surrogates = load_surrogates(Settings(surrogates=names, weights=weights, device="cpu"))
    assert surrogates is not None
    return surrogates


def refusal(*names: str, **weights: Path) -> str:
    with pytest.raises(SurrogateUnavailable) as caught:
        load(*names, **weights)
    message = caught.value.message
    assert "\n" not in message
    assert "surrogate: embedded" in message or "`embedded` alone" in message
    assert pickle.loads(pickle.dumps(caught.value)).message == message
    return message


def test_a_network_is_read_once_until_another_lies_there(tmp_path):
    file = scripted(tmp_path / "own.pt", seeded(lambda: nn.Conv2d(3, 4, 3)))
    first = load("own", own=file).networks[0]
    assert load("own", own=file).networks[0] is first
    scripted(file, seeded(lambda: nn.Conv2d(3, 5, 3)))
    assert load("own", own=file).networks[0] is not first
    file.unlink()
    assert str(file) in refusal("own", own=file)


def test_the_embedded_way_has_no_surrogates():
    assert load_surrogates(Settings()) is None


def test_a_state_dict_of_a_torchvision_classifier_is_loaded(tmp_path):
    path = state_dict(tmp_path / "w.pth", "squeezenet1_1")
    surrogates = load("squeezenet1_1", squeezenet1_1=path)
    (network,) = surrogates.networks
    assert surrogates.names == ("squeezenet1_1",)
    assert surrogates.device == torch.device("cpu")
    assert network.taps
    loaded, saved = network.module.state_dict(), torch.load(path, weights_only=True)
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)


def test_a_loaded_network_is_in_eval_mode_its_norms_folded_and_its_parameters_frozen(tmp_path):
    path = state_dict(tmp_path / "w.pth", "mobilenet_v3_small")
    (network,) = load("mobilenet_v3_small", mobilenet_v3_small=path).networks
    assert not any(part.training for part in network.module.modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.module.modules())
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


def test_a_network_that_was_trained_on_other_classes_is_loaded(tmp_path):
    path = state_dict(tmp_path / "w.pth", "shufflenet_v2_x0_5", num_classes=7)
    surrogates = load("shufflenet_v2_x0_5", shufflenet_v2_x0_5=path)
    assert surrogates.top1(torch.rand(2, 3, 30, 40) * 255).max() < 7


def test_old_names_of_densenet_s_layers_are_understood(tmp_path):
    path = state_dict(tmp_path / "w.pth", "densenet121")
    state = torch.load(path, weights_only=True)
    old = {
        key.replace("norm1", "norm.1").replace("conv2", "conv.2"): value
        for key, value in state.items()
    }
    assert old.keys() != state.keys()
    torch.save(old, path)
    assert load("densenet121", densenet121=path).names == ("densenet121",)


def test_mnasnet_whose_loading_needs_the_file_s_metadata_is_loaded(tmp_path):
    path = state_dict(tmp_path / "w.pth", "mnasnet0_5")
    assert load("mnasnet0_5", mnasnet0_5=path).names == ("mnasnet0_5",)


def test_a_torchscript_file_serves_under_a_name_of_one_s_own(tmp_path):
    module = seeded(Small)
    path = scripted(tmp_path / "mine.pt", module)
    surrogates = load("faces", faces=path)
    (network,) = surrogates.networks
    assert (surrogates.names, network.taps, network.input_size) == (("faces",), (), 224)
    batch = torch.rand(2, 3, 30, 40) * 255
    expected = module(network._prepare(batch)).argmax(dim=1)
    assert torch.equal(surrogates.top1(batch), expected[None])


@pytest.mark.parametrize("module", [Squeezed, Flat])
def test_an_output_s_rows_may_be_missing(tmp_path, module):
    """Anchors ask about one picture or two."""
    small, other = seeded(Small), seeded(module)
    (network,) = load("mine", mine=scripted(tmp_path / "mine.pt", other)).networks
    for count in (1, 2):
        batch = torch.rand(count, 3, 30, 40) * 255
        expected = small(network._prepare(batch))
        (output,) = network.features(batch)
        assert torch.allclose(output, expected, atol=1e-5)
        assert torch.equal(network.top1(batch), expected.argmax(dim=1))


@pytest.mark.parametrize("build", [Viewed, Deep])
def test_a_network_that_takes_no_channels_last_is_loaded(tmp_path, build):
    module = seeded(build)
    (network,) = load("mine", mine=scripted(tmp_path / "mine.pt", module)).networks
    batch = torch.rand(2, 3, 30, 40) * 255
    (output,) = network.features(batch)
    assert torch.allclose(output, module(network._prepare(batch)), atol=1e-5)


def test_a_network_that_takes_no_single_picture_is_refused(tmp_path):
    layers = nn.Conv2d(3, 4, 5, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    normalised = nn.Sequential(*layers, nn.BatchNorm1d(4, track_running_stats=False)).eval()
    torch.jit.script(normalised).save(tmp_path / "mine.pt")
    message = refusal("mine", mine=tmp_path / "mine.pt")
    assert "does not work on (n, 3, 224, 224)" in message


def test_a_torchscript_file_may_stand_for_a_torchvision_name(tmp_path):
    assert load("resnet18", resnet18=scripted(tmp_path / "w.pt", seeded(Small))).names


def test_a_name_may_itself_be_a_path_of_which_the_report_shows_the_file_only(tmp_path):
    path = scripted(tmp_path / "mine.pt", seeded(Small))
    assert load(str(path)).names == ("mine.pt",)


def test_a_frozen_torchscript_file_is_loaded(tmp_path):
    traced = torch.jit.trace(seeded(Small), torch.rand(1, 3, 224, 224))
    path = tmp_path / "frozen.pt"
    torch.jit.freeze(traced).save(path)
    assert load("frozen", frozen=path).names == ("frozen",)


def test_several_networks_answer_each_in_a_row_of_its_own(tmp_path):
    small = scripted(tmp_path / "mine.pt", seeded(Small))
    squeeze = state_dict(tmp_path / "w.pth", "squeezenet1_1")
    surrogates = load("mine", "squeezenet1_1", mine=small, squeezenet1_1=squeeze)
    answers = surrogates.top1(torch.rand(3, 3, 30, 40) * 255)
    assert answers.shape == (2, 3)
    assert answers.dtype == torch.int64
    assert surrogates.names == ("mine", "squeezenet1_1")


def test_the_same_name_twice_counts_once(tmp_path):
    path = scripted(tmp_path / "mine.pt", seeded(Small))
    assert load("mine", "mine", mine=path).names == ("mine",)


def test_loading_leaves_the_global_random_numbers_alone(tmp_path):
    path = state_dict(tmp_path / "w.pth", "squeezenet1_1")
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load("squeezenet1_1", squeezenet1_1=path)
    assert torch.equal(torch.rand(4), expected)


def test_embedded_beside_a_network_is_refused():
    assert "resnet18" in refusal("embedded", "resnet18")


def test_no_name_at_all_is_refused():
    refusal()


def test_an_unknown_name_is_answered_with_near_ones():
    message = refusal("resnet19")
    assert "'resnet19' is not known" in message
    assert "resnet18" in message
    assert "weights: {resnet19: FILE}" in message


@pytest.mark.parametrize(
    "name",
    ["fasterrcnn_resnet50_fpn", "deeplabv3_resnet50", "quantized_resnet18", "r3d_18"],
)
def test_models_that_are_no_classifiers_of_pictures_are_refused(name):
    message = refusal(name)
    assert name in message
    assert "classifier such as resnet18" in message


def test_a_missing_file_is_named(tmp_path):
    assert str(tmp_path / "no.pt") in refusal("mine", mine=tmp_path / "no.pt")
    assert "no.pth" in refusal(str(tmp_path / "no.pth"))


@pytest.mark.parametrize("content", [b"", b"not a network\n", b"PK\x03\x04" + bytes(500)])
def test_a_file_that_is_something_else_is_named_with_the_reason(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert f"{path} cannot be read" in refusal("squeezenet1_1", squeezenet1_1=path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_state_dict_is_named(tmp_path, share):
    path = state_dict(tmp_path / "w.pth", "squeezenet1_1")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert f"{path} cannot be read" in refusal("squeezenet1_1", squeezenet1_1=path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_torchscript_file_is_named(tmp_path, share):
    path = scripted(tmp_path / "mine.pt", seeded(Small))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert str(path) in refusal("mine", mine=path)


def test_a_damaged_torchscript_file_is_named(tmp_path):
    path = scripted(tmp_path / "mine.pt", seeded(Small))
    content = bytearray(path.read_bytes())
    place = content.index(b"constants.pkl") + 40
    content[place : place + 400] = bytes(400)
    path.write_bytes(content)
    assert str(path) in refusal("mine", mine=path)


def test_a_state_dict_of_another_network_is_named(tmp_path):
    path = state_dict(tmp_path / "w.pth", "squeezenet1_1")
    message = refusal("mobilenet_v3_small", mobilenet_v3_small=path)
    assert f"{path} is not a state dict of torchvision's mobilenet_v3_small" in message
    assert "Missing key" in message


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


def test_code_in_a_pickled_file_is_not_run(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"weight": Hostile(tmp_path / "trace")}, path)
    assert str(path) in refusal("squeezenet1_1", squeezenet1_1=path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("value", [torch.zeros(3), [torch.zeros(3)], {}, {"state": {}}])
def test_a_file_of_other_values_is_told_how_to_be_made(tmp_path, value):
    path = tmp_path / "w.pth"
    torch.save(value, path)
    assert "torch.save(network.state_dict(), FILE)" in refusal("squeezenet1_1", squeezenet1_1=path)


def test_a_state_dict_under_a_name_of_one_s_own_is_refused(tmp_path):
    path = state_dict(tmp_path / "w.pth", "squeezenet1_1")
    assert "torch.jit.trace" in refusal("mine", mine=path)


@pytest.mark.parametrize(
    ("module", "side", "channels", "reason"),
    [
        (Fixed, 32, 3, "does not work on (n, 3, 224, 224)"),
        (lambda: Small(channels=1), 224, 1, "does not work on (n, 3, 224, 224)"),
        (Dictionary, 224, 3, "not a tensor"),
        (Detached, 224, 3, "passes no usable gradient"),
        (Constant, 224, 3, "passes no usable gradient"),
    ],
)
def test_a_network_that_cannot_be_differentiated_is_refused(
    tmp_path, module, side, channels, reason
):
    path = scripted(tmp_path / "mine.pt", seeded(module), side, channels)
    message = refusal("mine", mine=path)
    assert str(path) in message
    assert reason in message


def test_what_a_torchscript_network_says_itself_is_told(tmp_path):
    torch.jit.script(seeded(Particular)).save(tmp_path / "mine.pt")
    assert "(give me 112 pixels)" in refusal("mine", mine=tmp_path / "mine.pt")
    message = refusal("fixed", fixed=scripted(tmp_path / "fixed.pt", seeded(Fixed), 32))
    assert "(mat1 and mat2 shapes cannot be multiplied" in message


def test_weights_that_cannot_be_downloaded_are_named_with_where_to_put_them(tmp_path, monkeypatch):
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    message = refusal("resnet18")
    checkpoints = tmp_path / "hub" / "checkpoints"
    assert f"{checkpoints}/resnet18-f37072fd.pth" in message
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in message
    assert "no route to host" in message
    assert "weights: {resnet18: FILE}" in message
    assert list(checkpoints.iterdir()) == []


def test_weights_in_torch_s_cache_are_taken_without_the_network(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    state_dict(tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth", "squeezenet1_1")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert load("squeezenet1_1").names == ("squeezenet1_1",)


@pytest.mark.parametrize(
    "reason", ["CUDA out of memory.", "[enforce fail] DefaultCPUAllocator: can't allocate memory"]
)
def test_lack_of_memory_is_not_blamed_on_the_network(reason, tmp_path, monkeypatch):
    def lacking(*_: object) -> None:
        raise RuntimeError(reason)

    weights = state_dict(tmp_path / "squeezenet1_1.pth", "squeezenet1_1")
    monkeypatch.setattr(network_file, "_gradient", lacking)
    with pytest.raises(MemoryError):
        load("squeezenet1_1", squeezenet1_1=weights)


def test_lack_of_memory_while_a_configuration_is_tried_is_told_in_a_sentence():
    def check() -> None:
        cause = RuntimeError("DefaultCPUAllocator: can't allocate memory")
        raise network_file.unfit("mine.pt", cause) from cause

    (message,) = network_file.refusals([check], "or set `surrogate: embedded`")
    assert message.startswith("there is too little memory to try it")


def test_asking_for_cuda_without_one_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SurrogateUnavailable, match="cuda"):
        load_surrogates(Settings(surrogates=("resnet18",), device="cuda"))
