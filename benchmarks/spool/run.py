"""
Measure the service as a whole: real processes, real folders, files dropped by renaming.

    python benchmarks/spool/run.py [latency] [burst] [ended] [idle] [--rounds 3] [--folder F]

Prints Markdown tables, one line a round; without a name, all of them, which takes an hour.
`load` is the machine's load average of that minute. The folder, by default a temporary one,
wants 3 GB; the 100,000 ended tasks that it gets are found again when it is given again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import burst
import ended
import idle
import latency

_MEASURES = {
    "latency": latency.measure,
    "burst": burst.measure,
    "ended": ended.measure,
    "idle": idle.measure,
}


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for name in arguments.measures or _MEASURES:
            print(f"\n{name}\n", flush=True)
            _MEASURES[name](folder, arguments.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The service as a whole.")
    parser.add_argument("measures", nargs="*", choices=[*_MEASURES, []], metavar="MEASURE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    return parser.parse_args(sys.argv[1:])


if __name__ == "__main__":
    main()
