"""Keys are files with hashes, are shown once, and count within seconds; the command for them."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon.__main__ import main
from daemon.errors import Interrupted
from daemon.keys import KeyExists, Keys, UnknownKey, add, listed, revoke
from daemon.logs import reset_logs, server_log

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keys"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(folder: Path, clock: Clock) -> Keys:
    return Keys(folder, clock)


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    reset_logs()
    yield
    reset_logs()


def added(folder: Path, name: str = "laptop", user_id: str | None = "alice") -> str:
    text, _ = add(folder, name, user_id, is_admin=user_id is None, now=NOW)
    return text


# --- As files ---


def test_a_key_has_256_random_bits_and_tells_what_it_is(folder: Path) -> None:
    texts = {added(folder, f"key{number}") for number in range(20)}
    assert len(texts) == 20
    for text in texts:
        assert re.fullmatch(r"mc_[A-Za-z0-9_-]{43}", text)


def test_only_a_hash_is_kept_and_only_its_owner_reads_it(folder: Path) -> None:
    text = added(folder)
    path = folder / "laptop.json"
    content = path.read_text()
    assert text not in content
    assert text.removeprefix("mc_") not in content
    assert set(json.loads(content)) == {"name", "user_id", "is_admin", "sha256", "created_at"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_key_is_durable_before_it_is_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.mkdir()
    flushed: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        flushed.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    added(folder)
    assert {p.stat().st_ino for p in (folder / "laptop.json", folder, folder.parent)} <= set(
        flushed
    )
    flushed.clear()
    revoke(folder, "laptop")
    assert folder.stat().st_ino in flushed


def test_a_taken_name_is_refused_and_the_key_stays(folder: Path, known: Keys) -> None:
    text = added(folder)
    with pytest.raises(KeyExists, match="laptop"):
        added(folder)
    assert known.find(text) is not None
    assert os.listdir(folder) == ["laptop.json"]


@pytest.mark.parametrize("name", ["nobody", "../service", "", ".", "a/b"])
def test_what_is_no_key_cannot_be_revoked(folder: Path, name: str) -> None:
    added(folder)
    (folder.parent / "service.json").touch()
    with pytest.raises(UnknownKey):
        revoke(folder, name)
    assert (folder.parent / "service.json").exists()


# --- As those who answer requests see them ---


def test_a_key_is_found_by_its_text_alone(folder: Path, known: Keys) -> None:
    alice, admin = added(folder, "a", "alice"), added(folder, "b", None)
    key = known.find(alice)
    assert key is not None
    assert (key.name, key.user_id, key.is_admin, key.created_at) == ("a", "alice", False, NOW)
    key = known.find(admin)
    assert key is not None
    assert (key.user_id, key.is_admin) == (None, True)
    for wrong in ("", "a", alice[:-1], alice + "=", alice.upper(), key.sha256, "mc_ё", "\udcff"):
        assert known.find(wrong) is None


def test_every_key_is_compared_whole_whichever_is_right(
    folder: Path, known: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [added(folder, f"key{number}") for number in range(5)]
    compared: list[str] = []

    def compare(left: str, right: str) -> bool:
        compared.append(left)
        return left == right

    monkeypatch.setattr("daemon.keys.hmac.compare_digest", compare)
    for text in (*texts, "wrong"):
        compared.clear()
        known.find(text)
        assert len(compared) == 5


def test_keys_count_and_cease_to_count_after_two_seconds(
    folder: Path, known: Keys, clock: Clock
) -> None:
    assert not known.were_there
    text = added(folder)
    clock.now += 2.1
    assert known.were_there
    assert known.find(text) is not None
    revoke(folder, "laptop")
    clock.now += 2.1
    assert known.find(text) is None
    assert not known.were_there
    again = added(folder)  # of the same name
    clock.now += 2.1
    assert known.find(text) is None
    assert known.find(again) is not None


def test_files_are_not_looked_at_for_each_request(
    folder: Path, known: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = added(folder)
    assert known.find(text) is not None
    monkeypatch.setattr(os, "listdir", lambda path: pytest.fail("looked"))
    for _ in range(100):
        assert known.find(text) is not None


def test_keys_that_stay_as_they_are_count_on_and_are_not_read_again(
    folder: Path, known: Keys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = added(folder)
    assert known.find(text) is not None
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("read"))
    for _ in range(3):
        clock.now += 2.1
        assert known.were_there
        assert known.find(text) is not None


def test_a_key_that_is_revoked_while_it_is_looked_at_is_none(
    folder: Path, known: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = added(folder)
    monkeypatch.setattr(os, "listdir", lambda path: ["gone.json", "laptop.json"])
    assert known.find(text) is not None
    keys, unreadable = listed(folder)
    assert ([key.name for key in keys], unreadable) == (["laptop"], [])
    revoke(folder, "laptop")
    assert not Keys(folder).were_there


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"name": "laptop"}',
        b'{"name": "laptop", "user_id": null, "is_admin": false, "sha256": "%s",'
        b' "created_at": "2026-11-25T12:00:00+00:00"}' % (b"0" * 64),
        b'{"name": "laptop", "user_id": "../a", "is_admin": false, "sha256": "%s",'
        b' "created_at": "2026-11-25T12:00:00+00:00"}' % (b"0" * 64),
        b'{"name": "other", "user_id": "a", "is_admin": false, "sha256": "%s",'
        b' "created_at": "2026-11-25T12:00:00+00:00"}' % (b"0" * 64),
        b'{"name": "laptop", "user_id": "a", "is_admin": "no", "sha256": "%s",'
        b' "created_at": "2026-11-25T12:00:00+00:00"}' % (b"0" * 64),
        b'{"name": "laptop", "user_id": "a", "is_admin": false, "sha256": "",'
        b' "created_at": "2026-11-25T12:00:00+00:00"}',
    ],
)
def test_a_damaged_key_opens_nothing_and_keeps_the_door_shut(
    folder: Path, known: Keys, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    text = added(folder)
    other = added(folder, "other-one", "bob")
    (folder / "laptop.json").write_bytes(content)
    assert known.find(text) is None
    assert known.find(other) is not None
    assert known.were_there
    assert "laptop.json" in capsys.readouterr().err
    (folder / "other-one.json").unlink()
    assert Keys(folder).were_there  # though nobody can call by it


def test_a_key_whose_file_is_closed_to_us_keeps_the_door_shut(
    folder: Path, known: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = added(folder)

    def refuse(self: Path, *arguments: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert known.find(text) is None
    assert known.were_there


def test_a_folder_that_cannot_be_looked_at_changes_nothing(
    folder: Path, known: Keys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = added(folder)
    fresh = Keys(folder)
    assert known.find(text) is not None

    def refuse(path: object) -> None:
        raise OSError(24, "Too many open files", str(path))

    with monkeypatch.context() as full:
        full.setattr(os, "listdir", refuse)
        clock.now += 10
        assert known.find(text) is not None
        assert known.were_there
        with pytest.raises(OSError, match="Too many"):
            _ = fresh.were_there  # not: there are none


def test_each_time_that_keys_cannot_be_read_is_told_of_once_and_its_end_too(
    folder: Path,
    known: Keys,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", server_log().name)
    text = added(folder)
    assert known.find(text) is not None

    def refuse(path: object) -> None:
        raise OSError(24, "Too many open files", str(path))

    for _ in range(2):
        with monkeypatch.context() as full:
            full.setattr(os, "listdir", refuse)
            for _ in range(3):
                clock.now += 100
                assert known.find(text) is not None
        for _ in range(3):
            clock.now += 100
            assert known.find(text) is not None
        bad, good = caplog.messages
        assert "Too many open files" in bad
        assert "API keys cannot be read: over" in good
        caplog.clear()


def test_a_state_that_is_moved_away_opens_nothing(
    folder: Path, known: Keys, clock: Clock, tmp_path: Path
) -> None:
    text = added(folder)
    assert known.find(text) is not None
    moved = folder.parent.rename(tmp_path / "elsewhere")
    clock.now += 10
    assert known.were_there
    assert known.find(text) is not None
    folder.parent.mkdir()  # as a command makes it anew
    clock.now += 10
    assert known.were_there
    assert known.find(text) is not None
    folder.parent.rmdir()
    moved.rename(folder.parent)
    (folder / "laptop.json").unlink()
    clock.now += 10
    assert not known.were_there


def test_the_keys_of_a_state_that_took_the_place_of_another_count(
    folder: Path, known: Keys, clock: Clock, tmp_path: Path
) -> None:
    """As one that was restored from a copy."""
    before = added(folder)
    assert known.find(before) is not None
    folder.parent.rename(tmp_path / "elsewhere")
    restored = added(folder)
    clock.now += 10
    assert known.find(restored) is not None
    assert known.find(before) is None


def test_a_look_beforehand_holds_while_nothing_can_be_read_and_no_longer(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Keys(folder, clock)
    known.look()
    with monkeypatch.context() as closed:

        def refuse(path: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        closed.setattr(os, "listdir", refuse)
        assert not known.were_there
        clock.now += 10
    other = Keys(folder, clock)
    other.look()
    text = added(folder)
    assert other.find(text) is not None  # at once: a look is no request


def test_what_is_no_keys_file_is_none(folder: Path, known: Keys) -> None:
    folder.mkdir(parents=True)
    for name in (".laptop.json.0a1b2c3d.tmp", "notes.txt", "laptop.json~", ".hidden.json"):
        (folder / name).touch()
    assert not known.were_there
    assert listed(folder) == ([], [])


# --- The command ---


class Shell:
    """Calls `media-cleaner keys` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> str:
        code, out, err = self.run(*words)
        assert (code, err) == (0, "")
        return out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))

    def run(self, *words: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        try:
            code = main(["keys", *words])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *self._capsys.readouterr()


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDIA_CLEANER_CONFIG", raising=False)
    monkeypatch.setattr("daemon.__main__.raise_on_signals", lambda: None)
    return Shell(capsys)


def test_a_key_is_shown_once_and_works(shell: Shell, folder: Path) -> None:
    out = shell("add", "laptop", "--user", "alice")
    text = out.splitlines()[0]
    key = Keys(folder).find(text)
    assert key is not None
    assert (key.name, key.user_id, key.is_admin) == ("laptop", "alice", False)
    for later in (shell("list"), json.dumps(shell.json("list")), shell("revoke", "laptop")):
        assert text not in later
        assert key.sha256 not in later
    assert Keys(folder).find(text) is None


def test_a_key_is_added_before_any_service_ran(shell: Shell, folder: Path) -> None:
    assert not folder.parent.exists()
    shell("add", "first", "--admin")
    assert (folder / "first.json").exists()


def test_whose_a_key_is(shell: Shell, folder: Path) -> None:
    for words, expected in (
        (["a", "--user", "alice@home"], ("alice@home", False)),
        (["b", "--admin"], (None, True)),
        (["c", "--admin", "--user", "carol"], ("carol", True)),
        (["dora"], ("dora", False)),  # nobody's would see nothing
    ):
        values = shell.json("add", *words)
        assert (values["user_id"], values["is_admin"]) == expected
        key = Keys(folder).find(values["key"])
        assert key is not None
        assert (key.user_id, key.is_admin) == expected


def test_list_shows_every_key_in_columns_and_in_json(shell: Shell, folder: Path) -> None:
    assert shell("list") == "no keys\n"
    assert shell.json("list") == {"keys": []}
    shell("add", "zoe-with-a-long-name", "--user", "zoe")
    shell("add", "boss", "--admin")
    shell("add", "laptop")
    lines = shell("list").splitlines()
    assert [line.split()[0] for line in lines] == [
        "NAME",
        "boss",
        "laptop",
        "zoe-with-a-long-name",
    ]
    assert lines[0].index("USER") == lines[3].index("zoe ")
    keys = shell.json("list")["keys"]
    assert [(key["name"], key["user_id"], key["is_admin"]) for key in keys] == [
        ("boss", None, True),
        ("laptop", "laptop", False),
        ("zoe-with-a-long-name", "zoe", False),
    ]
    assert set(keys[0]) == {"name", "user_id", "is_admin", "created_at"}


def test_list_tells_of_a_damaged_key_which_can_be_revoked(shell: Shell, folder: Path) -> None:
    shell("add", "laptop")
    (folder / "laptop.json").write_text("{")
    code, out, err = shell.run("list")
    assert (code, out) == (0, "no keys\n")
    assert "laptop.json" in err
    shell("revoke", "laptop")
    assert shell("list") == "no keys\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["add", "laptop"], 1),  # the name is taken
        (["revoke", "nobody"], 1),
        (["revoke", "../../config"], 1),
        (["add", "with space"], 2),
        (["add", ".hidden"], 2),
        (["add", "a" * 65], 2),
        (["add", "имя"], 2),
        (["add", "new", "--user", "../etc"], 2),
        (["add", "new", "--user", ""], 2),
        (["add"], 2),
        (["forge", "x"], 2),
        ([], 2),
    ],
)
def test_what_cannot_be_done_is_one_line(
    shell: Shell, folder: Path, words: list[str], code: int
) -> None:
    shell("add", "laptop")
    before = (folder / "laptop.json").read_bytes()
    found, out, err = shell.run(*words)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert err.startswith("media-cleaner: ")
    assert "not foreseen" not in err
    assert [p.name for p in folder.iterdir()] == ["laptop.json"]
    assert (folder / "laptop.json").read_bytes() == before


