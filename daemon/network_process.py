"""
A process that answers once which of the networks that the configuration names cannot be had.

A process of its own, since it takes torch and seconds: neither the service nor a command is to
hold either.
"""

from __future__ import annotations

from daemon.child import child_connection
from pipeline.settings import Settings


def main() -> None:
    """Read settings, answer with sentences, and end."""
    connection = child_connection()
    settings: Settings = connection.recv()
    connection.send(_obstacles(settings))


def _obstacles(settings: Settings) -> tuple[str, ...]:
    try:
        from pipeline.surrogate import find_obstacles
    except (ImportError, OSError, RuntimeError) as error:  # as where a library of its is missing
        reason = str(error).partition("\n")[0]
        return (f"torch cannot be imported ({reason}); install media-cleaner anew.",)
    return find_obstacles(settings)


if __name__ == "__main__":
    main()
