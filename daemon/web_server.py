"""
The process that answers requests: gunicorn, and below it the processes that run `daemon.web`.

The service starts it and gives it the sockets. All of them end when the service does, at once
and however it ends; asked by SIGTERM they finish what they are answering.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from daemon.child import child_arguments, child_connection, end_with
from daemon.config import Config, current_config
from daemon.console import complain
from daemon.errors import ConfigError
from daemon.logs import configure_logs, server_log
from daemon.web.app import app_of
from daemon.web_process import GRACE_SECONDS, READY
from daemon.web_worker import PatientWorker

# Each of them waits for one client, as long as that one takes to send or to fetch a video.
_THREADS = 64
# Most of them rest between two requests.
_CONNECTIONS = 2000
_KEEP_ALIVE_SECONDS = 10
# A process whose loop, which only hands out requests, does not stir for so long is replaced.
_WEDGED_SECONDS = 120
_MOST_DESCRIPTORS = 16_384
# Kept in memory: on a disk its heartbeat could wait for others' writing.
_HEARTBEATS = Path("/dev/shm")
# What systemd said is for the service, and what gunicorn would take from whoever started it.
_NOT_OURS = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "SCRIPT_NAME", "GUNICORN_PID")


def main() -> None:
    """Answer requests until asked to end."""
    connection = child_connection()
    is_debug, kept, *listeners = child_arguments()
    places = {key: Path(place) for key, place in json.loads(kept).items()}
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    _allow_many_descriptors()
    try:
        server = _Server(places, [int(n) for n in listeners], connection, is_debug == "1")
    except ConfigError as error:  # changed since the service read it
        complain(error.message)
        sys.exit(1)
    server.run()


class _Server(BaseApplication):
    """gunicorn on our configuration."""

    def __init__(
        self,
        places: Mapping[str, Path],
        listeners: list[int],
        connection: Connection,
        is_debug: bool,
    ) -> None:
        """
        Raises:
            ConfigError: the configuration is wrong by now.
        """
        self._places = places
        self._config = self._read_config()
        self._listeners = listeners
        self._connection = connection
        self._is_debug = is_debug
        self._configure_logs()
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn how to work; what is not said here is its own default."""
        config = self._config
        settings = {
            "bind": [f"fd://{number}" for number in self._listeners],
            "worker_class": PatientWorker,
            # None at all, if it was changed to that, takes a restart of the service.
            "workers": max(1, config.web_workers),
            "threads": _THREADS,
            "worker_connections": _CONNECTIONS,
            "keepalive": _KEEP_ALIVE_SECONDS,
            "timeout": _WEDGED_SECONDS,
            "graceful_timeout": GRACE_SECONDS,
            "worker_tmp_dir": str(_HEARTBEATS) if os.access(_HEARTBEATS, os.W_OK) else None,
            "forwarded_allow_ips": ",".join(config.trusted_proxies),
            "forwarder_headers": "",
            "control_socket_disable": True,
            "logger_class": _Log,
            "post_fork": heed_the_end,
            "post_worker_init": self._begin,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Return the app of one process."""
        self._configure_logs()
        return app_of(self._config)

    def reload(self) -> None:
        """Take a changed configuration over, if there is nothing wrong with it."""
        try:
            self._config = self._read_config()
        except ConfigError as error:
            server_log().error("configuration not taken over", reason=error.message)
        super().reload()

    def _read_config(self) -> Config:
        """Return the configuration as it is now, but for the places that the service keeps."""
        return current_config(None).model_copy(update=dict(self._places))

    def _configure_logs(self) -> None:
        level = logging.DEBUG if self._is_debug else logging.INFO
        folder = self._config.place(self._config.logs)
        configure_logs(folder, level, sys.stderr, rotates=False)

    def _begin(self, worker: PatientWorker) -> None:
        self._connection.send(READY)


class _Log(Logger):
    """Has what gunicorn says go where everything goes, and has it say nothing of requests."""

    def setup(self, cfg: Any) -> None:
        """Take note of the settings."""
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.setLevel(logging.WARNING)
        self.error_log.propagate = True


def heed_the_end(arbiter: Arbiter, worker: PatientWorker) -> None:
    """
    Have a process that was just forked end with gunicorn's own, and when that one asks it to.

    Until it handles signals itself, what it is sent would land in its copy of gunicorn's queue,
    where nobody looks: the end of the service would wait for it, all of `GRACE_SECONDS`.
    """
    end_with(arbiter.pid)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while not arbiter.SIG_QUEUE.empty():
        if arbiter.SIG_QUEUE.get_nowait() == signal.SIGTERM:
            os._exit(0)


def _allow_many_descriptors() -> None:
    """Let there be one for each connection and each file; the usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


if __name__ == "__main__":
    main()
