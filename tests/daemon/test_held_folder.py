"""No link below the root is followed, and a held folder stays the one that was opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from daemon.held_folder import held_folder, held_new_folder, held_own_folder, told_as


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


def test_what_is_made_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is moved into a folder is lost where a loss of power takes the folder itself."""
    synced: list[str] = []
    monkeypatch.setattr(
        "daemon.held_folder.sync_folder", lambda path: synced.append(os.readlink(path))
    )
    for _ in range(2):
        with held_new_folder(tmp_path, "a", "b"):
            pass
    assert synced == [str(tmp_path), str(tmp_path / "a")]


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
    assert set(os.listdir("/proc/self/fd")) <= set(before)


@pytest.mark.parametrize(
    "names", [("..",), ("a", "..", "b"), ("a/b",), ("/", "etc"), ("",), (".",)]
)
def test_names_that_do_not_lead_down_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for hold in (held_folder, held_own_folder, held_new_folder):
        with pytest.raises(ValueError, match="below"), hold(tmp_path, *names):
            pass


def test_an_error_names_the_path_that_people_know(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (
        pytest.raises(FileNotFoundError) as caught,
        held_folder(tmp_path, "a") as folder,
        told_as(folder, tmp_path / "a"),
    ):
        os.rename(folder / "none", folder / "other")
    assert caught.value.filename == str(tmp_path / "a/none")
    assert caught.value.filename2 == str(tmp_path / "a/other")
    with (
        pytest.raises(FileNotFoundError) as caught,
        held_folder(tmp_path) as folder,
        told_as(folder, tmp_path),
    ):
        os.stat("elsewhere")
    assert (caught.value.filename, caught.value.filename2) == ("elsewhere", None)
    assert str(caught.value).endswith("'elsewhere'")


# --- A folder that is ours alone ---


@pytest.fixture
def own(tmp_path: Path) -> Path:
    with held_new_folder(tmp_path, "own", "below", mode=0o750):
        return tmp_path / "own"


def hold_own(root: Path) -> None:
    """Hold it in both ways."""
    with held_own_folder(root, "own", "below"), held_new_folder(root, "own", "below", mode=0o750):
        pass


def test_what_we_made_is_ours(tmp_path: Path, own: Path) -> None:
    hold_own(tmp_path)
    own.chmod(0o755)
    hold_own(tmp_path)
    assert os.listdir(tmp_path) == ["own"]


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o757])
def test_one_that_others_may_write_to_is_refused_with_advice(
    tmp_path: Path, own: Path, mode: int
) -> None:
    own.chmod(mode)
    for hold in (held_own_folder(tmp_path, "own"), held_new_folder(tmp_path, "own", mode=0o750)):
        with pytest.raises(PermissionError, match="chmod go-w") as caught, hold:
            pass
        assert caught.value.filename == str(own)
    with held_folder(tmp_path, "own"), held_new_folder(tmp_path, "own"):
        pass
    own.chmod(0o750)
    hold_own(tmp_path)
    assert os.listdir(tmp_path) == ["own"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives things away")
def test_one_of_somebody_else_is_refused_with_advice(tmp_path: Path, own: Path) -> None:
    os.chown(own, 65534, 65534)
    for hold in (held_own_folder(tmp_path, "own"), held_new_folder(tmp_path, "own", mode=0o750)):
        with pytest.raises(PermissionError, match="belongs to user 65534.*chown -R 0"), hold:
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")
def test_a_folder_of_roots_is_trusted(
    tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the folders above are closed to everybody else
    tmp_path.chmod(0o755)
    own.chmod(0o755)
    os.seteuid(65534)
    try:
        with held_own_folder(Path(), "own"):
            pass
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("forced", [(1234, 0o777), (65534, 0o750)], ids=["CIFS", "root squash"])
def test_where_a_share_gives_all_files_one_owner_or_mode_nothing_is_refused(
    tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch, forced: tuple[int, int]
) -> None:
    """Our own folder looks like a stranger's there, and so does all that we make."""
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = list(real(descriptor))
        is_squashed = forced == (65534, 0o750)  # which keeps the mode
        status[0] = status[0] if is_squashed else stat.S_IFMT(status[0]) | forced[1]
        status[4] = forced[0]
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", fstat)
    hold_own(tmp_path)
    assert os.listdir(tmp_path) == ["own"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
