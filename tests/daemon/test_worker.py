"""A worker says how each job ended, and leaves nothing of one that has no result."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from media import Audio, Video, make_video

import pipeline.progress
import pipeline.protect
from daemon import worker
from daemon.child import Child
from daemon.jobs import Failed, Finished, Job, Moved, NearlyDone, Ready, Spent, Stop, Stopped
from daemon.task import Progress
from daemon.worker import _Meter, perform
from pipeline.errors import OutOfMemory, UnreadableMedia, UnsupportedMedia, VerificationFailed
from pipeline.parameters import Mode, Parameters
from pipeline.settings import Settings

GB = 1 << 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "holiday.mp4"
    return make_video(path, Video(audio=[Audio()]))


@pytest.fixture
def make_job(tmp_path: Path, clip: Path) -> Callable[..., Job]:
    def make(token: str = "t1", **fields: Any) -> Job:
        folder = tmp_path / "temp" / f"id.{token}"
        folder.mkdir(parents=True)
        outbox = tmp_path / "outbox"
        outbox.mkdir(exist_ok=True)
        given: dict[str, Any] = {
            "original": clip,
            "folder": folder,
            "outbox": outbox,
            "subfolder": "",
            "parameters": Parameters(),
            "settings": Settings(threads=1),
        }
        return Job(task_id="id", token=token, **(given | fields))

    return make


def do(job: Job, cancelled: Callable[[], bool] = lambda: False) -> Finished | Failed | Stopped:
    return perform(job, lambda progress: None, cancelled)


def files(job: Job) -> list[str]:
    """Return what lies in the folders that a job may write to."""
    return sorted(os.listdir(job.folder) + os.listdir(job.outbox_folder))


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have the pipeline fail after it has begun to write."""

    def protect_into(original: Path, partial: Path, *rest: object, **named: object) -> None:
        partial.write_bytes(b"half")
        raise error

    monkeypatch.setattr(pipeline.protect, "protect_into", protect_into)


def caused_by(cause: Exception, error: Exception) -> Exception:
    error.__cause__ = cause
    return error


