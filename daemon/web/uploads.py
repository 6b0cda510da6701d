"""
POST /upload: a video arrives, is looked at, and becomes a task.

The order of the checks is that of their price: what the request says of itself, what came
before the file, the file while it arrives, and only then what is in it. Whatever is refused or
broken off leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, current_app, request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import BadRequest, RequestTimeout

from daemon import health
from daemon.asked_process import NoProcess
from daemon.idempotency import FOLDER, Idempotency, OtherContent
from daemon.inbox_place import InboxUnavailable
from daemon.logs import server_log
from daemon.prober import Prober
from daemon.spool_errors import QueueFull, UnknownTask
from daemon.task import Task
from daemon.uploaded_file import TooLarge, UploadedFile, safe_name
from daemon.uploads import NameRefused, NoRoom, Uploads
from daemon.web.answers import success
from daemon.web.auth import Caller, caller, check_key_again
from daemon.web.context import Context, context
from daemon.web.errors import ApiError, invalid, refused, shown, unavailable
from daemon.web.languages import text
from daemon.web.patience import Patience, Visit
from daemon.web.queries import whole_query
from daemon.web.tasks import task_answer
from daemon.web.upload_form import MOST_FORM_BYTES, Form, boundary_of, read_form
from daemon.webhook_url import check_url
from pipeline.parameters import Parameters

blueprint = Blueprint("uploads", __name__)

_NAME = "media_cleaner_uploads"
_GB = 1 << 30
# Each holds one of the process's threads; the others are for those who ask for less.
_MOST_AT_ONCE = 48
# So long may pass while a step of a body arrives, the short one of whom is slow.
_PATIENCE_SECONDS = 60.0
_SHORT_STEP = 64 << 10
# 1 GB took 7 s of CPU in steps of 64 KB, 4.6 s of 256 KB, 3.5 s of 1 MB.
_LONG_STEP = 1 << 20
_STEP_SECONDS = 1.0
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_LENGTH = re.compile(r"[0-9]{1,15}")
# A form has no way to leave out a field that it shows.
_EMPTY_IS_NOT_GIVEN = ("user_id", "notes", "webhook_url")


@dataclass(frozen=True)
class _Parts:
    """What all uploads of one app share."""

    uploads: Uploads
    prober: Prober
    idempotency: Idempotency
    patience: Patience
    free: threading.BoundedSemaphore


@blueprint.record
def _prepare(state: BlueprintSetupState) -> None:
    app: Any = state.app
    with app.app_context():
        app.extensions[_NAME] = _parts_of(context())


@blueprint.post("/upload")
def upload() -> dict[str, Any]:
    """Take a video and its parameters."""
    parts: _Parts = current_app.extensions[_NAME]
    with _place(parts), _refusals(parts):
        task = _Upload(parts).run()
    return success(task_id=task.task_id, message=text("uploads.accepted"), task=task_answer(task))


class _Upload:
    """One request."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self._caller = caller()
        self._key = _idempotency_key()
        self._owner = _owner_of_keys(self._caller)
        self._digest = hashlib.sha256()
        self._query = whole_query()
        self._checked: tuple[dict[str, str], Parameters] | None = None

    def run(self) -> Task:
        """Carry it out."""
        _check_encoding()
        boundary = boundary_of(request.headers.get("Content-Type", ""))
        self._check_before_reading()
        with self._parts.uploads.new_file() as file:
            form = self._read(file, boundary)
            check_key_again()
            given = self._given(form.fields)
            parameters = self._parameters(given)
            name = safe_name(form.file_name)
            self._look_into(file, name)
            if self._key is None:
                new_id = context().spool.new_id()
                return self._parts.uploads.accept(file, name, parameters, new_id)
            return self._accept_once(self._key, file, name, parameters, given)

    def _check_before_reading(self) -> None:
        self._parameters(self._given({}))  # what the form may outweigh is to be right, too
        length, stated = request.content_length or 0, _stated_bytes()
        most = self._parts.uploads.max_bytes
        if stated > most or length > most + MOST_FORM_BYTES:
            raise TooLarge
        if not self._is_repeated():  # the task of a repeated one may be what fills the queue
            _check_queue()
        self._parts.uploads.check_room(coming_bytes=max(length, stated))

    def _is_repeated(self) -> bool:
        known = self._parts.idempotency
        return self._key is not None and known.has_made(self._owner, self._key, _find)

    def _read(self, file: UploadedFile, boundary: str) -> Form:
        def open_file(name: str, fields: Mapping[str, str]) -> Any:
            _check_extension(safe_name(name))
            self._parameters(self._given(fields))  # before gigabytes come for nothing
            return file.write if self._key is None else write_and_digest

        def write_and_digest(data: bytes) -> None:
            file.write(data)
            self._digest.update(data)

        request.max_content_length = None  # what is too much is counted here
        most = self._parts.uploads.max_bytes + MOST_FORM_BYTES
        with self._parts.patience.watched(request.environ.get("gunicorn.socket")) as visit:
            return read_form(_Body(request.stream, visit), boundary, most, open_file)

    def _given(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return what is asked for, with the owner that the caller's key implies."""
        given = {
            name: value
            for name, value in {**self._query, **fields}.items()
            if value or name not in _EMPTY_IS_NOT_GIVEN
        }
        return _owned(given, self._caller)

    def _parameters(self, given: dict[str, str]) -> Parameters:
        """Return what was asked for; once more it is not checked, as that looks up names."""
        if self._checked is None or self._checked[0] != given:
            self._checked = given, _parameters(given)
        return self._checked[1]

    def _look_into(self, file: UploadedFile, name: str) -> None:
        with file.opened() as descriptor:
            refusal = self._parts.prober.refusal(descriptor)
        if refusal is not None:
            raise ApiError(
                415, refusal.code, "uploads.unreadable", name=name, reason=refusal.reason
            )

    def _accept_once(
        self,
        key: str,
        file: UploadedFile,
        name: str,
        parameters: Parameters,
        given: Mapping[str, str],
    ) -> Task:
        file.flush()  # takes seconds, and is done when it is asked for again
        # What the request asked for, however it was written, and not what the defaults are today.
        asked = parameters.model_dump(mode="json", include=set(given))
        self._digest.update(json.dumps([name, asked], sort_keys=True).encode())
        return self._parts.idempotency.once(
            self._owner,
            key,
            self._digest.hexdigest(),
            _find,
            context().spool.new_id(),
            lambda task_id: self._parts.uploads.accept(file, name, parameters, task_id),
        )


class _Body:
    """A request's body, read in steps that fit how fast it comes."""

    def __init__(self, stream: Any, visit: Visit) -> None:
        self._stream = stream
        self._visit = visit
        self._step = _SHORT_STEP

    def read(self, most: int) -> bytes:
        begun_at = time.monotonic()
        data = self._read(min(most, self._step))
        self._visit.moved()
        is_fast = time.monotonic() - begun_at < _STEP_SECONDS
        self._step = _LONG_STEP if is_fast else _SHORT_STEP
        return data

    def _read(self, size: int) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except RequestTimeout as error:
            raise _too_slow() from error
        except BadRequest as error:
            if self._visit.is_over:  # within a chunk
                raise _too_slow() from error
            raise ApiError(400, "incomplete_upload", "uploads.incomplete") from error
        if not data and self._visit.is_over:
            raise _too_slow()
        return data


def _parts_of(known: Context) -> _Parts:
    config = known.config
    inbox = config.place(config.inboxes[0].inbox)
    return _Parts(
        uploads=Uploads(
            inbox=inbox,
            outbox=config.place(config.outbox),
            spool=known.spool,
            statuses=known.statuses,
            max_pending=config.max_pending,
            max_bytes=config.max_video_bytes,
            min_free_gb=config.min_free_gb,
            needs_room=tuple(config.place(p) for p in (config.outbox, config.temp, config.state)),
            known_mount=lambda: health.known_mounts(known.state).get(str(inbox)),
        ),
        prober=Prober(config.settings.limits),
        idempotency=Idempotency(known.state / FOLDER, time.time),
        patience=Patience(_PATIENCE_SECONDS),
        free=threading.BoundedSemaphore(_MOST_AT_ONCE),
    )


@contextlib.contextmanager
def _place(parts: _Parts) -> Iterator[None]:
    """Hold one of the places for uploads."""
    if not parts.free.acquire(blocking=False):
        raise unavailable("too_many_uploads", "uploads.too_many")
    try:
        yield
    finally:
        parts.free.release()


@contextlib.contextmanager
def _refusals(parts: _Parts) -> Iterator[None]:
    """Say what stands in the way of an upload."""
    try:
        yield
    except TooLarge as error:
        most = f"{parts.uploads.max_bytes / _GB:g}"
        raise ApiError(413, "file_too_large", "uploads.too_large", most_gb=most) from error
    except NoRoom as error:
        server_log().warning("no room for an upload", reason=str(error))
        raise ApiError(507, "insufficient_storage", "errors.no_room") from error
    except NameRefused as error:
        raise invalid("file", str(error), text("uploads.name")) from error
    except InboxUnavailable as error:
        server_log().warning("no inbox for an upload", reason=error.reason)
        raise unavailable("inbox_unavailable", "uploads.inbox_away") from error
    except NoProcess as error:
        server_log().error("nobody to look at uploads", reason=str(error))
        raise unavailable("no_prober", "uploads.no_prober") from error
    except OtherContent as error:
        raise ApiError(409, "idempotency_conflict", "uploads.other_content") from error


def _check_queue() -> None:
    """
    Raises:
        QueueFull: as the spool would say at the end.
    """
    most = context().config.max_pending
    if len(context().index.queue()) >= most:
        raise QueueFull(most)


def _check_encoding() -> None:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        told = shown(encoding)
        raise ApiError(415, "unsupported_encoding", "uploads.encoding", encoding=told)


def _check_extension(name: str) -> None:
    allowed = context().config.extensions
    if os.path.splitext(name)[1].lower() not in allowed:
        raise ApiError(
            415,
            "unsupported_extension",
            "uploads.extension",
            name=name,
            allowed=", ".join(allowed),
        )


def _owned(given: Mapping[str, str], who: Caller) -> dict[str, str]:
    """Return what is asked for by one whose uploads may be only theirs."""
    if who.is_admin or who.user_id is None:
        return dict(given)
    asked = given.get("user_id", who.user_id)
    if asked != who.user_id:
        raise invalid("user_id", asked, text("uploads.own_user", user_id=who.user_id))
    return {**given, "user_id": who.user_id}


def _parameters(given: Mapping[str, str]) -> Parameters:
    parameters = Parameters.parse(given, context().config.parameters)
    if "webhook_url" in given:
        check_url(given["webhook_url"], context().config.webhook.allow_private)
    return parameters


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise refused("Idempotency-Key", "uploads.bad_key")
    return key


def _stated_bytes() -> int:
    """
    Return how large the video is, as far as the request says.

    Browsers look at no answer before all is sent, so a page asks first, without the video.
    """
    stated = request.headers.get("Upload-Length", "0")
    if not _LENGTH.fullmatch(stated):
        raise invalid("Upload-Length", stated, text("uploads.length"))
    return int(stated)


def _owner_of_keys(who: Caller) -> str:
    """Return to whom an Idempotency-Key means something; no user's name has a space."""
    return who.user_id or ("" if who.name is None else f"key {who.name}")


def _find(task_id: str) -> Task | None:
    try:
        return context().spool.get(task_id)
    except UnknownTask:
        return None


def _too_slow() -> ApiError:
    return ApiError(408, "upload_too_slow", "uploads.too_slow")
