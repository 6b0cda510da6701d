"""Every block of docs/EXAMPLES.md, run against the real service."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from media import Audio, Video, make_video
from ports import held_port
from services import ROOT, ServiceHouse, running, wait_until

from daemon.webhook_request import TOTAL_SECONDS

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TEXT = (ROOT / "docs/EXAMPLES.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+(?: \w+)?)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    found = [code for name, code in BLOCKS if name == kind]
    assert found, kind
    return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceHouse]:
    webhook = {"allow_private": True, "secret": SECRET}
    house = ServiceHouse(tmp_path_factory.mktemp("house"), webhook=webhook)
    with running(house):
        yield house


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that is as the examples have it."""
    make_video(tmp_path / "my_video.mp4", Video(frames=10, width=160, height=120, audio=[Audio()]))
    shutil.copy(ROOT / "client.py", tmp_path)
    return tmp_path


def run(
    command: list[str], code: str, folder: Path, house: ServiceHouse, **environment: str
) -> str:
    """Run a block as it stands, but for the address of the server; return what it prints."""
    text = code.replace("http://localhost:8000", house.url.rstrip("/"))
    scripts = os.path.dirname(sys.executable)
    path = os.pathsep.join([scripts, os.environ["PATH"]])
    done = subprocess.run(
        command,
        input=text,
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def need(program: str) -> str:
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def test_a_receiver_of_webhooks_has_the_time_that_is_told() -> None:
    assert f"within {TOTAL_SECONDS:g} seconds" in TEXT


def test_no_block_is_of_a_kind_that_nobody_runs() -> None:
    kinds = {"bash", "python", "javascript", "sftp", "python receiver"}
    assert {kind for kind, _ in BLOCKS} == kinds
    assert TEXT.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("code", blocks("bash"))
def test_shell(house: ServiceHouse, folder: Path, code: str) -> None:
    need("curl")
    run(["bash", "-s"], code, folder, house)
    if "result.mp4" in code:
        assert (folder / "result.mp4").stat().st_size > 1000
    if "--download" in code:
        assert list((folder / "results").glob("*_protected.mp4"))


@pytest.mark.parametrize("code", blocks("python"))
def test_python(house: ServiceHouse, folder: Path, code: str) -> None:
    said = run([sys.executable, "-"], code, folder, house)
    assert "failed" not in said
    assert "saved as" in said or "✅" in said


@pytest.mark.parametrize("code", blocks("javascript"))
def test_javascript(house: ServiceHouse, folder: Path, code: str) -> None:
    node = need("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout[1:].partition(".")[0]) < 20:
        pytest.skip("node is older than 20")
    run([node, "--input-type=module", "-"], code, folder, house)
    assert (folder / "result_js.mp4").stat().st_size > 1000


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[str]:
    """Run a real SFTP server on loopback; return the command that reaches it."""
    sshd, client, keygen = need("sshd"), need("sftp"), need("ssh-keygen")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        words = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(words, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    os.makedirs("/run/sshd", exist_ok=True) if os.geteuid() == 0 else None
    with held_port() as port, (folder / "log").open("wb") as log:
        (folder / "config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
        )
        words = [sshd, "-D", "-e", "-f", str(folder / "config")]
        with subprocess.Popen(words, stdout=log, stderr=log) as server:
            try:
                wait_until(lambda: _listens(port), "sshd")
                yield (
                    f"{client} -q -b - -P {port} -i {folder}/user -o StrictHostKeyChecking=no"
                    " -o UserKnownHostsFile=/dev/null 127.0.0.1"
                )
            finally:
                server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_sftp_with_a_sidecar(house: ServiceHouse, folder: Path, sftp: str) -> None:
    places = {"SFTP": sftp, "INBOX": str(house.inbox), "OUTBOX": str(house.outbox)}
    for code in blocks("sftp"):
        run(["bash", "-s"], code, folder, house, **places)
    assert (folder / "result_sftp.mp4").stat().st_size > 1000
    (task,) = (t for t in house.statuses().values() if t["notes"] == "from the telephone")
    assert (task["epsilon"], task["status"]) == (0.08, "completed")


def test_a_receiver_checks_the_signature(house: ServiceHouse, folder: Path) -> None:
    (code,) = blocks("python receiver")
    (folder / "receiver.py").write_text(code)
    with held_port() as port, (folder / "out").open("wb") as out:
        url = f"http://127.0.0.1:{port}/"
        environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port)}
        words = [sys.executable, str(folder / "receiver.py")]
        with subprocess.Popen(words, env=environment, stdout=out, stderr=out) as receiver:
            try:
                wait_until(lambda: _listens(port), "the receiver")
                assert requests.post(url, data=b"{}", timeout=60).status_code == 401
                with (folder / "my_video.mp4").open("rb") as file:
                    answer = requests.post(
                        f"{house.url}upload",
                        files={"file": file},
                        data={"webhook_url": url},
                        timeout=60,
                    )
                told = f"{answer.json()['task_id']} completed"
                wait_until(lambda: told in (folder / "out").read_text(), "the webhook")
            finally:
                receiver.terminate()
