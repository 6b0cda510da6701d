"""
Are the networks and the device there that the configuration names? Else each task would fail.

Asked of a process of its own (`network_process`), and only where something is named: the
embedded way without faces and recognisers of speech, on any device, needs neither a network nor
a look.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from daemon.child import answer_of
from pipeline.settings import EMBEDDED, FaceSettings, Settings

# Importing torch takes 2 s on an idle machine.
_PATIENCE_SECONDS = 120.0
# What messages begin with that name their key themselves.
_KEYS = ("device: ", "faces.detector: ", "faces.embedders: ", "speech.recognisers: ")


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
        recognisers=tuple(path for path in settings.recognisers if os.path.isfile(path)),
    )
    names_none = asked.is_embedded and not asked.faces and not asked.recognisers
    if names_none and asked.device != "cuda":
        return []
    try:
        messages: tuple[str, ...] = answer_of("daemon.network_process", _PATIENCE_SECONDS, asked)
    except (OSError, EOFError) as error:
        return [f"{_first_key(asked)}: whether it can be had cannot be told: the process {error}."]
    return [_with_key(message) for message in messages]


def _first_key(settings: Settings) -> str:
    """Return the key of the first network that is named."""
    if settings.is_embedded and settings.faces:
        return "faces"
    return "speech" if settings.is_embedded and settings.recognisers else "surrogate"


def _is_missing_file(name: str, settings: Settings) -> bool:
    path = settings.weights.get(name) or (Path(name) if os.sep in name else None)
    return path is not None and not os.path.isfile(path)


def _are_files(faces: FaceSettings) -> bool:
    return all(
        path is not None and os.path.isfile(path) for path in (faces.detector, *faces.embedders)
    )


def _with_key(message: str) -> str:
    return message if message.startswith(_KEYS) else f"surrogate: {message}"
