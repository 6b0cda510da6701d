"""
Which service works in a folder of attempts. It sweeps there what is none of its own, so two
services in one folder would remove each other's work.

The folder itself is locked, by `flock`: nothing has to lie in it, and the kernel drops the lock
with its holder. Services on two machines that share a folder do not see each other.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from daemon.errors import ConfigError
from daemon.locks import try_lock

_LOCKS = Path("/proc/locks")


class TempLocks:
    """
    The folders that this service holds; for any number of threads.

    Also those that the configuration has named before: attempts may still run there.
    """

    def __init__(self) -> None:
        # By device and inode, since a folder that is moved away and made anew is another one.
        self._held: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def hold(self, folder: Path) -> None:
        """
        Hold a folder, which must be there, from now on; nothing if it is held already.

        Raises:
            ConfigError: another service works there, or it cannot be held.
        """
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ConfigError(f"temp: {folder} cannot be used ({error.strerror}).") from error
        is_kept = False
        try:
            status = os.fstat(descriptor)
            with self._lock:  # not before: opening may hang with its share
                is_kept = self._keep(folder, descriptor, (status.st_dev, status.st_ino))
        except OSError as error:
            raise ConfigError(f"temp: {folder} cannot be locked ({error.strerror}).") from error
        finally:
            if not is_kept:
                os.close(descriptor)

    def close(self) -> None:
        """Hold nothing any more, now and later: a thread may just be on its way to `hold`."""
        with self._lock:
            self._is_closed = True
            while self._held:
                _, descriptor = self._held.popitem()
                os.close(descriptor)

    def _keep(self, folder: Path, descriptor: int, inode: tuple[int, int]) -> bool:
        if self._is_closed or inode in self._held:
            return False
        if not try_lock(descriptor):
            raise ConfigError(
                f"temp: another service{_holder(descriptor)} works in {folder}; name a folder"
                " of its own for each."
            )
        self._held[inode] = descriptor
        return True


def _holder(descriptor: int) -> str:
    """Return which process holds it, in words; empty where the kernel does not tell."""
    status = os.fstat(descriptor)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    place = f"{device}:{status.st_ino}"
    try:
        lines = _LOCKS.read_text("ascii", "replace").splitlines()
    except OSError:
        return ""  # no such file in some containers; it is only a hint
    # `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`; 0 is a process of another container.
    holders = [words[4] for words in map(str.split, lines) if len(words) > 5 and words[5] == place]
    return f" (process {holders[0]})" if holders and holders[0] != "0" else ""
