from __future__ import annotations

import subprocess
import sys

import torch

from pipeline.torchvision_import import import_torchvision

_IMPORT = """
import sys
from pipeline.torchvision_import import import_torchvision
{before}
torchvision = import_torchvision()
assert torchvision is import_torchvision() is sys.modules["torchvision"]
torchvision.ops.nms, torchvision.models.resnet18
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_torchvision_imports_in_a_fresh_process():
    result = run(_IMPORT.format(before=""))
    assert result.returncode == 0, result.stderr


def test_torchvision_imports_after_a_plain_import_has_failed():
    before = "try:\n    import torchvision\nexcept RuntimeError:\n    pass"
    result = run(_IMPORT.format(before=before))
    assert result.returncode == 0, result.stderr


def test_neither_this_module_nor_the_surrogates_import_torchvision_by_themselves():
    code = (
        "import sys, pipeline.surrogate, pipeline.perturbation\nprint('torchvision' in sys.modules)"
    )
    assert run(code).stdout.strip() == "False"


def test_a_classifier_runs_forward_and_back():
    torchvision = import_torchvision()
    with torch.random.fork_rng(devices=[]):
        network = torchvision.models.squeezenet1_1(weights=None).eval()
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    network(picture).square().sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0
