"""
Is a file a video that can be protected, and what does it show? Asked of a process that can do no
harm.

The web never opens what strangers send: a process with as little memory and time as a worker's,
and no right to write anything, decodes the frame.
"""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction

from daemon.asked_process import AskedProcess, NoAnswer
from daemon.logs import server_log
from daemon.probe_process import CODES, VIDEO
from pipeline.errors import UnreadableMedia
from pipeline.settings import Limits

_MODULE = "daemon.probe_process"
# A picture of 33 million pixels, which is 8K, in which nothing is like anything.
_LONGEST_ANSWER = 128 << 20


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


_NOT_LOOKED_AT = Refusal(
    UnreadableMedia.code,
    "could not be looked at in time, or ended the process that tried; it is damaged.",
)
# No word of damage: from a key frame that lies far back, decoding takes long.
_NOT_FOUND = Refusal(
    UnreadableMedia.code, "finding it took too long, or ended the process that tried."
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """
    What a file shows at a moment.

    Attributes:
        png: made by who has looked into a stranger's file, so perhaps anything.
        seconds: when the frame begins, from the first.
        duration: of the video, in seconds; None where it does not say.
    """

    png: bytes
    seconds: float
    duration: float | None


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
            longest_answer=_LONGEST_ANSWER,
        )

    def refusal(self, descriptor: int) -> Refusal | None:
        """
        Return why an open file cannot be protected, None where it can.

        Args:
            descriptor: open for reading only: whoever looks at the file cannot write to it then.

        Raises:
            NoProcess: nobody could look at it.
        """
        answer = self._asked(b"", descriptor, _NOT_LOOKED_AT)
        return answer if isinstance(answer, Refusal) else None

    def still(self, descriptor: int, moment: Fraction) -> Picture | Refusal:
        """
        Return what an open file shows at a moment, or why that cannot be had.

        Args:
            descriptor: as for `refusal`.
            moment: seconds from the first frame.

        Raises:
            NoProcess: nobody could look at it.
        """
        answer = self._asked(str(moment).encode("ascii"), descriptor, _NOT_FOUND)
        return answer if isinstance(answer, Refusal) else _picture(answer)

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _asked(self, question: bytes, descriptor: int, no_answer: Refusal) -> bytes | Refusal:
        try:
            answer = self._process.ask(question, descriptor)
        except NoAnswer as error:
            server_log().warning("a file could not be looked at", reason=str(error))
            return no_answer
        if answer.startswith(VIDEO):
            return answer.removeprefix(VIDEO)
        code, _, reason = answer.decode("utf-8", "replace").partition("\0")
        # Who has looked into a stranger's file is not to be trusted: no code of its own making.
        return Refusal(code if code in CODES else UnreadableMedia.code, reason)


def _picture(answer: bytes) -> Picture | Refusal:
    times, _, png = answer.partition(b"\n")
    try:
        values = json.loads(times)
        duration = values["duration"]
        return Picture(png, float(values["seconds"]), None if duration is None else float(duration))
    except (ValueError, TypeError, KeyError, OverflowError):
        return _NOT_FOUND
