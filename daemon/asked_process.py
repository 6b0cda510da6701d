"""
A child process that is asked one question after the other, and may be killed over any.

What is asked and answered is bytes, and a file may go with a question. The child looks into
files that strangers wrote, so what it says is not unpickled, and one that hangs or dies is
replaced.
"""

from __future__ import annotations

import queue
import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from daemon.child import Child

# The first thing that a child says.
READY = b"ready"
# Starting means importing, on a machine that may be busy.
_START_SECONDS = 60.0
# Once more where it died, which need not have been for this question.
_TRIES = 2


class NoAnswer(Exception):
    """The process died over the question, or took too long; the message says which."""


class NoProcess(Exception):
    """No process is to be had that could be asked; the message says why."""


class AskedProcess:
    """
    Answers any number of threads, one question after the other.

    The process is started at the first question, by a thread that belongs to it: it would die
    with an asker's (see `daemon.child`).
    """

    def __init__(
        self, module: str, *arguments: str, timeout_seconds: float, longest_answer: int
    ) -> None:
        """
        Args:
            module: its `main` says `READY`, then answers each question.
            timeout_seconds: how long one answer may take.
            longest_answer: in bytes.
        """
        self._module = module
        self._arguments = arguments
        self._timeout_seconds = timeout_seconds
        self._longest_answer = longest_answer
        self._questions: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._entrance = threading.Lock()
        self._is_closed = False
        self._child: Child | None = None
        self._thread: threading.Thread | None = None

    def ask(self, content: bytes, descriptor: int | None = None) -> bytes:
        """
        Return the answer to a question.

        Args:
            descriptor: of an open file that the question is about; None for none, and then the
                child takes the question as it takes any message, not by `next_question`.

        Raises:
            NoAnswer: it may be the file's fault.
            NoProcess: it is not.
            RuntimeError: closed.
        """
        question = _Question(content, descriptor)
        with self._entrance:
            if self._is_closed:
                raise RuntimeError("closed")
            if self._thread is None:
                self._thread = self._started_thread()
            self._questions.put(question)
        return question.answer.result()

    def close(self) -> None:
        """End the process; what has been asked before is answered first."""
        with self._entrance:
            self._is_closed = True
            self._questions.put(None)
        if self._thread is not None:
            self._thread.join()

    @property
    def pid(self) -> int | None:
        """The process that runs just now; None for none."""
        child = self._child
        return None if child is None else child.pid

    def _started_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._serve, name="asked", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine has none just now
            raise NoProcess(str(error)) from error
        return thread

    # --- The thread that the process belongs to ---

    def _serve(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                question.answer.set_result(self._asked(question))
            except Exception as error:  # it is the asker's; the next one wants an answer too
                question.answer.set_exception(error)
        self._end_child()

    def _asked(self, question: _Question) -> bytes:
        for _ in range(_TRIES):
            child = self._child or self._started()
            try:
                return self._asked_once(child, question)
            except (EOFError, OSError):
                child.wait(1.0)  # its end may be a moment behind that of its pipe
                reason = child.exit_text
                self._end_child()
        raise NoAnswer(f"the process that looks at files {reason}")

    def _asked_once(self, child: Child, question: _Question) -> bytes:
        if question.descriptor is not None:
            with socket.fromfd(child.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as pipe:
                socket.send_fds(pipe, [b"\0"], [question.descriptor])
        child.connection.send_bytes(question.content)
        if not child.poll(self._timeout_seconds):
            self._end_child()
            raise NoAnswer(f"no answer within {self._timeout_seconds:g} s")
        return child.connection.recv_bytes(self._longest_answer)

    def _started(self) -> Child:
        try:
            self._child = child = Child(self._module, *self._arguments)
            child.bound_waiting()
            is_ready = child.poll(_START_SECONDS) and child.connection.recv_bytes(99) == READY
        except (EOFError, OSError) as error:
            self._end_child()
            raise NoProcess(str(error) or "it ended while it started") from error
        if not is_ready:
            self._end_child()
            raise NoProcess("it did not start in time")
        return child

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


def next_question(connection: Connection) -> tuple[bytes, int]:
    """
    Return, in the child, the next question and the file that it is about, to be closed.

    Raises:
        EOFError: the parent has hung up.
    """
    with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as pipe:
        mark, descriptors, _, _ = socket.recv_fds(pipe, 1, 1)
    if not mark:
        raise EOFError
    return connection.recv_bytes(), descriptors[0]


@dataclass(frozen=True)
class _Question:
    content: bytes
    descriptor: int | None
    answer: Future[bytes] = field(default_factory=Future)