class TestAJob:
    def test_with_a_result_says_where_it_lies_and_what_was_done(
        self, make_job: Callable[..., Job]
    ) -> None:
        job = make_job()
        end = do(job)
        assert isinstance(end, Finished)
        assert (end.token, end.suffix) == ("t1", ".mp4")
        assert end.staged == job.folder / "result.mp4"
        assert end.report["frames"] == 25
        with av.open(str(end.staged)) as video:
            assert sum(1 for _ in video.decode(video=0)) == 25
        assert files(job) == ["result.mp4"]

    def test_has_its_result_on_the_disk_before_it_says_so(
        self, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flushed, real = [], os.fsync

        def fsync(descriptor: int) -> None:
            real(descriptor)
            found = os.fstat(descriptor)
            flushed.append((found.st_ino, found.st_size))

        monkeypatch.setattr(os, "fsync", fsync)
        end = do(make_job(parameters=Parameters(mode=Mode.STRIP)))
        assert isinstance(end, Finished)
        found = end.staged.stat()
        assert flushed[-1] == (found.st_ino, found.st_size)

    def test_lies_beside_its_place_where_that_is_on_another_file_system(
        self, make_job: Callable[..., Job], tmp_path: Path
    ) -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
            if os.stat(name).st_dev == tmp_path.stat().st_dev:
                pytest.skip("/dev/shm is no file system of its own")
            job = make_job(outbox=Path(name))
            end = do(job)
            assert isinstance(end, Finished)
            assert end.staged == Path(name, ".id.t1.part")
            assert files(job) == [".id.t1.part"]
            assert end.staged.stat().st_size == end.report["protected_bytes"]

    @pytest.mark.parametrize("mode", Mode)
    def test_says_once_that_it_is_nearly_done_when_the_result_is_written(
        self, make_job: Callable[..., Job], mode: Mode
    ) -> None:
        job = make_job(parameters=Parameters(mode=mode))
        seen: list[list[str]] = []
        end = perform(
            job, lambda p: None, lambda: False, tell_nearly_done=lambda: seen.append(files(job))
        )
        assert isinstance(end, Finished)
        assert seen == [["result.mp4"]]

    @pytest.mark.parametrize(
        ("name", "muxer"),
        [("no count.mkv", {}), ("too few.mp4", {"movflags": "frag_keyframe"})],
    )
    def test_says_so_also_where_the_container_does_not_tell_how_many_frames_it_has(
        self, make_job: Callable[..., Job], tmp_path: Path, name: str, muxer: dict[str, str]
    ) -> None:
        video = Video(frames=60, options={"g": "10"}, muxer=muxer)
        original = make_video(tmp_path / name, video)
        with av.open(str(original)) as container:
            assert container.streams.video[0].frames in (0, 10)
        job = make_job(original=original, parameters=Parameters(mode=Mode.STRIP))
        sizes: list[int] = []
        result = job.folder / f"result{original.suffix}"
        end = perform(
            job,
            lambda p: None,
            lambda: False,
            tell_nearly_done=lambda: sizes.append(result.stat().st_size),
        )
        assert isinstance(end, Finished)
        assert sizes == [end.staged.stat().st_size]

    def test_says_so_when_it_is_copied_where_it_has_to_be(
        self, make_job: Callable[..., Job], tmp_path: Path
    ) -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
            if os.stat(name).st_dev == tmp_path.stat().st_dev:
                pytest.skip("/dev/shm is no file system of its own")
            job = make_job(outbox=Path(name))
            seen: list[list[str]] = []
            perform(
                job, lambda p: None, lambda: False, tell_nearly_done=lambda: seen.append(files(job))
            )
            assert seen == [[".id.t1.part", "result.mp4"]]

    def test_in_mode_strip_keeps_the_container(self, make_job: Callable[..., Job]) -> None:
        end = do(make_job(parameters=Parameters(mode=Mode.STRIP)))
        assert isinstance(end, Finished)
        assert end.suffix == ".mp4"
        assert end.report["mode"] == "strip"

    def test_of_a_link_that_somebody_put_there_is_refused(
        self, make_job: Callable[..., Job], tmp_path: Path, clip: Path
    ) -> None:
        """Else whoever may write to the inbox could have any file read."""
        home = tmp_path / "inbox/.media-cleaner/originals/day/id"
        home.parent.mkdir(parents=True)
        home.symlink_to(clip.parent)
        link = tmp_path / "link.mp4"
        link.symlink_to(clip)
        for original, words in ((home / clip.name, "link or no folder"), (link, "link or no file")):
            end = do(make_job(original.stem, original=original))
            assert isinstance(end, Failed)
            assert end.failure.code == "unreadable_media"
            assert original.name in end.failure.message
            assert words in end.failure.message
            assert not end.is_retryable

    def test_whose_video_was_deleted_before_its_turn_says_what_to_do(
        self, make_job: Callable[..., Job], tmp_path: Path
    ) -> None:
        end = do(make_job(original=tmp_path / "deleted.mp4"))
        assert isinstance(end, Failed)
        assert end.failure.message == (
            f"deleted.mp4 cannot be read: No such file or directory ({tmp_path / 'deleted.mp4'})."
            " Mend that and retry the task, or give the video in anew."
        )

    def test_that_is_moved_away_meanwhile_is_finished(
        self, make_job: Callable[..., Job], tmp_path: Path, clip: Path
    ) -> None:
        home = tmp_path / "inbox/.media-cleaner/originals/day/id"
        home.mkdir(parents=True)
        home.parents[2].chmod(0o750)
        os.link(clip, home / clip.name)
        own = home.parents[2]

        def show(progress: Progress) -> None:
            if own.exists():
                own.rename(own.with_name("moved"))

        end = perform(make_job(original=home / clip.name), show, lambda: False)
        assert isinstance(end, Finished)

    def test_of_a_file_that_is_no_video_is_refused(
        self, make_job: Callable[..., Job], tmp_path: Path
    ) -> None:
        broken = tmp_path / "Отпуск.mov"
        broken.write_bytes(b"no video" * 1000)
        job = make_job(original=broken)
        end = do(job)
        assert isinstance(end, Failed)
        assert end.failure.code == "unreadable_media"
        assert "Отпуск.mov" in end.failure.message
        assert not end.is_retryable
        assert end.details is None
        assert files(job) == []

    def test_that_is_called_off_leaves_nothing(self, make_job: Callable[..., Job]) -> None:
        job = make_job()
        seen: list[Path] = []

        def cancelled() -> bool:
            seen.extend(job.folder.glob("result*"))
            return bool(seen)

        assert do(job, cancelled) == Stopped("t1")
        assert files(job) == []

    def test_that_is_called_off_while_it_is_copied_leaves_nothing(
        self, make_job: Callable[..., Job], tmp_path: Path
    ) -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
            if os.stat(name).st_dev == tmp_path.stat().st_dev:
                pytest.skip("/dev/shm is no file system of its own")
            job = make_job(outbox=Path(name))
            assert do(job, lambda: bool(os.listdir(name))) == Stopped("t1")
            assert files(job) == []

    @pytest.mark.parametrize("place", ["temp", "outbox"])
    @pytest.mark.skipif(os.geteuid() != 0, reason="mounting is root's")
    def test_on_a_full_disk_says_which(
        self, make_job: Callable[..., Job], tmp_path: Path, place: str
    ) -> None:
        small = tmp_path / place
        small.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", small]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("nothing can be mounted here")
        try:
            job = make_job()
            end = do(job)
            assert isinstance(end, Failed)
            assert end.failure.code == "disk_full"
            assert f"holiday.mp4: the disk of {small} is full" in end.failure.message
            assert not end.is_retryable
            assert files(job) == []
        finally:
            subprocess.run(["umount", small], check=True)

    def test_whose_outbox_is_gone_fails_before_the_work(
        self, make_job: Callable[..., Job], tmp_path: Path
    ) -> None:
        job = make_job(outbox=tmp_path / "gone")
        end = do(job)
        assert isinstance(end, Failed)
        assert end.failure.code == "output_failed"
        assert end.is_retryable

    @pytest.mark.parametrize("error", [OSError(30, "Read-only"), UnsupportedMedia("It is odd.")])
    def test_whose_folder_can_be_written_no_more_blames_that_and_not_the_video(
        self,
        make_job: Callable[..., Job],
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
    ) -> None:
        """A muxer that may not open its file again says that the video is not for its container."""
        failing(monkeypatch, error)
        job, real = make_job(), os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: Path(path) != job.folder and real(path, mode)
        )
        end = do(job)
        assert isinstance(end, Failed)
        assert end.failure.code == "output_failed"
        assert end.failure.message == (
            f"holiday.mp4: {job.folder} may not be read and written by this user; mend that."
        )
        assert end.is_retryable

    @pytest.mark.parametrize(
        ("error", "is_spoilt"),
        [(MemoryError(), True), (ValueError(), True), (UnsupportedMedia("It is odd."), False)],
    )
    def test_whose_folder_can_be_written_no_more_still_spoils_its_process(
        self,
        make_job: Callable[..., Job],
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
        is_spoilt: bool,
    ) -> None:
        failing(monkeypatch, error)
        monkeypatch.setattr(worker, "why_closed", lambda folder: "is read-only")
        end = do(make_job())
        assert isinstance(end, Failed)
        assert end.failure.code == "output_failed"
        assert end.is_spoilt == is_spoilt

    def test_bears_the_users_name_of_the_file_in_whatever_the_pipeline_says(
        self, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing(monkeypatch, VerificationFailed("Frame 3 is missing."))
        job = make_job()
        end = do(job)
        assert isinstance(end, Failed)
        assert end.failure.message == "holiday.mp4: Frame 3 is missing."
        assert end.is_retryable
        assert files(job) == []

    def test_that_nobody_foresaw_tells_the_user_no_traceback(
        self, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing(monkeypatch, ZeroDivisionError("division by zero"))
        job = make_job()
        end = do(job)
        assert isinstance(end, Failed)
        assert end.failure.code == "internal_error"
        assert end.failure.message.startswith("holiday.mp4: ")
        assert "Traceback" not in end.failure.message
        assert end.details is not None
        assert "ZeroDivisionError: division by zero" in end.details
        assert files(job) == []

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            OutOfMemory("holiday.mp4 needs more."),
            OSError(errno.ENOMEM, "no memory"),
            caused_by(OSError(errno.ENOMEM, "no memory"), UnreadableMedia("It is damaged.")),
        ],
    )
    def test_that_needs_too_much_memory_says_so(
        self,
        make_job: Callable[..., Job],
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
    ) -> None:
        failing(monkeypatch, error)
        end = do(make_job())
        assert isinstance(end, Failed)
        assert end.failure.code == "out_of_memory"
        assert not end.is_retryable

    def test_that_fails_where_memory_is_used_up_fails_for_that(
        self, make_job: Callable[..., Job], tmp_path: Path
    ) -> None:
        """A decoder that gets no memory for a picture says that the picture is damaged."""
        broken = tmp_path / "broken.mov"
        broken.write_bytes(b"no video" * 1000)
        job = make_job(original=broken)
        end = perform(job, lambda progress: None, lambda: False, lambda: True)
        assert isinstance(end, Failed)
        assert end.failure.code == "out_of_memory"
        assert "broken.mov" in end.failure.message


