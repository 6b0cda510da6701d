"""
The parameters of one task: one model for sidecar, upload, command line and defaults.

Only names, ranges and the budget that follows from them; where they come from is the
callers' business.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from pipeline.errors import InvalidParameters

# One step of ImageNet-normalised units is 0.226 of full scale: the mean of the three
# channels' standard deviations (0.229, 0.224, 0.225) that ImageNet networks divide by.
_NORMALISED_UNIT = 0.226
# As people write one. Python and pydantic also read `1_0` as 10.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# No sample may change by more than this many budgets.
PEAK_PER_BUDGET = 2.5


class AudioLevel(StrEnum):
    """How strongly speech is masked. The values are the names that records and answers use."""

    NONE = "none"
    WEAK = "слабый"
    MEDIUM = "средний"
    STRONG = "сильный"


class Mode(StrEnum):
    """`protect` changes picture and sound; `strip` removes metadata and copies the packets."""

    PROTECT = "protect"
    STRIP = "strip"


_LEVEL_ALIASES = {
    "weak": AudioLevel.WEAK,
    "medium": AudioLevel.MEDIUM,
    "strong": AudioLevel.STRONG,
}


def _audio_level(value: object) -> object:
    if isinstance(value, str):
        # Pasted from a name on macOS or from a PDF, `й` is two code points that look like one.
        word = unicodedata.normalize("NFC", value).strip().lower()
        return _LEVEL_ALIASES.get(word, word)
    return value


def _number(value: object) -> object:
    if isinstance(value, bool):  # bool is an int to Python; `epsilon: yes` is a mistake
        raise ValueError("not a number")
    if isinstance(value, str):
        value = value.strip()  # a form's may come from a file, with the end of its line
        if not NUMBER.fullmatch(value):
            raise ValueError("not a number")
    return value


_Epsilon = Annotated[float, BeforeValidator(_number), Field(ge=0.04, le=0.20, allow_inf_nan=False)]
_Strength = Annotated[float, BeforeValidator(_number), Field(ge=1.0, le=2.0, allow_inf_nan=False)]
_Count = Annotated[int, BeforeValidator(_number), Field(ge=1, le=30)]
_Level = Annotated[AudioLevel, BeforeValidator(_audio_level)]

_ALLOWED = {
    "epsilon": "a number from 0.04 to 0.20",
    "video_strength": "a number from 1.0 to 2.0",
    "audio_level": "one of none, слабый/weak, средний/medium, сильный/strong",
    "every_n_frames": "a whole number from 1 to 30",
    "user_id": "1 to 64 Latin letters, digits, `_`, `.`, `@` or `-`, not starting with `.`",
    "notes": "text of at most 2000 characters",
    "webhook_url": "an http or https URL of at most 2000 characters",
    "mode": "protect or strip",
}
_USER_ID = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_.@-]{0,63}")


class Parameters(BaseModel):
    """
    What one task asks for.

    Make it with `parse`, which raises `InvalidParameters`; the constructor raises
    pydantic's own error and is for code that already has right values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: _Epsilon = Field(
        default=0.12, description="Strength of the noise, ImageNet-normalised units."
    )
    video_strength: _Strength = Field(default=1.0, description="Multiplies epsilon.")
    audio_level: _Level = Field(
        default=AudioLevel.WEAK, description="Masking of speech in the sound."
    )
    every_n_frames: _Count = Field(
        default=10, description="The perturbation is computed anew at each N-th frame."
    )
    user_id: str | None = Field(default=None, description="Owner; names a folder in the outbox.")
    notes: str | None = Field(default=None, max_length=2000, description="Free text.")
    webhook_url: str | None = Field(
        default=None, max_length=2000, description="Called when the task ends."
    )
    mode: Mode = Field(
        default=Mode.PROTECT, description="protect, or strip: only the metadata goes."
    )

    @field_validator("user_id")
    @classmethod
    def _names_a_folder(cls, value: str | None) -> str | None:
        if value is not None and not _USER_ID.fullmatch(value):
            raise ValueError("not a user id")
        return value

    @field_validator("webhook_url")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)  # ValueError on a malformed host
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                raise ValueError("not an http URL")
        return value

    @property
    def budget(self) -> float:
        """Largest RMS change of a frame, in levels of an 8-bit plane (6.9 at the defaults)."""
        return self.epsilon * self.video_strength * _NORMALISED_UNIT * 255

    @classmethod
    def parse(cls, values: Mapping[str, Any], defaults: Parameters | None = None) -> Parameters:
        """
        Return the parameters that `values` asks for, the rest taken from `defaults`.

        Values may be strings, as forms and command lines send them. A name with the value
        None counts as not given.

        Raises:
            InvalidParameters: naming the first wrong field, its value and what is allowed.
        """
        for name in values:  # before pydantic, which does not say which name is no text
            if name not in _ALLOWED:
                known = ", ".join(_ALLOWED)
                raise InvalidParameters(f"Unknown parameter {name!r}; known are {known}.", name)
        base = (defaults or cls()).model_dump()
        given = {k: v for k, v in values.items() if v is not None}
        try:
            return cls.model_validate({**base, **given})
        except ValidationError as error:
            raise _invalid(error, values) from None


def allowed_values(field: str) -> str:
    """Return what a parameter may be, in words for a message or a help text."""
    return _ALLOWED[field]


def _invalid(error: ValidationError, values: Mapping[str, Any]) -> InvalidParameters:
    field = str(error.errors()[0]["loc"][0])
    shown = repr(values.get(field))
    shown = shown if len(shown) <= 100 else shown[:97] + "..."
    return InvalidParameters(f"{field} is {shown}; allowed is {_ALLOWED[field]}.", field)
