"""Packages that measuring needs and the product does not."""

from __future__ import annotations

import importlib
from types import ModuleType


def required(module: str, package: str) -> ModuleType:
    """
    Return the imported module.

    Raises:
        SystemExit: it is not installed; names the package to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SystemExit(f"{module} cannot be imported ({error}): pip install {package}") from error
