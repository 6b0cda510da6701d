"""
That the service's parts are joined as they must be: each of these would work alone.

Folders, inboxes and the spool are real; workers, the look into files and requests are scripts,
so no process is started. `test_service.py` has the real ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import yaml
from services import PATIENCE_SECONDS, wait_until
from spools import REASON, REPORT
from translations import is_known

from daemon import attempts, dispatcher, housekeeping, machine, own_health
from daemon import health as health_module
from daemon import service as service_module
from daemon.config import load_config
from daemon.errors import ConfigError
from daemon.health import Health, InboxHealth, ServiceStatus, Workers
from daemon.inbox import InboxWatcher
from daemon.jobs import Bounds, Done, Ended, Event, Job, Lost, Progressed, Refused
from daemon.locks import try_lock
from daemon.logs import reset_logs
from daemon.outbox import status_path
from daemon.retention import Cleaned
from daemon.service import Overrides, Service
from daemon.spool import Spool
from daemon.spool_errors import TaskBusy
from daemon.task import MAX_INTERRUPTIONS, Failure, Progress, Status, Submission, Task
from daemon.temp_lock import TempLocks

QUICK = {
    "settle_s": 0.2,
    "sidecar_grace_s": 0.05,
    "rescan_s": 0.2,
    "workers": 2,
    "min_free_gb": 1,
}
TWO_INBOXES = [
    {"name": "main", "inbox": "inbox"},
    {"name": "studio", "inbox": "in2", "outbox": "out2"},
]
SECOND_HOURS = 1 / 3600


_NOW = datetime.now().astimezone()
STOPPED = Health(1, _NOW, _NOW, ServiceStatus.STOPPED, Workers(0, 0, 0))


class ScriptedPool:
    """Takes jobs, and says of them what the test wants."""

    def __init__(self, size: int, bounds: Bounds, *, stall_s: float) -> None:
        self.size, self.bounds, self.stall_s = size, bounds, stall_s
        self.trouble: str | None = None
        self.polls = 0
        self.nearly_done: frozenset[str] = frozenset()
        self.jobs: list[Job] = []
        self.stopped: list[str] = []
        self._events: list[Event] = []
        self._wake = threading.Event()

    @property
    def idle(self) -> int:
        return max(self.size - len(self.jobs), 0)

    @property
    def ready(self) -> int:
        return self.size

    @property
    def busy(self) -> int:
        return len(self.jobs)

    def start(self) -> None:
        """There is nothing to start."""

    def close(self) -> None:
        """Nor to end."""

    def begin(self, job: Job) -> None:
        self.jobs.append(job)

    def stop(self, token: str) -> None:
        self.stopped.append(token)
        for job in [job for job in self.jobs if job.token == token]:
            self.say(Ended(job))

    def say(self, event: Event) -> None:
        if not isinstance(event, Progressed):
            self.jobs.remove(event.job)
        self._events.append(event)
        self.wake()

    def poll(self, timeout: float, may_begin: Callable[[], bool]) -> list[Event]:
        self._wake.wait(min(timeout, 0.05))
        self._wake.clear()
        self.polls += 1
        said, self._events = self._events, []
        return said

    def wake(self) -> None:
        self._wake.set()

    def resize(self, size: int) -> None:
        self.size = size

    def use_bounds(self, bounds: Bounds) -> None:
        self.bounds = bounds


class ScriptedSignals:
    """As `ServiceSignals`, which only the main thread can have."""

    def __init__(self) -> None:
        self.ends = 0
        self.wants_reload = False

    def __enter__(self) -> ScriptedSignals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """There is nothing to take back."""

    def take_reload(self) -> bool:
        wants, self.wants_reload = self.wants_reload, False
        return wants


class NoWeb:
    """Answers nothing."""

    url, is_ready, trouble = "http://localhost:0", True, None

    def __init__(self, *words: object, **named: object) -> None:
        self.reloads = 0

    def start(self) -> None:
        """Nothing is started."""

    look = close = start

    def reload(self) -> None:
        self.reloads += 1


class House:
    """A service in a thread, and the folders around it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.signals = ScriptedSignals()
        self.truncated: set[str] = set()
        self.full: set[str] = set()  # names of folders
        self.inbox, self.state = folder / "inbox", folder / "state"
        self.service: Service | None = None
        monkeypatch.setattr(service_module, "Pool", ScriptedPool)
        monkeypatch.setattr(service_module, "WebProcess", NoWeb)
        monkeypatch.setattr(service_module, "Inspector", lambda: _Inspector(self.truncated))
        monkeypatch.setattr(housekeeping, "_DISK_SECONDS", 0.1)
        monkeypatch.setattr(dispatcher, "_LIST_SECONDS", 0.1)
        monkeypatch.setattr(health_module, "WRITE_SECONDS", 0.05)
        monkeypatch.setattr(os, "statvfs", self._statvfs)
        self.configure()

    def configure(self, **settings: Any) -> None:
        self.config = self.folder / "config.yaml"
        self.config.write_text(yaml.safe_dump({**QUICK, **settings}))

    @contextmanager
    def running(self, overrides: Overrides | None = None) -> Iterator[ScriptedPool]:
        """Have the service run while the context lasts."""
        self.service = Service(
            lambda: load_config(self.config), overrides or Overrides(), self.config
        )
        self.thread = threading.Thread(target=self.service.run, args=[self.signals], daemon=True)
        self.thread.start()
        wait_until(lambda: self.health().status is ServiceStatus.RUNNING, "ready")
        pool = self.service._pool
        assert isinstance(pool, ScriptedPool)
        try:
            yield pool
        finally:
            self.signals.ends = 2
            self.thread.join(PATIENCE_SECONDS)
            assert not self.thread.is_alive()

    def reload(self, **settings: Any) -> None:
        """Have the service take over another configuration."""
        taken = '"configuration taken over"'
        log = self.folder / "logs/server.log"
        before = log.read_text().count(taken)
        self.configure(**settings)
        self.signals.wants_reload = True
        wait_until(lambda: log.read_text().count(taken) > before, "taken over")

    def log_lines(self) -> list[dict[str, Any]]:
        # Whole ones: the last may just be written.
        whole = (self.folder / "logs/server.log").read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.decode().splitlines()]

    def health(self) -> Health:
        return health_module.read(self.state) or STOPPED

    def problem(self, word: str) -> str:
        """Wait until the service tells of a problem."""
        return wait_until(lambda: next((p for p in self.health().problems if word in p), ""), word)

    # --- Files and tasks ---

    @property
    def spool(self) -> Spool:
        return Spool(self.state)

    def drop(self, name: str, inbox: str = "inbox", size: int = 10) -> Path:
        path = self.folder / inbox / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * size)
        return path

    def submit(self, name: str, inbox: str | None = "main", outbox: str = "outbox") -> Task:
        """Put a task into the queue that no inbox has to claim."""
        task_id = self.spool.new_id()
        original = self.inbox / ".media-cleaner/originals/day" / task_id / name
        original.parent.mkdir(parents=True, mode=0o750)
        original.write_bytes(b"x" * 10)
        return self.spool.submit(
            Submission(
                task_id=task_id,
                input_video=name,
                original=str(original),
                outbox=str(self.folder / outbox),
                inbox=inbox,
            ),
            100,
        )

    def task(self, name: str) -> Task | None:
        return next((t for t in self.spool.list().tasks if t.input_video == name), None)

    def wait_for(self, name: str, status: Status) -> Task:
        def seen() -> Task | None:
            task = self.task(name)
            return task if task is not None and task.status is status else None

        task = wait_until(seen, f"{name} {status}")
        assert isinstance(task, Task)
        return task

    def _statvfs(self, path: Path | str) -> os.statvfs_result:
        blocks = 0 if Path(path).name in self.full else 1 << 30
        return os.statvfs_result((4096, 4096, 1 << 31, blocks, blocks, 0, 0, 0, 0, 255))


