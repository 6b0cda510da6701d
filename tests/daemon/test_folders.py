"""What is said of folders that cannot work."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import machine
from daemon.config import load_config
from daemon.folders import make_folders, problems


def found(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return "\n".join(problems(load_config(path)))


def test_the_defaults_are_well_in_an_empty_folder(tmp_path: Path) -> None:
    assert found(tmp_path, "") == ""
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]  # nothing was made


def test_a_file_in_a_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("x")
    assert "logs" in found(tmp_path, "")
    assert "is not a folder" in found(tmp_path, "")


def test_a_folder_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    problem = found(tmp_path, "state: file/deep/state")
    assert problem == f"state: {tmp_path / 'file'} is not a folder; name another or move it away."


@pytest.mark.parametrize("key", ["state", "temp", "logs"])
@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_a_link_that_leads_nowhere_or_to_itself_is_told(
    tmp_path: Path, key: str, target: str
) -> None:
    (tmp_path / "link").symlink_to(target)
    told = f"{key}: {tmp_path}/link is a link that leads nowhere"
    assert found(tmp_path, f"{key}: link").startswith(told)
    assert found(tmp_path, f"{key}: link/deeper").startswith(told)


def test_a_link_to_a_share_that_is_away_keeps_no_service_from_starting(tmp_path: Path) -> None:
    """It is waited for, and `/health` tells of it."""
    (tmp_path / "inbox").symlink_to("share/inbox")
    (tmp_path / "outbox").symlink_to("share/outbox")
    assert found(tmp_path, "") == ""
    make_folders(load_config(tmp_path / "config.yaml"), {})
    assert not (tmp_path / "share").exists()


def test_nothing_is_made_where_a_disk_that_is_unplugged_was_mounted(tmp_path: Path) -> None:
    """Its mount point goes with it; a folder in its place would have it mounted elsewhere."""
    disk = tmp_path / "media/DISK"
    (tmp_path / "config.yaml").write_text(f"outbox: {disk}/outbox\n", encoding="utf-8")
    make_folders(load_config(tmp_path / "config.yaml"), {f"{disk}/outbox": str(disk)})
    assert not disk.exists()


def test_a_file_system_that_may_only_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No owner or mode would mend that. To a unit of systemd's most of the machine is read-only."""
    real = os.statvfs(tmp_path)
    flags = real.f_flag | os.ST_RDONLY
    read_only = os.statvfs_result((*real[:8], flags, *real[9:]))
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)
    assert "is read-only; mount it" in found(tmp_path, "")
    assert "ReadWritePaths" in found(tmp_path, "")
    assert "mode" not in found(tmp_path, "")


def test_a_folder_that_may_be_written_and_not_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is still to be made asks no more of the one above it than to be written to."""
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.R_OK)
    assert found(tmp_path, "") == ""
    (tmp_path / "outbox").mkdir()
    assert found(tmp_path, "") == (
        f"outbox: {tmp_path}/outbox may not be read and written by this user;"
        " change its owner or mode."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "temp").mkdir(mode=0o500)
    assert "temp" in found(tmp_path, "")


@pytest.mark.parametrize(
    "text",
    [
        "outbox: inbox/done",
        "outbox: inbox",
        "state: outbox/state",
        "temp: logs",
        "logs: inbox/../inbox",
    ],
)
def test_a_folder_inside_anothers_is_told(tmp_path: Path, text: str) -> None:
    assert "keep them apart" in found(tmp_path, text)


def test_an_outbox_that_a_symlink_leads_into_the_inbox_is_told(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "inbox")
    assert "keep them apart" in found(tmp_path, "outbox: results")
    assert "keep them apart" in found(tmp_path, "outbox: results/deeper")


@contextlib.contextmanager
def mounted_again(folder: Path, again: Path) -> Iterator[None]:
    """As the volumes of a container are, where one folder, or a part of it, is given for two."""
    folder.mkdir(parents=True, exist_ok=True)
    again.mkdir()
    command = ["mount", "--bind", str(folder), str(again)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(again)], check=True)


def test_one_folder_that_is_mounted_twice_is_told(tmp_path: Path) -> None:
    """Else every result would be taken for a new video, for ever."""
    inbox, again = tmp_path / "inbox", tmp_path / "again"
    inboxes = """
        inboxes:
          - {name: a, inbox: inbox}
          - {name: b, inbox: again}
    """
    with mounted_again(inbox, again):
        told = f"inboxes.main.inbox and outbox are the same folder, {inbox} and {again}"
        assert found(tmp_path, "outbox: again") == f"{told}; keep them apart."
        assert "lies inside inboxes.main.inbox" in found(tmp_path, "outbox: again/deeper")
        assert "inboxes.a.inbox and inboxes.b.inbox are the same" in found(tmp_path, inboxes)


def test_a_part_of_an_inbox_that_is_mounted_elsewhere_is_told(tmp_path: Path) -> None:
    with mounted_again(tmp_path / "inbox/done", tmp_path / "out"):
        assert "outbox: " in (told := found(tmp_path, "outbox: out"))
        assert "lies inside inboxes.main.inbox" in told
        assert "lies inside inboxes.main.inbox" in found(tmp_path, "outbox: out/deeper")
        assert found(tmp_path, "") == ""
    with mounted_again(tmp_path / "done", tmp_path / "out2"):
        assert found(tmp_path, "outbox: out2") == ""


def test_folders_of_one_number_are_one_only_where_their_places_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As virtiofs, 9p and bindfs give to the first folder of each file system that they show."""
    for name in ("inbox", "outbox", "INBOX"):
        (tmp_path / name).mkdir()
    number = 1, 1
    monkeypatch.setattr("daemon.folders._identity", lambda p: number if p.exists() else None)
    assert found(tmp_path, "") == ""
    assert "are the same folder" in found(tmp_path, "outbox: INBOX")
    monkeypatch.setattr("daemon.folders.origin_of", lambda folder: None)
    assert "are the same folder" in found(tmp_path, "")


