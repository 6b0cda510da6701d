"""`media-cleaner verify`: measure a protected video against its original."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from daemon.config import current_config
from daemon.console import say, say_json
from daemon.errors import UsageError
from pipeline.limits import limit_address_space


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("original", type=Path, metavar="ORIGINAL")
    parser.add_argument("protected", type=Path, metavar="PROTECTED")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="OUT.png",
        help="write original, protected and amplified difference side by side",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure the pair and say how far one is from the other."""
    original, protected, png = arguments.original, arguments.protected, arguments.picture
    limits = current_config(arguments.config).settings.limits
    if png is not None:
        _check_picture(png, original, protected)

    from pipeline.jod import NoJod, load_metric
    from pipeline.verify import compare

    # Loaded before the limit, which counts what is mapped from then on.
    with contextlib.suppress(NoJod):  # the comparison says why
        load_metric()
    limit_address_space(limits.worker_memory_gb)
    comparison = compare(original, protected, limits)
    if png is not None:
        from pipeline.sidebyside import picture

        picture(original, protected, png, limits=limits)
    if arguments.json:
        say_json(comparison.as_dict())
    else:
        say([*comparison.lines(), *([str(png)] if png else [])])


def _check_picture(png: Path, *videos: Path) -> None:
    if png.suffix.lower() != ".png":
        raise UsageError(f"--picture {png} is no name of a PNG file; end it in .png.")
    for video in videos:
        if os.path.exists(png) and os.path.exists(video) and os.path.samefile(png, video):
            raise UsageError(f"--picture {png} is one of the videos; name another.")
