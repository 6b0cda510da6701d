"""
What the service does by the clock: rescans, looks at disks and at temp, sweeps, applies retention.

When a job's time has come is `schedule`'s business, what may be removed `retention`'s.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from daemon import health, idempotency, outbox, uploads
from daemon.config import Config
from daemon.disks import Disks
from daemon.errors import ConfigError
from daemon.logs import Once, server_log
from daemon.retention import Retention, Rules, sweep_temp
from daemon.retention_hold import RetentionHold
from daemon.schedule import ClockWatch, Daily, Every, Schedule
from daemon.spool import Spool
from daemon.spool_errors import SpoolError
from daemon.status_writer import StatusWriter
from daemon.temp_lock import TempLocks
from daemon.webhooks import Webhooks

_DISK_SECONDS = 10.0
_TEMP_SECONDS = 1.0
_SWEEP_SECONDS = 3600.0
_WEBHOOK_SECONDS = 60.0
_BY_HAND_SECONDS = 30.0
_MARGIN = timedelta(minutes=1)  # between a look and what was moved after it
# Where the machine is never on at `cleanup_hour`: soon after the start, then once a day.
_CATCH_UP_SECONDS = 60.0
_FIRST_RETENTION_SECONDS = 300.0
_RETENTION_SECONDS = 25 * 3600.0


class Housekeeping:
    """
    The jobs of one service, each in a thread of the schedule's.

    Attributes:
        retention_hold: whether anything may be removed for its age just now.
        temp_trouble: why temp is not this service's alone, in a sentence; None where it is.
    """

    def __init__(
        self,
        config: Config,
        disks: Disks,
        spool: Spool,
        statuses: StatusWriter,
        webhooks: Webhooks,
        temp_locks: TempLocks,
        rescan: Callable[[], None],
        has_lost_state: Callable[[], bool],
    ) -> None:
        """
        Args:
            rescan: has all inboxes looked at.
            has_lost_state: is the state another folder than the one that was begun with?
        """
        self.retention_hold = RetentionHold()
        self.temp_trouble: str | None = None
        self._spool, self._statuses, self._webhooks = spool, statuses, webhooks
        self._temp_locks = temp_locks
        self._rescan, self._has_lost_state = rescan, has_lost_state
        self.use(config, disks)
        self._retention_due = time.monotonic() + _FIRST_RETENTION_SECONDS
        self._retention_lock = threading.Lock()
        self._by_hand_seen = spool.now()
        self._clock_watch = ClockWatch()
        self._schedule: Schedule | None = None
        self._once = Once(server_log())

    def use(self, config: Config, disks: Disks) -> None:
        """Go by another configuration, when it is started next."""
        self._config, self._disks = config, disks
        inboxes = [config.place(inbox.inbox) for inbox in config.inboxes]
        self._retention = Retention(self._spool, inboxes, Rules(**config.retention.model_dump()))

    def start(self) -> None:
        """Begin; the first turn of each job comes when its time has gone by."""
        config = self._config
        self._schedule = Schedule(
            [
                Every("rescan", config.rescan_s, self._rescan),
                # One each, since a share that hangs holds up whoever looks at it.
                *(
                    Every(f"disk watch {number}", _DISK_SECONDS, disk.check)
                    for number, disk in enumerate(self._disks.all)
                ),
                Every("temp watch", _TEMP_SECONDS, self.hold_temp),
                Every("sweep", _SWEEP_SECONDS, self.sweep),
                Every("moved by hand", _BY_HAND_SECONDS, self._heed_hand),
                Every("webhooks", _WEBHOOK_SECONDS, self._webhooks.rescan),
                Daily("retention", config.cleanup_hour, self.remove_old),
                Every("missed retention", _CATCH_UP_SECONDS, self._catch_up),
            ]
        )
        self._schedule.start()

    def stop(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        if self._schedule is not None:
            self._schedule.stop()
            self._schedule = None

    def heed_clock(self) -> None:
        """Plan anew where the clock was set back; to be called all the time."""
        seconds = self._clock_watch.seconds_set()
        if seconds < 0:
            server_log().warning("the clock was set back", seconds=round(-seconds, 1))
            self.stop()
            self.start()

    def hold_temp(self) -> None:
        """Hold `temp`, which may have been made anew; on a thread that may hang with its share."""
        try:
            self._temp_locks.hold(self._config.place(self._config.temp))
        except ConfigError as error:
            self.temp_trouble = error.message
        else:
            self.temp_trouble = None
        trouble = self.temp_trouble
        self._once.tell("temp cannot be held", trouble is not None, reason=trouble)

    def _heed_hand(self) -> None:
        """Bring home what an operator's `mv` misplaced; have status files tell of ends it made."""
        now = self._spool.now()
        since, self._by_hand_seen = min(self._by_hand_seen, now), now  # the clock may be set back
        for task_id, reason in self._spool.bring_home_since(since - _MARGIN).items():
            server_log().warning("record not brought home", task_id=task_id, reason=reason)
        for task_id in self._spool.given_up_ids_since(since - _MARGIN):
            self._statuses.mark(task_id)

    def sweep(self) -> None:
        """Remove what crashes have left in temp, in outboxes, of uploads and of their keys."""
        config, is_wanted = self._config, self._spool.may_publish
        self.hold_temp()
        if self.temp_trouble is None:  # else what lies there may be another service's
            for problem in sweep_temp(config.place(config.temp), is_wanted).problems:
                server_log().warning("left over in temp", reason=problem)
        outboxes = {config.outbox_of(inbox) for inbox in config.inboxes}
        for folder in outboxes | {config.place(config.outbox)}:
            with self._passed_over(str(folder)):
                outbox.sweep(folder, is_wanted, time.time())
        with self._passed_over("keys of uploads"):
            idempotency.sweep(config.place(config.state) / idempotency.FOLDER, time.time())
        for inbox in config.inboxes:  # any may have been the first, which uploads lie in
            place = config.place(inbox.inbox)
            with self._passed_over(f"uploads in {place}"):
                uploads.sweep(place, self._spool, time.time())

    @contextlib.contextmanager
    def _passed_over(self, what: str) -> Iterator[None]:
        """Leave to the next time what cannot be swept now, tell of it, and go on."""
        reason: str | None = None
        try:
            yield
        except (OSError, SpoolError) as error:
            reason = str(error)
        self._once.tell("not swept", reason is not None, of=what, reason=reason)

    def _catch_up(self) -> None:
        """Remove what is old where the machine is never on at `cleanup_hour`."""
        if time.monotonic() >= self._retention_due:
            self.remove_old()

    def remove_old(self) -> None:
        """Apply retention; one run at a time, whichever schedule or job began it."""
        if not self._retention_lock.acquire(blocking=False):
            return
        try:
            self._apply_retention()
        finally:
            self._retention_lock.release()

    def _apply_retention(self) -> None:
        self._retention_due = time.monotonic() + _RETENTION_SECONDS
        # To a state that is just being restored, originals of tasks that wait are nobody's.
        if self.retention_hold.look() or self._has_lost_state():
            return
        config = self._config
        mounts = health.known_mounts(config.place(config.state))
        cleaned = self._retention.run(self._spool.now(), mounts)
        server_log().info("retention", tasks=cleaned.deleted_tasks, bytes=cleaned.freed_bytes)
        for problem in cleaned.problems:
            server_log().warning("retention", reason=problem)
