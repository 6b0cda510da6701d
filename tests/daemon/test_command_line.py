"""The commands as a person calls them: real processes, a real terminal, real signals."""

from __future__ import annotations

import configparser
import fcntl
import json
import os
import pty
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from media import Audio, Video, make_video
from services import PATIENCE_SECONDS

from daemon.__main__ import main, parser
from pipeline.errors import UnreadableMedia

ROOT = Path(__file__).parents[2]
FAST = "preset: ultrafast\n"


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "daemon", *map(str, words)]


def environment() -> dict[str, str]:
    kept = {name: v for name, v in os.environ.items() if name != "MEDIA_CLEANER_CONFIG"}
    path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def run(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def assert_one_line(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command ended with this code and one line on standard error that holds these words."""
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("media-cleaner: ")
    for word in words:
        assert word in result.stderr


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of picture and sound with a title; nobody changes it."""
    folder = tmp_path_factory.mktemp("clip")
    video = Video(width=160, height=120, audio=[Audio(codec="aac")], tags={"title": "secret"})
    return make_video(folder / "clip.mp4", video)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough pictures for a slow encoder to be busy with for a while."""
    video = Video(width=640, height=480, frames=300, options={"preset": "ultrafast"})
    return make_video(tmp_path_factory.mktemp("long") / "long.mp4", video)


@pytest.fixture
def folder(tmp_path: Path, clip: Path) -> Path:
    """A folder with a config.yaml and the clip."""
    (tmp_path / "config.yaml").write_text(FAST)
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    return tmp_path


def test_help_names_every_command_and_answers_at_once(tmp_path: Path) -> None:
    before = cpu_seconds_of_children()  # on a busy machine all takes longer, but no more of it
    result = run(tmp_path, "--help")
    assert cpu_seconds_of_children() - before < 2  # 0.1 s; half a second is promised
    assert result.returncode == 0
    for name in ("protect", "verify", "check-config", "--config", "--json"):
        assert name in result.stdout


def test_help_of_keys_writes_api_in_capitals_and_tells_of_each_option(tmp_path: Path) -> None:
    assert "Add, list and revoke API keys." in run(tmp_path, "keys", "--help").stdout
    assert "answer in JSON" in run(tmp_path, "keys", "list", "--help").stdout


def test_help_of_protect_names_every_parameter(tmp_path: Path) -> None:
    text = run(tmp_path, "protect", "--help").stdout
    for name in ("--epsilon", "--video-strength", "--audio-level", "--every-n-frames", "--mode"):
        assert name in text


@pytest.mark.parametrize("words", [["--version"], ["--json", "--version"]])
def test_the_version_is_that_of_the_package(tmp_path: Path, words: list[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    result = run(tmp_path, *words)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"media-cleaner {setup['metadata']['version']}\n"


def test_a_version_that_nobody_installed_is_told_as_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("daemon.__main__.PROGRAM", "media-cleaner-of-nobody")
    monkeypatch.setattr("daemon.__main__.raise_on_signals", lambda: None)
    assert main(["--version"]) == 2
    assert "is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "in.mp4 out.mp4 --epsilon .1 --force",
        "--epsilon .1 --force in.mp4 out.mp4",
        "in.mp4 --epsilon .1 out.mp4 --force",
        "--force in.mp4 --epsilon=.1 out.mp4",
        "in.mp4 --epsilon .1 --force -- out.mp4",
    ],
)
def test_options_may_stand_before_between_and_behind_the_names(words: str) -> None:
    line = ["protect", *words.split()]
    arguments = parser(line).parse_args(line)
    assert (arguments.original, arguments.output) == (Path("in.mp4"), Path("out.mp4"))
    assert (arguments.epsilon, arguments.force) == (".1", True)


@pytest.mark.parametrize("words", ["in.mp4 --epsilon .1", "--epsilon .1 in.mp4", "in.mp4"])
def test_an_output_need_not_be_named(words: str) -> None:
    line = ["protect", *words.split()]
    arguments = parser(line).parse_args(line)
    assert (arguments.original, arguments.output) == (Path("in.mp4"), None)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--frobnicate"], "--frobnicate; see media-cleaner --help."),
        (["protct"], "protct"),
        (["protect"], "are required: IN;"),
        (["protect", "clip.mp4", "--force", "out.mp4", "more.mp4"], "arguments: more.mp4;"),
        (["protect", "clip.mp4", "-o", "out.mp4"], "-o; see media-cleaner protect --help."),
        (["verify", "a.mp4"], "PROTECTED"),
        (["protect", "--epsilo", "0.1", "clip.mp4"], "--epsilo"),
        (["protect", "--epsilon", "0.5", "clip.mp4"], "epsilon is '0.5'; allowed is a number"),
        (["protect", "--every-n-frames", "1.5", "clip.mp4"], "every_n_frames is '1.5'"),
        (["protect", "--audio-level", "loud", "clip.mp4"], "слабый/weak"),
        (["protect", "clip.mp4", "clip.mp4"], "the original itself"),
        (["protect", "--force", "clip.mp4", "./clip.mp4"], "the original itself"),
        (["protect", "clip.mp4", "config.yaml"], "--force"),
        (["protect", "clip.mp4", "none/out.mp4"], "none is no folder"),
        (["protect", "--config", "none.yaml", "clip.mp4"], "none.yaml cannot be read"),
        (["--config", "none.yaml", "protect", "clip.mp4"], "none.yaml cannot be read"),
        (["verify", "clip.mp4", "clip.mp4", "--picture", "clip.mp4"], "PNG"),
        (["protect", "clip.mp4", "--preview", "-3"], "clip.mp4, which lasts 1.0"),
        (["protect", "clip.mp4", "--preview", "soon"], "seconds or H:MM:SS"),
        (["protect", "clip.mp4", "--preview", "0:75"], "0:75 is no moment"),
        (["protect", "clip.mp4", "--preview", "1:00:00"], "clip.mp4 lasts 1.00 s"),
        (["protect", "clip.mp4", "out.mp4", "--preview", "0"], "out.mp4 is no name of a PNG"),
        (["protect", "clip.mp4", "none/out.png", "--preview", "0"], "none is no folder"),
        (["protect", "clip.mp4", "--preview", "0", "--epsilon", "0.5"], "epsilon is '0.5'"),
        (["protect", "clip.mp4", "--preview", "0", "--mode", "strip"], "nothing to preview"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(folder: Path, words: list[str], told: str) -> None:
    assert_one_line(run(folder, *words), 2, told)
    assert sorted(p.name for p in folder.iterdir()) == ["clip.mp4", "config.yaml"]


@pytest.mark.parametrize(
    "words", [["--config", "", "list"], ["list", "--config="], ["keys", "list", "--config="]]
)
def test_an_empty_name_of_a_configuration_is_refused(folder: Path, words: list[str]) -> None:
    assert_one_line(run(folder, *words), 2, "--config", "it is empty; give the path")


def test_a_folder_that_was_removed_under_the_caller_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = 'cd gone && rmdir ../gone && exec "$@"'
    result = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *command("list")],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert_one_line(result, 2, "the folder that you call this from is gone")


def test_a_wrong_config_ends_every_command_with_2(folder: Path) -> None:
    (folder / "config.yaml").write_text("crf: 99")
    for words in (["protect", "clip.mp4"], ["verify", "clip.mp4", "clip.mp4"], ["check-config"]):
        result = run(folder, *words)
        assert result.returncode == 2
        assert "crf is 99" in result.stdout + result.stderr


def test_a_file_that_is_no_video_ends_with_1(folder: Path) -> None:
    (folder / "text.mp4").write_text("not a video")
    assert_one_line(run(folder, "protect", "text.mp4"), 1, "text.mp4")
    assert_one_line(run(folder, "protect", "none.mp4"), 1, "none.mp4")
    assert_one_line(run(folder, "verify", "clip.mp4", "text.mp4"), 1, "text.mp4")


def test_a_name_that_could_move_the_cursor_is_shown_escaped(folder: Path) -> None:
    name = "a\x1b[2Jb\nc.mp4"
    (folder / name).write_text("not a video")
    assert_one_line(run(folder, "protect", name), 1, r"a\x1b[2Jb\nc.mp4")


def test_a_video_is_protected_beside_itself(folder: Path, clip: Path) -> None:
    result = run(folder, "protect", "clip.mp4")
    assert (result.returncode, result.stderr) == (0, "")  # no bar in a pipe
    assert result.stdout.splitlines()[0] == "clip_protected.mp4"
    assert "embedded" in result.stdout
    assert (folder / "clip_protected.mp4").stat().st_size > 1000
    assert (folder / "clip.mp4").read_bytes() == clip.read_bytes()
    assert len(list(folder.iterdir())) == 3


def test_an_output_may_be_a_folder_and_the_answer_json(folder: Path) -> None:
    (folder / "out").mkdir()
    answer = json.loads(run(folder, "--json", "protect", "clip.mp4", "out").stdout)
    assert answer["protected"] == "out/clip_protected.mp4"
    assert answer["report"]["surrogate"] == "embedded"
    assert answer["report"]["frames"] == 25


def test_an_output_that_is_there_is_replaced_only_by_force(folder: Path) -> None:
    (folder / "out.mp4").write_text("mine")
    assert_one_line(run(folder, "protect", "clip.mp4", "out.mp4"), 2, "out.mp4", "--force")
    assert (folder / "out.mp4").read_text() == "mine"
    assert (
        run(folder, "protect", "--mode", "strip", "clip.mp4", "out.mp4", "--force").returncode == 0
    )
    assert (folder / "out.mp4").stat().st_size > 1000


def test_a_default_output_that_is_there_is_refused_too(folder: Path) -> None:
    (folder / "clip_protected.mp4").write_text("mine")
    assert_one_line(run(folder, "protect", "clip.mp4"), 2, "clip_protected.mp4", "--force")


def test_an_original_behind_a_link_is_never_the_output(folder: Path, clip: Path) -> None:
    (folder / "link.mp4").symlink_to("clip.mp4")
    assert_one_line(run(folder, "protect", "--force", "clip.mp4", "link.mp4"), 2, "original itself")
    assert (folder / "clip.mp4").read_bytes() == clip.read_bytes()


def test_protect_needs_no_config_file(folder: Path) -> None:
    (folder / "config.yaml").unlink()
    result = run(folder, "protect", "--mode", "strip", "clip.mp4", "bare.mp4")
    assert (result.returncode, result.stderr) == (0, "")
    assert b"secret" not in (folder / "bare.mp4").read_bytes()


def test_an_ending_that_no_container_has_ends_with_2(folder: Path) -> None:
    assert_one_line(run(folder, "protect", "clip.mp4", "out.xyz"), 2, ".xyz")


def test_a_quota_of_cpu_time_bounds_the_threads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def protect(*arguments: Any, **options: Any) -> None:
        seen.append(arguments[3].threads)
        raise UnreadableMedia("seen enough")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("daemon.machine.cpu_quota", lambda: 0.5)
    monkeypatch.setattr("daemon.__main__.raise_on_signals", lambda: None)
    monkeypatch.setattr("pipeline.protect.protect", protect)
    for name in ("limit_threads", "limit_memory"):  # they would bind this process
        monkeypatch.setattr(f"daemon.commands.protect.{name}", lambda *_: None)
    assert main(["protect", "clip.mp4"]) == 1
    assert seen == [1]


def test_a_moment_is_previewed_beside_the_video(folder: Path, clip: Path) -> None:
    result = run(folder, "protect", "clip.mp4", "--preview", "0:00:00.52")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "clip_preview.png"
    assert "moment     0.52 s" in result.stdout
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["clip.mp4", "clip_preview.png", "config.yaml"]
    assert (folder / "clip_preview.png").read_bytes()[1:4] == b"PNG"
    assert (folder / "clip.mp4").read_bytes() == clip.read_bytes()


def test_a_preview_may_have_a_name_or_a_folder_and_the_answer_be_json(folder: Path) -> None:
    (folder / "out").mkdir()
    for out, path in (("look.png", "look.png"), ("out", "out/clip_preview.png")):
        result = run(folder, "--json", "protect", "clip.mp4", out, "--preview", "0.5")
        assert result.returncode == 0, result.stderr
        answer = json.loads(result.stdout)
        assert answer["preview"] == path
        assert (folder / path).is_file()
        assert answer["seconds"] == 0.48
        assert answer["mean_change"] > 0


def test_a_preview_that_is_there_is_replaced_only_by_force(folder: Path) -> None:
    (folder / "clip_preview.png").write_text("mine")
    refused = run(folder, "protect", "clip.mp4", "--preview", "0")
    assert_one_line(refused, 2, "clip_preview.png is there already", "--force")
    assert (folder / "clip_preview.png").read_text() == "mine"
    assert run(folder, "protect", "--force", "clip.mp4", "--preview", "0").returncode == 0
    assert (folder / "clip_preview.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    "words",
    [["--mode", "strip", "clip.mp4", "pipe.mp4"], ["clip.mp4", "pipe.png", "--preview", "0"]],
)
def test_a_pipe_is_not_replaced_by_force(folder: Path, words: list[str]) -> None:
    pipe = folder / next(word for word in words if word.startswith("pipe"))
    os.mkfifo(pipe)
    assert_one_line(run(folder, "protect", "--force", *words), 2, f"{pipe.name} is no file")
    assert pipe.is_fifo()


def test_verify_measures_and_draws_the_pair(folder: Path) -> None:
    run(folder, "protect", "--mode", "strip", "clip.mp4", "out.mp4")
    result = run(folder, "--json", "verify", "clip.mp4", "out.mp4", "--picture", "pair.png")
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert (answer["psnr_db"], answer["largest_change"]) == (100, 0)
    assert any("x264" in left for left in answer["metadata_left"])  # inside the packets
    assert (folder / "pair.png").read_bytes().startswith(b"\x89PNG")
    assert "PSNR" in run(folder, "verify", "clip.mp4", "out.mp4").stdout


def test_check_config_shows_what_is_set(folder: Path) -> None:
    result = run(folder, "check-config")
    assert (result.returncode, result.stderr) == (0, "")
    assert "ultrafast" in result.stdout
    assert str(folder / "outbox") in result.stdout
    answer = json.loads(run(folder, "check-config", "--json").stdout)
    assert json.loads(run(folder, "--json", "check-config").stdout) == answer
    assert answer["problems"] == []
    assert answer["settings"]["preset"] == "ultrafast"


def test_check_config_says_every_problem_of_the_folders(folder: Path) -> None:
    (folder / "config.yaml").write_text("outbox: inbox\nstate: logs/state\n")
    result = run(folder, "check-config")
    assert_one_line(result, 2, "2 problems")
    assert len(result.stdout.splitlines()) == 2
    assert len(json.loads(run(folder, "check-config", "--json").stdout)["problems"]) == 2


@pytest.mark.parametrize(
    ("settings", "count"),
    [("outbox: inbox\n", "1 problem,"), ("epsilom: 1\nprot: 2\n", "2 problems,")],
)
def test_check_config_says_each_problem_once_on_a_terminal(
    folder: Path, settings: str, count: str
) -> None:
    (folder / "config.yaml").write_text(settings)
    problems = run(folder, "check-config").stdout.splitlines()
    shown = on_terminal(folder, "check-config", with_answer=True, code=2).splitlines()
    assert shown[:-1] == problems
    assert count in shown[-1]


@pytest.mark.parametrize(
    ("settings", "code"), [("outbox: inbox\n", 2), ("host: 0.0.0.0\n", 1)], ids=["config", "host"]
)
def test_doctor_says_each_problem_once_on_a_terminal(
    folder: Path, settings: str, code: int
) -> None:
    (folder / "config.yaml").write_text(settings)
    lines = on_terminal(folder, "doctor", with_answer=True, code=code).splitlines()
    (problem,) = [line for line in lines if line.startswith("PROBLEM")]
    text = problem.partition(": ")[2]
    assert sum(text in line for line in lines) == 1
    assert "1 of" in lines[-1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("host: 0.0.0.0\n", "host: others can reach the host 0.0.0.0, and there are no API keys"),
        ("host: no.such.invalid\n", "host: the host no.such.invalid is not known"),
        ("host: 0.0.0.0\nauth: {required: false}\n", None),
        ("host: 0.0.0.0\nweb_workers: 0\n", None),
    ],
)
def test_check_config_says_whether_the_service_would_listen_there(
    folder: Path, settings: str, said: str | None
) -> None:
    (folder / "config.yaml").write_text(settings)
    result = run(folder, "check-config")
    if said is None:
        assert (result.returncode, result.stderr) == (0, "")
    else:
        assert_one_line(result, 2, said)


@pytest.mark.parametrize(("words", "code"), [(["check-config"], 2), (["serve", "--port", "0"], 1)])
def test_keys_that_cannot_be_looked_at_are_told_by_their_folder(
    folder: Path, words: list[str], code: int
) -> None:
    """As those that another user has made; here something else lies in its place."""
    (folder / "state").mkdir()
    (folder / "state/keys").touch()
    result = run(folder, *words)
    told = f"the API keys cannot be read: {folder / 'state/keys'}: Not a directory"
    assert_one_line(result, code, told)


def test_a_reload_takes_the_configuration_that_was_made_after_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes that answer requests take it, too."""
    loads: list[Any] = []

    class Service:
        def __init__(self, load: Any, *_: object) -> None:
            loads.append(load)

        def run(self, signals: object) -> None:
            """Nothing is to be done."""

    monkeypatch.setattr("daemon.service.Service", Service)
    # They would bind this process, and all that it starts.
    monkeypatch.setattr("daemon.commands.serve.pass_none_on", lambda: None)
    monkeypatch.setattr("daemon.__main__.raise_on_signals", lambda: None)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MEDIA_CLEANER_CONFIG", raising=False)
    (folder / "config.yaml").unlink(missing_ok=True)
    main(["serve"])
    (folder / "config.yaml").write_text("crf: 31\n")
    assert loads[0]().crf == 31


def test_check_config_says_which_network_there_is_not(folder: Path) -> None:
    (folder / "config.yaml").write_text("surrogate: resnet19\ndevice: cpu\n")
    result = run(folder, "check-config")
    assert_one_line(result, 2, "'resnet19' is not known")
    assert "surrogate: " in result.stdout


def test_check_config_without_a_file_shows_the_defaults_that_hold(tmp_path: Path) -> None:
    result = run(tmp_path, "check-config")
    assert result.returncode == 0
    assert "the defaults hold" in result.stdout


def test_an_answer_that_nobody_reads_is_no_traceback(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            command("check-config"),
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert_one_line(result, 1, "No space left")


def test_a_reader_that_goes_away_is_no_traceback(folder: Path) -> None:
    for words in ("check-config", "--help"):
        ours, theirs = os.pipe()
        os.close(ours)
        result = subprocess.run(
            command(words),
            cwd=folder,
            env=environment(),
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        os.close(theirs)
        assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (["protect", "clip.mp4", "out.mp4", "--force"], 0, ["out.mp4"]),
        (["protect", "gone.mp4"], 1, []),
        (["status"], 2, []),
    ],
    ids=str,
)
def test_a_command_works_where_nobody_can_be_complained_to(
    folder: Path, words: list[str], code: int, answer: list[str]
) -> None:
    """Closed, full or its reader gone: what is answered and how it ends stays as it was."""
    ours, gone = os.pipe()
    os.close(ours)
    with open("/dev/full", "w") as full:
        for error, shell in ((None, 'exec "$@" 2>&-'), (full, 'exec "$@"'), (gone, 'exec "$@"')):
            result = subprocess.run(
                ["sh", "-c", shell, "sh", *command(*words)],
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=error,
                encoding="utf-8",
                timeout=PATIENCE_SECONDS,
                check=False,
            )
            assert result.returncode == code
            assert result.stdout.splitlines()[:1] == answer
    os.close(gone)


def test_no_file_is_opened_in_the_place_of_a_standard_stream() -> None:
    """A complaint of FFmpeg's libraries would be written into it, in a child's too."""
    program = (
        "from daemon.console import hold_standard_streams\n"
        "hold_standard_streams()\n"
        "import subprocess, sys\n"
        "print(open('/dev/zero').fileno(), flush=True)\n"
        "child = 'print(open(\"/dev/zero\").fileno())'\n"
        "subprocess.run([sys.executable, '-c', child], check=True)"
    )
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", sys.executable, "-c", program],
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    assert all(int(number) > 2 for number in result.stdout.split())


def test_a_terminal_shows_a_bar_that_ends_clean(folder: Path) -> None:
    video = Video(width=320, height=240, frames=100)
    make_video(folder / "longer.mp4", video)
    shown = on_terminal(folder, "protect", "longer.mp4")
    assert "frames/s" in shown
    assert "/100" in shown
    assert (folder / "longer_protected.mp4").exists()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        *((signal.SIGINT, 130), (signal.SIGTERM, 143)),
        *((signal.SIGHUP, 129), (signal.SIGQUIT, 131)),
    ],
)
def test_a_signal_in_the_midst_of_the_work_leaves_nothing(
    folder: Path, long_clip: Path, sent: signal.Signals, code: int
) -> None:
    (folder / "config.yaml").write_text("preset: veryslow\n")
    (folder / "long.mp4").symlink_to(long_clip)
    before = sorted(p.name for p in folder.iterdir())
    process = started(folder, "protect", "long.mp4")
    wait_for_part(folder, process)
    time.sleep(0.5)
    asked = time.monotonic()
    process.send_signal(sent)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert time.monotonic() - asked < 30  # about a second alone
    assert process.returncode == code
    assert out == b""
    assert err.decode() == "media-cleaner: interrupted; nothing is left behind.\n"
    assert sorted(p.name for p in folder.iterdir()) == before


