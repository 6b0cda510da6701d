"""What the reader's decoders are told. `test_protect.py` and others have what comes of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline import reader
from pipeline.reader import Reader, VideoItem, probe
from pipeline.settings import Limits


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        picture = np.zeros((64, 64, 3), np.uint8)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("threads", [1, 3])
def test_the_decoder_takes_no_more_threads_than_it_may(
    clip: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Each of them holds frames of its own, and on a large machine there would be many."""
    opened: list[Any] = []

    def noted(path: Path) -> Any:
        opened.append(open_media(path))
        return opened[-1]

    open_media = reader.open_media
    info = probe(clip, Limits())
    monkeypatch.setattr(reader, "open_media", noted)
    with closing(Reader(info, frozenset(), Limits(), threads).items()) as items:
        assert isinstance(next(items), VideoItem)
        assert opened[0].streams.video[0].codec_context.thread_count == threads
