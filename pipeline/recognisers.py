"""
Load the recognisers of speech whose gradient shapes the change of the sound.

The convention: a TorchScript archive that takes (1, n) float32, one channel of 16 kHz in -1 to 1,
of any length from two seconds to ten, and returns (1, frames, length), or several tensors of which
that is the first: what it makes of each moment, the moments evenly spread over the sound.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.device import choose_device
from pipeline.errors import SurrogateUnavailable
from pipeline.network import first_tensor
from pipeline.network_file import (
    UNUSABLE,
    UnfitNetwork,
    file_state,
    is_torchscript,
    read_torchscript,
    refusals,
    told_as_unavailable,
    unfit,
)
from pipeline.settings import Settings
from pipeline.speech import RATE

_TRIED = (2, 10)  # seconds: the ends of what the convention says
_KEY = "speech.recognisers: "
_OTHER_WAY = "or remove `speech:`, without which no network of yours is asked about the sound"


@dataclass(frozen=True)
class Recogniser:
    """
    One recogniser of speech, ready to be differentiated.

    Attributes:
        name: as the report calls it.
        module: as by the convention; in eval mode, its parameters frozen.
    """

    name: str
    module: nn.Module

    def features(self, sound: Tensor) -> Tensor:
        """Return (frames, length) of (n,) samples."""
        return first_tensor(self.module(sound[None]))[0]


@dataclass(frozen=True)
class Recognisers:
    """
    All that are asked, and what they compute on.

    Attributes:
        tell_asked: called each time that all have answered, which may be a second or a minute
            after the last.
    """

    networks: tuple[Recogniser, ...]
    device: torch.device
    tell_asked: Callable[[], None] = lambda: None

    @property
    def names(self) -> tuple[str, ...]:
        """What the report calls them."""
        return tuple(network.name for network in self.networks)


def likeness(before: Tensor, after: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean cosine similarity of (frames, length) features, -1 to 1."""
    return (F.cosine_similarity(before, after, dim=1) * weights).sum() / weights.sum()


def load_recognisers(
    settings: Settings, tell_asked: Callable[[], None] = lambda: None
) -> Recognisers | None:
    """
    Return those that the settings name; None where they name none.

    Args:
        tell_asked: as of `Recognisers`.

    Raises:
        SurrogateUnavailable: a file cannot be loaded or used; says what to do.
    """
    if not settings.recognisers:
        return None
    device = choose_device(settings)
    with told_as_unavailable(_OTHER_WAY, _KEY):
        networks = tuple(_recogniser(file, device) for file in settings.recognisers)
    return Recognisers(networks, device, tell_asked)


def find_recogniser_obstacles(settings: Settings) -> tuple[str, ...]:
    """Return why those that the settings name cannot be had; each is loaded and tried."""
    device = torch.device("cpu")
    checks: list[Callable[[], object]] = [
        functools.partial(_recogniser, file, device) for file in settings.recognisers
    ]
    return refusals(checks, _OTHER_WAY, _KEY)


def _recogniser(file: Path, device: torch.device) -> Recogniser:
    if not file.is_file():
        raise SurrogateUnavailable(
            f"{_KEY}there is no file {file}; put the network there, {_OTHER_WAY}."
        )
    return _read(file, device, file_state(file))


# Reading one takes as long as a second or two of a video, and a worker has many videos.
@functools.lru_cache(maxsize=8)
def _read(file: Path, device: torch.device, _state: tuple[int, ...]) -> Recogniser:
    if not is_torchscript(file):
        raise UnfitNetwork(f"{file} is no TorchScript archive: give another file")
    module = read_torchscript(file)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    network = Recogniser(file.name, module.to(device))
    _try(network, file, device)
    return network


def _try(network: Recogniser, file: Path, device: torch.device) -> None:
    """
    Run the network forward and back on sounds of two lengths, which begin with silence.

    Raises:
        UnfitNetwork: it does not take them, answers otherwise, or passes no gradient.
    """
    frames = []
    for seconds in _TRIED:
        generator = torch.Generator().manual_seed(seconds)
        sound, other = torch.randn(2, seconds * RATE, generator=generator).mul_(0.1).to(device)
        sound[: RATE // 2] = other[: RATE // 2] = 0  # as there is before a track's start
        try:
            count, gradient = _gradient(network, sound, other)
        except UNUSABLE as error:
            raise unfit(file, error, f"does not work on (1, {len(sound)}) samples") from error
        if gradient is None or not (gradient.isfinite().all() and gradient.any()):
            raise UnfitNetwork(
                f"{file} passes no usable gradient to its input: export it again without no_grad,"
                " detach or quantisation, and so that digital silence gives numbers too"
            )
        frames.append(count)
    if frames[0] == frames[1]:
        raise UnfitNetwork(
            f"{file} finds {frames[0]} moments, be it in {_TRIED[0]} s or in {_TRIED[1]}: export it"
            " again so that it neither fills up nor cuts its input"
        )


def _gradient(network: Recogniser, sound: Tensor, other: Tensor) -> tuple[int, Tensor | None]:
    """Return the frames, and the gradient of likeness; None where the network cuts it off."""
    leaf = (sound + other).requires_grad_()
    before, after = network.features(sound), network.features(leaf)
    if after.ndim != 2 or len(after) < 2:
        raise ValueError(f"it answers with a shape of {tuple(after.shape)} and not by moments")
    loss = likeness(before, after, torch.ones(len(after), device=sound.device))
    return len(after), torch.autograd.grad(loss, leaf)[0] if loss.requires_grad else None
