"""Forms as they arrive in pieces of any size, and forms that nobody honest sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from translations import is_known

from daemon.web.errors import ApiError
from daemon.web.upload_form import Form, boundary_of, read_form

B = "--------XyZ"
# How .NET's MultipartFormDataContent writes От.mp4, with a `filename*` behind it.
DOT_NET = "=?utf-8?B?0J7Rgi5tcDQ=?="
MOST = 10_000_000


def part(name: str, value: bytes, extra: str = "") -> bytes:
    head = f'--{B}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def file(value: bytes = b"video", name: str = "a.mp4") -> bytes:
    return part("file", value, f'; filename="{name}"\r\nContent-Type: video/mp4')


END = f"--{B}--\r\n".encode()


class Pieces:
    """A stream that gives so many bytes at a time."""

    def __init__(self, data: bytes, size: int = MOST) -> None:
        self.left = data
        self.size = size

    def read(self, size: int) -> bytes:
        size = min(size, self.size)
        data, self.left = self.left[:size], self.left[size:]
        return data


class Received(bytearray):
    """The file's bytes; remembers what was known when it began."""

    begun_with: tuple[str, dict[str, str]] | None = None

    def open(self, name: str, fields: Mapping[str, str]) -> Callable[[bytes], None]:
        self.begun_with = name, dict(fields)
        return self.extend


def read(data: bytes, size: int = MOST, most: int = MOST) -> tuple[Form, Received]:
    received = Received()
    return read_form(Pieces(data, size), B, most, received.open), received


def refused(data: bytes, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(data, **options)
    return caught.value


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
def test_fields_may_come_before_and_after_the_file_in_pieces_of_any_size(size: int) -> None:
    video = b"\r\n--" + B[:-1].encode() + b"\r\n\r" * 5 + bytes(range(256))
    data = part("epsilon", b"0.1") + file(video) + part("notes", "Отпуск".encode()) + END
    form, received = read(data, size)
    assert form == Form({"epsilon": "0.1", "notes": "Отпуск"}, "a.mp4")
    assert received == video
    assert received.begun_with == ("a.mp4", {"epsilon": "0.1"})


@pytest.mark.parametrize("ending", [b"", b"\r\n", b"\r\nepilogue"])
@pytest.mark.parametrize("size", [1, MOST])
def test_what_stands_around_the_parts_does_not_matter(ending: bytes, size: int) -> None:
    data = b"preamble\r\n" + file() + END[:-2] + ending
    assert read(data, size)[1] == b"video"


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ('; filename="Отпуск.mp4"', "Отпуск.mp4"),
        ("; filename*=UTF-8''%D0%9E%D1%82.mp4", "От.mp4"),
        ("; filename=\"_.mp4\"; filename*=UTF-8''%D0%9E%D1%82.mp4", "От.mp4"),
        (f"; filename=\"{DOT_NET}\"; filename*=utf-8''%D0%9E%D1%82.mp4", "От.mp4"),
        ("; filename=\"Ot.mp4\"; filename*=utf-8''От.mp4", "Ot.mp4"),
        ("; filename=\"Ot.mp4\"; filename*=windows-1251''%CE%F2.mp4", "Ot.mp4"),
        ("; filename=\"Ot.mp4\"; filename*=UTF-8''", "Ot.mp4"),
        ("; filename=\"Ot.mp4\"; filename*=UTF-8''%25D0%259E.mp4", "%D0%9E.mp4"),
        ('; filename="C:\\\\dir\\\\filename* 1.mp4"', "filename* 1.mp4"),
        (f'; filename="{DOT_NET}"', "От.mp4"),
        ('; filename="=?UTF-8?Q?=D0=9E?= =?UTF-8?Q?=D1=82.mp4?="', "От.mp4"),
        ('; filename="=?UTF-8?B?0A==?="', "=?UTF-8?B?0A==?="),
        ('; filename="=?UTF-8?B?abcde?="', "=?UTF-8?B?abcde?="),
        ('; filename="%D0%9E%D1%82%201.mp4"', "От 1.mp4"),
        ('; filename="a%201.mp4"', "a%201.mp4"),
        ('; filename="%D0 %9E.mp4"', "%D0 %9E.mp4"),
        ('; filename="%D0.mp4"', "%D0.mp4"),
        ('; filename="a =?UTF-8?Q?b?=.mp4"', "a =?UTF-8?Q?b?=.mp4"),
        ('; filename="a\\"b.mp4"', 'a"b.mp4'),
        ('; filename="a%22b.mp4"', 'a"b.mp4'),
        ('; filename="C:\\\\dir\\\\a.mp4"', "a.mp4"),
        ("; filename=plain.mp4", "plain.mp4"),
    ],
)
def test_the_files_name_is_read_as_browsers_and_programs_write_it(extra: str, name: str) -> None:
    form, _ = read(part("file", b"x", extra) + END)
    assert form.file_name == name


