#!/usr/bin/env python3
"""
Client of a Media Cleaner server: upload a video, wait for it, fetch the result.

One file that needs only `requests`, and `tqdm` for a progress bar where that is installed:

    client = MediaCleanerClient("http://localhost:8000")
    result = client.upload_video("my_video.mp4", epsilon=0.15, audio_level="средний")
    task = client.wait_for_completion(result["task_id"])
    client.download_result(task["task_id"], output_path="./results")

On the command line: `python client.py upload my_video.mp4 --wait --download ./results`.
"""

from __future__ import annotations

import signal

_WAS_INTERRUPTIBLE = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if __name__ == "__main__" and _WAS_INTERRUPTIBLE:
    # Imports take some tenths of a second: Ctrl-C then ends the program without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import contextlib
import email.message
import errno
import filecmp
import hashlib
import io
import itertools
import json
import os
import random
import re
import ssl
import stat
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.parse import quote, unquote, urlencode

try:
    import requests
except ImportError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"client: {error}; install it: {sys.executable} -m pip install requests")

try:
    import fcntl
except ImportError:  # Windows, where no file gets another name while somebody has it open
    fcntl = None  # type: ignore[assignment]

__version__ = "0.1.0"  # the program's, as setup.cfg has it; this file goes about alone

DEFAULT_SERVER = "http://localhost:8000"
ENDED = frozenset({"completed", "failed", "cancelled"})
PARAMETERS = (
    "epsilon",
    "video_strength",
    "audio_level",
    "every_n_frames",
    "mode",
    "user_id",
    "notes",
    "webhook_url",
)
_RETRIED_STATUSES = (429, 503)
_TRIES = 6
_LONGEST_PAUSE_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 1_000_000_000  # more than ten times that, and Python refuses to sleep
# Python's own reading also takes `1_0` and ` 5 `.
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TIMEOUT_SECONDS = (10.0, 120.0)  # to connect; between two bytes
_CHUNK_BYTES = 1 << 20
_READ_BYTES = 64 << 10  # what is lost of a download when the connection breaks
# How bytes of the command line that are no text go to the server, which says what is wrong.
_AS_GIVEN = "surrogateescape"
_LONGEST_STEM = 200  # bytes of a part's name; file systems allow 255 for the whole
_TAKEN = "something is there already; name another, or replace it by --force"
_BUSY = "another download of this result is going on; wait for its end"
if TYPE_CHECKING:  # this file alone may be called by Python 3.8, which cannot say it
    _Advance = Callable[[int], object]


