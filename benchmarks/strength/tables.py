"""
The measures as Markdown: against the bars, by method, and clip by clip.

Means are over clips, each weighing the same whatever its frames; intervals are 95 %, by
resampling clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from judges import EFFICIENTNETS, TUNED_BY
from pieces import REPORTED, TUNING, UNSEEN
from records import ClipValue, Mean, Record, bootstrap
from variants import PROTECT

_HALVES = {
    "reported half": (REPORTED,),
    "tuning half": (TUNING,),
    "all clips": (TUNING, REPORTED),
}


@dataclass(frozen=True)
class Column:
    """
    One measure as it stands in a table.

    Attributes:
        judges: asked for it; a clip's value is the mean of those that could tell.
        is_net: whether the control's is subtracted.
        factor: 100 for percent.
        has_control: whether the control's mean stands beside it.
        is_of_sure: whether it is of the frames that a network was sure of; then these weigh
            the same, and not the clips, of which some have one such frame and some all.
    """

    title: str
    judges: tuple[str, ...]
    measure: str
    is_net: bool = False
    factor: float = 1.0
    digits: int = 2
    has_control: bool = False
    is_of_sure: bool = False


def _share(title: str, judges: tuple[str, ...], measure: str) -> Column:
    return Column(title, judges, measure, is_net=True, factor=100, digits=0)


def _of_sure(title: str, judges: tuple[str, ...], measure: str) -> Column:
    return Column(title, judges, measure, is_net=True, factor=100, digits=0, is_of_sure=True)


_CVVDP, _FILE, _FACE = ("cvvdp",), ("file",), ("mobilefacenet",)
_CH_TUNED, _DR_TUNED = (
    _of_sure("ch MN2", TUNED_BY, "changed"),
    _of_sure("dr MN2", TUNED_BY, "drop"),
)
_CH_EFFICIENTNETS, _DR_EFFICIENTNETS = (
    _of_sure("ch EL", EFFICIENTNETS, "changed"),
    _of_sure("dr EL", EFFICIENTNETS, "drop"),
)
_SURE = (
    Column("sure MN2", TUNED_BY, "sure", digits=1),
    Column("sure EL", EFFICIENTNETS, "sure", digits=1),
)
_JOD = Column("net JOD", _CVVDP, "net_jod")
_JOD_WORST = Column("net JOD of the worst still", _CVVDP, "net_jod_worst")
_JOD_VIDEO = Column("net JOD", _CVVDP, "net_jod_video")
_FLICKER = Column("flicker", _CVVDP, "flicker")
_HELD = Column("net JOD held", _CVVDP, "net_jod_held")
_TRUE_FLICKER = Column("true flicker", _CVVDP, "true_flicker")
_FLAT = Column("flat RMS", _FILE, "flat_rms", has_control=True)
_SIZE = Column("size", _FILE, "size")
_UNMATCHED = _share("unmatched", _FACE, "unmatched")
_ANSWERS = (
    _CH_TUNED,
    _DR_TUNED,
    _CH_EFFICIENTNETS,
    _DR_EFFICIENTNETS,
    _share("any EL", EFFICIENTNETS, "changed_any"),
    _of_sure("ch CIFAR", ("cifar resnet20", "cifar resnet32"), "changed"),
    _share("objects lost", ("nanodet objects",), "lost"),
    _share("faces lost", ("scrfd faces", "mtcnn faces"), "lost"),
    Column("face distance", _FACE, "distance", is_net=True),
    _UNMATCHED,
)
_ASKED_AND_NOT = tuple(
    column
    for name, judge in (
        ("EL0 asked", EFFICIENTNETS[0]),
        ("MN2", TUNED_BY[0]),
        ("EL2", EFFICIENTNETS[2]),
    )
    for column in (
        _of_sure(f"ch {name}", (judge,), "changed"),
        _of_sure(f"dr {name}", (judge,), "drop"),
        _share(f"any {name}", (judge,), "changed_any"),
    )
)
_FILES = (
    _SIZE,
    Column("PSNR dB", _FILE, "psnr_db", digits=1),
    Column("SSIM", _FILE, "ssim", digits=3),
    _FLAT,
    Column("s", _FILE, "seconds", digits=1),
)
_MOVING = (_JOD_VIDEO, _FLICKER, _HELD, _TRUE_FLICKER, *_ANSWERS, *_FILES)
_SOUND = ("sound",)
_PHONES = Column("net phone error", _SOUND, "phone_error", is_net=True)
_PESQ = Column("PESQ", _SOUND, "pesq")
_NMR = Column("NMR dB", _SOUND, "nmr_db", digits=1)
_SNR = Column("SNR dB", _SOUND, "snr_db", digits=1)
_BEFORE_ONSETS = Column("worst onset dB", _SOUND, "before_onsets_worst_db", digits=1)
_SILENCE = Column("silence changed %", _SOUND, "silence_changed", factor=100, digits=3)
_SOUND_COLUMNS = (
    _NMR,
    _SNR,
    Column("NMR decoded", _SOUND, "nmr_decoded_db", digits=1),
    Column("SNR decoded", _SOUND, "snr_decoded_db", digits=1),
    _PHONES,
    _PESQ,
    Column("ViSQOL", _SOUND, "visqol"),
    Column("before onsets dB", _SOUND, "before_onsets_db", digits=1),
    _BEFORE_ONSETS,
    _SILENCE,
    Column("speech share", _SOUND, "speech_share"),
)


@dataclass(frozen=True)
class Bar:
    """What was to be reached: a mean, or each clip's value, at least or at most a bound."""

    kind: str
    epsilon: str
    column: Column
    bound: float
    sense: str = ">="
    is_worst: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value is on the right side."""
        return value >= self.bound if self.sense == ">=" else value <= self.bound

    def value(self, mean: Mean) -> float:
        """Return what of a mean is held against the bound."""
        if not self.is_worst:
            return mean.value
        return mean.least if self.sense == ">=" else mean.greatest


def _still_bars(epsilon: str, jod: float, worst: float, ch: float, dr: float) -> Iterator[Bar]:
    yield Bar("still", epsilon, _JOD, jod)
    yield Bar("still", epsilon, _JOD_WORST, worst, is_worst=True)
    for changed, drop in ((_CH_EFFICIENTNETS, _DR_EFFICIENTNETS), (_CH_TUNED, _DR_TUNED)):
        yield Bar("still", epsilon, changed, ch)
        yield Bar("still", epsilon, drop, dr)


def _quiet_bars() -> Iterator[Bar]:
    for level in ("weak", "medium", "strong"):
        yield Bar("sound", level, _BEFORE_ONSETS, 0.0, "<=", is_worst=True)
        yield Bar("sound", level, _SILENCE, 0.0, "<=", is_worst=True)


BARS = (
    *_still_bars("0.12", 9.4, 9.0, 43, 37),
    Bar("still", "0.12", _FLAT, 1.5, "<="),
    Bar("still", "0.12", _SIZE, 1.25, "<="),
    Bar("clip", "0.12", _JOD_VIDEO, 9.3),
    Bar("clip", "0.12", _JOD_VIDEO, 8.8, is_worst=True),
    Bar("clip", "0.12", _CH_EFFICIENTNETS, 50),
    Bar("clip", "0.12", _DR_EFFICIENTNETS, 33),
    Bar("clip", "0.12", _CH_TUNED, 50),
    Bar("clip", "0.12", _DR_TUNED, 33),
    Bar("clip", "0.12", _SIZE, 1.3, "<="),
    Bar("clip", "0.12", _FLICKER, -0.2),
    *_still_bars("0.08", 9.7, 9.4, 25, 20),
    *_still_bars("0.20", 8.5, 8.0, 75, 72),
    Bar("still", "0.20", _UNMATCHED, 10),
    Bar("sound", "weak", _NMR, -3.0, "<="),
    Bar("sound", "weak", _PHONES, 0.22),
    Bar("sound", "weak", _PESQ, 4.1),
    Bar("sound", "weak", _PESQ, 3.8, is_worst=True),
    Bar("sound", "medium", _NMR, 0.0, "<="),
    Bar("sound", "medium", _PHONES, 0.38),
    Bar("sound", "medium", _PESQ, 3.4),
    Bar("sound", "strong", _NMR, 5.0, "<="),
    Bar("sound", "strong", _SNR, 11.0),
    Bar("sound", "strong", _PHONES, 0.45),
    *_quiet_bars(),
)

_LEGEND = """\
ch: first answer changed where the network was sure (at least .3) of the original, % of those
frames. dr: share of the original answer's probability that is lost on them, %. any: first answer
changed, of all frames. MN2 is MobileNet v2, EL the mean of EfficientNet-Lite 0, 1 and 2. No network
has a part in making the change of a video, but these told which constants it has; the others did
not. CIFAR: two ResNets that see 32 pixels and know ten things. objects (NanoDet) and faces
(SCRFD, MTCNN) lost: % of the sure detections. face distance: 1 - cosine of MobileFaceNet;
unmatched: % of the faces that matched the
original face of another frame and no longer do. All these, net JOD, flicker and phone error are
net of the same encode with nothing added; size is beside it. JOD: ColorVideoVDP, 10 is no
difference. flicker: net JOD in motion less that of the same frames as stills.
held: each of two frames as a video that stands still; true flicker: net JOD in motion less that,
without the metric's own step from picture to video. before onsets, worst onset: level of the
change against the original's in the 20 ms before, ahead of the codec; -60 is that or less. silence
changed: share of digitally silent samples, of a pause put into each stretch, that are not so any
more. flat RMS: of the luma of 8 x 8 blocks with a variance under 4, levels, after the codec, the
codec's own change included (c: that of the control). s: seconds of `protect`, for all stills
together. Means of clips
[95 % interval by resampling clips]; n: clips that could tell. In ch and dr every sure frame weighs
the same, elsewhere every clip. unsure: the bar lies inside the interval."""

_NETWORK_LEGEND = """\
Epsilon 0.12, words as in TABLES.md. The network way and the reference design (one step of FGSM over
four copies) ask EfficientNet-Lite 0 (EL0) and nothing else; MobileNet v2 (MN2) and
EfficientNet-Lite 2 (EL2, of the asked network's family) are not asked, and see the result alone."""


_PICTURE_LEGEND = """\
Words as in TABLES.md; the embedded way, of pictures that no constant was chosen by, each 640 x 360
and a video of one frame. n: of how many; ch and dr are of those that a network was sure of."""

_FILM_LEGEND = """\
Words as in TABLES.md; the embedded way, of stretches of 2.4 s or less, in motion, of films that no
constant was chosen by, at most 1280 x 720. n: of how many; ch and dr are of the frames that a
network was sure of, which weigh the same."""


def tables(records: Sequence[Record]) -> str:
    """Return everything as one Markdown text."""
    lines = ["# Measures", "", _LEGEND, *_missing(records)]
    for title, kinds, write in (
        ("Against the bars", {"still", "clip", "sound"}, _bars),
        ("Stills", {"still"}, _still_means),
        ("In motion", {"clip"}, _clip_means),
        ("Sound", {"sound"}, _sound_means),
        ("Clip by clip: stills at 0.12", {"still"}, _still_rows),
        ("Clip by clip: in motion at 0.12", {"clip"}, _clip_rows),
        ("Stretch by stretch: sound", {"sound"}, _sound_rows),
    ):
        chosen = [record for record in records if record.kind in kinds]
        if chosen:
            lines += ["", f"## {title}", "", *write(chosen)]
    return "\n".join(lines) + "\n"


def network_tables(records: Sequence[Record]) -> str:
    """Return the network way's measures beside the others' as one Markdown text."""
    lines = ["# The network way", "", _NETWORK_LEGEND, ""]
    for title, kind, visibility in (
        ("Stills", "still", (_JOD, _JOD_WORST)),
        ("In motion", "clip", (_JOD_VIDEO, _FLICKER)),
    ):
        chosen = [record for record in records if record.kind == kind]
        columns = (*visibility, *_ASKED_AND_NOT, *_FILES)
        lines += [f"## {title}", "", *means(chosen, columns)]
    return "\n".join(lines) + "\n"


def picture_tables(records: Sequence[Record]) -> str:
    """Return the measures of single pictures as one Markdown text."""
    head_lines = ["# Photographs", "", _PICTURE_LEGEND]
    return _unseen(records, head_lines, "Picture by picture", (_JOD, *_ANSWERS, *_FILES))


def film_tables(records: Sequence[Record]) -> str:
    """Return the measures of films as one Markdown text."""
    return _unseen(records, ["# Films", "", _FILM_LEGEND], "Film by film", _MOVING)


def _unseen(
    records: Sequence[Record], start: Sequence[str], title: str, columns: Sequence[Column]
) -> str:
    lines = [*start, "", *_missing(records), *means(records, columns, {"means": (UNSEEN,)})]
    chosen = [r for r in records if (r.method, r.epsilon) == (PROTECT, "0.12")]
    rows = _rows(chosen, columns, lambda r: r.clip)
    return "\n".join([*lines, f"### {title}, 0.12", "", *rows]) + "\n"


def _missing(records: Sequence[Record]) -> Iterator[str]:
    asked = {record.judge for record in records if record.kind != "sound"}
    missing = [name for name in EFFICIENTNETS if name not in asked]
    if asked and missing:
        yield f"Not installed and so not asked: {', '.join(missing)}."


def by_clip(
    records: Sequence[Record], column: Column, *, control: bool = False
) -> dict[str, ClipValue]:
    """Return each clip's value of a column: the mean of its judges', with the factor."""
    sure = _sure_frames(records) if column.is_of_sure else {}
    found: dict[str, list[ClipValue]] = {}
    for record in records:
        if record.measure != column.measure or record.judge not in column.judges:
            continue
        value = record.control if control else record.net if column.is_net else record.value
        if not math.isnan(value):
            weight = sure.get((record.clip, record.judge), 1.0)
            found.setdefault(record.clip, []).append(ClipValue(column.factor * value, weight))
    return {clip: _joined(values) for clip, values in found.items()}


def _sure_frames(records: Sequence[Record]) -> dict[tuple[str, str], float]:
    return {(r.clip, r.judge): r.value for r in records if r.measure == "sure"}


def _joined(values: Sequence[ClipValue]) -> ClipValue:
    weight = sum(value.weight for value in values)
    return ClipValue(sum(v.value * v.weight for v in values) / weight, weight)


def select(records: Sequence[Record], kind: str, method: str, epsilon: str) -> list[Record]:
    """Return the records of one method."""
    return [r for r in records if (r.kind, r.method, r.epsilon) == (kind, method, epsilon)]


def _bars(records: Sequence[Record]) -> Iterator[str]:
    yield from head("what", "measure", "bar", *(f"{half}" for half in _HALVES))
    for bar in BARS:
        chosen = select(records, bar.kind, PROTECT, bar.epsilon)
        if not chosen:
            continue
        name = f"{bar.column.title}, worst clip" if bar.is_worst else bar.column.title
        cells = [_verdict(bar, _half(chosen, halves)) for halves in _HALVES.values()]
        sign = "≥" if bar.sense == ">=" else "≤"
        yield row(f"{bar.kind} {bar.epsilon}", name, f"{sign} {bar.bound:g}", *cells)


def _verdict(bar: Bar, records: Sequence[Record]) -> str:
    values = list(by_clip(records, bar.column).values())
    if not values:
        return "–"
    mean = bootstrap(values)
    word = "reached" if bar.holds(bar.value(mean)) else "**not reached**"
    if bar.is_worst:
        return f"{bar.value(mean):.{bar.column.digits}f}: {word}"
    if bar.holds(mean.low) != bar.holds(mean.high):
        word += ", unsure"
    return f"{_mean(mean, bar.column)}: {word}"


def _still_means(records: Sequence[Record]) -> Iterator[str]:
    return means(records, (_JOD, _JOD_WORST, *_ANSWERS, *_FILES))


def _clip_means(records: Sequence[Record]) -> Iterator[str]:
    return means(records, _MOVING)


def _sound_means(records: Sequence[Record]) -> Iterator[str]:
    return means(records, _SOUND_COLUMNS)


def means(
    records: Sequence[Record],
    columns: Sequence[Column],
    parts: Mapping[str, Sequence[str]] = _HALVES,
) -> Iterator[str]:
    """Yield a table of means for each half: a line for each method and strength."""
    for title, halves in parts.items():
        chosen = _half(records, halves)
        if not chosen:
            continue
        yield f"### {title[0].upper()}{title[1:]}"
        yield ""
        yield from head("method", "ε", *(column.title for column in columns))
        for method, epsilon in dict.fromkeys((r.method, r.epsilon) for r in chosen):
            own = select(chosen, chosen[0].kind, method, epsilon)
            yield row(method, epsilon, *(cell(own, column) for column in columns))
        yield ""


def cell(records: Sequence[Record], column: Column) -> str:
    """Return the mean of one method's clips, with its interval."""
    values = list(by_clip(records, column).values())
    if not values:
        return "–"
    text = _mean(bootstrap(values), column)
    if column.has_control:
        plain = bootstrap(list(by_clip(records, column, control=True).values()))
        text += f" (c {shown(plain.value, column)})"
    return text


def shown(value: float, column: Column) -> str:
    """Return a value as its column writes it."""
    return f"{value:.{column.digits}f}"


def _mean(mean: Mean, column: Column) -> str:
    value, low, high = (shown(x, column) for x in (mean.value, mean.low, mean.high))
    return f"{value} [{low}, {high}] n{mean.count}"


def _still_rows(records: Sequence[Record]) -> Iterator[str]:
    chosen = select(records, "still", PROTECT, "0.12")
    return _rows(chosen, (_JOD, _JOD_WORST, *_SURE, *_ANSWERS, *_FILES), lambda r: r.clip)


def _clip_rows(records: Sequence[Record]) -> Iterator[str]:
    chosen = select(records, "clip", PROTECT, "0.12")
    return _rows(
        chosen,
        (_JOD_VIDEO, _FLICKER, _HELD, _TRUE_FLICKER, *_SURE, *_ANSWERS, *_FILES),
        lambda r: r.clip,
    )


def _sound_rows(records: Sequence[Record]) -> Iterator[str]:
    return _rows(records, _SOUND_COLUMNS, lambda r: f"{r.clip}, {r.epsilon}")


def _rows(
    records: Sequence[Record], columns: Sequence[Column], name: Callable[[Record], str]
) -> Iterator[str]:
    yield from head("clip", "half", *(column.title for column in columns))
    for title, half in dict.fromkeys((name(r), r.half) for r in records):
        own = [r for r in records if name(r) == title]
        cells = (list(by_clip(own, column).values()) for column in columns)
        texts = (
            shown(value[0].value, column) if value else "–"
            for value, column in zip(cells, columns, strict=True)
        )
        yield row(title, half, *texts)


def _half(records: Sequence[Record], halves: Sequence[str]) -> list[Record]:
    return [record for record in records if record.half in halves]


def head(*names: str) -> Iterator[str]:
    """Yield the first two lines of a table."""
    yield row(*names)
    yield "|" + "---|" * len(names)


def row(*cells: str) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"
