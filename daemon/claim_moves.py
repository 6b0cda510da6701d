"""
The renames of one claim, there and back. No queue here: when they may be done is `claims`'s.

All paths are of folders that are held open (`daemon.held_folder`), so what is renamed is what
was looked at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from daemon.atomic import move_atomically, remove
from daemon.claim_file import BadClaim, Claim
from daemon.open_writers import is_open_for_writing
from daemon.stability import Stamp


class Changed(Exception):
    """The file is no longer the one that was found."""


@dataclass(frozen=True)
class Moves:
    """
    A claim and the two folders between which its files go.

    Attributes:
        dropped: the folder in the inbox; None where it is there no more.
        home: the task's own.
    """

    claim: Claim
    dropped: Path | None
    home: Path

    def take(self, stamp: Stamp) -> None:
        """
        Move the video, look whether it is still the one that was found, move the sidecar.

        Raises:
            Changed: it is not, or one of them is gone.
        """
        try:
            self._take_one(self.claim.video)
            video = self.home / self.claim.video
            # Whoever has it open goes on writing to it, wherever it is now.
            if Stamp.of(os.lstat(video)) != stamp or is_open_for_writing(video):
                raise Changed
            if self.claim.sidecar is not None:
                self._take_one(self.claim.sidecar)
        except FileNotFoundError as error:
            raise Changed from error

    def finish(self) -> None:
        """Move what is left to move of a video that is here already."""
        self._drop_second_name(self.claim.video)
        sidecar = self.claim.sidecar
        # Where another video of that name has come, a sidecar that lies there is that one's.
        if sidecar is not None and not self._is_taken(self.claim.video):
            self._drop_second_name(sidecar)
            with contextlib.suppress(FileNotFoundError, FileExistsError):  # gone, or here already
                self._take_one(sidecar)

    def put_back(self) -> bool:
        """
        Move back what was moved; False where its place has been taken meanwhile.

        The video goes last: as long as it is here, a crash leaves a claim that can be finished.
        """
        names = [name for name in (self.claim.sidecar, self.claim.video) if name is not None]
        names = [name for name in names if os.path.lexists(self.home / name)]
        if any(map(self._is_taken, names)):
            return False
        for name in names:
            try:
                move_atomically(self.home / name, self._dropped(name))
            except (FileExistsError, FileNotFoundError):
                return False  # in this very moment, or the folder is gone
        return True

    def has_original(self) -> bool:
        """
        Is the video here?

        Raises:
            BadClaim: something else is in its place.
        """
        try:
            status = os.lstat(self.home / self.claim.video)
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(status.st_mode):
            raise BadClaim("what it took is not a file")
        return True

    def _take_one(self, name: str) -> None:
        move_atomically(self._dropped(name), self.home / name)

    def _drop_second_name(self, name: str) -> None:
        """Complete a move by link and unlink that was cut short; else do nothing."""
        with contextlib.suppress(FileNotFoundError):
            dropped = self._dropped(name)
            if os.path.samestat(os.lstat(dropped), os.lstat(self.home / name)):
                remove(dropped)

    def _dropped(self, name: str) -> Path:
        if self.dropped is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self.dropped / name

    def _is_taken(self, name: str) -> bool:
        return self.dropped is not None and os.path.lexists(self.dropped / name)
