"""`media-cleaner doctor`, on machines that lack one thing each."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from services import ServiceHouse, running

from daemon import child, doctor, doctor_folders, doctor_machine
from daemon.config import Config, load_config
from daemon.doctor import Finding, Level, Programs

SUBJECTS = {
    "configuration",
    "inboxes.main.inbox",
    "outbox",
    "temp",
    "logs",
    "state",
    "room for temp",
    "inotify",
    "user",
    "limits",
    "workers",
    "codecs",
    "torch",
    "port",
    "units",
    "service",
}
WHOLE = Programs(
    av="18.1.0",
    encoders=frozenset(doctor_machine._ENCODERS),
    decoders=frozenset(doctor_machine._DECODERS),
    torch="2.13.0",
)


def config_of(folder: Path, **settings: Any) -> Config:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"min_free_gb": 0.001, **settings}))
    config = load_config(path)
    for key in ("inbox", "outbox", "temp", "logs", "state"):
        (folder / key).mkdir(exist_ok=True)
    return config


def bad(findings: Iterable[Finding]) -> list[Finding]:
    found = [finding for finding in findings if finding.level is not Level.OK]
    assert all(finding.remedy for finding in found)
    return found


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = bad(findings)
    return finding


# --- The command ---


def test_a_machine_that_lacks_nothing_is_looked_at_in_every_way(tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path)
    answer = house.run("doctor")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert {line[9:].split(": ")[0] for line in answer.stdout.splitlines()} >= SUBJECTS
    assert not (tmp_path / "inbox").exists()


def test_what_will_not_work_is_told_with_its_remedy_and_ends_with_one(tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path, min_free_gb=1_000_000)
    answer = house.run("doctor", "--json")
    assert answer.returncode == 1
    told = json.loads(answer.stdout)
    assert told["is_well"] is False
    problems = [f for f in told["findings"] if f["level"] == "problem"]
    assert {f["subject"] for f in problems} >= {"room for temp", "room for outbox"}
    assert all(f["remedy"] for f in problems)
    assert len(answer.stderr.splitlines()) == 1


def test_a_wrong_configuration_ends_with_two(tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path, outbox="inbox/results")
    answer = house.run("doctor")
    assert answer.returncode == 2
    assert "PROBLEM  configuration: outbox:" in answer.stdout
    assert "→ keep them apart." in answer.stdout
    assert "codecs" in answer.stdout  # the rest is looked at all the same
    house.config.write_text("prot: 1\n")
    answer = house.run("doctor")
    assert (answer.returncode, len(answer.stderr.splitlines())) == (2, 1)


def test_beside_a_service_that_runs_its_address_is_not_taken_for_anothers(tmp_path: Path) -> None:
    with running(ServiceHouse(tmp_path)) as house:
        url = house.url
        answer = house.run("doctor")
        assert answer.returncode == 0, answer.stdout
        assert f"port: the service answers at {url}" in answer.stdout
        assert "service: it is running" in answer.stdout


def test_what_cannot_be_looked_at_does_not_keep_the_rest_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: Config) -> Iterable[Finding]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor_folders, "of_room", broken)
    found = list(doctor.examine(config_of(tmp_path)))
    assert "cannot be looked at" in only(f for f in found if f.subject == "broken").text
    assert found[-1].subject == "service"


# --- The configuration ---


def test_a_configuration_that_can_work_is_told_with_its_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_folders, "network_problems", lambda settings: [])
    (finding,) = doctor_folders.of_configuration(config_of(tmp_path))
    assert finding.text == "it can work; surrogate: embedded"
    for name in ("yunet.onnx", "sface.onnx", "mine.pt"):
        (tmp_path / name).write_bytes(b"x")
    embedders = [str(tmp_path / "sface.onnx"), "mine.pt"]
    config = config_of(tmp_path, faces={"detector": "yunet.onnx", "embedders": embedders})
    (finding,) = doctor_folders.of_configuration(config)
    assert finding.text == (
        "it can work; surrogate: embedded; faces: yunet.onnx, sface.onnx, mine.pt"
    )
    config = config_of(tmp_path, speech={"recognisers": [str(tmp_path / "mine.pt")]})
    (finding,) = doctor_folders.of_configuration(config)
    assert finding.text == "it can work; surrogate: embedded; speech: mine.pt"


# --- Folders ---


def test_a_folder_in_which_no_file_can_be_made(tmp_path: Path) -> None:
    config = config_of(tmp_path, outbox="/proc/self")
    assert only(doctor_folders.of_rights(config)).subject == "outbox"


def test_a_folder_that_is_a_link_leading_nowhere(tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to("share/results")
    finding = only(doctor_folders.of_rights(config_of(tmp_path, outbox="results/mine")))
    assert (finding.subject, finding.level) == ("outbox", Level.WARNING)
    assert finding.text == f"{tmp_path}/results is a link that leads nowhere"


@pytest.mark.parametrize(
    ("blocks", "files", "what"),
    [(1 << 17, 1000, "less than min_free_gb"), (1, 1000, "is full"), (1 << 20, 1, "inodes")],
)
def test_a_disk_on_which_nothing_new_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, files: int, what: str
) -> None:
    room = os.statvfs_result((4096, 4096, 1 << 30, blocks, blocks, 1000, files, files, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: room)
    config = config_of(tmp_path, min_free_gb=0 if what == "is full" else 1)
    found = [(f.level, what in f.text) for f in doctor_folders.of_room(config)]
    assert found == [(Level.PROBLEM, True)] * 3  # outbox, temp and state


def test_temp_on_another_file_system_than_the_outbox(tmp_path: Path) -> None:
    if os.stat("/proc").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("one file system")
    config = config_of(tmp_path, temp="/proc")
    finding = only(doctor_folders.of_file_systems(config))
    assert (finding.subject, finding.level) == ("temp", Level.WARNING)


def test_another_file_system_within_an_inbox(tmp_path: Path) -> None:
    if not os.path.ismount("/dev/shm"):
        pytest.skip("/dev/shm is no mount")
    config = config_of(tmp_path, inboxes=[{"name": "main", "inbox": "/dev"}])
    found = bad(doctor_folders.of_file_systems(config))
    assert any("/dev/shm is another file system" in f.text for f in found)
    assert {f.level for f in found} == {Level.PROBLEM}


def test_too_few_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = tmp_path / "inotify"
    limits.mkdir()
    (limits / "max_user_watches").write_text("1001\n")
    (limits / "max_user_instances").write_text("128\n")
    monkeypatch.setattr(doctor_folders, "_INOTIFY", limits)
    config = config_of(tmp_path)
    assert bad(doctor_folders.of_inotify(config)) == []
    (tmp_path / "inbox/alice").mkdir()
    finding = only(doctor_folders.of_inotify(config))
    assert finding.remedy is not None
    assert finding.remedy.startswith("sysctl fs.inotify.max_user_watches=2004")
    (limits / "max_user_watches").unlink()
    assert "cannot be read" in only(doctor_folders.of_inotify(config)).text


# --- The machine ---


def test_another_user_than_the_services(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    config = config_of(tmp_path)
    os.chown(tmp_path / "state", 65534, 65534)
    assert only(doctor_machine.of_user(config)).level is Level.WARNING


def test_more_workers_than_cores(tmp_path: Path) -> None:
    config = config_of(tmp_path, workers=1000)
    assert [f.subject for f in bad(doctor_machine.of_limits(config))] == ["workers"]


def test_a_kernel_without_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leases").write_text("0\n")
    monkeypatch.setattr(doctor_machine, "_LEASES", tmp_path / "leases")
    config = config_of(tmp_path)
    assert "leases" in only(doctor_machine.of_limits(config)).text


@pytest.mark.parametrize(
    ("programs", "told"),
    [
        (Programs(av_error="no libavcodec"), "no libavcodec"),
        (Programs(av="1", encoders=frozenset(["aac"])), "libx264 (ordinary videos)"),
        (Programs(av="1", encoders=WHOLE.encoders), "the decoder h264"),
    ],
)
def test_codecs_that_are_not_there(programs: Programs, told: str) -> None:
    assert told in only(doctor_machine._of_codecs(programs)).text


def test_a_process_that_dies_over_the_programs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = child.Child
    monkeypatch.setattr(child, "Child", lambda module: started("daemon.no_such_module"))
    told = only(doctor_machine.of_programs(config_of(tmp_path))).text
    assert told == "the process that looks at them ended with exit code 1"


@pytest.mark.parametrize(
    ("programs", "level"),
    [
        (WHOLE, Level.OK),
        (Programs(torch="2", cuda="13.0", accelerator="H100", has_driver=True), Level.OK),
        (Programs(torch="2", has_driver=True), Level.WARNING),
        (Programs(torch_error="no libtorch"), Level.PROBLEM),
    ],
)
def test_a_build_of_torch_that_does_not_fit(
    programs: Programs, level: Level, tmp_path: Path
) -> None:
    (finding,) = doctor_machine._of_torch(programs, config_of(tmp_path))
    assert finding.level is level


@pytest.mark.parametrize("accelerator", ["H100", None])
def test_a_gpu_that_is_not_to_be_used_needs_no_other_build(
    accelerator: str | None, tmp_path: Path
) -> None:
    programs = Programs(torch="2", accelerator=accelerator, has_driver=True)
    (finding,) = doctor_machine._of_torch(programs, config_of(tmp_path, device="cpu"))
    assert finding.level is Level.OK
    assert "computes on the processor (device: cpu)" in finding.text


def test_a_port_that_somebody_else_has(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = config_of(tmp_path, port=taken.getsockname()[1])
        finding = only(doctor_machine.of_address(config))
    assert "is in use" in finding.text
    assert bad(doctor_machine.of_address(config_of(tmp_path, port=0))) == []


def test_a_host_that_others_reach_without_keys(tmp_path: Path) -> None:
    config = config_of(tmp_path, host="0.0.0.0", port=0)
    assert "there are no API keys" in only(doctor_machine.of_address(config)).text


@pytest.mark.parametrize(
    ("has_unit", "code", "told"),
    [
        (False, 0, "media-cleaner.service is not installed"),
        (True, 0, None),
        (True, 1, "media-cleaner.service is-enabled: disabled"),
    ],
)
def test_units_where_systemd_runs_the_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_unit: bool,
    code: int,
    told: str | None,
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho disabled\nexit {code}\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor_machine, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(doctor_machine, "_UNITS", tmp_path)
    if has_unit:
        (tmp_path / "media-cleaner.service").touch()
    found = bad(doctor_machine.of_units(config_of(tmp_path)))
    assert [finding.text for finding in found] == ([] if told is None else [told])


def test_a_systemd_that_cannot_be_asked_is_not_told_as_a_unit_that_is_disabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\necho Failed to connect to bus >&2\nexit 1\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor_machine, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(doctor_machine, "_UNITS", tmp_path)
    (tmp_path / "media-cleaner.service").touch()
    (found,) = bad(doctor_machine.of_units(config_of(tmp_path)))
    assert found.text == "systemd cannot be asked: Failed to connect to bus"
    assert "enable" not in found.remedy
