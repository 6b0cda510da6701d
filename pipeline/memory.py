"""Tell lack of memory from every other failure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2

from pipeline.errors import OutOfMemory


@contextlib.contextmanager
def lack_of_memory_told(original: Path) -> Iterator[None]:
    """
    Raises:
        OutOfMemory: for whatever error says inside that there is not enough of it.
    """
    try:
        yield
    except (MemoryError, RuntimeError, SystemError, cv2.error) as error:
        if not _is_lack_of_memory(error):
            raise
        raise OutOfMemory(
            f"{original.name} needs more memory than there is, or than limits.worker_memory_gb"
            " allows."
        ) from error


def _is_lack_of_memory(error: Exception) -> bool:
    """Python, OpenCV, torch and the thread library each say it in their own way."""
    if isinstance(error.__cause__, MemoryError):
        return True  # a `SystemError`, where NumPy first had no memory for OpenCV's result
    words = ("insufficient memory", "allocate memory", "out of memory", "start new thread")
    return isinstance(error, MemoryError) or any(w in str(error).lower() for w in words)
