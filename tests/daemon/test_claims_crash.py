"""
Killed before each single step of a claim, on file systems of both kinds.

Afterwards, and after the start that follows, the video lies in exactly one place, with its
bytes, and it is a task exactly if it has left the visible inbox.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kills import killed_before
from spools import leftovers, records

from daemon import atomic
from daemon.claims import Claims, Found
from daemon.originals import OWN_FOLDER
from daemon.spool import Spool
from daemon.spool_errors import QueueFull
from daemon.stability import Stamp
from daemon.task import Failure, Status, Submission, Task
from pipeline.parameters import Parameters

CONTENT = b"the video's bytes"
VIDEO = "clip.mp4"
# None, right, wrong: they differ in the steps, not in what must be true.
EVERY_SIDECAR = (
    pytest.param(None, marks=pytest.mark.slow),
    "epsilon: 0.1",
    pytest.param("epsilon: 9", marks=pytest.mark.slow),
)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Still a step to be killed at; that it comes where it must is shown by test_atomic."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=["flags", "links"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    def refused(*args: Any) -> None:
        raise OSError(errno.EINVAL, "the flag is not known here")

    if request.param == "links":
        monkeypatch.setattr(atomic, "_renameat2", refused)
    return str(request.param)


@dataclass(frozen=True)
class House:
    """An inbox and a state, as one run of the service after the other finds them."""

    folder: Path

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "state")

    def claims(self, spool: Spool | None = None) -> Claims:
        outbox = self.folder / "outbox"
        return Claims("main", self.inbox, outbox, Parameters(), spool or self.spool, 100, 1 << 30)

    def drop(self, video: str = VIDEO, sidecar: str | None = None) -> None:
        folder = self.inbox / "alice"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / video).write_bytes(CONTENT)
        if sidecar is not None:
            (folder / f"{video}.yaml").write_text(sidecar)

    def found(self, video: str = VIDEO) -> Found:
        """Return a file as a watcher finds it now."""
        folder = self.inbox / "alice"
        sidecar = f"{video}.yaml" if (folder / f"{video}.yaml").exists() else None
        return Found("alice", video, sidecar, Stamp.of(os.lstat(folder / video)))

    def start(self) -> list[Task]:
        spool = self.spool
        spool.recover(lambda task: False)
        return self.claims(spool).recover()

    def files(self) -> dict[str, bytes]:
        """Return everything that lies in the inbox and in the state, but for locks."""
        paths = (p for p in self.folder.rglob("*") if p.is_file() and p.suffix != ".lock")
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in paths}


def check(house: House, video: str = VIDEO, sidecar: str | None = None) -> bool:
    """Check that nothing is lost, doubled or half; return whether the video is a task."""
    own = house.inbox / OWN_FOLDER
    assert leftovers(house.folder) == []
    assert not own.exists() or list(own.glob("claiming/*")) == []
    visible = house.inbox / "alice" / video
    kept = list(own.glob(f"originals/*/*/{video}"))
    assert len(kept) + visible.exists() == 1
    assert (kept[0] if kept else visible).read_bytes() == CONTENT
    if sidecar is not None:
        beside = (kept[0] if kept else visible).with_name(f"{video}.yaml")
        assert beside.read_text() == sidecar
        assert len(list(house.inbox.rglob(f"{video}.yaml"))) == 1
    homes = [home for home in own.glob("originals/*/*") if not any(home.iterdir())]
    assert homes == []
    assert _task_of(house, video) == ([kept[0].parent.name] if kept else [])
    return bool(kept)


def _task_of(house: House, video: str) -> list[str]:
    tasks = [house.spool.get(task_id) for task_id in records(house.folder / "state")]
    for task in tasks:
        assert Path(task.original).exists()
        assert task.sidecar is None or Path(task.sidecar).exists()
    return [task.task_id for task in tasks if task.input_video == video]


def killed_at_every_step(
    tmp_path: Path, sidecar: str | None, work_in: Callable[[House], Callable[[], object]]
) -> set[bool]:
    """
    Cut work on a dropped file short at each step, and start again.

    Returns:
        What became of the video: whether it was a task after the start.
    """
    seen: set[bool] = set()
    step, was_killed = 0, True
    while was_killed:
        step += 1
        # Always the same place: records say where files lie.
        house = House(tmp_path / "house")
        house.drop(sidecar=sidecar)
        was_killed = killed_before(step, work_in(house))
        house.start()
        is_task = check(house, sidecar=sidecar)
        seen.add(is_task)
        held = house.files()
        assert house.start() == []  # a second start changes nothing
        assert house.files() == held
        if not is_task:
            assert house.claims().claim(house.found()) is not None
            assert check(house, sidecar=sidecar)
        shutil.rmtree(house.folder)
    assert step > 10
    return seen


@pytest.mark.parametrize("sidecar", EVERY_SIDECAR)
def test_killed_before_any_step_of_a_claim(
    tmp_path: Path, file_system: str, sidecar: str | None
) -> None:
    seen = killed_at_every_step(tmp_path, sidecar, claim_of)
    assert seen == {True, False}


@pytest.mark.parametrize("sidecar", EVERY_SIDECAR)
def test_killed_before_any_step_of_putting_back(
    tmp_path: Path, file_system: str, sidecar: str | None
) -> None:
    def refused(house: House) -> Callable[[], object]:
        spool, found = house.spool, house.found()

        def refuse(
            submission: Submission, max_pending: int, failure: Failure | None = None
        ) -> Task:
            raise QueueFull(max_pending)

        spool.submit = refuse  # type: ignore[method-assign]
        claims = house.claims(spool)

        def claim() -> None:
            with pytest.raises(QueueFull):
                claims.claim(found)

        return claim

    assert killed_at_every_step(tmp_path, sidecar, refused) == {True, False}


def test_killed_before_any_step_of_the_recovery_itself(tmp_path: Path, file_system: str) -> None:
    step = first_step_after_the_video(tmp_path)
    assert recovery_killed_at_every_step(tmp_path, step, "epsilon: 0.1") == {True}


@pytest.mark.slow
@pytest.mark.parametrize("sidecar", [None, "epsilon: 0.1"])
def test_killed_before_any_step_of_a_claim_and_of_the_recovery_after_it(
    tmp_path: Path, file_system: str, sidecar: str | None
) -> None:
    seen: set[bool] = set()
    step, was_killed = 0, True
    while was_killed:
        step += 1
        house = House(tmp_path / "house")
        house.drop(sidecar=sidecar)
        was_killed = killed_before(step, claim_of(house))
        shutil.rmtree(house.folder)
        seen |= recovery_killed_at_every_step(tmp_path, step, sidecar)
    assert step > 20
    assert seen == {True, False}


def first_step_after_the_video(tmp_path: Path) -> int:
    """Return where to cut a claim so that its video is moved and the rest is left to do."""
    for step in range(1, 200):
        house = House(tmp_path / "house")
        house.drop(sidecar="epsilon: 0.1")
        killed_before(step, claim_of(house))
        is_moved = any(house.inbox.glob(f"{OWN_FOLDER}/originals/*/*/{VIDEO}"))
        shutil.rmtree(house.folder)
        if is_moved:
            return step
    pytest.fail("the video is never moved")


def claim_of(house: House) -> Callable[[], Task | None]:
    """Return what claims the dropped file; all that can be done before is done."""
    claims, found = house.claims(), house.found()
    return lambda: claims.claim(found)


def recovery_killed_at_every_step(
    tmp_path: Path, claim_step: int, sidecar: str | None
) -> set[bool]:
    """Cut the start after a claim that was cut short at `claim_step`; return what became of it."""
    seen: set[bool] = set()
    step, was_killed = 0, True
    while was_killed:
        step += 1
        house = House(tmp_path / "house")
        house.drop(sidecar=sidecar)
        killed_before(claim_step, claim_of(house))
        was_killed = killed_before(step, house.start)
        house.start()
        seen.add(check(house, sidecar=sidecar))
        shutil.rmtree(house.folder)
    return seen


def test_files_claimed_through_fifty_kills_are_tasks_once_each(
    tmp_path: Path, file_system: str
) -> None:
    house = House(tmp_path)
    videos = [f"{number}.mp4" for number in range(12)]
    for video in videos:
        house.drop(video, "epsilon: 0.1")

    def life() -> None:
        claims = house.claims()
        claims.recover()
        for video in videos:
            if (house.inbox / "alice" / video).exists():
                claims.claim(house.found(video))

    for step in range(1, 51):
        killed_before(5 + step * 13 % 90, life)
    life()
    house.start()
    for video in videos:
        assert check(house, video, "epsilon: 0.1")
    assert set(map(len, records(tmp_path / "state").values())) == {1}
    assert house.spool.counts()[Status.PENDING] == len(videos)