class _Inspector:
    def __init__(self, truncated: set[str]) -> None:
        self._truncated = truncated

    def is_truncated(self, path: Path) -> bool:
        return path.name in self._truncated

    def close(self) -> None:
        """There is no process to end."""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    yield House(tmp_path, monkeypatch)
    reset_logs()


def job_of(pool: ScriptedPool, name: str) -> Job:
    """Wait until a video is being worked on."""
    job = wait_until(
        lambda: next((job for job in list(pool.jobs) if job.original.name == name), None),
        f"{name} is begun",
    )
    assert isinstance(job, Job)
    return job


def stays(claim: Callable[[], object], seconds: float = 0.5) -> None:
    """What is so now is still so after the service has had time to change it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert claim()
        time.sleep(0.02)


def count_of(house: House, event: str) -> int:
    """Return how often the queue's log has an event."""
    return (house.folder / "logs/queue.log").read_text().count(event)


def is_begun(pool: ScriptedPool, name: str) -> bool:
    return name in [job.original.name for job in list(pool.jobs)]


def test_a_drop_is_claimed_protected_and_told_of(house: House) -> None:
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        staged = job.folder / "result.mp4"
        staged.write_bytes(b"protected")
        pool.say(Done(job, staged, ".mp4", REPORT))
        house.wait_for("clip.mp4", Status.COMPLETED)
    (status,) = (house.folder / "outbox").glob("*.status.json")
    assert '"status": "completed"' in status.read_text()


def test_what_the_inspector_calls_truncated_is_left_in_the_inbox(house: House) -> None:
    house.truncated.add("half.mp4")
    with house.running() as pool:
        half = house.drop("half.mp4")
        house.drop("whole.mp4")
        job_of(pool, "whole.mp4")
        stays(half.exists)


# --- Disks ---


@pytest.mark.parametrize("folder", ["temp", "state"])
def test_without_room_for_the_service_itself_nothing_is_claimed_or_begun(
    house: House, folder: str
) -> None:
    house.full.add(folder)
    house.submit("waits.mp4")
    with house.running() as pool:
        dropped = house.drop("clip.mp4")
        assert folder in house.problem("min_free_gb")
        stays(lambda: dropped.exists() and not pool.jobs)
        house.full.clear()
        job_of(pool, "clip.mp4")
        job_of(pool, "waits.mp4")


