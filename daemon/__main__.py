"""
The command line: which command, and how it ends.

Only a command that is named on the line is imported, and it imports what is heavy when it
runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import signal

# Pydantic looks for plugins of its own among all that is installed; we have none, and each command
# would wait for it.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
# Before the other imports, which take their time: until `main` heeds it, Ctrl-C ends the
# process as it ends other programs, without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import importlib
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from daemon.console import (
    AnswerLost,
    complain,
    hold_standard_streams,
    keep_details,
    let_go_of_complaints,
    say,
)
from daemon.errors import CannotListen, ConfigError, Interrupted, Unwell, UsageError
from daemon.shared_options import add_shared_options
from daemon.signals import end_on_signals, raise_on_signals
from daemon.spool_errors import SpoolError
from pipeline.errors import InvalidParameters, PipelineError

PROGRAM = "media-cleaner"
# Each is a module of daemon.commands with add_arguments(parser) and run(arguments).
COMMANDS = {
    "serve": "watch the inboxes and protect what is dropped there",
    "protect": "protect one video",
    "verify": "measure a protected video against its original",
    "check-config": "say what is wrong with the configuration",
    "doctor": "say what this machine lacks, and how to mend it",
    "status": "say how one task is",
    "list": "show the newest tasks",
    "stats": "count the tasks and say how the service is",
    "cancel": "call a task off",
    "retry": "try a failed or cancelled task again",
    "cleanup": "remove ended tasks with their files",
    "drain": "finish what runs and begin nothing new",
    "keys": "add, list and revoke API keys",
    "pause": "begin nothing new",
    "resume": "go on after a pause or a drain",
}
_WITHOUT_COMMAND = "serve"
_ANSWERED_WITHOUT = ("-h", "--help", "--version")
DONE, FAILED, WRONG_USE = 0, 1, 2


def run() -> NoReturn:
    """Carry out this process's command line and end the process."""
    hold_standard_streams()  # before anything else is opened
    try:
        code = main()
    finally:
        let_go_of_complaints()
    end_on_signals()  # nothing is left to be tidied up
    if threading.active_count() > 1:
        # A stage that was left behind inside FFmpeg: Python's own end would pull its
        # memory from under it.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
    sys.exit(code)


def main(line: Sequence[str] | None = None) -> int:
    """
    Carry out one command line.

    Returns:
        0 done, 1 the work failed, 2 wrong usage or configuration, 128 + the signal's number
        where a signal ended it.
    """
    try:
        raise_on_signals()
        _run(sys.argv[1:] if line is None else line)
        return DONE
    except (UsageError, ConfigError, InvalidParameters) as error:
        return _ended(error.message, WRONG_USE)
    except (PipelineError, SpoolError, CannotListen, Unwell) as error:
        return _ended(error.message, FAILED)
    except Interrupted as interruption:
        # As a shell tells the end by a signal: 130 for Ctrl-C.
        return _ended("interrupted; nothing is left behind.", 128 + interruption.signal_number)
    except AnswerLost as error:
        # Whoever closed the pipe, as `head` does, has what it wanted.
        return FAILED if error.is_unwanted else _ended(str(error), FAILED)
    except MemoryError:
        return _ended("there is not enough memory; see limits.worker_memory_gb.", FAILED)
    except Exception as error:
        if isinstance(error, FileNotFoundError) and not _has_folder():
            return _ended(
                "the folder that you call this from is gone; change to another.", WRONG_USE
            )
        return _ended(_unexpected(error), FAILED)


def parser(line: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser for `line`: commands that it does not name have no arguments yet."""
    main_parser = _Parser(
        prog=PROGRAM,
        description="Protect videos against being learnt from and recognised by neural networks.",
        epilog=f"{PROGRAM} COMMAND --help tells of one command.",
        allow_abbrev=False,
    )
    main_parser.add_argument("--version", action=_Version, help="show this program's version")
    add_shared_options(main_parser, config=None, json=False)
    commands = main_parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            allow_abbrev=False,
        )
        add_shared_options(command)
        if name in line:
            _module(name).add_arguments(command)
    return main_parser


def _run(line: Sequence[str]) -> None:
    whole = _with_command(line)
    arguments, unknown = parser(whole).parse_known_args(whole)
    if unknown:
        # argparse would send to the page of all commands, where the command's options are not.
        asked = [PROGRAM, arguments.command] if arguments.command in line else [PROGRAM]
        told = f"unrecognized arguments: {' '.join(unknown)}"
        raise UsageError(f"{told}; see {' '.join(asked)} --help.")
    _module(arguments.command).run(arguments)


def _with_command(line: Sequence[str]) -> Sequence[str]:
    """Return the line, with `serve` in it where it names no command."""
    rest = list(line)
    while rest and (rest[0] == "--json" or rest[0].split("=")[0] == "--config"):
        takes_value = rest[0] == "--config"
        del rest[: 2 if takes_value else 1]
    names_none = not rest or (rest[0].startswith("-") and rest[0] not in _ANSWERED_WITHOUT)
    place = len(line) - len(rest)
    return [*line[:place], _WITHOUT_COMMAND, *rest] if names_none else line


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"daemon.commands.{command.replace('-', '_')}")


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: object = None) -> None:
        say(self.format_help().splitlines())

    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help.")
        self.exit(WRONG_USE)


class _Version(argparse.Action):
    """Says the version and ends; looks it up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, **rest: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **rest)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        say([f"{PROGRAM} {_version()}"])
        parser.exit(DONE)


def _version() -> str:
    """
    Return the version as setup.cfg has it, by what was installed.

    Raises:
        UsageError: the packages were never installed.
    """
    from importlib import metadata  # only here, or each command would wait for it

    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError as error:
        raise UsageError(
            f"{PROGRAM} is not installed, so its version is not known; `make setup` installs it."
        ) from error


def _has_folder() -> bool:
    """Is the folder that we were called from still there? Relative paths are from it."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _ended(message: str, code: int) -> int:
    complain(message)
    return code


def _unexpected(error: Exception) -> str:
    kept = keep_details(error)
    where = f"; please report it with {kept}" if kept else "; please report it"
    return f"an error that was not foreseen: {type(error).__name__}: {error}{where}."


if __name__ == "__main__":
    run()
