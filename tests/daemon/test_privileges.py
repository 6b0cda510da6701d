"""What processes that open strangers' files may do: nothing beyond what their user may."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from media import Video, make_video
from services import open_files
from unit_sandbox import NOBODY, shown_folders, why_not

from daemon import privileges
from daemon.child import Child
from daemon.jobs import Finished, Job, Moved, NearlyDone, Ready
from pipeline.parameters import Parameters
from pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
SOMEBODY = 1
LEASE, OVERRIDE = 1 << 28, 1 << 1
WORKER = ("daemon.worker", "8.0", "cpu")
# What `serve` does before anything else, then what the pool does; tells of itself and its worker.
SERVICE = """
import json, os
from pathlib import Path
from daemon.child import Child
from daemon.privileges import pass_none_on
pass_none_on()
worker = Child("daemon.worker", "8.0", "cpu")
worker.recv()
print(json.dumps([Path(f"/proc/{p}/status").read_text() for p in (os.getpid(), worker.pid)]))
worker.kill()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its user")


def sets(status: str) -> Mapping[str, int]:
    """Return the sets of capabilities that a status tells of, by their names there."""
    rows = (row.split() for row in status.splitlines() if row.startswith("Cap"))
    return {name.rstrip(":"): int(value, 16) for name, value in rows}


def threads(pid: int) -> list[str]:
    found: list[str] = []
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            found.append(path.read_text())
    assert found
    return found


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """Have a worker of a service that holds a file, which any other program would inherit."""
    with (tmp_path_factory.mktemp("service") / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        child = Child(*WORKER)
        assert child.recv() == Ready()
        yield child
        child.kill()


def test_no_thread_of_a_worker_has_a_right_that_its_work_does_not_need(worker: Child) -> None:
    """Root's has one: to read what people dropped and only they may read."""
    kept = OVERRIDE if os.geteuid() == 0 else 0
    for status in threads(worker.pid):
        assert sets(status)["CapEff"] | sets(status)["CapPrm"] == kept
        assert sets(status)["CapInh"] | sets(status)["CapAmb"] == 0
        assert "NoNewPrivs:\t1" in status
        if os.geteuid() == 0:
            assert sets(status)["CapBnd"] == kept


def test_a_worker_has_no_descriptor_but_its_pipe_and_the_services_standard_error(
    worker: Child,
) -> None:
    held = open_files(worker.pid)
    error = os.readlink("/proc/self/fd/2")
    assert (held.pop("0"), held.pop("1"), held.pop("2")) == ("/dev/null", "/dev/null", error)
    assert [target.partition(":")[0] for target in held.values()] == ["socket"]


@pytest.mark.skipif(bool(why_not()), reason=str(why_not()))
def test_a_service_with_a_right_to_leases_keeps_it_to_itself() -> None:
    """As its unit starts it: a user of its own, and one capability."""
    # In a view of the machine in which another user may run this Python.
    shown = ["bwrap", "--die-with-parent", "--cap-add", "ALL", "--dev-bind", "/", "/"]
    shown += ["--perms", "0755", "--tmpfs", "/root", *shown_folders()]
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    rights = ["--inh-caps=+lease", "--ambient-caps=+lease"]
    done = subprocess.run(
        [*shown, *user, *rights, sys.executable, "-c", SERVICE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    service, worker = (sets(text) for text in json.loads(done.stdout))
    assert service["CapEff"] == LEASE
    assert worker["CapPrm"] == worker["CapEff"] == worker["CapAmb"] == 0


def test_a_system_without_an_ambient_set_has_none_to_pass_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As kernels before 4.3, and some sandboxes."""
    refused = OSError(errno.EINVAL, "Invalid argument")

    def control_process(option: int, value: int) -> None:
        raise refused

    monkeypatch.setattr(privileges, "control_process", control_process)
    privileges.pass_none_on()
    refused = OSError(errno.EPERM, "Operation not permitted")
    with pytest.raises(OSError, match="not permitted"):
        privileges.pass_none_on()


@as_root
def test_a_worker_of_root_still_reads_what_only_its_owner_may_read(
    worker: Child, tmp_path: Path
) -> None:
    clip = make_video(tmp_path / "clip.mp4", Video(frames=5, width=160, height=120))
    clip.chmod(0o600)
    os.chown(clip, SOMEBODY, SOMEBODY)
    for name in ("temp", "outbox"):
        (tmp_path / name).mkdir()
    temp, outbox = tmp_path / "temp", tmp_path / "outbox"
    worker.send(Job("one", "t1", clip, temp, outbox, "", Parameters(), Settings(threads=1)))
    while isinstance(message := worker.recv(), Moved | NearlyDone):
        pass
    assert isinstance(message, Finished)
    assert worker.recv() == Ready()
