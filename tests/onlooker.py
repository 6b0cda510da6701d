"""Looks at an outbox all the time, as people do, and complains of what is not whole."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path


class Onlooker:
    """Looks at the outbox all the time, as a person's file manager does."""

    def __init__(self, outbox: Path) -> None:
        self.seen: dict[Path, str] = {}  # the hash of each result when it appeared
        self.complaints: list[str] = []
        self._outbox = outbox
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_done.set()
        self._thread.join()

    def _look(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_done.wait(0.005)  # what came since the last look is seen too
            for path in self._outbox.rglob("*"):
                if path.name.endswith("_protected.mp4") and path not in self.seen:
                    self.seen[path] = digest(path)
                elif path.name.endswith(".status.json") and not path.name.startswith("."):
                    self._parse(path)

    def _parse(self, path: Path) -> None:
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            self.complaints.append(f"{path.name}: {error}")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
