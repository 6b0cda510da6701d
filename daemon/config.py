"""
config.yaml as checked values.

Defaults live here and in `pipeline.settings`, nowhere else. Parts receive the values they
need, never the whole configuration. How a value that is wrong is told is `config_problems`'s.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictBool,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from daemon.config_problems import what_is_wrong, yaml_hint
from daemon.errors import ConfigError
from daemon.names import is_left_alone, is_sidecar
from daemon.webhook_url import check_literal
from daemon.yaml_file import read_mapping
from pipeline.errors import InvalidParameters
from pipeline.parameters import Parameters
from pipeline.settings import EMBEDDED, PRESETS, FaceSettings, Settings, names_a_file
from pipeline.settings import Limits as PipelineLimits

DEFAULT_NAME = "config.yaml"
MOST_WORKERS = 1024
ENVIRONMENT_NAME = "MEDIA_CLEANER_CONFIG"

_LIMITS = PipelineLimits()
_SETTINGS = Settings()


def _number(value: object) -> object:
    if isinstance(value, (bool, str)):  # `crf: yes` and `crf: "20"` are mistakes
        raise ValueError("not a number")
    return value


def _path(value: object) -> object:
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise ValueError("not a path")
    try:
        os.fsencode(value)  # half of a surrogate pair, which YAML can write, names no file
        return Path(value).expanduser()
    except UnicodeEncodeError as error:
        raise ValueError("not a path") from error
    except RuntimeError as error:
        raise ValueError("names a user that is not known here") from error


_Path = Annotated[Path, BeforeValidator(_path)]


def _extension(value: object) -> object:
    if not isinstance(value, str) or not _EXTENSION.fullmatch(value):
        raise ValueError("not a file name's ending")
    if is_sidecar(f"x{value}") or is_left_alone(f"x{value.lower()}"):
        raise ValueError("is that of a sidecar or of an unfinished transfer")
    return value.lower()


_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}")
_Extension = Annotated[str, BeforeValidator(_extension)]
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]


def _count(low: int, high: int) -> Any:
    return Annotated[int, BeforeValidator(_number), Field(ge=low, le=high)]


def _amount(high: float = 1 << 40) -> Any:
    """A number above 0, at most `high`."""
    return Annotated[float, BeforeValidator(_number), Field(gt=0, le=high, allow_inf_nan=False)]


def _span(low: float, high: float) -> Any:
    """A number from `low` to `high`."""
    return Annotated[float, BeforeValidator(_number), Field(ge=low, le=high, allow_inf_nan=False)]


_DAY_S = 86_400
_LONGEST_DAYS = 36_500


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Inbox(_Section):
    """One watched folder, with an outbox and default parameters of its own if it has any."""

    name: _Name
    inbox: _Path
    outbox: _Path | None = None
    defaults: dict[str, Any] = Field(default_factory=dict)


class Limits(_Section):
    """See `pipeline.settings.Limits`."""

    max_pixels: _count(1, 1 << 40) = _LIMITS.max_pixels  # type: ignore[valid-type]
    max_duration_h: _amount() = _LIMITS.max_duration_h  # type: ignore[valid-type]
    max_streams: _count(1, 10_000) = _LIMITS.max_streams  # type: ignore[valid-type]
    max_fps: _amount() = _LIMITS.max_fps  # type: ignore[valid-type]
    worker_memory_gb: _amount() = _LIMITS.worker_memory_gb  # type: ignore[valid-type]


class Retention(_Section):
    """After how many days what is removed; None is never. `docs/FOLDERS.md` has the table."""

    results_days: _span(0, _LONGEST_DAYS) | None = 7.0  # type: ignore[valid-type]
    failed_days: _span(0, _LONGEST_DAYS) | None = 30.0  # type: ignore[valid-type]
    originals_days: _span(0, _LONGEST_DAYS) | None = None  # type: ignore[valid-type]
    records_days: _span(0, _LONGEST_DAYS) | None = 90.0  # type: ignore[valid-type]


def _network(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("not an address")
    return str(ipaddress.ip_network(value, strict=False))


_Network = Annotated[str, BeforeValidator(_network)]


class Auth(_Section):
    """Who may call the interface."""

    required: StrictBool = True  # `"no"` is text, which pydantic would take for false


class Webhook(_Section):
    """How the ends of tasks are told to others."""

    allow_private: StrictBool = False
    secret: Annotated[str, StringConstraints(min_length=16, max_length=200)] | None = None


def _onnx(path: Path) -> Path:
    if path.suffix.lower() != ".onnx":
        raise ValueError("not an ONNX file")
    return path


def _network_file(path: Path) -> Path:
    if not names_a_file(path.suffix.lower()):
        raise ValueError("not a network's file")
    return path


def _torchscript(path: Path) -> Path:
    if path.suffix.lower() == ".onnx":
        raise ValueError("not a TorchScript file")
    return _network_file(path)


def _one_or_several(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _differing(files: tuple[Path, ...]) -> tuple[Path, ...]:
    if len(set(files)) < len(files):  # one that stands twice would weigh double
        raise ValueError("files repeat")
    return files


_Detector = Annotated[_Path, AfterValidator(_onnx)]
_Embedders = Annotated[
    tuple[Annotated[_Path, AfterValidator(_network_file)], ...],
    BeforeValidator(_one_or_several),
    AfterValidator(_differing),
]
_Recognisers = Annotated[
    tuple[Annotated[_Path, AfterValidator(_torchscript)], ...],
    BeforeValidator(_one_or_several),
    AfterValidator(_differing),
]


class Faces(_Section):
    """What finds faces, and the recognisers of faces that are to misread them."""

    detector: _Detector | None = None
    embedders: _Embedders = ()

    @model_validator(mode="after")
    def _both_or_neither(self) -> Faces:
        if (self.detector is None) != (not self.embedders):
            raise ValueError("one without the other")
        return self


class Speech(_Section):
    """The recognisers of speech that are to misread it."""

    recognisers: _Recognisers = ()


class _WrongDefaults(Exception):
    """Parameters in the configuration are wrong; the message names the key."""


@contextlib.contextmanager
def _telling_of(key: str) -> Iterator[None]:
    try:
        yield
    except InvalidParameters as error:
        raise _WrongDefaults(f"{key}: {error.message}") from error


class Config(_Section):
    """
    The whole configuration; relative paths are from the folder of its file.

    Make it with `load_config` or `default_config`.
    """

    inboxes: tuple[Inbox, ...] = (Inbox(name="main", inbox=Path("inbox")),)
    outbox: _Path = Path("outbox")
    temp: _Path = Path("temp")
    logs: _Path = Path("logs")
    state: _Path = Path("state")
    extensions: Annotated[tuple[_Extension, ...], Field(min_length=1)] = (
        ".mp4",
        ".mov",
        ".avi",
        ".mkv",
        ".webm",
    )
    settle_s: _span(0, _DAY_S) = 5.0  # type: ignore[valid-type]
    sidecar_grace_s: _span(0, _DAY_S) = 2.0  # type: ignore[valid-type]
    incomplete_wait_s: _span(0, 30 * _DAY_S) = 600.0  # type: ignore[valid-type]
    rescan_s: _span(0.1, _DAY_S) = 10.0  # type: ignore[valid-type]
    max_video_size_gb: _amount() = 2.0  # type: ignore[valid-type]
    max_pending: _count(1, 10_000_000) = 20_000  # type: ignore[valid-type]
    workers: _count(1, MOST_WORKERS) | None = None  # type: ignore[valid-type]
    max_attempts: _count(1, 100) = 2  # type: ignore[valid-type]
    task_timeout_hours: _amount(10_000) = 6.0  # type: ignore[valid-type]
    stall_s: _span(1, _DAY_S) = 120.0  # type: ignore[valid-type]
    drain_s: _span(0, _DAY_S) = 30.0  # type: ignore[valid-type]
    min_free_gb: _span(0, 1 << 20) = 1.0  # type: ignore[valid-type]
    cleanup_hour: _count(0, 23) = 2  # type: ignore[valid-type]
    retention: Retention = Retention()
    language: Literal["ru", "en"] = "ru"
    host: Annotated[str, StringConstraints(min_length=1, max_length=253)] = "127.0.0.1"
    port: _count(0, 65535) = 8000  # type: ignore[valid-type]
    web_workers: _count(0, 64) = 2  # type: ignore[valid-type]
    trusted_proxies: tuple[_Network, ...] = ()
    accel_redirect: Annotated[str, StringConstraints(pattern=r"^/.*/$")] | None = None
    auth: Auth = Auth()
    webhook: Webhook = Webhook()
    surrogate: tuple[str, ...] = _SETTINGS.surrogates
    weights: dict[str, _Path] = Field(default_factory=dict)
    faces: Faces = Faces()
    speech: Speech = Speech()
    device: Literal["auto", "cpu", "cuda"] = _SETTINGS.device
    crf: _count(0, 51) = _SETTINGS.crf  # type: ignore[valid-type]
    preset: Literal[PRESETS] = _SETTINGS.preset  # type: ignore[valid-type]
    odd_size: Literal["pad", "keep"] = _SETTINGS.odd_size
    limits: Limits = Limits()
    defaults: dict[str, Any] = Field(default_factory=dict)

    _folder: Path = PrivateAttr(default=Path())

    @field_validator("surrogate", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not names:
            raise ValueError("not a name")
        if not all(isinstance(name, str) and name for name in names):
            raise ValueError("not a name")
        if EMBEDDED in names and len(names) > 1:
            raise ValueError("embedded stands alone")
        return tuple(names)

    @field_validator("inboxes")
    @classmethod
    def _names_differ(cls, inboxes: tuple[Inbox, ...]) -> tuple[Inbox, ...]:
        names = [inbox.name for inbox in inboxes]
        if not names or len(set(names)) < len(names):
            raise ValueError("names repeat, or there is none")
        return inboxes

    @model_validator(mode="after")
    def _defaults_are_parameters(self) -> Config:
        with _telling_of("defaults"):
            self._check_webhook(Parameters.parse(self.defaults))
        for inbox in self.inboxes:
            with _telling_of(f"inboxes.{inbox.name}.defaults"):
                self._check_webhook(self.defaults_of(inbox))
        return self

    def _check_webhook(self, parameters: Parameters) -> None:
        """No name is looked up: what one leads to, and whether it is there, changes."""
        if parameters.webhook_url is not None:
            check_literal(parameters.webhook_url, self.webhook.allow_private)

    @property
    def max_video_bytes(self) -> int:
        """How large a video may be; a GB is 2^30 bytes."""
        return round(self.max_video_size_gb * (1 << 30))

    @property
    def parameters(self) -> Parameters:
        """What a task gets where it asks for nothing."""
        return Parameters.parse(self.defaults)

    def defaults_of(self, inbox: Inbox) -> Parameters:
        """The same for a task of one inbox."""
        return Parameters.parse(inbox.defaults, self.parameters)

    def outbox_of(self, inbox: Inbox) -> Path:
        """Where the results of one inbox go."""
        return self.place(inbox.outbox or self.outbox)

    @property
    def settings(self) -> Settings:
        """What the work on every video takes from the configuration."""
        return Settings(
            surrogates=tuple(self._surrogate_place(name) for name in self.surrogate),
            weights={name: self.place(path) for name, path in self.weights.items()},
            crf=self.crf,
            preset=self.preset,
            odd_size=self.odd_size,
            faces=self._face_settings,
            recognisers=tuple(self.place(path) for path in self.speech.recognisers),
            device=self.device,
            limits=PipelineLimits(**self.limits.model_dump()),
        )

    @property
    def _face_settings(self) -> FaceSettings:
        detector = self.faces.detector
        return FaceSettings(
            detector=None if detector is None else self.place(detector),
            embedders=tuple(self.place(path) for path in self.faces.embedders),
        )

    def _surrogate_place(self, name: str) -> str:
        """Return a surrogate's name; one that is a file's is made absolute, as all paths here."""
        return str(self.place(Path(name))) if names_a_file(name) else name

    @property
    def folders(self) -> dict[str, Path]:
        """Every runtime folder's place, by the key that sets it."""
        places: dict[str, Path] = {}
        for inbox in self.inboxes:
            places[f"inboxes.{inbox.name}.inbox"] = self.place(inbox.inbox)
            if inbox.outbox is not None:
                places[f"inboxes.{inbox.name}.outbox"] = self.place(inbox.outbox)
        for key in ("outbox", "temp", "logs", "state"):
            places[key] = self.place(getattr(self, key))
        return places

    def place(self, path: Path) -> Path:
        """Return an absolute path."""
        return (self._folder / path).absolute()


