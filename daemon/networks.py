"""
Are the networks and the device there that the configuration names? Else each task would fail.

Asked of a process of its own (`network_process`), and only where something is named: the
embedded way on any device needs neither a network nor a look.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from daemon.child import Child
from pipeline.settings import EMBEDDED, Settings

# Importing torch takes 2 s on an idle machine.
_PATIENCE_SECONDS = 120.0
_END_SECONDS = 1.0


def network_problems(settings: Settings) -> list[str]:
    """
    Return what cannot be had, in sentences that name the key; empty when all is there.

    Files that are missing are `folders`'s to tell of.
    """
    names = tuple(name for name in settings.surrogates if not _is_missing_file(name, settings))
    asked = dataclasses.replace(settings, surrogates=names or (EMBEDDED,))
    if asked.is_embedded and asked.device != "cuda":
        return []
    try:
        messages = _answer(asked)
    except (OSError, EOFError) as error:
        return [f"surrogate: whether it can be had cannot be told: the process {error}."]
    return [_with_key(message) for message in messages]


def _is_missing_file(name: str, settings: Settings) -> bool:
    path = settings.weights.get(name) or (Path(name) if os.sep in name else None)
    return path is not None and not path.is_file()


def _answer(settings: Settings) -> tuple[str, ...]:
    """
    Raises:
        OSError, EOFError: there is no process or no answer; the text says why.
    """
    child = Child("daemon.network_process")
    try:
        # As a `Job` does it: a view of a mapping cannot be sent.
        child.send(dataclasses.replace(settings, weights=dict(settings.weights)))
        if not child.poll(_PATIENCE_SECONDS):
            raise TimeoutError(f"has not answered for {_PATIENCE_SECONDS:.0f} s")
        answer: tuple[str, ...] = child.recv()
        return answer
    except EOFError as error:
        child.wait(_END_SECONDS)
        raise EOFError(child.exit_text) from error
    finally:
        child.kill()


def _with_key(message: str) -> str:
    return message if message.startswith("device: ") else f"surrogate: {message}"
