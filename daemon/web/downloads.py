"""
GET /download/<id>: the protected video, in parts too, under the name that its sender knows; and
POST /link/<id>: where a browser can have it, which sends no key with a download.

The file is opened below the outbox without following any link, and what was opened is sent.
With `accel_redirect` nginx sends results of the common outbox to who asks through it; those of an
inbox with an outbox of its own are sent from here, as nginx is told of one place only.
"""

from __future__ import annotations

import contextlib
import errno
import mimetypes
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, request
from werkzeug.exceptions import PreconditionFailed
from werkzeug.http import (
    dump_options_header,
    http_date,
    is_resource_modified,
    parse_range_header,
    quote_etag,
)
from werkzeug.utils import send_file

from daemon.held_folder import held_folder
from daemon.task import Status, Task
from daemon.web.answers import success
from daemon.web.auth import caller, is_forwarded
from daemon.web.context import context
from daemon.web.errors import ApiError, unavailable
from daemon.web.languages import text
from daemon.web.own_tasks import own_task
from daemon.web.tickets import SECONDS, ticket_of

blueprint = Blueprint("downloads", __name__)

# Not left to the machine's own table, which may lack them, or know their endings as another kind of
# file's: to it `.ts` is a translation, `.mts` a drawing and `.3gp` sound.
_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".ts": "video/mp2t",
    ".mts": "video/mp2t",
    ".m2ts": "video/mp2t",
    ".3gp": "video/3gpp",
}
_OTHER_TYPE = "application/octet-stream"
# Nothing, or a link, which is not followed.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


@blueprint.get("/download/<task_id>")
def download(task_id: str) -> Response:
    """Send the result of a task."""
    task = own_task(task_id)
    prefix = _redirect_prefix(task)
    with opened_result(task) as result:
        if prefix is None:
            _check_unmodified(result)
        response = _sent(task, result)
    if prefix is not None:
        return _redirected(response, prefix, result)
    if response.status_code == PreconditionFailed.code:
        response.close()  # it would bring the whole video
        raise PreconditionFailed
    return response


@blueprint.post("/link/<task_id>")
def link(task_id: str) -> dict[str, Any]:
    """Answer where the result can be had without a key's header, for some hours."""
    with opened_result(own_task(task_id)):
        pass  # who follows the link is to find it
    key = context().keys.named(caller().name or "")
    url = f"/download/{task_id}"
    if key is None:  # none is needed
        return success(url=url, expires_at=None)
    expires_at = context().spool.now() + timedelta(seconds=SECONDS)
    query = urlencode({"ticket": ticket_of(key, task_id)})
    return success(url=f"{url}?{query}", expires_at=expires_at.isoformat())


@dataclass(frozen=True)
class Result:
    """
    A result that is open.

    Attributes:
        place: below the outbox.
    """

    descriptor: int
    place: PurePath
    status: os.stat_result

    @property
    def media_type(self) -> str:
        """As HTTP names it."""
        suffix = self.place.suffix.lower()
        if suffix in _TYPES:
            return _TYPES[suffix]
        guess = mimetypes.guess_type(f"x{suffix}")[0] or ""
        return guess if guess.startswith("video/") else _OTHER_TYPE


@contextlib.contextmanager
def opened_result(task: Task) -> Iterator[Result]:
    """
    Have a task's result open while the context lasts.

    Raises:
        ApiError: there is none yet, or no longer.
    """
    if task.status is not Status.COMPLETED or task.output_video is None:
        raise _not_finished(task)
    outbox, place = Path(task.outbox), PurePath(task.output_video)
    try:
        with held_folder(outbox, *place.parent.parts) as folder:
            # No waiting for the other end of a pipe that somebody has put there.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(folder / place.name, flags)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        raise _gone(task, outbox) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _gone(task, outbox)
        yield Result(descriptor, place, status)
    finally:
        os.close(descriptor)


def _not_finished(task: Task) -> ApiError:
    status = text(f"status.{task.status.value}")
    key = "downloads.not_finished"
    return ApiError(409, "not_finished", key, task_id=task.task_id, status=status)


def _gone(task: Task, outbox: Path) -> ApiError:
    if outbox.is_dir() and not context().is_away(outbox):
        return ApiError(410, "removed", "downloads.removed", task_id=task.task_id)
    return unavailable("outbox_unavailable", "downloads.away")


