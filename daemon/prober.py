"""
Is an uploaded file a video that can be protected? Asked of a process that can do no harm.

The web never opens what strangers send: a process with as little memory and time as a worker's,
and no right to write anything, decodes the first frame.
"""

from __future__ import annotations

import dataclasses
import json

from daemon.asked_process import AskedProcess, NoAnswer
from daemon.logs import server_log
from daemon.probe_process import CODES, LONGEST_ANSWER, VIDEO
from pipeline.errors import UnreadableMedia
from pipeline.settings import Limits

_MODULE = "daemon.probe_process"


@dataclasses.dataclass(frozen=True)
class Refusal:
    """
    Why a file is not taken.

    Attributes:
        code: one of `pipeline.errors`.
        reason: the rest of a sentence that begins with the file's name.
    """

    code: str
    reason: str


class Prober:
    """Answers any number of threads, one file after the other."""

    def __init__(self, limits: Limits, timeout_seconds: float = 20.0) -> None:
        """
        Args:
            limits: what a worker keeps to as well.
            timeout_seconds: how long looking at one file may take.
        """
        self._process = AskedProcess(
            _MODULE,
            json.dumps(dataclasses.asdict(limits)),
            timeout_seconds=timeout_seconds,
            longest_answer=LONGEST_ANSWER,
        )

    def refusal(self, descriptor: int) -> Refusal | None:
        """
        Return why an open file cannot be protected, None where it can.

        Args:
            descriptor: open for reading only: whoever looks at the file cannot write to it then.

        Raises:
            NoProcess: nobody could look at it.
        """
        try:
            answer = self._process.ask(b"", descriptor)
        except NoAnswer as error:
            server_log().warning("an upload could not be looked at", reason=str(error))
            reason = "could not be looked at in time, or ended the process that tried;"
            return Refusal(UnreadableMedia.code, f"{reason} it is damaged.")
        if answer == VIDEO:
            return None
        code, _, reason = answer.decode("utf-8", "replace").partition("\0")
        # Who has looked into a stranger's file is not to be trusted: no code of its own making.
        return Refusal(code if code in CODES else UnreadableMedia.code, reason)

    def close(self) -> None:
        """End the process."""
        self._process.close()
