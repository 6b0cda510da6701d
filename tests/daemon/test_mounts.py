"""Which file system a path lies on: real mounts where root, else lines of text."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from daemon.mounts import Mount, is_remote, lasting_point, mount_of, mounts, origin_of, why_away

LINES = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /mnt/with\040space\134and\012more rw,relatime shared:1 master:2 - nfs4 host:/x rw,a - b
41 27 0:51 /sub /mnt/\320\264 rw - fuse.sshfs me@host: rw
"""


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a share"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    yield folder
    while os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def test_lines_are_read_with_their_escapes() -> None:
    assert list(mounts(LINES)) == [
        Mount(22, "/proc", "proc", PurePath("0:21 proc")),
        Mount(27, "/", "ext4", PurePath("254:0 :dev:vda")),
        Mount(40, "/mnt/with space\\and\nmore", "nfs4", PurePath("0:50 host::x")),
        Mount(41, "/mnt/д", "fuse.sshfs", PurePath("0:51 me@host:", "sub")),
    ]


def test_a_line_ends_at_no_carriage_return() -> None:
    """It is the one blank that the kernel does not escape."""
    mount = next(mounts(b"42 27 0:52 / /mnt/a\rb rw - ext4 /dev/vdb rw\n"))
    assert (mount.point, mount.file_system) == ("/mnt/a\rb", "ext4")


def test_the_mount_of_a_path_is_the_one_it_lies_in(mounted: Path) -> None:
    (mounted / "below").mkdir()
    for path in (mounted, mounted / "below"):
        mount = mount_of(path)
        assert mount is not None
        assert (mount.point, mount.file_system) == (str(mounted), "tmpfs")
    outside = mount_of(mounted.parent)
    assert outside is not None
    assert outside.point != str(mounted)


def test_a_link_does_not_mislead(mounted: Path) -> None:
    link = mounted.parent / "link"
    link.symlink_to(mounted)
    mount = mount_of(link)
    assert mount is not None
    assert mount.point == str(mounted)


def test_the_upper_one_of_two_mounts_on_one_folder_counts(mounted: Path) -> None:
    lower = mount_of(mounted)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(mounted)], check=True)
    upper = mount_of(mounted)
    assert lower is not None
    assert upper is not None
    assert lower.number != upper.number


def test_the_origin_is_the_same_by_each_mount_of_a_folder(mounted: Path) -> None:
    (mounted / "a/b").mkdir(parents=True)
    again = mounted.parent / "again"
    again.mkdir()
    subprocess.run(["mount", "--bind", str(mounted / "a"), str(again)], check=True)
    try:
        assert origin_of(again) == origin_of(mounted / "a")
        assert origin_of(again / "b") == origin_of(mounted / "a/b") != origin_of(mounted / "a")
    finally:
        subprocess.run(["umount", str(again)], check=True)
    assert origin_of(mounted / "missing") is None


def test_a_folder_that_is_mounted_on_itself_is_remembered_as_all_see_it(mounted: Path) -> None:
    """As systemd does it with what a service may write to, and for that service alone."""
    inbox, elsewhere = mounted / "a/inbox", mounted.parent / "elsewhere"
    inbox.mkdir(parents=True)
    elsewhere.mkdir()
    pairs = [(mounted / "a", mounted / "a"), (inbox, inbox), (inbox, elsewhere)]
    for source, target in pairs:
        subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    found = {folder: mount_of(folder) for folder in (inbox, elsewhere, mounted)}
    points = {folder: lasting_point(mount) for folder, mount in found.items() if mount}
    known = why_away(inbox, str(inbox)), why_away(inbox, str(mounted))
    for _, target in reversed(pairs):
        subprocess.run(["umount", str(target)], check=True)
    share = str(mounted)
    assert points == {inbox: share, elsewhere: str(elsewhere), mounted: share}
    assert known == (None, None)  # the first of a service that remembered what it alone saw
    assert why_away(inbox, points[inbox]) is None


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mount_of(tmp_path / "missing")


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse", "fuse.sshfs"]
)
def test_shares_are_remote(kind: str) -> None:
    assert is_remote(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "zfs", "overlay", "f2fs"])
def test_local_disks_are_not(kind: str) -> None:
    assert not is_remote(kind)
