"""`media-cleaner keys`: who may call the REST interface."""

from __future__ import annotations

import argparse
import os
import pwd
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from daemon import keys
from daemon.config import current_config
from daemon.console import AnswerLost, complain, say, say_json
from daemon.errors import Interrupted, UsageError
from daemon.keys import Key
from daemon.operator_queue import QueueUnusable, local_time, unusable
from daemon.shared_options import add_shared_options
from daemon.signals import Interruption
from pipeline.parameters import Parameters

_ADMIN = "all (admin)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    add = acts.add_parser("add", help="make a key and show it, this once", allow_abbrev=False)
    add.add_argument("name", metavar="NAME", help="what the key is called in lists and logs")
    add.add_argument(
        "--user", metavar="U", help="whose tasks it sees and adds (default: of a user NAME)"
    )
    add.add_argument(
        "--admin", action="store_true", help="it sees and may do everything; no user by default"
    )
    shown = acts.add_parser("list", help="show the keys, by name", allow_abbrev=False)
    revoke = acts.add_parser("revoke", help="make a key void", allow_abbrev=False)
    revoke.add_argument("name", metavar="NAME", help="the key, as `keys list` shows it")
    for act in (add, shown, revoke):
        add_shared_options(act)


def run(arguments: argparse.Namespace) -> None:
    """Add, list or revoke keys; a running service heeds it within 5 s."""
    config = current_config(arguments.config)
    folder = config.place(config.state) / keys.FOLDER
    act = {"add": _add, "list": _list, "revoke": _revoke}[arguments.act]
    try:
        act(folder, arguments)
    except OSError as error:
        raise unusable("the keys", folder, error) from error


def _add(folder: Path, arguments: argparse.Namespace) -> None:
    user_id = _user_id(arguments)
    _check_owner(folder)
    now = datetime.now(UTC)
    with Interruption() as interruption:  # within it nobody could tell whether the key is there
        text, key = keys.add(folder, arguments.name, user_id, arguments.admin, now)
    try:
        if interruption.signal_number is not None:
            raise Interrupted(interruption.signal_number)
        if arguments.json:
            say_json({**key.as_dict(), "key": text})
            return
        say([text])
    except (AnswerLost, Interrupted):
        # It opens nothing, as nobody has seen it; but while it is there all others need one.
        keys.revoke(folder, key.name)
        raise
    say(
        [
            f"key {key.name} of {_whose(key)}; it is shown this once, and counts within 5 s:"
            " send it as X-API-Key",
        ]
    )


def _list(folder: Path, arguments: argparse.Namespace) -> None:
    found, unreadable = keys.listed(folder)
    for error in unreadable:
        complain(error.message)
    if arguments.json:
        say_json({"keys": [key.as_dict() for key in found]})
    else:
        say(_table(found))


def _revoke(folder: Path, arguments: argparse.Namespace) -> None:
    keys.revoke(folder, arguments.name)
    if arguments.json:
        say_json({"revoked": arguments.name})
    else:
        say([f"revoked: {arguments.name}; it stops counting within 5 s"])


def _user_id(arguments: argparse.Namespace) -> str | None:
    """Return whose the key is; nobody's only where it is an admin's."""
    if not keys.is_key_name(arguments.name):
        raise UsageError(f"NAME is {arguments.name!r}; allowed is {keys.ALLOWED_NAMES}.")
    if arguments.user is not None:
        return Parameters.parse({"user_id": arguments.user}).user_id
    return None if arguments.admin else arguments.name


def _check_owner(folder: Path) -> None:
    """
    Refuse to write what the service could not read.

    Raises:
        QueueUnusable: the state is another user's, as it is where root calls this.
    """
    state = folder.parent
    if not state.exists():
        return
    owner = state.stat().st_uid
    if owner != os.geteuid():
        raise QueueUnusable(f"{state} is the user {_user(owner)}'s; call this as that user.")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _whose(key: Key) -> str:
    if not key.is_admin:
        return f"the user {key.user_id}"
    return "an admin" + (f" (uploads are {key.user_id}'s)" if key.user_id else "")


def _table(found: Iterable[Key]) -> Iterator[str]:
    rows = [("NAME", "USER", "SEES", "CREATED")]
    for key in found:
        sees = _ADMIN if key.is_admin else "its user's"
        rows.append((key.name, key.user_id or "", sees, local_time(key.created_at)))
    if len(rows) == 1:
        yield "no keys"
        return
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        yield "  ".join([*cells, row[3]])
