"""What the packages need and hold: dependencies, wheel, source distribution, a quick command."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
import requests
from media import Audio, Video, make_video
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from services import PATIENCE_SECONDS, ROOT, wait_until

DOCUMENT = (ROOT / "docs/DEPENDENCIES.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|").split("|")]
    for line in DOCUMENT.splitlines()
    if line.startswith("| `")
]
# Builds of torch for CUDA bring these, in versions of their own.
OF_CUDA = re.compile(r"nvidia-|cuda-|triton$")
HEAVY = ("torch", "av", "cv2", "scipy", "numpy", "flask", "gunicorn", "apscheduler", "httpcore")
# Of a checkout: what is no part of the source, and what others write while the tests run.
NO_SOURCE = shutil.ignore_patterns(
    *(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist"),
    *("demo", "inbox", "outbox", "temp", "logs", "state"),
)


def requirements() -> dict[str, list[Requirement]]:
    """Return what setup.cfg names, by extra; what is always installed goes by `program`."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    sections = {"program": setup["options"]["install_requires"]}
    sections |= setup["options.extras_require"]
    return {extra: list(_parsed(text)) for extra, text in sections.items()}


def constraints() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    assert len({canonicalize_name(name) for name, _ in pairs}) == len(pairs), "named twice"
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def brought(roots: Iterable[Requirement]) -> dict[str, metadata.Distribution]:
    """Return what is installed of `roots` and of all that they need, by name."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(roots)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        installed = _installed(name)
        if name in found or installed is None or OF_CUDA.match(name):
            continue
        found[name] = installed
        extras = ("", *requirement.extras)
        needed = [Requirement(text) for text in installed.requires or []]
        waiting += [n for n in needed if _is_needed(n, extras)]
    return found


def licence(installed: metadata.Distribution) -> str:
    """Return the licence that a package states, by the field that says it best."""
    said = installed.metadata
    if expression := said["License-Expression"]:
        return str(expression)
    text = (said["License"] or "").strip()
    if text and "\n" not in text and len(text) < 60:
        return str(text)
    kinds = [c.split(" :: ")[-1] for c in said.get_all("Classifier") or [] if "License ::" in c]
    return ", ".join(kinds)


def test_every_dependency_has_its_place_reason_and_licence() -> None:
    table = {name: (extra, why, terms) for name, extra, why, terms in _rows(4)}
    named = {r.name: extra for extra, group in requirements().items() for r in group}
    assert {name: extra for name, (extra, _, _) in table.items()} == named
    for name, (_, why, terms) in table.items():
        installed = _installed(name)
        assert why
        assert terms
        if installed is not None:
            assert terms == licence(installed), name


def test_what_dependencies_bring_along_is_listed_with_its_licence() -> None:
    groups = requirements()
    named = {canonicalize_name(r.name) for group in groups.values() for r in group}
    along = brought([*groups["program"], *groups["networks"]])
    found = {name: licence(d) for name, d in along.items() if name not in named}
    assert {canonicalize_name(name): terms for name, terms in _rows(2)} == found


def test_constraints_fit_the_ranges_and_leave_nothing_out() -> None:
    fixed = constraints()
    groups = requirements()
    everything = [r for group in groups.values() for r in group]
    for requirement in everything:
        version = fixed[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
    along = brought(everything)
    assert set(along) <= set(fixed)
    known = {canonicalize_name(r.name) for r in everything}
    for name in set(fixed) - known - set(along):
        assert _installed(name) is None, f"{name} is needed by nothing"


def test_constraints_are_what_the_tests_are_run_with() -> None:
    """Where somebody chose other versions, or another Python's, that is theirs to do."""
    fixed = constraints()
    everything = [r for group in requirements().values() for r in group]
    versions = {n: Version(d.version).public for n, d in brought(everything).items()}
    other = {n: v for n, v in versions.items() if v != str(fixed[n])}
    if other:
        pytest.skip(f"installed are {other}")