class MediaCleanerError(Exception):
    """
    The server refused, or cannot be reached.

    Attributes:
        status_code: of HTTP; None where no answer came.
        code: the server's own word, such as `queue_full`; None likewise.
        field: the parameter that is wrong, if one is.
    """

    def __init__(
        self,
        message: str,
        status_code: int | None = None,
        code: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.code = code
        self.field = field


class MediaCleanerClient:
    """A connection to one server; for one thread."""

    def __init__(
        self,
        base_url: str = DEFAULT_SERVER,
        api_key: str | None = None,
        language: str | None = None,
    ) -> None:
        """
        Args:
            api_key: if the server asks for one.
            language: of messages, `ru` or `en`; the server's own where it is None.

        Raises:
            MediaCleanerError: the key has characters that none has.
        """
        if api_key and not re.fullmatch(r"[!-~]+", api_key):
            raise MediaCleanerError("The API key has characters that no key has; copy it again.")
        self.base_url = base_url.rstrip("/")
        self._session = requests.Session()
        if api_key:
            self._session.headers["X-API-Key"] = api_key
        if language:
            self._session.headers["Accept-Language"] = language

    def upload_video(
        self,
        video_path: str | os.PathLike[str],
        epsilon: float | None = None,
        video_strength: float | None = None,
        audio_level: str | None = None,
        every_n_frames: int | None = None,
        user_id: str | None = None,
        notes: str | None = None,
        *,
        mode: str | None = None,
        webhook_url: str | None = None,
        progress: _Advance = lambda count: None,
    ) -> dict[str, Any]:
        """
        Upload a video and return the server's answer: `task_id`, `message` and `task`.

        What is None is left to the server's defaults. The file is streamed; where the
        connection breaks it is sent again, and the server makes one task of it all the same.

        Args:
            progress: is called with the number of bytes that were sent since the last call, a
                negative one when the file is sent from its beginning again.

        Raises:
            MediaCleanerError: the server refuses it, or cannot be reached.
            OSError: the file cannot be read.
        """
        given = {
            "epsilon": epsilon,
            "video_strength": video_strength,
            "audio_level": audio_level,
            "every_n_frames": every_n_frames,
            "mode": mode,
            "user_id": user_id,
            "notes": notes,
            "webhook_url": webhook_url,
        }
        fields = {name: str(value) for name, value in given.items() if value is not None}
        key = str(uuid.uuid4())
        with open(video_path, "rb") as file:
            body = _Multipart(fields, os.path.basename(video_path), file, progress)
            headers = {"Content-Type": body.content_type, "Idempotency-Key": key}
            try:
                answer = self._json(
                    "POST", "/upload", data=body, headers=headers, rewind=body.rewind
                )
            except _Unreadable as error:
                raise OSError(error.errno, error.reason, os.fspath(video_path)) from error
        _take(answer, "task_id", str)
        _take(answer, "message", str)
        _task_of(answer)
        return answer

    def get_task_status(self, task_id: str) -> dict[str, Any]:
        """Return a task."""
        return _task_of(self._json("GET", f"/task/{_segment(task_id)}"))

    def wait_for_completion(
        self,
        task_id: str,
        check_interval: float = 5,
        timeout: float | None = None,
        *,
        progress: Callable[[dict[str, Any]], object] = lambda task: None,
    ) -> dict[str, Any]:
        """
        Wait until a task has ended, however it did, and return it.

        Args:
            check_interval: seconds between two looks.
            timeout: seconds after which to give up; None waits for ever.
            progress: is called with the task at each look.

        Raises:
            TimeoutError: it has not ended by then; the task goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            task = self.get_task_status(task_id)
            progress(task)
            if task["status"] in ENDED:
                return task
            pause = max(0.1, check_interval)
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"task {task_id} is {task['status']} after {timeout} s")
                pause = min(pause, left)
            time.sleep(pause)

    def download_result(
        self,
        task_id: str,
        output_path: str | os.PathLike[str] = ".",
        *,
        may_replace: bool = False,
        progress: _Advance = lambda count: None,
    ) -> str:
        """
        Fetch the result of a completed task; return where it lies.

        What an interrupted call left (`….part`) is gone on with. The file appears under its
        name when it is complete.

        Args:
            output_path: a folder, which is made if it is missing and has no ending like a
                file's; or the file's own name.
            may_replace: whether a file that is there already under that name is replaced.
                Otherwise a result in a folder gets a number behind its name where that is
                another file's, such as the result of another video of the same name.

        Raises:
            MediaCleanerError: there is no result, or it cannot be fetched whole.
            FileExistsError: at the file's own name something is that may not be replaced.
            BlockingIOError: another download of this result into the same place is going on.
        """
        download = _Download(self, f"/download/{_segment(task_id)}", progress)
        return str(download.into(output_path, may_replace))

    def list_tasks(
        self,
        user_id: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        before: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return tasks, the newest first; `before` the last of them begins the next page."""
        asked = {"user_id": user_id, "status": status, "limit": limit, "before": before}
        given = {name: value for name, value in asked.items() if value is not None}
        query = urlencode(given, errors=_AS_GIVEN)
        tasks: list[object] = _take(self._json("GET", "/tasks", params=query), "tasks", list)
        return [_task_of({"task": task}) for task in tasks]

    def cancel_task(self, task_id: str) -> dict[str, Any]:
        """Call a task off and return it."""
        return self._changed("cancel", task_id, {"cancelled"})

    def retry_task(self, task_id: str) -> dict[str, Any]:
        """Try a failed or cancelled task again and return it."""
        return self._changed("retry", task_id, {"pending", "processing"})

    def get_statistics(self) -> dict[str, Any]:
        """Return how many tasks there are: `total`, `pending`, `processing`, ..."""
        queue: dict[str, Any] = _take(self._json("GET", "/stats"), "queue", dict)
        return queue

    def health_check(self) -> dict[str, Any]:
        """Return how the server is; also when it is not well (`status` is `unhealthy` then)."""
        try:
            return _parsed(self._once("GET", "/health"))
        except _BROKEN as error:
            raise self._unreachable(error) from error

    def cleanup(self, days: float = 7) -> dict[str, Any]:
        """Remove tasks that ended at least so many days ago; for an admin's key."""
        return self._json("POST", "/cleanup", params={"days": days})

    def _changed(self, act: str, task_id: str, wanted: Set[str]) -> dict[str, Any]:
        again: list[bool] = []
        try:
            path = f"/{act}/{_segment(task_id)}"
            return _task_of(self._json("POST", path, rewind=lambda: again.append(True)))
        except MediaCleanerError as error:
            # Asked again, since an answer was lost, what is done already cannot be done.
            if again and error.code == "wrong_status":
                task = self.get_task_status(task_id)
                if task["status"] in wanted:
                    return task
            raise

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return _parsed(self.request(method, path, **options))

    def request(
        self, method: str, path: str, *, rewind: Callable[[], object] = lambda: None, **options: Any
    ) -> requests.Response:
        """
        Return the answer to a request that went well, tried again where that may help.

        Raises:
            MediaCleanerError: it did not go well.
        """
        for number in range(1, _TRIES + 1):
            try:
                answer = self._once(method, path, **options)
            except _BROKEN as error:
                if number == _TRIES or _is_lasting(error):
                    raise self._unreachable(error) from error
                pause = _pause(number)
            else:
                if answer.status_code not in _RETRIED_STATUSES or number == _TRIES:
                    if method == "HEAD" and answer.status_code >= 300:
                        self._ask_why(path)
                    return _checked(answer)
                pause = _asked_pause(answer) or _pause(number)
                answer.close()
            time.sleep(pause)
            rewind()
        raise AssertionError("unreachable")

    def _ask_why(self, path: str) -> None:
        """Raise what GET is refused with: an answer to HEAD has no words."""
        with contextlib.suppress(*_BROKEN):
            _checked(self._once("GET", path, stream=True)).close()

    def _unreachable(self, error: requests.exceptions.RequestException) -> MediaCleanerError:
        return MediaCleanerError(
            f"{self.base_url} cannot be reached{_way(self.base_url)}: {_reason(error)}"
        )

    def _once(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session.request(
                method,
                self.base_url + path,
                timeout=_TIMEOUT_SECONDS,
                allow_redirects=False,
                **options,
            )
        except ValueError as error:  # of `requests`, or of what it calls where a host is odd
            raise self._misnamed(error) from error

    def _misnamed(self, error: ValueError) -> MediaCleanerError:
        if not re.match("https?:", self.base_url.strip(), re.IGNORECASE):
            return MediaCleanerError(f"{self.base_url} is no http or https URL")
        if way := _way(self.base_url):
            # What was not parsed may be the proxy's, and hold its password.
            unparsed = "its URL or the server's cannot be parsed"
            reason = re.sub("Failed to parse: .*", unparsed, str(error), flags=re.DOTALL)
            return MediaCleanerError(f"{self.base_url} cannot be reached{way}: {reason}")
        return MediaCleanerError(f"{self.base_url} is no URL: {error}")


_BROKEN = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


class _Unreadable(Exception):
    """A file cannot be read on. No OSError, which counts for a broken connection in a body."""

    def __init__(self, errno: int | None, reason: str | None) -> None:
        super().__init__(reason)
        self.errno = errno
        self.reason = reason


class _Multipart:
    """The body of an upload: fields, then one file, read as it is sent."""

    def __init__(
        self, fields: Mapping[str, str], name: str, file: BinaryIO, progress: _Advance
    ) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        parts = [_field(boundary, field, value) for field, value in fields.items()]
        self._head = b"".join([*parts, _file_head(boundary, name)])
        self._tail = f"\r\n--{boundary}--\r\n".encode("ascii")
        self._file = file
        self._progress = progress
        self._file_bytes = os.fstat(file.fileno()).st_size
        self._sent = 0
        self._chunks = self._made()
        self._rest = b""

    def __len__(self) -> int:
        return len(self._head) + self._file_bytes + len(self._tail)

    def rewind(self) -> None:
        """Begin again."""
        self._progress(-self._sent)
        self._sent = 0
        self._file.seek(0)
        self._chunks, self._rest = self._made(), b""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; empty at the end."""
        if not self._rest:
            self._rest = next(self._chunks, b"")
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk

    def _made(self) -> Iterator[bytes]:
        yield self._head
        left = self._file_bytes
        while left:
            chunk = self._read_file(min(_CHUNK_BYTES, left))
            left -= len(chunk)
            self._sent += len(chunk)
            self._progress(len(chunk))
            yield chunk
        yield self._tail

    def _read_file(self, size: int) -> bytes:
        try:
            chunk = self._file.read(size)
        except OSError as error:
            raise _Unreadable(error.errno, error.strerror) from error
        if not chunk:
            raise _Unreadable(errno.EIO, "it has become shorter while it was sent")
        return chunk


class _Download:
    """One result on its way to a file."""

    def __init__(self, client: MediaCleanerClient, path: str, progress: _Advance) -> None:
        self._client = client
        self._path = path
        self._progress = progress
        self._told = 0  # bytes that `progress` knows of

    def into(self, output_path: str | os.PathLike[str], may_replace: bool) -> Path:
        head = self._client.request("HEAD", self._path)
        length, etag = _offered_length(head), head.headers.get("ETag", "")
        output = Path(output_path)
        is_folder = output.is_dir() or not (output.suffix or os.path.lexists(output))
        target = output / _offered_name(head) if is_folder else output
        target.parent.mkdir(parents=True, exist_ok=True)
        if may_replace or not is_folder:
            _check_place(target, may_replace)
        # Named after what it is a part of, so that a part of something else is left alone.
        mark = hashlib.sha256(f"{self._client.base_url}{self._path}{etag}".encode()).hexdigest()[:8]
        stem = os.fsencode(target.name)[:_LONGEST_STEM].decode("utf-8", "ignore")
        part = target.with_name(f".{stem}.{mark}.part")
        with _held(part):
            self._fetch_whole(part, length, etag)
            if may_replace:
                _check_place(target, may_replace)  # it may have come meanwhile
            elif is_folder:
                target = _free_place(target, part)
            else:
                _take_place(target)
            os.replace(part, target)
        return target

    def _fetch_whole(self, part: Path, length: int, etag: str) -> None:
        number = have = 0
        while True:
            number += 1
            try:
                return self._fetch(part, length, etag)
            except _BROKEN as error:
                before, have = have, part.stat().st_size
                if have > before:
                    number = 1  # it gets on, if only by pieces, as on a slow line
                if number == _TRIES:
                    raise MediaCleanerError(
                        f"the connection broke off; call it again to go on from"
                        f" {have} of {length} bytes"
                    ) from error
                time.sleep(_pause(number))
            except OSError as error:
                if error.errno is None:  # of `requests`, about what came
                    raise
                # As of a full disk; what cannot be written does not say where it was to lie.
                raise OSError(error.errno, error.strerror, str(part)) from error

    def _fetch(self, part: Path, length: int, etag: str) -> None:
        with part.open("ab") as file:
            have = file.tell()
            if have > length:
                file.truncate(0)
                have = 0
            if have == length:
                return
            headers = {"Range": f"bytes={have}-", "If-Range": etag} if have and etag else {}
            answer = self._client.request("GET", self._path, headers=headers, stream=True)
            with answer:
                if answer.status_code != 206:  # the whole of it again
                    file.truncate(0)
                    have = 0
                elif not _goes_on(answer, have, etag):
                    file.truncate(0)
                    raise requests.exceptions.ConnectionError("another part than asked for came")
                self._advance(have - self._told)
                for chunk in answer.iter_content(_READ_BYTES):
                    file.write(chunk)
                    self._advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())
            if file.tell() != length:
                raise requests.exceptions.ConnectionError(f"{file.tell()} of {length} bytes came")

    def _advance(self, count: int) -> None:
        self._told += count
        self._progress(count)


def _parsed(answer: requests.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except (ValueError, RecursionError) as error:
        raise MediaCleanerError(
            f"{answer.url} answered {answer.status_code}{_way(answer.url)} without JSON;"
            " is it a Media Cleaner?",
            answer.status_code,
        ) from error
    if not isinstance(value, dict):
        raise MediaCleanerError(
            f"{answer.url} answered something else; is it a Media Cleaner?", answer.status_code
        )
    return value


# What a task has in any case, and the command line shows.
_OF_TASK = ("task_id", "status", "status_text", "input_video", "output_video", "error_message")


def _task_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = _take(answer, "task", dict)
    _take(task, "task_id", str)
    _take(task, "status", str)
    if not 0 <= _take(task, "progress", (int, float)) <= 100:
        raise _stranger("progress")
    if not task.keys() >= set(_OF_TASK):
        raise _stranger("task")
    return task


def _take(answer: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(answer.get(name), kind):
        raise _stranger(name)
    return answer[name]


def _stranger(name: str) -> MediaCleanerError:
    return MediaCleanerError(f"The answer has no {name} as it should; is it a Media Cleaner?")


def _offered_length(answer: requests.Response) -> int:
    """Return the bytes of the file that the server offers."""
    length = answer.headers.get("Content-Length", "")
    if "Content-Disposition" not in answer.headers or not re.fullmatch(r"[0-9]{1,18}", length):
        raise MediaCleanerError(
            f"{answer.url} offers no file; is it a Media Cleaner?", answer.status_code
        )
    return int(length)


def _goes_on(answer: requests.Response, have: int, etag: str) -> bool:
    """Is it the part of this very file that follows the first `have` bytes?"""
    place = answer.headers.get("Content-Range", "")
    return place.startswith(f"bytes {have}-") and answer.headers.get("ETag", etag) == etag


def _checked(answer: requests.Response) -> requests.Response:
    if answer.status_code < 300:
        return answer
    with answer:
        try:
            told = answer.json()
            message, code, field = told["detail"], told.get("code"), told.get("field")
        except (ValueError, KeyError, TypeError, RecursionError):
            message = f"{answer.url} answered {answer.status_code}{_way(answer.url)}"
            code = field = None
            if answer.status_code == 400 and answer.url.startswith("http:"):
                message += "; if it speaks TLS, as nginx on port 443, write https://"
            if answer.status_code < 400 and "Location" in answer.headers:
                message += (
                    f" and sends on to {answer.headers['Location']}; name that server instead"
                )
    raise MediaCleanerError(str(message), answer.status_code, code, field)


def _way(url: str) -> str:
    """Tell of the proxy that `requests` asks instead: what is wrong may be that one."""
    with contextlib.suppress(ValueError):  # such a URL gets as far as no proxy
        proxies = requests.utils.get_environ_proxies(url)
        if requests.utils.select_proxy(url, proxies):
            # Not its address, which may hold a password.
            return " through the proxy that is set (http_proxy, https_proxy, all_proxy; no_proxy)"
    return ""


def _is_lasting(error: BaseException) -> bool:
    """Would every other try end like this one?"""
    bottom = _bottom(error)
    is_about_trust = isinstance(bottom, ssl.SSLCertVerificationError) or _wrong_bundle(error)
    return bool(is_about_trust) or _is_no_tls(bottom)


def _reason(error: BaseException) -> str:
    """Return what lies at the bottom of a failure of `requests`."""
    bottom = _bottom(error)
    if wrong := _wrong_bundle(error):
        return wrong
    if isinstance(bottom, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({bottom.verify_message}); have it mended, or name the"
            " file of its authority in REQUESTS_CA_BUNDLE"
        )
    if _is_no_tls(bottom):
        return "what answers there speaks no TLS; write http:// if that is meant"
    return getattr(bottom, "strerror", None) or str(bottom) or type(bottom).__name__


def _wrong_bundle(error: BaseException) -> str | None:
    """Tell if `requests` cannot read the authorities that are to be trusted, each time anew."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if not isinstance(error, requests.exceptions.SSLError) or not bundle or os.path.isdir(bundle):
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(bundle)
    except OSError as unread:
        names = "which REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names"
        return f"{bundle}, {names}, cannot be read as certificates in PEM: {unread.strerror}"
    return None


def _is_no_tls(error: BaseException) -> bool:
    """Did plain HTTP come? So OpenSSL says it, before version 3.2 and since."""
    said = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
    if not isinstance(error, ssl.SSLError) or error.reason not in said:
        return False
    # After the handshake it is TLS, damaged on its way.
    places = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "do_handshake" for frame, _ in places)


def _bottom(error: BaseException) -> BaseException:
    while True:
        hidden = error.__suppress_context__  # as urllib3 1.26 does with what it tried first
        below = error.__cause__ or (None if hidden else error.__context__)
        if below is None:
            return error
        error = below


def _pause(number: int) -> float:
    """Return the seconds before the next try: doubled each time, and never two alike."""
    return float(min(_LONGEST_PAUSE_SECONDS, 2 ** (number - 1)) * random.uniform(0.5, 1.0))


def _asked_pause(answer: requests.Response) -> float | None:
    """Return the seconds that the server asks to wait."""
    try:
        return min(_LONGEST_PAUSE_SECONDS, max(0.1, float(answer.headers["Retry-After"])))
    except (KeyError, ValueError):
        return None


def _segment(task_id: str) -> str:
    return quote(task_id, safe="", errors=_AS_GIVEN)


def _field(boundary: str, name: str, value: str) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode("ascii") + value.encode("utf-8", _AS_GIVEN) + b"\r\n"


def _file_head(boundary: str, name: str) -> bytes:
    # As browsers write it: UTF-8, with these three characters escaped.
    escaped = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{escaped}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    # A name that is no text is still that of a video.
    return head.encode("utf-8", _AS_GIVEN).decode("utf-8", "replace").encode("utf-8")


def _offered_name(answer: requests.Response) -> str:
    """Return the file name that the server offers, without folders and control characters."""
    header = answer.headers.get("Content-Disposition", "")
    if extended := re.search(r"filename\*=UTF-8''([^;]+)", header, re.IGNORECASE):
        name = unquote(extended[1])  # RFC 6266: it comes before the plain one
    else:
        message = email.message.Message()
        message["Content-Disposition"] = header
        name = message.get_filename() or ""
    name = os.path.basename(re.sub(r"[\0-\x1f\x7f-\x9f]", "", name.replace("\\", "/")))
    return name if name.strip(". ") else "result.mp4"


@contextlib.contextmanager
def _held(part: Path) -> Iterator[None]:
    """
    Be the only one who goes on with a part; another would write into what is finished.

    Raises:
        BlockingIOError: somebody else does.
    """
    if fcntl is None:
        yield
        return
    while True:
        with part.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(errno.EAGAIN, _BUSY, str(part)) from None
            except OSError:
                pass  # a share that knows no locks
            if part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat()):
                yield
                return
        # It was finished before it was locked, and is something else by now.


