"""What a sidecar says, whatever is in it, and which one counts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from daemon.sidecar import (
    MAX_BYTES,
    SidecarError,
    adopt_dropped,
    find_sidecar,
    parameters_without_sidecar,
    read_sidecar,
    user_of,
)
from pipeline.parameters import AudioLevel, Mode, Parameters

DEFAULTS = Parameters(epsilon=0.08, every_n_frames=5, user_id="studio")


def written(folder: Path, content: str | bytes, name: str = "holiday.mov.yaml") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def asked(folder: Path, content: str | bytes, subfolder: str = "") -> Parameters:
    return read_sidecar(written(folder, content), subfolder, DEFAULTS)


def complaint(folder: Path, content: str | bytes) -> SidecarError:
    before = time.process_time()  # on a busy machine all takes longer, but no more of it
    with pytest.raises(SidecarError) as caught:
        asked(folder, content)
    assert time.process_time() - before < 5
    return caught.value


def test_what_a_sidecar_says_comes_over_the_defaults(tmp_path: Path) -> None:
    text = "epsilon: 0.2\naudio_level: сильный\nmode: strip\nnotes: |\n  two\n  lines\n"
    assert asked(tmp_path, text) == DEFAULTS.model_copy(
        update={
            "epsilon": 0.2,
            "audio_level": AudioLevel.STRONG,
            "mode": Mode.STRIP,
            "notes": "two\nlines\n",
        }
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n...\n", "\n\n", "epsilon:\n", "{}"])
def test_a_sidecar_that_says_nothing_leaves_the_defaults(tmp_path: Path, text: str) -> None:
    assert asked(tmp_path, text) == DEFAULTS


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfepsilon: 0.1\n",
        b"epsilon: 0.1\r\nmode: protect\r\n",
        b'"epsilon": "0.1"',
        b"{epsilon: 0.1}",
        b'{"epsilon": 0.1, "notes": null}',
        b"epsilon: 1e-1",
        b"%YAML 1.1\n---\nepsilon: 0.1\n",
    ],
)
def test_every_way_to_write_it_is_understood(tmp_path: Path, content: bytes) -> None:
    assert asked(tmp_path, content) == DEFAULTS.model_copy(update={"epsilon": 0.1})


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("user_id: 007", "user_id", "007"),
        ("user_id: 1_000", "user_id", "1_000"),
        ("user_id: yes", "user_id", "yes"),
        ("user_id: 2026-11-24", "user_id", "2026-11-24"),
        ("notes: 42", "notes", "42"),
        ("notes: 1:30", "notes", "1:30"),
        ("notes: no", "notes", "no"),
        ("notes: '~'", "notes", "~"),
        (r'{"notes": "\ud83d\ude00!"}', "notes", "😀!"),  # as `json.dumps` writes it
        ("every_n_frames: 010", "every_n_frames", 10),
        ("audio_level: слабый", "audio_level", AudioLevel.WEAK),
        ("audio_level: Weak", "audio_level", AudioLevel.WEAK),
        ("audio_level: none", "audio_level", AudioLevel.NONE),
        # A line that was left empty asks for nothing, least of all for sound that is not protected.
        ("audio_level:", "audio_level", AudioLevel.WEAK),
        ("audio_level: ~", "audio_level", AudioLevel.WEAK),
    ],
)
def test_a_value_is_what_stands_there_as_in_a_form(
    tmp_path: Path, text: str, field: str, value: object
) -> None:
    assert getattr(asked(tmp_path, text), field) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epsilon: 0.5", ["epsilon is '0.5'", "a number from 0.04 to 0.20"]),
        ("epsilon: 1e999", ["epsilon is '1e999'", "0.04 to 0.20"]),
        ("epsilon: .inf", ["epsilon is '.inf'"]),
        ("epsilon: nan", ["epsilon is 'nan'"]),
        ("epsilon: yes", ["epsilon is 'yes'"]),
        ("epsilon: [0.1]", ["epsilon is ['0.1']"]),
        ("epsilon: {a: 1}", ["epsilon is {'a': '1'}"]),
        ("every_n_frames: 0:10", ["every_n_frames is '0:10'", "whole number from 1 to 30"]),
        ("every_n_frames: 0x0a", ["every_n_frames is '0x0a'"]),
        ("every_n_frames: 2.5", ["every_n_frames is '2.5'"]),
        ("audio_level: no", ["audio_level is 'no'", "слабый/weak"]),
        ("audio_level: громкий", ["audio_level is 'громкий'"]),
        ("user_id: ../etc", ["user_id is '../etc'", "letters"]),
        ("webhook_url: ftp://x", ["webhook_url is 'ftp://x'", "http"]),
        ("epsilo: 0.1", ["Unknown parameter 'epsilo'", "known are epsilon"]),
        ("notes: " + "x" * 2001, ["notes is 'xxx", "2000"]),
        ("every_n_frames: " + "9" * 5000, ["every_n_frames is '999"]),
        ("epsilon: 0x" + "f" * 60_000, ["epsilon is '0xfff"]),
        ("epsilon: " + "1:" * 30_000 + "1.0", ["epsilon is '1:1:"]),
        ("? " + "k" * 60_000 + "\n: 1", ["Unknown parameter 'kkk"]),
        ('? ">\\ud800!!seq - "', ["Unknown parameter '>\\ud800!!seq - '"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed_and_what_to_do(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    error = complaint(tmp_path, text)
    assert error.code == "invalid_parameter"
    assert error.failure.code == error.code
    assert error.failure.message == error.message
    assert "\n" not in error.message
    assert len(error.message) < 700
    for word in ["holiday.mov.yaml: ", *words, "media-cleaner retry"]:
        assert word in error.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"- epsilon\n- 0.1\n", "no `name: value` lines"),
        (b"just words", "no `name: value` lines"),
        (b"epsilon: 0.1: 2", "line 1"),
        (b"epsilon: 0.1\n\tmode: strip", "line 2"),
        (b"epsilon: 0.1\nepsilon: 0.2", "twice"),
        (b"epsilon:\t0.1", "line 1"),
        (b"epsilon: [0.1", "line"),
        (b"~: 1", "not a name"),
        (b"? [a]\n: 1", "line 1"),
        (b"\x00epsilon: 0.1", "not YAML"),
        (b"epsilon: 0.1\x00", "not YAML"),
        (b"epsilon: \xff\xfe", "UTF-8"),
        ("epsilon: 0.1".encode("utf-16"), "UTF-8"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "aliases"),
        (b"<<: *x", "aliases"),
        (b"epsilon: !!python/object/apply:os.system ['true']", "line 1"),
        (b"epsilon: !!timestamp x", "line 1"),
        (b"epsilon: !!bool x", "line 1"),
        (b"epsilon: !!int ''", "line 1"),
        (b"epsilon: !!binary x", "line 1"),
        (b"[" * 60_000, "deeply"),
        (b"{a: " * 15_000, "deeply"),
        (b"- " * 30_000, "deeply"),
        (b"? " * 30_000, "deeply"),
        (b"#" + b"x" * MAX_BYTES, "larger than 65536 bytes"),
        (b"--- {}\n--- {}\n", "line 2"),
        (b"!!map [a, b]", "not YAML"),
        (b"a: !!map [x]", "not YAML"),
        (b'notes: "\\UFFFFFFFF"', "not YAML"),
    ],
)
def test_what_is_no_sidecar_is_refused_with_its_reason(
    tmp_path: Path, content: bytes, words: str
) -> None:
    error = complaint(tmp_path, content)
    assert error.code == "invalid_sidecar"
    assert error.message.startswith("holiday.mov.yaml")
    assert words in error.message
    assert "media-cleaner retry" in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize(
    "content",
    [
        b"".join(b"k%d: x\n" % number for number in range(5000)),
        b'"' + b"\\u0041" * 10_000 + b'": 1',
        b"notes: " + b"a " * 30_000,
        b"notes: >\n" + b"  a\n\n" * 10_000,
        b"'" * 60_000,
        b"%TAG ! tag:x,2000:\n" * 3000,
        b"!" * 60_000,
        b"&" * 60_000,
        b"a: b\n" + b" " * 60_000,
        b"[a, " * 5 + b"b, " * 18_000,
        b"{" + b"a: {}, " * 8_000,
        b"a\n" * 30_000,
        b"- a: b\n  c: d\n" * 4_000,
    ],
)
def test_a_hostile_sidecar_takes_bounded_time(tmp_path: Path, content: bytes) -> None:
    assert len(content) <= MAX_BYTES
    assert len(complaint(tmp_path, content).message) < 700


def test_what_is_not_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    real = written(tmp_path, "epsilon: 0.1", "real.yaml")
    link, pipe, folder, none = (tmp_path / f"{n}.yaml" for n in ("link", "pipe", "folder", "none"))
    link.symlink_to(real)
    os.mkfifo(pipe)
    folder.mkdir()
    for path, words in (
        (link, "it is a link"),
        (pipe, "is not a file"),
        (folder, "is not a file"),
        (none, "No such file"),
    ):
        with pytest.raises(SidecarError, match=words) as caught:
            read_sidecar(path, "", DEFAULTS)
        assert caught.value.code == "invalid_sidecar"
        assert path.name in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_sidecar_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "epsilon: 0.1")
    path.chmod(0)
    with pytest.raises(SidecarError, match="Permission denied"):
        read_sidecar(path, "", DEFAULTS)


@pytest.mark.parametrize(
    ("subfolder", "user"),
    [
        ("", None),
        ("alice", "alice"),
        ("alice/2026", "alice"),
        ("my films/alice", None),
        (".hidden", None),
        ("Иван", None),
        ("x" * 65, None),
        ("\udcff", None),
        ("new\nline", None),
    ],
)
def test_the_first_subfolder_is_the_user_if_it_can_be(subfolder: str, user: str | None) -> None:
    assert user_of(subfolder) == user
    assert parameters_without_sidecar(subfolder, DEFAULTS).user_id == (user or "studio")
    assert parameters_without_sidecar(subfolder, DEFAULTS).epsilon == DEFAULTS.epsilon


def test_the_sidecars_user_comes_first_then_the_subfolder_then_the_defaults(tmp_path: Path) -> None:
    assert asked(tmp_path, "user_id: bob", "alice/2026").user_id == "bob"
    assert asked(tmp_path, "user_id:", "alice/2026").user_id == "alice"
    assert asked(tmp_path, "notes: x", "my films").user_id == "studio"


def test_the_best_name_is_found_and_only_files_count(tmp_path: Path) -> None:
    names = ["clip.yml", "clip.yaml", "clip.mp4.yml", "clip.mp4.yaml"]
    assert find_sidecar(tmp_path, "clip.mp4") is None
    for name in names:
        written(tmp_path, "", name)
        assert find_sidecar(tmp_path, "clip.mp4") == name
    for name in reversed(names):
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to("/dev/null")
    assert find_sidecar(tmp_path, "clip.mp4") is None


def test_a_name_that_leaves_no_room_for_an_ending_has_no_sidecar(tmp_path: Path) -> None:
    assert find_sidecar(tmp_path, "x" * 251 + ".mp4") is None


# --- Dropped again ---


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    (folder / "alice").mkdir(parents=True)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(b"video")
    return folder


def test_a_sidecar_that_was_dropped_again_takes_the_place_of_the_old(
    inbox: Path, home: Path
) -> None:
    written(home, "epsilon: 9", "clip.mp4.yaml")
    written(inbox / "alice", "epsilon: 0.1", "clip.mp4.yaml")
    assert adopt_dropped(inbox, "alice", "clip.mp4", home) == "clip.mp4.yaml"
    assert (home / "clip.mp4.yaml").read_text() == "epsilon: 0.1"
    assert os.listdir(inbox / "alice") == []
    assert adopt_dropped(inbox, "alice", "clip.mp4", home) == "clip.mp4.yaml"


def test_it_is_durable_in_its_new_place_before_the_old_one_forgets_it(
    inbox: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        "daemon.sidecar.sync_folder", lambda path: synced.append(os.path.realpath(path))
    )
    written(inbox / "alice", "epsilon: 0.1", "clip.mp4.yaml")
    assert adopt_dropped(inbox, "alice", "clip.mp4", home) == "clip.mp4.yaml"
    assert synced == [str(home), str(inbox / "alice")]


def test_one_of_another_spelling_leaves_no_old_one_behind(inbox: Path, home: Path) -> None:
    written(home, "epsilon: 9", "clip.yml")
    written(inbox / "alice", "epsilon: 0.1", "clip.mp4.yaml")
    name = adopt_dropped(inbox, "alice", "clip.mp4", home)
    assert name is not None
    assert (home / name).read_text() == "epsilon: 0.1"
    assert sorted(os.listdir(home)) == sorted(["clip.mp4", name])


def test_one_dropped_where_there_was_none_is_taken(inbox: Path, home: Path) -> None:
    assert adopt_dropped(inbox, "alice", "clip.mp4", home) is None
    written(inbox / "alice", "epsilon: 0.1", "clip.yaml")
    assert adopt_dropped(inbox, "alice", "clip.mp4", home) == "clip.yaml"


@pytest.mark.parametrize(
    ("other", "name"),
    [("clip.mp4", "clip.mp4.yaml"), ("clip.mp4", "clip.yaml"), ("clip.mov", "clip.yaml")],
)
def test_a_sidecar_that_may_be_another_videos_is_left(
    inbox: Path, home: Path, other: str, name: str
) -> None:
    written(home, "epsilon: 9", "clip.yaml")
    written(inbox / "alice", "epsilon: 0.1", name)
    (inbox / "alice" / other).write_bytes(b"another")
    assert adopt_dropped(inbox, "alice", "clip.mp4", home) == "clip.yaml"
    assert (home / "clip.yaml").read_text() == "epsilon: 9"
    assert (inbox / "alice" / name).exists()


def test_a_sidecar_with_the_whole_name_is_the_videos_whoever_its_namesakes_are(
    inbox: Path, home: Path
) -> None:
    (inbox / "alice/clip.mov").write_bytes(b"another")
    written(inbox / "alice", "epsilon: 0.1", "clip.mp4.yaml")
    assert adopt_dropped(inbox, "alice", "clip.mp4", home) == "clip.mp4.yaml"


def test_neither_links_nor_unfinished_names_are_taken(inbox: Path, home: Path) -> None:
    written(home, "epsilon: 9", "clip.mp4.yaml")
    (inbox / "alice/clip.mp4.yaml").symlink_to(written(inbox, "epsilon: 0.1", "real.yaml"))
    written(inbox / "alice", "epsilon: 0.1", "clip.mp4.yaml.part")
    assert adopt_dropped(inbox, "alice", "clip.mp4", home) == "clip.mp4.yaml"
    assert (home / "clip.mp4.yaml").read_text() == "epsilon: 9"


@pytest.mark.parametrize("name", ["clip.mp4.yaml", "clip.yml"])
def test_what_is_no_file_is_refused_where_the_task_has_none(
    inbox: Path, home: Path, name: str
) -> None:
    (inbox / "alice" / name).mkdir()
    with pytest.raises(SidecarError, match=f"^{name} is a folder, not a file") as caught:
        adopt_dropped(inbox, "alice", "clip.mp4", home)
    assert caught.value.code == "invalid_sidecar"
    (inbox / "alice/clip.mp4").write_bytes(b"another")  # whose it is then
    assert adopt_dropped(inbox, "alice", "clip.mp4", home) is None


def test_nothing_is_taken_through_a_link_in_a_folders_place(
    inbox: Path, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    outside = written(tmp_path / "outside", "epsilon: 0.1", "clip.mp4.yaml")
    (inbox / "bob").symlink_to(tmp_path / "outside")
    assert adopt_dropped(inbox, "bob", "clip.mp4", home) is None
    assert outside.exists()


def test_where_the_inbox_is_away_the_present_one_stays(tmp_path: Path, home: Path) -> None:
    written(home, "epsilon: 9", "clip.mp4.yaml")
    assert adopt_dropped(tmp_path / "none", "alice", "clip.mp4", home) == "clip.mp4.yaml"


def test_a_webhook_on_a_private_network_is_refused_unless_that_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4.yaml"
    path.write_text("webhook_url: http://127.0.0.1:9/\n")
    with pytest.raises(SidecarError, match="webhook_url"):
        read_sidecar(path, "", DEFAULTS)
    assert read_sidecar(path, "", DEFAULTS, allow_private=True).webhook_url is not None
