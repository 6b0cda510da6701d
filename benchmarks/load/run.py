"""
The whole service under load: many short videos dropped at once.

    python benchmarks/load/run.py [--clips 40] [--workers N] [--media FOLDER]

A real service on folders of its own. First it is started and gets one video at once: what
does a cold start cost? Then all clips are moved in at once, and while they are worked on it is
looked at several times a second: are all workers at work, are REST and status files current?
What the tasks took is compared with `protect` on the same clips, one after the other in a warm
process. Prints a Markdown table. 500 clips are an hour on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "benchmarks" / "speed"))
from warm import Worker  # noqa: E402  # of the measurements of speed

_MEDIA = _ROOT / "shared" / "media"
_CLIPS = (
    "cockatoo.mp4",
    "street_bikes_cuts.mp4",
    "selfie_cyclist.mp4",
    "flower_vp8_vorbis.webm",
    "friday_speech_bw.mp4",
)
_SOUND = "friday_speech_bw.mp4"
_SECONDS, _LINES = 5, 360
_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = 7200.0
_ROUNDS = 3  # of `protect` on each clip, half of them before and half after


@dataclass
class Looks:
    """What was seen while the service worked; times in seconds."""

    idle: list[float] = field(default_factory=list)  # share of workers, while tasks waited
    answers: list[float] = field(default_factory=list)  # of GET /stats and GET /tasks
    behind: list[float] = field(default_factory=list)  # of a running task's status file
    wrong_counts: int = 0  # answers of /stats whose parts are not the whole


class Service:
    """A service with a configuration of its own."""

    def __init__(self, folder: Path, workers: int | None) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        settings = {"workers": workers, "port": self.port, "min_free_gb": 0.01, "drain_s": 0}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        (folder / "inbox").mkdir()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have it run; yields at once."""
        command = [sys.executable, "-m", "daemon", "--config", str(self.folder / "config.yaml")]
        with (self.folder / "console.txt").open("ab") as console:
            self._process = subprocess.Popen(
                [*command, "serve"], cwd=_ROOT, stdout=console, stderr=console
            )
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()

    def ask(self, path: str) -> dict[str, Any]:
        """Return what a route answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    def count(self, status: str) -> int:
        """Return how many tasks have a status, by the names of their records."""
        return sum(1 for _ in (self.folder / "state" / status).rglob("*-*.json"))

    @property
    def workers(self) -> int:
        """How many there are to be."""
        told = json.loads((self.folder / "state" / "service.json").read_bytes())
        return int(told["workers"]["size"])

    def at_work(self) -> int:
        """
        Return how many workers are at a video: they hold its folder open all the while.

        Records do not tell. That of an ended task stays in `processing` until its result is
        published, that of the next is there before its worker has it.
        """
        pid = self._process.pid  # its first thread starts the workers
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(self._is_at_work(Path("/proc", child)) for child in children)

    def _is_at_work(self, process: Path) -> bool:
        try:
            if b"daemon.worker" not in (process / "cmdline").read_bytes().split(b"\0"):
                return False
            held = [os.readlink(descriptor) for descriptor in (process / "fd").iterdir()]
        except FileNotFoundError:  # it ended, or closed one, in that moment: look again
            return process.exists() and self._is_at_work(process)
        return any(Path(path).is_relative_to(self.folder / "inbox") for path in held)

    def tasks(self) -> list[dict[str, Any]]:
        """Return all tasks as their status files tell of them."""
        files = (self.folder / "outbox").rglob("*.status.json")
        return [json.loads(file.read_bytes()) for file in files]


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = [_make_clip(arguments.media, folder, number) for number in range(len(_CLIPS))]
        alone = _protected_alone(clips, folder)
        service = Service(folder, arguments.workers)
        began = time.monotonic()
        with service.running():
            _drop_first(service, clips[0])
            _wait_for(service, 1)
            cold = time.monotonic() - began - service.tasks()[0]["report"]["seconds"]
            looks, took = _load(service, clips, arguments.clips)
            _wait_for(service, arguments.clips + 1)
            workers = service.workers
        alone += _protected_alone(clips, folder)
        _print(service, arguments.clips, workers, took, cold, looks, statistics.mean(alone))


def _drop_first(service: Service, clip: Path) -> None:
    """
    Move a video in as soon as the service is there, its sidecar before it.

    So nothing is waited for but workers: one that lay there before would have to be seen
    unchanged for `settle_s`, one without a sidecar would wait `sidecar_grace_s` for it.
    """
    while not (service.folder / "state" / "service.json").exists():
        time.sleep(0.01)
    (service.folder / "inbox" / "first.mp4.yaml").write_text("epsilon: 0.12\n")
    beside = service.folder / "first.mp4"
    shutil.copy(clip, beside)
    beside.rename(service.folder / "inbox" / "first.mp4")


def _load(service: Service, clips: list[Path], count: int) -> tuple[Looks, float]:
    staged = service.folder / "staged"
    staged.mkdir()
    for number in range(count):
        shutil.copy(clips[number % len(clips)], staged / f"{number:04}.mp4")
    began = time.monotonic()
    for file in staged.iterdir():
        file.rename(service.folder / "inbox" / file.name)
    looks = Looks()
    while service.count("completed") + service.count("failed") < count + 1:
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise TimeoutError("the tasks do not come to their end; see logs/ of the service")
        _look(service, looks)
        time.sleep(_LOOK_SECONDS)
    return looks, time.monotonic() - began


def _look(service: Service, looks: Looks) -> None:
    if service.count("pending"):
        workers = service.workers
        looks.idle.append(1 - service.at_work() / workers)
    began = time.monotonic()
    queue = service.ask("/stats")["queue"]
    running = service.ask("/tasks?status=processing")["tasks"]
    looks.answers.append((time.monotonic() - began) / 2)
    parts = ("pending", "processing", "completed", "failed", "cancelled")
    looks.wrong_counts += sum(queue[part] for part in parts) != queue["total"]
    for task in running:
        for file in (service.folder / "outbox").rglob(f"{task['task_id']}_*.status.json"):
            written = file.stat().st_mtime
            if json.loads(file.read_bytes())["status"] == "processing":
                looks.behind.append(time.time() - written)


def _print(
    service: Service,
    clips: int,
    workers: int,
    took: float,
    cold: float,
    looks: Looks,
    alone: float,
) -> None:
    tasks = [task for task in service.tasks() if task["input_video"] != "first.mp4"]
    done = [task for task in tasks if task["status"] == "completed"]
    cpu = sum(task["report"]["cpu_seconds"] for task in done)
    answers, behind = sorted(looks.answers), sorted(looks.behind)
    rows = {
        "clips of 5 s, 360 lines; completed": f"{clips}; {len(done)}",
        "workers; cores": f"{workers}; {len(os.sched_getaffinity(0))}",
        "until all are done": f"{took:.0f} s",
        "hours of video a day at this rate": f"{clips * _SECONDS * 24 / took:.0f}",
        "CPU of all tasks by that of `protect` on each": f"**{cpu / (alone * clips):.2f}**",
        "CPU of a task": f"{cpu / max(len(done), 1):.2f} s",
        "workers without a task while tasks wait": f"{100 * statistics.mean(looks.idle):.1f} %",
        "REST answers, median / 99 % / slowest": " / ".join(
            f"{1000 * _share(answers, share):.0f}" for share in (0.5, 0.99, 1.0)
        )
        + " ms",
        "status file of a running task behind, 99 % / most": (
            f"{_share(behind, 0.99):.1f} / {_share(behind, 1.0):.1f} s"
        ),
        "answers of /stats that do not add up": str(looks.wrong_counts),
        "cold start: first result beyond its own work": f"{cold:.1f} s",
        "load of the machine at the end": f"{os.getloadavg()[0]:.1f}",
    }
    print("| | |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


def _share(values: list[float], share: float) -> float:
    return values[min(int(share * len(values)), len(values) - 1)] if values else 0.0


def _wait_for(service: Service, count: int) -> None:
    """Wait until so many status files tell of an end; they follow the records within 2 s."""
    while sum(task["completed_at"] is not None for task in service.tasks()) < count:
        time.sleep(0.02)


def _protected_alone(clips: list[Path], folder: Path) -> list[float]:
    """Return the CPU seconds of `protect` on each clip, several times over."""
    worker = Worker()
    try:
        target = str(folder / "alone.mp4")
        worker.ask("protect", source=str(clips[0]), target=target, threads=0)
        return [
            worker.cost("protect", source=str(clip), target=target, threads=0).cpu
            for _ in range(_ROUNDS)
            for clip in clips
        ]
    finally:
        worker.close()


def _make_clip(media: Path, folder: Path, number: int) -> Path:
    target = folder / f"source{number}.mp4"
    command = ["ffmpeg", "-v", "error", "-y"]
    for name in (_CLIPS[number], _SOUND):
        command += ["-stream_loop", "-1", "-i", str(media / name)]
    command += ["-map", "0:v", "-map", "1:a", "-t", str(_SECONDS), "-vf", f"scale=-2:{_LINES}"]
    command += ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-crf", "16"]
    command += ["-c:a", "aac", "-ac", "2", "-ar", "48000", str(target)]
    subprocess.run(command, check=True)
    return target


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The service under load.")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--workers", type=int, help="by default as many as fit the machine")
    parser.add_argument("--media", type=Path, default=_MEDIA, help="folder of the real clips")
    return parser.parse_args()


if __name__ == "__main__":
    main()
