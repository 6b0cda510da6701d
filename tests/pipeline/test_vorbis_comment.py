from __future__ import annotations

import pytest

from pipeline.vorbis_comment import comment_findings, without_vorbis_comment


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
    clean = without_vorbis_comment(full)
    assert clean == headers(comment(b""))
    assert not list(comment_findings(clean))


@pytest.mark.parametrize("other", [b"", b"\x02", b"fLaC", b"OpusHead", b"\x02\xff\xff\xff"])
def test_anything_else_stays_as_it_is(other: bytes) -> None:
    assert without_vorbis_comment(other) == other
