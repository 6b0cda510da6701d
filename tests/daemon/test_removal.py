"""Removing below a folder: what is asked for, nothing else, and never through a link."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from daemon.removal import names_in, remove_file, remove_folder, remove_if_empty


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "one").write_bytes(b"123")
    (folder / "a" / "b" / "two").write_bytes(b"4567")
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "one").write_bytes(b"precious")
    return folder


def test_a_file_is_removed_and_its_bytes_told(base: Path) -> None:
    assert remove_file(base, PurePath("a/b/one")) == 3
    assert remove_file(base, PurePath("a/b/one")) == 0
    assert remove_file(base, PurePath("nowhere/one")) == 0
    assert names_in(base, PurePath("a/b")) == ["two"]


def test_a_folder_is_removed_with_its_files_and_stays_otherwise(base: Path) -> None:
    remove_if_empty(base, PurePath("a/b"))
    assert remove_folder(base, PurePath("a/b")) == 7
    assert remove_folder(base, PurePath("a/b")) == 0
    assert names_in(base, PurePath("a")) == []
    remove_if_empty(base, PurePath("a"))
    assert names_in(base, PurePath()) == []


def test_a_folder_that_holds_a_folder_is_not_removed(base: Path) -> None:
    (base / "a" / "b" / "three").mkdir()
    with pytest.raises(OSError, match="directory"):
        remove_folder(base, PurePath("a/b"))
    assert (base / "a" / "b" / "three").is_dir()


def test_what_cannot_be_there_for_its_name_is_as_good_as_removed(base: Path) -> None:
    """As on encrypted shares, which hold names of 143 bytes and refuse to look for longer ones."""
    name = "x" * 300
    assert remove_file(base, PurePath("a", name)) == 0
    assert remove_file(base, PurePath(name, "one")) == 0
    with pytest.raises(OSError, match="too long"):
        remove_file(base / name, PurePath("one"))


def test_a_base_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    for act in (remove_file, remove_folder, names_in, remove_if_empty):
        with pytest.raises(FileNotFoundError):
            act(tmp_path / "share", PurePath("a/one"))


def test_no_link_is_followed_on_the_way(base: Path, outside: Path) -> None:
    (base / "link").symlink_to(outside)
    for act in (remove_file, remove_folder, names_in):
        with pytest.raises(OSError, match="is a link or no folder"):
            act(base, PurePath("link") if act is names_in else PurePath("link/one"))
    with pytest.raises(OSError, match="is a link or no folder"):
        remove_folder(base, PurePath("link"))
    assert (outside / "one").read_bytes() == b"precious"


def test_a_link_in_the_place_of_a_file_is_removed_itself(base: Path, outside: Path) -> None:
    (base / "a" / "b" / "link").symlink_to(outside / "one")
    assert remove_file(base, PurePath("a/b/link")) == len(str(outside / "one"))  # not what is there
    assert not (base / "a" / "b" / "link").is_symlink()
    assert (outside / "one").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["../outside/one", "/etc/passwd", "a/../../outside/one"])
def test_a_name_that_leads_out_is_refused(base: Path, outside: Path, name: str) -> None:
    with pytest.raises(ValueError, match="below"):
        remove_file(base, PurePath(name))
    assert (outside / "one").exists()
