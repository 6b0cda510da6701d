"""Import torchvision beside a CPU build of torch."""

from __future__ import annotations

import functools
from importlib import import_module
from types import ModuleType

import torch

_MISSING_OPERATORS = ("nms", "qnms")


@functools.cache
def import_torchvision() -> ModuleType:
    """
    Return the module `torchvision`.

    Its wheel is built for the CUDA build of torch. Beside a CPU build its compiled operators
    do not load, and the import then fails where it registers what two of them do with
    abstract tensors. Naming these two before the import mends it; classifiers use neither.

    Raises:
        ImportError: torchvision is not installed, or broken in another way.
    """
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise ImportError(f"torchvision cannot be imported: {error}") from error
    _define_missing_operators()
    return import_module("torchvision")


def _define_missing_operators() -> None:
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    library = torch.library.Library("torchvision", "DEF")  # noqa: TOR901
    for name in _MISSING_OPERATORS:
        library.define(f"{name}{signature}")
    # The definitions last as long as this object does.
    _KEPT.append(library)


_KEPT: list[torch.library.Library] = []
