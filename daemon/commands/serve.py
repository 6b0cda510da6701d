"""`media-cleaner serve`: the service, in the foreground."""

from __future__ import annotations

import argparse

from daemon.config import MOST_WORKERS, current_config, find_config
from daemon.errors import UsageError
from daemon.machine import too_many_workers
from daemon.numbers import whole_number
from daemon.privileges import pass_none_on
from daemon.signals import ServiceSignals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument(
        "--host",
        metavar="H",
        help="the address to listen on (default: `host` in the configuration)",
    )
    parser.add_argument(
        "--port",
        type=whole_number,
        metavar="P",
        help="its port, 0 for a free one (default: `port`)",
    )
    parser.add_argument(
        "--workers",
        type=whole_number,
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
    if arguments.workers is not None:
        _check_workers(arguments.workers)
    if arguments.host == "":  # as `--host "$UNSET"` gives it
        raise UsageError("--host is empty; give an address or name of this machine.")
    if arguments.port is not None and not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port is {arguments.port}; allowed is a number from 0 to 65535.")

    pass_none_on()  # while there is one thread, and no child that opens a stranger's file
    # Heeded from here on: an end that is asked for during the start comes right after it.
    with ServiceSignals() as signals:
        _serve(arguments, signals)


def _check_workers(workers: int) -> None:
    if not 1 <= workers <= MOST_WORKERS:
        raise UsageError(
            f"--workers is {workers}; allowed is a whole number from 1 to {MOST_WORKERS}."
        )
    if (reason := too_many_workers(workers)) is not None:
        raise UsageError(f"--workers is {reason}")


def _serve(arguments: argparse.Namespace, signals: ServiceSignals) -> None:
    from daemon.service import Overrides, Service

    # The same file at each reload: one that an editor has just taken away is an error then,
    # and not a reason to go on with the defaults. Where there is none each looks anew, as the
    # processes that answer requests do.
    path = find_config(arguments.config)
    Service(
        lambda: current_config(path),
        Overrides(
            workers=arguments.workers,
            host=arguments.host,
            port=arguments.port,
            is_debug=arguments.debug,
        ),
        path,
    ).run(signals)
