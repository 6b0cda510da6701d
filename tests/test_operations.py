"""docs/OPERATIONS.md and docs/alerts.yaml: commands run, names that are there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml
from media import Video, make_video
from services import ROOT, ServiceHouse, running

TEXT = (ROOT / "docs/OPERATIONS.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
RULES = yaml.safe_load((ROOT / "docs/alerts.yaml").read_text(encoding="utf-8"))
# What the specification asks about, in the words of this document.
TROUBLES = {
    "does not start": ("check-config", "8000", "ls -la"),
    "not processed": ("media-cleaner status", "grep ERROR", "ls -lh"),
    "is slow": ("workers: 5", "ps -o"),
}


def blocks(kind: str) -> list[str]:
    return [code for name, code in BLOCKS if name == kind]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceHouse]:
    house = ServiceHouse(tmp_path_factory.mktemp("house"))
    with running(house):
        make_video(house.folder / "clip.mp4", Video(frames=5, width=160, height=120))
        shutil.move(house.folder / "clip.mp4", house.inbox / "clip.mp4")
        (house.folder / "bad.mp4").write_bytes(b"no video")
        shutil.move(house.folder / "bad.mp4", house.inbox / "bad.mp4")
        house.wait_for("clip.mp4", "completed")
        house.wait_for("bad.mp4", "failed")
        assert house.url
        yield house


def run(code: str, folder: Path, house: ServiceHouse) -> str:
    """Run a block as it stands, but for the places and the address of the service."""
    for old, new in (
        ("/var/lib/media-cleaner", str(house.folder)),
        ("/var/log/media-cleaner", str(house.folder / "logs")),
        ("http://localhost:8000", (house.health().get("url") or "").rstrip("/")),
    ):
        code = code.replace(old, new) if new else code
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-s"],
        input=code,
        cwd=folder,
        env={
            **os.environ,
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
            "MEDIA_CLEANER_CONFIG": str(house.config),
        },
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_no_block_is_of_a_kind_that_nobody_looks_at() -> None:
    assert {kind for kind, _ in BLOCKS} == {"bash", "sh", "yaml"}
    assert TEXT.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("code", [code for code in blocks("bash") if "tar -C" not in code])
def test_commands(house: ServiceHouse, tmp_path: Path, code: str) -> None:
    if "curl" in code and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    assert run(code, tmp_path, house).strip() or "damaged" in code


@pytest.mark.parametrize("code", blocks("sh"))
def test_what_only_root_may_do_is_at_least_grammar(code: str) -> None:
    subprocess.run(["bash", "-n", "-s"], input=code, text=True, check=True)
    for program in re.findall(r"\b((?:systemd|sftp|nginx)/[\w.-]+)", code):
        assert (ROOT / program).exists(), program


def test_what_was_backed_up_comes_back(tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path / "house")
    with running(house):
        make_video(tmp_path / "clip.mp4", Video(frames=5, width=160, height=120))
        shutil.move(tmp_path / "clip.mp4", house.inbox / "clip.mp4")
        task_id = house.wait_for("clip.mp4", "completed")["task_id"]
        house.stop()
    back_up, restore = (code for code in blocks("bash") if "tar -C" in code)
    run(back_up, tmp_path, house)
    (result,) = house.results()
    content = result.read_bytes()
    for folder in ("state", "outbox", "inbox"):
        shutil.rmtree(house.folder / folder)
    assert task_id in run(restore, tmp_path, house)
    assert result.read_bytes() == content
    with running(house):
        assert house.by_video()["clip.mp4"]["status"] == "completed"
        assert len(house.results()) == 1


@pytest.mark.parametrize("heading", TROUBLES)
def test_each_trouble_of_the_specification_has_its_counterpart(heading: str) -> None:
    (section,) = (part for part in TEXT.split("\n### ") if heading in part.splitlines()[0])
    for words in TROUBLES[heading]:
        assert words in section


# --- Alerts ---


def test_every_number_that_a_rule_asks_for_is_told(house: ServiceHouse) -> None:
    told = requests.get(f"{house.url}metrics", timeout=60).text
    for rule in RULES["groups"][0]["rules"]:
        for name, label in re.findall(r"(media_cleaner_\w+)(?:\{(\w+=\"\w+\")\})?", rule["expr"]):
            pattern = rf"^{name}(\{{.*{label}.*\}})? " if label else rf"^{name}[ {{]"
            assert re.search(pattern, told, re.MULTILINE), rule["expr"]
    numbers = set(re.findall(r"^(media_cleaner_\w+)", told, re.MULTILINE))
    asked = set(re.findall(r"media_cleaner_\w+", str(RULES)))
    assert numbers == asked


def test_prometheus_understands_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    subprocess.run([promtool, "check", "rules", str(ROOT / "docs/alerts.yaml")], check=True)


# --- docs/SECURITY.md ---


def test_what_is_said_of_security_names_what_is_there() -> None:
    text = (ROOT / "docs/SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:daemon|pipeline|systemd|sftp|nginx)/[\w./-]*)`", text)
    assert len(named) > 10
    for name in named:
        assert (ROOT / name).exists(), name
