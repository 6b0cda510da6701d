"""
The SFTP set-up in sftp/: a real sshd that locks a user in, a real client, and the service.

All of it runs beside this machine's own /etc and /srv, on copies that only these processes see.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from media import Video, make_video
from ports import held_port
from services import ROOT, ServiceHouse, running, wait_until
from unit_sandbox import kill_all, shown_folders

PADDING_BYTES = 2 << 20
# In the units of sftp -l, Kbit/s: half a minute for the padding.
SLOW = "512"


@dataclass
class Machine:
    """Copies of /etc and /srv, and how to run something that sees these in their place."""

    etc: Path
    srv: Path

    def inside(self, *words: str) -> list[str]:
        """Return the command line for `words` there, as root."""
        return [
            *("bwrap", "--die-with-parent", "--cap-add", "ALL", "--dev-bind", "/", "/"),
            *("--bind", str(self.etc), "/etc", "--bind", str(self.srv), "/srv"),
            *("--perms", "1777", "--tmpfs", "/run", "--dir", "/run/sshd"),
            *("--perms", "0755", "--tmpfs", "/root", *shown_folders()),
            *("--chdir", str(ROOT), *words),
        ]

    def run(self, *words: str) -> str:
        done = subprocess.run(self.inside(*words), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


class HouseInside(ServiceHouse):
    """A service as the user media-cleaner of such a machine."""

    machine: Machine

    def start(self, *words: str) -> None:
        command = [sys.executable, "-m", "daemon", "--config", str(self.config), "serve", *words]
        user = ["setpriv", "--reuid=media-cleaner", "--regid=media-cleaner", "--init-groups"]
        lease = ["--inh-caps=-all,+lease", "--ambient-caps=+lease"]
        with (self.folder / "console.txt").open("ab") as console:
            self.process = subprocess.Popen(
                self.machine.inside(*user, *lease, *command),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        wait_until(lambda: self.health().get("pid") or not self.is_running, "ready")
        assert self.is_running, (self.folder / "console.txt").read_text()

    def kill(self) -> None:
        assert self.process is not None
        kill_all(self.process)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    if os.geteuid() != 0:
        pytest.skip("not root")
    for program in ("bwrap", "setpriv", "sshd", "sftp", "ssh-keygen", "useradd"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"{program} is not installed")
    if subprocess.run(["bwrap", "--dev-bind", "/", "/", "true"], capture_output=True).returncode:
        pytest.skip("bwrap may not make namespaces here")
    folder = tmp_path_factory.mktemp("machine")
    for parent in (folder, *folder.parents):
        if parent.is_relative_to("/tmp/") and parent != Path("/tmp"):
            parent.chmod(0o755)  # pytest's own are for us alone
    subprocess.run(["cp", "-a", "/etc", str(folder / "etc")], check=True)
    (folder / "srv").mkdir()
    found = Machine(folder / "etc", folder / "srv")
    found.run("useradd", "--system", "--user-group", "--no-create-home", "media-cleaner")
    return found


@dataclass
class Sftp:
    """A user's own client, its server, and her folders as root sees them."""

    command: list[str]
    home: Path
    house: ServiceHouse

    def run(self, *lines: str) -> subprocess.CompletedProcess[str]:
        words = [*self.command, "-b", "-"]
        words = [*words[:-3], *words[-2:], words[-3]]  # the host comes last
        text = "\n".join(lines) + "\n"
        return subprocess.run(words, input=text, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def sftp(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sftp]:
    folder = machine.etc.parent
    entry = machine.run("sh", "sftp/add-user.sh", "alice")
    assert machine.run("sh", "sftp/add-user.sh", "alice") == entry  # again, to the same end
    house_folder = folder / "house"
    house_folder.mkdir()
    shutil.chown(house_folder, *owner_of(machine, "media-cleaner"))
    own = {"name": "main", "inbox": "inbox"}
    house = HouseInside(house_folder, inboxes=[own, *yaml.safe_load(entry)], incomplete_wait_s=60)
    house.machine = machine
    with running(house), sshd(machine) as port:
        yield Sftp(
            [
                *("sftp", "-q", "-P", str(port), "-i", str(folder / "user")),
                *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
                *("-o", "BatchMode=yes", "alice@127.0.0.1"),
            ],
            machine.srv / "media-cleaner/alice",
            house,
        )


def test_who_can_log_in_already_is_not_locked_in(machine: Machine) -> None:
    """Or an operator who tries it with the name of their own login could not come back."""
    machine.run("useradd", "--no-create-home", "carol")
    done = subprocess.run(
        machine.inside("sh", "sftp/add-user.sh", "carol"), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("carol is a user of this machine already")
    assert machine.run("id", "-nG", "carol").split() == ["carol"]
    assert not (machine.srv / "media-cleaner/carol").exists()


def owner_of(machine: Machine, name: str) -> tuple[int, int]:
    lines = (machine.etc / "passwd").read_text().splitlines()
    fields = next(line.split(":") for line in lines if line.startswith(f"{name}:"))
    return int(fields[2]), int(fields[3])


@contextlib.contextmanager
def sshd(machine: Machine) -> Iterator[int]:
    """Have sshd run with the shipped snippet; its own settings are those of a bare machine."""
    folder = machine.etc.parent
    for key in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(words, check=True)
    keys = machine.etc / "ssh/media-cleaner"
    keys.mkdir(mode=0o755)
    shutil.copy(folder / "user.pub", keys / "alice")
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert server
    words = machine.inside(server, "-D", "-e", "-f", str(folder / "sshd_config"))
    with held_port() as port, (folder / "sshd.txt").open("wb") as log:
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
            "UsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
            + (ROOT / "sftp/media-cleaner.conf").read_text()
        )
        with subprocess.Popen(words, stderr=log) as process:
            try:
                wait_until(lambda: listens(port) or process.poll() is not None, "sshd")
                assert process.poll() is None, (folder / "sshd.txt").read_text()
                yield port
            finally:
                kill_all(process)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Return a video with so much padding behind that a slow transfer takes its time."""
    path = tmp_path / "clip.mp4"
    make_video(path, Video(frames=10, width=160, height=120))
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", PADDING_BYTES, b"free") + b"\0" * (PADDING_BYTES - 8))
    return path


def test_what_is_dropped_by_sftp_is_the_users_and_comes_back(
    sftp: Sftp, video: Path, tmp_path: Path
) -> None:
    done = sftp.run(f"put {video} inbox/first.mp4", "mkdir inbox/trip", f"put {video} inbox/trip/")
    assert done.returncode == 0, done.stderr
    for name, subfolder in (("first.mp4", "."), ("clip.mp4", "trip")):
        task = wait_until(lambda n=name: ended(sftp, n), name)
        owner = "alice" if subfolder == "." else subfolder
        assert (task["status"], task["user_id"]) == ("completed", owner), task
        done = sftp.run(f"get outbox/{subfolder}/*_protected.mp4 {tmp_path}/back-{name}")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"back-{name}").stat().st_size > 1000
    assert not (sftp.home / "inbox/first.mp4").exists()


def ended(sftp: Sftp, name: str) -> dict[str, object] | None:
    for path in (sftp.home / "outbox").rglob("*.status.json"):
        value = yaml.safe_load(path.read_text())
        if value["input_video"] == name and value["status"] in ("completed", "failed"):
            return dict(value)
    return None


def test_a_transfer_that_broke_off_is_waited_for_and_goes_on_by_reput(
    sftp: Sftp, video: Path
) -> None:
    words = [*sftp.command[:-1], "-l", SLOW, sftp.command[-1]]
    place = sftp.home / "inbox/broken.mp4"
    with subprocess.Popen(words, stdin=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        client.stdin.write(f"put {video} inbox/broken.mp4\n")
        client.stdin.flush()
        wait_until(lambda: place.exists() and place.stat().st_size > 50_000, "some of it")
        client.send_signal(signal.SIGKILL)
    size = place.stat().st_size
    assert size < video.stat().st_size
    time.sleep(3)  # settle_s and sidecar_grace_s several times over
    assert place.exists()
    assert ended(sftp, "broken.mp4") is None
    done = sftp.run(f"reput {video} inbox/broken.mp4")
    assert done.returncode == 0, done.stderr
    try:
        task = wait_until(lambda: ended(sftp, "broken.mp4"), "broken.mp4")
    except AssertionError as error:
        raise AssertionError(f"{error}: {sftp.house.health()}") from error
    assert task["status"] == "completed", task
    (original,) = (sftp.home / "inbox/.media-cleaner/originals").rglob("broken.mp4")
    assert original.read_bytes() == video.read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        "get /etc/passwd {tmp}/x",
        "put {video} /clip.mp4",
        "put {video} outbox/clip.mp4",
        "rename inbox/.media-cleaner inbox/mine",
        "rm inbox/.media-cleaner/originals/*/*/*",
    ],
)
def test_the_user_reaches_nothing_else(sftp: Sftp, video: Path, tmp_path: Path, line: str) -> None:
    done = sftp.run(line.format(tmp=tmp_path, video=video))
    assert done.returncode != 0
    assert not (tmp_path / "x").exists()


def test_the_user_gets_no_shell(sftp: Sftp) -> None:
    words = ["ssh", "-p", *sftp.command[3:-1], sftp.command[-1], "id"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert "uid=" not in done.stdout
