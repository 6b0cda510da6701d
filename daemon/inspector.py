"""
Looks into dropped files by way of a process that can do no harm.

What is in a file was written by strangers, so neither the watcher nor the web reads it: a
process with next to no memory, rights or time does, and is killed where it hangs. It is asked
whether a file says of itself that it goes on. Where it cannot tell, nothing is known to be
missing, and a worker finds out what the file is.
"""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from daemon.child import Child
from daemon.inspector_process import IS_TRUNCATED, LONGEST_ANSWER, TRUNCATED, UNREADABLE
from daemon.logs import server_log

_MODULE = "daemon.inspector_process"
# Once more where it died, which need not have been for this file.
_TRIES = 2


class Inspector:
    """
    Answers any number of threads, one question after the other.

    A question about a share that does not answer holds up those behind it for as long as it
    may last, so inboxes that must not wait for each other want an inspector each. The process
    is started by a thread that belongs to the inspector: it would die with an asker's (see
    `daemon.child`).
    """

    def __init__(self, timeout_seconds: float = 5.0) -> None:
        """
        Args:
            timeout_seconds: how long one answer may take, the start of the process included.
        """
        self._timeout_seconds = timeout_seconds
        self._questions: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._entrance = threading.Lock()
        self._is_closed = False
        self._told: set[str] = set()
        self._child: Child | None = None
        self._thread = threading.Thread(target=self._serve, name="inspector", daemon=True)
        self._thread.start()

    def is_truncated(self, path: Path) -> bool:
        """
        Does the file lack bytes that it says it has? False where that cannot be told.

        Raises:
            RuntimeError: the inspector is closed.
        """
        try:
            answer = self._answer(IS_TRUNCATED + os.fsencode(path))
        except _NoAnswer as error:
            self._tell(path, str(error))
            return False
        if answer.startswith(UNREADABLE):
            self._tell(path, answer.removeprefix(UNREADABLE).decode("utf-8", "replace"))
        return answer == TRUNCATED

    def close(self) -> None:
        """End the process; what has been asked before is answered first."""
        with self._entrance:
            self._is_closed = True
            self._questions.put(None)
        self._thread.join()

    def _answer(self, content: bytes) -> bytes:
        question = _Question(content)
        with self._entrance:
            if self._is_closed:
                raise RuntimeError("the inspector is closed")
            self._questions.put(question)
        return question.answer.result()

    def _tell(self, path: Path, reason: str) -> None:
        """Write one line for each kind of trouble, not one for each file."""
        if reason not in self._told:
            self._told.add(reason)
            server_log().warning("cannot look into a file", path=str(path), reason=reason)

    # --- The inspector's own thread ---

    def _serve(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                question.answer.set_result(self._asked(question.content))
            except Exception as error:  # it is the asker's; the next one wants an answer too
                question.answer.set_exception(error)
        self._end_child()

    def _asked(self, content: bytes) -> bytes:
        for _ in range(_TRIES):
            try:
                return self._asked_once(content)
            except (EOFError, OSError) as error:
                # It died, perhaps before it was asked, or no process was to be had.
                reason = str(error)
                self._end_child()
        raise _NoAnswer(f"no answer from the process that looks: {reason}")

    def _asked_once(self, content: bytes) -> bytes:
        if self._child is None:
            self._child = Child(_MODULE)
        pipe = self._child.connection
        pipe.send_bytes(content)
        if not self._child.poll(self._timeout_seconds):
            self._end_child()
            raise _NoAnswer(f"no answer within {self._timeout_seconds:g} s")
        # Bytes, not a pickle: who has looked into a stranger's file is not to be trusted.
        return pipe.recv_bytes(LONGEST_ANSWER)

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


@dataclass(frozen=True)
class _Question:
    content: bytes
    answer: Future[bytes] = field(default_factory=Future)


class _NoAnswer(Exception):
    """The process died or took too long; the message says which."""
