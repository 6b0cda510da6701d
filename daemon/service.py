"""
The service: builds the parts, starts and stops them in order, and heeds signals.

What each part does is its own business; here stands only what is before what. The main thread
is the dispatcher's, since worker processes live as long as the thread that started them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from daemon import health, keys, outbox
from daemon.attempts import AttemptRules, Attempts, InboxPlace, failure_facts
from daemon.claims import Claims
from daemon.config import Config, Inbox
from daemon.disks import Disks
from daemon.dispatcher import Dispatcher
from daemon.errors import ConfigError, UsageError
from daemon.folders import make_folders
from daemon.folders import problems as folder_problems
from daemon.housekeeping import Housekeeping
from daemon.inbox import InboxWatcher
from daemon.inbox import Rules as InboxRules
from daemon.inspector import Inspector
from daemon.jobs import Bounds
from daemon.listening import check_host
from daemon.logs import Once, configure_logs, queue_log, server_log
from daemon.machine import default_workers
from daemon.networks import network_problems
from daemon.originals import inbox_of
from daemon.own_health import OwnHealth
from daemon.pool import Pool
from daemon.signals import ServiceSignals
from daemon.spool import Spool
from daemon.spool_errors import SpoolError
from daemon.status_writer import StatusWriter
from daemon.supervision import Supervision
from daemon.systemd_notify import Notifier
from daemon.task import Status, Task
from daemon.temp_lock import TempLocks
from daemon.web_process import WebProcess
from daemon.webhooks import SECRET_NAME, WebhookRules, Webhooks

_TURN_SECONDS = 0.25
_WATCHERS_SECONDS = 10.0  # to end what they are in the middle of
_EPOCH = datetime.fromtimestamp(0, UTC)
_MARGIN = timedelta(minutes=1)  # between the last sign of life and what was done after it


@dataclass(frozen=True)
class Overrides:
    """What the command line says in the place of the configuration."""

    workers: int | None = None
    host: str | None = None
    port: int | None = None
    is_debug: bool = False


class Service:
    """All parts on one configuration; `run` once."""

    def __init__(
        self, load: Callable[[], Config], overrides: Overrides, path: Path | None = None
    ) -> None:
        """
        Args:
            load: reads the configuration, again at each reload.
            path: its file, for the processes that answer requests.

        Raises:
            ConfigError: the configuration is wrong, or a folder or network that it names.
        """
        self._load = load
        self._path = path
        self._overrides = overrides
        self._config = self._loaded()
        _refuse(folder_problems(self._config))
        _refuse(network_problems(self._config.settings))
        self._state = self._config.place(self._config.state)
        self._spool = _made_spool(self._state)
        self._files = outbox.StatusFiles(
            self._spool, self._config.language, lambda: self._disks.mounts
        )
        self._statuses = StatusWriter(self._files, lambda: self._dispatcher.queue)
        self._disks = Disks(self._config, health.known_mounts(self._state))
        self._pool = self._made_pool()
        self._attempts = Attempts(
            self._spool,
            self._rules(),
            self._changed,
            lacks_room=self._lacks_room,
            is_outbox_away=self._is_outbox_away,
            is_inbox_away=self._is_inbox_away,
        )
        self._dispatcher = self._made_dispatcher()
        self._watchers: list[InboxWatcher] = []
        self._inspectors: list[Inspector] = []
        self._webhooks = Webhooks(
            self._spool,
            self._webhook_rules(),
            self._state / SECRET_NAME,
            self._statuses.mark,
        )
        self._web: WebProcess | None = None
        self._temp_locks = TempLocks()
        self._housekeeping = Housekeeping(
            self._config,
            self._disks,
            self._spool,
            self._statuses,
            self._webhooks,
            self._temp_locks,
            self._rescan,
            self._has_lost_state,
        )
        self._health = OwnHealth(
            self._state,
            self._spool,
            self._pool,
            self._statuses,
            self._webhooks,
            self._housekeeping.retention_hold,
        )
        notifier = Notifier.taken_from(os.environ, os.getpid())
        self._supervision = Supervision(notifier, self._pool)
        self._signals: ServiceSignals | None = None
        self._is_stopping = False
        self._is_state_replaced = lambda: False
        self._mounts: dict[str, str] = {}  # of inboxes, by folder, as they were seen last
        # By an inbox's name that is configured no longer, the last of its tasks that was begun.
        self._renamed: dict[str | None, Task] = {}
        self._once = Once(server_log())

    def run(self, signals: ServiceSignals) -> None:
        """
        Work until a signal asks for the end.

        Raises:
            ServiceRunning: another service holds the state.
            ConfigError: another one works in the same `temp`, a folder cannot be made, or what lies
                in the state cannot be used.
            CannotListen, UsageError: there is no way to the address that it should listen on.
        """
        self._signals = signals
        with contextlib.ExitStack() as held:
            with _telling_of(self._state):
                self._is_state_replaced = held.enter_context(self._spool.lock_service())
            held.enter_context(contextlib.closing(self._temp_locks))
            make_folders(self._config, self._disks.mounts)
            self._temp_locks.hold(self._config.place(self._config.temp))
            self._open_logs()  # by who holds the state, since one process rotates them
            self._web = self._made_web()  # before anything is begun: the port may be in use
            self._disks.look()
            with _telling_of(self._state):
                self._recover()
            self._pool.start()
            self._statuses.start()
            self._webhooks.start()
            if self._web is not None:
                self._web.start()
            self._start_watching()
            self._housekeeping.start()
            threading.Thread(target=self._housekeeping.sweep, name="sweep", daemon=True).start()
            url = None if self._web is None else self._web.url
            server_log().info("ready", workers=self._pool.size, state=str(self._state), url=url)
            try:
                self._work(signals, self._web)
            finally:
                self._stop()

    # --- From start to end ---

    def _open_logs(self) -> None:
        folder = self._config.place(self._config.logs)
        level = logging.DEBUG if self._overrides.is_debug else logging.INFO
        configure_logs(folder, level, sys.stderr)

    def _recover(self) -> None:
        last = health.read(self._state)
        self._mounts = health.known_mounts(self._state)
        self._housekeeping.retention_hold.take_over(
            last.retention_held_until if last else None,
            last.updated_at if last else None,
            datetime.now().astimezone(),
        )
        told = (last.statuses_until or last.updated_at) if last else None
        if told is not None and told > self._spool.now():
            told = None  # the clock was set back since: nobody can tell what came after it
        self._health.begin(told)
        recovery = self._spool.recover(self._attempts.has_result)
        for task in recovery.tasks:
            queue_log().info("recovered", task_id=task.task_id, status=task.status.value)
            if task.status is Status.FAILED:
                queue_log().error("failed", **failure_facts(task))
            self._changed(task.task_id)
        for task_id in self._spool.ended_ids_since(told - _MARGIN if told else _EPOCH):
            # Whoever ended it may have been killed, or refused, before the file could say so.
            self._statuses.mark(task_id)
        for task_id, reason in recovery.left.items():
            server_log().warning("task not recovered yet", task_id=task_id, reason=reason)

    def _work(self, signals: ServiceSignals, web: WebProcess | None) -> None:
        health_due = time.monotonic()
        drain = _Drain(self._dispatcher.put_back_all)
        while not (self._is_stopping and self._dispatcher.is_idle):
            self._turn()
            self._heed_clock()
            if web is not None:
                web.look()
            self._supervision.look(self._watchers, web, lambda: len(self._dispatcher.queue))
            if signals.take_reload():
                self._supervision.reloading()
                self._reload()
                self._supervision.reloaded()
            if signals.ends and not self._is_stopping:
                self._begin_stop()
            wants_drain = self._is_stopping or self._spool.control.is_draining
            drain.go_on(wants_drain, self._config.drain_s if signals.ends < 2 else 0.0)
            if time.monotonic() >= health_due:
                health_due = time.monotonic() + health.WRITE_SECONDS
                self._keep_state_whole()
                self._tell_health()

    def _turn(self) -> None:
        try:
            self._dispatcher.turn(_TURN_SECONDS)
        except (OSError, SpoolError) as error:
            # The state's disk, or a record that somebody holds; it is tried again at once, and
            # what workers said has been dealt with before.
            self._once.tell("the queue cannot be read", True, reason=str(error))
        else:
            self._once.tell("the queue cannot be read", False)

    def _heed_clock(self) -> None:
        # At once: a service that is restarted knows nothing of before.
        self._housekeeping.retention_hold.look()
        if not self._is_stopping:
            self._housekeeping.heed_clock()

    def _begin_stop(self) -> None:
        self._is_stopping = self._attempts.is_stopping = True
        self._supervision.stopping(self._config.drain_s)
        server_log().info("stopping", running=len(self._dispatcher.running))
        self._tell_health()

    def _stop(self) -> None:
        self._is_stopping = True
        steps = (
            self._housekeeping.stop,
            self._stop_watching,
            self._stop_web,
            self._pool.close,
            self._dispatcher.close,
            self._webhooks.stop,
            self._statuses.stop,
            lambda: health.end(self._state),
        )
        for step in steps:
            try:
                step()
            except OSError as error:  # a full disk must not keep the next part from ending
                server_log().warning("not ended cleanly", reason=str(error))
        server_log().info("stopped")

    def _changed(self, task_id: str) -> None:
        """Take note that a task has changed; from any thread."""
        self._statuses.mark(task_id)
        self._webhooks.wake(task_id)

    # --- Requests ---

    def _made_web(self) -> WebProcess | None:
        """Take the address for requests; None where a unit of its own answers them."""
        config = self._config
        if config.web_workers == 0:
            self._refuse_address()
            return None
        host = self._overrides.host or config.host
        port = config.port if self._overrides.port is None else self._overrides.port
        check_host(host, keys.are_there(self._state / keys.FOLDER), config.auth.required)
        places = {"state": self._state, "logs": config.place(config.logs)}
        return WebProcess(self._path, host, port, places, is_debug=self._overrides.is_debug)

    def _refuse_address(self) -> None:
        if self._overrides.host is not None or self._overrides.port is not None:
            raise UsageError(
                "--host and --port are for nobody, since web_workers is 0: a unit of its own"
                " answers requests; leave them out, or set web_workers."
            )

    def _stop_web(self) -> None:
        if self._web is not None:
            self._web.close()

    # --- The configuration, now and anew ---

    def _loaded(self) -> Config:
        """Read the configuration; a number of workers on the command line stands for its own."""
        config, workers = self._load(), self._overrides.workers
        return config if workers is None else config.model_copy(update={"workers": workers})

    def _reload(self) -> None:
        try:
            config = self._kept_until_restart(self._loaded())
            _refuse(folder_problems(config))
            if config.settings != self._config.settings:  # it takes seconds
                _refuse(network_problems(config.settings))
            make_folders(config, self._disks.mounts)
            self._temp_locks.hold(config.place(config.temp))
        except ConfigError as error:
            for problem in error.problems:
                server_log().error("configuration not taken over", reason=problem)
            return
        self._housekeeping.stop()
        self._stop_watching()
        self._config = config
        self._disks = Disks(config, self._disks.mounts)
        self._disks.look()
        self._files.language = config.language
        self._attempts.rules = self._rules()
        self._housekeeping.use(config, self._disks)
        self._webhooks.rules = self._webhook_rules()
        self._dispatcher.timeout_seconds = config.task_timeout_hours * 3600
        self._pool.stall_s = config.stall_s
        self._pool.use_bounds(_bounds(config))
        self._pool.resize(self._worker_count)
        if self._web is not None:
            self._web.reload()
        self._start_watching()
        self._housekeeping.start()
        server_log().info("configuration taken over", workers=self._pool.size)

    def _kept_until_restart(self, config: Config) -> Config:
        """Return a new configuration with what the old one has in use for good."""
        old = self._config
        kept: dict[str, object] = {}
        for key in self._address_keys:
            if getattr(config, key) != getattr(old, key):
                kept[key] = getattr(old, key)
        if bool(config.web_workers) != bool(old.web_workers):
            kept["web_workers"] = old.web_workers
        for key in ("state", "logs"):
            place = old.place(getattr(old, key))
            if place != config.place(getattr(config, key)):
                kept[key] = place
        for key in kept:
            server_log().warning("needs a restart to take effect", key=key)
        return config.model_copy(update=kept)  # so that the next reload compares with them too

    @property
    def _address_keys(self) -> Sequence[str]:
        """Which keys made the address that this service listens on."""
        if self._web is None:
            return ()
        return [key for key in ("host", "port") if getattr(self._overrides, key) is None]

    @property
    def _worker_count(self) -> int:
        return self._config.workers or default_workers()

    def _rules(self) -> AttemptRules:
        config = self._config
        return AttemptRules(
            temp=config.place(config.temp),
            settings=config.settings,
            max_attempts=config.max_attempts,
            max_bytes=config.max_video_bytes,
            inboxes={
                i.name: InboxPlace(config.place(i.inbox), config.defaults_of(i))
                for i in config.inboxes
            },
            allow_private=config.webhook.allow_private,
        )

    def _webhook_rules(self) -> WebhookRules:
        webhook = self._config.webhook
        return WebhookRules(webhook.allow_private, webhook.secret, self._config.language)

    def _made_pool(self) -> Pool:
        return Pool(self._worker_count, _bounds(self._config), stall_s=self._config.stall_s)

    def _made_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self._spool,
            self._pool,
            self._attempts,
            self._changed,
            may_begin=self._may_begin,
            unavailable=self._unavailable,
            timeout_seconds=self._config.task_timeout_hours * 3600,
        )

    # --- What may be done just now ---

    def _may_begin(self) -> bool:
        # A signal counts at once: a worker may get free before the main thread comes to heed it.
        is_ending = self._is_stopping or (self._signals is not None and self._signals.ends > 0)
        is_held = is_ending or self._spool.control.is_paused or self._has_lost_state()
        return not is_held and self._disks.own.has_room and not self._housekeeping.temp_trouble

    def _may_claim(self, inbox: str) -> bool:
        is_held = self._is_stopping or self._spool.control.is_draining or self._has_lost_state()
        return not is_held and self._disks.own.has_room and self._disks.of[inbox].has_room

    def _has_lost_state(self) -> bool:
        try:
            return self._is_state_replaced()
        except OSError:  # it is closed, or does not answer; the disks are asked about that
            return False

    def _lacks_room(self, task: Task) -> bool:
        if task.inbox not in self._disks.of:  # `_unavailable` is asked by name, and has no task
            self._renamed[task.inbox] = task
        disks = (self._disks.own, self._disks.of_task(task.inbox, task.outbox))
        return any([disk.check() for disk in disks])

    def _is_outbox_away(self, task: Task) -> bool:
        disk = self._disks.of_task(task.inbox, task.outbox)
        disk.check()
        return disk.is_away

    def _is_inbox_away(self, task: Task) -> bool:
        watcher = self._watcher_of(task)
        return watcher is not None and watcher.is_away()

    def _watcher_of(self, task: Task) -> InboxWatcher | None:
        """Return who watches the inbox that `_unavailable` has a task wait for."""
        root, watchers = inbox_of(Path(task.original)), list(self._watchers)
        if task.inbox is None:  # an upload: what lies elsewhere than they do now waits for nothing
            return next((w for w in watchers[:1] if w.root == root), None)
        named = (w for w in watchers if w.name == task.inbox)
        return next(named, next((w for w in watchers if w.root == root), None))

    def _unavailable(self) -> frozenset[str | None]:
        away = {watcher.name for watcher in self._watchers if not watcher.health().is_available}
        uploads = {None} if self._config.inboxes[0].name in away else set()  # they lie there
        full = {name for name, disk in self._disks.of.items() if not disk.has_room}
        others = self._dispatcher.inboxes - self._disks.of.keys()
        return frozenset(full | away | uploads | set(filter(self._is_renamed_away, others)))

    def _is_renamed_away(self, inbox: str | None) -> bool:
        """Must tasks wait whose inbox's name is configured no longer? By the last one begun."""
        task = self._renamed.get(inbox)
        outbox = None if task is None else task.outbox
        watcher = None if task is None else self._watcher_of(task)
        is_there = watcher is None or watcher.health().is_available
        return not (is_there and self._disks.of_task(inbox, outbox).has_room)

    # --- The inboxes ---

    def _start_watching(self) -> None:
        for inbox in self._config.inboxes:
            inspector = Inspector()  # one each: a share that hangs holds up only its own
            self._inspectors.append(inspector)
            watcher = self._made_watcher(inbox, inspector)
            watcher.start()
            self._watchers.append(watcher)

    def _stop_watching(self) -> None:
        for watcher in self._watchers:
            watcher.stop()  # all at once: each may be in the middle of something slow
        deadline = time.monotonic() + _WATCHERS_SECONDS
        for watcher in self._watchers:
            watcher.join(max(0.0, deadline - time.monotonic()))
        for watcher in self._watchers:
            seen = watcher.health()
            if seen.mount is not None:
                self._mounts[str(seen.path)] = seen.mount
        for inspector in self._inspectors:
            inspector.close()
        self._watchers, self._inspectors = [], []

    def _rescan(self) -> None:
        for watcher in self._watchers:
            watcher.rescan()

    def _made_watcher(self, inbox: Inbox, inspector: Inspector) -> InboxWatcher:
        config = self._config
        root = config.place(inbox.inbox)
        claims = Claims(
            inbox.name,
            root,
            config.outbox_of(inbox),
            config.defaults_of(inbox),
            self._spool,
            config.max_pending,
            config.max_video_bytes,
            config.webhook.allow_private,
        )
        rules = InboxRules(
            settle_s=config.settle_s,
            sidecar_grace_s=config.sidecar_grace_s,
            incomplete_wait_s=config.incomplete_wait_s,
            rescan_s=config.rescan_s,
            extensions=frozenset(config.extensions),
        )
        return InboxWatcher(
            inbox.name,
            root,
            rules,
            claims,
            lambda: self._may_claim(inbox.name),
            inspector.is_truncated,
            self._accepted,
            known_mount=self._mounts.get(str(root)),
            min_free_gb=config.min_free_gb,
        )

    def _accepted(self, task: Task) -> None:
        """Take note of a task that an inbox has claimed; in the inbox's thread."""
        self._statuses.mark(task.task_id, task)
        if task.parameters.webhook_url is not None:
            self._webhooks.wake(task.task_id)
        if task.status is Status.FAILED:
            queue_log().error("failed", **failure_facts(task))
            return
        queue_log().info(
            "accepted",
            task_id=task.task_id,
            video=task.input_video,
            inbox=task.inbox,
            subfolder=task.subfolder,
            user_id=task.user_id,
        )
        self._dispatcher.add(task)

    # --- How it is ---

    def _tell_health(self) -> None:
        inboxes = [watcher.health() for watcher in self._watchers]
        lost = [] if self._disks.own.is_away else list(self._lost())
        self._health.tell(self._is_stopping, inboxes, self._mounts, self._disks, self._web, lost)

    def _keep_state_whole(self) -> None:
        """Make anew what somebody has removed with all empty folders: without it nothing works."""
        if self._disks.own.is_away or self._has_lost_state():
            return
        with contextlib.suppress(OSError):  # the disks are asked about that
            for folder in self._spool.make_folders():
                told = "a folder of the state was removed, and is made anew"
                server_log().warning(told, path=str(folder))

    def _lost(self) -> Iterator[str]:
        """Say which folders are this service's no longer."""
        if self._has_lost_state():
            yield (
                f"state: {self._state} is another folder than the one that this service works on;"
                " bring that back, or restart the service."
            )
        if self._housekeeping.temp_trouble is not None:
            yield self._housekeeping.temp_trouble


