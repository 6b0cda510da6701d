"""Every file below a folder, by name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from daemon.scan import files_below


def found(root: Path, folder: str = "") -> tuple[list[str], list[tuple[str, str]]]:
    troubles: list[tuple[str, str]] = []
    paths = sorted(files_below(root, folder, lambda path, why: troubles.append((path, why))))
    return paths, troubles


def made(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_files_at_any_depth(tmp_path: Path) -> None:
    made(tmp_path, "a.mp4", "b/c/d/e.mp4", "b/x.txt")
    assert found(tmp_path) == (["a.mp4", "b/c/d/e.mp4", "b/x.txt"], [])
    assert found(tmp_path, "b/c") == (["b/c/d/e.mp4"], [])


def test_what_is_left_alone_is_not_even_entered(tmp_path: Path) -> None:
    made(tmp_path, ".media-cleaner/originals/a.mp4", "@eaDir/a.mp4", "a.mp4.part", "b.mp4")
    assert found(tmp_path) == (["b.mp4"], [])


def test_links_are_told_of_and_not_followed(tmp_path: Path) -> None:
    made(tmp_path, "root/a.mp4", "elsewhere/b.mp4")
    (tmp_path / "root/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/loop").symlink_to(".")
    assert found(tmp_path / "root") == (["a.mp4", "folder", "loop"], [])


def test_undecodable_names(tmp_path: Path) -> None:
    made(tmp_path, "folder \udcff/a \udcfe\n.mp4")
    assert found(tmp_path) == (["folder \udcff/a \udcfe\n.mp4"], [])


def test_a_folder_that_cannot_be_entered_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "a/1.mp4", "b/2.mp4", "c/3.mp4")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may enter everything
    assert found(tmp_path) == (["a/1.mp4", "c/3.mp4"], [("b", "Permission denied")])


def test_a_folder_that_is_gone_has_no_files(tmp_path: Path) -> None:
    assert found(tmp_path, "gone") == ([], [])


def test_another_file_system_below_is_not_entered(tmp_path: Path) -> None:
    made(tmp_path, "share/x.mp4", "a.mp4")
    share = tmp_path / "share"
    command = ["mount", "-t", "tmpfs", "none", str(share)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        (share / "y.mp4").touch()
        paths, troubles = found(tmp_path)
    finally:
        subprocess.run(["umount", str(share)], check=True)
    assert paths == ["a.mp4"]
    assert [path for path, _ in troubles] == ["share"]
