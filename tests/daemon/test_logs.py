"""server.log, queue.log and the console: what a line looks like, and that no line does harm."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services import PATIENCE_SECONDS
from translations import is_known

from daemon.log_file import LineFile, RotatedLineFile
from daemon.logs import Once, configure_logs, log_trouble, queue_log, reset_logs, server_log

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    reset_logs()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    configure_logs(folder)
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log; each line must be whole JSON."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def events(path: Path) -> list[str]:
    return [line["event"] for line in lines(path)]


class Terminal(io.StringIO):
    """A console that says it is one."""

    def isatty(self) -> bool:
        return True


# --- The two files ---


def test_each_event_is_in_one_file_as_one_line_of_json(logs: Path) -> None:
    server_log().info("ready", workers=2)
    queue_log().warning("put back", task_id="a")
    (server,) = lines(logs / "server.log")
    (queue,) = lines(logs / "queue.log")
    assert list(server) == ["timestamp", "level", "event", "workers"]
    assert (server["level"], server["event"], server["workers"]) == ("INFO", "ready", 2)
    assert (queue["level"], queue["event"], queue["task_id"]) == ("WARNING", "put back", "a")


def test_the_time_is_local_with_its_offset(logs: Path) -> None:
    from datetime import datetime

    server_log().info("ready")
    moment = datetime.fromisoformat(lines(logs / "server.log")[0]["timestamp"])
    assert moment.utcoffset() == datetime.now().astimezone().utcoffset()
    assert abs((datetime.now().astimezone() - moment).total_seconds()) < 60


def test_an_exception_is_one_field_and_grep_finds_its_level(logs: Path) -> None:
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        server_log().exception("a job failed", job="rescan")
    text = (logs / "server.log").read_text()
    assert text.count("\n") == 1
    assert "ERROR" in text
    (line,) = lines(logs / "server.log")
    assert "Traceback" in line["exception"]
    assert line["exception"].endswith("RuntimeError: two\nlines")


@pytest.mark.parametrize(
    "value",
    [
        "caf\udce9.mov",
        "two\nlines\r\x1b[2J\x85\u2028\u202e.mov",
        Path("a/b"),
        float("nan"),
        {"a": {1, 2}},
        {(1, 2): "no key of JSON"},
        b"\xff",
        "x" * 100_000,
    ],
    ids=repr,
)
def test_no_value_breaks_the_line(logs: Path, value: object) -> None:
    queue_log().info("accepted", video=value)
    raw = (logs / "queue.log").read_bytes()
    assert raw.count(b"\n") == 1
    assert raw.decode("utf-8").splitlines() == [raw.decode("utf-8")[:-1]]
    (line,) = lines(logs / "queue.log")
    if isinstance(value, str):
        assert line["video"] == value


def test_a_fact_cannot_take_the_place_of_time_or_level(logs: Path) -> None:
    server_log().info("ready", level="loud", timestamp="never")
    (line,) = lines(logs / "server.log")
    assert line["level"] == "INFO"
    assert line["timestamp"] != "never"


def test_a_value_that_cannot_be_shown_is_told_on_standard_error(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    server_log().info("first", value=Broken())
    server_log().info("second")
    assert "cannot be made" in capsys.readouterr().err
    assert events(logs / "server.log") == [
        "1 log lines before this one could not be written",
        "second",
    ]


def test_what_libraries_and_python_warn_of_goes_to_server_log(logs: Path) -> None:
    logging.getLogger("watchdog").warning("no %s left", "watches")
    logging.getLogger("apscheduler.executors.default").info("nobody wants to know")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old\n", stacklevel=1)
    first, second = lines(logs / "server.log")
    assert (first["event"], first["logger"]) == ("no watches left", "watchdog")
    assert second["logger"] == "py.warnings"
    assert lines(logs / "queue.log") == []


def test_the_level_is_that_of_our_own_events(tmp_path: Path) -> None:
    configure_logs(tmp_path, logging.DEBUG)
    server_log().debug("looked through")
    queue_log().debug("asked")
    logging.getLogger("watchdog").debug("event")
    assert events(tmp_path / "server.log") == ["looked through"]
    assert events(tmp_path / "queue.log") == ["asked"]
    configure_logs(tmp_path)
    server_log().debug("not wanted")
    assert events(tmp_path / "server.log") == ["looked through"]


# --- The console ---


def test_the_console_is_for_people(tmp_path: Path) -> None:
    console = io.StringIO()
    configure_logs(tmp_path, console=console)
    queue_log().info("accepted", task_id="a", video="my holiday\n.mov", user_id=None)
    line = console.getvalue()
    assert line[2] == line[5] == ":"
    assert line[8:] == ' INFO accepted task_id=a video="my holiday\\n.mov" user_id=None\n'


def test_the_console_says_what_was_raised_but_not_from_where(tmp_path: Path) -> None:
    console = io.StringIO()
    configure_logs(tmp_path, console=console)
    try:
        raise KeyError("x")
    except KeyError:
        server_log().exception("a job failed")
    assert console.getvalue().count("\n") == 1
    assert "KeyError" in console.getvalue()
    assert "Traceback" not in console.getvalue()


@pytest.mark.parametrize(("no_color", "is_coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_that_want_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_color: str, is_coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    console = Terminal()
    configure_logs(tmp_path, console=console)
    server_log().error("bad")
    assert ("\x1b[" in console.getvalue()) is is_coloured
    plain = io.StringIO()
    configure_logs(tmp_path, console=plain)
    server_log().error("bad")
    assert "\x1b[" not in plain.getvalue()


def test_a_console_that_knows_few_characters_or_is_gone_does_no_harm(tmp_path: Path) -> None:
    raw = io.BytesIO()
    console = io.TextIOWrapper(raw, encoding="ascii")
    configure_logs(tmp_path, console=console)
    server_log().info("файл")
    assert b"\\u0444" in raw.getvalue()
    console.close()
    server_log().info("again")
    assert events(tmp_path / "server.log") == ["файл", "again"]


# --- Before and without a configuration ---


def test_without_a_configuration_only_what_is_wrong_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server_log().info("ready")
    server_log().warning("an inbox is not there", of="main")
    assert capsys.readouterr().err.endswith(" WARNING an inbox is not there of=main\n")


def test_importing_the_logs_imports_no_structlog() -> None:
    probe = "import daemon.logs, sys; print('structlog' in sys.modules, 'asyncio' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["False", "False"]


# --- Files in trouble ---


def test_a_folder_that_vanished_is_made_again(logs: Path) -> None:
    server_log().info("first")
    (logs / "server.log").unlink()
    logs.rmdir()
    server_log().info("second")
    assert events(logs / "server.log") == ["second"]


def test_a_file_that_cannot_be_written_is_told_once_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("in the way")
    configure_logs(tmp_path / "logs")
    for _ in range(5):
        server_log().info("lost")
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "logs").unlink()
    server_log().info("back")
    assert events(tmp_path / "logs" / "server.log") == [
        "5 log lines before this one could not be written",
        "back",
    ]


def test_only_the_services_group_may_read_what_people_call_their_videos(tmp_path: Path) -> None:
    configure_logs(tmp_path)
    queue_log().info("accepted", video="holiday with Anna.mov")
    assert (tmp_path / "queue.log").stat().st_mode & 0o007 == 0


def test_a_full_disk_leaves_no_torn_line_but_the_last(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return write(descriptor, data[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    server_log().info("before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        server_log().info("x" * 5)
    server_log().info("after")
    before, torn, lost, after = (logs / "server.log").read_text().splitlines()
    assert len(torn) <= 120
    assert "could not be written" in json.loads(lost)["event"]
    assert json.loads(after)["event"] == "after"
    assert capsys.readouterr().err.count("\n") == 1


def test_a_line_that_another_process_left_torn_spoils_no_other(tmp_path: Path) -> None:
    handler = LineFile(tmp_path / "a.log")
    handler.handle(record("before"))
    with (tmp_path / "a.log").open("a") as file:
        file.write("torn")
    handler.handle(record("after"))
    assert (tmp_path / "a.log").read_text() == "before\ntorn\nafter\n"


def test_a_really_full_disk_does_not_raise(capsys: pytest.CaptureFixture[str]) -> None:
    handler = LineFile(Path("/dev/full"))
    for _ in range(3):
        handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "lost", None, None))
    assert capsys.readouterr().err.count("No space left") == 1


def test_lines_that_are_lost_are_a_trouble_until_the_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether anything is logged meanwhile or not."""

    def full(*words: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    configure_logs(tmp_path)
    assert log_trouble() is None
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        queue_log().error("failed")
        for _ in range(2):
            said = log_trouble()
            assert said is not None
            assert str(tmp_path / "queue.log") in said
            assert is_known(f"logs: {said}")  # in Russian too
    assert log_trouble() is None
    assert "1 log lines before this one" in (tmp_path / "queue.log").read_text()
    reset_logs()


# --- Rotation ---


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, text, None, None)


