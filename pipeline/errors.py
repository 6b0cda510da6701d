"""
What can go wrong with one video, in words for the person who sent it.

    PipelineError            code, message, retryable
    ├─ InvalidParameters     the request is wrong; field names what
    ├─ MediaError            the file is
    │  ├─ UnreadableMedia    damaged, empty, or no video at all
    │  └─ UnsupportedMedia   sound, but we do not take it
    │     └─ LimitExceeded   larger than the operator allows
    ├─ SurrogateUnavailable  a named network cannot be loaded
    ├─ OutOfMemory           more memory was needed than there is or than is allowed
    │  └─ GpuOutOfMemory     more of the GPU's than is free
    ├─ InputFailed           the original's disk or share does not give it
    ├─ OutputFailed          the result cannot be written (disk, rights)
    └─ VerificationFailed    the result was written but does not read back right
       └─ MetadataLeft       it still says what must not be said
    Cancelled                not an error; stands outside

`ValueError` is for programmers, `PipelineError` for users. The codes are part of the
REST interface and of the status files: they never change meaning. Every class survives
pickling, because workers send them to the service.
"""

from __future__ import annotations

from typing import Any, ClassVar


class PipelineError(Exception):
    """A reason a user understands; `message` names the file, the fact and the next step."""

    code: ClassVar[str] = "pipeline_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidParameters(PipelineError):
    """A parameter is out of range, of the wrong type, or unknown."""

    code = "invalid_parameter"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.field)


class MediaError(PipelineError):
    """The file itself is the reason."""

    code = "media_error"


class UnreadableMedia(MediaError):
    """Not a video, or too damaged to read a single frame."""

    code = "unreadable_media"


class UnsupportedMedia(MediaError):
    """A readable video of a kind that cannot be protected without spoiling it."""

    code = "unsupported_media"


class LimitExceeded(UnsupportedMedia):
    """Beyond one of the operator's `limits`."""

    code = "limit_exceeded"


class SurrogateUnavailable(PipelineError):
    """A surrogate that the configuration names cannot be loaded."""

    code = "surrogate_unavailable"


class OutOfMemory(PipelineError):
    """The machine, or `limits.worker_memory_gb`, has less memory than the video needs."""

    code = "out_of_memory"


class GpuOutOfMemory(OutOfMemory):
    """The GPU, which others use as well, has less memory free than the networks need."""

    retryable = True


class InputFailed(PipelineError):
    """The disk or the share on which the original lies fails; nothing is wrong with the file."""

    code = "input_failed"
    retryable = True


class OutputFailed(PipelineError):
    """The protected file could not be written."""

    code = "output_failed"
    retryable = True


class VerificationFailed(PipelineError):
    """The protected file does not read back as it was written."""

    code = "verification_failed"
    retryable = True


class MetadataLeft(VerificationFailed):
    """The audit found in the result what must not be there; another try finds it again."""

    code = "metadata_left"
    retryable = False


class Cancelled(Exception):
    """The work was called off. Not an error: nothing is wrong with the file."""


def is_caused_by(error: BaseException, numbers: tuple[int, ...]) -> bool:
    """Say whether one of these system errors is anywhere in what led to `error`."""
    return cause_among(error, numbers) is not None


def cause_among(error: BaseException, numbers: tuple[int, ...]) -> BaseException | None:
    """Return the first of these system errors in what led to `error`; None if there is none."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        if getattr(cause, "errno", None) in numbers:
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None
