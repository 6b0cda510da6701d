from __future__ import annotations

import pytest

from pipeline.subtitles import names_a_speaker, plain_text


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


def test_a_speaker_is_named_in_the_fourth_field_of_ass() -> None:
    assert names_a_speaker(b"0,0,Default,Anna,0,0,0,,Hello")
    for event in (b"0,0,Default,,0,0,0,,Hello, Anna", b"0,0,Default,Anna", b""):
        assert not names_a_speaker(event)
