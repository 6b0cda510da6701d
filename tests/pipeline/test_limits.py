"""Bounds on this process, tried in another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.errors import GpuOutOfMemory, OutOfMemory
from pipeline.memory import lack_of_memory_told

VIDEO = Path("large.mp4")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_beyond_the_bound_an_allocation_fails() -> None:
    code = """
from pipeline.limits import limit_address_space
limit_address_space(0.25)
kept = bytearray(100 << 20)
try:
    bytearray(300 << 20)
except MemoryError:
    print("refused")
"""
    assert run(code) == "refused"


def test_torch_and_opencv_compute_in_one_thread() -> None:
    code = """
from pipeline.limits import limit_threads
limit_threads()
import cv2, torch
print(torch.get_num_threads(), cv2.getNumThreads())
"""
    assert run(code) == "1 1"


def test_too_little_memory_is_an_error_that_names_the_limit(tmp_path: object) -> None:
    code = f"""
import sys
from pathlib import Path
from pipeline.limits import limit_address_space, limit_threads
limit_threads()
from pipeline.errors import OutOfMemory, OutputFailed
from pipeline.parameters import Parameters
from pipeline.protect import protect
from pipeline.settings import Settings
sys.path.append("tests")
from media import Video, make_video
video = make_video(Path({str(tmp_path)!r}) / "large.mp4", Video(width=3840, height=2160, frames=8))
limit_address_space(0.15)
try:
    protect(video, None, Parameters(), Settings())
except (OutOfMemory, OutputFailed) as error:
    print("limits.worker_memory_gb" in error.message, error.message)
"""
    assert run(code).startswith("True")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_too_little_memory_of_a_gpu_names_what_helps(error: RuntimeError) -> None:
    with pytest.raises(GpuOutOfMemory, match="`device: cpu`") as told, lack_of_memory_told(VIDEO):
        raise error
    assert told.value.retryable


def test_a_call_that_hides_its_lack_of_memory_is_told_as_that() -> None:
    """So OpenCV's where NumPy had none for the result, and another thread gave some back then."""
    with pytest.raises(OutOfMemory), lack_of_memory_told(VIDEO):
        raise SystemError("resize returned a result with an exception set") from MemoryError()
