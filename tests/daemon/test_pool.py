"""
Each job has one end, whatever happens to the process that works on it.

Where the work itself does not matter, quick processes stand in for the workers and do what the
job's `task_id` says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from media import Audio, Video, make_video
from services import PATIENCE_SECONDS, wait_until

from daemon import child, worker_process
from daemon.child import Child
from daemon.jobs import Bounds, Done, Ended, Event, Job, Lost, Progressed, Refused
from daemon.pool import Pool
from pipeline.parameters import Parameters
from pipeline.settings import Settings

BOUNDS = Bounds(8.0, "cpu")
ROOT = Path(__file__).parents[2]

STAND_IN = """
import os, pickle, signal, sys, threading, time
from pathlib import Path
from queue import SimpleQueue
from daemon.child import child_arguments, child_connection, messages
from daemon.jobs import Failed, Finished, Job, Moved, NearlyDone, Ready, Spent, Stop, Stopped
from daemon.task import Failure, Progress

connection = child_connection()
jobs, stopped = SimpleQueue(), set()

def listen():
    for message in messages(connection):
        stopped.add(message.token) if isinstance(message, Stop) else jobs.put(message)

threading.Thread(target=listen, daemon=True).start()
connection.send(Ready())
while True:
    job = jobs.get()
    does, token = job.task_id, job.token
    if does == "die before it begins":
        os._exit(4)
    connection.send(Moved(Progress(token, 0.0, 0, None)))
    end = Finished(token, Path("staged"), ".mp4", {"pid": os.getpid(), "bounds": sys.argv[3:]})
    if does == "die":
        os._exit(3)
    elif does == "abort":
        os.abort()
    elif does == "hang":
        time.sleep(600)
    elif does == "linger":
        connection.send(NearlyDone(token))
        while token not in stopped:
            time.sleep(0.005)
    elif does == "move bytes":
        while token not in stopped:
            os.pread(os.open("/proc/self/stat", os.O_RDONLY), 10, 0), time.sleep(0.05)
        end = Stopped(token)
    elif does == "obey":
        while token not in stopped:
            time.sleep(0.005)
        end = Stopped(token)
    elif does == "finish though stopped":
        while token not in stopped:
            time.sleep(0.005)
    elif does == "move though stopped":
        while token not in stopped:
            time.sleep(0.005)
        connection.send(Moved(Progress(token, 50.0, 5, 10)))
        end = Stopped(token)
    elif does == "speak of another":
        connection.send(Finished("another", Path("stale"), ".mp4", {}))
    elif does == "refuse":
        end = Failed(token, Failure("unreadable_media", "why"), False, "details")
    elif does == "send nonsense":
        connection.send_bytes(b"nonsense")
        time.sleep(600)
    elif does == "send half a message":
        os.write(connection.fileno(), b"\\0\\0\\1\\0half")
        time.sleep(600)
    connection.send(end)
    connection.send(Spent() if does == "be spent" else Ready())
"""


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Jobs:
    """Makes jobs, each with a token and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def __call__(
        self,
        does: str = "finish",
        *,
        original: Path = Path("/inbox/holiday.mov"),
        outbox: Path | None = None,
        parameters: Parameters | None = None,
    ) -> Job:
        self._count += 1
        folder = self.folder / f"{self._count}"
        folder.mkdir()
        return Job(
            task_id=does,
            token=f"t{self._count}",
            original=original,
            folder=folder,
            outbox=outbox or self.folder,
            subfolder="",
            parameters=parameters or Parameters(),
            settings=Settings(threads=1),
        )


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


MakePool = Callable[..., Pool]


