"""
Pause and drain: files under `state/`, so that they reach a service that runs elsewhere.

While either is there no task is begun. A pause lets the queue fill; a drain also leaves files in
their inboxes and asks that what runs be finished or put back, so that the service can be ended.
What follows from them is the business of dispatcher and watchers.
"""

from __future__ import annotations

from pathlib import Path

_PAUSE = "pause"
_DRAIN = "drain"


class Control:
    """
    The operator's wishes in the folder `state`.

    While that cannot be read, what was wished for last holds: a service must not end for it.
    """

    def __init__(self, state: Path) -> None:
        self._pause = state / _PAUSE
        self._drain = state / _DRAIN
        self._seen: dict[Path, bool] = {}

    @property
    def is_paused(self) -> bool:
        """Is no task to be begun? So it is in a drain too."""
        return self._is_there(self._pause) or self.is_draining

    @property
    def is_draining(self) -> bool:
        """Is what runs to come to its end?"""
        return self._is_there(self._drain)

    def pause(self) -> None:
        """Begin nothing new."""
        self._pause.touch()

    def drain(self) -> None:
        """Finish what runs, begin nothing new and take nothing in."""
        self._drain.touch()

    def resume(self) -> None:
        """Go on."""
        self._pause.unlink(missing_ok=True)
        self._drain.unlink(missing_ok=True)

    def _is_there(self, path: Path) -> bool:
        try:
            self._seen[path] = path.exists()
        except OSError:  # `DiskWatch` tells
            return self._seen.get(path, False)
        return self._seen[path]
