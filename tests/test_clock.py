"""The machine's clock is set while a real service works by it, and between two of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from media import Video, make_video
from services import ServiceHouse, running, wait_until
from shifted_clock import ShiftedClock, why_no_clock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_clock()), reason=str(why_no_clock())),
]
YEAR = 365 * 86400.0
MOST_LOG_LINES = 40


def test_set_forward_and_back_nothing_stands_still_or_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_video(tmp_path / "clip.mp4", Video(frames=5, width=160, height=120))
    clock = ShiftedClock(tmp_path)
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    house = ServiceHouse(tmp_path / "house")

    def works(name: str) -> None:
        aside = house.folder / name
        shutil.copyfile(clip, aside)
        os.rename(aside, house.inbox / name)
        house.wait_for(name, "completed")

    with running(house):
        works("now.mp4")
        (house.inbox / "no video.mp4").write_bytes(b"no video at all")
        failed = house.wait_for("no video.mp4", "failed")
        clock.set(YEAR)
        works("in a year.mp4")
        clock.set(0)
        works("now again.mp4")
        clock.set(-YEAR)
        works("a year ago.mp4")
        # What is done by the clock is done again soon, and not in a year: this is one of it.
        (record,) = (house.state / "failed").rglob(f"{failed['task_id']}.json")
        record.rename(house.state / "cancelled" / record.name)
        house.wait_for("no video.mp4", "cancelled")
        told = [x for x in house.log_lines("server.log") if x["event"] == "the clock was set back"]
        assert [round(line["seconds"] / YEAR) for line in told] == [1, 1]
        house.kill()
    clock.set(-2 * YEAR)
    with running(house):
        works("two years ago.mp4")
        wait_until(lambda: house.health()["problems"] == [], "all is well")
        assert house.stop() == 0
    tasks = house.by_video()
    assert len(tasks) == 6
    assert len(house.results()) == 5
    lines = house.log_lines("server.log") + house.log_lines("queue.log")
    assert len(lines) <= MOST_LOG_LINES