def test_the_end_of_a_line_is_one_character_however_a_browser_sends_it() -> None:
    """A page lets notes have as many characters as the service takes, and counts it as one."""
    form, _ = read(part("notes", b"one\r\ntwo\nthree\r\n") + file(b"\r\n") + END)
    assert form.fields["notes"] == "one\ntwo\nthree\n"


@pytest.mark.parametrize("encoding", ["quoted-printable", "Base64"])
def test_a_part_that_is_encoded_is_refused_as_that(encoding: str) -> None:
    """As mails have it: notes would be kept in code, and a file be no video."""
    for name, more in (("notes", ""), ("file", '; filename="a.mp4"')):
        error = refused(encoded(name, more, encoding) + file() + END)
        assert (error.status, error.code) == (400, "bad_form")
        assert "Content-Transfer-Encoding" in error.facts["reason"]


@pytest.mark.parametrize("encoding", ["binary", "8bit", "7BIT"])
def test_a_part_may_say_that_it_is_not_encoded(encoding: str) -> None:
    form, _ = read(encoded("notes", "", encoding) + file() + END)
    assert form.fields == {"notes": "text"}


def encoded(name: str, more: str, encoding: str) -> bytes:
    return part(name, b"text", f"{more}\r\nContent-Transfer-Encoding: {encoding}")


def test_a_form_without_a_file_is_refused() -> None:
    for data in (END, part("epsilon", b"0.1") + END):
        error = refused(data)
        assert (error.status, error.code) == (400, "no_file")


@pytest.mark.parametrize("extra", ["", *(f'; filename="{n}"' for n in ("", "/", "a/", r"a\\"))])
def test_a_field_file_without_a_file_name_is_refused(extra: str) -> None:
    error = refused(part("file", b"video", extra) + END)
    assert (error.status, error.code, error.key) == (400, "no_file", "uploads.no_file_name")


def test_a_file_in_another_field_is_refused() -> None:
    error = refused(part("video", b"video", '; filename="a.mp4"') + END)
    assert (error.status, error.key, error.facts["name"]) == (400, "uploads.other_field", "video")


def test_two_files_are_refused() -> None:
    error = refused(file() + file() + END)
    assert (error.status, error.code) == (400, "two_files")


def test_a_field_that_is_given_twice_is_refused() -> None:
    error = refused(part("epsilon", b"0.1") + part("epsilon", b"0.1") + file() + END)
    assert (error.status, error.code, error.field) == (422, "invalid_parameter", "epsilon")


def test_a_field_that_is_too_long_is_refused_before_it_is_kept() -> None:
    read(part("notes", b"x" * 65_536) + file() + END)
    pieces = Pieces(part("notes", b"x" * 5_000_000) + file() + END, 100_000)
    with pytest.raises(ApiError) as caught:
        read_form(pieces, B, MOST, Received().open)
    assert (caught.value.status, caught.value.field) == (422, "notes")
    assert len(pieces.left) > 4_500_000


def test_a_field_that_is_no_text_is_refused() -> None:
    error = refused(part("notes", b"\xff\xfe") + file() + END)
    assert (error.status, error.field) == (422, "notes")


def test_too_many_fields_are_refused() -> None:
    error = refused(b"".join(part(f"n{n}", b"") for n in range(1000)) + file() + END)
    assert (error.status, error.code) == (400, "bad_form")


