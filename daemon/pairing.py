"""
Which sidecar belongs to which video of an inbox.

`clip.mp4.yaml` is `clip.mp4`'s alone. `clip.yaml` may be that of any video of the stem `clip`:
where there are two it is applied to neither, and stays so when one of them has been taken.
Paths are from the inbox's root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from structlog.stdlib import BoundLogger

from daemon import names
from daemon.stability import Stamp


class Pairing:
    """Knows the videos that wait, and the sidecars over which two of them have met."""

    def __init__(self, root: Path, extensions: Collection[str], log: BoundLogger) -> None:
        self._root = root
        self._extensions = extensions
        self._log = log
        self._videos: dict[str, set[str]] = {}  # by their stems
        self._contested: dict[str, Stamp] = {}

    def add_video(self, path: str) -> None:
        """A video waits."""
        self._videos.setdefault(names.stem(path), set()).add(path)

    def remove_video(self, path: str) -> None:
        """It waits no longer."""
        alike = self._videos.get(names.stem(path), set())
        alike.discard(path)
        if not alike:
            self._videos.pop(names.stem(path), None)

    def remove_sidecar(self, path: str) -> None:
        """A sidecar is gone."""
        self._contested.pop(path, None)

    def sidecars_of(self, video: str) -> list[str]:
        """Return the paths at which a sidecar would be this video's, the best first."""
        folder, name = os.path.split(video)
        own = [os.path.join(folder, sidecar) for sidecar in names.own_sidecar_names(name)]
        shared = [os.path.join(folder, sidecar) for sidecar in names.shared_sidecar_names(name)]
        # All are asked, so that a contest is noticed before the first of two is taken.
        return own + [sidecar for sidecar in shared if not self.is_contested(sidecar)]

    def videos_of(self, sidecar: str) -> set[str]:
        """Return the waiting videos whose sidecar it could be."""
        base = names.stem(sidecar)
        own = {base} & self._videos.get(names.stem(base), set())
        return own | self._videos.get(base, set())

    def is_contested(self, sidecar: str) -> bool:
        """Could it be of two videos of its stem, now or when it was looked at before?"""
        stamp = stamp_at(self._root / sidecar)
        if stamp is None:
            return False
        base = names.stem(sidecar)
        if names.is_video(os.path.basename(base), self._extensions) and self._is_there(base):
            return True  # of another one, whose whole name it bears
        if self._contested.get(sidecar) == stamp:
            return True
        videos = [path for path in self._alike(base) if self._is_there(path)]
        if len(videos) < 2:
            self._contested.pop(sidecar, None)
            return False
        self._contested[sidecar] = stamp
        self._log.warning(
            "sidecar fits two videos, applied to neither",
            file=sidecar,
            videos=sorted(map(os.path.basename, videos)),
        )
        return True

    def _alike(self, stem: str) -> set[str]:
        """Return the videos of a stem: those that are known, and those that might be there."""
        endings = (form for ending in self._extensions for form in (ending, ending.upper()))
        return self._videos.get(stem, set()) | {stem + ending for ending in endings}

    def _is_there(self, path: str) -> bool:
        return stamp_at(self._root / path) is not None


def stamp_at(path: Path) -> Stamp | None:
    """Return the stamp of a regular file; None if there is none at that path."""
    status = status_at(path)
    return Stamp.of(status) if status is not None and stat.S_ISREG(status.st_mode) else None


def status_at(path: Path) -> os.stat_result | None:
    """Return what lies at a path, whatever it is; None if nothing does."""
    try:
        return os.lstat(path)
    except OSError:
        return None  # gone, or out of reach; whoever needs it is told so