def _check_unmodified(result: Result) -> None:
    """Heed If-Unmodified-Since, which the library passes over; If-Match is the better mark."""
    since = request.if_unmodified_since
    if since is None or "If-Match" in request.headers:
        return
    if int(result.status.st_mtime) > since.timestamp():
        raise PreconditionFailed


def _sent(task: Task, result: Result) -> Response:
    found = result.status
    mark = f"{task.task_id}-{found.st_size:x}-{found.st_mtime_ns:x}"
    name = _shown_name(task.task_id, result.place.name)
    response = send_file(
        # Opened anew by this name, it is the same file whatever its path leads to by now.
        f"/proc/self/fd/{result.descriptor}",
        _with_fitting_range(_with_fitting_match(request.environ), found, mark),
        mimetype=result.media_type,
        as_attachment=True,
        download_name=name,
        conditional=True,
        etag=mark,
        last_modified=found.st_mtime,
        response_class=Response,
    )
    assert isinstance(response, Response)
    response.headers["Cache-Control"] = "private, no-cache"
    if not name.isascii():
        response.headers["Content-Disposition"] = _in_two_ways(name, task.task_id)
    return response


def _in_two_ways(name: str, task_id: str) -> str:
    """
    Return the header for a name that is not ASCII; the other one is for who knows no `filename*`.

    The library drops from it what is not ASCII, so that to `curl -OJ` all Russian names are one.
    """
    plain = f"{task_id}{PurePath(name).suffix}".encode("ascii", "ignore").decode("ascii")
    both = {"filename": plain, "filename*": f"UTF-8''{quote(name, safe='')}"}
    return dump_options_header("attachment", both)


def _redirect_prefix(task: Task) -> str | None:
    config = context().config
    is_common = Path(task.outbox) == config.place(config.outbox)
    return config.accel_redirect if is_common and is_forwarded() else None


def _redirected(sent: Response, prefix: str, result: Result) -> Response:
    """Have nginx send it, which does ranges and the rest by itself."""
    sent.close()
    response = Response(mimetype=result.media_type)
    for name in ("Content-Disposition", "Cache-Control"):
        response.headers[name] = sent.headers[name]
    response.headers["X-Accel-Redirect"] = prefix + quote(os.fsencode(result.place))
    return response


def _with_fitting_match(environ: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request without `If-Match: *`: whatever there is fits, but to the library none."""
    is_met = environ.get("HTTP_IF_MATCH", "").strip() == "*"
    return {k: v for k, v in environ.items() if k != "HTTP_IF_MATCH"} if is_met else environ


def _with_fitting_range(
    environ: Mapping[str, Any], found: os.stat_result, mark: str
) -> dict[str, Any]:
    """
    Return the request as the library answers it rightly.

    Several ranges or odd units, which may be passed over (RFC 9110, 14.2), it would refuse, and a
    longer last part than there is as well, which means the whole. And it would send a part to who
    has the file already, or wants it only if it were still another (13.2.2), to HEAD (14.2), and
    to who has a part of a file that need not be this one to the byte: `If-Range` with a weak mark
    or any later date (13.1.5).
    """
    asked = parse_range_header(environ.get("HTTP_RANGE"))
    is_plain = asked is not None and asked.units == "bytes" and len(asked.ranges) == 1
    changed_at = http_date(found.st_mtime)
    is_wanted = is_resource_modified(dict(environ), quote_etag(mark), last_modified=changed_at)
    is_same = environ.get("HTTP_IF_RANGE", changed_at).strip() in (quote_etag(mark), changed_at)
    is_get = environ["REQUEST_METHOD"] == "GET"
    if asked is None or not (is_plain and is_wanted and is_same and is_get):
        return {k: v for k, v in environ.items() if k != "HTTP_RANGE"}
    if asked.ranges[0][0] < -found.st_size:
        return {**environ, "HTTP_RANGE": "bytes=0-"}
    return dict(environ)


def _shown_name(task_id: str, name: str) -> str:
    """Return the sender's name of a result; undecodable bytes in it are no text."""
    return os.fsencode(name.removeprefix(f"{task_id}_")).decode("utf-8", "replace")
