"""
Compare the speed of protecting with that of what people do instead, pair by pair.

    python benchmarks/speed/run.py [embedded] [surplus] [strip] [networks] [reference]
        [stages] [--seconds 60] [--rounds 3] [--lines 360 720 1080] [--device auto]

Every figure of ours stands beside the same `ffmpeg` command's, run just before it on the same
video: CPU seconds by that command's are what counts, since they hold on a busy machine. Ours
is a warm process that does one video after the other, as the service's workers are; what
warming takes is told apart. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost import Cost, cost_of_command, median, spread
from material import make_video
from surplus import STEPS
from warm import Worker

from pipeline.settings import Settings

_ROOT = Path(__file__).resolve().parents[2]
_MEDIA = _ROOT / "shared" / "media"
_NETWORKS = {"MobileNetV3-small": "mobilenet_v3_small", "ResNet-18": "resnet18"}
_STRIPS = 20  # to a measurement
_FIRST_SECONDS = 1.0  # of the video that a process does before: its first takes longer
_PARTS = ("embedded", "surplus", "strip", "networks", "reference", "stages")


@dataclass(frozen=True)
class Pair:
    """What the command took, and what ours took right after it."""

    plain: Cost
    ours: Cost


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = _make_networks(folder)
        for lines in arguments.lines:
            _Resolution(lines, folder, networks, arguments).measure()


class _Resolution:
    """All comparisons on videos of one size."""

    def __init__(
        self, lines: int, folder: Path, networks: dict[str, Path], arguments: argparse.Namespace
    ) -> None:
        self._folder, self._networks = folder, networks
        self._rounds, self._threads = arguments.rounds, arguments.threads
        self._device = arguments.device
        self._parts = arguments.parts or _PARTS
        self._whole = make_video(arguments.media, folder, lines, arguments.seconds)
        self._short = make_video(arguments.media, folder, lines, arguments.slow_seconds)
        self._first = make_video(arguments.media, folder, lines, _FIRST_SECONDS)
        self._lines = lines
        self._what = f"{lines} lines"

    def measure(self) -> None:
        """Print the tables."""
        with _worker(self._device) as worker:
            self._print_warming(worker)
            if "embedded" in self._parts:
                self._print_main_table(worker)
            if "surplus" in self._parts:
                self._print_surplus(worker)
            if "strip" in self._parts:
                self._print_strip(worker)
        if not {"networks", "reference"}.isdisjoint(self._parts):
            self._print_slow_table()
        if "stages" in self._parts:
            self._print_stages()

    def _print_warming(self, worker: Worker) -> None:
        w = worker.warming
        print(
            f"\n## {self._what}\n\nWarming a worker (imports): {w['import_cpu']:.1f} s of CPU,"
            f" {w['import_mb']:.0f} MB.",
            flush=True,
        )
        worker.cost("protect", **self._job(self._first))

    def _print_main_table(self, worker: Worker) -> None:
        pairs = self._pairs(self._whole, lambda: worker.cost("protect", **self._job(self._whole)))
        _print_head(pairs)
        plain = [p.plain for p in pairs]
        frames = pairs[0].ours.frames
        _print_row("`ffmpeg`, same preset and CRF", plain, [1.0] * len(pairs), frames, 1.0)
        ours = [p.ours for p in pairs]
        without = [p.ours.without_read_back / p.plain.cpu for p in pairs]
        size = median(ours, lambda c: c.size) / median(plain, lambda c: c.size)
        bare = spread([o.without_read_back for o in ours])
        print(f"| embedded, without reading back | {bare} | **{spread(without)}** | | | | | |")
        ratios = [p.ours.cpu / p.plain.cpu for p in pairs]
        _print_row("embedded, whole", ours, ratios, frames, size)

    def _print_surplus(self, worker: Worker) -> None:
        ratios: dict[str, list[float]] = {step: [] for step in STEPS}
        for _ in range(self._rounds):
            plain = self._transcoded(self._whole).cpu
            for step in STEPS:
                ours = worker.cost("up to", step=step, **self._job(self._whole))
                ratios[step].append(ours.without_read_back / plain)
        print("\n| without reading back | CPU of `ffmpeg`'s |\n|---|---|")
        for step in STEPS:
            print(f"| {step} | **{spread(ratios[step])}** |", flush=True)

    def _print_slow_table(self) -> None:
        with _worker(self._device) as worker:
            ways: dict[str, Callable[[], Cost]] = {}
            if "networks" in self._parts:
                ways = {
                    f"network way, {name}": lambda path=path: worker.cost(  # type: ignore[misc]
                        "protect", network=str(path), **self._job(self._short)
                    )
                    for name, path in self._networks.items()
                }
            if "reference" in self._parts:
                ways["reference design"] = lambda: self._reference(worker)
            worker.cost("protect", network=str(self._first_network), **self._job(self._first))
            for number, (name, way) in enumerate(ways.items()):
                pairs = self._pairs(self._short, way)
                if not number:
                    _print_head(pairs)
                ours, plain = [p.ours for p in pairs], [p.plain for p in pairs]
                size = median(ours, lambda c: c.size) / median(plain, lambda c: c.size)
                ratios = [p.ours.cpu / p.plain.cpu for p in pairs]
                _print_row(name, ours, ratios, ours[0].frames, size)

    def _print_strip(self, worker: Worker) -> None:
        ratios, ours = [], []
        for _ in range(self._rounds):
            plain = sum(self._copied().cpu for _ in range(_STRIPS))
            job = {"source": str(self._whole), "target": str(self._target), "repeats": _STRIPS}
            cost = worker.cost("strip", **job)
            ours.append(1000 * cost.cpu / _STRIPS)
            ratios.append(cost.cpu / plain)
        size = self._whole.stat().st_size / 1e6
        print(
            f"\n`strip` of {size:.0f} MB: {spread(ours, '{:.0f}')} ms of CPU,"
            f" **{spread(ratios)}** of `ffmpeg -c copy`.",
            flush=True,
        )

    def _print_stages(self) -> None:
        print("\n| stage, CPU ms per frame | embedded | MobileNetV3-small |\n|---|---|---|")
        columns = []
        for network in (None, str(self._first_network)):
            with _worker(self._device) as worker:
                job = {"source": str(self._short), "target": str(self._target)}
                columns.append(worker.ask("profile", network=network, **job))
        for stage in columns[0]["stages"]:
            values = (column["stages"].get(stage, 0.0) for column in columns)
            print(f"| {stage} | {' | '.join(f'{value:.2f}' for value in values)} |")
        totals = (f"{column['total']:.2f}" for column in columns)
        print(f"| together | {' | '.join(totals)} |", flush=True)

    def _pairs(self, source: Path, way: Callable[[], Cost]) -> list[Pair]:
        return [Pair(self._transcoded(source), way()) for _ in range(self._rounds)]

    def _transcoded(self, source: Path) -> Cost:
        settings = Settings()
        target = self._folder / "plain.mp4"
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-c:v", "libx264"]
        command += ["-preset", settings.preset, "-crf", str(settings.crf)]
        command += ["-threads", str(self._threads)] if self._threads else []
        command += ["-c:a", "aac", "-b:a", "192k", str(target)]
        return cost_of_command(command, target)

    def _copied(self) -> Cost:
        target = self._folder / "copied.mp4"
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(self._whole), "-c", "copy"]
        command += ["-map_metadata", "-1", "-movflags", "+faststart", str(target)]
        return cost_of_command(command, target)

    def _reference(self, worker: Worker) -> Cost:
        with tempfile.TemporaryDirectory(dir=self._folder) as pictures:
            return worker.cost(
                "reference",
                source=str(self._short),
                target=str(self._target),
                folder=pictures,
                network=str(self._first_network),
            )

    def _job(self, source: Path) -> dict[str, Any]:
        return {"source": str(source), "target": str(self._target), "threads": self._threads}

    @property
    def _target(self) -> Path:
        return self._folder / "protected.mp4"

    @property
    def _first_network(self) -> Path:
        return next(iter(self._networks.values()))


def _print_head(pairs: list[Pair]) -> None:
    print(
        f"\n| {pairs[0].ours.frames} frames | CPU s | CPU of `ffmpeg`'s | wall s | frames/s"
        " | peak MB | written MB | size |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )


def _print_row(name: str, costs: list[Cost], ratios: list[float], frames: int, size: float) -> None:
    cells = (
        spread([c.cpu for c in costs]),
        f"**{spread(ratios)}**",
        spread([c.wall for c in costs], "{:.1f}"),
        f"{statistics.median(frames / c.wall for c in costs):.0f}",
        f"{max(c.peak_mb for c in costs):.0f}",
        f"{median(costs, lambda c: c.written_mb):.0f}",
        f"{size:.2f}",
    )
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


@contextmanager
def _worker(device: str = "cpu") -> Iterator[Worker]:
    worker = Worker(device)
    try:
        yield worker
    finally:
        worker.close()


def _make_networks(folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"{model}.pth" for name, model in _NETWORKS.items()}
    with _worker() as worker:
        for path in paths.values():
            worker.ask("network", name=path.stem, target=str(path))
    return paths


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Protecting beside a plain transcode.")
    parser.add_argument(
        "parts", nargs="*", help=f"what to measure, of {', '.join(_PARTS)}; without one, all"
    )
    parser.add_argument("--media", type=Path, default=_MEDIA, help="folder of the real clips")
    parser.add_argument("--lines", type=int, nargs="+", default=[360, 720, 1080])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--slow-seconds", type=float, default=4.0, help="of what takes long: networks, PNGs"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of the encoder, 0: all cores")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(_PARTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    return arguments


if __name__ == "__main__":
    main()
