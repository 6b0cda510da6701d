"""Names in the outbox, status files, and what is swept."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spools import REASON, REPORT, Clock, record

from daemon import outbox
from daemon.held_folder import held_new_folder
from daemon.outbox import StatusFiles
from daemon.spool import Spool
from daemon.spool_errors import TaskBusy
from daemon.task import Status, Submission, Task
from pipeline.parameters import Parameters


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "state", Clock())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def submitted(spool: Spool, box: Path, name: str = "clip.mov", subfolder: str = "alice") -> Task:
    return spool.submit(
        Submission(
            task_id=spool.new_id(),
            input_video=name,
            original=f"/inbox/{name}",
            outbox=str(box),
            subfolder=subfolder,
            parameters=Parameters(user_id="alice", notes="für Oma"),
        ),
        10,
    )


def status(task: Task) -> dict[str, object]:
    value = json.loads(outbox.status_path(task).read_bytes())
    assert isinstance(value, dict)
    return value


def test_names_hold_the_task_and_the_stem(spool: Spool, box: Path) -> None:
    task = submitted(spool, box, "my holiday.mov", "alice/lake")
    assert outbox.result_name(task, ".mp4") == f"alice/lake/{task.task_id}_my holiday_protected.mp4"
    assert outbox.status_path(task) == box / f"alice/lake/{task.task_id}_my holiday.status.json"


def test_control_characters_become_underscores(spool: Spool, box: Path) -> None:
    task = submitted(spool, box, "a\nb\x1b[2J\x7f\x85.mp4", "")
    assert outbox.result_name(task, ".mp4") == f"{task.task_id}_a_b_[2J___protected.mp4"


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=100))
@example("a" * 151)
@example("a" + "ж" * 75)
@example("a" + "я" * 75)
def test_a_stem_is_cut_to_150_bytes_at_a_character(stem: str) -> None:
    cut = outbox._cut(stem.encode())
    assert stem.startswith(cut)
    assert len(cut.encode()) <= 150
    rest = stem[len(cut) :]
    assert not rest or len((cut + rest[0]).encode()) > 150


def test_a_name_of_255_bytes_fits_with_everything_around_it(spool: Spool, box: Path) -> None:
    task = submitted(spool, box, "ж" * 125 + ".webm", "")
    StatusFiles(spool, "ru", dict).refresh(task.task_id)
    assert status(task)["input_video"] == "ж" * 125 + ".webm"
    assert len(os.fsencode(Path(outbox.result_name(task, ".mp4")).name)) <= 255


def test_a_status_file_is_the_task_as_the_interface_shows_it(spool: Spool, box: Path) -> None:
    task = submitted(spool, box)
    files = StatusFiles(spool, "ru", dict)
    files.refresh(task.task_id, queue_position=3)
    seen = status(task)
    assert seen["status_text"] == "⏳ Ожидает обработки"
    assert (seen["queue_position"], seen["notes"], seen["audio_level"]) == (3, "für Oma", "слабый")
    assert not {"token", "original", "outbox", "webhook_url"} & seen.keys()
    claimed = spool.claim(task.task_id)
    spool.complete(
        task.task_id, claimed.token or "", outbox.result_name(task, ".mp4"), REPORT, lambda: None
    )
    files.refresh(task.task_id)
    seen = status(task)
    assert (seen["status"], seen["progress"], seen["queue_position"]) == ("completed", 100.0, None)
    assert seen["report"] == REPORT
    assert seen["output_video"] == outbox.result_name(task, ".mp4")


def test_status_texts_follow_the_language(spool: Spool, box: Path) -> None:
    task = submitted(spool, box)
    StatusFiles(spool, "en", dict).refresh(task.task_id)
    assert status(task)["status_text"] == "⏳ Waiting"


def test_what_was_known_of_a_task_is_not_what_its_file_says_in_the_end(
    spool: Spool, box: Path
) -> None:
    known = submitted(spool, box)
    spool.cancel(known.task_id)
    StatusFiles(spool, "ru", dict).refresh(known.task_id, 1, known)
    assert status(known)["status"] == "cancelled"


def test_the_status_file_of_a_task_that_somebody_holds_is_not_removed(
    spool: Spool, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = submitted(spool, box)

    def busy(task_id: str) -> Task:
        raise TaskBusy(task_id)

    monkeypatch.setattr(spool, "get", busy)
    StatusFiles(spool, "ru", dict).refresh(task.task_id, 1, task)
    assert status(task)["status"] == "pending"


def test_a_task_whose_record_is_damaged_has_no_news(spool: Spool, state: Path, box: Path) -> None:
    task = submitted(spool, box)
    record(state, task.task_id).write_bytes(b"{")
    assert StatusFiles(spool, "ru", dict).refresh(task.task_id) is None


def test_the_status_file_of_a_task_whose_record_is_set_aside_meanwhile_stays(
    spool: Spool, state: Path, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there to be mended; retention keeps the file, too."""
    task = submitted(spool, box)
    real = outbox.write_volatile

    def late(path: Path, data: bytes) -> None:
        record(state, task.task_id).write_bytes(b"{")
        real(path, data)

    monkeypatch.setattr(outbox, "write_volatile", late)
    assert StatusFiles(spool, "ru", dict).refresh(task.task_id) is None
    assert status(task)["status"] == "pending"


