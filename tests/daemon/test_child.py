"""A child process talks over its pipe, ends with its parent, and leaves nothing behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from services import PATIENCE_SECONDS

from daemon.child import Child

# A child that does as it is told.
OBEDIENT = """
import os, sys, time
from daemon.child import child_arguments, child_connection, messages
connection = child_connection()
for message in messages(connection):
    if message == "arguments":
        connection.send(child_arguments())
    elif message == "descriptors":
        paths = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        connection.send([os.readlink(path) for path in paths if os.path.lexists(path)])
    elif message == "inheritable":
        connection.send(os.get_inheritable(connection.fileno()))
    elif message == "path":
        connection.send(sys.path)
    elif message == "environment":
        connection.send(dict(os.environ))
    elif message == "status":
        connection.send(open("/proc/self/status").read() + open("/proc/self/limits").read())
    elif message == "exit":
        os._exit(3)
    elif message == "raise":
        os.kill(os.getpid(), 40)
    elif message == "answer twice and go":
        connection.send(1), connection.send(2)
        os._exit(0)
    elif message == "sleep":
        time.sleep(600)
    else:
        connection.send(message)
"""
# A parent that starts two children, the second of which heeds nothing, and tells their names.
PARENT = """
import sys, time
from daemon.child import Child
children = [Child("obedient"), Child("deaf")]
for child in children:
    child.recv() if child is children[1] else (child.send("hello"), child.recv())
print(*(child.pid for child in children), flush=True)
time.sleep(600)
"""
DEAF = """
import time
from daemon.child import child_connection
connection = child_connection()
connection.send("ready")
time.sleep(600)
"""
# A child that is busy, and hears of its parent in a thread beside.
BUSY = """
import threading, time
from daemon.child import child_connection, messages
connection = child_connection()
threading.Thread(target=lambda: [connection.send(m) for m in messages(connection)]).start()
time.sleep(600)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "obedient.py").write_text(OBEDIENT)
    (tmp_path / "deaf.py").write_text(DEAF)
    (tmp_path / "busy.py").write_text(BUSY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def child(modules: Path) -> Iterator[Child]:
    started = Child("obedient", "--colour", "red")
    yield started
    started.kill()


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def _ended(pid: int) -> bool:
    """Is the process gone, or a zombie that somebody else has to reap?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@contextmanager
def _parent(modules: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run a parent of two; yield it and the children's names."""
    command = [sys.executable, "-c", PARENT]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((root, str(modules)))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        try:
            yield parent, [int(word) for word in parent.stdout.readline().split()]
        finally:
            parent.kill()


def test_messages_go_both_ways(child: Child) -> None:
    child.send({"epsilon": 0.12})
    assert child.poll(PATIENCE_SECONDS)
    assert child.recv() == {"epsilon": 0.12}
    child.send("arguments")
    assert child.recv() == ["--colour", "red"]
    assert child.is_alive
    assert child.exit_text == "is still running"


def test_a_child_is_waited_for_like_any_descriptor(child: Child) -> None:
    assert select.select([child], [], [], 0)[0] == []
    child.send("hello")
    assert select.select([child], [], [], PATIENCE_SECONDS)[0] == [child]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("exit", "ended with exit code 3"),
        ("raise", "was killed by signal 40 (unnamed)"),
    ],
)
def test_the_end_of_a_child_is_told_with_its_reason(child: Child, message: str, text: str) -> None:
    child.send(message)
    with pytest.raises(EOFError):
        child.recv()
    assert child.wait(PATIENCE_SECONDS)
    assert not child.is_alive
    assert child.exit_text == text


def test_a_child_that_was_killed_says_by_which_signal(child: Child) -> None:
    os.kill(child.pid, signal.SIGKILL)
    assert child.poll(PATIENCE_SECONDS)
    with pytest.raises(EOFError):
        child.recv()
    assert child.wait(PATIENCE_SECONDS)
    assert child.exit_text == "was killed by signal 9 (SIGKILL)"


def test_a_message_to_a_child_that_is_gone_is_told(child: Child) -> None:
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(PATIENCE_SECONDS)
    with pytest.raises(EOFError, match="signal 9"):
        child.send("hello")


def test_a_child_that_left_our_messages_unread_ends_like_any_other(child: Child) -> None:
    child.send("sleep")
    child.send("never read")
    os.kill(child.pid, signal.SIGKILL)
    assert child.poll(PATIENCE_SECONDS)
    with pytest.raises(EOFError):
        child.recv()


