"""
The process that answers requests, as the service sees it: started, started again, ended.

What runs in it is `daemon.web_server`. The two share the sockets that requests come to and
nothing else; what is answered comes from the files.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from daemon.child import Child
from daemon.config import ENVIRONMENT_NAME
from daemon.listening import listen, port_of, url_of
from daemon.logs import server_log
from daemon.restarts import Restarts

READY = "ready"
# How long requests that are being answered have to come to their end.
GRACE_SECONDS = 5
_MODULE = "daemon.web_server"
# Beyond its grace, for gunicorn to end and be reaped.
_END_SECONDS = GRACE_SECONDS + 3.0


class WebProcess:
    """
    Keeps one such process alive.

    For one thread, which must live as long as it: when it ends, so does the process.

    Attributes:
        url: where the page is.
    """

    def __init__(
        self,
        config: Path | None,
        host: str,
        port: int,
        places: Mapping[str, Path],
        *,
        is_debug: bool = False,
    ) -> None:
        """
        Take the address; requests wait there until `start`.

        Args:
            config: the file that the command line names, None for where it is found otherwise.
            port: 0 for a free one.
            places: folders that the service keeps, by their keys, whatever the file comes to say of
                them: it would answer for a queue that nobody works on.

        Raises:
            CannotListen: the address cannot be had.
        """
        self._listeners = listen(host, port)
        self.url = url_of(host, port_of(self._listeners))
        self._environment = {} if config is None else {ENVIRONMENT_NAME: str(config.absolute())}
        kept = json.dumps({key: str(place) for key, place in places.items()})
        numbers = (str(listener.fileno()) for listener in self._listeners)
        self._arguments = [str(int(is_debug)), kept, *numbers]
        self._restarts = Restarts("the process that answers requests")
        self._child: Child | None = None
        self._is_ready = False
        self._is_reload_due = False

    @property
    def trouble(self) -> str | None:
        """Why requests are not answered; None where they are, or soon will be."""
        return self._restarts.trouble

    @property
    def is_ready(self) -> bool:
        """Are requests answered?"""
        return self._is_ready

    @property
    def pid(self) -> int | None:
        """The process that was started, of those that answer the parent; None between two."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the process; requests are answered some seconds later."""
        try:
            self._child = Child(
                _MODULE,
                *self._arguments,
                environment=self._environment,
                descriptors=[listener.fileno() for listener in self._listeners],
            )
        except OSError as error:
            self._note_failure(f"cannot be started: {error.strerror}")

    def look(self) -> None:
        """See how it is, and start it again if it is gone; to be called all the time."""
        if self._child is None:
            if self._restarts.may_start(time.monotonic()):
                self.start()
        else:
            self._listen_to(self._child)

    def reload(self) -> None:
        """Have the configuration read anew, but for address and `places`; no request is lost."""
        if self._child is None:
            return  # the next one reads it
        if self._is_ready:
            os.kill(self._child.pid, signal.SIGHUP)
        else:  # while it comes up the signal would end it
            self._is_reload_due = True

    def close(self) -> None:
        """Let requests that are being answered come to their end, within some seconds."""
        for listener in self._listeners:
            listener.close()
        if self._child is not None:
            if self._child.is_alive:
                os.kill(self._child.pid, signal.SIGTERM)
                self._child.wait(_END_SECONDS)
            self._child.kill()
            self._child = None
        self._is_ready = False

    def _listen_to(self, child: Child) -> None:
        # Once per process of gunicorn; what counts is that there is one.
        with contextlib.suppress(EOFError):
            while child.poll() and child.recv() == READY:
                self._note_ready(child)
        if not child.is_alive:
            self._note_end(child)

    def _note_ready(self, child: Child) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._restarts.succeeded()
            server_log().info("requests are answered", url=self.url, pid=child.pid)
            if self._is_reload_due:
                self._is_reload_due = False
                self.reload()

    def _note_end(self, child: Child) -> None:
        self._note_failure(child.exit_text)
        child.kill()  # closes the pipe
        self._child = None
        self._is_ready = self._is_reload_due = False

    def _note_failure(self, reason: str) -> None:
        if self._restarts.failed(reason, time.monotonic()):
            server_log().error("the process that answers requests failed", reason=reason)
