"""
Load the networks that the configuration names.

A surrogate is named as torchvision names its classifiers, its weights downloaded or given
under `weights:`; or it is a TorchScript or ONNX file. The convention for such a file: it takes
(n, 3, 224, 224) float32 RGB, normalised as for ImageNet, and returns a tensor (n, ...):
class scores or an embedding. An ONNX file may say that its pictures are squares of another
size. What cannot be had or used is an error that names the next step, never another way of
protecting.
"""

from __future__ import annotations

import difflib
import functools
import http.client
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.batch_norm import fold_batch_norm
from pipeline.device import choose_device
from pipeline.errors import SurrogateUnavailable
from pipeline.network import Network, choose_taps
from pipeline.network_file import (
    UNREADABLE,
    file_state,
    first_line,
    is_onnx,
    is_torchscript,
    read_onnx,
    read_torchscript,
    refusals,
    refuse_without_onnx,
    settle,
    told_as_unavailable,
    unfit,
)
from pipeline.settings import EMBEDDED, Settings, names_a_file
from pipeline.torchvision_import import import_torchvision

# DenseNet's published files still bear names of layers from before torch 0.4: norm.1, conv.2.
_OLD_DENSENET_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
_OTHER_WAY = f"or set `surrogate: {EMBEDDED}`, which needs no network"


@dataclass(frozen=True)
class Surrogates:
    """One or several networks on one device."""

    networks: tuple[Network, ...]
    device: torch.device

    @property
    def names(self) -> tuple[str, ...]:
        """What the report calls them."""
        return tuple(network.name for network in self.networks)

    @torch.no_grad()
    def top1(self, batch: Tensor) -> Tensor:
        """
        Return (networks, n) int64: each network's first answer to each picture.

        Args:
            batch: (n, 3, h, w) float32, Y, Cb, Cr in levels of 0-255, on `device`.
        """
        return torch.stack([network.top1(batch) for network in self.networks])


def load_surrogates(settings: Settings) -> Surrogates | None:
    """
    Return the networks that the settings name; None for the embedded way.

    Raises:
        SurrogateUnavailable: one of them cannot be loaded or used; says how to get it.
    """
    if settings.is_embedded:
        return None
    if EMBEDDED in settings.surrogates or not settings.surrogates:
        raise SurrogateUnavailable(
            f"`surrogate` is {list(settings.surrogates)}: give `{EMBEDDED}` alone, or only names "
            "of networks (which start from the embedded way by themselves)."
        )
    device = choose_device(settings)
    names = dict.fromkeys(settings.surrogates)  # the same network twice would weigh double
    with told_as_unavailable(_OTHER_WAY):
        networks = tuple(_load(name, settings, device) for name in names)
    return Surrogates(networks, device)


def find_obstacles(settings: Settings) -> tuple[str, ...]:
    """
    Return why the networks or the device that the settings name cannot be had.

    As far as that shows without a download and without a network being loaded: a file may still
    turn out to be damaged.
    """
    checks: list[Callable[[], object]] = [lambda: choose_device(settings)]
    if not settings.is_embedded:
        names = dict.fromkeys(settings.surrogates)
        checks += [functools.partial(_check_name, name, settings) for name in names]
    return refusals(checks, _OTHER_WAY)


def _check_name(name: str, settings: Settings) -> None:
    path = _given_file(name, settings)
    if path is not None and is_onnx(path):
        refuse_without_onnx(path)
    elif path is None or not is_torchscript(path):
        _refuse_unless_classifier(name, path, _torchvision(name))


def _load(name: str, settings: Settings, device: torch.device) -> Network:
    path = _given_file(name, settings) or _published_file(name)
    return _read(name, path, device, file_state(path))


# A worker has many videos, and a large network takes seconds. With more networks than these each
# is read for every video.
@functools.lru_cache(maxsize=16)
def _read(name: str, path: Path, device: torch.device, _state: tuple[int, ...]) -> Network:
    if is_onnx(path):
        network = _onnx_network(name, path)
    elif is_torchscript(path):
        network = Network(_short(name), read_torchscript(path))
    else:
        network = _torchvision_network(name, path)
    return settle(network, path, device)


def _given_file(name: str, settings: Settings) -> Path | None:
    """Return the file that the configuration gives for a name, or that the name itself is."""
    path = settings.weights.get(name)
    if path is None and names_a_file(name):
        path = Path(name)
    if path is not None and not path.is_file():
        raise SurrogateUnavailable(
            f"The weights of surrogate {_short(name)!r} are to be in {path}, but there is no such "
            f"file: put it there or correct `weights:` in config.yaml, {_OTHER_WAY}."
        )
    return path


def _short(name: str) -> str:
    """Return a name as the report shows it: without folders, which are nobody's business."""
    return Path(name).name


def _onnx_network(name: str, path: Path) -> Network:
    found = read_onnx(path)
    taps = choose_taps(found.module, found.input_size)
    size, batch = found.input_size, found.batch_size
    return Network(_short(name), found.module, size, taps, batch_size=batch)


