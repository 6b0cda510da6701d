"""Is the inbox there, and is it the one that it was?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from daemon import inbox_place
from daemon.inbox_place import InboxUnavailable, find_place, make_place


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Path]:
    share = tmp_path / "share"
    share.mkdir()
    mount(share)
    yield share
    while os.path.ismount(share):
        subprocess.run(["umount", str(share)], check=True)


def mount(folder: Path) -> None:
    command = ["mount", "-t", "tmpfs", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")


def unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_stays_the_same_place_whatever_is_put_into_it(tmp_path: Path) -> None:
    before = find_place(tmp_path, None)
    (tmp_path / "a.mp4").touch()
    assert find_place(tmp_path, None) == before == find_place(tmp_path, before.mount_point)


def test_another_folder_of_that_name_is_another_place(tmp_path: Path) -> None:
    root = tmp_path / "inbox"
    root.mkdir()
    before = find_place(root, None)
    os.rename(root, tmp_path / "old")
    root.mkdir()
    assert find_place(root, before.mount_point) != before


def test_a_missing_folder_is_away(tmp_path: Path) -> None:
    with pytest.raises(InboxUnavailable, match="No such file"):
        find_place(tmp_path / "missing", None)


def test_a_file_is_no_inbox(tmp_path: Path) -> None:
    (tmp_path / "inbox").touch()
    with pytest.raises(InboxUnavailable, match="is not a folder"):
        find_place(tmp_path / "inbox", None)


def test_one_that_may_not_be_written_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_place.os, "access", lambda path, mode: False)
    with pytest.raises(InboxUnavailable, match="may not be read and written"):
        find_place(tmp_path, None)
    locked = SimpleNamespace(f_flag=os.ST_RDONLY)
    monkeypatch.setattr(inbox_place.os, "statvfs", lambda path: locked)
    with pytest.raises(InboxUnavailable, match="is read-only"):
        find_place(tmp_path, None)


def test_the_empty_folder_under_a_share_that_is_away_is_not_the_inbox(share: Path) -> None:
    known = find_place(share, None).mount_point
    assert known == str(share)
    unmount(share)
    with pytest.raises(InboxUnavailable, match=f"nothing is mounted on {share}"):
        find_place(share, known)


def test_an_inbox_deeper_in_a_share_likewise_also_where_its_folder_is_below(share: Path) -> None:
    (share / "inbox").mkdir()
    known = find_place(share / "inbox", None).mount_point
    unmount(share)
    with pytest.raises(InboxUnavailable, match="No such file"):
        find_place(share / "inbox", known)
    (share / "inbox").mkdir()
    with pytest.raises(InboxUnavailable, match="nothing is mounted"):
        find_place(share / "inbox", known)


def test_a_share_that_is_back_is_the_inbox_again(share: Path) -> None:
    before = find_place(share, None)
    unmount(share)
    mount(share)
    assert find_place(share, before.mount_point).mount_point == before.mount_point


def test_a_share_that_comes_to_a_plain_folder_is_taken_as_it_is(share: Path) -> None:
    unmount(share)
    before = find_place(share, None)
    mount(share)
    assert find_place(share, before.mount_point).mount_point == str(share)


def test_an_inbox_that_was_configured_elsewhere_is_not_kept_away(
    share: Path, tmp_path: Path
) -> None:
    known = find_place(share, None).mount_point
    assert find_place(tmp_path, known).mount_point != known


def test_an_inbox_is_made_where_there_is_none(tmp_path: Path) -> None:
    make_place(tmp_path / "a/b", None)
    make_place(tmp_path / "a/b", None)
    assert (tmp_path / "a/b").is_dir()


def test_an_inbox_is_not_made_under_a_share_that_is_away(share: Path) -> None:
    known = find_place(share, None).mount_point
    unmount(share)
    with pytest.raises(InboxUnavailable, match="nothing is mounted"):
        make_place(share / "inbox", known)
    assert list(share.iterdir()) == []


def test_an_inbox_that_cannot_be_made_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InboxUnavailable):
        make_place(tmp_path / "file/inbox", None)
