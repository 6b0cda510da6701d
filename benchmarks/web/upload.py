"""What it costs to take 1 GB, beside FastAPI with uvicorn doing the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import yaml
from clip import make_clip
from figures import load, print_head, print_row
from processes import forget_peaks, usage

from daemon.web_process import WebProcess

_BYTES = 1 << 30
_STEP = 1 << 20
_BOUNDARY = "a-boundary-of-the-form"
_FORM_HEAD = (
    f"--{_BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="file"; filename="holiday.mp4"\r\n'
    "Content-Type: video/mp4\r\n\r\n"
).encode()
_FORM_TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()
_MB = 1 << 20
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class _Server:
    """A server that takes uploads: its port, and the process above all of its processes."""

    port: int
    pid: int


def measure(folder: Path, rounds: int, other_python: Path) -> None:
    """Print the costs, pair by pair; who is first changes with each."""
    folder.mkdir(parents=True, exist_ok=True)
    small, big = folder / "small.mp4", folder / "big.mp4"
    make_clip(small)
    _make_readable(small, big)
    servers: list[tuple[str, Callable[[Path], AbstractContextManager[_Server]]]] = [
        ("ours", _ours),
        ("FastAPI, uvicorn", lambda place: _fastapi(place, other_python)),
    ]
    print_head(
        "round", "server", "wall s", "CPU s", "bytes written / size", "peak RSS rise MB", "load"
    )
    try:
        for number in range(rounds):
            for name, server in servers:
                print_row([str(number + 1), name, *_cost(folder / "place", server, small, big)])
            servers.reverse()
    finally:
        big.unlink()


def _cost(
    place: Path, server: Callable[[Path], AbstractContextManager[_Server]], small: Path, big: Path
) -> list[str]:
    place.mkdir()
    try:
        with server(place) as running:
            _send(running.port, small)  # whatever is done only once is done by this
            os.sync()
            forget_peaks(running.pid)
            before = usage(running.pid)
            began = time.monotonic()
            _send(running.port, big)
            wall = time.monotonic() - began
            after = usage(running.pid)
    finally:
        shutil.rmtree(place)
    written = (after.written - before.written) / big.stat().st_size
    rise = (after.peak - before.rss) / _MB
    cpu = after.cpu - before.cpu
    return [f"{wall:.1f}", f"{cpu:.2f}", f"{written:.3f}", f"{rise:.1f}", load()]


def _make_readable(clip: Path, path: Path) -> None:
    """Write a clip and, in a box that readers pass over, random bytes behind it."""
    shutil.copyfile(clip, path)
    left = _BYTES - path.stat().st_size
    with path.open("ab") as file:
        file.write(struct.pack(">I4sQ", 1, b"free", left))
        for _ in range((left - 16) // _STEP):
            file.write(os.urandom(_STEP))
        file.write(os.urandom((left - 16) % _STEP))


@contextlib.contextmanager
def _ours(place: Path) -> Iterator[_Server]:
    """Have the processes run that the service starts to answer requests, without the service."""
    config = place / "config.yaml"
    config.write_text(yaml.safe_dump({"web_workers": 1, "min_free_gb": 0.01}))
    web = WebProcess(config, "127.0.0.1", 0)
    try:
        web.start()
        _wait_until_ready(web)
        assert web.pid is not None
        yield _Server(int(web.url.rstrip("/").rpartition(":")[2]), web.pid)
    finally:
        web.close()


@contextlib.contextmanager
def _fastapi(place: Path, python: Path) -> Iterator[_Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [
                *(str(python), "-m", "uvicorn", "fastapi_upload:app"),
                *("--fd", str(listener.fileno()), "--log-level", "warning"),
            ],
            cwd=Path(__file__).parent,
            # On the disk that ours writes to.
            env={"TMPDIR": str(place), "UPLOADED": str(place / "uploaded.mp4")},
            pass_fds=[listener.fileno()],
        )
    try:
        yield _Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(_PATIENCE_SECONDS)


def _send(port: int, path: Path) -> None:
    length = len(_FORM_HEAD) + path.stat().st_size + len(_FORM_TAIL)
    head = (
        f"POST /upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    address = "127.0.0.1", port
    with socket.create_connection(address, _PATIENCE_SECONDS) as sender, path.open("rb") as file:
        sender.sendall(head.encode() + _FORM_HEAD)
        sender.sendfile(file)
        sender.sendall(_FORM_TAIL)
        answer = b"".join(iter(lambda: sender.recv(_STEP), b""))
    if answer.split(b" ", 2)[1] != b"200":
        raise RuntimeError(f"the upload was refused: {answer!r}")


def _wait_until_ready(web: WebProcess) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not web.is_ready:
        if time.monotonic() > deadline:
            raise TimeoutError("the process that answers requests does not get ready")
        time.sleep(0.01)
        web.look()
