"""Files of one method, decoded, with what was said of making them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import variants
from frames import Frames, joined, read_frames
from variants import Method

from pipeline.report import Report
from pipeline.settings import Settings


@dataclass(frozen=True)
class Made:
    """Every file's frames, one after the other, and its report."""

    frames: Frames
    reports: tuple[Report, ...]

    @property
    def seconds(self) -> float:
        """Of all files together."""
        return sum(report.seconds for report in self.reports)

    @property
    def cpu_seconds(self) -> float:
        """Of all threads and files together."""
        return sum(report.cpu_seconds for report in self.reports)

    def mean(self, name: str) -> float:
        """Return the mean of a measure of the reports, which sampled the finished files."""
        return float(np.mean([getattr(report, name) for report in self.reports]))


def make(sources: Sequence[Path], method: Method, scratch: Path, networks: Settings | None) -> Made:
    """
    Return `sources`, of one size, as changed by `method`.

    Args:
        scratch: folder in which the files lie meanwhile.
        networks: as for `variants.make_picture`.

    Raises:
        PipelineError: why there is no result.
    """
    reports, decoded = [], []
    for source in sources:
        target = scratch / f"{source.stem}.{method.slug}.mp4"
        reports.append(variants.make_picture(source, target, method, networks))
        decoded.append(read_frames(target))
        target.unlink()
    return Made(joined(decoded), tuple(reports))
