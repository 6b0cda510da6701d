"""What is read as a small file, and what is refused without being waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.small_file import NotReadable, read_small_file


def test_a_file_is_read_as_far_as_its_size_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_small_file(path, 5) == b"12345"
    with pytest.raises(NotReadable, match="larger than 4 bytes"):
        read_small_file(path, 4)


def test_what_is_not_there_is_no_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_small_file(tmp_path / "none", 5)


def test_links_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    link, pipe, folder = (tmp_path / name for name in ("link", "pipe", "folder"))
    link.symlink_to("/etc/hostname")
    os.mkfifo(pipe)
    folder.mkdir()
    for path, words in ((link, "it is a link"), (pipe, "not a file"), (folder, "not a file")):
        with pytest.raises(NotReadable, match=words):
            read_small_file(path, 5)
