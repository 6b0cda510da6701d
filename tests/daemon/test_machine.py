"""How many workers and threads follow from what a machine has."""

from __future__ import annotations

import pytest

from daemon import machine

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cores", "memory", "workers"),
    [(1, 8 * GIB, 1), (2, 8 * GIB, 2), (16, 64 * GIB, 16), (16, 12 * GIB, 6), (4, GIB // 2, 1)],
)
def test_workers_are_as_many_as_cores_and_memory_bear(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory: int, workers: int
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "_memory_bytes", lambda: memory)
    assert machine.default_workers() == workers


@pytest.mark.parametrize(("videos", "threads"), [(0, 0), (1, 0), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_videos_at_once_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, videos: int, threads: int
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert machine.threads_of(videos) == threads
