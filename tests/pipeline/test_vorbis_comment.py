from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.codec_header import clean_header
from pipeline.vorbis_comment import comment_findings, without_comment


def headers(comment: bytes) -> bytes:
    first, last = b"\x01vorbis" + bytes(23), b"\x05vorbis" + bytes(300)
    sizes = b"".join(b"\xff" * (len(h) // 255) + bytes([len(h) % 255]) for h in (first, comment))
    return b"\x02" + sizes + first + comment + last


def comment(vendor: bytes, *tags: bytes) -> bytes:
    parts = [vendor, *tags]
    lengths = [len(part).to_bytes(4, "little") for part in parts]
    count = len(tags).to_bytes(4, "little")
    head = lengths[0] + vendor + count
    body = b"".join(n + t for n, t in zip(lengths[1:], tags, strict=True))
    return b"\x03vorbis" + head + body + b"\x01"


@pytest.mark.parametrize("tag", [b"ARTIST=Somebody", b"ARTIST=" + b"x" * 700])
def test_the_comment_goes_and_the_other_headers_stay(tag: bytes) -> None:
    full = headers(comment(b"Xiph.Org libVorbis I 20200704", tag))
    assert list(comment_findings(full))
    clean = without_comment(full)
    assert clean == headers(comment(b""))
    assert not list(comment_findings(clean))


@pytest.mark.parametrize("other", [b"", b"\x02", b"fLaC", b"OpusHead", b"\x02\xff\xff\xff"])
def test_anything_else_stays_as_it_is(other: bytes) -> None:
    assert without_comment(other) == other


def theora(is_laced: bool, vendor: bytes, *tags: bytes) -> bytes:
    said = b"\x81theora" + comment(vendor, *tags)[7:-1]
    parts = [b"\x80theora" + bytes(35), said, b"\x82theora" + bytes(300)]
    if is_laced:
        return b"\x02" + bytes(map(len, parts[:2])) + b"".join(parts)
    return b"".join(len(part).to_bytes(2) + part for part in parts)


@pytest.mark.parametrize("is_laced", [True, False])
def test_theoras_comment_goes_in_either_of_its_forms(is_laced: bool) -> None:
    full = theora(is_laced, b"Xiph.Org libtheora 1.1", b"LOCATION=at home")
    assert list(comment_findings(full)) == [
        "encoder 'Xiph.Org libtheora 1.1' in the codec's header",
        "tag LOCATION in the codec's header",
    ]
    assert without_comment(full) == theora(is_laced, b"")
    assert not list(comment_findings(theora(is_laced, b"")))


@pytest.mark.parametrize(
    ("codec", "header", "clean"),
    [
        ("theora", theora(True, b"", b"LOCATION=at home"), theora(True, b"")),
        ("vorbis", headers(comment(b"", b"LOCATION=at home")), headers(comment(b""))),
    ],
)
def test_the_header_of_a_copied_track_is_cleaned(codec: str, header: bytes, clean: bytes) -> None:
    named = SimpleNamespace(canonical_name=codec)
    context = SimpleNamespace(codec=named, extradata=header)
    clean_header(SimpleNamespace(type="video", codec_context=context))
    assert context.extradata == clean
