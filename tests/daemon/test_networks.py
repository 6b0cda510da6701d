"""Whether the networks that the configuration names can be had, asked of the real process."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon import networks
from daemon.networks import network_problems
from pipeline.settings import Settings

torch = pytest.importorskip("torch")


def test_the_embedded_way_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(networks, "Child", refuse)
    for device in ("auto", "cpu"):
        assert network_problems(Settings(device=device)) == []


def test_an_unknown_name_is_told_with_near_ones() -> None:
    (problem,) = network_problems(Settings(surrogates=("resnet19",), device="cpu"))
    assert problem.startswith("surrogate: Surrogate 'resnet19' is not known")
    assert "resnet18" in problem


def test_all_that_is_wrong_is_told() -> None:
    settings = Settings(surrogates=("resnet19", "resnet18", "r3d_18"), device="cpu")
    assert ["resnet19" in problem for problem in network_problems(settings)] == [True, False]


def test_a_file_that_is_no_network_is_told(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"not a network")
    (problem,) = network_problems(Settings(surrogates=(str(path),), device="cpu"))
    assert str(path) in problem
    assert "no TorchScript archive" in problem


def test_a_missing_file_is_left_to_the_look_at_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "Child", None)
    settings = Settings(
        surrogates=("mine", str(tmp_path / "no.pt")),
        weights={"mine": tmp_path / "no.pth"},
        device="cpu",
    )
    assert network_problems(settings) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_told() -> None:
    (problem,) = network_problems(Settings(device="cuda"))
    assert problem == "device: cuda is set, but torch finds no GPU; use auto or cpu."


def test_a_process_that_dies_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = networks.Child
    monkeypatch.setattr(networks, "Child", lambda module: started("daemon.no_such_module"))
    (problem,) = network_problems(Settings(device="cuda"))
    assert "cannot be told: the process ended with exit code 1" in problem