def test_a_file_is_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    handler = RotatedLineFile(tmp_path / "a.log", most_bytes=10, kept=2)
    for number in range(8):
        handler.handle(record(f"line{number}"))  # two do not fit
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    assert [(tmp_path / n).read_text() for n in ("a.log.2", "a.log.1", "a.log")] == [
        "line5\n",
        "line6\n",
        "line7\n",
    ]


def test_another_process_follows_a_rotation(tmp_path: Path) -> None:
    rotating = RotatedLineFile(tmp_path / "a.log", most_bytes=20, kept=1)
    following = LineFile(tmp_path / "a.log")
    following.handle(record("following 1"))
    rotating.handle(record("rotating 1"))
    following.handle(record("following 2"))
    assert (tmp_path / "a.log.1").read_text() == "following 1\n"
    assert (tmp_path / "a.log").read_text() == "rotating 1\nfollowing 2\n"


def test_a_file_that_cannot_be_rotated_goes_on_growing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.log.1").mkdir()
    handler = RotatedLineFile(tmp_path / "a.log", most_bytes=10, kept=1)
    for number in range(4):
        handler.handle(record(f"line{number}"))
    assert (tmp_path / "a.log").read_text().count("\n") == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_a_line_that_another_process_is_just_writing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.log"
    path.write_text("half")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            with path.open("a") as file:
                file.write(" and half\n")

    monkeypatch.setattr("daemon.log_file.time.sleep", pause)
    LineFile(path).handle(logging.LogRecord("x", 20, "", 0, "mine", None, None))
    assert path.read_text() == "half and half\nmine\n"


