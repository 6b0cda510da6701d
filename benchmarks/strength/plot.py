"""Effect against visibility, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from judges import EFFICIENTNETS, TUNED_BY
from packages import required
from records import Record, bootstrap
from tables import Column, by_clip, select

_JOD = Column("net JOD", ("cvvdp",), "net_jod")
_PANELS = (
    Column("EfficientNet-Lite", EFFICIENTNETS, "drop", is_net=True, factor=100, is_of_sure=True),
    Column("network of the tuning", TUNED_BY, "drop", is_net=True, factor=100, is_of_sure=True),
)


def draw_plot(records: Sequence[Record], path: Path) -> None:
    """Write an SVG of the stills of all clips; nothing while there are none."""
    stills = [record for record in records if record.kind == "still"]
    if not stills:
        return
    matplotlib = required("matplotlib", "matplotlib")
    matplotlib.use("svg")
    # Texts stay texts, and the same measures give the same bytes.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "strength"})
    pyplot = required("matplotlib.pyplot", "matplotlib")
    figure, axes = pyplot.subplots(1, len(_PANELS), figsize=(10, 4.5), sharey=True)
    for axis, column in zip(axes, _PANELS, strict=True):
        for method in dict.fromkeys(record.method for record in stills):
            _draw_method(axis, [r for r in stills if r.method == method], column)
        axis.set_title(column.title)
        axis.set_xlabel("net JOD of stills (10: unseen)")
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("probability of the original answer lost, %")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw_method(axis: Any, records: Sequence[Record], column: Column) -> None:
    points = []
    for epsilon in sorted({record.epsilon for record in records}):
        own = select(records, "still", records[0].method, epsilon)
        jod, effect = (list(by_clip(own, c).values()) for c in (_JOD, column))
        if jod and effect:
            points.append((bootstrap(jod).value, bootstrap(effect).value, epsilon))
    if not points:
        return
    across, up, names = zip(*points, strict=True)
    axis.plot(across, up, marker="o", label=records[0].method)
    for x, y, name in points:
        axis.annotate(name, (x, y), fontsize=7)
