"""`media-cleaner resume`: go on after `pause` or `drain`."""

from __future__ import annotations

import argparse

from daemon.intake import say_intake
from daemon.operator_queue import opened_queue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take nothing but what every command takes."""


def run(arguments: argparse.Namespace) -> None:
    """Have new work begun again."""
    with opened_queue(arguments) as queue:
        queue.spool.control.resume()
        say_intake(queue, arguments.json)
