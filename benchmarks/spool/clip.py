"""A tiny video that can really be protected."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

_SIDE, _RATE = 64, 25


def make_clip(path: Path, frames: int = 10) -> None:
    """Write an MP4 of so many frames."""
    ramp = np.add.outer(np.arange(_SIDE), np.arange(_SIDE)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        stream.width = stream.height = _SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = np.repeat((ramp + np.uint8(4 * number % 256))[:, :, None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
