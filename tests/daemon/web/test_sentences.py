"""What the service says in English is known in Russian, whoever says it and wherever."""

from __future__ import annotations

import ast
import errno
import os
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from spools import Clock, submission
from translations import is_known

from daemon.asked_process import NoAnswer
from daemon.disk import DiskWatch
from daemon.health import Health, ServiceStatus, Workers, problems_now, records_to_mend
from daemon.heartbeat import Heartbeat
from daemon.held_folder import held_own_folder
from daemon.inbox_place import InboxUnavailable, find_place
from daemon.jobs import Bounds
from daemon.pool import Pool
from daemon.probe_process import _answer
from daemon.prober import Prober, Refusal
from daemon.restarts import Restarts
from daemon.retention import cleanup
from daemon.spool import Spool
from daemon.watch import _MEANINGS
from daemon.web.sentences import (
    PARTS,
    SENTENCES,
    translated,
    translated_part,
)
from pipeline.settings import Limits

ROOT = Path(__file__).parents[3]
# How sentences about a file begin in code, and a fact of one that is chosen elsewhere in it.
SUBJECTS = ("{path.name} ", "{info.path.name} ")
WHATS = ("has sound but no moving picture", "holds no video we can decode")
# English that is the same in Russian: names of settings, files and formats.
NAMES = re.compile(
    r"\{\w+\}|media-cleaner serve|logs/server\.log|limits\.\w+|min_free_gb|fs\.inotify\.\w+"
    r"|Content-Disposition|Content-Length|Content-Transfer-Encoding|boundary"
    r"|UTF-8|MP4|HDR10|SDR|Dolby Vision|inode|inbox"
    r"|outbox|temp|state|webhook|base64|`openssl rand -base64 32`"
)
SECONDS = 37
REFUSALS = (PermissionError, NotADirectoryError, FileNotFoundError)


