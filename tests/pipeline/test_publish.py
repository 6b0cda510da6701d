"""A finished file gets its name durably, and nothing else loses its own."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pipeline import publish as publishing
from pipeline.errors import OutputFailed
from pipeline.publish import derived_name, protected_name, publish


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    path = tmp_path / "partial"
    path.write_bytes(b"finished")
    return path


def test_the_file_is_on_the_disk_before_its_name_and_its_name_before_anyone_is_told(
    partial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, bool]] = []
    output = tmp_path / "out.mp4"
    sync = os.fsync

    def synced(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append(("folder" if is_folder else "file", output.exists()))
        sync(descriptor)

    monkeypatch.setattr(publishing.os, "fsync", synced)
    publish(partial, output, may_replace=False)
    assert events == [("file", False), ("folder", True)]
    assert output.read_bytes() == b"finished"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_is_replaced_only_where_it_may(
    partial: Path, tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "out.mp4"
    if kind == "file":
        output.write_bytes(b"mine")
    else:
        output.mkdir()
    with pytest.raises(OutputFailed, match=r"out\.mp4 has come to be meanwhile"):
        publish(partial, output, may_replace=False)
    assert partial.read_bytes() == b"finished"
    if kind == "file":
        assert output.read_bytes() == b"mine"
        publish(partial, output, may_replace=True)
        assert output.read_bytes() == b"finished"
    else:
        with pytest.raises(OutputFailed, match=r"out\.mp4 cannot be written: Is a directory"):
            publish(partial, output, may_replace=True)


def test_a_disk_that_does_not_take_the_file_is_told_and_gives_no_result(
    partial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(publishing.os, "fsync", full)
    with pytest.raises(OutputFailed, match="cannot be written: No space left on device"):
        publish(partial, tmp_path / "out.mp4", may_replace=True)
    assert list(tmp_path.iterdir()) == [partial]


def test_a_share_that_cannot_sync_folders_has_the_result_all_the_same(
    partial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, folders = os.fsync, []

    def synced(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            folders.append(descriptor)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(publishing.os, "fsync", synced)
    publish(partial, tmp_path / "out.mp4", may_replace=True)
    assert (tmp_path / "out.mp4").read_bytes() == b"finished"
    (descriptor,) = folders
    place = Path(f"/proc/self/fd/{descriptor}")
    assert not (place.exists() and place.samefile(tmp_path))


def test_a_folder_that_may_be_written_but_not_read_has_the_result_all_the_same(
    partial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refused(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(publishing.os, "open", refused)
    publish(partial, tmp_path / "out.mp4", may_replace=True)
    assert (tmp_path / "out.mp4").read_bytes() == b"finished"


@pytest.mark.parametrize(
    ("stem", "cut"),
    [("clip", "clip"), ("a" * 240, "a" * 200), ("ab" + "я" * 120, "ab" + "я" * 99)],
)
def test_a_long_name_is_cut_at_a_character(tmp_path: Path, stem: str, cut: str) -> None:
    original = tmp_path / f"{stem}.mp4"
    assert protected_name(original, ".mkv") == f"{cut}_protected.mkv"
    assert derived_name(original, "_preview.png") == f"{cut}_preview.png"
    (tmp_path / protected_name(original, ".mkv")).touch()


def test_a_cut_inside_a_character_leaves_it_out() -> None:
    stem = "a" + "я" * 120  # two bytes each, so that byte 200 is the first half of one
    assert protected_name(Path(f"{stem}.mp4"), ".mp4") == f"a{'я' * 99}_protected.mp4"


def test_a_name_that_is_no_text_is_still_a_name(tmp_path: Path) -> None:
    original: Any = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / protected_name(original, ".mp4")).touch()
    assert protected_name(original, ".mp4") == "caf_protected.mp4"
