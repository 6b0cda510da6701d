"""
The names of tasks whose end somebody is still to be told of: `state/webhooks/<task_id>`.

Empty files: how far the telling has come stands in the records. Whoever makes or removes one
holds its task's lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from daemon.atomic import make_folder, remove, sync_folder
from daemon.task_id import is_task_id


class WebhookMarkers:
    """The names in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def put(self, task_id: str) -> None:
        """Have the name there, durably."""
        os.close(os.open(self._folder / task_id, os.O_WRONLY | os.O_CREAT, 0o666))
        # Also where it was there: whoever made it may have been killed before doing this.
        sync_folder(self._folder)

    def has(self, task_id: str) -> bool:
        """Is the name there?"""
        return os.path.lexists(self._folder / task_id)

    def remove(self, task_id: str) -> None:
        """Remove the name, if it is there."""
        if self.has(task_id):
            remove(self._folder / task_id)

    def ids(self) -> Iterator[str]:
        """Yield the names."""
        yield from filter(is_task_id, os.listdir(self._folder))