def test_lines_of_two_processes_never_mix(tmp_path: Path) -> None:
    code = (
        "import logging, sys; from pathlib import Path; from daemon.log_file import LineFile\n"
        "handler = LineFile(Path(sys.argv[1]))\n"
        "for _ in range(300):\n"
        "    handler.handle(logging.LogRecord('x', 20, '', 0, sys.argv[2] * 9000, None, None))\n"
    )
    path = tmp_path / "a.log"
    made = [
        subprocess.Popen([sys.executable, "-c", code, str(path), letter], cwd=ROOT)
        for letter in "ab"
    ]
    assert [process.wait(PATIENCE_SECONDS) for process in made] == [0, 0]
    # An empty one comes where a process was kept from the CPU amid its write, which the other took
    # for cut short.
    lines = filter(None, path.read_text().splitlines())
    assert sorted(lines) == ["a" * 9000] * 300 + ["b" * 9000] * 300


# --- Once ---


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_lasting_trouble_is_told_when_it_begins_changes_and_ends(logs: Path) -> None:
    clock = Seconds()
    once = Once(server_log(), clock=clock)
    once.tell("an inbox is not there", False, of="main")
    for reason in ("gone", "gone", "gone", "slow", "slow"):
        once.tell("an inbox is not there", True, of="main", reason=reason)
        clock.now += 70
    once.tell("an inbox is not there", False, of="main")
    told = [
        (line["event"], line.get("reason"), line.get("times"))
        for line in lines(logs / "server.log")
    ]
    assert told == [
        ("an inbox is not there", "gone", None),
        ("an inbox is not there", "slow", 4),
        ("an inbox is not there: over", None, 5),
    ]
    assert lines(logs / "server.log")[-1]["seconds"] == 350


def test_troubles_of_two_things_are_two_troubles(logs: Path) -> None:
    once = Once(server_log())
    once.tell("full", True, of="temp")
    once.tell("full", True, of="state")
    once.tell("full", False, of="temp")
    assert [(x["event"], x["of"]) for x in lines(logs / "server.log")] == [
        ("full", "temp"),
        ("full", "state"),
        ("full: over", "temp"),
    ]


def test_a_trouble_that_changes_or_comes_and_goes_all_the_time_is_told_now_and_then(
    logs: Path,
) -> None:
    clock = Seconds()
    once = Once(server_log(), clock=clock)
    for number in range(60):  # ten minutes
        once.tell("full", True, free=number)
        clock.now += 10
    assert len(lines(logs / "server.log")) <= 11
    for _ in range(60):
        once.tell("flickers", True)
        clock.now += 5
        once.tell("flickers", False)
        clock.now += 5
    assert len([x for x in lines(logs / "server.log") if "flickers" in x["event"]]) <= 22
