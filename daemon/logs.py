"""
What the service tells of itself: `logs/server.log` and `logs/queue.log`, and the console.

structlog over the standard library's logging. Each event goes to one of the two files, as one
line of JSON, and to the console as a line for people. What other libraries log goes to
server.log from WARNING on. Importing this module imports no structlog (50 ms): commands that
log nothing stay fast.

A line about a task has its `task_id`; a failed task is one line of level ERROR.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from daemon.console import printable
from daemon.log_file import LineFile, RotatedLineFile, tell_on_stderr

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

_OURS = "media_cleaner"
_SERVER = f"{_OURS}.server"
_QUEUE = f"{_OURS}.queue"
# JSON lets these through; they end a line for some readers, or rearrange it on a terminal.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}

_Facts = MutableMapping[str, Any]


def server_log() -> BoundLogger:
    """Return the log of the service: its folders, its health, its housekeeping."""
    return _logger(_SERVER)


def queue_log() -> BoundLogger:
    """Return the log of everything that happens to tasks."""
    return _logger(_QUEUE)


def configure_logs(
    folder: Path,
    level: int = logging.INFO,
    console: TextIO | None = None,
    rotates: bool = True,
) -> None:
    """
    Let this process write its logs into `folder`, and for people to `console`.

    Args:
        level: from which on our own events are written.
        console: None for none.
        rotates: is this the one process that rotates the files? That is the service.
    """
    reset_logs()
    make = RotatedLineFile if rotates else LineFile
    shown = [_Console(console)] if console is not None else []
    server, queue = (make(folder / name) for name in ("server.log", "queue.log"))
    for file in (server, queue):
        file.setFormatter(_formatter(_json_line))
    # All that others log comes to the root; our server's log goes the same way.
    _attach(logging.getLogger(), logging.WARNING, [server, *shown])
    _attach(logging.getLogger(_QUEUE), level, [queue, *shown])
    logging.getLogger(_QUEUE).propagate = False
    logging.getLogger(_SERVER).setLevel(level)
    _silence_unconfigured()
    logging.captureWarnings(True)


def log_trouble() -> str | None:
    """Return why log lines of this process are lost, in words; None where they are not."""
    for name in (None, _QUEUE):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, LineFile) and (reason := handler.trouble()) is not None:
                return f"{reason}; log lines are lost until it can be."
    return None


def reset_logs() -> None:
    """Take back what `configure_logs` did, if it did anything."""
    for name, level in ((None, logging.WARNING), (_QUEUE, logging.NOTSET)):
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if isinstance(h, (LineFile, _Console))]:
            logger.removeHandler(handler)
            handler.close()
            logger.setLevel(level)
    logging.getLogger(_SERVER).setLevel(logging.NOTSET)
    logging.getLogger(_QUEUE).propagate = True
    logging.captureWarnings(False)
    _show_unconfigured()


class Once:
    """
    Tells of a state that is looked at again and again: when it turns bad, when it is bad in
    another way, and when it is good again. In between it only counts.

    One that changes or comes and goes all the time is told of once in `pause_seconds`.
    """

    def __init__(
        self,
        log: BoundLogger,
        pause_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        level: int = logging.WARNING,
    ) -> None:
        """`level`: of a line that tells of something bad."""
        self._log = log
        self._level = level
        self._pause = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Hashable], _Trouble] = {}

    def tell(self, event: str, is_bad: bool, *, of: Hashable = None, **facts: Any) -> None:
        """
        Say how it stands.

        Args:
            event: what is bad, such as "no room on the disk".
            of: what it is about, where the same can befall several: a folder, an inbox.
            facts: how it is bad; they are written, and a change of them is told.
        """
        with self._lock:
            known = self._known.get((event, of))
            if is_bad:
                known = known or self._known.setdefault((event, of), _Trouble(self._clock()))
                self._tell_bad(event, of, facts, known)
            elif known is not None:
                self._tell_good(event, of, known)

    def _tell_bad(self, event: str, of: Hashable, facts: _Facts, known: _Trouble) -> None:
        known.times += 1
        now = self._clock()
        if facts != known.facts and now >= known.told + self._pause:
            counted = {"times": known.times} if known.times > 1 else {}
            self._log.log(self._level, event, **_about(of), **facts, **counted)
            known.facts, known.told = facts, now

    def _tell_good(self, event: str, of: Hashable, known: _Trouble) -> None:
        now = self._clock()
        if known.facts is not None:
            seconds = round(now - known.since, 1)
            self._log.info(f"{event}: over", **_about(of), times=known.times, seconds=seconds)
            known.facts = None
        known.since, known.times = now, 0
        if now >= known.told + self._pause:
            del self._known[event, of]  # else remembered for a while, lest it flickers


@dataclass
class _Trouble:
    since: float
    times: int = 0
    facts: Mapping[str, Any] | None = None  # as they were told; None: not told
    told: float = -math.inf


def _about(of: Hashable) -> dict[str, Hashable]:
    return {} if of is None else {"of": of}


@functools.cache
def _logger(name: str) -> BoundLogger:
    import structlog

    _show_unconfigured()
    logger: BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    ).bind()
    return logger


def _attach(logger: logging.Logger, level: int, handlers: list[logging.Handler]) -> None:
    logger.setLevel(level)
    for handler in handlers:
        logger.addHandler(handler)


def _formatter(render: Callable[[Mapping[str, Any]], str]) -> logging.Formatter:
    from structlog.processors import format_exc_info
    from structlog.stdlib import ProcessorFormatter

    def rendered(logger: object, name: str, facts: _Facts) -> str:
        return render(_in_order(facts))

    return ProcessorFormatter(processors=[rendered], foreign_pre_chain=[format_exc_info])


def _in_order(facts: _Facts) -> dict[str, Any]:
    """Return what a line says, the same for our own events and those of others."""
    record: logging.LogRecord = facts.pop("_record")
    first = {
        "timestamp": datetime.fromtimestamp(record.created).astimezone().isoformat(),
        "level": record.levelname,
        "event": str(facts.pop("event", "")).strip(),
    }
    if not facts.pop("_from_structlog"):
        first["logger"] = record.name
    return first | dict(facts) | first  # no fact takes the place of one of these


def _json_line(values: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):
        # What is no JSON, as NaN or a mapping with other keys than text, is told as Python does.
        shown = {
            key: value if isinstance(value, int) else str(value) for key, value in values.items()
        }
        text = json.dumps(shown, ensure_ascii=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _Console(logging.Handler):
    """Lines for people, on a terminal or in the journal."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self.setFormatter(_formatter(functools.partial(_people_line, is_coloured=_wants(stream))))

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line; a console that is gone is nobody to tell that to."""
        try:
            line = self.format(record)
            encoding = self._stream.encoding or "utf-8"
            self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # closed, or its reader is gone; the files have it all
        except Exception as error:  # a fact that cannot even be shown; the file tells the same
            tell_on_stderr(f"a log line cannot be made: {type(error).__name__}: {error}")


def _wants(stream: TextIO) -> bool:
    """Does this console want colours? See no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _people_line(values: Mapping[str, Any], is_coloured: bool) -> str:
    rest = {name: value for name, value in values.items() if name not in ("timestamp", "level")}
    event = printable(str(rest.pop("event")))
    time_of_day = values["timestamp"][11:19]
    colour = _COLOURS.get(values["level"]) if is_coloured else None
    level = f"\x1b[{colour}m{values['level']}\x1b[0m" if colour else values["level"]
    return " ".join([time_of_day, level, event, *map(_people_fact, rest.items())])


def _people_fact(fact: tuple[str, Any]) -> str:
    name, value = fact
    text = str(value)
    if name == "exception":
        text = text.rstrip().rpartition("\n")[2]  # where it came from stands in the file
    if not text or any(c.isspace() or c in "\"'=" for c in text):
        text = json.dumps(text, ensure_ascii=False)
    return f"{name}={printable(text)}"


class _Unconfigured(logging.Handler):
    """Where no logs are configured, as in a command: what is wrong goes to standard error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        if sys.stderr is not None:
            _Console(sys.stderr).emit(record)


def _show_unconfigured() -> None:
    """Show what is wrong as long as no logs are configured."""
    logger = logging.getLogger(_OURS)
    is_configured = any(isinstance(h, LineFile) for h in logging.getLogger().handlers)
    if not logger.handlers and not is_configured:
        logger.addHandler(_Unconfigured())


def _silence_unconfigured() -> None:
    logger = logging.getLogger(_OURS)
    for handler in [h for h in logger.handlers if isinstance(h, _Unconfigured)]:
        logger.removeHandler(handler)
