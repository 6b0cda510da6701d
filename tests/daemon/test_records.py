"""Tasks as bytes: what goes in comes out, and what is no record is told."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.records import (
    MAX_BYTES,
    Unreadable,
    decode,
    encode,
    encode_progress,
    read_progress,
    read_record,
)
from daemon.task import Progress, Status, Task
from pipeline.parameters import AudioLevel, Mode, Parameters

NAME = "019ab2c4-1111-7000-8000-000000000000"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SMALLEST = {
    "task_id": NAME,
    "created_at": NOON.isoformat(),
    "input_video": "a.mp4",
    "original": "/in/a.mp4",
    "outbox": "/out",
}


def decoded(values: object) -> Task:
    return decode(json.dumps(values).encode(), NAME, Status.PENDING)


DATES = {"min_value": datetime(1900, 1, 1), "max_value": datetime(9800, 12, 31)}
TIMES = st.none() | st.datetimes(timezones=st.just(timezone(timedelta(hours=3))), **DATES)
# Any text, lone surrogates too: they stand for undecodable bytes of a file's name.
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
PATHS = TEXT.map(lambda text: text.replace("\0", ""))
PLACES = PATHS.map(lambda path: path.lstrip("/")).filter(lambda path: ".." not in path.split("/"))
TASKS = st.builds(
    Task,
    task_id=st.just(NAME),
    status=st.sampled_from(Status),
    created_at=st.datetimes(timezones=st.just(UTC), **DATES),
    input_video=TEXT,
    original=PATHS,
    outbox=PATHS,
    sidecar=st.none() | PATHS,
    inbox=st.none() | PATHS,
    subfolder=PLACES,
    output_video=st.none() | PLACES,
    parameters=st.builds(
        Parameters,
        epsilon=st.floats(0.04, 0.2),
        audio_level=st.sampled_from(AudioLevel),
        mode=st.sampled_from(Mode),
        notes=st.none() | st.text(max_size=20),
        user_id=st.none() | st.just("alice"),
    ),
    attempts=st.integers(0, 9),
    token=st.none() | TEXT,
    started_at=TIMES,
    completed_at=TIMES,
    report=st.none() | st.dictionaries(TEXT, st.none() | st.integers() | TEXT, max_size=3),
    error_message=st.none() | TEXT,
    progress=st.floats(0, 100),
    total_frames=st.none() | st.integers(0, 1 << 40),
    unknown=st.dictionaries(st.just("colour"), TEXT),
)


@given(TASKS)
def test_a_task_comes_back_as_it_was(task: Task) -> None:
    assert decode(encode(task), NAME, task.status) == task


def test_no_field_says_the_status() -> None:
    task = decoded(SMALLEST)
    written = json.loads(encode(dataclasses.replace(task, status=Status.COMPLETED)))
    assert "status" not in written
    assert "completed" not in written.values()


def test_a_record_is_text_that_people_can_read() -> None:
    task = dataclasses.replace(decoded(SMALLEST), input_video="отпуск.mov")
    text = encode(task).decode("utf-8")
    assert '"input_video": "отпуск.mov"' in text
    assert text.count("\n") > 20


def test_fields_of_a_newer_version_are_kept() -> None:
    task = decoded(SMALLEST | {"colour": {"of": ["the", "sky"]}})
    assert json.loads(encode(task))["colour"] == {"of": ["the", "sky"]}


def test_fields_that_an_older_version_did_not_write_have_their_defaults() -> None:
    task = decoded(SMALLEST)
    assert (task.attempts, task.parameters, task.report) == (0, Parameters(), None)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_record_without_what_it_cannot_do_without_is_told(name: str) -> None:
    values = {k: v for k, v in SMALLEST.items() if k != name}
    with pytest.raises(Unreadable, match=name if name != "task_id" else "None"):
        decoded(values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_id", "019ab2c4-2222-7000-8000-000000000000"),
        ("created_at", "yesterday"),
        ("created_at", "2026-11-24T12:00:00"),  # no offset
        ("created_at", 5),
        ("created_at", "0001-01-01T00:00:00+14:00"),  # in UTC there was no such year
        ("completed_at", "9999-12-31T23:59:59+00:00"),  # nor comes a day after that
        ("attempts", "1"),
        ("attempts", -1),
        ("attempts", True),
        ("attempts", 1.5),
        ("progress", "half"),
        ("progress", 10**400),
        ("progress", 101),
        ("input_video", None),
        ("token", 7),
        ("original", "/in/a\0b.mp4"),
        ("outbox", "/out\0"),
        ("output_video", "../a.mp4"),
        ("output_video", "alice/../../a.mp4"),
        ("output_video", "/etc/passwd"),
        ("subfolder", ".."),
        ("subfolder", "/home"),
        ("report", [1]),
        ("epsilon", 5),
        ("audio_level", "loud"),
    ],
)
def test_a_wrong_value_is_told_by_its_name(name: str, value: Any) -> None:
    expected = "names" if name == "task_id" else name
    with pytest.raises(Unreadable, match=expected):
        decoded(SMALLEST | {name: value})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\x00" * 4096,
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"a": NaN}',
        encode(decoded(SMALLEST | {"report": {"psnr": 1.5}})).replace(b"1.5", b"1e999"),
        b"9" * 10_000,
        encode(decoded(SMALLEST))[:-20],
    ],
)
def test_what_is_no_record_is_told(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(data, NAME, Status.PENDING)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(data, NAME, Status.PENDING)


def test_a_record_that_could_not_be_read_again_is_not_written() -> None:
    task = dataclasses.replace(decoded(SMALLEST), report={"notes": "x" * MAX_BYTES})
    with pytest.raises(ValueError, match="bytes"):
        encode(task)


def _huge(path: Path) -> None:
    path.write_bytes(b" " * (MAX_BYTES + 1))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))


@pytest.mark.parametrize(
    "make",
    [
        _huge,
        _socket,
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to("/etc/hostname"),
        lambda path: path.symlink_to(path),
    ],
    ids=["huge", "socket", "fifo", "folder", "link", "loop"],
)
def test_what_is_no_file_is_told_and_stops_nobody(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "r")
    with pytest.raises(Unreadable):
        read_record(tmp_path / "r", NAME, Status.PENDING)


def test_a_missing_record_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "r", NAME, Status.PENDING)


def test_progress_comes_back_as_it_was(tmp_path: Path) -> None:
    progress = Progress("t", 12.5, 30, None)
    (tmp_path / "p").write_bytes(encode_progress(progress))
    assert read_progress(tmp_path / "p") == progress


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"token": "t", "percent": "x"}'])
def test_progress_that_a_crash_spoilt_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p").write_bytes(data)
    assert read_progress(tmp_path / "p") is None
    assert read_progress(tmp_path / "missing") is None
