"""
The process behind `daemon.prober`: opens a stranger's file, decodes one frame, and may be killed.

It is given an open file and asked nothing more, or a moment in seconds. It answers `VIDEO`, and
after it that moment's picture: a line of JSON with `seconds` and `duration`, and a PNG. Or it says
why it cannot: a code of `pipeline.errors`, a zero byte, and the rest of a sentence that begins with
the file's name.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import signal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.asked_process import READY, next_question
from daemon.child import child_arguments, child_connection
from pipeline.errors import (
    LimitExceeded,
    MediaError,
    OutOfMemory,
    UnreadableMedia,
    UnsupportedMedia,
)
from pipeline.limits import limit_address_space
from pipeline.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

VIDEO = b"v"
_LONGEST_REFUSAL = 2000
CODES = tuple(kind.code for kind in (UnreadableMedia, UnsupportedMedia, LimitExceeded, OutOfMemory))
_MOST_DESCRIPTORS = 64
# The kernel kills the process with the highest sum of memory and this (-1000 to 1000) first.
_OOM_SCORE = "800"


def main() -> None:
    """Answer until the parent hangs up."""
    connection = child_connection()
    (text,) = child_arguments()
    limits = Limits(**json.loads(text))
    # Imported before the limits, which then bound what files take and not what the program does.
    from pipeline.probe import probe
    from pipeline.still import still

    def look(path: Path, moment: str) -> bytes:
        if not moment:
            probe(path, limits)
            return b""
        found = still(path, Fraction(moment), limits)
        times = json.dumps({"seconds": found.seconds, "duration": found.duration})
        return times.encode() + b"\n" + found.png

    _give_up_what_is_not_needed(limits.worker_memory_gb)
    connection.send_bytes(READY)
    while True:
        try:
            moment, descriptor = next_question(connection)
        except EOFError:
            return
        try:
            answer = _answer(descriptor, functools.partial(look, moment=moment.decode("ascii")))
        finally:
            os.close(descriptor)
        connection.send_bytes(answer)


def _answer(descriptor: int, look: Callable[[Path], bytes]) -> bytes:
    path = Path(f"/proc/self/fd/{descriptor}")
    try:
        return VIDEO + look(path)
    except MediaError as error:
        return _refusal(error.code, error.message.removeprefix(path.name).strip())
    except MemoryError:
        needs = "needs more memory than limits.worker_memory_gb allows."
        return _refusal(OutOfMemory.code, needs)
    except Exception as error:  # whatever a damaged file does to a decoder
        reason = f"is damaged ({type(error).__name__}); check that it plays."
        return _refusal(UnreadableMedia.code, reason)


def _refusal(code: str, reason: str) -> bytes:
    return b"\0".join((code.encode(), reason.encode("utf-8", "replace")))[:_LONGEST_REFUSAL]


def _give_up_what_is_not_needed(memory_gb: float) -> None:
    # systemd and a closing terminal signal every process of a service; it ends with its parent.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    limit_address_space(memory_gb)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_DESCRIPTORS, _MOST_DESCRIPTORS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(OSError):  # some containers forbid it; nothing depends on it
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, "ascii")


if __name__ == "__main__":
    main()
