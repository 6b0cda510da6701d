"""How many workers and threads follow from what a machine has."""

from __future__ import annotations

import os
from pathlib import Path

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


def test_workers_that_fill_the_memory_doing_nothing_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine, "_memory_bytes", lambda: 24 * GIB)
    assert machine.too_many_workers(144) is None
    assert machine.too_many_workers(145) == (
        "145, and the memory here (24.0 GB) holds at most 144; set fewer, such as 2."
    )
    monkeypatch.setattr(machine, "_memory_bytes", lambda: GIB // 16)
    assert machine.too_many_workers(1) is None  # there is no fewer


@pytest.mark.parametrize(("videos", "threads"), [(0, 0), (1, 0), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_videos_at_once_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, videos: int, threads: int
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "cpu_quota", lambda: None)
    assert machine.threads_of(videos) == threads


# --- Control groups ---

V2 = "0::/system.slice/media-cleaner.service\n"
V1 = (
    "5:memory:/docker/abc\n4:cpuset:/docker/abc\n3:cpu,cpuacct:/docker/abc\n"
    "1:name=systemd:/docker/abc\n0::/docker/abc\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("groups", "limits", "quota"),
    [
        (V2, {}, None),
        (V2, {"system.slice/media-cleaner.service/cpu.max": "max 100000\n"}, None),
        (V2, {"system.slice/media-cleaner.service/cpu.max": "150000 100000\n"}, 1.5),
        # The least on the way up counts.
        (
            V2,
            {
                "system.slice/media-cleaner.service/cpu.max": "400000 100000\n",
                "system.slice/cpu.max": "100000 50000\n",
            },
            2.0,
        ),
        (V2, {"user.slice/cpu.max": "10000 100000\n"}, None),  # another's
        # A container's own group is at the top.
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/\u0432\u0438\u0434\u0435\u043e\n", {"cpu.max": "max 100000\n"}, None),
        (
            V1,
            {
                "cpu/docker/abc/cpu.cfs_quota_us": "300000\n",
                "cpu/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        # In a container the path is the host's, and its own group is at the top.
        (V1, {"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (V1, {"memory/docker/abc/cpu.cfs_quota_us": "1\n"}, None),
    ],
)
def test_the_quota_of_the_groups_that_we_are_in_is_read(
    root: Path, groups: str, limits: dict[str, str], quota: float | None
) -> None:
    write(root, {"proc/self/cgroup": groups})
    write(root, {f"sys/fs/cgroup/{name}": text for name, text in limits.items()})
    assert machine.cpu_quota(root) == quota


@pytest.mark.parametrize(
    ("groups", "limits", "memory"),
    [
        (V2, {}, 8 * GIB),
        (V2, {"system.slice/media-cleaner.service/memory.max": "max\n"}, 8 * GIB),
        (V2, {"system.slice/media-cleaner.service/memory.max": f"{GIB}\n"}, GIB),
        (
            V2,
            {
                "system.slice/media-cleaner.service/memory.max": f"{2 * GIB}\n",
                "system.slice/memory.max": f"{GIB}\n",
            },
            GIB,
        ),
        (V2, {"user.slice/memory.max": f"{GIB}\n"}, 8 * GIB),  # another's
        (V1, {"memory/docker/abc/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        (V1, {"memory/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n"}, 8 * GIB),
        (V1, {"cpu/docker/abc/memory.limit_in_bytes": "1\n"}, 8 * GIB),
    ],
)
def test_the_memory_is_the_machine_s_or_what_its_groups_leave(
    root: Path, groups: str, limits: dict[str, str], memory: int
) -> None:
    write(root, {"proc/self/cgroup": groups, "proc/meminfo": f"MemTotal: {8 << 20} kB\n"})
    write(root, {f"sys/fs/cgroup/{name}": text for name, text in limits.items()})
    assert machine._memory_bytes(root) == memory


@pytest.mark.parametrize(
    ("quota", "period"),
    [
        ("100000", "0"),
        ("100000", "-1"),
        ("100000", "often"),
        ("100000", ""),
        ("", "100000"),
        ("1e5", "100000"),
        ("\u0661\u0662", "100000"),
        ("9" * 5000, "100000"),
        ("100000", "9" * 5000),
        ("9" * 400, "1"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_what_is_no_quota_limits_nothing(root: Path, version: int, quota: str, period: str) -> None:
    cpu = root / "sys/fs/cgroup"
    if version == 1:
        write(root, {"proc/self/cgroup": "4:cpu:/\n"})
        write(cpu, {"cpu/cpu.cfs_quota_us": quota, "cpu/cpu.cfs_period_us": period})
    else:
        write(root, {"proc/self/cgroup": "0::/\n"})
        write(cpu, {"cpu.max": f"{quota} {period}\n"})
    assert machine.cpu_quota(root) is None


@pytest.mark.parametrize("group", ["a\0b", "a" * 5000, "/".join("a" * 3000), "\udcff", "../.."])
def test_a_group_that_no_folder_can_be_is_passed_over(root: Path, group: str) -> None:
    path = root / "proc/self/cgroup"
    path.parent.mkdir(parents=True)
    path.write_bytes(os.fsencode(f"0::/{group}\n"))
    write(root, {"sys/fs/cgroup/cpu.max": "50000 100000\n"})
    assert machine.cpu_quota(root) == 0.5


def test_a_machine_without_control_groups_has_no_quota(root: Path) -> None:
    assert machine.cpu_quota(root) is None


@pytest.mark.parametrize(
    ("quota", "cores", "threads"),
    [(None, 8, 0), (64.0, 8, 8), (1.5, 2, 2), (0.2, 1, 1)],
)
def test_a_quota_leaves_as_many_cores_as_its_time_fills(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int, threads: int
) -> None:
    """One video alone is told so: FFmpeg would take threads for all cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    monkeypatch.setattr(machine, "_memory_bytes", lambda: 64 * GIB)
    assert (machine.cores(), machine.default_workers()) == (cores, cores)
    assert machine.threads_of(1) == threads
