"""What the face way loads, what it tells embedders, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import SurrogateUnavailable
from pipeline.face_networks import FaceNetworks, find_face_obstacles, load_faces
from pipeline.network import rgb_of
from pipeline.settings import FaceSettings, Settings
from tests.face_files import onnx_embedder, recogniser, torchscript, yunet
from tests.pipeline.onnx_files import without_onnx

pytestmark = without_onnx

CENTRED = (0.5,) * 3


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return yunet(tmp_path / "yunet.onnx")


def load(detector: Path, *embedders: Path) -> FaceNetworks:
    faces = load_faces(Settings(faces=FaceSettings(detector, embedders), device="cpu"))
    assert faces is not None
    return faces


def refusal(detector: Path, *embedders: Path) -> str:
    with pytest.raises(SurrogateUnavailable) as caught:
        load(detector, *embedders)
    message = caught.value.message
    assert "\n" not in message
    return message


def pictures(number: int = 2) -> Tensor:
    """Return (n, 3, 112, 112) in Y, Cb and Cr that are no colours out of range."""
    generator = torch.Generator().manual_seed(1)
    levels = torch.rand(number, 3, 112, 112, generator=generator)
    return levels * torch.tensor([100.0, 20.0, 20.0]).reshape(1, 3, 1, 1) + 80


def levels_of(batch: Tensor) -> Tensor:
    return rgb_of(batch) * 255


def test_nothing_is_loaded_by_default() -> None:
    assert load_faces(Settings()) is None
    assert find_face_obstacles(Settings()) == ()


@pytest.mark.parametrize("named", [{"detector": Path("a")}, {"embedders": (Path("a"),)}])
def test_a_detector_without_embedders_and_the_reverse_are_refused(named: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="both or neither"):
        FaceSettings(**named)
    assert not FaceSettings()
    assert FaceSettings(Path("a"), (Path("a"),))


def test_torchscript_sees_values_from_minus_one_to_one(detector: Path, tmp_path: Path) -> None:
    faces = load(detector, torchscript(tmp_path / "mine.pt"))
    (network,) = faces.embedders
    assert (faces.names, network.input_size, network.taps) == (("mine.pt",), 112, ())
    assert (network.mean, network.std) == (CENTRED, CENTRED)
    batch = pictures()
    (features,) = network.features(batch)
    expected = recogniser()((levels_of(batch) - 127.5) / 127.5)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_an_onnx_file_that_begins_by_subtracting_sees_levels(
    detector: Path, tmp_path: Path
) -> None:
    """Both are one network, once with what makes levels of it inside and once without."""
    files = onnx_embedder(tmp_path / "a.onnx", levels=True), onnx_embedder(tmp_path / "b.onnx")
    inside, outside = load(detector, *files).embedders
    assert (outside.mean, outside.std) == (CENTRED, CENTRED)
    assert (inside.mean, inside.std) == ((0.0,) * 3, (1 / 255,) * 3)
    batch = pictures()
    (first,), (second,) = inside.features(batch), outside.features(batch)
    assert first.abs().mean() > 1e-3
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)
    seen = inside._prepare(batch)
    torch.testing.assert_close(seen, levels_of(batch), rtol=1e-4, atol=1e-2)


def test_parameters_are_frozen_and_gradients_pass(detector: Path, tmp_path: Path) -> None:
    files = onnx_embedder(tmp_path / "a.onnx"), torchscript(tmp_path / "b.pt")
    for network in load(detector, *files).embedders:
        assert not any(parameter.requires_grad for parameter in network.module.parameters())
        batch = pictures().requires_grad_()
        (features,) = network.features(batch)
        assert torch.autograd.grad(features.sum(), batch)[0].any()


class Whole(nn.Module):
    """Passes no gradient."""

    def forward(self, faces: Tensor) -> Tensor:
        return faces.round().mean(dim=(2, 3))


def other_size(folder: Path) -> tuple[Path, str]:
    return onnx_embedder(folder / "a.onnx", side=160), "takes pictures of 160 pixels, not faces of"


def other_size_in_torchscript(folder: Path) -> tuple[Path, str]:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4))
    return torchscript(folder / "a.pt", linear, 64), "does not work on (n, 3, 112, 112)"


def missing(folder: Path) -> tuple[Path, str]:
    return folder / "a.onnx", f"there is no file {folder / 'a.onnx'}; put the network there"


def missing_in_torchscript(folder: Path) -> tuple[Path, str]:
    return folder / "a.pt", f"there is no file {folder / 'a.pt'}; put the network there"


def damaged(folder: Path) -> tuple[Path, str]:
    path = onnx_embedder(folder / "a.onnx")
    path.write_bytes(path.read_bytes()[:5000])
    return path, "cannot be read as an ONNX file"


def damaged_in_torchscript(folder: Path) -> tuple[Path, str]:
    path = torchscript(folder / "a.pt")
    content = bytearray(path.read_bytes())
    middle = content.index(b"constants.pkl")
    content[middle - 400 : middle] = bytes(400)
    path.write_bytes(content)
    return path, "give another file"


def without_gradient(folder: Path) -> tuple[Path, str]:
    return onnx_embedder(folder / "a.onnx", operators=["Ceil"]), "passes no usable gradient"


def without_gradient_in_torchscript(folder: Path) -> tuple[Path, str]:
    return torchscript(folder / "a.pt", Whole()), "passes no usable gradient"


def state_dict(folder: Path) -> tuple[Path, str]:
    torch.save(recogniser().state_dict(), folder / "a.pt")
    return folder / "a.pt", "is neither ONNX nor a TorchScript archive: give another file"


def text(folder: Path) -> tuple[Path, str]:
    (folder / "a.pt").write_text("no network")
    return folder / "a.pt", "is neither ONNX nor a TorchScript archive: give another file"


def pointer(folder: Path, name: str = "a.onnx") -> tuple[Path, str]:
    """As a clone without Git LFS leaves it."""
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    return folder / name, "is a pointer of Git LFS: download the network itself"


def pointer_in_torchscript(folder: Path) -> tuple[Path, str]:
    return pointer(folder, "a.pt")


def unreadable(folder: Path) -> tuple[Path, str]:
    """A file that is there, and of which nothing can be read."""
    (folder / "a.pt").symlink_to("/proc/self/mem")
    return folder / "a.pt", "Input/output error"


@pytest.mark.parametrize(
    "make",
    [
        other_size,
        other_size_in_torchscript,
        missing,
        missing_in_torchscript,
        damaged,
        damaged_in_torchscript,
        without_gradient,
        without_gradient_in_torchscript,
        state_dict,
        text,
        pointer,
        pointer_in_torchscript,
        unreadable,
    ],
    ids=lambda make: make.__name__,
)
def test_an_embedder_that_cannot_be_used_is_told_with_what_to_do(
    tmp_path: Path, detector: Path, make
) -> None:
    path, reason = make(tmp_path)
    message = refusal(detector, path)
    assert message.startswith("faces.embedders: ")
    assert message.count("faces.embedders: ") == 1
    assert str(path) in message
    assert reason in message
    assert message.endswith("or remove `faces:`, without which faces get no change of their own.")
    assert "surrogate: embedded" not in message
    settings = Settings(faces=FaceSettings(detector, (path,)), device="cpu")
    assert find_face_obstacles(settings) == (message,)


def test_a_detector_that_is_not_there_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone.onnx"
    message = refusal(gone, torchscript(tmp_path / "a.pt"))
    assert message.startswith(f"faces.detector: there is no file {gone}; put the network there")
    assert message.endswith("or remove `faces:`, without which faces get no change of their own.")


def test_without_the_extra_what_to_install_is_told(
    tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = onnx_embedder(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnx2pytorch", None)
    message = refusal(detector, path)
    assert message.startswith(f"faces.embedders: {path} ")
    assert "pip install 'media-cleaner[onnx]'" in message
    assert load(detector, torchscript(tmp_path / "b.pt")).names == ("b.pt",)


def test_all_obstacles_are_told_at_once(tmp_path: Path, detector: Path) -> None:
    sound = onnx_embedder(tmp_path / "sound.onnx"), torchscript(tmp_path / "sound.pt")
    settings = Settings(faces=FaceSettings(detector, sound))
    assert find_face_obstacles(settings) == ()

    (tmp_path / "text.pt").write_text("no network")
    (tmp_path / "text.onnx").write_text("no network")
    files = tmp_path / "gone.onnx", *sound, tmp_path / "text.pt", tmp_path / "text.onnx"
    found = find_face_obstacles(Settings(faces=FaceSettings(tmp_path / "none.onnx", files)))
    starts = [
        f"faces.detector: there is no file {tmp_path / 'none.onnx'}",
        f"faces.embedders: there is no file {tmp_path / 'gone.onnx'}",
        f"faces.embedders: {tmp_path / 'text.pt'} is neither ONNX nor",
        f"faces.embedders: {tmp_path / 'text.onnx'} cannot be read as an ONNX file",
    ]
    assert len(found) == 4
    for message, start in zip(found, starts, strict=True):
        assert message.startswith(start)

    (damaged_one,) = find_face_obstacles(Settings(faces=FaceSettings(sound[0], sound)))
    assert damaged_one.startswith(f"faces.detector: {sound[0]} is not YuNet")


def test_a_file_is_read_once_and_anew_when_it_has_changed(detector: Path, tmp_path: Path) -> None:
    file = torchscript(tmp_path / "mine.pt")
    (first,) = load(detector, file).embedders
    assert load(detector, file).embedders == (first,)
    file.unlink()
    torchscript(file, recogniser(seed=5))
    (other,) = load(detector, file).embedders
    assert other is not first
    assert not torch.equal(other.features(pictures())[0], first.features(pictures())[0])
