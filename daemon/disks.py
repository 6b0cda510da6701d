"""
The disks that the service needs room on: its own, and one for each place that results go to.

An outbox that is away or full holds up its own inbox and nobody else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from daemon.config import Config
from daemon.disk import DiskWatch

_FIRST_LOOK_SECONDS = 2.0


class Disks:
    """Room for the service itself, and for the results of each inbox and of uploads (None)."""

    def __init__(self, config: Config, known_mounts: Mapping[str, str]) -> None:
        def watch(places: Mapping[str, Path]) -> DiskWatch:
            return DiskWatch(places, config.min_free_gb, known_mounts=known_mounts)

        places = {"temp": config.place(config.temp), "state": config.place(config.state)}
        self.own = watch(places)
        self.of: dict[str | None, DiskWatch] = {
            None: watch({"outbox": config.place(config.outbox)})
        }
        self._by_outbox: dict[str | None, DiskWatch] = {}
        for inbox in config.inboxes:
            # An outbox of its own that is away holds up its own inbox only.
            outbox = {f"outbox of {inbox.name}": config.outbox_of(inbox)}
            self.of[inbox.name] = self.of[None] if inbox.outbox is None else watch(outbox)
            self._by_outbox[str(config.outbox_of(inbox))] = self.of[inbox.name]

    def of_task(self, inbox: str | None, outbox: str | None) -> DiskWatch:
        """Return that of a task's results; where its inbox has another name, by their folder."""
        return self.of.get(inbox) or self._by_outbox.get(outbox, self.of[None])

    @property
    def all(self) -> list[DiskWatch]:
        """Each once."""
        return list(dict.fromkeys([self.own, *self.of.values()]))

    def look(self) -> None:
        """Look at all for the first time; one that does not answer soon is not waited for."""
        looks = [threading.Thread(target=disk.check, daemon=True) for disk in self.all]
        for look in looks:
            look.start()
        deadline = time.monotonic() + _FIRST_LOOK_SECONDS
        for look in looks:
            look.join(max(0.0, deadline - time.monotonic()))

    @property
    def problems(self) -> Iterator[str]:
        """What is wrong, in sentences."""
        for disk in self.all:
            yield from disk.problems

    @property
    def mounts(self) -> dict[str, str]:
        """Where each folder's file system was mounted, by the folder."""
        return {path: point for disk in self.all for path, point in disk.mounts.items()}

    @property
    def free_gb(self) -> dict[str, float | None]:
        """What there was last, by what the folder is for."""
        return {name: free for disk in self.all for name, free in disk.free_gb.items()}
