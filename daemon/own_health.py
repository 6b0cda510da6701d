"""
What the service says of itself: gathers how its parts are and has `health` write it.

What is wrong with a record is also told in the log here, once, whoever met it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from daemon import health
from daemon.disks import Disks
from daemon.health import Health, ServiceStatus, Workers
from daemon.inbox import WatcherHealth
from daemon.logs import Once, log_trouble, server_log
from daemon.pool import Pool
from daemon.retention_hold import RetentionHold
from daemon.spool import Spool
from daemon.status_writer import StatusWriter
from daemon.task_id import is_task_id
from daemon.web_process import WebProcess
from daemon.webhooks import Webhooks


class OwnHealth:
    """Tells how one service is, from its start on."""

    def __init__(
        self,
        state: Path,
        spool: Spool,
        pool: Pool,
        statuses: StatusWriter,
        webhooks: Webhooks,
        retention_hold: RetentionHold,
    ) -> None:
        self._state = state
        self._spool = spool
        self._pool = pool
        self._statuses = statuses
        self._webhooks = webhooks
        self._retention_hold = retention_hold
        self._started_at = datetime.now().astimezone()
        self._statuses_until: datetime | None = None
        self._once = Once(server_log())
        self._told_damaged: set[str] = set()

    def begin(self, statuses_until: datetime | None) -> None:
        """Take over, from the last service, until when status files are known to be true."""
        self._statuses_until = statuses_until

    def tell(
        self,
        is_stopping: bool,
        inboxes: Sequence[WatcherHealth],
        mounts: Mapping[str, str],
        disks: Disks,
        web: WebProcess | None,
        lost: Sequence[str],
    ) -> None:
        """
        Write it; a disk that refuses is told in the log.

        Args:
            mounts: where inboxes lay when they were last seen, by folder.
            web: None where a unit of its own answers requests.
            lost: what is wrong with the folders that are to be this service's alone.
        """
        try:
            self._tell_damaged()
            problems = [*self._problems(inboxes, disks, web), *lost]
            now = self._gathered(is_stopping, inboxes, mounts, disks, web, problems)
            health.write(self._state, now)
        except OSError as error:
            self._once.tell("health cannot be written", True, reason=error.strerror)
        else:
            self._once.tell("health cannot be written", False)

    def _tell_damaged(self) -> None:
        """Name each record that was set aside, whoever met it, once in the log."""
        for path in self._spool.damaged():
            if path.name not in self._told_damaged:
                self._told_damaged.add(path.name)
                reason = self._spool.why_damaged(path)
                task_id = path.name.partition(".")[0]
                of = {"task_id": task_id} if is_task_id(task_id) else {}
                server_log().error("record damaged", **of, path=str(path), reason=reason)

    def _gathered(
        self,
        is_stopping: bool,
        inboxes: Sequence[WatcherHealth],
        mounts: Mapping[str, str],
        disks: Disks,
        web: WebProcess | None,
        problems: Sequence[str],
    ) -> Health:
        now = datetime.now().astimezone()
        if not self._statuses.is_behind:
            self._statuses_until = now
        return Health(
            pid=os.getpid(),
            started_at=self._started_at,
            updated_at=now,
            status=ServiceStatus.STOPPING if is_stopping else self._status(),
            workers=Workers(self._pool.size, self._pool.ready, self._pool.busy),
            inboxes={seen.name: _inbox(seen, mounts) for seen in inboxes},
            free_gb=disks.free_gb,
            mounts=disks.mounts,
            problems=tuple(problems),
            url=web.url if web is not None and web.is_ready else None,
            statuses_until=self._statuses_until,
            retention_held_until=self._retention_hold.until(now),
        )

    def _status(self) -> ServiceStatus:
        if self._spool.control.is_draining:
            return ServiceStatus.DRAINING
        if self._spool.control.is_paused:
            return ServiceStatus.PAUSED
        return ServiceStatus.RUNNING

    def _problems(
        self, inboxes: Sequence[WatcherHealth], disks: Disks, web: WebProcess | None
    ) -> Iterator[str]:
        for seen in inboxes:
            if not seen.is_well:
                yield f"inbox {seen.name}: {seen.reason}"
        yield from disks.problems
        if (reason := log_trouble()) is not None:
            yield f"logs: {reason}"
        if self._statuses.trouble is not None:
            yield f"status files: {self._statuses.trouble}"
        yield from self._webhooks.problems
        if self._pool.trouble is not None:
            yield f"workers: {self._pool.trouble}"
        if web is not None and web.trouble is not None:
            yield f"requests: {web.trouble}"


def _inbox(seen: WatcherHealth, mounts: Mapping[str, str]) -> health.InboxHealth:
    return health.InboxHealth(
        path=str(seen.path),
        is_available=seen.is_available,
        watching=seen.watching,
        reason=seen.reason,
        mount=seen.mount or mounts.get(str(seen.path)),
    )
