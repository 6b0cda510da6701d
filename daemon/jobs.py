"""
What the service and its worker processes say to each other, and what the pool says of it.

    to a worker      Job, Stop
    from a worker    Ready; Moved, perhaps NearlyDone, then one of Finished, Failed, Stopped; Spent
    from the pool    Progressed; Done, Refused, Lost or Ended, one of them for each job

Everything pickles and imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.task import Failure, Progress
from pipeline.parameters import Parameters
from pipeline.settings import Settings


@dataclass(frozen=True)
class Bounds:
    """
    What a worker process keeps to, from its start on.

    Attributes:
        memory_gb: address space beyond what the program itself maps; not where CUDA is used.
        device: as in `pipeline.settings.Settings`.
    """

    memory_gb: float
    device: str = "auto"


@dataclass(frozen=True)
class Job:
    """
    One attempt at a task, as its worker is told of it. All paths are absolute.

    Attributes:
        token: names the attempt.
        original: the video; its name is the one that its sender knows.
        folder: the attempt's own in temp/; it is there already.
        outbox, subfolder: where the result is to be renamed to; it is there already.
    """

    task_id: str
    token: str
    original: Path
    folder: Path
    outbox: Path
    subfolder: str
    parameters: Parameters
    settings: Settings

    @property
    def outbox_folder(self) -> Path:
        """As people know it; strangers may have put a link in its way (`daemon.held_folder`)."""
        return self.outbox / self.subfolder

    def with_threads(self, threads: int) -> Job:
        """Return the same with so many threads of the encoder."""
        return dataclasses.replace(
            self, settings=dataclasses.replace(self.settings, threads=threads)
        )


@dataclass(frozen=True)
class Stop:
    """Give this attempt up."""

    token: str


@dataclass(frozen=True)
class Ready:
    """The worker takes a job."""


@dataclass(frozen=True)
class Spent:
    """The worker takes no further job: something of the last one may cling to it."""


@dataclass(frozen=True)
class Moved:
    """The attempt has begun, or got on."""

    progress: Progress

    @property
    def token(self) -> str:
        """The attempt's."""
        return self.progress.token


@dataclass(frozen=True)
class NearlyDone:
    """Nothing but the last moments of the attempt are left; it may still fail."""

    token: str


@dataclass(frozen=True)
class Finished:
    """
    The result is complete, read back, and flushed to the disk.

    Attributes:
        staged: where it lies, on the file system of the job's `outbox_folder`.
        suffix: ending of the name that it is to get.
        report: what JSON can hold.
    """

    token: str
    staged: Path
    suffix: str
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """
    There is no result.

    Attributes:
        details: of what nobody foresaw, for the log.
        is_spoilt: may something of it cling to the process, which is to do nothing more then?
    """

    token: str
    failure: Failure
    is_retryable: bool
    details: str | None = None
    is_spoilt: bool = False


@dataclass(frozen=True)
class Stopped:
    """The attempt was given up as it was asked to be."""

    token: str


@dataclass(frozen=True)
class Progressed:
    """A job got on."""

    job: Job
    progress: Progress


@dataclass(frozen=True)
class Done:
    """A job has its result; the fields are those of `Finished`."""

    job: Job
    staged: Path
    suffix: str
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Refused:
    """A worker gave a job up for a reason; the fields are those of `Failed`."""

    job: Job
    failure: Failure
    is_retryable: bool
    details: str | None


@dataclass(frozen=True)
class Lost:
    """The process that worked on a job died, or moved nothing any more and was killed."""

    job: Job
    failure: Failure


@dataclass(frozen=True)
class Ended:
    """
    A job was stopped as asked, or no worker was to begin it.

    A result that it had in the very moment of the stop does not count.
    """

    job: Job


Event = Progressed | Done | Refused | Lost | Ended
