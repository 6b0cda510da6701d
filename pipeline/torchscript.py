"""Read a network from a TorchScript file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch


def load_torchscript(file: Path) -> Any:
    """
    Return the network that the file holds, on the CPU.

    Deprecated in favour of torch.export, whose files are bound to one version of torch;
    TorchScript is what published networks and people's own come as.

    Raises:
        RuntimeError, ValueError, OSError: it cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(file), map_location="cpu")
