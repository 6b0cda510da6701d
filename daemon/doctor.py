"""
Looks at everything that this machine needs for the service, and says how to mend what is wrong.

It changes nothing but a file that is made in each folder and removed at once. Each examination is
of one thing and finds something in any case, so that a person sees what has been looked at.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from daemon.config import Config


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works, less well
    PROBLEM = "problem"  # something will not work


@dataclass(frozen=True)
class Finding:
    """
    What one look found.

    Attributes:
        subject: what was looked at.
        text: what is so.
        remedy: what to do; None where nothing is to be done.
        is_of_config: does the mistake lie in config.yaml?
    """

    subject: str
    level: Level
    text: str
    remedy: str | None = None
    is_of_config: bool = False


@dataclass(frozen=True)
class Programs:
    """
    What there is of the libraries that do the work.

    Attributes:
        av, torch: their versions; None where they cannot be imported, for `..._error`.
        cuda: which torch is built for; None where it is for the processor alone.
        accelerator: that torch computes on, by name.
        has_driver: is there an NVIDIA device, whether torch reaches it or not?
    """

    av: str | None = None
    av_error: str | None = None
    encoders: frozenset[str] = frozenset()
    decoders: frozenset[str] = frozenset()
    torch: str | None = None
    torch_error: str | None = None
    cuda: str | None = None
    accelerator: str | None = None
    has_driver: bool = False


def ok(subject: str, text: str) -> Finding:
    """Return that all is well with something."""
    return Finding(subject, Level.OK, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Return that something works, less well than it could."""
    return Finding(subject, Level.WARNING, text, remedy)


def problem(subject: str, text: str, remedy: str) -> Finding:
    """Return that something will not work."""
    return Finding(subject, Level.PROBLEM, text, remedy)


def of_sentence(subject: str, sentence: str, *, is_of_config: bool = False) -> Finding:
    """Return a problem of a sentence as other parts have them: the fact, `;`, the remedy."""
    text, _, remedy = sentence.rpartition("; ")
    if not text:
        text, remedy = sentence, "See above."
    return Finding(subject, Level.PROBLEM, text, remedy, is_of_config)


def examine(config: Config) -> Iterator[Finding]:
    """Yield what each examination finds, one after the other: some take seconds."""
    # Not for every command: these import what takes time.
    from daemon import doctor_folders, doctor_machine

    examinations: tuple[Callable[[Config], Iterable[Finding]], ...] = (
        doctor_folders.of_configuration,
        doctor_folders.of_rights,
        doctor_folders.of_file_systems,
        doctor_folders.of_room,
        doctor_folders.of_inotify,
        doctor_machine.of_user,
        doctor_machine.of_limits,
        doctor_machine.of_programs,
        doctor_machine.of_address,
        doctor_machine.of_units,
        doctor_machine.of_service,
    )
    for examination in examinations:
        try:
            yield from examination(config)
        except (
            OSError,
            subprocess.TimeoutExpired,
        ) as error:  # the others are looked at all the same
            subject = examination.__name__.removeprefix("of_").replace("_", " ")
            yield problem(
                subject, f"it cannot be looked at: {error}", "Mend that, then look again."
            )
