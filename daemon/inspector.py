"""
Looks into dropped files by way of a process that can do no harm.

What is in a file was written by strangers, so neither the watcher nor the web reads it: a
process with next to no memory, rights or time does, and is killed where it hangs. It is asked
whether a file says of itself that it goes on. Where it cannot tell, nothing is known to be
missing, and a worker finds out what the file is.
"""

from __future__ import annotations

import os
from pathlib import Path

from daemon.asked_process import AskedProcess, NoAnswer, NoProcess
from daemon.inspector_process import LONGEST_ANSWER, TRUNCATED, UNREADABLE
from daemon.logs import server_log

_MODULE = "daemon.inspector_process"


class Inspector:
    """
    Answers any number of threads, one question after the other.

    A question about a share that does not answer holds up those behind it for as long as it
    may last, so inboxes that must not wait for each other want an inspector each.
    """

    def __init__(self, timeout_seconds: float = 5.0) -> None:
        """
        Args:
            timeout_seconds: how long one answer may take.
        """
        self._process = AskedProcess(
            _MODULE, timeout_seconds=timeout_seconds, longest_answer=LONGEST_ANSWER
        )
        self._told: set[str] = set()

    def is_truncated(self, path: Path) -> bool:
        """
        Does the file lack bytes that it says it has? False where that cannot be told.

        Raises:
            RuntimeError: the inspector is closed.
        """
        try:
            # By its name: to open it may hang, with the share that it lies on.
            answer = self._process.ask(os.fsencode(path))
        except (NoAnswer, NoProcess) as error:
            self._tell(path, str(error))
            return False
        if answer.startswith(UNREADABLE):
            self._tell(path, answer.removeprefix(UNREADABLE).decode("utf-8", "replace"))
        return answer == TRUNCATED

    def close(self) -> None:
        """End the process; what has been asked before is answered first."""
        self._process.close()

    def _tell(self, path: Path, reason: str) -> None:
        """Write one line for each kind of trouble, not one for each file."""
        if reason not in self._told:
            self._told.add(reason)
            server_log().warning("cannot look into a file", path=str(path), reason=reason)