@pytest.fixture
def make_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePool]:
    """Make pools of stand-ins, started and ready; close them at the end."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(worker_process, "Child", lambda module, *rest: Child("stand_in", *rest))
    pools: list[Pool] = []

    def make(size: int = 1, **options: object) -> Pool:
        pool = Pool(size, BOUNDS, **({"stall_s": 60.0} | options))  # type: ignore[arg-type]
        pools.append(pool)
        pool.start()
        poll_until(pool, lambda: pool.idle == size)
        return pool

    yield make
    for pool in pools:
        pool.close()


def poll_until(pool: Pool, condition: Callable[[], bool]) -> list[Event]:
    """Poll until something holds; return what happened meanwhile."""
    events, deadline = [], time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, events
        events += pool.poll(0.1)
    return events


def ends(pool: Pool, *expected: Job) -> list[Event]:
    """Poll until these jobs have ended; return their ends in that order."""
    found: dict[str, Event] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < len(expected):
        assert time.monotonic() < deadline, found
        for event in pool.poll(0.1):
            if not isinstance(event, Progressed):
                assert event.job.token not in found
                found[event.job.token] = event
    return [found[job.token] for job in expected]


def end(pool: Pool, job: Job) -> Event:
    return ends(pool, job)[0]


def await_begun(pool: Pool, *expected: Job) -> None:
    """Poll until these jobs have said that they have begun."""
    missing = {job.token for job in expected}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while missing:
        assert time.monotonic() < deadline
        missing -= {e.job.token for e in pool.poll(0.1) if isinstance(e, Progressed)}


def running(pool: Pool) -> tuple[Job, ...]:
    """Return the jobs that have begun and not ended."""
    return (*(w.job for w in pool._workers if w.job is not None), *pool._waiting)


def pid_of(pool: Pool, job: Job) -> int:
    return next(w.child.pid for w in pool._workers if w.job is not None and w.job is job)


def pids(pool: Pool) -> list[int]:
    return [worker.child.pid for worker in pool._workers]


def is_there(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_running(pid: int) -> bool:
    """Is it there, and no zombie that somebody else has to reap?"""
    try:
        return state_of(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def freeze(pid: int) -> None:
    """Stop a process, and wait until it stands."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "T", "it stands")


