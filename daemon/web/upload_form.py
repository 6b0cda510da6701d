"""
A form that brings a file, read as it arrives: the file goes on piece by piece, fields are kept.

Of the form itself only what can be told without keeping it is judged: how it is built, that it
has one file in the field `file`, and that the rest is short.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Protocol
from urllib.parse import unquote

from multipart import MultipartError, MultipartSegment, PushMultipartParser
from werkzeug.http import parse_options_header

from daemon.web.errors import ApiError, refused, shown

FILE_FIELD = "file"
# All of a form but its file.
MOST_FORM_BYTES = 1 << 20
_MOST_FIELD_BYTES = 64 << 10
_MOST_PARTS = 64
# Values of Content-Transfer-Encoding; forms know no other (RFC 7578, 4.7), mails and Delphi do.
_UNENCODED = ("7bit", "8bit", "binary")
# A `filename*` that says what it should (RFC 8187); some programs send other things there.
_EXTENDED = re.compile(
    r"""filename\*=(utf-8|iso-8859-1)'[^';]*'[A-Za-z0-9!#$&+.^_`|~%-]+\s*(;|$)""", re.IGNORECASE
)
_ENCODED_WORDS = re.compile(r"(=\?utf-8\?[bq]\?[^?\s]+\?=\s*)+", re.IGNORECASE)
_QUOTED = re.compile(r"([A-Za-z0-9_.~-]|%[0-9A-F]{2})+")

Write = Callable[[bytes], None]


class Source(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return some, at most so many; none at the end."""
        ...


@dataclass(frozen=True)
class Form:
    """
    What a form holds beside the bytes of its file.

    Attributes:
        fields: by name.
        file_name: as the client gave it.
    """

    fields: Mapping[str, str]
    file_name: str


def boundary_of(content_type: str) -> str:
    """
    Return what stands between the parts of a form.

    Raises:
        ApiError: the request is no form that could bring a file.
    """
    kind, options = parse_options_header(content_type)
    if kind.lower() != "multipart/form-data":
        raise ApiError(400, "no_file", "uploads.no_file")
    boundary = options.get("boundary", "")
    if not 0 < len(boundary) <= 200 or not boundary.isascii():
        raise _bad("no boundary")
    return boundary


def read_form(
    stream: Source,
    boundary: str,
    max_bytes: int,
    open_file: Callable[[str, Mapping[str, str]], Write],
) -> Form:
    """
    Read a form to its end.

    Args:
        max_bytes: of all of it.
        open_file: called when the file begins, with its name and the fields before it; returns
            what takes the file's bytes.

    Raises:
        ApiError: the form is not one that brings one file, or broke off, or is too large.
    """
    reading = _Reading(open_file)
    left = max_bytes
    try:
        parser = PushMultipartParser(boundary, max_segment_count=_MOST_PARTS)
        while data := stream.read(left + 1):
            left -= len(data)
            if left < 0:
                raise ApiError(413, "form_too_large", "uploads.form_too_large")
            for event in parser.parse(data):
                reading.take(event)
    except MultipartError as error:
        raise _bad(str(error.args[0])) from error  # beside the words may stand what was sent
    try:
        parser.close()
    except MultipartError as error:
        raise ApiError(400, "incomplete_upload", "uploads.incomplete") from error
    return reading.form()


@dataclass
class _Reading:
    """The form as far as it has been read."""

    open_file: Callable[[str, Mapping[str, str]], Write]
    fields: dict[str, str] = field(default_factory=dict)
    file_name: str | None = None
    name: str = ""  # of the part that is being read
    value: bytearray = field(default_factory=bytearray)
    write: Write | None = None  # takes the part's bytes, where it is the file

    def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """Go on by one event of the parser."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        elif self.write is not None:
            self.write(bytes(event))
        else:
            self._grow(event)

    def form(self) -> Form:
        """Return all of it."""
        if self.file_name is None:
            raise ApiError(400, "no_file", "uploads.no_file")
        return Form(self.fields, self.file_name)

    def _begin(self, part: MultipartSegment) -> None:
        self.name, self.value, self.write = part.name or "", bytearray(), None
        if part.header("Content-Transfer-Encoding", "binary").lower() not in _UNENCODED:
            raise _bad("a part is encoded, send it without Content-Transfer-Encoding")
        file_name = _file_name(part)
        if self.name == FILE_FIELD:
            self._begin_file(file_name)
        elif file_name is not None:
            raise ApiError(400, "no_file", "uploads.other_field", name=shown(self.name))
        elif self.name in self.fields:
            raise refused(self.name, "errors.given_twice")

    def _begin_file(self, file_name: str | None) -> None:
        if not file_name or file_name.endswith(("/", "\\")):  # a folder's
            raise ApiError(400, "no_file", "uploads.no_file_name")
        if self.file_name is not None:
            raise ApiError(400, "two_files", "uploads.two_files")
        self.file_name = file_name
        self.write = self.open_file(file_name, self.fields)

    def _grow(self, data: bytes | bytearray) -> None:
        self.value += data
        if len(self.value) > _MOST_FIELD_BYTES:
            raise refused(self.name, "uploads.field_too_long")

    def _end(self) -> None:
        if self.write is None:
            try:
                # A form sends each end of a line as two characters; its page counts one.
                self.fields[self.name] = self.value.decode("utf-8").replace("\r\n", "\n")
            except UnicodeDecodeError as error:
                raise refused(self.name, "uploads.not_utf8") from error
        self.write = None


def _file_name(part: MultipartSegment) -> str | None:
    """
    Return the file's name.

    One that is not ASCII comes in several ways: as it is; as `filename*`; as an encoded word
    (RFC 2047), which .NET and Spring put into the `filename` beside that, and older Spring alone;
    and quoted by % (RFC 7578, 4.2), as aiohttp has it.
    """
    name, disposition = part.filename, part.header("Content-Disposition")
    if name is None or _EXTENDED.search(disposition):
        return parse_options_header(disposition)[1].get("filename")
    with contextlib.suppress(HeaderParseError, UnicodeError):  # so it is called
        if _ENCODED_WORDS.fullmatch(name):
            return str(make_header(decode_header(name)))
        # What is ASCII may well have a % of its own.
        if _QUOTED.fullmatch(name) and not (meant := unquote(name, errors="strict")).isascii():
            return meant
    return name


def _bad(reason: str) -> ApiError:
    return ApiError(400, "bad_form", "uploads.bad_form", reason=reason)
