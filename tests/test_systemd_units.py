"""The files in systemd/: right, strict, and not so strict that the service could not work."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from media import Audio, Video, make_video
from ports import held_port
from services import PATIENCE_SECONDS, ROOT, ServiceHouse, running, wait_until
from unit_sandbox import DAEMON, NOBODY, _allowed_calls, kill_all, sandboxed, why_not

from daemon.config import load_config

UNITS = ["media-cleaner.service", "media-cleaner-web.service"]
MOST_EXPOSED = 20  # tenths


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a unit as it is where the program is installed in this Python's folder."""
    text = (ROOT / "systemd" / request.param).read_text()
    copy = tmp_path / str(request.param)
    copy.write_text(text.replace("/opt/media-cleaner/bin", os.path.dirname(sys.executable)))
    return copy


def test_systemd_understands_the_unit(unit: Path) -> None:
    done = subprocess.run(
        [need("systemd-analyze"), "verify", str(unit)], capture_output=True, text=True
    )
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_the_unit_is_exposed_to_little(unit: Path) -> None:
    words = ["security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", str(unit)]
    done = subprocess.run([need("systemd-analyze"), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workers_may_give_way() -> None:
    assert "setpriority" in _allowed_calls(ROOT / "systemd/media-cleaner.service")


def test_the_installed_configuration_lies_where_the_units_may_write() -> None:
    config = load_config(ROOT / "systemd/config.yaml")
    for name in UNITS:
        text = (ROOT / "systemd" / name).read_text()
        assert "StateDirectory=media-cleaner\n" in text
        assert "LogsDirectory=media-cleaner\n" in text
    writable = (Path("/var/lib/media-cleaner"), Path("/var/log/media-cleaner"))
    for key, folder in config.folders.items():
        assert any(folder.is_relative_to(place) for place in writable), key
    listed = (ROOT / "systemd/media-cleaner.tmpfiles").read_text()
    for folder in config.folders.values():
        assert re.search(rf"^d {folder} ", listed, re.MULTILINE), folder


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Return the root of a machine on which next to nothing is."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    return root


def test_the_user_and_the_folders_are_made(machine: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    for program, kind, words in (
        ("systemd-sysusers", "sysusers", ()),
        ("systemd-tmpfiles", "tmpfiles", ("--create",)),
    ):
        source = ROOT / "systemd" / f"media-cleaner.{kind}"
        place = machine / f"usr/lib/{kind}.d/media-cleaner.conf"
        place.parent.mkdir(parents=True)
        shutil.copy(source, place)
        subprocess.run([need(program), f"--root={machine}", *words, place.name], check=True)
    owner = next(
        int(line.split(":")[2])
        for line in (machine / "etc/passwd").read_text().splitlines()
        if line.startswith("media-cleaner:")
    )
    inbox = (machine / "var/lib/media-cleaner/inbox").stat()
    assert (inbox.st_uid, stat.S_IMODE(inbox.st_mode)) == (owner, 0o3770)
    assert (machine / "srv/media-cleaner").stat().st_uid == 0


# --- Work under the restrictions ---


class RestrictedHouse(ServiceHouse):
    """A service under what its unit allows."""

    unit = ROOT / "systemd/media-cleaner.service"

    def start(self, *words: str) -> None:
        command = [sys.executable, "-m", "daemon", "--config", str(self.config), "serve", *words]
        with (self.folder / "console.txt").open("ab") as console:
            self.process = subprocess.Popen(
                sandboxed(self.unit, self.folder, *command),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        wait_until(lambda: self.health().get("pid") or not self.is_running, "ready")
        assert self.is_running, (self.folder / "console.txt").read_text()

    def kill(self) -> None:
        assert self.process is not None
        kill_all(self.process)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    house = tmp_path / "house"
    house.mkdir()
    os.chown(house, NOBODY, NOBODY)
    return house


@pytest.mark.parametrize("surrogate", ["embedded", pytest.param("network", marks=pytest.mark.slow)])
def test_the_service_works_under_the_restrictions_of_its_unit(
    folder: Path, tmp_path: Path, surrogate: str
) -> None:
    """A file of another user is taken, asked about by a lease; networks make code as they run."""
    settings = {} if surrogate == "embedded" else network_settings(folder)
    with running(RestrictedHouse(folder, **settings)) as house:
        video = tmp_path / "clip.mp4"
        make_video(video, Video(frames=10, width=160, height=120, audio=[Audio()]))
        wait_until(house.inbox.is_dir, "inbox")
        shutil.copy(video, house.inbox / "clip.mp4")
        os.chown(house.inbox / "clip.mp4", DAEMON, NOBODY)
        assert house.wait_for("clip.mp4", "completed", "failed")["status"] == "completed"
        with video.open("rb") as file:
            answer = requests.post(f"{house.url}upload", files={"file": file}, timeout=60)
        assert answer.status_code == 200
        task_id = answer.json()["task_id"]
        wait_until(lambda: house.statuses()[task_id]["status"] == "completed", "the upload")
        result = requests.get(f"{house.url}download/{task_id}", timeout=60)
        assert len(result.content) > 1000
        assert house.health()["problems"] == []
        events = house.log_lines("server.log")
        assert not [line for line in events if line["level"] in ("WARNING", "ERROR")]
        os.kill(house.health()["pid"], 15)
        assert house.process is not None
        assert house.process.wait(PATIENCE_SECONDS) == 0


def network_settings(folder: Path) -> dict[str, object]:
    """Return settings of a network with made-up weights."""
    from pipeline.torchvision_import import import_torchvision

    models = import_torchvision().models
    import torch

    torch.manual_seed(0)
    torch.save(models.resnet18(weights=None).state_dict(), folder / "resnet18.pth")
    return {"surrogate": "resnet18", "weights": {"resnet18": str(folder / "resnet18.pth")}}


@pytest.fixture
def web_command(folder: Path) -> Iterator[tuple[list[str], int]]:
    """Give the web unit's own command line, on a free port, and that."""
    text = (ROOT / "systemd/media-cleaner-web.service").read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    with held_port() as port:
        words = command.replace("'", "").replace("127.0.0.1:8000", f"127.0.0.1:{port}").split()
        yield [sys.executable, "-m", "gunicorn", *words[1:]], port


def test_requests_are_answered_under_the_restrictions_of_their_unit(
    folder: Path, tmp_path: Path, web_command: tuple[list[str], int]
) -> None:
    command, port = web_command
    house = RestrictedHouse(folder, web_workers=0)
    with running(house), (folder / "web.txt").open("wb") as console:
        web = subprocess.Popen(
            sandboxed(ROOT / "systemd/media-cleaner-web.service", folder, *command),
            env={**os.environ, "MEDIA_CLEANER_CONFIG": str(house.config)},
            stdout=console,
            stderr=console,
        )
        try:
            url = f"http://127.0.0.1:{port}"

            def answer() -> requests.Response | None:
                assert web.poll() is None, (folder / "web.txt").read_text()
                try:
                    found = requests.get(f"{url}/health", timeout=60)
                except requests.ConnectionError:
                    return None
                return found if found.status_code == 200 else None

            wait_until(answer, "requests")
            make_video(tmp_path / "clip.mp4", Video(frames=10, width=160, height=120))
            with (tmp_path / "clip.mp4").open("rb") as file:
                sent = requests.post(f"{url}/upload", files={"file": file}, timeout=60)
            assert sent.status_code == 200, sent.text
            house.wait_for("clip.mp4", "completed")
            task_id = sent.json()["task_id"]
            status = requests.get(f"{url}/task/{task_id}", timeout=60)
            assert status.json()["task"]["status"] == "completed"
            for which in ("original", "protected"):
                still = requests.get(f"{url}/still/{task_id}?of={which}", timeout=60)
                assert still.headers["Content-Type"] == "image/png", still.text
        finally:
            kill_all(web)


# --- Installing ---

Result = subprocess.CompletedProcess[str]
# Notes what it is asked, makes an environment of itself, and keeps what it is to install.
PYTHON = """#!/bin/sh
echo "$@" >>{machine}/asked
case "$*" in
  *" install "*) [ ! -e {machine}/offline ] || exit 1 ;;
esac
case "$*" in
  *"< (3, 11)"*) [ ! -e {machine}/old ] ;;
  "-m venv"*)
    for place; do :; done
    rm -rf "$place"
    mkdir -p "$place/bin"
    cp "$0" "$place/bin/python" ;;
  *"--force-reinstall /"*)
    for place; do :; done
    cp -R "$place" {machine}/installed ;;
esac
"""


@pytest.fixture
def python(machine: Path) -> Path:
    """Return what stands for the machine's Python."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    for program in ("systemd-sysusers", "systemd-tmpfiles"):
        need(program)
    path = machine / "python"
    path.write_text(PYTHON.format(machine=machine))
    path.chmod(0o755)
    return path


def script(
    machine: Path,
    name: str,
    *words: str,
    umask: int = 0o022,
    source: Path = ROOT,
    torch_index: str = "https://example/cpu",
) -> Result:
    """Run one of systemd/ below another root, where nothing is started."""
    return subprocess.run(
        [str(source / "systemd" / name), *words],
        env={
            **os.environ,
            "ROOT": str(machine),
            "PYTHON": str(machine / "python"),
            "TORCH_INDEX": torch_index,
        },
        capture_output=True,
        text=True,
        umask=umask,
    )


def test_it_is_installed_and_removed_and_what_people_own_is_kept(
    machine: Path, python: Path
) -> None:
    config = machine / "etc/media-cleaner/config.yaml"
    units = machine / "etc/systemd/system"
    assert script(machine, "install.sh").returncode == 0
    (torch,) = (line for line in (machine / "asked").read_text().splitlines() if " torch " in line)
    # A build that is there already would do, were it not for the first word.
    assert "--force-reinstall --index-url https://example/cpu" in torch
    assert [unit.name for unit in units.iterdir()] == ["media-cleaner.service"]
    assert (machine / "var/lib/media-cleaner/inbox").is_dir()
    assert load_config(config).web_workers > 0
    assert stat.S_IMODE(config.stat().st_mode) == 0o640

    answer = script(machine, "install.sh", "--web")
    assert answer.returncode == 2
    assert "set web_workers: 0" in answer.stderr
    config.write_text(config.read_text() + "web_workers: 0\nport: 8001\n")
    assert script(machine, "install.sh", "--web").returncode == 0
    assert load_config(config).port == 8001  # it is the operator's
    assert sorted(unit.name for unit in units.iterdir()) == sorted(UNITS)
    assert script(machine, "install.sh", "--wep").returncode == 2
    config.write_text("port: 8001\n")  # who moved back is told what keeps it from an upgrade
    answer = script(machine, "install.sh")
    assert answer.returncode == 2
    assert f"rm {units}/media-cleaner-web.service" in answer.stderr
    (units / "media-cleaner-web.service").unlink()
    assert script(machine, "install.sh").returncode == 0

    answer = script(machine, "uninstall.sh")
    assert answer.returncode == 0
    kept, removing = answer.stdout.split("To remove them too")
    for folder in re.findall(r"/\S+/media-cleaner", kept):
        assert folder in removing
    assert list(units.iterdir()) == []
    assert not (machine / "opt/media-cleaner").exists()
    assert config.exists()
    assert (machine / "var/lib/media-cleaner/inbox").is_dir()


def test_a_build_of_torch_is_taken_anew_only_from_another_index(
    machine: Path, python: Path
) -> None:
    """It has up to some GB, and the service is stopped meanwhile."""
    cpu, cuda = "https://example/cpu", "https://example/cuda"

    def is_taken_anew(index: str) -> bool:
        (machine / "asked").unlink(missing_ok=True)
        done = script(machine, "install.sh", torch_index=index)
        is_offline = (machine / "offline").exists()
        assert (done.returncode != 0) is is_offline, done.stderr
        asked = (machine / "asked").read_text().splitlines()
        (torch,) = (line for line in asked if " torch " in line)
        return "--force-reinstall" in torch

    assert is_taken_anew(cpu)
    # One may be named with a password.
    assert stat.S_IMODE((machine / "opt/media-cleaner/torch-index").stat().st_mode) == 0o600
    assert not is_taken_anew(cpu)
    (machine / "offline").touch()
    assert is_taken_anew(cuda)
    (machine / "offline").unlink()
    assert is_taken_anew(cpu)  # nobody knows how far the other came
    assert is_taken_anew(cuda)
    assert not is_taken_anew("")  # whatever is there will do
    assert is_taken_anew(cuda)


def test_the_service_reaches_the_program_whatever_the_umask_of_who_installs(
    machine: Path, python: Path
) -> None:
    assert script(machine, "install.sh", umask=0o077).returncode == 0
    for path in ("opt/media-cleaner", "opt/media-cleaner/bin"):
        assert stat.S_IMODE((machine / path).stat().st_mode) == 0o755, path


@pytest.mark.parametrize("left", ["no pip", "no Python"])
def test_an_environment_that_cannot_install_is_made_anew(
    machine: Path, python: Path, left: str
) -> None:
    """As Debian leaves it without python3-venv, or with another Python than it was made with."""
    broken = machine / "opt/media-cleaner/bin/python"
    broken.parent.mkdir(parents=True)
    if left == "no pip":
        broken.write_text("#!/bin/sh\nexit 1\n")
        broken.chmod(0o755)
    else:
        broken.symlink_to(machine / "gone")
    assert script(machine, "install.sh").returncode == 0
    assert broken.read_text() == python.read_text()


def test_too_old_a_python_is_refused_before_anything_is_made(machine: Path, python: Path) -> None:
    (machine / "old").touch()
    answer = script(machine, "install.sh")
    assert answer.returncode == 2
    assert f"3.11 or newer is needed, which {python} is not" in answer.stderr
    assert not (machine / "opt").exists()


def test_what_an_earlier_version_left_in_the_source_is_not_installed(
    machine: Path, python: Path, tmp_path: Path
) -> None:
    """setuptools builds in build/, and takes what is there already, if it is not older."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    for folder in ("daemon", "pipeline", "systemd"):
        shutil.copytree(ROOT / folder, source / folder)
    for name in ("MANIFEST.in", "README.md", "constraints.txt", "pyproject.toml", "setup.cfg"):
        shutil.copy(ROOT / name, source)
    built = source / "build/lib/daemon"
    built.mkdir(parents=True)
    for name in ("gone.py", "task.py"):
        (built / name).write_text("OF_ANOTHER_VERSION = True\n")
    assert script(machine, "install.sh", source=source).returncode == 0
    code = "import sys; from setuptools.build_meta import *; build_wheel(sys.argv[1])"
    words = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(words, cwd=machine / "installed", capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("daemon/task.py") == (ROOT / "daemon/task.py").read_bytes()
        assert archive.read("daemon/web/static/page.js")
        assert "daemon/gone.py" not in archive.namelist()


@pytest.mark.parametrize(
    ("offline", "state"),
    [(False, "active"), (True, "active"), (True, "activating"), (True, "inactive")],
)
def test_an_upgrade_replaces_nothing_under_a_running_service(
    machine: Path, python: Path, offline: bool, state: str
) -> None:
    """Its workers would be of the new version, and not understood. What fails changes nothing."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles"):
        (machine / name).write_text(
            f'#!/bin/sh\necho {name} "$@" >>{machine}/asked\n'
            f"[ $1 != is-active ] || {{ echo {state}; [ {state} = active ]; }}\n"
        )
        (machine / name).chmod(0o755)
    if offline:
        (machine / "offline").touch()
    units = machine / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "media-cleaner.service").touch()
    (machine / "etc/media-cleaner").mkdir()
    (machine / "etc/media-cleaner/config.yaml").touch()
    replaced = ("/opt", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d", "/usr/local/bin")
    done = subprocess.run(
        [
            *("bwrap", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev"),
            *("--bind", str(machine), str(machine), "--bind", str(machine / "etc"), "/etc"),
            *(word for folder in replaced for word in ("--tmpfs", folder)),
            *("--tmpfs", "/var/tmp", "--setenv", "TMPDIR", "/var/tmp"),
            str(ROOT / "systemd/install.sh"),
        ],
        env={"PATH": f"{machine}:{os.environ['PATH']}", "PYTHON": str(python)},
        capture_output=True,
        text=True,
    )
    told = (machine / "asked").read_text().splitlines()
    stopped = told.index("systemctl stop media-cleaner")
    installed = next(i for i, line in enumerate(told) if " install " in line)
    assert stopped < installed
    assert (done.returncode == 0) is not offline, done.stderr
    last = [line for line in told if line.startswith(("systemctl start", "systemctl restart"))]
    if state == "inactive":
        assert last == []
    else:
        kind = "start --no-block" if offline else "restart"
        assert last[0] == f"systemctl {kind} media-cleaner"
