"""
Read one YAML mapping that a person wrote, or an enemy.

Stricter than YAML: a size limit, no aliases (a few lines of them unfold to gigabytes), no
key twice (the last would win silently), no number that is another one to YAML than to people.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from daemon.errors import ConfigError

_MOST_BYTES = 1 << 20
_DEEPEST = 20
_NULL = "tag:yaml.org,2002:null"
_STR = "tag:yaml.org,2002:str"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
# 010 is 8 to YAML 1.1, and 1:30 is 90 whatever its unit.
_OCTAL = re.compile(r"[-+]?0[0-7_]*[1-7][0-7_]+")


def read_mapping(path: Path) -> dict[str, Any]:
    """
    Return the file's mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: not readable, too large, not UTF-8, not YAML, or not a mapping.
    """
    return _mapping(str(path), _content(path), _StrictLoader)


def text_mapping(name: str, content: bytes) -> dict[str, Any]:
    """
    Return the mapping in `content`, each single value as the text that stands there.

    So a value means here what it means in a form or on a command line: `007` stays as it is,
    `1:30` is no count of seconds, and `no` is the word. Nothing written, `~` and `null` are None.

    Args:
        name: of the file, for messages.

    Raises:
        ConfigError: not UTF-8, not YAML, or not a mapping.
    """
    return _mapping(name, content, _TextLoader)


def _mapping(name: str, content: bytes, loader: type[yaml.SafeLoader]) -> dict[str, Any]:
    value = _parsed(name, _text(name, content), loader)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{name} holds no `name: value` lines.")
    for key in value:
        if not isinstance(key, str):
            # YAML 1.1 reads a bare yes, no, on or off as a truth value.
            raise ConfigError(f"{name}: the key {key!r} is not a name; put it in quotes.")
    return value


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, for ever
            raise ConfigError(f"{path} is not a file.")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path} is larger than {_MOST_BYTES} bytes.")
    return content


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text (byte {error.start}).") from error


def _parsed(name: str, text: str, loader: type[yaml.SafeLoader]) -> Any:
    try:
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{where}: {_problem(error, text)}.") from error
    except Exception as error:
        # What the parser does not foresee: `!!map [a, b]` (TypeError), a character beyond the last
        # one (OverflowError). A stranger finds others.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{name} is not YAML: {reason}.") from error


def _problem(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return what is wrong, without a secret that is quoted, such as octal digits."""
    mark, problem = error.problem_mark, str(error.problem)
    line = next(iter(text.splitlines()[mark.line :]), "") if mark else ""
    secret = re.search(r"""secret["']?\s*:\s*[{\[]?!*([^\s,}]{1,4})""", line)
    if secret and secret[1] in problem:
        return "the secret cannot be read, and is not shown here; put it in quotes"
    return problem


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    _check_is_decimal(node)
    return loader.construct_yaml_int(node)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    _check_is_decimal(node)
    return loader.construct_yaml_float(node)


def _check_is_decimal(node: yaml.ScalarNode) -> None:
    if ":" in node.value:
        shown = node.value[:40]
        problem = f"{shown} is no number here; write it without a colon, or text in quotes"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    if _OCTAL.fullmatch(node.value):
        shown = node.value[:40]
        problem = f"{shown} would be read as octal; leave its first 0 out, or put text in quotes"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _refuse_tag(loader: yaml.SafeLoader, node: yaml.Node) -> None:
    # Whoever writes one may mean a secret that begins so.
    problem = "what begins with `!` is a tag to YAML, and not shown here; put text in quotes"
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without aliases, deep nesting, repeated keys and numbers that mislead."""

    yaml_constructors = {
        **yaml.SafeLoader.yaml_constructors,
        _INT: _whole_number,
        _FLOAT: _number,
        None: _refuse_tag,
    }
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

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            # 2024-99-99, or `!!int word`. What is raised quotes the value, which may be a secret.
            kind = node.tag.rpartition(":")[2]
            problem = f"the value is no {kind} to YAML; put text in quotes, without a tag"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error

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


def _text_value(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    # JSON writes a character beyond the first 65536 as two escapes, which YAML leaves two.
    value = loader.construct_yaml_str(node)
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


class _TextLoader(_StrictLoader):
    """The same without YAML's types: its readings of text are not a stranger's to choose."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag == _NULL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {
        tag: _StrictLoader.yaml_constructors[tag]
        for tag in (_NULL, *(f"tag:yaml.org,2002:{kind}" for kind in ("seq", "map")), None)
    } | {_STR: _text_value}
