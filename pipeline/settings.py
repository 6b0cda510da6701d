"""
What the operator sets for every video: encoder, surrogate, limits.

`config.yaml` fills these; the defaults live here alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

EMBEDDED = "embedded"
_NETWORK_SUFFIXES = (".pt", ".pth", ".ts", ".torchscript", ".onnx")
# x264's and x265's own names, fastest first; VP9 is driven by their position.
PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)


def names_a_file(surrogate: str) -> bool:
    """Whether a surrogate's name is that of a file, and not of a network that torchvision has."""
    return "/" in surrogate or surrogate.endswith(_NETWORK_SUFFIXES)


@dataclass(frozen=True)
class Limits:
    """Bounds on a hostile or careless input; beyond one of them a task is refused."""

    max_pixels: int = 8192 * 4352  # of one frame: 8K with the rows codecs add
    max_duration_h: float = 12.0
    max_streams: int = 32
    max_fps: float = 250.0
    worker_memory_gb: float = 8.0  # address space beyond what the program itself maps


@dataclass(frozen=True)
class FaceSettings:
    """
    What faces are found by, and recognised by where they are to be misread; both or neither.

    Attributes:
        detector: YuNet, as an ONNX file.
        embedders: ONNX or TorchScript files of networks that take an aligned face of
            112 x 112 pixels and return its embedding.
    """

    detector: Path | None = None
    embedders: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if (self.detector is None) != (not self.embedders):
            raise ValueError("a detector and embedders of faces: both or neither")

    def __bool__(self) -> bool:
        return self.detector is not None


@dataclass(frozen=True)
class Settings:
    """
    How videos are protected and encoded.

    Attributes:
        surrogates: `("embedded",)`, or the names of one or several networks.
        weights: file for a surrogate's name: TorchScript, ONNX, or a state dict of the
            torchvision classifier of that name.
        crf: constant rate factor of the encoder, 0-51; smaller is better and larger.
        preset: the encoder's speed, one of `PRESETS`.
        odd_size: `pad` an odd width or height by one line and crop it on display, or
            `keep` it by a codec that can (VP9).
        faces: what changes faces as recognisers of faces misread them; nothing by default.
        recognisers: TorchScript files of recognisers of speech that are to misread it.
        device: `auto` takes an accelerator where there is one.
        threads: of the encoder; half as many, at most 4, decode. 0 takes every core.
    """

    surrogates: tuple[str, ...] = (EMBEDDED,)
    weights: Mapping[str, Path] = field(default_factory=dict)
    crf: int = 20
    preset: str = "veryfast"
    odd_size: Literal["pad", "keep"] = "pad"
    faces: FaceSettings = FaceSettings()
    recognisers: tuple[Path, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    limits: Limits = Limits()

    @property
    def is_embedded(self) -> bool:
        """Whether the weight-free way is used, without any network."""
        return self.surrogates == (EMBEDDED,)
