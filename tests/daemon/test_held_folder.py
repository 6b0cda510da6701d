"""No link below the root is followed, and a held folder stays the one that was opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from daemon.held_folder import held_folder, held_new_folder


def test_a_held_folder_is_used_like_its_path(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    with held_folder(tmp_path, "a", "b") as folder:
        (folder / "file").write_text("x")
        os.rename(folder / "file", folder / "other")
    assert (tmp_path / "a/b/other").read_text() == "x"


def test_without_a_name_the_root_itself_is_held(tmp_path: Path) -> None:
    with held_folder(tmp_path) as folder:
        (folder / "file").touch()
    assert (tmp_path / "file").exists()


def test_the_root_may_be_a_link_that_the_operator_made(tmp_path: Path) -> None:
    (tmp_path / "real/a").mkdir(parents=True)
    (tmp_path / "root").symlink_to("real")
    with held_folder(tmp_path / "root", "a") as folder:
        (folder / "file").touch()
    assert (tmp_path / "real/a/file").exists()


@pytest.mark.parametrize("hold", [held_folder, held_new_folder])
@pytest.mark.parametrize("names", [("link",), ("link", "below"), ("file",), ("a", "loop")])
def test_a_link_or_a_file_in_a_folders_place_is_refused_by_its_name(
    tmp_path: Path, hold: type, names: tuple[str, ...]
) -> None:
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    (root / "file").touch()
    (root / "a/loop").symlink_to("loop")
    with pytest.raises(NotADirectoryError, match="is a link or no folder"), hold(root, *names):
        pass
    assert os.listdir(outside / "below") == []


def test_what_is_missing_is_told_or_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, held_folder(tmp_path, "a", "b"):
        pass
    assert caught.value.filename == str(tmp_path / "a")
    with held_new_folder(tmp_path, "a", "b", mode=0o750) as folder:
        (folder / "file").touch()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750 & ~_umask()
    assert (tmp_path / "a/b/file").exists()


def test_a_folder_that_was_replaced_by_a_link_meanwhile_is_still_the_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "outside").mkdir()
    with held_folder(tmp_path, "a") as folder:
        (tmp_path / "a").rename(tmp_path / "moved")
        (tmp_path / "a").symlink_to("outside")
        (folder / "file").touch()
    assert os.listdir(tmp_path / "outside") == []
    assert os.listdir(tmp_path / "moved") == ["file"]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with held_new_folder(tmp_path, "a", "b"):
        pass
    for names in (("a", "none"), ("none",)):
        with pytest.raises(FileNotFoundError), held_folder(tmp_path, *names):
            pass
    assert os.listdir("/proc/self/fd") == before


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
