from __future__ import annotations

import pytest

from pipeline.subtitles import plain_text


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (b"\x00\x05Hello", b"Hello"),
        (b"\x00\x05Hello\x00\x00\x00\x0cstyl\x00\x00\x00\x00", b"Hello"),
        (b"\x00\x00", b""),
        (b"", b""),
        (b"\x00\xffcut", b""),
        (b"\x00\x06\xfe\xff\x04\x34\x04\x30", "да".encode()),
    ],
)
def test_the_text_comes_without_what_follows_it(sample: bytes, text: bytes) -> None:
    assert plain_text(sample) == text
