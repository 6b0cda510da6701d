"""
Load what the face way needs: a detector, and networks that recognise faces.

The convention for an embedder: it takes (n, 3, 112, 112) float32 RGB, faces aligned as by
`face_canvas`, and returns (n, length). Its values are (level - 127.5) / 127.5, but levels as they
are for an ONNX graph that begins by subtracting: InsightFace's rule, which tells the published
ones apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.device import choose_device
from pipeline.errors import SurrogateUnavailable
from pipeline.face_canvas import CROP_SIDE
from pipeline.face_detector import FaceDetector
from pipeline.network import Network
from pipeline.network_file import (
    UnfitNetwork,
    file_state,
    is_onnx,
    is_torchscript,
    read_onnx,
    read_torchscript,
    refusals,
    settle,
    told_as_unavailable,
    unfit,
)
from pipeline.settings import Settings

# Of R, G and B in 0-1: to -1 to 1, and to levels.
_CENTRED = (0.5,) * 3
_ZERO, _LEVELS = (0.0,) * 3, (1 / 255,) * 3
_EMBEDDERS = "faces.embedders: "
_LFS_POINTER = b"version https://git-lfs"
_OTHER_WAY = "or remove `faces:`, without which faces get no change of their own"


@dataclass(frozen=True)
class FaceNetworks:
    """What finds faces, and what is to see somebody else in them."""

    detector: FaceDetector
    embedders: tuple[Network, ...]
    device: torch.device

    @property
    def names(self) -> tuple[str, ...]:
        """What the report calls the embedders."""
        return tuple(network.name for network in self.embedders)


def load_faces(settings: Settings) -> FaceNetworks | None:
    """
    Return what the settings name; None where they name nothing.

    Raises:
        SurrogateUnavailable: a file cannot be loaded or used; says what to do.
    """
    if settings.faces.detector is None:
        return None
    device = choose_device(settings)
    detector = _detector(settings.faces.detector)
    with told_as_unavailable(_OTHER_WAY, _EMBEDDERS):
        embedders = tuple(_embedder(file, device) for file in settings.faces.embedders)
    return FaceNetworks(detector, embedders, device)


def find_face_obstacles(settings: Settings) -> tuple[str, ...]:
    """Return why what the settings name cannot be had; each file is loaded and tried."""
    checks: list[Callable[[], object]] = []
    device = torch.device("cpu")
    if settings.faces.detector is not None:
        checks.append(functools.partial(_detector, settings.faces.detector))
    checks += [functools.partial(_embedder, file, device) for file in settings.faces.embedders]
    return refusals(checks, _OTHER_WAY, _EMBEDDERS)


def _detector(file: Path) -> FaceDetector:
    return FaceDetector(_present("faces.detector", file))


def _present(key: str, file: Path) -> Path:
    if not file.is_file():
        raise SurrogateUnavailable(
            f"{key}: there is no file {file}; put the network there, {_OTHER_WAY}."
        )
    return file


def _embedder(file: Path, device: torch.device) -> Network:
    return _read(_present("faces.embedders", file), device, file_state(file))


# Reading one takes as long as a second or two of a video, and a worker has many videos.
@functools.lru_cache(maxsize=4)
def _read(file: Path, device: torch.device, _state: tuple[int, ...]) -> Network:
    if _is_lfs_pointer(file):
        raise UnfitNetwork(f"{file} is a pointer of Git LFS: download the network itself")
    network = _onnx_embedder(file) if is_onnx(file) else _torchscript_embedder(file)
    return settle(network, file, device)


def _is_lfs_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(_LFS_POINTER)) == _LFS_POINTER
    except OSError as error:
        raise unfit(file, error) from error


def _onnx_embedder(file: Path) -> Network:
    found = read_onnx(file, CROP_SIDE)
    if found.input_size != CROP_SIDE:
        raise UnfitNetwork(
            f"{file} takes pictures of {found.input_size} pixels, not faces of {CROP_SIDE}: give"
            " an embedder for faces aligned as for ArcFace"
        )
    mean, std = (_ZERO, _LEVELS) if found.takes_levels else (_CENTRED, _CENTRED)
    size, batch = found.input_size, found.batch_size
    return Network(file.name, found.module, size, (), mean, std, batch)


def _torchscript_embedder(file: Path) -> Network:
    if not is_torchscript(file):
        raise UnfitNetwork(f"{file} is neither ONNX nor a TorchScript archive: give another file")
    return Network(file.name, read_torchscript(file), CROP_SIDE, (), _CENTRED, _CENTRED)
