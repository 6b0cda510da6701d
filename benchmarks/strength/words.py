"""Speech: what Whisper still understands of it, in several languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packages import required
from pieces import Speech, cut_speech
from records import Record
from sound import LEVELS
from tables import Column, means
from variants import PROTECT, make_sound

from pipeline.parameters import AudioLevel

_LEGEND = """\
Word errors of Whisper: words left out, put in and taken for others, as a share of those that the
same model hears in the original, at most 1; net of the same encode with nothing changed. Each model
is a folder, and called by its name; those that know English alone hear nothing else. Stretches of
clips are those of TABLES.md; a language's are prompts of telephone menus, one speaker each. Means
[95 % interval by resampling stretches]; n: stretches that could tell, which leaves out those in
which a model hears no word."""


# Of 8 s of speech. Where it understands nothing it may say one word for ever.
_MOST_TOKENS = 100


class WordBench:
    """Measures one stretch of speech after the other."""

    def __init__(self, scratch: Path, models: Sequence[Path]) -> None:
        """
        Args:
            models: folders of Whisper's weights for CTranslate2.

        Raises:
            SystemExit: a package is missing; says how to get it.
        """
        whisper = required("faster_whisper", "faster-whisper")
        self._jiwer = required("jiwer", "jiwer")
        self._scratch = scratch
        self._models = {
            path.name: whisper.WhisperModel(str(path), device="cpu", compute_type="float32")
            for path in models
        }

    def stretch(self, source: Path, piece: Speech, language: str) -> Iterator[Record]:
        """Yield the measures of every level; `source` is the file that has the piece."""
        original = cut_speech(
            source, piece.start, piece.seconds, self._scratch / f"{piece.stem}.mov"
        )
        changed: dict[str, Path] = {}
        for name, level in {"none": AudioLevel.NONE, **LEVELS}.items():
            changed[name] = original.with_suffix(f".{name}.mp4")
            report = make_sound(original, changed[name], level)
            ratios = {"nmr_db": report.audio_nmr_db, "snr_db": report.audio_snr_db}
            for measure, value in ratios.items():
                if value is not None:
                    yield _record(piece, name, "sound", measure, value)
        for judge, model in self._models.items():
            if language != "en" and not model.model.is_multilingual:
                continue
            heard = self._words(model, original, language)
            if not heard:
                continue
            errors = {
                name: min(1.0, self._jiwer.wer(heard, self._words(model, path, language)))
                for name, path in changed.items()
            }
            for name in LEVELS:
                yield _record(piece, name, judge, "word_error", errors[name], errors["none"])

    def _words(self, model: Any, path: Path, language: str) -> str:
        """Return what a model hears, in small letters and without marks."""
        segments, _ = model.transcribe(
            str(path),
            language=language,
            beam_size=5,
            temperature=0.0,  # otherwise it throws dice where it is not sure
            max_new_tokens=_MOST_TOKENS,
            condition_on_previous_text=False,
        )
        text = " ".join(segment.text for segment in segments).lower()
        return " ".join("".join(c if c.isalnum() or c == "'" else " " for c in text).split())


def word_tables(records: Sequence[Record]) -> str:
    """Return what is still understood as one Markdown text."""
    judges = dict.fromkeys(r.judge for r in records if r.measure == "word_error")
    columns = (
        Column("NMR dB", ("sound",), "nmr_db", digits=1),
        Column("SNR dB", ("sound",), "snr_db", digits=1),
        *(Column(judge, (judge,), "word_error", is_net=True) for judge in judges),
    )
    parts = {half: (half,) for half in dict.fromkeys(r.half for r in records)}
    return "\n".join(["# Words", "", _LEGEND, "", *means(records, columns, parts)])


def _record(
    piece: Speech, level: str, judge: str, measure: str, value: float, control: float = float("nan")
) -> Record:
    return Record("words", piece.stem, piece.half, PROTECT, level, judge, measure, value, control)
