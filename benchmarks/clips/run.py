"""
Protect every video of a folder with the defaults and say what came of it.

    python benchmarks/clips/run.py FOLDER [OUT]

Prints a Markdown table. `size` is the protected file beside the same encode with nothing
added (picture alone, no sound), so 1.00 would be free. Results stay in OUT if it is given.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import av.error

from pipeline.errors import PipelineError
from pipeline.limits import limit_threads
from pipeline.parameters import Parameters
from pipeline.protect import protect
from pipeline.report import Report
from pipeline.settings import Settings

_EXTENSIONS = {".mp4", ".mov", ".avi", ".mkv", ".webm"}


def main(folder: Path, out: Path) -> None:
    limit_threads()
    print("| clip | status | frames | PSNR dB | SSIM | size | fps | NMR / SNR dB | notes |")
    print("|---|---|---|---|---|---|---|---|---|")
    for clip in sorted(p for p in folder.iterdir() if p.suffix.lower() in _EXTENSIONS):
        print(f"| {clip.name} | {_row(clip, out)} |", flush=True)


def _row(clip: Path, out: Path) -> str:
    settings = Settings()
    try:
        outcome = protect(clip, out / f"{clip.stem}.mp4", Parameters(), settings)
    except PipelineError as error:
        return f"failed: {error.message} | | | | | | |"
    report = outcome.report
    plain = _plain_picture_bytes(clip, settings)
    size = _picture_bytes(outcome.output) / plain if plain else float("nan")
    return (
        f"ok | {report.frames} | {report.psnr_db:.1f} | {report.ssim:.3f} | {size:.2f}"
        f" | {report.frames_per_second:.0f} | {_sound(report)} | {' '.join(report.notes)}"
    )


def _sound(report: Report) -> str:
    if report.audio_nmr_db is None or report.audio_snr_db is None:
        return "no sound" if not report.audio else "unchanged"
    return f"{report.audio_nmr_db:.1f} / {report.audio_snr_db:.1f}"


def _picture_bytes(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(p.size for p in container.demux(container.streams.video[0]))


def _plain_picture_bytes(clip: Path, settings: Settings) -> int:
    """Return the bytes of the same encode with nothing added."""
    total = 0
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.options = {"crf": str(settings.crf), "preset": settings.preset}
    encoder.pix_fmt = "yuv420p"
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        encoder.width, encoder.height = stream.width // 2 * 2, stream.height // 2 * 2
        encoder.time_base = stream.time_base
        encoder.framerate = stream.average_rate or 25
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue  # damaged, as in the protected run
            for frame in frames:
                same = frame.reformat(encoder.width, encoder.height, "yuv420p")
                same.pict_type = 0
                total += sum(p.size for p in encoder.encode(same))
        return total + sum(p.size for p in encoder.encode(None))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else scratch))
