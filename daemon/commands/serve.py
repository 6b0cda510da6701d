"""`media-cleaner serve`: the service, in the foreground."""

from __future__ import annotations

import argparse

from daemon.config import current_config
from daemon.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that protect videos (default: `workers` in the configuration)",
    )
    parser.add_argument("--debug", action="store_true", help="log more")


def run(arguments: argparse.Namespace) -> None:
    """
    Work until a signal asks for the end.

    Raises:
        ServiceRunning: another service works on the same state.
    """
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers is {arguments.workers}; allowed is a whole number from 1.")

    from daemon.service import Overrides, Service

    Service(
        lambda: current_config(arguments.config),
        Overrides(workers=arguments.workers, is_debug=arguments.debug),
    ).run()