def test_help_imports_nothing_that_takes_time() -> None:
    """So that `media-cleaner --help` answers in less than half a second."""
    code = f"""
import json, sys
from daemon.__main__ import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *told, heavy = answer.stdout.splitlines()
    assert "usage: media-cleaner" in told[0]
    assert json.loads(heavy) == []


# --- make ---


@pytest.mark.parametrize("target", ["run", "demo"])
def test_make_runs_the_program_of_its_own_folder(tmp_path: Path, target: str) -> None:
    """Also where the folder was moved or copied with its .venv, which names the old place."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "tools/make_sample.py").write_text("")
    (tmp_path / "daemon").mkdir()
    (tmp_path / "daemon/__init__.py").touch()
    for name, what in (("__main__", "run"), ("health", "demo")):
        (tmp_path / f"daemon/{name}.py").write_text(f"raise SystemExit('{what} of this folder')\n")
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "media-cleaner").write_text("#!/moved/.venv/bin/python\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    (tmp_path / ".venv/.ready").touch()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        ["make", target], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert f"{target} of this folder" in done.stderr


# --- What is built ---


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source alone, as a fresh checkout has it."""
    pytest.importorskip("setuptools", minversion="77")
    return Path(
        shutil.copytree(ROOT, tmp_path_factory.mktemp("fresh") / "source", ignore=NO_SOURCE)
    )


@pytest.fixture(scope="module")
def sdist(source: Path) -> Path:
    return built(source, "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as others build it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return built(unpacked, "wheel")


def built(source: Path, kind: str) -> Path:
    """Have setuptools build a distribution, as pip and `build` have it."""
    code = f"import sys; from setuptools.build_meta import *; build_{kind}(sys.argv[1])"
    target = source / "dist"
    target.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=source, capture_output=True, check=True
    )
    (path,) = target.iterdir()
    return path


def test_the_source_distribution_lacks_nothing_of_the_source(source: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and not {"dist", "media_cleaner.egg-info"} & set(path.parts)
    }
    assert wanted - held == set()


def test_the_wheel_holds_the_packages_and_their_data_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        str(path.relative_to(ROOT))
        for package in ("daemon", "pipeline")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == wanted


@pytest.fixture
def program(wheel: Path, tmp_path: Path) -> dict[str, str]:
    """The environment in which the wheel's files come before those of this checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "program")
    return {**os.environ, "PYTHONPATH": str(tmp_path / "program")}


def test_the_wheel_serves_in_an_empty_folder(program: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    where = "import daemon; print(daemon.__path__[0])"
    asked = [sys.executable, "-c", where]
    found = subprocess.run(asked, cwd=folder, env=program, capture_output=True, text=True)
    assert found.stdout.strip() == str(tmp_path / "program/daemon")
    words = ["serve", "--port", "0", "--workers", "1"]
    with (tmp_path / "console.txt").open("wb") as console:
        service = subprocess.Popen(
            [sys.executable, "-m", "daemon", *words], cwd=folder, env=program, stderr=console
        )
    try:
        _protects_a_dropped_clip(folder, tmp_path)
        url = wait_until(lambda: _said(folder).get("url"), "requests are answered")
        assert requests.get(url, timeout=PATIENCE_SECONDS).ok
        assert requests.get(f"{url}docs", timeout=PATIENCE_SECONDS).ok
        service.send_signal(signal.SIGTERM)
        assert service.wait(PATIENCE_SECONDS) == 0, (tmp_path / "console.txt").read_text()
    finally:
        service.kill()
        service.wait()


def _protects_a_dropped_clip(folder: Path, workshop: Path) -> None:
    clip = make_video(workshop / "clip.mp4", Video(frames=5, width=96, height=64, audio=[Audio()]))
    wait_until(lambda: (folder / "inbox").is_dir(), "there is an inbox")
    clip.rename(folder / "inbox/clip.mp4")
    wait_until(lambda: list(folder.glob("outbox/*_clip_protected.mp4")), "there is a result")


def _said(folder: Path) -> dict[str, str]:
    path = folder / "state/service.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _parsed(text: str) -> Iterator[Requirement]:
    for line in text.splitlines():
        if line.strip() and not line.strip().startswith("#"):
            yield Requirement(line)


def _rows(cells: int) -> list[list[str]]:
    return [row for row in ROWS if len(row) == cells]


def _installed(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def _is_needed(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
