"""What was measured, one number each, and the means that are made of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

_RESAMPLES = 10_000
_SEED = 0


@dataclass(frozen=True)
class Record:
    """
    One measure of one clip.

    Attributes:
        kind: `still`, `clip` or `sound`.
        clip, half: which one, and to which half of the frozen split it belongs.
        method, epsilon: how it was changed; the level stands for epsilon with sound.
        judge, measure: who measured what.
        value: of the changed file.
        control: of the same encode with nothing added; NaN where there is no such thing.
    """

    kind: str
    clip: str
    half: str
    method: str
    epsilon: str
    judge: str
    measure: str
    value: float
    control: float = math.nan

    @property
    def net(self) -> float:
        """The value beyond the control's."""
        return self.value - self.control


@dataclass(frozen=True)
class ClipValue:
    """One clip's measure, and what it weighs in a mean."""

    value: float
    weight: float = 1.0


@dataclass(frozen=True)
class Mean:
    """A mean over clips with its 95 % interval, the extremes, and how many clips it is of."""

    value: float
    low: float
    high: float
    least: float
    greatest: float
    count: int


def bootstrap(clips: Sequence[ClipValue]) -> Mean:
    """
    Return the weighted mean with the percentile interval of resampling whole clips.

    Raises:
        ValueError: there are no values.
    """
    if not clips:
        raise ValueError("no values")
    values = np.array([clip.value for clip in clips])
    weights = np.array([clip.weight for clip in clips])
    picks = np.random.default_rng(_SEED).integers(0, len(clips), (_RESAMPLES, len(clips)))
    means = (values * weights)[picks].sum(axis=1) / weights[picks].sum(axis=1)
    low, high = (float(bound) for bound in np.percentile(means, (2.5, 97.5)))
    middle = float(np.average(values, weights=weights))
    return Mean(middle, low, high, float(values.min()), float(values.max()), len(clips))


def write_csv(records: Iterable[Record], path: Path) -> None:
    """Write all records, with the names of their fields in the first line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Record)], lineterminator="\n")
        writer.writeheader()
        for record in records:
            row = asdict(record)
            row["value"] = f"{record.value:.5g}"
            row["control"] = "" if math.isnan(record.control) else f"{record.control:.5g}"
            writer.writerow(row)


def read_csv(path: Path) -> list[Record]:
    """Return the records of such a file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [_record(row) for row in csv.DictReader(file)]


def _record(row: dict[str, str]) -> Record:
    words = {name: row[name] for name in row if name not in ("value", "control")}
    return Record(**words, value=float(row["value"]), control=float(row["control"] or "nan"))