class _Drain:
    """Gives what runs its time, then has it put back."""

    def __init__(self, put_back: Callable[[], None]) -> None:
        self._put_back = put_back
        self._since: float | None = None

    def go_on(self, is_wanted: bool, patience_seconds: float) -> None:
        now = time.monotonic()
        if not is_wanted:
            self._since = None
        elif self._since is None:
            self._since = now
        if self._since is not None and now >= self._since + patience_seconds:
            self._put_back()


def _refuse(problems: Sequence[str]) -> None:
    """
    Raises:
        ConfigError: with all of these, if there are any.
    """
    if problems:
        raise ConfigError(*problems)


def _made_spool(state: Path) -> Spool:
    """
    Raises:
        ConfigError: a folder of the state cannot be made.
    """
    try:
        return Spool(state)
    except OSError as error:
        raise ConfigError(
            f"state: {error.filename or state} cannot be made: {error.strerror};"
            " mend that, or name another."
        ) from error


@contextlib.contextmanager
def _telling_of(state: Path) -> Iterator[None]:
    """
    Raises:
        ConfigError: what lies there cannot be used, as where another user has made it.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"state: {error.filename or state} cannot be used: {error.strerror}; give all of it to"
            " this user (chown -R), or mend what is wrong there."
        ) from error


def _bounds(config: Config) -> Bounds:
    return Bounds(memory_gb=config.limits.worker_memory_gb, device=config.device)
