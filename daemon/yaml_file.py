"""
Read one YAML mapping from a file that a person wrote, or an enemy.

Stricter than YAML: a size limit, no aliases (a few lines of them unfold to gigabytes), no
key twice (the last would win silently).
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from daemon.errors import ConfigError

_DEEPEST = 20


def read_mapping(path: Path, most_bytes: int = 1 << 20) -> dict[str, Any]:
    """
    Return the file's mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: not readable, too large, not UTF-8, not YAML, or not a mapping.
    """
    value = _parsed(path, _text(path, most_bytes))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no `name: value` lines; see the shipped config.yaml.")
    for key in value:
        if not isinstance(key, str):
            # YAML 1.1 reads a bare yes, no, on or off as a truth value.
            raise ConfigError(f"{path}: the key {key!r} is not a name; put it in quotes.")
    return value


def _text(path: Path, most_bytes: int) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, for ever
            raise ConfigError(f"{path} is not a file.")
        with path.open("rb") as file:
            raw = file.read(most_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if len(raw) > most_bytes:
        raise ConfigError(f"{path} is larger than {most_bytes} bytes.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}).") from error


def _parsed(path: Path, text: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-99-99
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path} is not YAML: {reason}.") from error


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without aliases, deep nesting and repeated keys."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=mark)
        self.depth += 1
        if self.depth > _DEEPEST:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands there twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