def default_config(folder: Path) -> Config:
    """Return the configuration of an empty file in `folder`."""
    return _checked({}, folder, "the defaults")


def current_config(named: Path | None) -> Config:
    """
    Return the configuration of this run, which is the defaults where there is no file.

    Raises:
        ConfigError: the file is wrong, or the one named is not there.
    """
    return config_of(find_config(named))


def config_of(path: Path | None) -> Config:
    """
    Return the configuration that a file holds; that of the current folder where there is none.

    Raises:
        ConfigError: as `load_config`.
    """
    return load_config(path) if path else default_config(Path.cwd())


def find_config(named: Path | None) -> Path | None:
    """
    Return the file to read: the one named, else $MEDIA_CLEANER_CONFIG, else ./config.yaml.

    Raises:
        ConfigError: the current folder may not be entered, so nobody can tell whether it has one.
    """
    if named is not None:
        return named
    if from_environment := os.environ.get(ENVIRONMENT_NAME):
        return Path(from_environment)
    try:
        return Path(DEFAULT_NAME) if Path(DEFAULT_NAME).exists() else None
    except OSError as error:  # as where root has another user do it from its own home
        raise ConfigError(
            f"{DEFAULT_NAME} in the current folder cannot be read: {error.strerror}; name the"
            " configuration by --config, or call this from another folder."
        ) from error


def load_config(path: Path) -> Config:
    """
    Return the configuration that a file holds.

    Raises:
        ConfigError: naming the file, the key, the value and what is allowed.
    """
    return _checked(read_mapping(path), path.absolute().parent, str(path))


def _checked(values: Mapping[str, Any], folder: Path, name: str) -> Config:
    try:
        config = Config.model_validate(dict(values))
    except _WrongDefaults as error:
        raise ConfigError(f"{name}: {error}{yaml_hint(str(error))}") from error
    except ValidationError as error:
        found = (what_is_wrong(e, values) for e in error.errors())
        raise ConfigError(*(f"{name}: {problem}" for problem in found)) from error
    config._folder = folder
    return config
