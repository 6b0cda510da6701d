"""`media-cleaner check-config`: what is wrong with the configuration and what it names."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from daemon import keys
from daemon.config import Config, config_of, find_config
from daemon.console import say, say_json, shows_both
from daemon.errors import CannotListen, ConfigError, UsageError
from daemon.folders import broken_link
from daemon.folders import problems as folder_problems
from daemon.listening import check_host
from daemon.networks import network_problems
from pipeline.report import aligned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take nothing but what every command takes."""


def run(arguments: argparse.Namespace) -> None:
    """
    Say every problem, or the folders and settings where there is none.

    Raises:
        ConfigError: there are problems.
    """
    path = find_config(arguments.config)
    config, problems = _checked(path)
    if arguments.json:
        say_json(_as_dict(path, config, problems))
    elif problems:
        say(problems)
    elif config:
        say(aligned(_rows(path, config)))
    if problems:
        # What a script sees of standard error is to say what is wrong; people have just read it.
        raise ConfigError(_counted(problems)) if shows_both() else ConfigError(*problems)


def _counted(problems: list[str]) -> str:
    if len(problems) == 1:
        return "1 problem, named above; correct it."
    return f"{len(problems)} problems, named above; correct them."


def _checked(path: Path | None) -> tuple[Config | None, list[str]]:
    try:
        config = config_of(path)
    except ConfigError as error:
        return None, list(error.problems)
    folders = folder_problems(config)
    address = [] if folders else _address_problems(config)  # it looks for keys in one of them
    return config, [*folders, *address, *network_problems(config.settings)]


def _address_problems(config: Config) -> list[str]:
    if config.web_workers == 0:  # that is for a unit of its own to say
        return []
    try:
        are_keys_there = keys.are_there(config.place(config.state) / keys.FOLDER)
        check_host(config.host, are_keys_there, config.auth.required)
    except (CannotListen, UsageError) as error:
        return [f"host: {error.message}"]
    return []


def _rows(path: Path | None, config: Config) -> Iterable[tuple[str, str]]:
    yield "config", str(path.absolute()) if path else "none here; the defaults hold"
    for key, folder in config.folders.items():
        yield key, f"{folder}{_state(folder)}"
    for name, value in {**_settings(config), "defaults": _defaults(config)}.items():
        yield name, _words(value)


def _state(folder: Path) -> str:
    if folder.exists():
        return ""
    return " (will be made)" if broken_link(folder) is None else " (a link that leads nowhere)"


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        given = {name: item for name, item in value.items() if item not in (None, [])}
        return ", ".join(f"{name} {_words(item)}" for name, item in given.items()) or "none"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _as_dict(path: Path | None, config: Config | None, problems: list[str]) -> dict[str, Any]:
    return {
        "config": path and str(path.absolute()),
        "problems": problems,
        "folders": config and {key: str(folder) for key, folder in config.folders.items()},
        "settings": config and _settings(config),
        "defaults": config and _defaults(config),
    }


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings under the names that config.yaml gives them."""
    settings = config.settings
    return {
        "surrogate": list(settings.surrogates),
        "weights": {name: str(file) for name, file in settings.weights.items()},
        "faces": {
            "detector": settings.faces.detector and str(settings.faces.detector),
            "embedders": [str(file) for file in settings.faces.embedders],
        },
        "speech": {"recognisers": [str(file) for file in settings.recognisers]},
        "device": settings.device,
        "crf": settings.crf,
        "preset": settings.preset,
        "odd_size": settings.odd_size,
        "limits": dataclasses.asdict(settings.limits),
    }


def _defaults(config: Config) -> dict[str, Any]:
    return config.parameters.model_dump(mode="json", exclude_none=True)