def test_a_task_that_was_called_off_by_hand_says_when(spool: Spool, state: Path, box: Path) -> None:
    """A `mv` writes nothing; who tells of the end writes when it came, into the record too."""
    task = submitted(spool, box)
    moved = record(state, task.task_id)
    moved.rename(state / "cancelled" / moved.name)
    StatusFiles(spool, "ru", dict).refresh(task.task_id)
    assert status(task)["status"] == "cancelled"
    assert datetime.fromisoformat(status(task)["completed_at"]) == spool.now()
    assert spool.get(task.task_id).completed_at == spool.now()


def test_undecodable_names_have_a_status_file_too(spool: Spool, box: Path) -> None:
    task = submitted(spool, box, os.fsdecode(b"caf\xe9.mov"))
    StatusFiles(spool, "ru", dict).refresh(task.task_id)
    assert outbox.status_path(task).is_file()
    assert status(task)["input_video"] == os.fsdecode(b"caf\xe9.mov")


def test_who_writes_a_change_late_writes_the_change(
    spool: Spool, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is cancelled between the look and the write; the file tells of it in the end."""
    task = submitted(spool, box)
    files = StatusFiles(spool, "ru", dict)
    real = outbox.write_volatile

    def late(path: Path, data: bytes) -> None:
        if spool.get(task.task_id).status is Status.PENDING:
            spool.cancel(task.task_id)
            StatusFiles(spool, "ru", dict).refresh(task.task_id)
        real(path, data)

    monkeypatch.setattr(outbox, "write_volatile", late)
    files.refresh(task.task_id)
    assert status(task)["status"] == "cancelled"


def test_the_status_of_a_task_that_is_removed_meanwhile_does_not_come_back(
    spool: Spool, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = submitted(spool, box)
    claimed = spool.claim(task.task_id)
    spool.fail(task.task_id, claimed.token or "", REASON)
    real = outbox.write_atomically

    def late(path: Path, data: bytes) -> None:
        spool.remove(task.task_id, lambda gone: None)
        real(path, data)

    monkeypatch.setattr(outbox, "write_atomically", late)
    assert StatusFiles(spool, "ru", dict).refresh(task.task_id) is None
    assert not outbox.status_path(task).exists()


def test_an_error_of_a_status_file_names_the_real_path(spool: Spool, box: Path) -> None:
    task = submitted(spool, box)
    outbox.status_path(task).mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        StatusFiles(spool, "ru", dict).refresh(task.task_id)
    assert caught.value.filename2 == str(outbox.status_path(task))


def test_no_link_leads_out_of_the_outbox(spool: Spool, box: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    box.mkdir()
    (box / "alice").symlink_to(elsewhere)
    task = submitted(spool, box)
    with pytest.raises(OSError, match="is a link or no folder"):
        StatusFiles(spool, "ru", dict).refresh(task.task_id)
    assert os.listdir(elsewhere) == []


def test_no_status_file_is_written_where_a_share_was_mounted(spool: Spool, box: Path) -> None:
    """Behind the share nobody would see it, and the share's own would never be written anew."""
    box.mkdir()
    task = submitted(spool, box)
    mounts = {str(box): str(box)}
    files = StatusFiles(spool, "ru", lambda: mounts)
    with pytest.raises(OSError, match="nothing is mounted on"):
        files.refresh(task.task_id)
    assert os.listdir(box) == []
    mounts.clear()
    files.refresh(task.task_id)
    assert outbox.status_path(task).exists()


@pytest.fixture
def swapped(spool: Spool, box: Path, tmp_path: Path) -> Path:
    """A folder that has taken the place of `alice` in the outbox, by a link."""
    outbox.make_results_folder(submitted(spool, box))
    (box / "alice").rename(box / "old")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (box / "alice").symlink_to(elsewhere)
    return elsewhere


def test_no_result_is_published_through_a_link(
    spool: Spool, box: Path, tmp_path: Path, swapped: Path
) -> None:
    """Strangers have put it there while the video was worked on."""
    task = submitted(spool, box)
    (tmp_path / "staged").write_bytes(b"new")
    with pytest.raises(NotADirectoryError, match="is a link or no folder") as caught:
        outbox.publish(task, tmp_path / "staged", "alice/result.mp4")
    assert caught.value.filename == str(box / "alice")
    assert os.listdir(swapped) == []
    assert (tmp_path / "staged").exists()


def test_neither_results_nor_status_files_are_looked_for_through_a_link(
    spool: Spool, box: Path, swapped: Path
) -> None:
    task = submitted(spool, box)
    name = outbox.result_name(task, ".mp4")
    claimed = spool.claim(task.task_id)
    done = spool.complete(task.task_id, claimed.token or "", name, REPORT, lambda: None)
    for path in (outbox.result_path(done), outbox.status_path(done)):
        assert path is not None
        path.write_bytes(b"precious")
    assert not outbox.has_result(done)
    with pytest.raises(NotADirectoryError):
        outbox.remove_status(done)
    assert len(os.listdir(swapped)) == 2
    (box / "alice").unlink()
    swapped.rename(box / "alice")
    assert outbox.has_result(done)
    assert outbox.remove_status(done) == len(b"precious")
    assert outbox.remove_status(done) == 0


def test_a_link_is_no_result(spool: Spool, box: Path, tmp_path: Path) -> None:
    task = submitted(spool, box)
    name = outbox.result_name(task, ".mp4")
    claimed = spool.claim(task.task_id)
    done = spool.complete(task.task_id, claimed.token or "", name, REPORT, lambda: None)
    outbox.make_results_folder(done)
    assert not outbox.has_result(done)
    (tmp_path / "elsewhere").write_bytes(b"x")
    (box / name).symlink_to(tmp_path / "elsewhere")
    assert not outbox.has_result(done)


def test_what_a_record_names_outside_its_outbox_is_no_result(
    spool: Spool, box: Path, tmp_path: Path
) -> None:
    task = spool.claim(submitted(spool, box).task_id)
    box.mkdir()
    (tmp_path / "elsewhere.mp4").write_bytes(b"x")
    done = spool.complete(task.task_id, task.token or "", "../elsewhere.mp4", REPORT, lambda: None)
    assert not outbox.has_result(done)


def test_a_result_that_was_copied_beside_its_place_is_published(spool: Spool, box: Path) -> None:
    task = submitted(spool, box)
    staged = outbox.make_results_folder(task) / ".x.part"
    staged.write_bytes(b"new")
    outbox.publish(task, staged, "alice/result.mp4")
    assert os.listdir(box / "alice") == ["result.mp4"]


def test_an_error_of_publishing_names_the_real_path(spool: Spool, box: Path) -> None:
    task = submitted(spool, box)
    outbox.make_results_folder(task)
    with pytest.raises(FileNotFoundError) as caught:
        outbox.publish(task, box / "none", "alice/result.mp4")
    assert caught.value.filename2 == str(box / "alice/result.mp4")


def test_a_result_never_replaces_anything(spool: Spool, box: Path, tmp_path: Path) -> None:
    task = submitted(spool, box)
    target = outbox.make_results_folder(task) / "result.mp4"
    target.write_bytes(b"old")
    (tmp_path / "staged").write_bytes(b"new")
    with pytest.raises(FileExistsError):
        outbox.publish(task, tmp_path / "staged", "alice/result.mp4")
    assert (target.read_bytes(), (tmp_path / "staged").read_bytes()) == (b"old", b"new")


def test_a_result_whose_folder_cannot_be_flushed_is_published(
    spool: Spool, box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = submitted(spool, box)
    outbox.make_results_folder(task)
    (tmp_path / "staged").write_bytes(b"new")

    def refused(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refused)
    outbox.publish(task, tmp_path / "staged", "alice/result.mp4")
    assert (box / "alice/result.mp4").read_bytes() == b"new"


def test_only_our_left_overs_are_swept(spool: Spool, box: Path) -> None:
    running, dead = submitted(spool, box), submitted(spool, box)
    folder = outbox.make_results_folder(running)
    tokens = {running.task_id: "a" * 32, dead.task_id: "b" * 32}
    parts = {t: folder / outbox.staging_name(t, token) for t, token in tokens.items()}
    stale = folder / f".{dead.task_id}_clip.status.json.0123abcd.tmp"
    fresh = folder / f".{running.task_id}_clip.status.json.0123abcd.tmp"
    others = [folder / ".hidden.part", folder / "x.tmp", folder / ".x.status.json.0123abcd.tmp"]
    for path in (*parts.values(), stale, fresh, *others):
        path.write_bytes(b"")
    os.utime(stale, (0, 0))
    for path in others:
        os.utime(path, (0, 0))
    outbox.sweep(box, lambda task_id, token: task_id == running.task_id, fresh.stat().st_mtime)
    assert set(folder.iterdir()) == {parts[running.task_id], fresh, *others}


def test_nothing_is_swept_through_a_link(spool: Spool, box: Path, swapped: Path) -> None:
    task = submitted(spool, box)
    left = swapped / outbox.staging_name(task.task_id, "a" * 32)
    left.touch()
    outbox.sweep(box, lambda task_id, token: False, 0)
    assert left.exists()


def test_folders_are_swept_as_deep_as_people_go(
    spool: Spool, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    name = outbox.staging_name(submitted(spool, box).task_id, "a" * 32)
    box.mkdir()
    (box / Path(*["d"] * 50)).mkdir(parents=True)
    (box / Path(*["d"] * 50) / name).touch()
    names = ["d"] * 1100  # more than there may be calls within calls, or files that are open
    with held_new_folder(box, *names) as folder:
        (folder / name).touch()
        outbox.sweep(box, lambda task_id, token: False, 0)
        assert os.listdir(folder) == [name]
    assert os.listdir(box / Path(*["d"] * 50)) == ["d"]
    subprocess.run(["rm", "-r", box], check=True)  # which pytest could not


def test_an_outbox_that_is_away_has_nothing_to_sweep(box: Path) -> None:
    outbox.sweep(box, lambda task_id, token: False, 0)
