"""Whether the networks that the configuration names can be had, asked of the real process."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from daemon import child, network_process
from daemon.networks import network_problems
from pipeline.settings import FaceSettings, Settings

torch = pytest.importorskip("torch")


def test_the_embedded_way_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(child, "Child", refuse)
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
    monkeypatch.setattr(child, "Child", None)
    settings = Settings(
        surrogates=("mine", str(tmp_path / "no.pt")),
        weights={"mine": tmp_path / "no.pth"},
        device="cpu",
    )
    assert network_problems(settings) == []


def test_a_name_too_long_for_a_file_is_left_to_the_look_at_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child, "Child", None)
    path = Path("/srv") / ("x" * 300 + ".onnx")
    settings = Settings(
        surrogates=(str(path),),
        faces=FaceSettings(path, (path,)),
        recognisers=(path,),
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
    started = child.Child
    monkeypatch.setattr(child, "Child", lambda module: started("daemon.no_such_module"))
    (problem,) = network_problems(Settings(device="cuda"))
    assert "cannot be told: the process ended with exit code 1" in problem


# --- Faces ---


def faces_in(folder: Path) -> FaceSettings:
    """Return files that are there and are no networks."""
    named = FaceSettings(folder / "yunet.onnx", (folder / "sface.onnx", folder / "mine.pt"))
    for path in (folder / "yunet.onnx", *named.embedders):
        path.write_bytes(b"not a network")
    return named


def test_faces_beside_the_embedded_way_are_asked_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = child.Child
    monkeypatch.setattr(child, "Child", lambda module: started("daemon.no_such_module"))
    (problem,) = network_problems(Settings(faces=faces_in(tmp_path), device="cpu"))
    assert problem.startswith("faces: whether")
    assert "cannot be told: the process ended with exit code 1" in problem


@pytest.mark.parametrize("name", ["yunet.onnx", "mine.pt"])
def test_a_missing_file_for_faces_is_left_to_the_look_at_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(child, "Child", None)
    faces = faces_in(tmp_path)
    (tmp_path / name).unlink()
    assert network_problems(Settings(faces=faces, device="cpu")) == []


def test_a_file_that_is_no_embedder_is_told_under_its_own_key(tmp_path: Path) -> None:
    faces = faces_in(tmp_path)
    problems = network_problems(Settings(("resnet19",), faces=faces, device="cpu"))
    assert problems[0].startswith("surrogate: Surrogate 'resnet19' is not known")
    assert all(problem.startswith("faces.") for problem in problems[1:])
    for name in ("sface.onnx", "mine.pt"):
        assert any(p.startswith(f"faces.embedders: {tmp_path / name} ") for p in problems[1:])


def test_what_faces_need_is_imported_where_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = Settings(faces=faces_in(tmp_path))
    monkeypatch.setitem(sys.modules, "pipeline.face_networks", None)
    assert network_process._face_obstacles(Settings()) == ()
    (problem,) = network_process._face_obstacles(faces)
    assert problem.startswith("faces.detector: what finds faces cannot be imported (")
    told = ("faces.embedders: sface.onnx is wrong",)
    stand_in = ModuleType("pipeline.face_networks")
    monkeypatch.setattr(stand_in, "find_face_obstacles", lambda settings: told, raising=False)
    monkeypatch.setitem(sys.modules, "pipeline.face_networks", stand_in)
    assert network_process._face_obstacles(faces) == told


# --- Speech ---


def recognisers_in(folder: Path) -> tuple[Path, ...]:
    """Return files that are there and are no networks."""
    paths = folder / "tiny.ts", folder / "base.pt"
    for path in paths:
        path.write_bytes(b"not a network")
    return paths


def test_recognisers_beside_the_embedded_way_are_asked_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = child.Child
    monkeypatch.setattr(child, "Child", lambda module: started("daemon.no_such_module"))
    settings = Settings(recognisers=recognisers_in(tmp_path), device="cpu")
    (problem,) = network_problems(settings)
    assert problem.startswith("speech: whether")
    assert "cannot be told: the process ended with exit code 1" in problem


def test_a_missing_recogniser_is_left_to_the_look_at_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, base = recognisers_in(tmp_path)
    tiny.unlink()
    (problem,) = network_problems(Settings(recognisers=(tiny, base), device="cpu"))
    assert problem.startswith(f"speech.recognisers: {base} ")
    base.unlink()
    monkeypatch.setattr(child, "Child", None)
    assert network_problems(Settings(recognisers=(tiny, base), device="cpu")) == []


def test_a_file_that_is_no_recogniser_is_told_under_its_own_key(tmp_path: Path) -> None:
    paths = recognisers_in(tmp_path)
    problems = network_problems(Settings(("resnet19",), recognisers=paths, device="cpu"))
    assert problems[0].startswith("surrogate: Surrogate 'resnet19' is not known")
    assert [problem.split(" is ")[0] for problem in problems[1:]] == [
        f"speech.recognisers: {path}" for path in paths
    ]


def test_what_asks_recognisers_is_imported_where_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = Settings(recognisers=recognisers_in(tmp_path))
    monkeypatch.setitem(sys.modules, "pipeline.recognisers", None)
    assert network_process._recogniser_obstacles(Settings()) == ()
    (problem,) = network_process._recogniser_obstacles(speech)
    assert problem.startswith("speech.recognisers: what asks them cannot be imported (")
    told = ("speech.recognisers: tiny.ts is wrong",)
    stand_in = ModuleType("pipeline.recognisers")
    monkeypatch.setattr(stand_in, "find_recogniser_obstacles", lambda settings: told, raising=False)
    monkeypatch.setitem(sys.modules, "pipeline.recognisers", stand_in)
    assert network_process._recogniser_obstacles(speech) == told
