"""
The reference design, as it was asked for: every frame a PNG, ffmpeg from the PNGs.

Each tenth frame goes through one step of FGSM, its gradient averaged over four transformed
copies, one image at a time; the sign is held until the next one. Written plainly, as such
services are; torch has one thread.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pipeline.network import IMAGENET_MEAN, IMAGENET_STD, INPUT_SIZE
from pipeline.parameters import Parameters
from pipeline.torchvision_import import import_torchvision

_INTERVAL = 10
_SCALES = (1.0, 0.9, 0.8, 0.7)


def protect(source: Path, target: Path, folder: Path, network: Path) -> int:
    """
    Protect `source` by way of PNGs in `folder`; returns the number of frames.

    Args:
        network: state dict of the torchvision classifier of that file's name.
    """
    model = import_torchvision().models.get_model(network.stem, weights=None)
    model.load_state_dict(torch.load(network, weights_only=True))
    model.eval()
    pattern = str(folder / "%06d.png")
    _ffmpeg("-i", str(source), "-fps_mode", "passthrough", pattern)
    frames = sorted(folder.glob("*.png"))
    _perturb(frames, model)
    encode = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p")
    pictures = ("-framerate", "25", "-i", pattern)
    sound = ("-i", str(source), "-map", "0:v", "-map", "1:a", "-c:a", "aac", "-b:a", "192k")
    _ffmpeg(*pictures, *sound, *encode, str(target))
    for frame in frames:
        frame.unlink()
    return len(frames)


def _perturb(frames: list[Path], model: Any) -> None:
    budget = Parameters().budget
    change: NDArray[np.int16] = np.zeros((1, 1, 3), np.int16)
    for number, path in enumerate(frames):
        picture: Any = cv2.imread(str(path))
        if number % _INTERVAL == 0:
            sign = _sign(picture, model)
            size = (picture.shape[1], picture.shape[0])
            change = np.rint(cv2.resize(sign, size) * budget).astype(np.int16)
        cv2.imwrite(str(path), cv2.add(picture, change, dtype=cv2.CV_8U))


def _sign(picture: NDArray[np.uint8], model: Any) -> NDArray[np.float32]:
    """Return (224, 224, 3): the sign of the loss's gradient, averaged over the copies."""
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    small: Any = cv2.resize(picture, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA)
    image = torch.from_numpy(small[..., ::-1].astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        label = model((image - mean) / std).argmax(dim=1)
    leaf = image.clone().requires_grad_()
    for scale in _SCALES:
        side = round(INPUT_SIZE * scale)
        copy = F.interpolate(leaf, (side, side), mode="bilinear", align_corners=False)
        copy = F.interpolate(copy, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)
        F.cross_entropy(model((copy - mean) / std), label).backward()
    assert leaf.grad is not None
    gradient: Any = leaf.grad[0].permute(1, 2, 0).flip(2).sign().numpy()
    return np.ascontiguousarray(gradient)


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)