def test_a_worker_that_may_not_be_nice_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nice(step: int) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    told: list[str] = []
    monkeypatch.setattr(signal, "signal", lambda *words: None)
    monkeypatch.setattr(os, "nice", nice)
    monkeypatch.setattr(worker, "_tell_kernel", lambda name, value: told.append(name))
    worker._give_way()
    assert told == ["coredump_filter", "oom_score_adj"]


class TestTheMeter:
    @pytest.fixture
    def shown(self) -> list[Progress]:
        return []

    @pytest.fixture
    def clock(self) -> list[float]:
        return [0.0]

    @pytest.fixture
    def meter(self, shown: list[Progress], clock: list[float]) -> _Meter:
        return _Meter("t1", shown.append, lambda: None, lambda: clock[0])

    def moved(self, meter: _Meter, phase: str, frames: int, total: int | None) -> None:
        meter.pipeline_moved(pipeline.progress.Progress(phase, frames, total))

    def test_goes_through_all_parts_of_the_work_and_never_back(
        self, meter: _Meter, shown: list[Progress], clock: list[float]
    ) -> None:
        for phase, frames in (
            ("protect", 50),
            ("protect", 100),
            ("read back", 0),
            ("read back", 50),
            ("audit", 100),
        ):
            clock[0] += 1
            self.moved(meter, phase, frames, 100)
        clock[0] += 1
        meter.copy_moved(0.5)
        assert [p.percent for p in shown] == [42.5, 85.0, 85.0, 90.5, 97.0, 98.5]
        assert [p.processed_frames for p in shown] == [50, 100, 100, 100, 100, 100]

    def test_does_not_go_back_where_more_is_found_to_do(
        self, meter: _Meter, shown: list[Progress], clock: list[float]
    ) -> None:
        for total in (100, 200):
            clock[0] += 1
            self.moved(meter, "protect", 50, total)
        assert [(p.percent, p.total_frames) for p in shown] == [(42.5, 100), (42.5, 200)]

    def test_speaks_twice_a_second(
        self, meter: _Meter, shown: list[Progress], clock: list[float]
    ) -> None:
        for frame in range(1, 101):
            clock[0] += 0.0625
            self.moved(meter, "protect", frame, 100)
        assert [p.processed_frames for p in shown] == list(range(8, 101, 8))

    def test_takes_a_container_that_states_too_few_frames(
        self, meter: _Meter, shown: list[Progress], clock: list[float]
    ) -> None:
        clock[0] = 1
        self.moved(meter, "protect", 120, 100)
        assert shown == [Progress("t1", 85.0, 120, 120)]

    def test_counts_frames_where_nobody_knows_how_many_there_are(
        self, meter: _Meter, shown: list[Progress], clock: list[float]
    ) -> None:
        clock[0] = 1
        self.moved(meter, "protect", 7, None)
        assert shown == [Progress("t1", 0.0, 7, None)]

    @pytest.mark.parametrize(("seconds", "told"), [(9, [9]), (11, [])])
    def test_tells_the_end_of_short_work_ahead_and_of_no_other(
        self, clock: list[float], seconds: float, told: list[float]
    ) -> None:
        """What is left of a large file may take minutes; then no task is claimed so early."""
        moments: list[float] = []
        meter = _Meter(
            "t1", lambda p: None, lambda: moments.append(clock[0]), clock=lambda: clock[0]
        )
        meter.ends_at = 97.0
        clock[0] = seconds - 1
        self.moved(meter, "read back", 100, 100)
        for clock[0] in (seconds, seconds + 1):
            self.moved(meter, "audit", 100, 100)
        assert moments == told

    def test_says_nothing_after_the_end(
        self, meter: _Meter, shown: list[Progress], clock: list[float]
    ) -> None:
        meter.close()
        clock[0] = 1
        self.moved(meter, "protect", 7, 100)
        assert shown == []


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    child = Child("daemon.worker", "8.0", "cpu")
    assert child.recv() == Ready()
    yield child
    child.kill()


