"""Choose what torch computes on."""

from __future__ import annotations

import torch

from pipeline.errors import SurrogateUnavailable
from pipeline.settings import Settings


def choose_device(settings: Settings) -> torch.device:
    """
    Return the device that the settings ask for; `auto` takes a GPU where there is one.

    Raises:
        SurrogateUnavailable: `cuda` is set and torch finds no GPU.
    """
    has_cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not has_cuda:
        raise SurrogateUnavailable("device: cuda is set, but torch finds no GPU; use auto or cpu.")
    return torch.device("cuda" if has_cuda and settings.device != "cpu" else "cpu")
