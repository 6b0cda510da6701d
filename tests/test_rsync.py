"""Videos that a real rsync brings, broken off and gone on with."""

from __future__ import annotations

import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from media import Video, make_video
from services import ServiceHouse, running, wait_until

PADDING_BYTES = 4 << 20


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceHouse]:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    with running(ServiceHouse(tmp_path_factory.mktemp("house"))) as house:
        yield house


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Return a video with so much padding behind that a slow transfer takes its time."""
    path = tmp_path / "clip.mp4"
    make_video(path, Video(frames=5, width=160, height=120))
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", PADDING_BYTES, b"free") + b"\0" * (PADDING_BYTES - 8))
    return path


@pytest.mark.parametrize("way", ["--partial-dir=.partial", "--inplace"])
def test_a_transfer_that_broke_off_is_waited_for_and_goes_on(
    house: ServiceHouse, video: Path, way: str
) -> None:
    name = f"{way.strip('-').split('=')[0]}.mp4"
    words = ["rsync", "--times", way]
    # Half a minute for all of it.
    with subprocess.Popen([*words, "--bwlimit=128", str(video), str(house.inbox / name)]) as slow:
        wait_until(lambda: written(house.inbox, name) > 100_000, "some of it")
        slow.send_signal(signal.SIGTERM)
    assert written(house.inbox, name) < video.stat().st_size
    time.sleep(3)  # settle_s and sidecar_grace_s several times over
    assert name not in house.by_video()
    subprocess.run([*words, str(video), str(house.inbox / name)], check=True)
    house.wait_for(name, "completed")
    (original,) = (house.inbox / ".media-cleaner/originals").rglob(name)
    assert original.read_bytes() == video.read_bytes()


def written(inbox: Path, name: str) -> int:
    """Return how much of a file has come, under whatever name."""
    sizes = [0]
    for folder in (inbox, inbox / ".partial"):
        for path in folder.glob(f"*{name}*"):
            # rsync's receiving process renames the file after its sender has ended.
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
    return max(sizes)
