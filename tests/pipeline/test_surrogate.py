"""Networks that stand in for those we cannot ask: loaded as named, or an error that helps."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from pipeline.errors import SurrogateUnavailable
from pipeline.settings import Settings
from pipeline.surrogate import load_surrogates
from tests.pipeline.networks import Small, picture, settings_for, state_dict, torchscript


def test_the_embedded_way_loads_nothing() -> None:
    assert load_surrogates(Settings()) is None


def test_a_torchscript_file_is_loaded_by_its_entry_or_by_its_path(tmp_path: Path) -> None:
    file = torchscript(tmp_path / "mine.pt")
    for settings in (settings_for("mine", file), settings_for(str(file))):
        loaded = load_surrogates(settings)
        assert loaded is not None
        assert loaded.names == settings.surrogates
        assert loaded.top1(picture()[None].repeat(3, 1, 1, 1)).shape == (1, 3)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_a_state_dict_makes_torchvisions_network_of_that_name(tmp_path: Path, name: str) -> None:
    file = state_dict(tmp_path / "weights.pth", name, classes=7)
    loaded = load_surrogates(settings_for(name, file))
    assert loaded is not None
    (network,) = loaded.networks
    assert len(network.layers) == 2
    features = network.features(torch.rand(2, 3, 224, 224))
    assert [f.dim() for f in features] == [4, 4, 2]
    assert features[-1].shape == (2, 7)


def test_a_transformer_has_tokens_for_features(tmp_path: Path) -> None:
    file = state_dict(tmp_path / "vit.pth", "vit_b_32")
    loaded = load_surrogates(settings_for("vit_b_32", file))
    assert loaded is not None
    assert [f.dim() for f in loaded.networks[0].features(torch.rand(1, 3, 224, 224))] == [3, 3, 2]


def test_several_networks_answer_each_for_itself(tmp_path: Path) -> None:
    files = {name: torchscript(tmp_path / f"{name}.pt", seed) for seed, name in enumerate("ab")}
    loaded = load_surrogates(Settings(surrogates=("a", "b"), weights=files, device="cpu"))
    assert loaded is not None
    assert loaded.top1(picture()[None]).shape == (2, 1)


def test_no_parameter_takes_a_gradient(tmp_path: Path) -> None:
    loaded = load_surrogates(settings_for("a", torchscript(tmp_path / "a.pt")))
    assert loaded is not None
    assert not any(p.requires_grad for p in loaded.networks[0].module.parameters())


def test_weights_that_cannot_be_downloaded_are_an_error_that_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(SurrogateUnavailable) as caught:
        load_surrogates(settings_for("resnet18"))
    message = caught.value.message
    for part in ("resnet18-f37072fd.pth", str(tmp_path), "weights.resnet18", "no route to host"):
        assert part in message
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet81", "Did you mean resnet18"),
        ("fasterrcnn_resnet50_fpn", "is not a classifier"),
        ("/nowhere/mine.pt", "is not a file"),
    ],
)
def test_a_name_that_means_nothing_is_an_error_with_the_next_step(name: str, words: str) -> None:
    with pytest.raises(SurrogateUnavailable, match=words):
        load_surrogates(settings_for(name))


def test_files_that_are_no_network_are_refused_by_name(tmp_path: Path) -> None:
    script = torchscript(tmp_path / "whole.pt").read_bytes()
    weights = state_dict(tmp_path / "whole.pth", "squeezenet1_1").read_bytes()
    torch.save({"words": ["no", "tensors"]}, tmp_path / "words.pth")
    torch.save({"layer.bias": torch.zeros(5)}, tmp_path / "other.pth")
    (tmp_path / "cut.pt").write_bytes(script[: len(script) // 2])
    (tmp_path / "cut.pth").write_bytes(weights[: len(weights) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "junk.pth").write_bytes(b"junk" * 1000)
    for file in ("cut.pt", "cut.pth", "empty.pth", "junk.pth", "words.pth", "other.pth"):
        with pytest.raises(SurrogateUnavailable, match=f"squeezenet1_1: .*{file}"):
            load_surrogates(settings_for("squeezenet1_1", tmp_path / file))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    torch.save(Small(), tmp_path / "pickled.pth")  # a whole pickled object, not a state dict
    with pytest.raises(SurrogateUnavailable):
        load_surrogates(settings_for("squeezenet1_1", tmp_path / "pickled.pth"))


def test_a_network_for_other_inputs_is_refused(tmp_path: Path) -> None:
    gray = torch.jit.trace(torch.nn.Conv2d(1, 4, 3), torch.zeros(1, 1, 8, 8))
    gray.save(str(tmp_path / "gray.pt"))
    with pytest.raises(SurrogateUnavailable, match=r"does not take a picture \(1, 3, 224, 224\)"):
        load_surrogates(settings_for("gray", tmp_path / "gray.pt"))


def test_cuda_without_a_gpu_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings = Settings(surrogates=("a",), weights={"a": torchscript(tmp_path / "a.pt")})
    assert load_surrogates(settings) is not None
    forced = Settings(surrogates=("a",), weights=settings.weights, device="cuda")
    with pytest.raises(SurrogateUnavailable, match="finds no GPU"):
        load_surrogates(forced)
