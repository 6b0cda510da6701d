"""`media-cleaner protect`: one file now, without a service; or one moment of it, to look at."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import stat
from fractions import Fraction
from pathlib import Path

from daemon.config import current_config
from daemon.console import say, say_json
from daemon.errors import Interrupted, UsageError
from daemon.machine import threads_of
from daemon.progress_bar import progress_bar
from daemon.signals import Interruption
from pipeline.errors import Cancelled, UnreadableMedia
from pipeline.limits import limit_memory, limit_threads
from pipeline.parameters import Parameters, allowed_values
from pipeline.settings import Settings

_PARAMETERS = ("epsilon", "video_strength", "audio_level", "every_n_frames", "mode")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("original", type=Path, metavar="IN", help="the video")
    output = parser.add_argument(
        "output",
        type=Path,
        metavar="[OUT]",
        help="the protected copy, or a folder for it (default: IN_protected beside IN)",
    )
    # Not `nargs="?"`: Python 3.11 would count it as left out once an option follows IN.
    output.required = False
    parser.add_argument(
        "--preview",
        metavar="T",
        help="write only a picture of the moment T, in seconds or H:MM:SS.mmm: original, protected"
        " and amplified difference; OUT is its name then (default: IN_preview.png beside IN)",
    )
    for name in _PARAMETERS:
        default = Parameters.model_fields[name].default
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            metavar="VALUE",
            default=argparse.SUPPRESS,
            help=f"{allowed_values(name)} (default: {getattr(default, 'value', default)},"
            " or `defaults` in the configuration)",
        )
    parser.add_argument("--force", action="store_true", help="replace OUT where it is there")


def run(arguments: argparse.Namespace) -> None:
    """Protect the video, or one moment of it, and say what was done."""
    config = current_config(arguments.config)
    given = {name: value for name, value in vars(arguments).items() if name in _PARAMETERS}
    parameters = Parameters.parse(given, config.parameters)
    _check_original(arguments.original)
    limit_threads()
    settings = dataclasses.replace(config.settings, threads=threads_of(1))
    # Before the first frame of a stranger's file is decoded.
    limit_memory(settings.limits.worker_memory_gb, settings.device)
    if arguments.preview is not None:
        _preview(arguments, parameters, settings)
    else:
        _protect(arguments, parameters, settings)


def _protect(arguments: argparse.Namespace, parameters: Parameters, settings: Settings) -> None:
    output = _output(arguments, parameters, settings)
    _check_place(arguments.original, output, arguments.force)

    from pipeline.protect import protect

    with Interruption() as interruption, progress_bar() as show:
        try:
            outcome = protect(
                arguments.original,
                output,
                parameters,
                settings,
                may_replace=arguments.force,
                progress=show,
                cancelled=interruption.is_requested,
            )
        except Cancelled as cancelled:
            raise Interrupted(interruption.signal_number or 0) from cancelled
    if arguments.json:
        say_json({"protected": str(outcome.output), "report": outcome.report.as_dict()})
    else:
        say([str(outcome.output), *outcome.report.lines()])


def _preview(arguments: argparse.Namespace, parameters: Parameters, settings: Settings) -> None:
    from pipeline.preview import preview, preview_name

    original, output = arguments.original, arguments.output
    if output is None or _is_folder(output):
        output = Path(output or original.parent) / preview_name(original)
    if output.suffix.lower() != ".png":
        raise UsageError(f"{output} is no name of a PNG file; end it in .png.")
    _check_place(original, output, arguments.force)
    moment = _moment(arguments.preview, original, settings)
    with Interruption() as interruption:
        try:
            found = preview(
                original,
                output,
                moment,
                parameters,
                settings,
                may_replace=arguments.force,
                cancelled=interruption.is_requested,
            )
        except Cancelled as cancelled:
            raise Interrupted(interruption.signal_number or 0) from cancelled
    if arguments.json:
        say_json(found.as_dict())
    else:
        say([str(output), *found.lines()])


_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_CLOCK = re.compile(r"(?:([0-9]{1,5}):)?([0-5]?[0-9]):([0-5]?[0-9](?:\.[0-9]{1,9})?)")


def _moment(text: str, original: Path, settings: Settings) -> Fraction:
    """
    Return the seconds that `12.5` or `1:02:03.5` says.

    Raises:
        UsageError: it is neither; tells how long the video is.
    """
    if _SECONDS.fullmatch(text):
        return Fraction(text)
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (Fraction(part or 0) for part in clock.groups())
        return 3600 * hours + 60 * minutes + seconds
    from pipeline.probe import probe

    duration = probe(original, settings.limits).duration
    length = f", which lasts {float(duration):.2f} s" if duration else ""
    raise UsageError(
        f"--preview {text} is no moment of {original.name}{length}; give seconds or H:MM:SS.mmm."
    )


def _check_original(path: Path) -> None:
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError as error:
        raise UnreadableMedia(f"{path} does not exist; check the name.") from error
    except OSError as error:
        raise UnreadableMedia(f"{path} cannot be read: {error.strerror}.") from error
    if not is_file:
        raise UnreadableMedia(f"{path} is not a file; name a video.")


def _output(arguments: argparse.Namespace, parameters: Parameters, settings: Settings) -> Path:
    """Return where to: OUT, or the name of its own in the folder that OUT or IN says."""
    original, output = arguments.original, arguments.output
    if output is not None and not _is_folder(output):
        return Path(output)
    from pipeline.protect import planned_suffix
    from pipeline.publish import protected_name

    suffix = planned_suffix(original, parameters, settings)
    return Path(output or original.parent) / protected_name(original, suffix)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return False
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise UsageError(f"{path} cannot be used: {error.strerror}; name another.") from error


def _check_place(original: Path, output: Path, may_replace: bool) -> None:
    """
    Raises:
        UsageError: `output` is the original, or something is there that must not be
            replaced, such as a device or a pipe that others use, or there is no folder for it.
    """
    if not _is_folder(output.parent):
        raise UsageError(f"{output.parent} is no folder; make it, or name another place.")
    _is_folder(output)  # raises where the name itself is not possible
    if output.exists() and original.exists() and os.path.samefile(original, output):
        raise UsageError(f"{output} is the original itself, which is never altered; name another.")
    if output.exists() and not output.is_file():
        raise UsageError(f"{output} is no file; name another.")
    if os.path.lexists(output) and not may_replace:
        raise UsageError(f"{output} is there already; name another, or replace it by --force.")
