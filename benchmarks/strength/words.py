"""Speech: what recognisers of today still understand of it, in several languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from packages import required
from pieces import Speech, cut_speech
from records import Record
from sound import LEVELS, RATE, samples_of
from tables import Column, means
from variants import NETWORK, PROTECT, make_sound

from pipeline.parameters import AudioLevel

_LEGEND = """\
Word errors of recognisers: words left out, put in and taken for others, as a share of those that
the same model hears in the original, at most 1; net of the same encode with nothing changed.
Whisper's models are folders, and called by their names; those that know English alone hear nothing
else. `protect` is the embedded way, whose small network was trained against the encoders of
Whisper's tiny.en and base; `network` asks the recognisers that RESULTS.md names. Moonshine was
neither trained against nor asked. Stretches of clips are those of TABLES.md; a language's are
prompts of telephone menus, one speaker each, of whom the English, French and Russian one were also
trained on, on these prompts too. Means [95 % interval by resampling stretches]; n: stretches that
could tell, which leaves out those in which a model hears no word."""


# Of 8 s of speech. Where it understands nothing it may say one word for ever.
_MOST_TOKENS = 100


class _Whisper:
    """Whisper, of a folder of weights for CTranslate2."""

    def __init__(self, folder: Path) -> None:
        package = required("faster_whisper", "faster-whisper")
        self._model = package.WhisperModel(str(folder), device="cpu", compute_type="float32")

    def knows(self, language: str) -> bool:
        return language == "en" or bool(self._model.model.is_multilingual)

    def hear(self, path: Path, language: str) -> str:
        segments, _ = self._model.transcribe(
            str(path),
            language=language,
            beam_size=5,
            temperature=0.0,  # otherwise it throws dice where it is not sure
            max_new_tokens=_MOST_TOKENS,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text for segment in segments)


class _Moonshine:
    """Moonshine's tiny network for English, of the folder that its package brings."""

    def __init__(self, folder: Path) -> None:
        package = required("moonshine_voice", "moonshine-voice==0.0.68")
        self._model = package.Transcriber(str(folder), package.ModelArch.TINY)

    def knows(self, language: str) -> bool:
        return language == "en"

    def hear(self, path: Path, language: str) -> str:
        heard = self._model.transcribe_without_streaming(samples_of(path).tolist(), RATE)
        return " ".join(line.text for line in heard.lines)


class WordBench:
    """Measures one stretch of speech after the other."""

    def __init__(
        self,
        scratch: Path,
        whisper: Sequence[Path],
        moonshine: Path | None = None,
        asked: Sequence[Path] = (),
    ) -> None:
        """
        Args:
            whisper: folders of Whisper's weights for CTranslate2.
            moonshine: folder of Moonshine's tiny network.
            asked: recognisers (TorchScript) for the network way, which is left out without any.

        Raises:
            SystemExit: a package is missing; says how to get it.
        """
        self._jiwer = required("jiwer", "jiwer")
        self._scratch = scratch
        self._asked = tuple(asked)
        self._judges: dict[str, _Whisper | _Moonshine] = {f.name: _Whisper(f) for f in whisper}
        if moonshine is not None:
            self._judges["moonshine-tiny"] = _Moonshine(moonshine)

    def stretch(self, source: Path, piece: Speech, language: str) -> Iterator[Record]:
        """Yield the measures of every level; `source` is the file that has the piece."""
        original = cut_speech(
            source, piece.start, piece.seconds, self._scratch / f"{piece.stem}.mov"
        )
        plain = original.with_suffix(".none.mp4")
        make_sound(original, plain, AudioLevel.NONE)
        changed: dict[tuple[str, str], Path] = {}
        for method, asked in {
            PROTECT: (),
            **({NETWORK: self._asked} if self._asked else {}),
        }.items():
            for name, level in LEVELS.items():
                path = changed[method, name] = original.with_suffix(f".{method}.{name}.mp4")
                report = make_sound(original, path, level, asked)
                ratios = {"nmr_db": report.audio_nmr_db, "snr_db": report.audio_snr_db}
                for measure, value in ratios.items():
                    if value is not None:
                        yield _record(piece, method, name, "sound", measure, value)
        for name, judge in self._judges.items():
            if not judge.knows(language):
                continue
            heard = _plain(judge.hear(original, language))
            if not heard:
                continue
            errors = {
                path: min(1.0, float(self._jiwer.wer(heard, _plain(judge.hear(path, language)))))
                for path in (plain, *changed.values())
            }
            for (method, level), path in changed.items():
                yield _record(piece, method, level, name, "word_error", errors[path], errors[plain])


def _plain(text: str) -> str:
    """Return it in small letters and without marks."""
    return " ".join("".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split())


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
    piece: Speech,
    method: str,
    level: str,
    judge: str,
    measure: str,
    value: float,
    control: float = float("nan"),
) -> Record:
    return Record("words", piece.stem, piece.half, method, level, judge, measure, value, control)
