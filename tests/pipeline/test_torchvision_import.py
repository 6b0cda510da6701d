from __future__ import annotations

import subprocess
import sys


def test_torchvision_comes_in_beside_any_build_of_torch() -> None:
    code = (
        "from pipeline.torchvision_import import import_torchvision as i;"
        "v = i(); assert i() is v; assert v.models.resnet18(weights=None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