def bytes_read(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


class TestEnds:
    def test_a_result_is_told_as_the_worker_told_it(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, job = make_pool(), jobs()
        pool.begin(job)
        assert running(pool) == (job,)
        assert (pool.idle, pool.busy, pool.ready) == (0, 0, 1)
        done = end(pool, job)
        assert isinstance(done, Done)
        assert (done.job, done.staged, done.suffix) == (job, Path("staged"), ".mp4")
        assert running(pool) == ()

    def test_a_refusal_likewise(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, job = make_pool(), jobs("refuse")
        pool.begin(job)
        refused = end(pool, job)
        assert isinstance(refused, Refused)
        assert refused.failure.code == "unreadable_media"
        assert (refused.is_retryable, refused.details) == (False, "details")

    def test_a_worker_that_dies_loses_its_own_job_only(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, doomed, other = make_pool(2), jobs("hang"), jobs("obey")
        pool.begin(doomed)
        pool.begin(other)
        await_begun(pool, doomed, other)
        os.kill(pid_of(pool, doomed), signal.SIGKILL)
        lost = end(pool, doomed)
        assert isinstance(lost, Lost)
        assert lost.failure.code == "worker_died"
        assert "holiday.mov: the process that worked on it was killed" in lost.failure.message
        assert "signal 9 (SIGKILL) (most likely the machine had" in lost.failure.message
        assert running(pool) == (other,)
        pool.stop(other.token)
        assert end(pool, other) == Ended(other)
        poll_until(pool, lambda: pool.idle == 2)
        assert pool.trouble is None

    def test_how_it_died_is_told(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, exits, aborts = make_pool(2), jobs("die"), jobs("abort")
        pool.begin(exits)
        pool.begin(aborts)
        first, second = ends(pool, exits, aborts)
        assert isinstance(first, Lost)
        assert "worked on it ended with exit code 3." in first.failure.message
        assert isinstance(second, Lost)
        assert "(SIGABRT) (most likely the file is damaged" in second.failure.message

    def test_a_worker_that_dies_before_it_begins_costs_nothing(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        """It was killed while it was free, which the pool has not yet heard of."""
        pool, job = make_pool(2), jobs()
        for pid in pids(pool)[:1]:
            os.kill(pid, signal.SIGKILL)
        pool.begin(job)
        assert isinstance(end(pool, job), Done)

    def test_a_job_that_no_worker_survives_is_not_tried_for_ever(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, job = make_pool(), jobs("die before it begins")
        pool.begin(job)
        lost = end(pool, job)
        assert isinstance(lost, Lost)
        assert "ended with exit code 4" in lost.failure.message

    @pytest.mark.parametrize("does", ["send nonsense", "send half a message"])
    def test_a_worker_that_cannot_be_understood_is_replaced(
        self, make_pool: MakePool, jobs: Jobs, does: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(child, "_MESSAGE_SECONDS", 1)
        pool, job = make_pool(), jobs(does)
        pid = pids(pool)[0]
        pool.begin(job)
        lost = end(pool, job)
        assert isinstance(lost, Lost)
        assert lost.failure.code == "worker_died"
        assert not is_there(pid)
        poll_until(pool, lambda: pool.idle == 1)

    def test_what_is_told_of_another_job_does_not_count(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, job = make_pool(), jobs("speak of another")
        pool.begin(job)
        done = end(pool, job)
        assert isinstance(done, Done)
        assert done.staged == Path("staged")


class TestStopping:
    def test_a_job_that_obeys_ends_at_once(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, job = make_pool(clock=Clock()), jobs("obey")  # no time goes by
        pool.begin(job)
        await_begun(pool, job)
        assert (pool.idle, pool.busy, pool.ready) == (0, 1, 1)
        pid = pids(pool)
        pool.stop(job.token)
        pool.stop(job.token)
        assert end(pool, job) == Ended(job)
        poll_until(pool, lambda: pool.idle == 1)
        assert pids(pool) == pid

    @pytest.mark.parametrize("is_frozen", [False, True])
    def test_one_that_does_not_is_killed(
        self, make_pool: MakePool, jobs: Jobs, is_frozen: bool
    ) -> None:
        clock = Clock()
        pool, job = make_pool(clock=clock), jobs("hang")
        pool.begin(job)
        await_begun(pool, job)
        pid = pids(pool)[0]
        if is_frozen:
            freeze(pid)
        pool.stop(job.token)
        clock.now += 0.9
        assert pool.poll(0) == []
        clock.now += 0.6  # within the 2 s that are promised
        assert end(pool, job) == Ended(job)
        assert not is_there(pid)
        poll_until(pool, lambda: pool.idle == 1)
        assert pool.trouble is None

    def test_a_result_in_the_same_moment_does_not_count(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, job = make_pool(), jobs("finish though stopped")
        pool.begin(job)
        await_begun(pool, job)
        pool.stop(job.token)
        assert end(pool, job) == Ended(job)

    def test_nor_does_progress(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, job = make_pool(), jobs("move though stopped")
        pool.begin(job)
        await_begun(pool, job)
        pool.stop(job.token)
        assert poll_until(pool, lambda: pool.idle == 1) == [Ended(job)]

    def test_a_job_that_no_worker_has_yet_ends_too(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, first, waiting = make_pool(), jobs("obey"), jobs()
        pool.begin(first)
        pool.begin(waiting)
        assert running(pool) == (first, waiting)
        pool.stop(waiting.token)
        assert end(pool, waiting) == Ended(waiting)
        assert running(pool) == (first,)

    def test_one_that_has_ended_is_nothing_to_stop(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, first, second = make_pool(), jobs(), jobs("obey")
        pool.begin(first)
        end(pool, first)
        pool.begin(second)
        pool.stop(first.token)
        await_begun(pool, second)
        assert pool.poll(0.1) == []
        assert running(pool) == (second,)


class TestStalls:
    def test_a_worker_that_moves_nothing_is_killed_and_a_slow_one_is_not(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        clock = Clock()
        pool, hung, slow = make_pool(2, clock=clock, stall_s=20.0), jobs("hang"), jobs("move bytes")
        pool.begin(hung)
        pool.begin(slow)
        await_begun(pool, hung, slow)
        events: list[Event] = []
        pid = pid_of(pool, slow)
        while clock.now < 60:
            clock.now += 1
            before = bytes_read(pid)
            wait_until(lambda: bytes_read(pid) > before, "bytes move")  # noqa: B023
            events += [e for e in pool.poll(0) if not isinstance(e, Progressed)]
            assert bool(events) == (clock.now >= 21)
        assert [type(e) for e in events] == [Lost]
        assert isinstance(events[0], Lost)
        assert events[0].job == hung
        assert events[0].failure.code == "worker_stalled"
        assert "holiday.mov: the process" in events[0].failure.message
        assert "moved no frame and no byte for 20 s" in events[0].failure.message
        assert running(pool) == (slow,)

    def test_one_that_somebody_stopped_is_killed_sooner(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        clock = Clock()
        pool, frozen, other = make_pool(2, clock=clock, stall_s=1e6), jobs("hang"), jobs("hang")
        pool.begin(frozen)
        pool.begin(other)
        await_begun(pool, frozen, other)
        freeze(pid_of(pool, frozen))
        events: list[Event] = []
        while not events:
            assert clock.now < 20
            clock.now += 1
            events = [e for e in pool.poll(0) if not isinstance(e, Progressed)]
        assert 10 <= clock.now <= 13
        assert [type(e) for e in events] == [Lost]
        assert isinstance(events[0], Lost)
        assert events[0].job == frozen
        assert events[0].failure.code == "worker_stalled"
        assert "SIGSTOP" in events[0].failure.message

    def test_a_free_worker_is_left_in_peace(self, make_pool: MakePool) -> None:
        clock = Clock()
        pool = make_pool(clock=clock)
        before = pids(pool)
        for _ in range(200):
            clock.now += 1
            pool.poll(0)
        assert pids(pool) == before


class TestNearlyDone:
    """A job is fetched while the last one comes to its end, so that no worker waits for it."""

    def test_a_worker_in_its_last_moments_counts_as_idle_and_gets_the_next_job_at_once(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, last, following = make_pool(), jobs("linger"), jobs()
        pool.begin(last)
        assert (pool.idle, pool.nearly_done) == (0, frozenset())
        poll_until(pool, lambda: pool.idle == 1)
        assert pool.nearly_done == {last.token}
        pool.begin(following)
        assert pool.idle == 0
        assert running(pool) == (last, following)
        # A result that comes though it was stopped does not count; here it only ends the last.
        pool.stop(last.token)
        last_end, done = ends(pool, last, following)
        assert last_end == Ended(last)
        assert isinstance(done, Done)
        assert pool.nearly_done == frozenset()

    def test_what_waits_for_one_can_be_given_up_at_once(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, last, following = make_pool(), jobs("linger"), jobs()
        pool.begin(last)
        poll_until(pool, lambda: pool.idle == 1)
        pool.begin(following)
        pool.stop(following.token)
        assert pool.poll(0) == [Ended(following)]
        assert (pool.idle, running(pool)) == (1, (last,))

    def test_what_waits_for_one_that_dies_is_done_by_the_next(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, last, following = make_pool(), jobs("linger"), jobs()
        pool.begin(last)
        poll_until(pool, lambda: pool.idle == 1)
        pool.begin(following)
        os.kill(pid_of(pool, last), signal.SIGKILL)
        lost, done = ends(pool, last, following)
        assert isinstance(lost, Lost)
        assert isinstance(done, Done)

    def test_what_waits_is_given_up_when_nothing_may_begin_any_more(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, last, following = make_pool(), jobs("linger"), jobs()
        pool.begin(last)
        poll_until(pool, lambda: pool.idle == 1)
        pool.begin(following)
        assert pool.poll(0, lambda: False) == [Ended(following)]
        assert (pool.idle, running(pool)) == (1, (last,))

    def test_so_it_is_where_that_comes_in_the_moment_in_which_the_worker_gets_free(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, last, following = make_pool(), jobs("linger"), jobs()
        pool.begin(last)
        poll_until(pool, lambda: pool.idle == 1)
        pool.begin(following)
        pool.stop(last.token)
        events: list[Event] = []
        while len(events) < 2:
            events += pool.poll(0.1, lambda: not pool._workers[0].is_free)
        assert events == [Ended(last), Ended(following)]

    def test_so_is_what_comes_from_its_claim_after_that(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, job = make_pool(), jobs()
        pool.begin(job)
        assert pool.poll(0, lambda: False) == [Ended(job)]
        assert (pool.idle, running(pool)) == (1, ())

    def test_what_waits_for_one_that_goes_for_good_is_given_up(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        """Another worker might get free hours later."""
        pool, last, other, following = make_pool(2), jobs("linger"), jobs("obey"), jobs()
        pool.begin(last)
        pool.begin(other)
        await_begun(pool, last, other)
        poll_until(pool, lambda: pool.idle == 1)
        pool.begin(following)
        pool.resize(1)
        assert pool.poll(0) == []
        pool.stop(last.token)
        assert ends(pool, last, following) == [Ended(last), Ended(following)]
        assert running(pool) == (other,)

    def test_so_is_what_comes_when_it_is_gone(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, other, following = make_pool(2), jobs("obey"), jobs()
        pool.begin(other)
        await_begun(pool, other)
        pool.resize(1)
        pool.begin(following)
        assert end(pool, following) == Ended(following)
        assert running(pool) == (other,)

    @pytest.mark.parametrize("why", ["it is worn", "others bounds"])
    def test_what_waits_for_one_that_is_replaced_is_done_by_the_next(
        self, make_pool: MakePool, jobs: Jobs, why: str
    ) -> None:
        clock = Clock()
        pool, last, following = make_pool(clock=clock), jobs("linger"), jobs()
        pool.begin(last)
        poll_until(pool, lambda: pool.idle == 1)
        pool.begin(following)
        before = pids(pool)
        if why == "it is worn":
            clock.now += 3600
        else:
            pool.use_bounds(Bounds(4.0, "cpu"))
        pool.stop(last.token)
        _, done = ends(pool, last, following)
        assert isinstance(done, Done)
        assert done.report["pid"] not in before

    @pytest.mark.parametrize("why", ["it is stopped", "it is worn", "others bounds", "too many"])
    def test_nothing_is_fetched_for_one_that_takes_no_other(
        self, make_pool: MakePool, jobs: Jobs, why: str
    ) -> None:
        clock = Clock()
        pool, last = make_pool(clock=clock), jobs("linger")
        pool.begin(last)
        poll_until(pool, lambda: pool.idle == 1)
        if why == "it is stopped":
            pool.stop(last.token)
        elif why == "it is worn":
            clock.now += 3600
        elif why == "others bounds":
            pool.use_bounds(Bounds(4.0, "cpu"))
        else:
            pool.resize(0)
        assert pool.idle == 0


class TestReplacing:
    def test_a_worker_ends_with_the_job_that_makes_it_an_hour_old(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        """However many jobs that were: each start of a process takes seconds."""
        clock = Clock()
        pool = make_pool(clock=clock)

        def pid_that_did_one() -> int:
            job = jobs()
            pool.begin(job)
            done = end(pool, job)
            poll_until(pool, lambda: pool.idle == 1)
            assert isinstance(done, Done)
            return int(done.report["pid"])

        used = {pid_that_did_one() for _ in range(60)}
        clock.now += 3599
        used.add(pid_that_did_one())
        clock.now += 1
        used.add(pid_that_did_one())
        assert len(used) == 1
        assert not is_there(*used)
        assert pid_that_did_one() not in used

    def test_workers_that_are_worn_together_go_one_after_the_other(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        clock = Clock()
        pool, job = make_pool(size=2, clock=clock), jobs()
        poll_until(pool, lambda: pool.idle == 2)
        clock.now += 3600
        first, second = pool._workers
        pool.begin(job)
        poll_until(pool, lambda: first not in pool._workers)
        assert pool._is_to_stay(second)
        poll_until(pool, lambda: pool.idle == 2)
        assert second in pool._workers
        assert not pool._is_to_stay(second)
        assert pool.trouble is None

    def test_one_that_calls_itself_spent_gets_no_other(
        self, make_pool: MakePool, jobs: Jobs
    ) -> None:
        pool, job = make_pool(), jobs("be spent")
        before = pids(pool)
        pool.begin(job)
        assert isinstance(end(pool, job), Done)
        assert pool.idle == 0
        poll_until(pool, lambda: pool.idle == 1)
        assert pids(pool) != before

    def test_a_smaller_pool_lets_running_jobs_end(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, job = make_pool(3), jobs("obey")
        pool.begin(job)
        await_begun(pool, job)
        pool.resize(1)
        assert len(pids(pool)) == 1
        pool.resize(0)
        assert running(pool) == (job,)
        pool.stop(job.token)
        assert end(pool, job) == Ended(job)
        poll_until(pool, lambda: not pids(pool))
        pool.resize(2)
        poll_until(pool, lambda: pool.idle == 2)

    def test_other_bounds_come_with_other_processes(self, make_pool: MakePool, jobs: Jobs) -> None:
        pool, job, later = make_pool(2), jobs("obey"), jobs()
        pool.begin(job)
        await_begun(pool, job)
        busy = pid_of(pool, job)
        pool.use_bounds(Bounds(2.5, "cpu"))
        assert running(pool) == (job,)
        pool.stop(job.token)
        poll_until(pool, lambda: pool.idle == 2)
        assert busy not in pids(pool)
        pool.begin(later)
        done = end(pool, later)
        assert isinstance(done, Done)
        assert done.report["bounds"] == ["2.5", "cpu"]

    def test_a_free_worker_that_dies_is_replaced(self, make_pool: MakePool) -> None:
        pool = make_pool()
        os.kill(pids(pool)[0], signal.SIGKILL)
        poll_until(pool, lambda: pool.trouble is not None)
        assert pool.trouble is not None
        assert "killed by signal 9 (SIGKILL), while it was free" in pool.trouble
        poll_until(pool, lambda: pool.idle == 1)
        assert pool.trouble is None

    def test_workers_that_do_not_come_up_are_tried_at_growing_pauses(
        self,
        make_pool: MakePool,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        clock = Clock()
        pool = make_pool(1, clock=clock)  # of several, each may be noticed by itself
        working = (tmp_path / "stand_in.py").read_text()
        starts = tmp_path / "starts"
        starts.touch()
        (tmp_path / "stand_in.py").write_text(
            f"open({str(starts)!r}, 'a').write('x')\nraise SystemExit(1)"
        )
        for pid in pids(pool):
            os.kill(pid, signal.SIGKILL)
        poll_until(pool, lambda: not pids(pool))
        for number, pause in enumerate((1, 2, 4), 1):
            clock.now += pause - 0.01
            pool.poll(0)
            assert pids(pool) == []
            clock.now += 0.01
            poll_until(
                pool, lambda number=number: starts.stat().st_size == number and not pids(pool)
            )
            assert pool.trouble == ("a worker process ended with exit code 1, before it was ready")
        assert capfd.readouterr().err.count("ended with exit code 1, before it was ready") == 1
        (tmp_path / "stand_in.py").write_text(working)
        clock.now += 60
        poll_until(pool, lambda: pool.idle == 1)
        assert pool.trouble is None

    def test_one_that_hangs_before_it_is_ready_is_replaced(
        self, make_pool: MakePool, tmp_path: Path
    ) -> None:
        clock = Clock()
        pool = make_pool(0, clock=clock)
        started = tmp_path / "started"
        (tmp_path / "stand_in.py").write_text(
            f"import os, time; os.mkdir({str(started)!r}); time.sleep(600)"
        )
        pool.resize(1)
        wait_until(started.exists, "Python itself has been read")
        pid = pids(pool)[0]
        for _ in range(70):
            clock.now += 1
            pool.poll(0)
        assert pid not in pids(pool)
        assert not is_there(pid)
        assert pool.trouble is not None
        assert "moved no frame and no byte" in pool.trouble


class TestThePool:
    def test_is_woken_from_another_thread(self, make_pool: MakePool) -> None:
        pool = make_pool()
        timer = threading.Timer(0.1, pool.wake)
        timer.start()
        begun = time.monotonic()
        assert pool.poll(30) == []
        assert 0.05 < time.monotonic() - begun < 25
        timer.join()
        for _ in range(100_000):
            pool.wake()
        pool.poll(30)
        begun = time.monotonic()
        while pool.poll(0.05):
            pass
        assert time.monotonic() - begun < 25

    def test_waits_no_longer_than_it_is_told(self, make_pool: MakePool) -> None:
        pool = make_pool()
        begun = time.monotonic()
        assert pool.poll(0.2) == []
        assert 0.15 < time.monotonic() - begun < 25

    def test_leaves_nothing_behind_when_it_is_closed(self, make_pool: MakePool, jobs: Jobs) -> None:
        descriptors = len(os.listdir("/proc/self/fd"))
        pool, frozen = make_pool(3), jobs("hang")
        pool.begin(frozen)
        await_begun(pool, frozen)
        freeze(pid_of(pool, frozen))
        there = pids(pool)
        pool.close()
        assert not any(is_there(pid) for pid in there)
        assert len(os.listdir("/proc/self/fd")) <= descriptors
        pool.wake()
        assert pool.poll(0) == []
        pool.close()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_video(folder / "short.mp4", Video(audio=[Audio()]))
    make_video(folder / "long.mp4", Video(width=640, height=480, frames=300))
    (folder / "broken.mp4").write_bytes(b"no video" * 1000)
    return folder


@pytest.fixture(scope="module")
def warm_pool() -> Iterator[Pool]:
    pool = Pool(2, BOUNDS, stall_s=60)
    pool.start()
    yield pool
    pool.close()


@pytest.fixture
def pool(warm_pool: Pool) -> Pool:
    """Two real workers, both free."""
    poll_until(warm_pool, lambda: warm_pool.idle == 2)
    return warm_pool


class TestRealWorkers:
    def test_a_video_is_protected_beside_one_that_cannot_be_read(
        self, pool: Pool, jobs: Jobs, clips: Path
    ) -> None:
        good, bad = jobs(original=clips / "short.mp4"), jobs(original=clips / "broken.mp4")
        before = pids(pool)
        pool.begin(good)
        pool.begin(bad)
        done, refused = ends(pool, good, bad)
        assert isinstance(done, Done)
        assert done.staged == good.folder / "result.mp4"
        assert done.staged.stat().st_size == done.report["protected_bytes"]
        assert isinstance(refused, Refused)
        assert refused.failure.code == "unreadable_media"
        assert "broken.mp4" in refused.failure.message
        poll_until(pool, lambda: pool.idle == 2)
        assert pids(pool) == before

    def test_progress_only_grows(self, pool: Pool, jobs: Jobs, clips: Path) -> None:
        job = jobs(original=clips / "long.mp4")
        pool.begin(job)
        told = []
        while job in running(pool):
            told += [e.progress for e in pool.poll(0.1) if isinstance(e, Progressed)]
        assert len(told) > 2
        assert [p.percent for p in told] == sorted(p.percent for p in told)
        assert [p.processed_frames for p in told] == sorted(p.processed_frames for p in told)
        assert told[-1].total_frames == 300

    def test_a_killed_one_costs_its_own_job_and_a_stopped_job_leaves_no_file(
        self, pool: Pool, jobs: Jobs, clips: Path
    ) -> None:
        slow = Parameters(every_n_frames=1)
        doomed = jobs(original=clips / "long.mp4", parameters=slow)
        other = jobs(original=clips / "long.mp4", parameters=slow)
        pool.begin(doomed)
        pool.begin(other)
        poll_until(pool, lambda: (other.folder / "result.mp4").exists())
        os.kill(pid_of(pool, doomed), signal.SIGKILL)
        lost = end(pool, doomed)
        assert isinstance(lost, Lost)
        assert "long.mp4: the process that worked on it was killed" in lost.failure.message
        assert running(pool) == (other,)
        begun = time.monotonic()
        pool.stop(other.token)
        assert end(pool, other) == Ended(other)
        assert time.monotonic() - begun < 25  # 2 s alone
        assert os.listdir(other.folder) == []

    def test_they_end_with_the_service_however_it_ends(self, tmp_path: Path) -> None:
        program = (
            "from daemon.jobs import Bounds; from daemon.pool import Pool\n"
            "pool = Pool(1, Bounds(8.0, 'cpu'), stall_s=60); pool.start()\n"
            "while not pool.idle: pool.poll(1)\n"
            "print(*(w.child.pid for w in pool._workers), flush=True)\n"
            "pool.poll(600)\n"
        )
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout is not None
            pid = int(service.stdout.readline())
            service.kill()
        wait_until(lambda: not is_running(pid), "its end")
