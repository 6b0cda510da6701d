"""
GET /still/<id>: what the original or the protected video shows at a moment, for eyes that compare.

Decoding is left to a process that may come to harm (`daemon.prober`), another than the one that
looks at uploads: who moves a slider holds up nobody's video.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app
from flask.blueprints import BlueprintSetupState

from daemon.asked_process import NoProcess
from daemon.logs import server_log
from daemon.originals import held_original, inbox_of
from daemon.prober import Picture, Prober, Refusal
from daemon.task import Task
from daemon.web.context import context
from daemon.web.downloads import opened_result
from daemon.web.errors import ApiError, invalid, unavailable
from daemon.web.languages import text
from daemon.web.own_tasks import own_task
from daemon.web.queries import query_of

blueprint = Blueprint("stills", __name__)

ORIGINAL, PROTECTED = "original", "protected"
_NAME = "media_cleaner_stills"
# Each holds one of the process's threads while it waits for its turn, and then a whole picture,
# which may be 100 MB, until it is sent.
_MOST_AT_ONCE = 6
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{0,20})?")
# Nothing, a link on the way, which is not followed, or (0) something that is no file.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, 0)


@dataclass(frozen=True)
class _Parts:
    prober: Prober
    free: threading.BoundedSemaphore


@blueprint.record
def _prepare(state: BlueprintSetupState) -> None:
    app: Any = state.app
    with app.app_context():
        limits = context().config.settings.limits
    app.extensions[_NAME] = _Parts(Prober(limits), threading.BoundedSemaphore(_MOST_AT_ONCE))


@blueprint.get("/still/<task_id>")
def show(task_id: str) -> Response:
    """Send one frame as PNG."""
    asked = query_of("of", "at")
    which, moment = _which(asked), _moment(asked)
    task = own_task(task_id)
    parts: _Parts = current_app.extensions[_NAME]
    if not parts.free.acquire(blocking=False):
        raise unavailable("too_many_stills", "stills.too_many")
    with contextlib.ExitStack() as place:
        place.callback(parts.free.release)
        response = _sent(_looked_at(parts.prober, task, which, moment))
        response.call_on_close(place.pop_all().close)
    return response


def _looked_at(prober: Prober, task: Task, which: str, moment: Fraction) -> Picture:
    with _opened(task, which) as descriptor:
        try:
            found = prober.still(descriptor, moment)
        except NoProcess as error:
            server_log().error("nobody to look at videos", reason=str(error))
            raise unavailable("no_prober", "stills.no_prober") from error
    if isinstance(found, Refusal):
        name = task.input_video
        raise ApiError(415, found.code, "stills.unreadable", name=name, reason=found.reason)
    return found


def _sent(picture: Picture) -> Response:
    response = Response(picture.png, mimetype="image/png")
    response.headers["Still-Seconds"] = f"{picture.seconds:.6f}"
    if picture.duration is not None:
        response.headers["Video-Seconds"] = f"{picture.duration:.6f}"
    response.headers["Cache-Control"] = "no-store"
    return response


@contextlib.contextmanager
def _opened(task: Task, which: str) -> Iterator[int]:
    if which == PROTECTED:
        with opened_result(task) as result:
            yield result.descriptor
        return
    descriptor = _open_original(task)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_original(task: Task) -> int:
    try:
        with held_original(Path(task.original)) as path:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        if context().is_away(inbox_of(Path(task.original))):
            raise unavailable("storage_unavailable", "errors.storage") from error
        raise _gone(task) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _gone(task)
    return descriptor


def _gone(task: Task) -> ApiError:
    return ApiError(410, "original_removed", "stills.original_removed", task_id=task.task_id)


def _which(asked: Mapping[str, str]) -> str:
    value = asked.get("of", PROTECTED)
    if value not in (ORIGINAL, PROTECTED):
        raise invalid("of", value, text("stills.of"))
    return value


def _moment(asked: Mapping[str, str]) -> Fraction:
    value = asked.get("at", "0")
    if not _SECONDS.fullmatch(value):
        raise invalid("at", value, text("stills.at"))
    return Fraction(value)
