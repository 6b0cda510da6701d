"""A real service tells of ends, over its own death too."""

from __future__ import annotations

from pathlib import Path

import pytest
from receivers import Receiver
from services import ServiceHouse, running

SETTINGS = {"webhook": {"allow_private": True}, "port": 0}


def drop(house: ServiceHouse, url: str) -> None:
    """Have a task that waits: the service is paused."""
    house.inbox.mkdir(exist_ok=True)
    (house.inbox / "clip.mp4.yaml").write_text(f"webhook_url: {url}\n")
    (house.inbox / "clip.mp4").write_bytes(b"not looked into while paused")


@pytest.mark.slow
def test_an_end_that_a_command_makes_is_told_at_once_and_after_a_kill_again(tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path, **SETTINGS)
    house.state.mkdir()
    (house.state / "pause").touch()
    with Receiver(500, 200) as receiver:
        with running(house):
            drop(house, receiver.url())
            task_id = house.wait_for("clip.mp4", "pending")["task_id"]
            assert house.run("cancel", task_id).returncode == 0
            receiver.wait_for(1, patience=5.0)
            house.kill()
        with running(house):
            first, second = receiver.wait_for(2, patience=60.0)
            seen = house.wait_for("clip.mp4", "cancelled")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert second.values["status"] == "cancelled"
    assert seen["webhook"]["attempts"] >= 1