def test_a_signal_before_the_work_leaves_nothing(folder: Path, long_clip: Path) -> None:
    (folder / "config.yaml").write_text("preset: veryslow\n")
    (folder / "long.mp4").symlink_to(long_clip)  # it is not done before the signal comes
    before = sorted(p.name for p in folder.iterdir())
    process = started(folder, "protect", "long.mp4")
    # Past Python's own start, in which Ctrl-C is Python's; before torch is imported.
    maps = Path(f"/proc/{process.pid}/maps")
    while "pydantic_core" not in maps.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    # By the program or, before it has got so far, by the signal itself: 130 to a shell.
    assert process.returncode in (130, -signal.SIGINT)
    assert b"Traceback" not in err
    assert err.count(b"\n") <= 1
    assert sorted(p.name for p in folder.iterdir()) == before


def test_a_signal_that_comes_where_nothing_can_be_raised_is_not_lost() -> None:
    """As in a destructor, or within a compiled module that is being imported."""
    code = """
import signal
from daemon.signals import raise_on_signals
class Gone:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
raise_on_signals()
Gone()
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")


def started(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(*words),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell in the background hands its children SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_part(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Return as soon as the work has begun to write."""
    while not any(path.name.endswith(".part.mp4") for path in folder.iterdir()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def on_terminal(folder: Path, *words: str, with_answer: bool = False, code: int = 0) -> str:
    """Return what the command shows on standard error, or both, where that is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    answers = theirs if with_answer else subprocess.DEVNULL
    process = subprocess.Popen(
        command(*words), cwd=folder, env=environment(), stdout=answers, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], PATIENCE_SECONDS)[0]:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        shown += part
        if not part:
            break
    os.close(ours)
    assert process.wait(PATIENCE_SECONDS) == code
    return shown.decode()