def test_a_key_that_the_service_could_not_read_is_not_made(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.parent.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: folder.parent.stat().st_uid + 1)
    code, _, err = shell.run("add", "laptop")
    assert code == 1
    assert "call this as that user" in err
    assert not folder.exists()


@pytest.mark.parametrize("words", [[], ["--json"]], ids=str)
def test_a_key_that_could_not_be_shown_is_not_kept(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """Nobody knows it, and the interface would be closed to all who have none."""
    folder.parent.mkdir(exist_ok=True)
    with open("/dev/full", "w") as full, monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", full)
        assert main(["keys", "add", "laptop", *words]) == 1
    assert list(folder.iterdir()) == []


def test_a_key_that_ctrl_c_kept_from_being_shown_is_not_left(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a terminal that was held by Ctrl-S."""

    def held(lines: object) -> None:
        raise Interrupted(2)

    monkeypatch.setattr("daemon.commands.keys.say", held)
    code, _, err = shell.run("add", "alice")
    assert (code, "nothing is left" in err) == (130, True)
    assert list(folder.iterdir()) == []


def test_a_key_that_ctrl_c_met_on_its_way_to_the_disk_is_not_left(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is there by then, and a disk may take seconds."""

    def interrupted(number: int, frame: object) -> None:
        raise Interrupted(number)

    def slow(path: Path) -> None:
        if any(folder.glob("*.json")):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, interrupted)
    monkeypatch.setattr("daemon.atomic.sync_folder", slow)
    try:
        code, out, err = shell.run("add", "alice")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, out, "nothing is left" in err) == (130, "", True)
    assert list(folder.iterdir()) == []


def test_config_and_json_may_stand_anywhere(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("state: elsewhere\n")
    shell("add", "laptop", "--config", "other.yaml")
    assert (tmp_path / "elsewhere" / "keys" / "laptop.json").exists()
    assert len(json.loads(shell("--config", "other.yaml", "--json", "list"))["keys"]) == 1