@pytest.mark.parametrize(
    "data",
    [
        f"--{B}\r\nContent-Disposition: form-data; name=".encode() + b"n" * 100_000,
        f"--{B}\r\n".encode() + b"X-Odd: y\r\n" * 50 + b"\r\n",
        f"--{B}\r\n\r\nno headers\r\n".encode() + END,
        f"--{B}\r\nContent-Disposition: attachment; name=file; filename=a.mp4\r\n\r\n".encode(),
        f'--{B}\nContent-Disposition: form-data; name="file"; filename="a.mp4"\n\n'.encode(),
        f"--{B}garbage".encode() + file() + END,
        file()[:-2] + b"\r\n--" + B.encode() + b"garbage" + END,
        b"--" + B.encode() + b'\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n',
        file() + f"--{B}\r\nContent-Disposition: form-data; n".encode() + b"\r\n\r\n" + END[:3],
        part("notes", b"x", "\r\nContent-Length: x") + END,
        part("notes", b"x", "\r\nContent-Length: 1\r\nContent-Length: 1") + END,
        part("notes", b"x", "\r\nContent-Length: 5") + END,
        part("notes", b"longer", "\r\nContent-Length: 1") + END,
        part("notes", b"x", "\r\nX: " + "y" * 10_000) + END,
        b"".join(part(f"n{n}", b"") for n in range(100)) + END,
    ],
)
def test_a_form_that_is_not_well_formed_is_refused(data: bytes) -> None:
    error = refused(data)
    assert error.status == 400
    assert error.code in ("bad_form", "incomplete_upload")
    if error.code == "bad_form":
        assert is_known(str(error.facts["reason"]))


def test_a_form_that_breaks_off_anywhere_is_incomplete() -> None:
    data = part("epsilon", b"0.1") + file() + part("notes", b"x") + END[:-2]
    for length in range(len(data)):
        assert refused(data[:length]).code == "incomplete_upload", length


@pytest.mark.parametrize("filler", [b"x", b"\r\n", b"-"])
def test_bytes_outside_of_parts_count_too(filler: bytes) -> None:
    endless = filler * 2_000_000
    error = refused(endless + b"\r\n" + file() + END, size=100_000, most=1_000_000)
    assert (error.status, error.code) == (413, "form_too_large")
    error = refused(file() + END + endless, size=100_000, most=1_000_000)
    assert (error.status, error.code) == (413, "form_too_large")


def test_a_form_within_a_form_is_a_files_content_and_no_more() -> None:
    head = b"Content-Disposition: form-data; name=file; filename=b.mp4"
    inner = b"--inner\r\n" + head + b"\r\n\r\nx\r\n--inner--"
    extra = '; filename="a.mp4"\r\nContent-Type: multipart/mixed; boundary=inner'
    form, received = read(part("file", inner, extra) + END)
    assert (form.file_name, received) == ("a.mp4", inner)


@pytest.mark.parametrize("pattern", [b"\r", b"\r\n", b"\r\n--", b"\r\n--" + B[:-1].encode() + b"X"])
def test_bytes_that_look_like_the_end_of_a_part_cost_no_more(pattern: bytes) -> None:
    video = (pattern * 2_000_000)[:2_000_000]
    assert read(file(video) + END, size=65_536)[1] == video


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("", "no_file"),
        ("application/json", "no_file"),
        ("application/x-www-form-urlencoded", "no_file"),
        ("multipart/mixed; boundary=x", "no_file"),
        ("multipart/form-data", "bad_form"),
        ("multipart/form-data; boundary=", "bad_form"),
        ("multipart/form-data; boundary=" + "x" * 300, "bad_form"),
        ("multipart/form-data; boundary=\N{CYRILLIC SMALL LETTER ZHE}", "bad_form"),
    ],
)
def test_a_request_that_is_no_form_with_a_file_is_refused(content_type: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        boundary_of(content_type)
    assert (caught.value.status, caught.value.code) == (400, code)


def test_a_boundary_is_read_as_it_is_written() -> None:
    assert boundary_of('Multipart/Form-Data; charset=utf-8; boundary="a b"') == "a b"
