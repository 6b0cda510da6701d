"""The invariants of ARCHITECTURE.md, and that what is written about the program is true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.__main__ import COMMANDS
from daemon.config import Config, default_config, load_config
from daemon.config_problems import ALLOWED
from pipeline.parameters import Parameters

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "av", "cv2", "scipy")


def modules(package: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_pipeline_never_imports_daemon() -> None:
    for name in modules("pipeline"):
        assert not [m for m in imports(ROOT / name) if m.split(".")[0] == "daemon"], name


def test_only_the_spool_and_its_parts_read_and_write_records() -> None:
    parts = {"shelves", "record_store", "records", "recovery", "progress_files", "pending_limit"}
    may = {f"daemon/{name}.py" for name in parts | {"spool", "claims"}}
    for name in modules("daemon") - may:
        used = {m.removeprefix("daemon.") for m in imports(ROOT / name)} & parts
        assert not used, f"{name} uses {used}"
    used = {m.removeprefix("daemon.") for m in imports(ROOT / "daemon/claims.py")} & parts
    assert used <= {"pending_limit"}  # to ask before anything is moved


@pytest.mark.parametrize("package", ["pipeline", "daemon", "daemon/commands"])
def test_packages_are_empty_so_that_importing_one_module_imports_no_other(package: str) -> None:
    assert (ROOT / package / "__init__.py").read_text() == ""


@pytest.mark.parametrize(
    "code",
    [
        "import daemon.__main__, daemon.config, daemon.folders",
        "import daemon.service, daemon.inspector_process",
        "import daemon.web, daemon.prober",
        "from daemon.__main__ import parser; parser(['protect', 'verify', 'check-config'])",
    ],
)
def test_the_command_line_imports_nothing_heavy_before_the_work(code: str) -> None:
    probe = f"{code}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_architecture_names_every_module_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    written = {name if name.endswith(".py") else f"{name}.py" for name in named}
    assert written == modules("pipeline") | modules("daemon")


def leaves(model: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of a model's keys, those of one inbox as of `inboxes`."""
    for name, field in model.model_fields.items():
        yield prefix + name
        nested = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in nested:
            if isinstance(kind, type) and hasattr(kind, "model_fields"):
                yield from leaves(kind, f"{prefix}{name}.")


def test_every_key_is_documented_in_the_shipped_config() -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    for name in (*leaves(Config), *Parameters.model_fields):
        leaf = name.rpartition(".")[2]
        assert re.search(rf"(^|[\s{{#-]){leaf}:", text, re.M), f"{name} is not documented"


def test_every_key_has_words_for_what_is_allowed() -> None:
    assert {name.rpartition(".")[2] for name in leaves(Config)} == set(ALLOWED)


def test_the_shipped_config_states_the_defaults() -> None:
    shipped = load_config(ROOT / "config.yaml")
    default = default_config(ROOT)
    assert shipped.settings == default.settings
    assert shipped.parameters == default.parameters
    assert shipped.folders == default.folders
    assert shipped.model_dump(exclude={"defaults"}) == default.model_dump(exclude={"defaults"})


def test_the_shipped_config_leaves_no_default_out() -> None:
    values = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert set(values) == set(Config.model_fields)
    for section in ("limits", "retention", "faces", "speech"):
        assert set(values[section]) == {
            n.removeprefix(f"{section}.") for n in leaves(Config) if f"{section}." in n
        }
    given = {name for name, f in Parameters.model_fields.items() if f.default is not None}
    assert set(values["defaults"]) == given


def test_the_readme_tells_of_every_command_and_parameter() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"media-cleaner {command}" in text
    for name in ("epsilon", "video_strength", "audio_level", "every_n_frames", "mode"):
        assert f"`{name}`" in text
    for target in ("make demo", "make test"):
        assert target in text


@pytest.mark.parametrize("folder", ["inbox", "outbox", "temp", "logs", "state", "systemd"])
def test_the_layout_has_every_folder(folder: str) -> None:
    assert (ROOT / folder).is_dir()
