"""`media-cleaner doctor`: whether this machine has what the service needs, and what to do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from daemon.config import current_config
from daemon.console import say, say_json, shows_both
from daemon.doctor import Finding, Level, examine
from daemon.errors import ConfigError, Unwell

_MARKS = {Level.OK: "ok     ", Level.WARNING: "WARNING", Level.PROBLEM: "PROBLEM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take nothing but what every command takes."""


def run(arguments: argparse.Namespace) -> None:
    """
    Say what is found, as it is found.

    Raises:
        ConfigError: the configuration is wrong, or what it names.
        Unwell: something else will not work.
    """
    config = current_config(arguments.config)
    found: list[Finding] = []
    for finding in examine(config):
        found.append(finding)
        if not arguments.json:
            say(_lines(finding))
    if arguments.json:
        say_json(_as_dict(found))
    _judge(found)


def _lines(finding: Finding) -> list[str]:
    lines = [f"{_MARKS[finding.level]}  {finding.subject}: {finding.text}"]
    return lines if finding.remedy is None else [*lines, f"         → {finding.remedy}"]


def _as_dict(found: Sequence[Finding]) -> dict[str, Any]:
    return {
        "is_well": not any(finding.level is Level.PROBLEM for finding in found),
        "findings": [
            {"subject": f.subject, "level": f.level.value, "text": f.text, "remedy": f.remedy}
            for f in found
        ],
    }


def _judge(found: Sequence[Finding]) -> None:
    problems = [finding for finding in found if finding.level is Level.PROBLEM]
    if not problems:
        return
    of_config = [f"{f.text}; {f.remedy}" for f in problems if f.is_of_config]
    count = f"{len(problems)} of {len(found)} findings are problems"
    if shows_both():  # people have just read them
        kind = ConfigError if of_config else Unwell
        raise kind(f"{count}, named above with what to do.")
    if of_config:
        raise ConfigError(*of_config)
    first = problems[0]
    raise Unwell(f"{count}, the first: {first.subject}: {first.text}; {first.remedy}")
