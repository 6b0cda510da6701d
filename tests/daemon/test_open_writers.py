"""Read leases, asked of the real kernel."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from daemon import open_writers
from daemon.open_writers import is_open_for_writing

ROOT = Path(__file__).parents[2]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
_PR_SET_DUMPABLE = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"video")
    if is_open_for_writing(path) is None:
        pytest.skip("no leases on this file system")
    return path


def test_nobody_has_it_open(path: Path) -> None:
    assert is_open_for_writing(path) is False


@pytest.mark.parametrize("mode", ["ab", "r+b", "wb"])
def test_somebody_writes(path: Path, mode: str) -> None:
    with path.open(mode):
        assert is_open_for_writing(path) is True
    assert is_open_for_writing(path) is False


def test_another_process_writes(path: Path) -> None:
    code = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"open\n"
        assert is_open_for_writing(path) is True
        writer.communicate()
    assert is_open_for_writing(path) is False


def test_readers_do_not_count(path: Path) -> None:
    with path.open("rb"):
        assert is_open_for_writing(path) is False


def test_a_memory_map_counts_though_the_file_was_closed(path: Path) -> None:
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    assert is_open_for_writing(path) is True
    mapped.close()
    assert is_open_for_writing(path) is False


def test_the_lease_is_given_back(path: Path) -> None:
    is_open_for_writing(path)
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # EAGAIN if it were held


def test_what_is_no_regular_file_is_not_opened(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, opened = os.open, []

    def open_and_tell(name: str, flags: int) -> int:
        opened.extend([] if flags & os.O_PATH else [name])
        return real(name, flags)

    monkeypatch.setattr(os, "open", open_and_tell)
    (tmp_path / "link.mp4").symlink_to(path)
    os.mkfifo(tmp_path / "fifo.mp4")
    for name in ("link.mp4", "fifo.mp4", "missing.mp4", "."):
        assert is_open_for_writing(tmp_path / name) is None
    assert is_open_for_writing(Path("/dev/null")) is None
    assert opened == []


@NEEDS_ROOT
@pytest.mark.parametrize("mode", [0o666, 0o600])
def test_of_others_files_nobody_can_tell(mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "clip.mp4"
        path.touch()
        path.chmod(mode)
        assert is_open_for_writing(path) is False
        pid = os.fork()
        if pid == 0:
            os.setgroups([])
            os.setuid(65534)
            # What exec would do; without it /proc/self is closed to us.
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1)
            os._exit(0 if is_open_for_writing(path) is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_on_a_share_nobody_can_tell(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_writers, "is_remote", lambda file_system: True)
    with path.open("ab"):
        assert is_open_for_writing(path) is None


def test_no_descriptor_stays_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        is_open_for_writing(path)
        is_open_for_writing(path.with_name("missing"))
    assert len(os.listdir("/proc/self/fd")) <= before


def test_who_opens_the_file_in_that_instant_does_not_kill_us(path: Path) -> None:
    """The kernel asks for the lease by a signal, whose default would end the process."""
    code = textwrap.dedent(
        """
        import fcntl, os, sys
        from pathlib import Path
        from daemon.open_writers import is_open_for_writing

        path, real, broken = Path(sys.argv[1]), fcntl.fcntl, []

        def fcntl_and_open(descriptor, command, value=0):
            answer = real(descriptor, command, value)
            if command == fcntl.F_SETLEASE:
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                except BlockingIOError:
                    broken.append(command)
            return answer

        fcntl.fcntl = fcntl_and_open
        print(is_open_for_writing(path), len(broken))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGIO, signal.SIG_DFL),
    )
    assert (done.returncode, done.stdout.split()) == (0, ["False", "1"]), done.stderr