def facts(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("english", [*SENTENCES, *PARTS])
def test_a_sentence_is_in_russian_and_has_the_same_facts(english: str) -> None:
    russian = {**SENTENCES, **PARTS}[english]
    assert facts(russian) == facts(english) - {"number"}  # of an error, which its words tell
    assert re.search("[а-я]", russian) or english == "[Errno {number}] {reason}: {path}"
    assert not re.search("[A-Za-z]", NAMES.sub("", russian))


@pytest.mark.parametrize("english", SENTENCES)
def test_a_sentence_is_found_by_its_own_words(english: str) -> None:
    said = english.format_map({name: f"<{name}>" for name in facts(english)})
    expected = SENTENCES[english].format_map({name: f"<{name}>" for name in facts(english)})
    assert translated(said, "ru") == expected
    assert translated(said, "en") == said


def test_a_part_stands_before_what_is_wrong_with_it() -> None:
    said = "inbox main: /srv/in: No such file or directory"
    assert translated(said, "ru") == "папка inbox main: /srv/in: нет такого файла или папки"
    assert translated_part("status files", "ru") == "файлы статусов"
    assert translated_part("status files", "en") == "status files"
    assert translated_part("odd", "ru") == "odd"


def test_a_fact_that_is_a_sentence_is_translated_too() -> None:
    said = "temp: /srv/temp cannot be used (Stale file handle); bring it back."
    assert "папка на сервере больше не та" in translated(said, "ru")
    said = "status files: 2 cannot be written: /srv/out/anna: Permission denied"
    assert translated(said, "ru") == ("файлы статусов: не записать 2: /srv/out/anna: нет прав")


def test_what_nobody_knows_is_shown_and_said_to_be_english() -> None:
    for said in ("Odd.", "temp: Odd.", "/srv/in: Odd."):
        assert translated(said, "ru").endswith("Odd.")
        assert not is_known(said)


# --- What is really said ---


def test_what_is_said_of_a_folder_that_is_not_ours_is_known(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("open", "link", "gone"):
        with pytest.raises(REFUSALS) as refusal, held_own_folder(tmp_path, name):
            pass
        said = f"inbox main: what was claimed there cannot be recovered: {refusal.value}"
        assert is_known(said)
        why = re.sub("`.*?`", "", translated(said, "ru")).split(":")[2]
        assert not re.search("[A-Za-z]", why)


def test_what_health_says_is_known(tmp_path: Path) -> None:
    now = Clock().now
    told = Health(1, now, now, ServiceStatus.RUNNING, Workers(1, 1, 1))
    later, damaged = now + timedelta(seconds=SECONDS), [tmp_path / "a.json", tmp_path / "b.json"]
    said = [
        *problems_now(told, now, True),
        *records_to_mend(damaged),
        *records_to_mend(damaged[:1]),
        *problems_now(told, later, True),
        *problems_now(told, later, False),
        *problems_now(None, now, True),
    ]
    assert len(said) == 5
    assert [sentence for sentence in said if not is_known(sentence)] == []


def test_what_is_said_of_disks_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, there = tmp_path / "gone", tmp_path / "there"
    there.mkdir()
    said = [
        *DiskWatch({"temp": gone}, 0.0).check(),
        *DiskWatch({"outbox of a": there}, 1e9).check(),
        *DiskWatch({"state": there}, 0.0, known_mounts={str(there): str(there)}).check(),
    ]
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *words: False)
        said += DiskWatch({"outbox": there}, 0.0).check()
    assert len(said) == 4
    assert [sentence for sentence in said if not is_known(sentence)] == []


def test_what_is_said_of_inboxes_is_known(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = ["it has not been looked at yet", "/srv has not answered for 70 s", *_MEANINGS.values()]
    for root, mount in (("gone", None), ("file", None), (".", str(tmp_path))):
        with pytest.raises(InboxUnavailable) as refusal:
            find_place(tmp_path / root, mount)
        said.append(refusal.value.reason)
    assert [sentence for sentence in said if not is_known(f"inbox main: {sentence}")] == []


def test_what_is_said_of_processes_is_known() -> None:
    reasons = (
        "ended with exit code 1",
        "was killed by signal 9 (SIGKILL), before it was ready",
        f"cannot be started: {os.strerror(errno.EAGAIN)}",
    )
    for name in ("a worker process", "the process that answers requests"):
        for reason in reasons:
            restarts = Restarts(name)
            restarts.failed(reason, 0.0)
            assert restarts.trouble is not None
            assert is_known(f"workers: {restarts.trouble}"), restarts.trouble
            assert not re.search("process|signal|ended", translated(restarts.trouble, "ru"))


@pytest.mark.parametrize("was_ready", [True, False])
def test_what_the_pool_says_of_a_worker_that_is_lost_without_a_task_is_known(
    was_ready: bool,
) -> None:
    pool = Pool(1, Bounds(8.0), stall_s=120.0)
    still = Heartbeat(os.getpid(), 0.0)
    still.quiet_seconds = 120.0
    stopped = Heartbeat(os.getpid(), 0.0)
    stopped.stopped_seconds = 120.0
    reasons = [
        "was killed by signal 9 (SIGKILL)",
        "ended with exit code 1",
        "closed its pipe",
        f"sent what cannot be read ({ValueError('odd')!r})",
        pool._stall(still),
        pool._stall(stopped),
    ]
    for reason in reasons:
        assert reason is not None
        worker: Any = SimpleNamespace(job=None, was_ready=was_ready)
        pool._workers.append(worker)
        pool._end_lost(worker, "worker_died", reason)
        russian = translated(f"workers: {pool.trouble}", "ru").replace("ValueError('odd')", "")
        assert not re.search("[a-z]", russian), russian
    pool.close()


def test_what_a_cleanup_says_is_known(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "state")
    for outbox in ("gone", "file"):
        (tmp_path / "file").touch()
        asked = replace(submission(spool), outbox=str(tmp_path / outbox))
        spool.cancel(spool.submit(asked, 10).task_id)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    asked = replace(submission(spool), outbox=str(mounted))
    spool.cancel(spool.submit(asked, 10).task_id)
    said = cleanup(spool, 0, spool.now(), {str(mounted): str(mounted)}).problems
    assert len(said) == 3
    assert [sentence for sentence in said if not is_known(sentence)] == []


def test_whatever_is_said_of_an_uploaded_file_is_known(tmp_path: Path) -> None:
    read = list(refusals(ROOT / "pipeline/probe.py"))
    assert len(read) > 10
    read += refusals(ROOT / "pipeline/still.py")
    with (tmp_path / "x").open("wb") as file:
        answers = [_answer(file.fileno(), failing(e)) for e in (MemoryError(), RuntimeError())]
    probed = [answer.decode().partition("\0")[2] for answer in answers]
    said = [*read, *probed, *hung()]
    assert [sentence for sentence in said if not is_known(sentence)] == []


def refusals(path: Path) -> Iterator[str]:
    """Yield what a module says of a file, without its name and with something for each fact."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr) and ast.unparse(node)[2:].startswith(SUBJECTS):
            _, *rest = node.values
            whats = [ast.unparse(part) for part in rest if isinstance(part, ast.FormattedValue)]
            for what in WHATS if "{what}" in ast.unparse(node) else whats[:1] or [""]:
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else what for part in rest
                ).strip()


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*words: object) -> Any:
        raise error

    return fail


def hung() -> Iterator[str]:
    prober = Prober(Limits())
    prober._process.ask = failing(NoAnswer("hung"))  # type: ignore[method-assign]
    for refusal in (prober.refusal(0), prober.still(0, Fraction(0))):
        assert isinstance(refusal, Refusal)
        yield refusal.reason
