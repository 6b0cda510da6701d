"""
Hostile media: damaged videos go through a running service, and through `verify`.

Each ends completed, or failed with a reason in words; none harms the service or the videos that
come after it. The name of a failing case begins with its seed and number, from which `damaged`
makes it again; `MEDIA_CLEANER_FUZZ_SEED` chooses other cases.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from media import Audio, Video, make_video
from mutations import EXTENSIONS, Case, damaged
from services import ROOT, ServiceHouse, running, wait_until

REAL = Path(__file__).parents[2] / "shared" / "media"
SEED = int(os.environ.get("MEDIA_CLEANER_FUZZ_SEED", "6"))
CASE_SECONDS = 60.0  # far more than any of these small files needs on a busy machine
WORKERS = 2
BATCH = 18
MEMORY_GB = 2.0
# Why a hostile video may fail: it is the video's fault, or the result's, and told as that.
MEDIA_CODES = {
    "unreadable_media",
    "unsupported_media",
    "limit_exceeded",
    "invalid_parameter",
    "out_of_memory",
    "output_failed",
    "verification_failed",
    "metadata_left",
}
SETTINGS: dict[str, Any] = {
    "workers": WORKERS,
    "incomplete_wait_s": 0.2,
    "stall_s": CASE_SECONDS,
    "task_timeout_hours": CASE_SECONDS / 3600,
    "limits": {"max_pixels": 1 << 22, "max_duration_h": 0.1, "worker_memory_gb": MEMORY_GB},
}
SIDECARS = (
    "",
    "audio_level: strong\nevery_n_frames: 3\n",
    "audio_level: none\n",
    "mode: strip\n",
    "mode: strip\n",
)
# Carries out `verify` for each pair of paths in its input, and says how each ended.
VERIFY = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from daemon.__main__ import main
for line in sys.stdin:
    answer, complaint = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with redirect_stdout(answer), redirect_stderr(complaint):
        code = main(["--config", sys.argv[1], "verify", *json.loads(line)])
    print(json.dumps([code, complaint.getvalue()]), flush=True)
"""
SMALL = Video(width=96, height=64, frames=12)
HDR = {
    "x265-params": "log-level=none:master-display=G(13250,34500)B(7500,3000)R(34000,16000)"
    "WP(15635,16450)L(10000000,1):max-cll=1000,400"
}
# Between them: every container that is taken, common codecs, and what containers carry besides.
MADE = {
    "plain.mp4": replace(SMALL, audio=[Audio()]),
    "rich.mp4": replace(
        SMALL,
        audio=[Audio(language="eng"), Audio("ac3", layout="5.1")],
        subtitles="mov_text",
        chapters=[(0.0, 0.2), (0.2, 0.4)],
        tags={"title": "secret", "location": "+10+20/"},
        rotation=90,
        options={"bf": "2"},
    ),
    "fragments.mp4": replace(
        SMALL, audio=[Audio()], muxer={"movflags": "frag_keyframe+empty_moov"}, options={"g": "4"}
    ),
    "hdr.mp4": replace(
        SMALL, codec="libx265", pixel_format="yuv420p10le", options=HDR, colour=(9, 16, 9, 1)
    ),
    "sound.mov": replace(SMALL, audio=[Audio("pcm_s16le")], time_base=Fraction(1, 600)),
    "prores.mov": replace(SMALL, codec="prores_ks", pixel_format="yuv422p10le", frames=4),
    "plain.mkv": replace(
        SMALL, audio=[Audio("libopus")], subtitles="subrip", chapters=[(0.0, 0.2)]
    ),
    "lossless.mkv": replace(SMALL, codec="ffv1", pixel_format="yuv444p", audio=[Audio("flac")]),
    "odd.mkv": replace(SMALL, codec="mpeg4", width=95, height=63, audio=[Audio("libmp3lame")]),
    "plain.webm": replace(SMALL, codec="libvpx", audio=[Audio("libopus")]),
    "nine.webm": replace(SMALL, codec="libvpx-vp9", audio=[Audio("libopus")]),
    "plain.avi": replace(SMALL, codec="mpeg4", audio=[Audio("libmp3lame")]),
    "motion.avi": replace(
        SMALL, codec="mjpeg", pixel_format="yuvj420p", audio=[Audio("pcm_s16le")]
    ),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small videos, and the beginnings of the real clips where these are there."""
    folder = tmp_path_factory.mktemp("sources")
    made = [make_video(folder / name, _exact(video)) for name, video in MADE.items()]
    if not REAL.is_dir():
        return made
    real = [path for path in sorted(REAL.iterdir()) if path.suffix in EXTENSIONS]
    return made + [beginning(path, folder / f"real_{path.name}") for path in real]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[ServiceHouse]:
    house = ServiceHouse(tmp_path / "house", **SETTINGS)
    with running(house):
        house.inbox.mkdir(exist_ok=True)
        yield house


@pytest.mark.parametrize(
    ("dropped", "compared"), [(54, 6), pytest.param(440, 60, marks=pytest.mark.slow)]
)
def test_damaged_videos_end_completed_or_told_and_harm_nothing(
    house: ServiceHouse, sources: list[Path], dropped: int, compared: int
) -> None:
    cases = [damaged(sources, SEED, number) for number in range(dropped + compared)]
    wrong: list[str] = []
    for start in range(0, dropped, BATCH):
        wrong += fed(house, cases[start : min(dropped, start + BATCH)], sources[0])
    wrong += complaints_of_verify(house, cases[dropped:])
    wrong += harm(house)
    assert not wrong, "\n".join(wrong)
    # Damage that all or none outlive would try nothing.
    assert {task["status"] for task in house.by_video().values()} == {"completed", "failed"}
    assert house.stop() == 0


def test_real_clips_are_among_the_sources(sources: list[Path]) -> None:
    if not REAL.is_dir():
        pytest.skip(f"no real clips in {REAL}")
    assert sum(path.name.startswith("real_") for path in sources) > 10


def fed(house: ServiceHouse, cases: Sequence[Case], control: Path) -> list[str]:
    """Drop the cases, a sound video among them, wait for their ends; return what is wrong."""
    rng = random.Random(cases[0].name)
    sound = f"control-{cases[0].name.rpartition('.')[0]}{control.suffix}"
    files = [(case.name, case.data, rng.choice(SIDECARS)) for case in cases]
    files.insert(len(files) // 2, (sound, control.read_bytes(), ""))
    for name, data, sidecar in files:
        _drop(house.inbox, name, data, sidecar)
    names = [name for name, _, _ in files]
    patience = CASE_SECONDS * len(names)
    wait_until(lambda: _have_ended(house, names), f"the ends of {names}", patience)
    tasks = house.by_video()
    wrong = [told for name in names if (told := untold(tasks[name], house.outbox))]
    if tasks[sound]["status"] != "completed":
        wrong.append(f"{sound}: {tasks[sound]['error_message']}")
    return wrong


def untold(task: dict[str, Any], outbox: Path) -> str | None:
    """Return what is wrong with the way in which a task ended; None if all is well."""
    name, code, message = task["input_video"], task["error_code"], task["error_message"]
    if task["status"] == "completed":
        has_result = (outbox / task["output_video"]).stat().st_size > 0
        return None if has_result else f"{name}: empty result"
    is_told = code in MEDIA_CODES and name in message and message.endswith(".")
    return None if is_told else f"{name}: {code}: {message}"


def complaints_of_verify(house: ServiceHouse, cases: Sequence[Case]) -> list[str]:
    """Compare each case with what it was made of, either way round; return what is wrong."""
    lines = []
    for number, case in enumerate(cases):
        path = house.folder / case.name
        path.write_bytes(case.data)
        pair = [str(case.source), str(path)]
        lines.append(json.dumps(pair if number % 2 else pair[::-1]))
    done = subprocess.run(
        [sys.executable, "-c", VERIFY, str(house.config)],
        input="\n".join(lines),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CASE_SECONDS * len(cases),
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) < len(cases):
        return [f"{cases[len(answers)].name}: verify died ({done.returncode}): {done.stderr}"]
    ends = zip(cases, answers, strict=True)
    return [
        f"{case.name}: verify: {code} {complaint}"
        for case, (code, complaint) in ends
        if code not in (0, 1) or "not foreseen" in complaint or complaint.count("\n") != code
    ]


def harm(house: ServiceHouse) -> list[str]:
    """Return what is wrong with the service."""
    wait_until(lambda: house.health()["workers"]["ready"] == WORKERS, "the workers are back")
    wait_until(lambda: not _folders(house.folder / "temp"), "nothing is left in temp")
    wrong = list(house.health()["problems"])
    for pid in house.workers():
        with suppress(FileNotFoundError, ProcessLookupError):  # replaced in this moment
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            if pages * os.sysconf("SC_PAGESIZE") > MEMORY_GB * (1 << 30):
                wrong.append(f"worker {pid} holds {pages} pages")
    wrong += [f"left in the inbox: {path.name}" for path in house.inbox.iterdir() if path.is_file()]
    logs = [house.folder / "console.txt", *(house.folder / "logs").glob("*.log")]
    for log in logs:
        wrong += [row for row in log.read_text().splitlines() if "Traceback" in row]
    wrong += [str(line) for line in house.log_lines("server.log") if line["level"] == "ERROR"]
    return wrong


def beginning(path: Path, target: Path, seconds: float = 0.4) -> Path:
    """Copy the first packets of a clip's picture and sound."""
    options = {"fflags": "+bitexact"}
    with av.open(str(path)) as source, av.open(str(target), "w", options=options) as out:
        kept = [s for s in source.streams if s.type in ("video", "audio")]
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in kept}
        for packet in source.demux(kept):
            if packet.dts is None:
                continue
            if packet.dts * packet.time_base > seconds:
                break
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
    return target


def _exact(video: Video) -> Video:
    """Have the same bytes come out each time, so that a case can be made again."""
    return replace(video, muxer={**video.muxer, "fflags": "+bitexact"})


def _drop(inbox: Path, name: str, data: bytes, sidecar: str) -> None:
    """Write beside, then move in, so that it is taken at once."""
    (inbox / f"{name}.yaml").write_text(sidecar)
    partial = inbox / f"{name}.part"
    partial.write_bytes(data)
    partial.rename(inbox / name)


def _have_ended(house: ServiceHouse, names: Sequence[str]) -> bool:
    assert house.is_running
    tasks = house.by_video()
    ended = ("completed", "failed")
    return all(tasks.get(name, {}).get("status") in ended for name in names)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]
