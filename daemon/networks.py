"""
Are the networks and the device there that the configuration names? Else each task would fail.

Asked of a process of its own (`network_process`), and only where something is named: the
embedded way without faces, on any device, needs neither a network nor a look.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from daemon.child import Child
from pipeline.settings import EMBEDDED, FaceSettings, Settings

# Importing torch takes 2 s on an idle machine.
_PATIENCE_SECONDS = 120.0
_END_SECONDS = 1.0


def network_problems(settings: Settings) -> list[str]:
    """
    Return what cannot be had, in sentences that name the key; empty when all is there.

    Files that are missing are `folders`'s to tell of.
    """
    names = tuple(name for name in settings.surrogates if not _is_missing_file(name, settings))
    asked = dataclasses.replace(
        settings,
        surrogates=names or (EMBEDDED,),
        faces=settings.faces if _are_files(settings.faces) else FaceSettings(),
    )
    if asked.is_embedded and asked.device != "cuda" and not asked.faces:
        return []
    try:
        messages = _answer(asked)
    except (OSError, EOFError) as error:
        key = "faces" if asked.is_embedded and asked.faces else "surrogate"
        return [f"{key}: whether it can be had cannot be told: the process {error}."]
    return [_with_key(message) for message in messages]


def _is_missing_file(name: str, settings: Settings) -> bool:
    path = settings.weights.get(name) or (Path(name) if os.sep in name else None)
    return path is not None and not os.path.isfile(path)


def _are_files(faces: FaceSettings) -> bool:
    return all(
        path is not None and os.path.isfile(path) for path in (faces.detector, *faces.embedders)
    )


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
    has_one = message.startswith(("device: ", "faces.detector: ", "faces.embedders: "))
    return message if has_one else f"surrogate: {message}"
