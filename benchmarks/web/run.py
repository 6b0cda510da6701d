"""
Measure the web side: real processes, real sockets.

    PYTHONPATH=.:benchmarks/spool python benchmarks/web/run.py MEASURE [--rounds 2] [--folder F]

MEASURE is `ask` (tasks asked for beside a busy worker, 100,000 of them in `state/`) or `upload`
(1 GB, beside FastAPI with uvicorn doing the same; --other names a Python that has `fastapi`,
`uvicorn` and `python-multipart`). Prints a Markdown table, one line a round. `load` is the
machine's load average of that minute. The folder, by default a temporary one, wants 5 GB; the
tasks that it gets are found again when it is given again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import ask
import upload


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.measure == "ask":
            ask.measure(folder, arguments.rounds)
        else:
            upload.measure(folder, arguments.rounds, arguments.other)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The web side.")
    parser.add_argument("measure", choices=["ask", "upload"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--other", type=Path, default=Path(sys.executable))
    return parser.parse_args(sys.argv[1:])


if __name__ == "__main__":
    main()
