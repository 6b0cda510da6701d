"""Speech: what a recogniser of phones still hears, and how it sounds to people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from onsets import before_onsets, silence_changed, with_pause
from packages import required
from pieces import Speech, cut_speech
from records import Record
from variants import make_sound, masked

from pipeline.parameters import AudioLevel
from pipeline.report import Report
from pipeline.verify import compare

RATE = 16_000  # Hz, which PocketSphinx and wide-band PESQ take
LEVELS = {
    "weak": AudioLevel.WEAK,
    "medium": AudioLevel.MEDIUM,
    "strong": AudioLevel.STRONG,
}
_METHOD = "protect"
# With a beam of 1e-10 two of the originals lose most of their phones, and AAC alone then turns
# .41 of all; with this one .18. Wider ones change nothing.
_BEAM = 1e-20
_LANGUAGE_WEIGHT = 2.0
_NO_PHONES = ("SIL", "+SPN+", "+NSN+")


class SoundBench:
    """Measures one stretch of speech after the other."""

    def __init__(self, media: Path, scratch: Path, recognisers: Any) -> None:
        """
        Raises:
            SystemExit: a package is missing; says how to get it.
        """
        self._media, self._scratch, self._recognisers = media, scratch, recognisers
        self._pesq = required("pesq", "pesq")
        self._sphinx = required("pocketsphinx", "pocketsphinx")
        self._visqol = required("visqol", "visqol-python").VisqolApi()
        self._visqol.create(mode="speech")

    def speech(self, piece: Speech) -> Iterator[Record]:
        """Yield the measures of every level beside those of the codec alone."""
        source = self._scratch / f"{piece.stem}.mov"
        cut_speech(self._media / piece.name, piece.start, piece.seconds, source)
        original = samples_of(source)
        phones = self._phones(original)
        plain = self._values(source, AudioLevel.NONE, original, phones)
        for name, level in LEVELS.items():
            for measure, value in self._values(source, level, original, phones).items():
                yield Record(
                    "sound", piece.stem, piece.half, _METHOD, name,
                    "sound", measure, value, plain.get(measure, float("nan")),
                )  # fmt: skip

    def _values(
        self, source: Path, level: AudioLevel, original: NDArray[np.float32], phones: str
    ) -> dict[str, float]:
        target = self._scratch / f"{source.stem}.{level.name.lower()}.mp4"
        report = make_sound(source, target, level)
        track = compare(source, target).audio[0]
        changed = _aligned(original, samples_of(target))
        found = {
            "nmr_db": report.audio_nmr_db,
            "snr_db": report.audio_snr_db,
            "speech_share": _speech_share(report),
            "nmr_decoded_db": track.nmr_db,
            "snr_decoded_db": track.snr_db,
            "phone_error": self._recognisers.wer(phones, self._phones(changed)),
            "pesq": float(self._pesq.pesq(RATE, original, changed, "wb")),
            "visqol": float(self._visqol.measure_from_arrays(original, changed, RATE).moslqo),
        }
        if level is not AudioLevel.NONE:
            found |= _before_codec(source, level)
        return {name: value for name, value in found.items() if value is not None}

    def _phones(self, samples: NDArray[np.float32]) -> str:
        """Return the phones that PocketSphinx hears, separated by spaces."""
        models = Path(self._sphinx.get_model_path()) / "en-us"
        decoder = self._sphinx.Decoder(
            hmm=str(models / "en-us"),
            allphone=str(models / "en-us-phone.lm.bin"),
            lm=None,
            lw=_LANGUAGE_WEIGHT,
            beam=_BEAM,
            pbeam=_BEAM,
            samprate=RATE,
            loglevel="FATAL",
        )
        decoder.start_utt()
        whole = np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2")
        decoder.process_raw(whole.tobytes(), full_utt=True)
        decoder.end_utt()
        return " ".join(s.word for s in decoder.seg() if s.word not in _NO_PHONES)


def _before_codec(source: Path, level: AudioLevel) -> dict[str, float | None]:
    """Return what is heard before and between sounds, measured without the codec's own."""
    original, rate = _track(source)
    # Few stretches have digital silence of their own.
    paused = with_pause(original, rate)
    found = {"silence_changed": silence_changed(paused, masked(paused, rate, level), rate)}
    onsets = before_onsets(original, masked(original, rate, level), rate)
    if onsets is not None:
        found |= {
            "onsets": onsets.count,
            "before_onsets_db": onsets.mean_db,
            "before_onsets_worst_db": onsets.worst_db,
        }
    return found


def _speech_share(report: Report) -> float | None:
    return max((t.speech_share for t in report.audio if t.speech_share is not None), default=None)


def _track(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return (channels, n) sound as it is in the file, full scale 1, and its rate in Hz."""
    blocks = []
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        convert = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        for frame in container.decode(stream):
            blocks += [piece.to_ndarray() for piece in convert.resample(frame)]
        rate = int(stream.rate)
    return np.concatenate(blocks, axis=1).astype(np.float32), rate


def samples_of(path: Path) -> NDArray[np.float32]:
    """Return mono sound at 16 kHz, full scale 1."""
    convert = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    blocks = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            frame.pts = None
            blocks += [piece.to_ndarray().ravel() for piece in convert.resample(frame)]
        blocks += [piece.to_ndarray().ravel() for piece in convert.resample(None)]
    whole: NDArray[np.float32] = np.concatenate(blocks).astype(np.float32)
    return whole * np.float32(1 / 32768)


def _aligned(original: NDArray[np.float32], changed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `changed` at the original's length; the codec's tail is up to 811 samples longer."""
    missing = max(0, len(original) - len(changed))
    return np.asarray(np.pad(changed, (0, missing))[: len(original)], np.float32)
