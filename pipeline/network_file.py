"""
Read a network of the user's own from a TorchScript or ONNX file, and try it.

What it is for, and what else the user can do, says whoever asks for it.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import SurrogateUnavailable
from pipeline.memory import is_lack_of_memory
from pipeline.network import INPUT_SIZE, Network, similarity
from pipeline.onnx_file import OnnxNetwork, UnfitOnnx, load_onnx, require_onnx
from pipeline.torchscript import load_torchscript

# What torch's readers raise on files that are damaged or something else altogether.
UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    pickle.UnpicklingError,
)
# What networks raise on an input that they do not take, or without a gradient.
UNUSABLE = (
    RuntimeError,
    TypeError,
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    torch.jit.Error,  # whatever a scripted network raises itself; no RuntimeError
)
# Not ImportError, by which a library says of itself that it found no memory of some kind.
_MAY_LACK_MEMORY = (RuntimeError, UnfitOnnx)
# TorchScript tells at length where it failed before it tells why.
_TORCHSCRIPT_FAILED = "in the TorchScript interpreter"
_REASON = re.compile(r"^[\w.]*(?:Error|Exception): (?=\S)", re.MULTILINE)


class UnfitNetwork(Exception):
    """A network cannot be read or used; the text names it, says why, and what to do about it."""


@contextmanager
def told_as_unavailable(other_way: str, key: str = "") -> Iterator[None]:
    """
    Raise what cannot be read as the user is told of it.

    Args:
        other_way: what else the user can do, after "or".
        key: what to put in front.

    Raises:
        SurrogateUnavailable: instead of `UnfitNetwork`.
        MemoryError: instead of one for lack of memory, of which no other network helps.
    """
    try:
        yield
    except UnfitNetwork as error:
        if isinstance(error.__cause__, _MAY_LACK_MEMORY) and is_lack_of_memory(error.__cause__):
            raise MemoryError(str(error.__cause__)) from error
        raise SurrogateUnavailable(f"{key}{error}, {other_way}.") from error


def refusals(
    checks: Iterable[Callable[[], object]], other_way: str, key: str = ""
) -> tuple[str, ...]:
    """Return what each check that finds something cannot be had says, as it is told."""
    messages = []
    for check in checks:
        try:
            with told_as_unavailable(other_way, key):
                check()
        except SurrogateUnavailable as error:
            messages.append(error.message)
        except MemoryError as error:
            reason = f"there is too little memory to try it ({first_line(error)}): free some"
            messages.append(f"{key}{reason}, {other_way}.")
    return tuple(messages)


def file_state(path: Path) -> tuple[int, ...]:
    """
    Return what differs if another network has been put there.

    Raises:
        UnfitNetwork: the file cannot be reached.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise unfit(path, error) from error
    return state.st_ino, state.st_size, state.st_mtime_ns


def is_onnx(path: Path) -> bool:
    """Whether a file says that it is ONNX; its first bytes do not."""
    return path.suffix.lower() == ".onnx"


def is_torchscript(path: Path) -> bool:
    """
    Whether a file is a TorchScript archive; a state dict has no constants.

    Raises:
        UnfitNetwork: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False
    except OSError as error:
        raise unfit(path, error) from error


def refuse_without_onnx(path: Path) -> None:
    """
    Raises:
        UnfitNetwork: what reads ONNX files is not installed.
    """
    try:
        require_onnx()
    except (ImportError, RuntimeError) as error:
        raise UnfitNetwork(
            f"{path} is an ONNX file, for which packages are missing ({first_line(error)}): "
            "pip install 'media-cleaner[onnx]'"
        ) from error


def read_onnx(path: Path, side: int = INPUT_SIZE) -> OnnxNetwork:
    """
    Return what the file holds.

    Args:
        side: of the pictures for a network that takes any size, pixels.

    Raises:
        UnfitNetwork: it is damaged, or no ONNX file that can be differentiated.
    """
    refuse_without_onnx(path)
    try:
        return load_onnx(path, side)
    except UnfitOnnx as error:
        raise UnfitNetwork(f"{path} {error}") from error


def read_torchscript(path: Path) -> nn.Module:
    """
    Return the module, in eval mode on the CPU.

    Raises:
        UnfitNetwork: it is damaged.
    """
    try:
        module: nn.Module = load_torchscript(path)
    except UNREADABLE as error:
        raise unfit(path, error) from error
    if hasattr(module, "training"):  # a frozen archive has none: it is in eval mode for good
        module.eval()
    return module


def settle(network: Network, where: Path, device: torch.device) -> Network:
    """
    Freeze the network, move it to the device, and run it forward and back on two pictures and one.

    Returns:
        The network with the layout that it takes.

    Raises:
        UnfitNetwork: it does not take its input, or passes no gradient.
    """
    for parameter in network.module.parameters():  # TorchScript has no requires_grad_ for all
        parameter.requires_grad_(False)
    network.module.to(device)
    try:
        settled, gradients = _tried(network, device)
    except UNUSABLE as error:
        what = f"does not work on (n, 3, {network.input_size}, {network.input_size}) RGB"
        raise unfit(where, error, what) from error
    if not all(gradient.isfinite().all() and gradient.any() for gradient in gradients):
        raise UnfitNetwork(
            f"{where} passes no usable gradient to its input: export it again without no_grad, "
            "detach or quantisation"
        )
    return settled


def _tried(network: Network, device: torch.device) -> tuple[Network, list[Tensor]]:
    """Return the network in the layout that it takes, and its gradients on two pictures and one."""
    if device.type == "cuda":
        # cuDNN compiles depthwise convolutions of channels last as it meets them: MobileNetV3-small
        # took 17 s to load, and 5 s anew in each thread.
        network = replace(network, layout=torch.contiguous_format)
    generator = torch.Generator().manual_seed(0)
    sizes = (2, 2, 3, network.input_size, network.input_size)
    before, after = (torch.rand(sizes, generator=generator) * 255).to(device)

    def gradients(laid_out: Network) -> list[Tensor]:
        # torch's stubs leave this argument out.
        laid_out.module.to(memory_format=laid_out.layout)  # type: ignore[call-overload]
        return [_gradient(laid_out, before[:count], after[:count]) for count in (2, 1)]

    try:
        return network, gradients(network)
    except UNUSABLE:
        # With channels last, ResNet-18 takes a seventh less time; but a network that calls view()
        # on a map has no use for it, nor has one with weights of five dimensions.
        plain = replace(network, layout=torch.contiguous_format)
        return plain, gradients(plain)


def _gradient(network: Network, before: Tensor, after: Tensor) -> Tensor:
    """Return that of similarity by the second pictures; zeros where the network cuts it off."""
    leaf = after.clone().requires_grad_()
    loss = similarity(network.features(before), network.features(leaf))
    if not loss.requires_grad:
        return torch.zeros_like(after)
    return torch.autograd.grad(loss, leaf)[0]


def unfit(where: Path | str, error: Exception, what: str = "") -> UnfitNetwork:
    """Return what says that a file cannot be used, and why."""
    what = what or "cannot be read as a TorchScript archive or a state dict"
    return UnfitNetwork(f"{where} {what} ({first_line(error)}): give another file")


def first_line(error: BaseException) -> str:
    """Return what an error says first, short enough for one line."""
    message = str(error)
    if _TORCHSCRIPT_FAILED in message:
        message = _REASON.split(message)[-1]
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    # TorchScript's reader and load_state_dict open with a line that says nothing by itself.
    telling = [line for line in lines if not line.endswith(":")] or lines
    text = telling[0] if telling else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
