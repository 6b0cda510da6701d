"""Bounds on what this process takes from the machine."""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

_M_ARENA_MAX = -8  # malloc.h


def limit_address_space(gigabytes: float) -> None:
    """
    Let this process map at most so much more memory than it does now.

    Beyond it an allocation fails and the task with it, instead of the machine. Not for a
    process that uses CUDA, whose driver reserves address space by the terabyte.
    """
    _let_blas_take_its_buffer()
    mapped_pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = mapped_pages * resource.getpagesize() + int(gigabytes * (1 << 30))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        bound = min(bound, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


def limit_memory(gigabytes: float, device: str) -> None:
    """Call `limit_address_space`, but in a process that uses CUDA; `device` is as in `Settings`."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        limit_address_space(gigabytes)


def _let_blas_take_its_buffer() -> None:
    """
    Multiply matrices once.

    NumPy's OpenBLAS takes memory at its first product and keeps it. Where it gets none it ends
    the process, which then could not even say that it was short of memory.
    """
    import numpy as np

    square = np.ones((256, 256), np.float32)
    np.matmul(square, square)


def limit_threads() -> None:
    """
    Let torch and OpenCV compute in the thread that calls them, and threads share memory.

    Decoder, encoder and the three stages already fill the cores. With OpenMP's defaults on
    a busy machine its waiting threads burn what the others need: a step of ResNet-18 took
    1.9 s instead of 0.43 s on two cores. Call it before the first import of torch, which
    reads the environment once.
    """
    _share_arenas()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _share_arenas() -> None:
    """
    Let all threads take memory from two pools.

    glibc gives each thread a pool of its own, and what is freed in one is of no use to
    another: with the threads of one video after the other, memory grows.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and no arenas
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
