"""
A warm process that does one measured job after the other: `python worker.py DEVICE`, jobs on its
standard input as JSON lines, costs on its standard output; DEVICE as in `config.yaml`.

The work is the product's own `protect`, in a process that is set up as the service's workers
are; only the reference design, which the product is not, is written out beside it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cost import Cost, Meter, peak_mb, reset_peak

_STARTED = Meter()

from pipeline.limits import limit_threads  # noqa: E402  # after the meter: imports are measured

limit_threads()

from pipeline.parameters import Mode, Parameters  # noqa: E402
from pipeline.progress import Progress  # noqa: E402
from pipeline.protect import protect  # noqa: E402
from pipeline.settings import EMBEDDED, Settings  # noqa: E402


def main() -> None:
    """Answer each line with one."""
    answer = print_line
    answer({"import_cpu": _STARTED.cpu, "import_wall": _STARTED.wall, "import_mb": peak_mb()})
    for line in sys.stdin:
        job = json.loads(line)
        answer(_KINDS[job.pop("kind")](**job))


def print_line(answer: dict[str, Any]) -> None:
    """Say it to the process that asked."""
    print(json.dumps(answer), flush=True)


def _protect(
    source: str, target: str, threads: int, network: str | None = None, mode: str = "protect"
) -> dict[str, Any]:
    settings = Settings(threads=threads, **_given(network))
    marks: list[float] = []
    reset_peak()
    meter = Meter()

    def note(progress: Progress) -> None:
        if progress.phase == "read back" and not marks:
            marks.append(meter.cpu)

    parameters = Parameters(mode=Mode(mode))
    report = protect(Path(source), Path(target), parameters, settings, progress=note).report
    cost = Cost(
        cpu=meter.cpu,
        wall=meter.wall,
        peak_mb=peak_mb(),
        written_mb=meter.written_mb,
        size=Path(target).stat().st_size,
        frames=report.frames or 0,
        without_read_back=marks[0] if marks else 0.0,
    )
    return dataclasses.asdict(cost)


def _strip(source: str, target: str, repeats: int) -> dict[str, Any]:
    """Strip several times: once takes hundredths of a second, which is no more than a tick."""
    reset_peak()
    meter = Meter()
    for _ in range(repeats):
        _protect(source, target, 1, mode="strip")
    size = Path(target).stat().st_size
    cost = Cost(meter.cpu, meter.wall, peak_mb(), meter.written_mb, size)
    return dataclasses.asdict(cost)


def _up_to(source: str, target: str, threads: int, step: str) -> dict[str, Any]:
    import surplus

    with surplus.up_to(step):
        return _protect(source, target, threads)


def _profile(source: str, target: str, network: str | None = None) -> dict[str, Any]:
    import stages  # wraps parts of the product, so only where nothing else is measured

    return stages.profiled(Path(source), Path(target), Settings(threads=1, **_given(network)))


def _reference(source: str, target: str, folder: str, network: str) -> dict[str, Any]:
    import reference

    reset_peak()
    meter = Meter()
    frames = reference.protect(Path(source), Path(target), Path(folder), Path(network))
    size = Path(target).stat().st_size
    cost = Cost(meter.cpu, meter.wall, peak_mb(), meter.written_mb, size, frames)
    return dataclasses.asdict(cost)


def _network(name: str, target: str) -> dict[str, Any]:
    """Save a network of random weights: it takes the time of a trained one."""
    import torch

    from pipeline.torchvision_import import import_torchvision

    torch.manual_seed(0)
    network = import_torchvision().models.get_model(name, weights=None)
    torch.save(network.state_dict(), target)
    return {"parameters": sum(p.numel() for p in network.parameters())}


def _given(network: str | None) -> dict[str, Any]:
    device = sys.argv[1]
    if network is None:
        return {"surrogates": (EMBEDDED,), "device": device}
    path = Path(network)
    return {"surrogates": (path.stem,), "weights": {path.stem: path}, "device": device}


_KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "protect": _protect,
    "strip": _strip,
    "up to": _up_to,
    "profile": _profile,
    "reference": _reference,
    "network": _network,
}

if __name__ == "__main__":
    main()
