"""A disk or a share that fails while an original is read: a real read(2) that answers so."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av.error
import pytest
from media import Audio, Video, make_video

from pipeline.errors import InputFailed, OutputFailed, UnreadableMedia
from pipeline.parameters import Mode, Parameters
from pipeline.protect import protect
from pipeline.settings import Settings
from pipeline.storage import refuse_what_storage_lost, storage_failure_told

ROOT = Path(__file__).parents[2]
# Stands before the C library's: read(2) of one file, from one place on, so many times (for ever, if
# below zero), ends with an error.
_FAILING_READ = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char failing[4096];
static long place, times, number;

void fail(const char *path, long at, long so_often, long how) {
    strncpy(failing, path, sizeof failing - 1);
    place = at, times = so_often, number = how;
}

ssize_t read(int file, void *to, size_t size) {
    static ssize_t (*whole)(int, void *, size_t);
    char link[64], path[4096];
    if (!whole) whole = dlsym(RTLD_NEXT, "read");
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    if (times && *path && !strcmp(path, failing)) {
        off_t at = lseek(file, 0, SEEK_CUR);
        if (at >= place) {
            if (times > 0) times--;
            errno = number;
            return -1;
        }
        if (at + (off_t)size > place) size = place - at;
    }
    return whole(file, to, size);
}
"""
# Protects files one after the other, each with a failure of its own, and prints what came of it.
_PROTECTING = """
import ctypes, json, sys
from pathlib import Path
from pipeline.errors import PipelineError
from pipeline.parameters import Mode, Parameters
from pipeline.protect import protect
from pipeline.settings import Settings

fail = ctypes.CDLL(None).fail
for path, mode, thirds, times, number in json.loads(sys.argv[1]):
    place = Path(path).stat().st_size * thirds // 3
    fail(path.encode(), ctypes.c_long(place), ctypes.c_long(times), ctypes.c_long(number))
    try:
        protect(Path(path), None, Parameters(mode=Mode(mode)), Settings())
        print("done")
    except PipelineError as error:
        print(error.code, error.message)
"""
_CASES = {
    "protect, for ever": ("a.mp4", "protect", 2, -1, errno.EIO),
    "strip, for ever": ("b.mp4", "strip", 2, -1, errno.EIO),
    "protect, for a moment": ("c.mp4", "protect", 2, 1, errno.EIO),
    "strip, for a moment": ("d.mp4", "strip", 2, 1, errno.EIO),
    "its length cannot be read": ("e.mkv", "protect", 2, -1, errno.ESTALE),
    "its length cannot be read for a moment": ("g.mkv", "protect", 2, 1, errno.EIO),
    "it cannot be opened for a moment": ("h.mp4", "protect", 0, 1, errno.EIO),
    "what the copy states of it cannot": ("f.avi", "strip", 2, -1, errno.ESTALE),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what each case's user is told, and the names of what was `made` beside them."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is not installed")
    folder = tmp_path_factory.mktemp("failing")
    source, library = folder / "read.c", folder / "read.so"
    source.write_text(_FAILING_READ)
    words = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(words, check=True)
    videos = folder / "videos"
    videos.mkdir()
    jobs = []
    for name, *failure in _CASES.values():
        # The index in front, so that what fails is the reading of frames.
        muxer = {"movflags": "+faststart"} if name.endswith("mp4") else {}
        path = make_video(videos / name, Video(frames=60, audio=(Audio(),), muxer=muxer))
        jobs.append((str(path), *failure))
    done = subprocess.run(
        [sys.executable, "-c", _PROTECTING, json.dumps(jobs)],
        env={**os.environ, "LD_PRELOAD": str(library)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    made = {path.name for path in videos.iterdir()} - {name for name, *_ in _CASES.values()}
    told = dict(zip(_CASES, done.stdout.splitlines(), strict=True))
    return {**told, "made": " ".join(sorted(made))}


@pytest.mark.parametrize("case", list(_CASES))
def test_half_an_original_is_not_taken_for_the_whole(answers: dict[str, str], case: str) -> None:
    name, *_, number = _CASES[case]
    assert answers[case] == (
        f"input_failed {name} cannot be read: {os.strerror(number)}. Its disk or network share"
        " fails: mend that, then try again."
    )


def test_nothing_of_it_is_left_behind(answers: dict[str, str]) -> None:
    assert answers["made"] == ""


@pytest.mark.parametrize(
    ("number", "is_whole", "is_refused"),
    [
        (errno.EIO, True, True),
        (errno.EIO, False, False),  # FFmpeg says so of a file that ends amid a packet
        (errno.ETIMEDOUT, False, True),
        (errno.EINVAL, True, False),
    ],
)
def test_what_breaks_off_is_told_from_what_was_not_given(
    tmp_path: Path, number: int, is_whole: bool, is_refused: bool
) -> None:
    path = make_video(tmp_path / "a.mp4", Video(frames=10))
    if not is_whole:
        path.write_bytes(path.read_bytes()[:-100])
    error = av.error.FFmpegError(number, os.strerror(number))
    if not is_refused:
        refuse_what_storage_lost(path, error)
        return
    with pytest.raises(InputFailed, match=f"a.mp4 cannot be read: {os.strerror(number)}"):
        refuse_what_storage_lost(path, error)


def test_a_damaged_head_is_not_taken_for_a_failing_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg may say the same of a Matroska file, however often it is asked."""

    def refuse(*arguments: object, **options: object) -> None:
        raise av.error.OSError(errno.EIO, os.strerror(errno.EIO))

    path = make_video(tmp_path / "a.mkv", Video(frames=2))
    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(UnreadableMedia, match="a.mkv is not a video we can read"):
        protect(path, tmp_path / "out.mp4", Parameters(), Settings())


def test_the_result_s_disk_is_not_taken_for_the_original_s(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", Video(frames=2))
    failed = OutputFailed("b.mp4 cannot be written: Input/output error.")
    failed.__cause__ = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(OutputFailed), storage_failure_told(path):
        raise failed
    path.unlink()
    with pytest.raises(InputFailed, match="No such file"), storage_failure_told(path):
        raise failed


@pytest.mark.parametrize("is_ffmpegs", [False, True])
def test_a_copy_that_its_disk_does_not_give_back_is_the_result_s_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_ffmpegs: bool
) -> None:
    def audit(*arguments: object) -> None:
        failed = OSError(errno.EIO, os.strerror(errno.EIO))
        if is_ffmpegs:
            raise UnreadableMedia(".x.part.mp4 is not a video we can read.") from failed
        raise failed

    monkeypatch.setattr("pipeline.protect.audit", audit)
    path = make_video(tmp_path / "a.mp4", Video(frames=2))
    with pytest.raises(OutputFailed, match="The copy of a.mp4 cannot be read in .*: Input/output"):
        protect(path, None, Parameters(mode=Mode.STRIP), Settings())
