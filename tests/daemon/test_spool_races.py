"""
Several processes act on the same tasks at once, thousands of times.

Each writes down what it did. Afterwards every transition must have begun where another had
ended (what flowed into a status less what flowed out is what lies there), each result is
published once, and no reader ever missed a task or saw half of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from spools import REASON, REPORT, leftovers, records, submitted

from daemon.spool import Spool
from daemon.spool_errors import StaleAttempt, UnknownTask, WrongStatus
from daemon.task import Failure, Status

LOST = Failure("worker_died", "killed")
Done = list[tuple[str, str, str]]  # task, from, to


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def together(works: list[Callable[[], Done]], folder: Path) -> Done:
    """Run each in a process of its own, at once; return what they did."""
    pids = []
    for number, work in enumerate(works):
        pid = os.fork()
        if pid == 0:
            try:
                (folder / f"{number}.did").write_text(json.dumps(work()))
            except BaseException as error:
                (folder / f"{number}.error").write_text(repr(error))
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    assert [path.read_text() for path in folder.glob("*.error")] == []
    return [tuple(d) for path in folder.glob("*.did") for d in json.loads(path.read_text())]


def actor(state: Path, names: list[str], seed: int, turns: int) -> Done:
    """Do what comes to mind with tasks that others act on too."""
    spool, chance, done = Spool(state), random.Random(seed), []
    tokens: dict[str, list[str]] = {name: [] for name in names}

    def note(task_id: str, before: str, after: str) -> None:
        done.append((task_id, before, after))

    for turn in range(turns):
        task_id = chance.choice(names)
        token = chance.choice(tokens[task_id] or ["none"])
        act = chance.choice(("claim", "claim", "cancel", "retry", "requeue", "spend", "fail"))
        if turn > 0.8 * turns and chance.random() < 0.01:  # the end of all that may happen
            act = "complete"
        with contextlib.suppress(WrongStatus, StaleAttempt):
            if act == "claim":
                tokens[task_id].append(spool.claim(task_id).token or "")
                note(task_id, "pending", "processing")
            elif act == "cancel":
                # From where, only the spool knows: whether it had begun is told by the record.
                task = spool.cancel(task_id)
                note(task_id, "processing" if task.token else "pending", "cancelled")
            elif act == "retry":
                failed_before = spool.get(task_id).status is Status.FAILED
                spool.retry(task_id)
                note(task_id, "failed" if failed_before else "cancelled", "pending")
            elif act == "requeue":
                note(task_id, "processing", spool.requeue(task_id, token).status)
            elif act == "spend":
                note(task_id, "processing", spool.spend_attempt(task_id, token, LOST, 2).status)
            elif act == "fail":
                note(task_id, "processing", spool.fail(task_id, token, REASON).status)
            else:
                result = state.parent / f"{task_id}.mp4"
                spool.complete(
                    task_id, token, result.name, REPORT, lambda r=result: r.touch(exist_ok=False)
                )
                note(task_id, "processing", "completed")
    return done


def reader(state: Path, names: list[str], turns: int) -> Done:
    """Look at everything all the time: each task is always there, once and whole."""
    spool = Spool(state)
    for _ in range(turns):
        for name in names:
            assert spool.get(name).task_id == name
        page = spool.list()
        assert [task.task_id for task in page.tasks] == sorted(names, reverse=True)
        assert page.damaged == ()
    return []


def operator(state: Path, names: list[str], seed: int, turns: int) -> Done:
    """Move records by a bare rename, which takes no lock: back to pending, or to cancelled."""
    chance = random.Random(seed)
    for _ in range(turns):
        name = chance.choice(names)
        ways = [("failed", "pending"), ("cancelled", "pending")]
        if chance.random() < 0.2:
            ways = [("pending", "cancelled"), ("processing", "cancelled")]
        for source, target in ways:
            for path in (state / source).glob(f"*/{name}.json"):
                day = path.parent.name if chance.random() < 0.5 else ""
                with contextlib.suppress(FileNotFoundError):
                    os.rename(path, state / target / day / path.name)
    return []


@pytest.mark.parametrize("seed", range(3))
def test_no_change_is_lost_and_none_made_twice(tmp_path: Path, seed: int) -> None:
    state = tmp_path / "state"
    names = [submitted(Spool(state)) for _ in range(4)]
    works = [lambda n=n: actor(state, names, 10 * seed + n, 700) for n in range(3)]
    done = together([*works, lambda: reader(state, names, 60)], tmp_path)
    where = records(state)
    assert leftovers(state) == []
    # "retry" may misjudge where it came from between its look and its act: one common source.
    merged = {"failed": "ended", "cancelled": "ended"}
    for name in names:
        flow: Counter[str] = Counter({"pending": 1})
        for task_id, before, after in done:
            if task_id == name:
                flow[merged.get(before, before)] -= 1
                flow[merged.get(after, after)] += 1
        (status,) = where[name]
        assert {s: n for s, n in flow.items() if n} == {merged.get(status, status): 1}
        assert (tmp_path / f"{name}.mp4").exists() == (status is Status.COMPLETED)
    assert len(done) > 300


@pytest.mark.parametrize("seed", range(2))
def test_an_operators_mv_at_any_moment_harms_nothing(tmp_path: Path, seed: int) -> None:
    state = tmp_path / "state"
    names = [submitted(Spool(state)) for _ in range(3)]
    works = [lambda n=n: actor(state, names, 100 + 10 * seed + n, 500) for n in range(2)]
    together(
        [
            *works,
            lambda: operator(state, names, seed, 3000),
            lambda: reader(state, names, 60),
        ],
        tmp_path,
    )
    assert {name: len(places) for name, places in records(state).items()} == dict.fromkeys(names, 1)
    assert leftovers(state) == []
    # Only one that was moved in the very moment of publishing.
    assert all(path.name.endswith(".json.cancelled") for path in Spool(state).damaged())
    for name in names:
        is_completed = Spool(state).get(name).status is Status.COMPLETED
        assert (tmp_path / f"{name}.mp4").exists() == is_completed


def test_one_attempt_of_many_publishes(tmp_path: Path) -> None:
    """Everybody has a token; only the newest is good."""
    state = tmp_path / "state"
    spool = Spool(state)
    for turn in range(40):
        name = submitted(spool)
        old = spool.claim(name).token or ""
        spool.requeue(name, old)
        new = spool.claim(name).token or ""
        folder = tmp_path / str(turn)
        folder.mkdir()

        def publish(token: str, name: str = name, folder: Path = folder) -> Done:
            with contextlib.suppress(StaleAttempt):
                Spool(state).complete(
                    name,
                    token,
                    "x.mp4",
                    REPORT,
                    lambda: (folder / "out").write_text(token) and None,
                )
                return [(name, "processing", "completed")]
            return []

        def call_off(name: str = name) -> Done:
            with contextlib.suppress(WrongStatus):
                Spool(state).cancel(name)
                return [(name, "processing", "cancelled")]
            return []

        done = together([partial(publish, old), partial(publish, new), call_off], folder)
        assert len(done) == 1
        (status,) = records(state)[name]
        assert done[0][2] == status
        assert (folder / "out").exists() == (status is Status.COMPLETED)
        if status is Status.COMPLETED:
            assert (folder / "out").read_text() == new


def test_the_start_of_the_service_disturbs_nobody(tmp_path: Path) -> None:
    """Web processes submit and cancel while the service brings order."""
    state = tmp_path / "state"
    Spool(state)

    def web() -> Done:
        spool, done = Spool(state), []
        for number in range(80):
            name = submitted(spool)
            done.append((name, "", "pending"))
            if number % 3 < 2 or number < 40:
                spool.cancel(name)
                spool.remove(name, lambda task: None)
                done.pop()
                with pytest.raises(UnknownTask):
                    spool.get(name)
        return done

    def service() -> Done:
        for _ in range(40):
            recovery = Spool(state).recover(lambda task: False)
            assert (recovery.set_aside, recovery.left, recovery.tasks) == ((), {}, ())
        return []

    done = together([web, web, service], tmp_path)
    assert records(state) == {name: [Status.PENDING] for name, _, _ in done}