class TestTheProcess:
    def test_keeps_its_videos_out_of_core_files_and_goes_first_where_memory_runs_out(
        self, child: Child
    ) -> None:
        proc = Path(f"/proc/{child.pid}")
        assert int((proc / "coredump_filter").read_text(), 16) == 0
        assert (proc / "oom_score_adj").read_text().strip() == "500"
        limits = (proc / "limits").read_text()
        assert [row.split()[4:6] for row in limits.splitlines() if "core file" in row] == [
            ["0", "0"]
        ]
        assert "NoNewPrivs:\t1" in (proc / "status").read_text()

    def test_leaves_the_cores_to_the_service_where_both_want_them(self, child: Child) -> None:
        assert os.getpriority(os.PRIO_PROCESS, child.pid) >= 10

    def test_is_bounded_in_memory(self, child: Child) -> None:
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        bound = next(r.split()[3] for r in limits.splitlines() if r.startswith("Max address"))
        assert 8 * GB < int(bound) < 64 * GB

    def test_does_one_job_after_the_other_whatever_signals_a_service_gets(
        self, child: Child, make_job: Callable[..., Job]
    ) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(child.pid, number)
        for token in ("t1", "t2"):
            child.send(make_job(token))
            end = self.end(child, token)
            assert isinstance(end, Finished)
            assert end.token == token
            assert child.recv() == Ready()

    def test_tells_of_a_short_job_that_it_is_nearly_done(
        self, child: Child, make_job: Callable[..., Job]
    ) -> None:
        child.send(make_job())
        told = [child.recv()]
        while not isinstance(told[-1], Ready):
            told.append(child.recv())
        *_, nearly, end, _ = told
        assert nearly == NearlyDone("t1")
        assert isinstance(end, Finished)

    def test_heeds_a_stop_of_this_job_only(
        self, child: Child, make_job: Callable[..., Job]
    ) -> None:
        job = make_job("t3", parameters=Parameters(every_n_frames=1))
        child.send(Stop("t2"))
        child.send(job)
        child.send(Stop("t3"))
        child.send(Stop("t1"))
        # The last word is about another one, so whether this was heard is a matter of luck.
        assert isinstance(self.end(child, "t3"), (Finished, Stopped))
        assert child.recv() == Ready()

    def test_ends_when_nobody_wants_it_any_more(self, make_job: Callable[..., Job]) -> None:
        child = Child("daemon.worker", "8.0", "cpu")
        assert child.recv() == Ready()
        child.send(make_job())
        assert isinstance(child.recv(), Moved)
        child.connection.close()
        assert child.wait(60)
        child.kill()

    def test_takes_no_job_after_one_that_left_it_short_of_memory(
        self, make_job: Callable[..., Job], tmp_path: Path
    ) -> None:
        # Its encoder alone holds more pictures ahead than go into what is allowed here.
        large = make_video(tmp_path / "large.mp4", Video(1920, 1080, frames=30))
        # Now and then it is the C library that gets none, for a thread's own data, and it aborts
        # the worker, which takes no job then either.
        for _ in range(3):
            child = Child("daemon.worker", "0.08", "cpu")
            assert child.recv() == Ready()
            child.send(make_job(original=large))
            with contextlib.suppress(EOFError):
                end = self.end(child, "t1")
                break
            child.kill()
        assert isinstance(end, Failed)
        assert end.failure.code == "out_of_memory"
        assert child.recv() == Spent()
        child.kill()

    def test_nor_after_one_that_left_a_thread_behind(
        self, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stage deep inside an encoder goes on for a while after its job was called off."""
        free, threads = threading.Event(), []

        def leave_behind(job: Job, *rest: object) -> Stopped:
            threads.append(threading.Thread(target=free.wait, daemon=True))
            threads[-1].start()
            return Stopped(job.token)

        ours, theirs = multiprocessing.Pipe()
        with ours, theirs:
            process = worker._Worker(theirs, lambda: False)
            monkeypatch.setattr(worker, "perform", leave_behind)
            assert not process._did_cleanly(make_job("t1"))
            free.set()
            threads[0].join()
            monkeypatch.setattr(worker, "perform", lambda job, *rest: Stopped(job.token))
            assert process._did_cleanly(make_job("t2"))

    def end(self, child: Child, token: str) -> Finished | Failed | Stopped:
        while isinstance(message := child.recv(), (Moved, NearlyDone)):
            assert message.token == token
        assert isinstance(message, (Finished, Failed, Stopped))
        return message