def test_the_end_needs_no_thread(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the machine has none left."""

    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with house.running():
        monkeypatch.setattr(threading.Thread, "start", none)
    assert house.health().status is ServiceStatus.STOPPED


def test_another_folder_in_the_states_place_is_told_and_nothing_is_taken(house: House) -> None:
    """What was taken then would be nowhere, and nothing would keep a second service away."""
    with house.running():
        house.state.rename(house.folder / "old")
        house.state.mkdir()
        dropped = house.drop("clip.mp4")
        problem = house.problem("another folder")
        assert "restart" in problem
        assert is_known(problem)  # in Russian too
        stays(dropped.exists)
        assert not any(path.is_dir() for path in house.state.iterdir())  # nothing is made there
        house.state.rename(house.folder / "new")
        (house.folder / "old").rename(house.state)
        house.wait_for("clip.mp4", Status.PROCESSING)


def test_a_state_that_is_being_restored_makes_no_original_nobodys(house: House) -> None:
    """An original without a record goes by `originals_days`; these have one, elsewhere."""
    house.configure(retention={"originals_days": 0})
    with house.running():
        house.drop("clip.mp4")
        task = house.wait_for("clip.mp4", Status.PROCESSING)
        house.state.rename(house.folder / "old")
        Spool(house.state)  # its folders are there, and no record yet
        assert house.service is not None
        house.service._housekeeping.remove_old()
        house.state.rename(house.folder / "new")
        (house.folder / "old").rename(house.state)
    assert Path(task.original).exists()


def test_folders_of_the_state_that_somebody_removed_as_empty_are_made_anew(house: House) -> None:
    """`find state -type d -empty -delete`: nothing was taken then, and /health saw nothing."""
    with house.running() as pool:
        missing = [house.state / name for name in ("locks", "progress", "webhooks", "pending")]
        for folder in missing:
            wait_until(lambda folder=folder: removed(folder), "it is empty")
        wait_until(lambda: all(folder.is_dir() for folder in missing), "made anew")
        house.drop("clip.mp4")
        job_of(pool, "clip.mp4")


def removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
        return True
    return False


def is_locked(folder: Path) -> bool:
    """Is it some service's already? Asked so that nothing is held afterwards."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def test_a_temp_that_is_made_anew_is_held_too(house: House) -> None:
    """A second service would sweep away what runs there."""
    with house.running():
        (house.folder / "temp").rename(house.folder / "old")
        (house.folder / "temp").mkdir()
        wait_until(lambda: is_locked(house.folder / "temp"), "held")


def test_in_a_temp_of_another_service_nothing_is_begun(house: House) -> None:
    temp, other = house.folder / "temp", house.folder / "other"
    with house.running() as pool, contextlib.closing(TempLocks()) as second:
        other.mkdir()
        second.hold(other)
        temp.rename(house.folder / "old")
        other.rename(temp)
        problem = house.problem("another service")
        assert is_known(problem)  # in Russian too
        assert house.service is not None
        theirs = temp / f"{house.service._spool.new_id()}.{'0' * 32}"
        theirs.mkdir()
        house.service._housekeeping.sweep()
        assert theirs.is_dir()  # nor removed
        house.drop("clip.mp4")
        house.wait_for("clip.mp4", Status.PENDING)
        stays(lambda: not pool.jobs)
        second.close()
        job_of(pool, "clip.mp4")


def test_what_cannot_be_removed_from_temp_is_told(house: House) -> None:
    with house.running():
        assert house.service is not None
        left_over = house.folder / "temp" / f"{house.service._spool.new_id()}.{'0' * 32}"
        left_over.symlink_to(house.folder)  # is not followed
        house.service._housekeeping.sweep()
        assert any(str(left_over) in line.get("reason", "") for line in house.log_lines())
    assert (house.folder / "temp").is_dir()


def test_an_outbox_that_cannot_be_swept_keeps_no_other_place_from_it(house: House) -> None:
    """As a share whose server is gone, which answers otherwise than one that is not mounted."""
    with house.running():
        assert house.service is not None
        (house.folder / "outbox").rename(house.folder / "old")
        (house.folder / "outbox").symlink_to("outbox")
        entry = house.state / "idempotency/old.json"
        entry.parent.mkdir(exist_ok=True)
        entry.touch()
        os.utime(entry, (0, 0))
        house.service._housekeeping.sweep()
        assert not entry.exists()
        lines = (house.folder / "logs/server.log").read_text().splitlines()
        told = [line for line in map(json.loads, lines) if line["event"] == "not swept"]
        assert [line["of"] for line in told] == [str(house.folder / "outbox")]


def test_what_uploads_left_is_swept_of_an_inbox_that_was_the_first_before(house: House) -> None:
    house.configure(inboxes=TWO_INBOXES)
    with house.running():
        assert house.service is not None
        part = house.folder / "in2/.media-cleaner/uploads" / f"{'0' * 32}.part"
        part.parent.mkdir(parents=True, mode=0o750)
        part.parent.parent.chmod(0o750)
        part.write_bytes(b"x")
        os.utime(part, (0, 0))
        house.service._housekeeping.sweep()
        assert not part.exists()


def test_without_room_in_one_outbox_only_its_own_inbox_waits(house: House) -> None:
    house.configure(inboxes=TWO_INBOXES)
    house.full.add("out2")
    house.submit("waits.mp4", "studio", "out2")
    with house.running() as pool:
        dropped = house.drop("studio.mp4", "in2")
        house.drop("clip.mp4")
        job_of(pool, "clip.mp4")
        stays(lambda: dropped.exists() and not is_begun(pool, "waits.mp4"))
        house.full.clear()
        job_of(pool, "waits.mp4")


def test_tasks_wait_for_an_outbox_that_is_read_only_and_lose_no_attempt(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = os.access, house.folder / "outbox"
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        with monkeypatch.context() as patched:
            patched.setattr(
                os, "access", lambda path, mode: Path(path) != refused and real(path, mode)
            )
            failure = Failure("output_failed", "the outbox is read-only")
            pool.say(Refused(job, failure, True, None))
            house.problem("outbox")

            def is_postponed() -> bool:
                task = house.task("clip.mp4")
                return task is not None and task.attempts == 0

            wait_until(is_postponed, "put back")  # beside what tells of the outbox
            stays(is_postponed)
        job_of(pool, "clip.mp4")


def test_a_task_of_an_inbox_that_is_configured_no_longer_waits_for_its_outbox_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = os.access, house.folder / "outbox"
    begun: list[str] = []
    begin = attempts.Attempts.begin

    def seen_begin(self: attempts.Attempts, task_id: str) -> attempts.Attempt | None:
        begun.append(task_id)
        return begin(self, task_id)

    monkeypatch.setattr(attempts.Attempts, "begin", seen_begin)
    house.submit("waits.mp4", "gone")
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda path, mode: Path(path) != refused and real(path, mode))
        with house.running() as pool:
            house.problem("outbox")
            stays(lambda: not begun)
            patched.undo()
            job_of(pool, "waits.mp4")


def test_without_room_in_the_outbox_uploads_wait(house: House) -> None:
    house.configure(inboxes=TWO_INBOXES[1:])
    house.full.add("outbox")
    house.submit("upload.mp4", None)
    with house.running() as pool:
        house.drop("clip.mp4", "in2")
        job_of(pool, "clip.mp4")
        stays(lambda: not is_begun(pool, "upload.mp4"))
        house.full.clear()
        job_of(pool, "upload.mp4")


# --- Bounds that the configuration sets ---


def test_max_attempts_is_heeded(house: House) -> None:
    house.configure(max_attempts=1)
    with house.running() as pool:
        house.drop("clip.mp4")
        pool.say(Lost(job_of(pool, "clip.mp4"), REASON))
        assert house.wait_for("clip.mp4", Status.FAILED).attempts == 1


def test_task_timeout_hours_is_heeded(house: House) -> None:
    house.configure(task_timeout_hours=SECOND_HOURS / 2)
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        pool.say(Progressed(job, Progress(job.token, 1.0, 1, 100)))
        assert house.wait_for("clip.mp4", Status.FAILED).error_code == "timed_out"


def test_max_video_size_gb_is_heeded_at_the_claim_and_at_the_beginning(house: House) -> None:
    house.configure(max_video_size_gb=1e-9)  # one byte
    house.submit("waits.mp4")
    with house.running() as pool:
        house.drop("clip.mp4")
        for name in ("clip.mp4", "waits.mp4"):
            assert house.wait_for(name, Status.FAILED).error_code == "limit_exceeded"
        assert pool.jobs == []


def test_max_pending_is_heeded(house: House) -> None:
    house.configure(max_pending=1)
    with house.running() as pool:
        pool.size = 0
        house.drop("first.mp4")
        house.wait_for("first.mp4", Status.PENDING)
        second = house.drop("second.mp4")
        stays(second.exists)


# --- Pause, drain, the end ---


def test_paused_nothing_is_begun_but_the_queue_fills_and_what_runs_goes_on(house: House) -> None:
    with house.running() as pool:
        house.drop("runs.mp4")
        job = job_of(pool, "runs.mp4")
        house.spool.control.pause()
        wait_until(lambda: house.health().status is ServiceStatus.PAUSED, "paused")
        dropped = house.drop("clip.mp4")
        wait_until(lambda: not dropped.exists(), "claimed")
        stays(lambda: pool.jobs == [job])
        house.spool.control.resume()
        job_of(pool, "clip.mp4")


def test_a_drain_puts_back_what_does_not_end_in_time_and_begins_nothing(house: House) -> None:
    house.configure(drain_s=0.3)
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        pool.say(Progressed(job, Progress(job.token, 0.0, 0, None)))
        house.spool.control.drain()
        task = house.wait_for("clip.mp4", Status.PENDING)
        assert (task.attempts, task.interruptions) == (0, 1)
        wait_until(lambda: house.health().status is ServiceStatus.DRAINING, "draining")
        stays(lambda: not pool.jobs)
        house.spool.control.resume()
        job_of(pool, "clip.mp4")


def test_the_first_signal_gives_what_runs_its_time_and_the_second_does_not(house: House) -> None:
    house.configure(drain_s=60)
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        house.signals.ends = 1
        wait_until(lambda: house.health().status is ServiceStatus.STOPPING, "stopping")
        stays(lambda: pool.jobs == [job])
        house.signals.ends = 2
        house.thread.join(PATIENCE_SECONDS)
        assert not house.thread.is_alive()
        assert pool.stopped == [job.token]
    assert house.wait_for("clip.mp4", Status.PENDING).attempts == 0
    assert house.health().status is ServiceStatus.STOPPED


@pytest.mark.parametrize("why", ["pause", "drain", "signal"])
def test_a_wish_that_nothing_be_begun_holds_before_the_main_thread_comes_to_it(
    house: House, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A worker that gets free in that moment is to begin nothing."""
    is_running = threading.Event()
    answers: list[bool] = []
    real = ScriptedPool.poll

    def poll(pool: ScriptedPool, timeout: float, may_begin: Callable[[], bool]) -> list[Event]:
        if is_running.is_set() and not answers:
            answers.append(may_begin())
            if why == "signal":
                house.signals.ends = 1
            else:
                getattr(house.spool.control, why)()
            answers.append(may_begin())
        return real(pool, timeout, may_begin)

    monkeypatch.setattr(ScriptedPool, "poll", poll)
    with house.running():
        is_running.set()
        wait_until(lambda: len(answers) == 2, "asked")
    assert answers == [True, False]


# --- A new configuration ---


def test_workers_that_the_command_line_overrides_may_be_too_many(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_memory_bytes", lambda: 1 << 30)
    house.configure(workers=64)
    with house.running(Overrides(workers=2)) as pool:
        house.reload(workers=128)
        assert pool.size == 2


def test_a_reload_takes_over_the_workers_and_their_bounds(house: House) -> None:
    with house.running() as pool:
        house.reload(workers=5, stall_s=7, limits={"worker_memory_gb": 3.5}, device="cpu")
        assert (pool.size, pool.stall_s) == (5, 7)
        assert pool.bounds == Bounds(3.5, "cpu")
        assert house.service is not None
        assert isinstance(house.service._web, NoWeb)
        assert house.service._web.reloads == 1


def test_a_reload_takes_over_the_rules_of_attempts(house: House) -> None:
    with house.running() as pool:
        house.reload(crf=33, max_attempts=1, temp="temp2", workers=2)
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        assert (job.settings.crf, job.folder.parent.name) == (33, "temp2")
        pool.say(Lost(job, REASON))
        house.wait_for("clip.mp4", Status.FAILED)


def test_a_reload_takes_over_the_timeout_also_for_what_runs(house: House) -> None:
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        pool.say(Progressed(job, Progress(job.token, 1.0, 1, 100)))
        house.reload(task_timeout_hours=SECOND_HOURS / 2)
        assert house.wait_for("clip.mp4", Status.FAILED).error_code == "timed_out"


def test_a_reload_remembers_where_an_inbox_lay_mounted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the empty folder below its share would be an inbox."""
    known: list[str | None] = []

    class Watcher(InboxWatcher):
        def __init__(self, *words: Any, known_mount: str | None, **named: Any) -> None:
            known.append(known_mount)
            super().__init__(*words, known_mount=known_mount, **named)

    monkeypatch.setattr(service_module, "InboxWatcher", Watcher)
    with house.running():
        wait_until(lambda: house.health().inboxes["main"].mount is not None, "seen")
        mount = house.health().inboxes["main"].mount
        house.reload(inboxes=[{"name": "renamed", "inbox": "inbox"}])
        assert known == [None, mount]


def test_a_reload_takes_over_retention(house: House) -> None:
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        staged = job.folder / "result.mp4"
        staged.write_bytes(b"protected")
        pool.say(Done(job, staged, ".mp4", REPORT))
        task = house.wait_for("clip.mp4", Status.COMPLETED)
        result = Path(task.outbox, str(task.output_video))
        assert house.service is not None
        house.service._housekeeping.remove_old()
        assert result.exists()
        house.reload(retention={"results_days": 0})
        house.service._housekeeping.remove_old()
        assert not result.exists()


def test_a_clock_that_is_set_forward_removes_nothing_for_a_day(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result of just now would go as if it were a year old."""
    house.configure(retention={"results_days": 7})
    year = 365 * 86400.0
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        staged = job.folder / "result.mp4"
        staged.write_bytes(b"protected")
        pool.say(Done(job, staged, ".mp4", REPORT))
        task = house.wait_for("clip.mp4", Status.COMPLETED)
        result = Path(task.outbox, str(task.output_video))
        service = house.service
        assert service is not None
        now = service._spool.now() + timedelta(seconds=year)
        monkeypatch.setattr(service._spool, "_clock", lambda: now)
        service._housekeeping.retention_hold._watch._lead -= year
        for _ in range(2):
            service._housekeeping.remove_old()
            assert result.exists()
        service._housekeeping.retention_hold._until = time.monotonic()  # a day later
        service._housekeeping.remove_old()
        assert not result.exists()


def test_a_clock_that_was_set_forward_is_remembered_over_a_restart(house: House) -> None:
    """The clock is looked at all the time, and not only when something is to be removed."""
    with house.running():
        assert house.service is not None
        assert not house.service._housekeeping.retention_hold.look()
        house.service._housekeeping.retention_hold._watch._lead -= 365 * 86400.0
        wait_until(lambda: held_until(house) is not None, "told")
    first = held_until(house)
    house.signals.ends = 0
    with house.running():
        assert house.service is not None
        assert house.service._housekeeping.retention_hold.look()
        until = house.service._housekeeping.retention_hold.until(datetime.now().astimezone())
        assert first is not None
        assert until is not None
        assert abs((until - first).total_seconds()) < 60  # of the same day


def test_a_start_after_long_silence_removes_nothing_for_a_day(house: House) -> None:
    """Nobody saw whether the clock was set meanwhile."""
    with house.running():
        assert house.service is not None
        assert not house.service._housekeeping.retention_hold.look()
        wait_until(lambda: health_module.read(house.state), "told")
    told = health_module.read(house.state)
    assert told is not None
    earlier = told.updated_at - timedelta(days=300)
    health_module.write(house.state, dataclasses.replace(told, updated_at=earlier))
    house.signals.ends = 0
    with house.running():
        assert house.service is not None
        assert house.service._housekeeping.retention_hold.look()


def held_until(house: House) -> datetime | None:
    told = health_module.read(house.state)
    return told and told.retention_held_until


def test_a_clock_that_is_set_back_has_the_schedule_made_anew(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with house.running():
        service = house.service
        assert service is not None
        before = service._housekeeping._schedule
        service._housekeeping._clock_watch._lead += 3600.0
        wait_until(lambda: service._housekeeping._schedule not in (None, before), "made anew")
    told = (house.folder / "logs/server.log").read_text()
    assert told.count("the clock was set back") == 1


class SlowRetention:
    """Removes nothing, and takes its time over it."""

    def __init__(self) -> None:
        self.runs = 0
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def run(self, now: datetime, mounts: Mapping[str, str]) -> Cleaned:
        self.runs += 1
        self.has_begun.set()
        assert self.may_end.wait(PATIENCE_SECONDS)
        return Cleaned()


def test_retention_never_runs_twice_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the schedule was made anew while the old one's job is still at it."""
    slow = SlowRetention()
    with house.running():
        service = house.service
        assert service is not None
        monkeypatch.setattr(service._housekeeping, "_retention", slow)
        first = threading.Thread(target=service._housekeeping.remove_old)
        first.start()
        assert slow.has_begun.wait(PATIENCE_SECONDS)
        before = service._housekeeping._schedule
        service._housekeeping._clock_watch._lead += 3600.0
        wait_until(lambda: service._housekeeping._schedule not in (None, before), "made anew")
        second = threading.Thread(target=service._housekeeping.remove_old)
        second.start()
        second.join(PATIENCE_SECONDS)
        was_left_out, runs = not second.is_alive(), slow.runs
        slow.may_end.set()
        first.join(PATIENCE_SECONDS)
        second.join(PATIENCE_SECONDS)
        assert was_left_out
        assert runs == 1
        service._housekeeping.remove_old()
        assert slow.runs == 2


def test_a_task_that_the_start_fails_is_one_error_in_the_log(house: House) -> None:
    """It was cut short too often."""
    task = house.submit("clip.mp4")
    spool = house.spool
    for _ in range(MAX_INTERRUPTIONS - 1):
        spool.requeue(task.task_id, str(spool.claim(task.task_id).token))
    spool.claim(task.task_id)
    with house.running():
        house.wait_for("clip.mp4", Status.FAILED)
    lines = (house.folder / "logs/queue.log").read_text().splitlines()
    errors = [line for line in map(json.loads, lines) if line["level"] == "ERROR"]
    assert [(line["task_id"], line["code"]) for line in errors] == [(task.task_id, "interrupted")]


def test_ends_are_told_anew_where_the_clock_was_set_back_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what the last service has told nobody can say what came after it."""
    monkeypatch.setattr(housekeeping, "_BY_HAND_SECONDS", 3600.0)  # which would tell of it later
    with house.running() as pool:
        house.drop("clip.mp4")
        pool.say(Refused(job_of(pool, "clip.mp4"), REASON, False, None))
        file = status_path(house.wait_for("clip.mp4", Status.FAILED))
        wait_until(lambda: json.loads(file.read_bytes())["status"] == "failed", "told")
    told = health_module.read(house.state)
    assert told is not None
    later = told.updated_at + timedelta(days=300)
    health_module.write(
        house.state, dataclasses.replace(told, updated_at=later, statuses_until=later)
    )
    file.unlink()
    house.signals.ends = 0
    with house.running():
        wait_until(file.exists, "told again")


def test_a_reload_takes_over_the_inboxes_and_what_is_claimed(house: House) -> None:
    with house.running() as pool:
        house.drop("clip.webm2")
        house.reload(inboxes=TWO_INBOXES, extensions=[".webm2"], defaults={"epsilon": 0.07})
        job_of(pool, "clip.webm2")
        house.drop("studio.webm2", "in2")
        job = job_of(pool, "studio.webm2")
        assert job.parameters.epsilon == 0.07
        assert set(house.health().inboxes) == {"main", "studio"}


def test_a_reload_takes_over_the_bound_of_the_disks_and_the_language(house: House) -> None:
    with house.running() as pool:
        house.reload(min_free_gb=1 << 20, language="en")
        assert "min_free_gb (1.04858e+06)" in house.problem("min_free_gb")
        dropped = house.drop("clip.mp4")
        stays(lambda: dropped.exists() and not pool.jobs)
        house.reload(language="en")
        job_of(pool, "clip.mp4")
        outbox = house.folder / "outbox"  # where it is pending at first
        wait_until(
            lambda: any("Processing" in s.read_text() for s in outbox.glob("*.status.json")),
            "told in English",
        )


def test_what_needs_a_restart_is_told_at_each_reload_until_it_is_as_it_was(house: House) -> None:
    def told(**settings: Any) -> list[str]:
        before = len(house.log_lines())
        house.reload(**settings)
        lines = house.log_lines()[before:]
        return [line["key"] for line in lines if line["event"] == "needs a restart to take effect"]

    with house.running():
        changed = {"host": "::1", "port": 7999, "web_workers": 0, "state": "s2", "logs": "l2"}
        assert told(**changed) == list(changed)
        assert told(**changed, workers=3) == list(changed)
        assert told(web_workers=5) == []


@pytest.mark.parametrize(
    ("overrides", "web_workers", "told"),
    [
        (Overrides(port=0), 1, ["host"]),
        (Overrides(host="127.0.0.1"), 1, ["port"]),
        (Overrides(), 0, []),
    ],
)
def test_no_restart_is_advised_for_an_address_that_is_not_taken_from_the_configuration(
    house: House, overrides: Overrides, web_workers: int, told: list[str]
) -> None:
    house.configure(web_workers=web_workers)
    with house.running(overrides):
        house.reload(web_workers=web_workers, host="::1", port=7999)
        lines = house.log_lines()
    assert [x["key"] for x in lines if x["event"] == "needs a restart to take effect"] == told


def test_a_wrong_configuration_is_not_taken_over(house: House) -> None:
    with house.running() as pool:
        house.configure(workers=7, crf="best")
        house.signals.wants_reload = True
        log = house.folder / "logs/server.log"
        wait_until(lambda: "configuration not taken over" in log.read_text(), "told")
        assert pool.size == 2
        house.drop("clip.mp4")
        job_of(pool, "clip.mp4")


# --- What it says of itself, and what it does by the clock ---


def test_an_inbox_whose_share_was_mounted_when_it_was_last_seen_is_away(house: House) -> None:
    """The folder is there, but what was mounted on it is not."""
    house.state.mkdir()
    house.inbox.mkdir()
    last = InboxHealth(
        str(house.inbox), is_available=True, watching="polling", mount=str(house.inbox)
    )
    house.state.mkdir(exist_ok=True)
    health_module.write(house.state, dataclasses.replace(STOPPED, inboxes={"main": last}))
    dropped = house.drop("clip.mp4")
    with house.running():
        house.problem("inbox main")
        stays(dropped.exists)
        assert not house.health().inboxes["main"].is_available
    assert house.health().inboxes["main"].mount == str(house.inbox)  # for the next start


def test_no_outbox_is_made_where_its_share_is_not_mounted(house: House) -> None:
    """It would lie in the empty folder below the mount."""
    house.state.mkdir()
    share = house.folder / "share"
    share.mkdir()
    house.configure(outbox="share/outbox")
    mounts = {str(share / "outbox"): str(share)}
    health_module.write(house.state, dataclasses.replace(STOPPED, mounts=mounts))
    with house.running():
        house.problem(f"nothing is mounted on {share}")
    assert list(share.iterdir()) == []


def test_an_inbox_that_goes_away_is_told_and_its_tasks_wait(house: House) -> None:
    house.configure(inboxes=TWO_INBOXES)
    with house.running() as pool:
        wait_until(lambda: house.health().inboxes["studio"].is_available, "there")
        pool.size = 0
        house.submit("waits.mp4", "studio", "out2")
        (house.folder / "in2").rename(house.folder / "away")
        (house.folder / "in2").write_text("no folder")
        house.problem("inbox studio")
        pool.size = 2
        house.drop("clip.mp4")
        job_of(pool, "clip.mp4")
        stays(lambda: not is_begun(pool, "waits.mp4"))


def test_uploads_wait_while_the_inbox_that_they_lie_in_is_away(house: House) -> None:
    house.configure(inboxes=TWO_INBOXES)
    with house.running() as pool:
        wait_until(lambda: house.health().inboxes["main"].is_available, "there")
        pool.size = 0
        house.submit("upload.mp4", None)
        house.inbox.rename(house.folder / "away")
        house.inbox.write_text("no folder")
        house.problem("inbox main")
        pool.size = 2
        house.drop("clip.mp4", "in2")
        job_of(pool, "clip.mp4")
        stays(lambda: not is_begun(pool, "upload.mp4"))
        house.inbox.unlink()
        (house.folder / "away").rename(house.inbox)
        job_of(pool, "upload.mp4")


def test_tasks_wait_as_soon_as_the_first_of_them_misses_its_inbox(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next scan of the inbox may be long in coming."""
    real = os.access
    house.configure(rescan_s=600)
    with house.running() as pool:
        wait_until(lambda: house.health().inboxes["main"].is_available, "there")
        pool.size = 1
        house.submit("clip.mp4")
        job = job_of(pool, "clip.mp4")
        with monkeypatch.context() as closed:
            closed.setattr(
                os, "access", lambda path, mode: Path(path) != house.inbox and real(path, mode)
            )
            failure = Failure("unreadable_media", "clip.mp4 cannot be read: Permission denied")
            pool.say(Refused(job, failure, False, None))
            house.problem("may not be read and written")
            back = house.wait_for("clip.mp4", Status.PENDING)
            assert (back.attempts, back.interruptions) == (0, 0)
            house.submit("upload.mp4", None)
            stays(lambda: not is_begun(pool, "upload.mp4"))


def test_tasks_wait_for_an_inbox_that_was_given_another_name(house: House) -> None:
    """And are not begun over and over again."""
    with house.running() as pool:
        wait_until(lambda: house.health().inboxes["main"].is_available, "there")
        pool.size = 0
        house.submit("clip.mp4")
        house.reload(inboxes=[{"name": "renamed", "inbox": "inbox"}])
        pool.size = 1
        job = job_of(pool, "clip.mp4")
        house.inbox.rename(house.folder / "away")
        failure = Failure("unreadable_media", "clip.mp4 cannot be read: No such file or directory")
        pool.say(Refused(job, failure, False, None))
        house.wait_for("clip.mp4", Status.PENDING)
        stays(lambda: not is_begun(pool, "clip.mp4"), 2.0)
        (house.folder / "away").rename(house.inbox)
        job_of(pool, "clip.mp4")


def test_the_outbox_of_an_inbox_that_was_given_another_name_is_waited_for(house: House) -> None:
    """A result would be put where its share is not mounted, or the task be begun for ever."""
    house.configure(inboxes=TWO_INBOXES)
    renamed = {**TWO_INBOXES[1], "name": "renamed"}
    with house.running() as pool:
        wait_until(lambda: house.health().inboxes["studio"].is_available, "there")
        pool.size = 0
        house.submit("clip.mp4", "studio", "out2")
        house.reload(inboxes=[TWO_INBOXES[0], renamed])
        pool.size = 1
        job = job_of(pool, "clip.mp4")
        (house.folder / "out2").rename(house.folder / "away")
        (house.folder / "out2").write_text("no folder")
        staged = job.folder / "result.mp4"
        staged.write_bytes(b"protected")
        pool.say(Done(job, staged, ".mp4", REPORT))
        house.wait_for("clip.mp4", Status.PENDING)
        stays(lambda: count_of(house, "waits for room") == 1, 2.0)
        (house.folder / "out2").unlink()
        (house.folder / "away").rename(house.folder / "out2")
        job_of(pool, "clip.mp4")


def test_an_upload_in_an_inbox_that_is_the_first_no_longer_is_not_begun_for_ever(
    house: House,
) -> None:
    with house.running() as pool:
        wait_until(lambda: house.health().inboxes["main"].is_available, "there")
        pool.size = 0
        house.submit("upload.mp4", None)
        house.reload(inboxes=[TWO_INBOXES[1], TWO_INBOXES[0]])
        pool.size = 1
        job = job_of(pool, "upload.mp4")
        house.inbox.rename(house.folder / "away")
        failure = Failure("unreadable_media", "upload.mp4 cannot be read: No such file")
        pool.say(Refused(job, failure, False, None))
        house.wait_for("upload.mp4", Status.FAILED)


def test_trouble_with_the_workers_is_told(house: House) -> None:
    with house.running() as pool:
        pool.trouble = "a worker process ended with exit code 1"
        assert "exit code 1" in house.problem("workers")


def test_logs_that_cannot_be_written_are_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = "/logs/queue.log cannot be written: No space left on device; log lines are lost."
    monkeypatch.setattr(own_health, "log_trouble", lambda: lost)
    with house.running():
        assert house.problem("logs: ").endswith(lost)


def test_trouble_with_status_files_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        service_module.StatusWriter, "trouble", property(lambda writer: "an outbox refuses")
    )
    with house.running():
        assert "an outbox refuses" in house.problem("status files")


def test_until_when_status_files_are_true_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_behind = True
    monkeypatch.setattr(
        service_module.StatusWriter, "is_behind", property(lambda writer: is_behind)
    )

    def told() -> datetime | None:
        seen = health_module.read(house.state)
        return None if seen is None else seen.statuses_until

    house.state.mkdir(exist_ok=True)
    health_module.write(house.state, dataclasses.replace(STOPPED, statuses_until=_NOW))
    with house.running():
        stays(lambda: told() == _NOW)
        is_behind = False
        wait_until(lambda: told() != _NOW, "it goes on")


def test_a_damaged_record_is_named_in_the_log(house: House) -> None:
    task = house.submit("clip.mp4")
    (record,) = (house.state / "pending").rglob(f"{task.task_id}.json")
    record.write_text("{")
    with house.running():
        log = house.folder / "logs/server.log"
        wait_until(lambda: "record damaged" in log.read_text(), "told")
    (line,) = (line for line in house.log_lines() if line["event"] == "record damaged")
    assert line["task_id"] == task.task_id


def test_what_is_done_by_the_clock(house: House) -> None:
    with house.running():
        assert house.service is not None
        assert house.service._housekeeping._schedule is not None
        names = {job.name for job in house.service._housekeeping._schedule._scheduler.get_jobs()}
    assert {"rescan", "sweep", "retention", "missed retention"} <= names
    assert any("disk" in name for name in names)


def test_the_end_does_not_wait_for_a_task_that_somebody_holds(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_INSIST_SECONDS", 0.2)
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        assert house.service is not None

        def busy(*words: object) -> Task:
            raise TaskBusy(job.task_id)

        monkeypatch.setattr(house.service._spool, "requeue", busy)
        house.signals.ends = 2
        house.thread.join(PATIENCE_SECONDS)
        assert not house.thread.is_alive()


def test_two_services_never_work_in_the_same_temp(house: House) -> None:
    other = house.folder / "other.yaml"
    other.write_text(
        yaml.safe_dump(
            {
                **QUICK,
                "temp": str(house.folder / "temp"),
                **{key: f"other/{key}" for key in ("state", "logs", "outbox")},
                "inboxes": [{"name": "main", "inbox": "other/inbox"}],
            }
        )
    )
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        second = Service(lambda: load_config(other), Overrides(), other)
        with pytest.raises(ConfigError, match="temp: another service"):
            second.run(ScriptedSignals())  # type: ignore[arg-type]
        assert job.folder.is_dir()


def test_a_reload_into_the_temp_of_another_service_is_refused(house: House) -> None:
    taken = house.folder / "taken"
    taken.mkdir()
    others = TempLocks()
    others.hold(taken)
    log = house.folder / "logs/server.log"
    with house.running() as pool:
        house.configure(temp="taken")
        house.signals.wants_reload = True
        wait_until(lambda: "configuration not taken over" in log.read_text(), "refused")
        assert "temp: another service" in log.read_text()
        house.drop("clip.mp4")
        assert job_of(pool, "clip.mp4").folder.parent == house.folder / "temp"
    others.close()


def test_a_status_file_tells_of_an_end_made_of_another_by_hand(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_BY_HAND_SECONDS", 0.2)
    with house.running() as pool:
        house.drop("clip.mp4")
        pool.say(Refused(job_of(pool, "clip.mp4"), REASON, False, None))
        task = house.wait_for("clip.mp4", Status.FAILED)
        file = status_path(task)
        wait_until(lambda: json.loads(file.read_bytes())["status"] == "failed", "told")
        (record,) = (house.state / "failed").rglob(f"{task.task_id}.json")
        (house.state / "cancelled" / record.parent.name).mkdir(exist_ok=True)
        record.rename(house.state / "cancelled" / record.parent.name / record.name)
        wait_until(lambda: json.loads(file.read_bytes())["status"] == "cancelled", "told")


def test_a_days_folder_that_was_moved_by_hand_into_one_is_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_BY_HAND_SECONDS", 0.2)
    with house.running() as pool:
        house.drop("clip.mp4")
        job = job_of(pool, "clip.mp4")
        pool.say(Refused(job, REASON, False, None))
        task = house.wait_for("clip.mp4", Status.FAILED)
        (record,) = (house.state / "failed").rglob(f"{task.task_id}.json")
        (house.state / "pending" / record.parent.name).mkdir(exist_ok=True)
        record.parent.rename(house.state / "pending" / record.parent.name / record.parent.name)
        house.wait_for("clip.mp4", Status.PROCESSING)


def test_a_network_that_cannot_be_had_is_told_at_the_start_and_at_a_reload(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ["surrogate: Surrogate 'resnet19' is not known"]
    monkeypatch.setattr(
        service_module, "network_problems", lambda settings: [] if settings.is_embedded else told
    )
    house.configure(surrogate="resnet19")
    with pytest.raises(ConfigError, match="'resnet19' is not known"):
        Service(lambda: load_config(house.config), Overrides(), house.config)
    house.configure()
    log = house.folder / "logs/server.log"
    with house.running():
        house.configure(surrogate="resnet19")
        house.signals.wants_reload = True
        wait_until(lambda: "configuration not taken over" in log.read_text(), "refused")
        assert "'resnet19' is not known" in log.read_text()


@pytest.mark.parametrize("name", ["service.lock", "progress/odd"])
def test_what_cannot_be_used_in_the_state_is_told_at_the_start(house: House, name: str) -> None:
    """As where root has called `serve` once: then it is a file of another user."""
    house.configure()
    (house.state / name).mkdir(parents=True)
    service = Service(lambda: load_config(house.config), Overrides(), house.config)
    with pytest.raises(ConfigError, match=f"state: .*/{name} cannot be used: .*chown"):
        service.run(house.signals)


def test_a_state_that_cannot_be_made_is_told_by_its_key(house: House) -> None:
    house.configure()
    house.state.mkdir(exist_ok=True)
    (house.state / "pending").write_text("no folder")
    with pytest.raises(ConfigError, match="state: .*/pending cannot be made: File exists"):
        Service(lambda: load_config(house.config), Overrides(), house.config)
