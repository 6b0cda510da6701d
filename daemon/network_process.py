"""
A process that answers once which of the networks that the configuration names cannot be had,
those for faces and for speech among them.

A process of its own, since it takes torch and seconds: neither the service nor a command is to
hold either.
"""

from __future__ import annotations

from daemon.child import child_connection
from pipeline.settings import Settings

# The latter two as where a library of theirs is missing.
_UNIMPORTABLE = (ImportError, OSError, RuntimeError)


def main() -> None:
    """Read settings, answer with sentences, and end."""
    connection = child_connection()
    settings: Settings = connection.recv()
    connection.send(
        (*_obstacles(settings), *_face_obstacles(settings), *_recogniser_obstacles(settings))
    )


def _obstacles(settings: Settings) -> tuple[str, ...]:
    try:
        from pipeline.surrogate import find_obstacles
    except _UNIMPORTABLE as error:
        return (f"torch cannot be imported ({_reason(error)}); install media-cleaner anew.",)
    return find_obstacles(settings)


def _face_obstacles(settings: Settings) -> tuple[str, ...]:
    if not settings.faces:
        return ()
    try:
        from pipeline.face_networks import find_face_obstacles
    except _UNIMPORTABLE as error:
        return (
            f"faces.detector: what finds faces cannot be imported ({_reason(error)}); install"
            " media-cleaner anew.",
        )
    return find_face_obstacles(settings)


def _recogniser_obstacles(settings: Settings) -> tuple[str, ...]:
    if not settings.recognisers:
        return ()
    try:
        from pipeline.recognisers import find_recogniser_obstacles
    except _UNIMPORTABLE as error:
        return (
            f"speech.recognisers: what asks them cannot be imported ({_reason(error)}); install"
            " media-cleaner anew.",
        )
    return find_recogniser_obstacles(settings)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0]


if __name__ == "__main__":
    main()
