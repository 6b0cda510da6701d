"""
A process of our own with a pipe for messages, which ends when we do.

Each child has a socket pair to itself and shares nothing else with us or with another child,
so one that is killed in the middle of a message can spoil nobody's but its own. Pools that
share queues and locks among their processes (multiprocessing, pebble) can be left with a lock
that its dead owner never opens. A child is also a module run anew rather than a copy of us:
it imports what that module names, neither our `__main__` nor our threads and locks.

A child ends with us in two ways. The kernel kills it when the *thread* that started it ends:
start a child in a thread that lives as long as the child may, such as the main one. And its
pipe ends, which `messages` and every `recv` heed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from daemon.privileges import control_process, give_up_privileges

_PR_SET_PDEATHSIG = 1
_ROOT = Path(__file__).absolute().parents[1]
_REAP_SECONDS = 5.0
_MESSAGE_SECONDS = 5  # between two parts of one message
_END_SECONDS = 1.0  # between the end of a pipe and that of its process


class Child:
    """
    A running child, seen from its parent.

    Not for two threads at once. Messages are pickled and meant to be small: a child that reads
    none fills its pipe after some 200 KB, and `send` then waits for it.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        descriptors: Collection[int] = (),
    ) -> None:
        """
        Run `module`, which begins with `child_connection()`.

        Args:
            arguments: what its `child_arguments()` returns.
            environment: variables that it has beside ours.
            descriptors: those of ours that it has too, by the same numbers.

        Raises:
            OSError: no process or no descriptor is to be had.
        """
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                number = theirs.fileno()
                # -P: the folder that we happen to stand in is no place for modules.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, str(os.getpid()), str(number), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[number, *descriptors],
                    env=_environment(environment or {}),
                    # Ctrl-C in a terminal is for the service, which then ends its children as
                    # it sees fit.
                    start_new_session=True,
                )
            undo.pop_all()
        self._connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def connection(self) -> Connection:
        """Our end of the pipe, for `multiprocessing.connection.wait`."""
        return self._connection

    def fileno(self) -> int:
        """Return the descriptor of our end: readable when a message came or the child ended."""
        return self._connection.fileno()

    @property
    def is_alive(self) -> bool:
        """Does the process still run? Reaps it if not."""
        return self._process.poll() is None

    def bound_waiting(self) -> None:
        """
        Let reading and writing the pipe give up after a while, as at its end.

        A child that is stopped in the middle of a message would else stop who waits for the rest.
        """
        with socket.fromfd(self.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as pipe:
            patience = struct.pack("ll", _MESSAGE_SECONDS, 0)
            pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
            pipe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)

    def send(self, message: object) -> None:
        """
        Send a message.

        Raises:
            EOFError: the child is gone, or has closed its end.
        """
        try:
            self._connection.send(message)
        except OSError as error:
            raise EOFError(self.exit_text) from error

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Is there a message, or the end? Waits up to `timeout` seconds, for ever if None."""
        try:
            return self._connection.poll(timeout)
        except OSError:
            return True  # the end, as `recv` will tell

    def recv(self) -> Any:
        """
        Return the next message; waits for it.

        Raises:
            EOFError: the child is gone, or has closed its end. What it sent before comes first,
                unless it left messages of ours unread.
        """
        try:
            return self._connection.recv()
        except OSError as error:
            # It ended with unread messages, or within one of its own.
            raise EOFError(self.exit_text) from error

    def wait(self, timeout: float) -> bool:
        """Wait up to so many seconds for the child's own end; return whether it came."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """
        End the child by force, close the pipe, and leave no zombie.

        A process that hangs in the kernel, as on a share that does not answer, dies only when
        it comes back from there; it is not waited for beyond some seconds, and is reaped when
        the next child is started.
        """
        self._process.kill()  # nothing happens where it has been reaped already
        self._connection.close()
        self.wait(_REAP_SECONDS)

    @property
    def exit_text(self) -> str:
        """How it ended, to stand behind "the process": `was killed by signal 9 (SIGKILL)`."""
        code = self._process.poll()
        if code is None:
            return "is still running"
        if code >= 0:
            return f"ended with exit code {code}"
        return f"was killed by signal {-code} ({_signal_name(-code)})"


def answer_of(module: str, patience_seconds: float, *questions: object) -> Any:
    """
    Run a module that answers once, and return what it says; it is told the questions first.

    Raises:
        OSError, EOFError: there is no process or no answer; the text says why.
    """
    child = Child(module)
    try:
        for question in questions:
            child.send(question)
        if not child.poll(patience_seconds):
            raise TimeoutError(f"has not answered for {patience_seconds:.0f} s")
        return child.recv()
    except EOFError as error:
        child.wait(_END_SECONDS)
        raise EOFError(child.exit_text) from error
    finally:
        child.kill()


def child_connection() -> Connection:
    """
    Return the child's end of the pipe; to be called before anything else that takes time.

    From here on the process is killed when its parent ends, has no rights beyond its user's and
    can gain none, and leaves no core file: what is in its memory are people's videos.

    Raises:
        OSError: it could not give up the rights that it has.
    """
    if len(sys.argv) < 3:
        sys.exit("this module is run by media-cleaner itself; run `media-cleaner serve`.")
    parent, number = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
    give_up_privileges()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.set_inheritable(number, False)
    return Connection(number)


def child_arguments() -> list[str]:
    """Return the `arguments` that the parent gave."""
    return sys.argv[3:]


def end_with(parent: int) -> None:
    """Have this process killed when its parent ends, the process `parent`."""
    control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before we asked to be told


def messages(connection: Connection) -> Iterator[Any]:
    """
    Yield what the parent sends. When the pipe ends, so does the whole process, at once.

    For the main thread of a child or for one beside it: whatever the others are doing then is
    no longer wanted.
    """
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        yield message


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """Return ours and `added`, with the folder of our packages first among those of modules."""
    environment = {**os.environ, **added}
    folders = [str(_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    return environment


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return "unnamed"
