"""The options of every command: which configuration, and whether to answer in JSON."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_shared_options(
    parser: argparse.ArgumentParser,
    *,
    config: object = argparse.SUPPRESS,
    json: object = argparse.SUPPRESS,
) -> None:
    """
    Add the options to a command.

    They may stand before it as well: its own defaults are suppressed, or they would overwrite what
    stands there.
    """
    parser.add_argument(
        "--config",
        type=_config_path,
        metavar="PATH",
        default=config,
        help="the configuration (default: $MEDIA_CLEANER_CONFIG, else ./config.yaml)",
    )
    parser.add_argument("--json", action="store_true", default=json, help="answer in JSON")


def _config_path(text: str) -> Path:
    # As `--config "$UNSET"` gives it. An empty path would be the current folder.
    if not text:
        raise argparse.ArgumentTypeError("it is empty; give the path of a configuration")
    return Path(text)