def test_two_inboxes_may_share_an_outbox(tmp_path: Path) -> None:
    text = """
        inboxes:
          - {name: a, inbox: a, outbox: both}
          - {name: b, inbox: b, outbox: both}
    """
    assert found(tmp_path, text) == ""
    assert "keep them apart" in found(tmp_path, text.replace("inbox: b,", "inbox: a/b,"))


def test_more_workers_than_the_memory_holds_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_memory_bytes", lambda: 8 << 30)
    assert found(tmp_path, "workers: 40") == ""
    assert "workers is 1000, and the memory here" in found(tmp_path, "workers: 1000")


def test_a_missing_file_of_weights_is_told(tmp_path: Path) -> None:
    text = "surrogate: resnet18\nweights: {resnet18: nets/r18.pth}"
    assert "weights.resnet18" in found(tmp_path, text)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/r18.pth").write_bytes(b"x")
    assert found(tmp_path, text) == ""


def test_missing_files_for_faces_are_told(tmp_path: Path) -> None:
    text = "faces: {detector: nets/yunet.onnx, embedders: [nets/sface.onnx, nets/mine.pt]}"
    told = found(tmp_path, text)
    assert told.splitlines() == [
        f"faces.{key}: {tmp_path}/nets/{name} is not a file; put the network there."
        for key, name in [
            ("detector", "yunet.onnx"),
            ("embedders", "sface.onnx"),
            ("embedders", "mine.pt"),
        ]
    ]
    (tmp_path / "nets").mkdir()
    for name in ("yunet.onnx", "sface.onnx", "mine.pt"):
        (tmp_path / "nets" / name).write_bytes(b"x")
    assert found(tmp_path, text) == ""


def test_missing_files_for_speech_are_told(tmp_path: Path) -> None:
    text = "speech: {recognisers: [nets/tiny.ts, nets/base.pt]}"
    assert found(tmp_path, text).splitlines() == [
        f"speech.recognisers: {tmp_path}/nets/{name} is not a file; put the network there."
        for name in ("tiny.ts", "base.pt")
    ]
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/tiny.ts").write_bytes(b"x")
    (tmp_path / "nets/base.pt").mkdir()
    (told,) = found(tmp_path, text).splitlines()
    assert "nets/base.pt is not a file" in told
    (tmp_path / "nets/base.pt").rmdir()
    (tmp_path / "nets/base.pt").write_bytes(b"x")
    assert found(tmp_path, text) == ""


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("weights.resnet18", "surrogate: resnet18\nweights: {{resnet18: {name}}}"),
        ("surrogate", "surrogate: {name}"),
        ("faces.detector", "faces: {{detector: {name}, embedders: {name}}}"),
        ("speech.recognisers", "speech: {{recognisers: {name}.pt}}"),
    ],
)
def test_a_name_too_long_for_a_file_is_told(tmp_path: Path, key: str, text: str) -> None:
    told = found(tmp_path, text.format(name="x" * 300 + ".onnx"))
    assert f"{key}: {tmp_path}/xxx" in told
    assert "is not a file" in told


@pytest.mark.parametrize("name", ["nets/mine.pt", "mine.torchscript", "mine.onnx"])
def test_a_surrogate_that_is_a_missing_file_is_told(tmp_path: Path, name: str) -> None:
    assert f"surrogate: {tmp_path / name} is not a file" in found(tmp_path, f"surrogate: {name}")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert found(tmp_path, f"surrogate: {name}") == ""


def test_a_secret_that_no_receiver_could_use_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("webhook: {secret: 'not base64 at all!'}")
    (problem,) = problems(load_config(path))
    assert "webhook.secret" in problem
