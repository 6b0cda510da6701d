"""
Compare protecting a video with the plain transcode that a user would do instead.

    python benchmarks/transcode/run.py CLIP... [--seconds 20] [--lines 720] [--rounds 3]

Each clip is looped and scaled first. Then, round by round and pair by pair: the `ffmpeg`
command with the same encoder settings, and ours in a warm process with one thread for torch.
CPU seconds count user and system time of all threads. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.parameters import Parameters
from pipeline.protect import Progress, protect
from pipeline.settings import Settings


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds, and the size of what came out."""

    cpu: float
    wall: float
    size: int


def main() -> None:
    arguments = _arguments()
    import torch

    torch.set_num_threads(1)
    print(
        f"| clip, {arguments.lines} lines, {arguments.seconds} s | frames | ffmpeg CPU s"
        " | ours, no read-back | ours, with read-back | wall ffmpeg / ours s | size ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for clip in arguments.clips:
            print(_row(clip, Path(folder), arguments), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of the protecting process: {peak:.0f} MB.")


def _row(clip: Path, folder: Path, arguments: argparse.Namespace) -> str:
    source = _prepared(clip, folder, arguments.seconds, arguments.lines)
    settings = Settings()
    plain, bare, whole, frames = [], [], [], 0
    for _ in range(arguments.rounds):
        plain.append(_transcode(source, folder / "plain.mp4", settings))
        without, with_, frames = _protect(source, folder / "protected.mp4", settings)
        bare.append(without)
        whole.append(with_)
    floor = statistics.median(c.cpu for c in plain)
    return (
        f"| {clip.stem} | {frames} | {_spread([c.cpu for c in plain])}"
        f" | {_ratios(bare, plain)} | {_ratios(whole, plain)}"
        f" | {statistics.median(c.wall for c in plain):.1f} /"
        f" {statistics.median(c.wall for c in whole):.1f}"
        f" | {whole[0].size / plain[0].size:.2f} |"
        if floor
        else ""
    )


def _prepared(clip: Path, folder: Path, seconds: float, lines: int) -> Path:
    source = folder / f"{clip.stem}.mp4"
    command = ["ffmpeg", "-v", "error", "-y", "-stream_loop", "-1", "-i", clip, "-t", seconds]
    command += ["-vf", f"scale=-2:{lines}", "-pix_fmt", "yuv420p", "-c:v", "libx264"]
    command += ["-preset", "veryfast", "-crf", "16", "-c:a", "aac", source]
    subprocess.run([str(word) for word in command], check=True)
    return source


def _transcode(source: Path, target: Path, settings: Settings) -> Cost:
    command = ["ffmpeg", "-v", "error", "-y", "-i", source, "-c:v", "libx264"]
    command += ["-preset", settings.preset, "-crf", settings.crf, "-c:a", "aac", target]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([str(word) for word in command], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, time.monotonic() - start, target.stat().st_size)


def _protect(source: Path, target: Path, settings: Settings) -> tuple[Cost, Cost, int]:
    marks: list[tuple[float, float]] = []

    def mark(progress: Progress) -> None:
        if progress.phase == "read back" and not marks:
            marks.append((time.process_time(), time.monotonic()))

    cpu, wall = time.process_time(), time.monotonic()
    report = protect(source, target, Parameters(), settings, progress=mark).report
    size = target.stat().st_size
    without = Cost(marks[0][0] - cpu, marks[0][1] - wall, size)
    whole = Cost(time.process_time() - cpu, time.monotonic() - wall, size)
    return without, whole, report.frames or 0


def _ratios(ours: list[Cost], plain: list[Cost]) -> str:
    return _spread([a.cpu / b.cpu for a, b in zip(ours, plain, strict=True)])


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Protecting beside a plain transcode.")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--lines", type=int, default=720)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(sys.argv[1:])


if __name__ == "__main__":
    main()
