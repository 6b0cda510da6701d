"""Numbers on a command line as people write them, and not all that Python reads as one."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

from pipeline.parameters import NUMBER

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def whole_number(text: str) -> int:
    """
    Return what the text says.

    Raises:
        ArgumentTypeError: it is none, such as `1_0`, which is 10 to Python.
    """
    if not _WHOLE.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def number(text: str) -> float:
    """
    Return what the text says.

    Raises:
        ArgumentTypeError: it is none, such as `nan`.
    """
    if not NUMBER.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is no number")
    return float(text)
