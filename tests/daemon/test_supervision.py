"""What systemd is told and when; the socket is real, the parts of the service are scripts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from notify_sockets import NotifySocket
from services import ServiceHouse, running, wait_until

from daemon import inbox as inbox_module
from daemon.inbox import InboxWatcher
from daemon.inbox import Rules as InboxRules
from daemon.pool import Pool
from daemon.supervision import Supervision
from daemon.systemd_notify import Notifier
from daemon.web_process import WebProcess


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class ScriptedPool:
    ready: int = 0
    busy: int = 0
    size: int = 2
    trouble: str | None = None
    polls: int = 0


@dataclass
class ScriptedWatcher:
    name: str = "main"
    has_looked: bool = False
    wedged: bool = False

    def is_wedged(self) -> bool:
        return self.wedged


@dataclass
class ScriptedWeb:
    is_ready: bool = False


class Parts:
    """A supervision with everything that it looks at."""

    def __init__(self, systemd: NotifySocket, clock: Clock) -> None:
        self.systemd, self.clock = systemd, clock
        self.pool, self.watcher, self.web = ScriptedPool(), ScriptedWatcher(), ScriptedWeb()
        notifier = Notifier(systemd.address, 60.0)
        self.supervision = Supervision(notifier, cast(Pool, self.pool), clock)

    def look(self, seconds: float = 3.0) -> dict[str, str]:
        """Have one turn come to its end, so many seconds after the last; return what was told."""
        self.clock.now += seconds
        self.pool.polls += 1
        return self.look_again()

    def look_again(self) -> dict[str, str]:
        watchers = cast("list[InboxWatcher]", [self.watcher])
        self.supervision.look(watchers, cast(WebProcess, self.web), lambda: 5)
        told: dict[str, str] = {}
        for one in self.systemd.take_all():
            told |= one
        return told

    def become_ready(self) -> None:
        self.pool.ready, self.watcher.has_looked, self.web.is_ready = 1, True, True
        assert self.look()["READY"] == "1"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    with NotifySocket(str(tmp_path / "notify")) as systemd:
        yield Parts(systemd, Clock())


def test_it_is_ready_when_a_worker_the_inboxes_and_requests_answer_and_says_so_once(
    parts: Parts,
) -> None:
    told = parts.look()
    assert "READY" not in told
    assert told["STATUS"] == "starting: waits for the first worker, requests, inbox main"
    parts.pool.ready = 1
    assert "READY" not in parts.look()
    parts.web.is_ready = True
    assert parts.look()["STATUS"] == "starting: waits for inbox main"
    parts.watcher.has_looked = True
    told = parts.look()
    assert told["READY"] == "1"
    assert told["STATUS"] == "5 waiting, 0 at work, 1 of 2 workers there"
    assert "READY" not in parts.look()


def test_an_inbox_that_hangs_does_not_keep_the_others_from_being_ready(parts: Parts) -> None:
    parts.pool.ready, parts.web.is_ready = 1, True
    assert "READY" not in parts.look(1)
    assert parts.look(20)["READY"] == "1"


def test_workers_that_do_not_come_up_are_named(parts: Parts) -> None:
    parts.pool.trouble = "ended with code 1"
    assert "(ended with code 1)" in parts.look()["STATUS"]


def test_the_status_is_told_when_it_changes(parts: Parts) -> None:
    parts.become_ready()
    assert "STATUS" not in parts.look()
    parts.pool.busy = 1
    assert parts.look()["STATUS"] == "5 waiting, 1 at work, 1 of 2 workers there"


def test_a_sign_of_life_comes_at_half_the_time_that_systemd_waits(parts: Parts) -> None:
    assert parts.look()["WATCHDOG"] == "1"
    assert "WATCHDOG" not in parts.look(29)
    assert parts.look(1)["WATCHDOG"] == "1"


def test_no_sign_of_life_while_an_inbox_is_wedged(parts: Parts) -> None:
    parts.look()
    parts.watcher.wedged = True
    assert "WATCHDOG" not in parts.look(30)
    assert "WATCHDOG" not in parts.look(30)
    parts.watcher.wedged = False
    assert parts.look(1)["WATCHDOG"] == "1"


def test_no_sign_of_life_while_the_pool_does_not_come_to_the_end_of_a_turn(parts: Parts) -> None:
    parts.look()
    parts.clock.now += 30
    assert "WATCHDOG" not in parts.look_again()
    assert parts.look(0)["WATCHDOG"] == "1"


def test_a_reload_is_told_from_its_beginning_to_its_end(parts: Parts) -> None:
    parts.become_ready()
    parts.supervision.reloading()
    told = parts.systemd.receive()
    assert (told["RELOADING"], told["WATCHDOG"]) == ("1", "1")
    assert int(told["MONOTONIC_USEC"]) > 0
    parts.supervision.reloaded()
    assert parts.systemd.receive() == {"READY": "1"}


def test_at_the_end_systemd_is_asked_for_the_time_that_running_tasks_get(parts: Parts) -> None:
    parts.become_ready()
    parts.pool.busy = 2
    parts.supervision.stopping(3600)
    assert parts.systemd.receive() == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "3660000000"}
    told = parts.look()
    assert told["STATUS"] == "stopping: 2 at work"
    assert "READY" not in told


# --- What counts as wedged ---


class HungClaims:
    """As `Claims`, on a disk that does not answer."""

    are_left = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seen: list[bool] = []
        self.watcher: Any = None

    def recover(self) -> list[Any]:
        return []

    def session(self) -> Any:
        for seconds in (299, 2):
            self._clock.now += seconds
            self.seen.append(self.watcher.is_wedged())
        raise OSError("enough")


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_claim_that_never_ends_is_a_wedge_where_events_tell_that_the_disk_is_ours(
    tmp_path: Path, is_watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_watched:

        def refuse(*words: object) -> None:
            raise inbox_module.WatchUnavailable("a share", is_expected=True)

        monkeypatch.setattr(inbox_module, "Watch", refuse)
    clock = Clock()
    claims = HungClaims(clock)
    rules = InboxRules(0.0, 0.0, 0.0, 1.0, frozenset([".mp4"]))
    watcher = InboxWatcher(
        "main",
        tmp_path,
        rules,
        cast(Any, claims),
        lambda: True,
        lambda path: False,
        lambda task: None,
        known_mount=None,
        min_free_gb=0.0,
        clock=clock,
    )
    claims.watcher = watcher
    assert not watcher.has_looked
    watcher._hints.rescan()
    watcher._turn()
    assert watcher.has_looked
    assert claims.seen == [False, is_watched]
    assert not watcher.is_wedged()
    watcher._close_watch()


def test_a_thread_that_has_ended_by_itself_is_a_wedge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InboxWatcher, "_turn", lambda self: False)
    rules = InboxRules(0.0, 0.0, 0.0, 1.0, frozenset([".mp4"]))
    watcher = InboxWatcher(
        "main",
        tmp_path,
        rules,
        cast(Any, None),
        lambda: True,
        lambda path: False,
        lambda task: None,
        known_mount=None,
        min_free_gb=0.0,
    )
    assert not watcher.is_wedged()
    watcher.start()
    wait_until(watcher.is_wedged, "wedged")


# --- The real service ---


def stands(pid: int) -> bool:
    """Is every thread of a process stopped?"""
    try:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):  # one of them ends in that moment
        return False
    return all(text.rpartition(")")[2].split()[0] == "T" for text in stats)


def test_the_service_tells_systemd_of_its_whole_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = ServiceHouse(tmp_path / "house", drain_s=7)
    with NotifySocket(f"@media-cleaner-{os.urandom(8).hex()}") as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        with running(house):
            systemd.receive_until("READY")
            events = [line["event"] for line in house.log_lines("server.log")]
            assert {"worker ready", "requests are answered"} <= set(events)
            # First what is told once: the watchdog's word comes again, before it or after it.
            systemd.receive_until("STATUS", "0 waiting, 0 at work, 1 of 1 workers there")
            systemd.receive_until("WATCHDOG")
            for pid in house.children():
                assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()

            house.send(signal.SIGHUP)
            systemd.receive_until("RELOADING")
            systemd.receive_until("READY")
            house.config.write_text("no_such_key: 1\n")
            house.send(signal.SIGHUP)
            systemd.receive_until("RELOADING")
            systemd.receive_until("READY")

            house.send(signal.SIGSTOP)
            wait_until(lambda: stands(house.health()["pid"]), "it stands")
            systemd.take_all()
            with pytest.raises(TimeoutError):
                systemd.receive(3)
            house.send(signal.SIGCONT)
            systemd.receive_until("WATCHDOG")

            house.send(signal.SIGTERM)
            told = systemd.receive_until("STOPPING")
            assert told["EXTEND_TIMEOUT_USEC"] == "67000000"
            assert house.stop() == 0
