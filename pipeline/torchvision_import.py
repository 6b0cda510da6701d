"""
Import torchvision beside a CPU build of torch.

The package index carries torchvision's CUDA build only: beside a CPU build of torch its
compiled operators do not load, and `import torchvision` (0.28) then fails while it describes
two of them, `nms` and `qnms`. Declaring their signatures first mends the import. Classifiers
never call them; detectors would, and are refused elsewhere.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType

import torch

_SIGNATURES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_torchvision() -> ModuleType:
    """
    Return the module torchvision, its missing operators declared where that is needed.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: it does not fit this torch for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    _declare_operators()
    return importlib.import_module("torchvision")


@cache  # the declarations last as long as the library object, which the cache keeps
def _declare_operators() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for signature in _SIGNATURES:
        library.define(signature)
    return library
