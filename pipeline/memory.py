"""Tell lack of memory from every other failure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2

from pipeline.errors import GpuOutOfMemory, OutOfMemory

_OF_GPU = ("CUDA", "cuDNN")  # one of them is in all that torch says of a GPU

_LACKING = (
    "insufficient memory",
    "allocate memory",
    "out of memory",
    "alloc failed",
    "start new thread",
)


@contextlib.contextmanager
def lack_of_memory_told(original: Path) -> Iterator[None]:
    """
    Raises:
        OutOfMemory: for whatever error says inside that there is not enough of it.
        GpuOutOfMemory: the same of a GPU's.
    """
    try:
        yield
    except (MemoryError, RuntimeError, SystemError, cv2.error) as error:
        if not is_lack_of_memory(error):
            raise
        if any(name in str(error) for name in _OF_GPU):
            raise GpuOutOfMemory(
                f"{original.name} needs more memory of the GPU than is free; set fewer `workers`,"
                " or `device: cpu`, in config.yaml."
            ) from error
        raise OutOfMemory(
            f"{original.name} needs more memory than there is, or than limits.worker_memory_gb"
            " allows."
        ) from error


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether it says so: Python, OpenCV, torch and the thread library each in their own way."""
    if isinstance(error.__cause__, MemoryError):
        return True  # a `SystemError`, where NumPy first had no memory for OpenCV's result
    text = str(error).lower().replace("_", " ")
    return isinstance(error, MemoryError) or any(words in text for words in _LACKING)