def _published_file(name: str) -> Path:
    torchvision = _torchvision(name)
    _refuse_unless_classifier(name, None, torchvision)
    return _downloaded(name, torchvision.models.get_model_weights(name).DEFAULT)


def _torchvision_network(name: str, path: Path) -> Network:
    torchvision = _torchvision(name)
    _refuse_unless_classifier(name, path, torchvision)
    module = _build(name, path, torchvision)
    fold_batch_norm(module)
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    size = getattr(module, "image_size", preset.crop_size[0])
    taps = choose_taps(module, size)
    return Network(name, module, size, taps, tuple(preset.mean), tuple(preset.std))


def _torchvision(name: str) -> ModuleType:
    try:
        return import_torchvision()
    except (ImportError, RuntimeError) as error:
        raise SurrogateUnavailable(
            f"Surrogate {name!r} is a torchvision name, but torchvision cannot be imported "
            f"({first_line(error)}): install the torchvision that fits torch "
            f"{torch.__version__}, {_OTHER_WAY}."
        ) from error


def _refuse_unless_classifier(name: str, path: Path | None, torchvision: ModuleType) -> None:
    models = torchvision.models
    classifiers = models.list_models(module=models)
    if name in classifiers:
        return
    if name in models.list_models():
        raise SurrogateUnavailable(
            f"Surrogate {name!r} is a torchvision model, but not a differentiable classifier of "
            "pictures (detection, segmentation, video and quantized models are not): name a "
            f"classifier such as resnet18, {_OTHER_WAY}."
        )
    if path is not None:
        raise SurrogateUnavailable(
            f"{path} is no TorchScript archive, or a damaged one, and {_short(name)!r} is no "
            "torchvision classifier whose state dict it could be: export the network with "
            "torch.jit.trace and save, or as ONNX, or list the file under `weights:` by "
            f"torchvision's name for the network, {_OTHER_WAY}."
        )
    near = ", ".join(difflib.get_close_matches(name, classifiers, n=4, cutoff=0.4)) or "resnet18"
    raise SurrogateUnavailable(
        f"Surrogate {name!r} is not known: torchvision has {near}. For a network of your own "
        f"give a TorchScript or ONNX file under `weights: {{{name}: FILE}}`, {_OTHER_WAY}."
    )


def _downloaded(name: str, weights: Any) -> Path:
    """Return torchvision's own weights' file in torch's cache, downloaded where it is not there."""
    file_name = weights.url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if path.is_file():
        return path
    prefix = Path(file_name).stem.rsplit("-", 1)[-1]  # of the SHA-256, by torch's convention
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through torchvision's `weights=`: that prints to stdout and unpickles freely.
        torch.hub.download_url_to_file(weights.url, str(path), prefix, progress=False)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise SurrogateUnavailable(
            f"The weights of surrogate {name!r} could not be downloaded from {weights.url} "
            f"({first_line(error)}): download that file elsewhere and put it at {path}, or give "
            f"its place in config.yaml as `weights: {{{name}: FILE}}`, {_OTHER_WAY}."
        ) from error
    return path


def _build(name: str, path: Path, torchvision: ModuleType) -> nn.Module:
    state = _state_dict(path)
    if name.startswith("densenet"):
        state = {_OLD_DENSENET_NAME.sub(r"\1", key): value for key, value in state.items()}
    options = _builder_options(name, state)
    try:
        with torch.random.fork_rng(devices=[]):  # first weights are drawn, then overwritten
            module = torchvision.models.get_model(name, weights=None, **options)
        module.load_state_dict(state)
    except UNREADABLE as error:
        raise unfit(path, error, f"is not a state dict of torchvision's {name}") from error
    if hasattr(module, "transform_input"):
        module.transform_input = True  # as torchvision does for these weights (from TensorFlow)
    return module.eval()


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise unfit(path, error) from error
    is_state = isinstance(state, dict) and state
    if not is_state or not all(isinstance(value, Tensor) for value in state.values()):
        raise SurrogateUnavailable(
            f"{path} is neither a TorchScript archive nor a state dict (names and tensors): save "
            f"the network with `torch.save(network.state_dict(), FILE)`, {_OTHER_WAY}."
        )
    return state


def _builder_options(name: str, state: dict[str, Tensor]) -> dict[str, Any]:
    """Return what the network must be built with so that the state fits it."""
    last = next(reversed(state.values()))
    options: dict[str, Any] = {"num_classes": len(last)} if last.ndim else {}
    if name in ("googlenet", "inception_v3"):
        has_aux = any(key.lower().startswith("aux") for key in state)
        options |= {"aux_logits": has_aux, "init_weights": False}
    position, patch = state.get("encoder.pos_embedding"), state.get("conv_proj.weight")
    if name.startswith("vit_") and position is not None and patch is not None:
        options["image_size"] = round((position.shape[1] - 1) ** 0.5) * patch.shape[-1]
    return options
