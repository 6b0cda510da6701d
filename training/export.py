"""
Write what was learnt into the file that the product reads.

    python -m training.export STATE.pt pipeline/generator.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.network import DILATIONS, Network


def main() -> None:
    parser = argparse.ArgumentParser(description="Write weights into the file the product reads.")
    parser.add_argument("state", type=Path, metavar="STATE.pt")
    parser.add_argument("file", type=Path, metavar="FILE.npz")
    arguments = parser.parse_args()
    network = Network()
    network.load_state_dict(torch.load(arguments.state))
    export(network, arguments.file)


def export(network: Network, file: Path) -> None:
    """Write the weights, in half precision."""
    half = {name: array.half().numpy() for name, array in network.state_dict().items()}
    np.savez(file, dilations=np.array(DILATIONS), **half)


if __name__ == "__main__":
    main()
