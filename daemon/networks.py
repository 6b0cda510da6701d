"""
Are the networks and the device there that the configuration names? Else each task would fail.

Asked of a process of its own (`network_process`), and only where something is named: the
embedded way without faces, on any device, needs neither a network nor a look.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from daemon.child import answer_of
from pipeline.settings import EMBEDDED, FaceSettings, Settings

# Importing torch takes 2 s on an idle machine.
_PATIENCE_SECONDS = 120.0


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
        messages: tuple[str, ...] = answer_of("daemon.network_process", _PATIENCE_SECONDS, asked)
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


def _with_key(message: str) -> str:
    has_one = message.startswith(("device: ", "faces.detector: ", "faces.embedders: "))
    return message if has_one else f"surrogate: {message}"
