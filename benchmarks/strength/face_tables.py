"""The face way's measures beside the embedded one's, as Markdown: means, and clip by clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from records import Record
from tables import Column, by_clip, cell, head, row, select, shown

# Of the frames judged: a clip with fewer has a face in passing, and no mean is taken of it.
_OFTEN = 0.5
_FACE, _CVVDP, _FILE = ("mobilefacenet",), ("cvvdp",), ("file",)
_FRAMES = Column("frames %", ("scrfd faces",), "frames", factor=100, digits=0)
_CHANGES = (
    Column("unmatched", _FACE, "unmatched", is_net=True, factor=100, digits=0),
    Column("1 - cosine", _FACE, "distance", has_control=True),
    Column("face JOD", _CVVDP, "net_jod_face"),
    Column("worst face JOD", _CVVDP, "net_jod_face_worst"),
)
_COSTS = (
    Column("size", _FILE, "size"),
    Column("CPU s", _FILE, "cpu_seconds", digits=1, has_control=True),
)
_STILL_COLUMNS = (
    *_CHANGES,
    Column("whole JOD", _CVVDP, "net_jod"),
    Column("worst whole JOD", _CVVDP, "net_jod_worst"),
    *_COSTS,
)
_CLIP_COLUMNS = (*_CHANGES, Column("whole JOD", _CVVDP, "net_jod_video"), *_COSTS)
_MATCHED = Column("matched", _FACE, "matched", digits=0)

_LEGEND = """\
protect is the embedded way alone; faces is the same, but each face that YuNet finds gets in its
place a change of its own, made against SFace. The judge is MobileFaceNet, which neither way asks.
It sees the faces that SCRFD is sure of in the original and that are at least 32 pixels wide, cut
out of every file at the original's landmarks. unmatched: % of the faces that matched an original
face of any other judged frame (a cosine of at least .35) and no longer do, net of the same encode
with nothing added. 1 - cosine: of a face and its own original (c: the control's). face JOD:
ColorVideoVDP of a square about the face, 1.3 times the detector's box, as a still picture, at its
size in a frame that fills the screen's height. whole JOD: of whole stills, and in motion of a
stretch of the piece. All JOD are net of the control, 10 is no difference; worst: each clip's worst
face or still. size: beside the control. CPU s: of `protect`, all threads; of stills for all of a
clip together; reading SFace counts where it is read first. In motion the faces are of frames spread
evenly over the piece, most of them between anchors. Means of clips [95 % interval by resampling
clips, rough for so few]; n: clips that could tell. A clip counts in the means where more than half
of its judged frames have a face, and otherwise stands in the tables clip by clip alone. There
frames is that share, and matched how many faces had a match to lose."""


def face_tables(records: Sequence[Record]) -> str:
    """Return everything as one Markdown text."""
    lines = ["# The face way", "", _LEGEND]
    for title, kind, columns in (
        ("Stills", "still", _STILL_COLUMNS),
        ("In motion", "clip", _CLIP_COLUMNS),
    ):
        chosen = [record for record in records if record.kind == kind]
        lines += ["", f"## {title}", "", *_means(_often(chosen), kind, columns)]
        lines += ["", f"### {title}, clip by clip", "", *_rows(chosen, kind, columns)]
    return "\n".join(lines) + "\n"


def _often(records: Sequence[Record]) -> list[Record]:
    """Return what is of clips where most of the frames have a face."""
    shares = {record.clip: record.value for record in records if record.measure == "frames"}
    return [record for record in records if shares[record.clip] > _OFTEN]


def _means(records: Sequence[Record], kind: str, columns: Sequence[Column]) -> Iterator[str]:
    yield from head("way", "ε", *(column.title for column in columns))
    for method, epsilon in _ways(records):
        own = select(records, kind, method, epsilon)
        yield row(method, epsilon, *(cell(own, column) for column in columns))


def _rows(records: Sequence[Record], kind: str, columns: Sequence[Column]) -> Iterator[str]:
    """Yield one line for each clip and way."""
    columns = (_FRAMES, _MATCHED, *columns)
    yield from head("clip", "half", "way", "ε", *(column.title for column in columns))
    for clip, half in dict.fromkeys((r.clip, r.half) for r in records):
        of_clip = [record for record in records if record.clip == clip]
        for method, epsilon in _ways(of_clip):
            own = select(of_clip, kind, method, epsilon)
            cells = (_value(own, column) for column in columns)
            yield row(clip, half, method, epsilon, *cells)


def _ways(records: Sequence[Record]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((record.method, record.epsilon) for record in records))


def _value(records: Sequence[Record], column: Column) -> str:
    values = list(by_clip(records, column).values())
    return shown(values[0].value, column) if values else "–"
