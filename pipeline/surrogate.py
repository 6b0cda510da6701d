"""
Networks that stand in for the recognisers we cannot ask.

Loads them, never silently another one than was named; gives their features and answers.
What to do with these is `perturbation`'s business.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from pipeline.device import choose_device
from pipeline.errors import SurrogateUnavailable
from pipeline.settings import EMBEDDED, Settings
from pipeline.torchscript import load_torchscript
from pipeline.torchvision_import import import_torchvision
from pipeline.transforms import resized, to_rgb

INPUT_SIZE = 224
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# How deep into the network the features are taken: early ones are edges that any change
# moves, the last ones are the network's own classes. From experiments on transfer.
_DEPTHS = (0.5, 0.75)


@dataclass(frozen=True)
class Network:
    """One loaded network; `layers` are the modules whose output counts as features."""

    name: str
    module: nn.Module
    layers: tuple[nn.Module, ...]

    def features(self, pictures: Tensor) -> list[Tensor]:
        """
        Return the output of each layer and, last, the network's answer, each (n, ...).

        Args:
            pictures: (n, 3, 224, 224) RGB in [0, 1].
        """
        found: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda _m, _i, output: found.append(output))
            for layer in self.layers
        ]
        try:
            answer = _first_tensor(self.module(_normalised(pictures)))
        finally:
            for hook in hooks:
                hook.remove()
        return [*found, answer]


@dataclass(frozen=True)
class Surrogates:
    """All networks of the network way, on one device."""

    networks: tuple[Network, ...]
    device: torch.device

    @property
    def names(self) -> tuple[str, ...]:
        """What the configuration calls them."""
        return tuple(network.name for network in self.networks)

    def top1(self, frames: Tensor) -> Tensor:
        """
        Return (networks, n) int64: each network's first answer to each frame.

        Args:
            frames: (n, 3, height, width) Y, Cb, Cr in levels of 0-255.
        """
        with torch.no_grad():
            pictures = resized(to_rgb(frames), INPUT_SIZE)
            answers = [n.features(pictures)[-1].flatten(1).argmax(1) for n in self.networks]
        return torch.stack(answers)


def load_surrogates(settings: Settings) -> Surrogates | None:
    """
    Return the networks that the settings name; None for the embedded way, which has none.

    A name of torchvision's is loaded with its own weights, or those of `settings.weights`
    (a state dict, or TorchScript). Any other name needs a TorchScript file: an entry in
    `settings.weights`, or the name is its path. Such a network takes RGB in ImageNet's
    normalisation, (n, 3, 224, 224), and answers a tensor (n, ...).

    Raises:
        SurrogateUnavailable: naming the surrogate, the reason and what to do.
    """
    if settings.is_embedded:
        return None
    device = choose_device(settings)
    networks = tuple(_load(name, settings.weights, device) for name in settings.surrogates)
    return Surrogates(networks, device)


def _load(name: str, weights: Mapping[str, Path], device: torch.device) -> Network:
    module = _module(name, weights).to(device).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return Network(name, module, _try_out(name, module, device))


def _module(name: str, weights: Mapping[str, Path]) -> nn.Module:
    file = weights.get(name)
    if file is None and Path(name).suffix:
        file = Path(name)
    if file is not None and not file.is_file():
        raise SurrogateUnavailable(
            f"surrogate {name}: {file} is not a file; put its weights there."
        )
    if file is not None and _is_torchscript(file):
        return _torchscript(name, file)
    _check_is_classifier(name, has_file=file is not None)
    return _with_own_weights(name) if file is None else _with_state_dict(name, file)


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in entry for entry in archive.namelist())


def _torchscript(name: str, file: Path) -> nn.Module:
    try:
        module: nn.Module = load_torchscript(file)
    except (RuntimeError, ValueError, OSError) as error:
        raise _broken(name, file, error) from error
    return module


def _models(name: str) -> Any:
    """Return the module `torchvision.models`."""
    try:
        return import_torchvision().models
    except ImportError as error:
        raise SurrogateUnavailable(
            f"surrogate {name} needs torchvision ({error});"
            " install it with: pip install 'media-cleaner[networks]'."
        ) from error


def _check_is_classifier(name: str, *, has_file: bool) -> None:
    models = _models(name)
    classifiers = models.list_models(module=models)
    if name in classifiers:
        return
    if name in models.list_models():
        raise SurrogateUnavailable(
            f"surrogate {name} is not a classifier; name one, such as resnet18."
        )
    near = difflib.get_close_matches(name, [EMBEDDED, *classifiers], 3)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    wanted = "its file is no TorchScript either" if has_file else "it needs a TorchScript file"
    raise SurrogateUnavailable(
        f"surrogate {name} is no classifier of torchvision's, and {wanted};"
        f" name one under weights.{name} in config.yaml.{hint}"
    )


def _with_own_weights(name: str) -> nn.Module:
    models = _models(name)
    weights = models.get_model_weights(name).DEFAULT
    try:
        # torch announces a download on stderr, which belongs to the command line.
        with contextlib.redirect_stderr(io.StringIO()):
            return models.get_model(name, weights=weights, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        file = weights.url.rsplit("/", 1)[-1]
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise SurrogateUnavailable(
            f"surrogate {name}: its weights cannot be downloaded ({_reason(error)})."
            f" Put {file} (torchvision's {weights}) into {cache},"
            f" or name a file under weights.{name} in config.yaml."
        ) from error


def _with_state_dict(name: str, file: Path) -> nn.Module:
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        state = _state_dict(loaded)
        module = _models(name).get_model(name, num_classes=_classes(state))
        module.load_state_dict(state)
    except (RuntimeError, ValueError, OSError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise _broken(name, file, error) from error
    return module


def _state_dict(loaded: Any) -> dict[str, Tensor]:
    """Return the tensors by name, out of a training checkpoint if it is one."""
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError("it holds no state dict")
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _classes(state: Mapping[str, Tensor]) -> int:
    """Return how many classes the last layer tells apart."""
    return len(next(v for k, v in reversed(list(state.items())) if k.endswith("bias")))


def _broken(name: str, file: Path, error: Exception) -> SurrogateUnavailable:
    return SurrogateUnavailable(
        f"surrogate {name}: {file} cannot be used ({_reason(error)});"
        " give a TorchScript file, or a state dict of torchvision's network of that name."
    )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def _try_out(name: str, module: nn.Module, device: torch.device) -> tuple[nn.Module, ...]:
    """Return the feature layers, having passed a picture forward and a gradient back."""
    picture = torch.rand(1, 3, INPUT_SIZE, INPUT_SIZE, device=device, requires_grad=True)
    try:
        layers = _feature_layers(module, picture)
        features = Network(name, module, layers).features(picture)
        torch.stack([f.float().square().mean() for f in features]).sum().backward()
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise SurrogateUnavailable(
            f"surrogate {name} does not take a picture (1, 3, {INPUT_SIZE}, {INPUT_SIZE})"
            f" and pass a gradient back ({_reason(error)})."
        ) from error
    if picture.grad is None or not picture.grad.abs().sum() > 0:
        raise SurrogateUnavailable(f"surrogate {name} passes no gradient back to its input.")
    return layers


def _feature_layers(module: nn.Module, picture: Tensor) -> tuple[nn.Module, ...]:
    if isinstance(module, torch.jit.ScriptModule):
        return ()  # hooks do not reach inside; its answer alone is the feature
    order: list[nn.Module] = []

    def note(layer: nn.Module, _inputs: object, output: object) -> None:
        # Maps of convolutions and tokens of transformers have places; vectors have none.
        if isinstance(output, Tensor) and output.dim() >= 3:
            order.append(layer)

    leaves = [m for m in module.modules() if not any(m.children())]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    try:
        module(_normalised(picture))
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        return ()
    chosen = [order[int(depth * len(order))] for depth in _DEPTHS]
    return tuple(dict.fromkeys(chosen))


def _first_tensor(answer: Any) -> Tensor:
    if isinstance(answer, (tuple, list)) and answer:
        answer = answer[0]
    if not isinstance(answer, Tensor):
        raise TypeError(f"it answers {type(answer).__name__}, not a tensor")
    return answer


def _normalised(pictures: Tensor) -> Tensor:
    mean = torch.tensor(_MEAN).to(pictures).view(1, 3, 1, 1)
    deviation = torch.tensor(_DEVIATION).to(pictures).view(1, 3, 1, 1)
    return ((pictures - mean) / deviation).contiguous(memory_format=torch.channels_last)