def test_what_a_child_said_before_its_end_is_heard(child: Child) -> None:
    child.send("answer twice and go")
    assert child.wait(PATIENCE_SECONDS)
    assert [child.recv(), child.recv()] == [1, 2]
    with pytest.raises(EOFError):
        child.recv()


def test_a_child_whose_parent_hangs_up_ends_by_itself(child: Child) -> None:
    child.send("hello")
    child.recv()
    child.connection.close()
    assert child.wait(PATIENCE_SECONDS)
    assert child.exit_text == "ended with exit code 0"


def test_a_child_that_is_busy_ends_too_when_its_parent_hangs_up(modules: Path) -> None:
    child = Child("busy")
    child.send("hello")
    assert child.recv() == "hello"
    child.connection.close()
    assert child.wait(PATIENCE_SECONDS)
    assert child.exit_text == "ended with exit code 0"


def test_kill_ends_a_child_that_heeds_nothing_and_leaves_no_zombie(modules: Path) -> None:
    child = Child("deaf")
    child.recv()
    os.kill(child.pid, signal.SIGSTOP)
    child.kill()
    assert not Path(f"/proc/{child.pid}").exists()
    assert child.exit_text == "was killed by signal 9 (SIGKILL)"
    child.kill()  # once more does no harm


def test_no_descriptor_is_left_behind(modules: Path) -> None:
    before = _descriptors()
    for _ in range(3):
        child = Child("obedient")
        child.send("hello")
        child.recv()
        child.kill()
    assert _descriptors() <= before


def test_a_child_that_cannot_be_started_leaves_no_descriptor(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(modules / "none"))
    before = _descriptors()
    with pytest.raises(FileNotFoundError):
        Child("obedient")
    assert _descriptors() <= before


def test_a_module_that_is_not_there_is_an_end_with_a_code(modules: Path) -> None:
    child = Child("no_such_module")
    with pytest.raises(EOFError):
        child.recv()
    assert child.wait(PATIENCE_SECONDS)
    assert child.exit_text == "ended with exit code 1"
    child.kill()


def test_a_child_has_nothing_of_ours_but_its_pipe(child: Child, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        other = Child("obedient")
        other.send("descriptors")
        held = other.recv()
        other.kill()
    assert sum(name.startswith("socket:") for name in held) == 1
    assert not [name for name in held if "secret" in name]
    assert held.count("/dev/null") >= 2  # what it prints is nobody's


def test_the_pipe_ends_with_the_child_whatever_it_has_started_itself(child: Child) -> None:
    child.send("inheritable")
    assert child.recv() is False


def test_modules_come_from_our_packages_and_never_from_the_folder_we_stand_in(
    modules: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    child = Child("obedient")
    child.send("path")
    path = child.recv()
    child.kill()
    assert path[:2] == [str(Path(__file__).parents[2]), str(modules)]
    assert "" not in path
    assert str(tmp_path / "here") not in path


def test_a_child_has_our_environment_and_what_is_given(modules: Path) -> None:
    child = Child("obedient", environment={"MALLOC_ARENA_MAX": "2"})
    child.send("environment")
    environment = child.recv()
    child.kill()
    assert environment["MALLOC_ARENA_MAX"] == "2"
    assert environment["PATH"] == os.environ["PATH"]


def test_a_child_gains_no_rights_and_leaves_no_core(child: Child) -> None:
    child.send("status")
    text = child.recv()
    assert "NoNewPrivs:\t1" in text
    (line,) = (line for line in text.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]


def test_ctrl_c_in_the_terminal_is_not_for_children(child: Child) -> None:
    child.send("hello")
    child.recv()
    assert os.getpgid(child.pid) != os.getpgid(0)  # where a terminal's Ctrl-C goes
    os.kill(child.pid, signal.SIGINT)
    child.send("still there")
    assert child.recv() == "still there"


def test_children_end_when_their_parent_is_killed(modules: Path) -> None:
    with _parent(modules) as (parent, pids):
        assert len(pids) == 2
        assert not any(map(_ended, pids))
        parent.kill()
        _wait_for(lambda: all(map(_ended, pids)))


def test_a_child_whose_parent_ended_before_it_began_ends_too(modules: Path) -> None:
    """What the kernel cannot tell any more is found by looking at who the parent is."""
    command = [sys.executable, "-m", "deaf", str(os.getpid() + 1), "0"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((root, str(modules)))}
    done = subprocess.run(command, env=environment, timeout=PATIENCE_SECONDS, capture_output=True)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_module_run_by_hand_says_what_to_run_instead(modules: Path) -> None:
    command = [sys.executable, str(modules / "deaf.py")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, env=environment, timeout=PATIENCE_SECONDS, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "media-cleaner serve" in done.stderr