def _free_place(target: Path, result: Path) -> Path:
    """Take `target`, or with a number the first like it that no other file has."""
    place = target
    for number in itertools.count(2):
        filecmp.clear_cache()  # which knows files by size and time alone
        with contextlib.suppress(OSError):  # one that cannot be read is another file's
            if filecmp.cmp(place, result, shallow=False):
                break  # the same result, fetched before
        try:
            _take_place(place)
            break
        except FileExistsError:
            place = target.with_name(f"{target.stem}-{number}{target.suffix}")
    return place


def _take_place(target: Path) -> None:
    """
    Make an empty file there, so that nobody else takes the place meanwhile.

    Raises:
        FileExistsError: something is there.
    """
    try:
        target.open("xb").close()
    except FileExistsError as error:
        raise FileExistsError(errno.EEXIST, _TAKEN, str(target)) from error


def _check_place(target: Path, may_replace: bool) -> None:
    """
    Raises:
        FileExistsError: something is at the place of a result that may not go.
    """
    if not os.path.lexists(target):
        return
    mode = os.lstat(target).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):  # others use it
        raise FileExistsError(errno.EEXIST, "what is there is no file; name another", str(target))
    if not may_replace:
        raise FileExistsError(errno.EEXIST, _TAKEN, str(target))


# --- The command line ---


