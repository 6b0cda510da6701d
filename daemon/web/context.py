"""What the handlers of requests work with; made once in each web process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flask import Flask, current_app

from daemon import health
from daemon.config import Config
from daemon.keys import Keys
from daemon.mounts import why_away
from daemon.outbox import StatusFiles
from daemon.spool import Spool
from daemon.web.index import Index

_NAME = "media_cleaner"


@dataclass(frozen=True)
class Context:
    """
    The parts of one web process.

    Attributes:
        state: the folder of `spool`, of the keys and of what the service tells of itself.
        index: which tasks there are, from memory.
        keys: who may call.
    """

    config: Config
    state: Path
    spool: Spool
    statuses: StatusFiles
    index: Index
    keys: Keys

    def is_away(self, folder: Path) -> bool:
        """Is the share that a folder lay on, when the service saw it last, not mounted now?"""
        return why_away(folder, health.known_mounts(self.state).get(str(folder))) is not None


def keep(app: Flask, context: Context) -> None:
    """Have `context` return this within the app's requests."""
    app.extensions[_NAME] = context


def context() -> Context:
    """Return the context of the app that serves the current request."""
    found: Context = current_app.extensions[_NAME]
    return found