def main(line: Sequence[str] | None = None) -> int:
    """Carry out one command; return 0 done, 1 it failed, 2 wrong usage, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every terminal has every character
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _parser().parse_args(line)
        client = MediaCleanerClient(arguments.server, arguments.api_key)
        code = int(arguments.act(client, arguments))
        _flush_answer()
        return code
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except MediaCleanerError as error:
        return _failed(error.message)
    except BrokenPipeError:  # whoever closed it, as `head` does, has what it wanted
        return 1
    except OSError as error:
        return _failed(_words(error), 2 if isinstance(error, FileExistsError) else 1)


class _Parser(argparse.ArgumentParser):
    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        _flush_answer()  # which is the help
        super().exit(status, message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(description="Client of a Media Cleaner server.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    environment = os.environ
    _add_shared(
        parser,
        server=environment.get("MEDIA_CLEANER_URL") or DEFAULT_SERVER,
        api_key=environment.get("MEDIA_CLEANER_API_KEY") or None,
        json=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, act: Callable[..., int], purpose: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=purpose, description=f"{purpose.capitalize()}.")
        # Suppressed, or these defaults would overwrite what stands before the command.
        _add_shared(
            command,
            server=argparse.SUPPRESS,
            api_key=argparse.SUPPRESS,
            json=argparse.SUPPRESS,
        )
        command.set_defaults(act=act)
        return command

    upload = add("upload", _upload, "upload a video")
    upload.epilog = (
        "Parameters that are left out have the server's defaults; a wrong one is refused with"
        " what is allowed. The server's /docs and docs/API.md list them."
    )
    upload.add_argument("video", help="the file")
    for name in PARAMETERS:
        upload.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="VALUE")
    _add_waiting(upload)
    status = add("status", _status, "say how a task is")
    status.add_argument("task_id", metavar="ID")
    _add_waiting(status)
    tasks = add("list", _list, "list tasks, the newest first")
    tasks.add_argument("--user", metavar="USER", help="only this user's")
    tasks.add_argument("--status", metavar="STATUS", help="only those of this status")
    tasks.add_argument("--limit", type=_count, metavar="N", help="at most so many (50)")
    tasks.add_argument("--before", metavar="ID", help="only older ones than this: a next page")
    add("stats", _stats, "count the tasks")
    for name, act, purpose in (
        ("cancel", _cancel, "call a task off"),
        ("retry", _retry, "try a failed or cancelled task again"),
    ):
        add(name, act, purpose).add_argument("task_id", metavar="ID")
    download = add("download", _fetch, "fetch the result of a completed task")
    download.add_argument("task_id", metavar="ID")
    folder = download.add_argument(
        "folder", metavar="[FOLDER]", default=".", help="where to (default: here)"
    )
    # Not `nargs="?"`: Python 3.11 would count it as left out once an option follows ID.
    folder.required = False
    _add_force(download)
    return parser


def _add_shared(
    parser: argparse.ArgumentParser, *, server: object, api_key: object, json: object
) -> None:
    parser.add_argument(
        "--server",
        metavar="URL",
        default=server,
        help=f"default: $MEDIA_CLEANER_URL, else {DEFAULT_SERVER}",
    )
    parser.add_argument(
        "--api-key", metavar="KEY", default=api_key, help="default: $MEDIA_CLEANER_API_KEY"
    )
    parser.add_argument("--json", action="store_true", default=json, help="answer in JSON")


def _add_waiting(command: argparse.ArgumentParser) -> None:
    command.add_argument("--wait", action="store_true", help="wait until the task has ended")
    command.add_argument("--download", metavar="FOLDER", help="fetch the result there; with --wait")
    _add_force(command)
    command.add_argument(
        "--interval", type=_seconds, default=5.0, metavar="SECONDS", help="between two looks (5)"
    )
    command.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="give up waiting then")


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed is a whole number")
    return int(text)


def _seconds(text: str) -> float:
    if _NUMBER.fullmatch(text) and (seconds := float(text)) <= _LONGEST_WAIT_SECONDS:
        return seconds
    raise argparse.ArgumentTypeError(
        f"{text!r}; allowed is a number of seconds, at most {_LONGEST_WAIT_SECONDS}"
    )


def _add_force(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--force", action="store_true", help="replace a file that is there already"
    )


def _upload(client: MediaCleanerClient, arguments: argparse.Namespace) -> int:
    place = arguments.download
    if place is not None and os.path.exists(place) and os.path.samefile(place, arguments.video):
        return _failed(f"--download {place} is the original itself; name a folder", 2)
    _check_named_file(arguments)
    given = {name: getattr(arguments, name) for name in PARAMETERS}
    with _bytes_bar(os.path.getsize(arguments.video), "upload", arguments) as advance:
        answer = client.upload_video(arguments.video, progress=advance, **given)
    if not arguments.json:
        print(_printable(f"{answer['task_id']}  {answer['message']}"), flush=True)
    return _followed(client, arguments, answer["task"])


def _status(client: MediaCleanerClient, arguments: argparse.Namespace) -> int:
    _check_named_file(arguments)
    return _followed(client, arguments, client.get_task_status(arguments.task_id))


def _check_named_file(arguments: argparse.Namespace) -> None:
    """Tell that the file for the result is taken before anybody waits for the result."""
    if arguments.download is not None and not os.path.isdir(arguments.download):
        _check_place(Path(arguments.download), arguments.force)


def _followed(
    client: MediaCleanerClient, arguments: argparse.Namespace, task: dict[str, Any]
) -> int:
    """Wait for a task and fetch its result, as far as that is asked for, and say how it is."""
    saved, problem = None, None
    try:
        if arguments.wait and task["status"] not in ENDED:
            with _percent_bar(arguments) as show:
                task = client.wait_for_completion(
                    task["task_id"], arguments.interval, arguments.timeout, progress=show
                )
        if arguments.download is not None and task["status"] == "completed":
            saved = _fetched(client, task["task_id"], arguments.download, arguments)
    except (MediaCleanerError, OSError, KeyboardInterrupt) as error:
        problem = error  # told after the task, which goes on, and whose result can be fetched
    if arguments.json:
        _print_json({"task": task, **({"downloaded": saved} if saved else {})})
    else:
        _print_task(task)
        if saved:
            print(f"saved      {saved}")
    if problem is not None:
        raise problem
    if task["status"] in ("failed", "cancelled"):
        return 1
    if arguments.download is not None and saved is None:
        return _failed(f"nothing is fetched yet: the task is {task['status']}; add --wait")
    return 0


def _list(client: MediaCleanerClient, arguments: argparse.Namespace) -> int:
    tasks = client.list_tasks(arguments.user, arguments.status, arguments.limit, arguments.before)
    if arguments.json:
        _print_json({"count": len(tasks), "tasks": tasks})
        return 0
    for task in tasks:
        row = f"{task['task_id']}  {task['status']:<10}  {task['progress']:>5.1f} %"
        print(_printable(f"{row}  {task['input_video']}"))
    return 0


def _stats(client: MediaCleanerClient, arguments: argparse.Namespace) -> int:
    queue = client.get_statistics()
    if arguments.json:
        _print_json({"queue": queue})
    else:
        for name, count in queue.items():
            print(_printable(f"{name:<10}  {count}"))
    return 0


def _cancel(client: MediaCleanerClient, arguments: argparse.Namespace) -> int:
    return _say_task(client.cancel_task(arguments.task_id), arguments)


def _retry(client: MediaCleanerClient, arguments: argparse.Namespace) -> int:
    return _say_task(client.retry_task(arguments.task_id), arguments)


def _fetch(client: MediaCleanerClient, arguments: argparse.Namespace) -> int:
    saved = _fetched(client, arguments.task_id, arguments.folder, arguments)
    if arguments.json:
        _print_json({"downloaded": saved})
    else:
        print(saved)
    return 0


def _fetched(
    client: MediaCleanerClient, task_id: str, place: str, arguments: argparse.Namespace
) -> str:
    with _bytes_bar(None, "download", arguments) as advance:
        return client.download_result(task_id, place, may_replace=arguments.force, progress=advance)


def _say_task(task: dict[str, Any], arguments: argparse.Namespace) -> int:
    if arguments.json:
        _print_json({"task": task})
    else:
        _print_task(task)
    return 0


def _print_task(task: dict[str, Any]) -> None:
    rows = {
        "task": task["task_id"],
        "status": task["status_text"],
        "progress": f"{task['progress']:.1f} %",
        "video": task["input_video"],
        "result": task["output_video"],
        "error": task["error_message"],
    }
    for name, value in rows.items():
        if value is not None:
            print(f"{name:<9}  {_printable(str(value))}")


def _print_json(value: object) -> None:
    if sys.stdout is None:  # closed
        return
    text = json.dumps(value, ensure_ascii=False, indent=2)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _failed(message: str, code: int = 1) -> int:
    if sys.stderr is not None:  # closed; `print` would turn to standard output
        with contextlib.suppress(OSError):  # full: how the program ends says it all the same
            print(f"client: {_printable(message)}", file=sys.stderr)
    return code


def _words(error: OSError) -> str:
    if error.strerror is None:
        return str(error)  # our own sentence
    # Every file is named; what has no name is standard output.
    return f"{error.filename or 'the answer cannot be written'}: {error.strerror}"


def _flush_answer() -> None:
    """
    Raises:
        OSError: standard output takes nothing more, while there is somebody to tell that to.
    """
    if sys.stdout is not None:  # closed
        sys.stdout.flush()


def _let_go_of_words() -> None:
    """Forget what a standard stream has not taken: Python would try again at its end and fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # closed
                stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def _bytes_bar(total: int | None, what: str, arguments: argparse.Namespace) -> Iterator[_Advance]:
    """Give what to call with counts of bytes; mute without a terminal or without tqdm."""
    bar = _bar(arguments, total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1024)
    if bar is None:
        yield lambda count: None
    else:
        with bar:
            yield bar.update


@contextlib.contextmanager
def _percent_bar(arguments: argparse.Namespace) -> Iterator[Callable[[dict[str, Any]], object]]:
    bar = _bar(arguments, total=100, unit=" %", bar_format="{desc} {percentage:3.0f} %|{bar}|")
    if bar is None:
        yield lambda task: None
        return
    with bar:

        def show(task: dict[str, Any]) -> None:
            bar.set_description_str(task["status_text"], refresh=False)
            bar.update(task["progress"] - bar.n)

        yield show


def _bar(arguments: argparse.Namespace, **options: Any) -> Any:
    if arguments.json or sys.stderr is None or not sys.stderr.isatty():  # None where it is closed
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    # A serial console and a container's terminal may state no size; on none tqdm draws nothing.
    has_size = all(os.get_terminal_size(sys.stderr.fileno()))
    size: dict[str, Any] = {"dynamic_ncols": True} if has_size else {"ncols": 80, "nrows": 24}
    return tqdm(file=sys.stderr, leave=False, **size, **options)


def run() -> NoReturn:
    """Carry out this process's command line and end the process."""
    if _WAS_INTERRUPTIBLE:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main()
    finally:  # also after wrong usage, which argparse ends by itself
        _let_go_of_words()
    sys.exit(code)


if __name__ == "__main__":
    run()
