"""A language is a code, and not what else may stand in its place."""

from __future__ import annotations

import pytest

from pipeline.language import is_language, language_code, three_letters


@pytest.mark.parametrize(
    "text", ["eng", "de", "DEU", "zh-Hans-CN", "zh-yue", "es-419", "pt-BR", "eng,deu"]
)
def test_a_code_stays(text: str) -> None:
    assert language_code(text) == text
    assert is_language(text)


@pytest.mark.parametrize("text", [None, "", "und"])
def test_an_unknown_language_is_none(text: str | None) -> None:
    assert language_code(text) is None
    assert is_language(text or "")


@pytest.mark.parametrize(
    "text", ["at home", "e", "eng, filmed by Anna", "eng,at home", "home", "en\nAnna", "52.5"]
)
def test_words_are_no_language(text: str) -> None:
    assert language_code(text) is None
    assert not is_language(text)


@pytest.mark.parametrize("text", ["en-x-anna", "en-US-filmed-by-anna", "en-annahome"])
def test_of_a_longer_code_the_part_stays_that_is_nobodys_own(text: str) -> None:
    assert language_code(text) in ("en", "en-US")
    assert not is_language(text)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("de", "deu"),
        ("pt-BR", "por"),
        ("DEU", "deu"),
        ("ger", "ger"),
        ("zh-Hans", "zho"),
        ("jpn,eng", "jpn"),
    ],
)
def test_mp4_is_told_three_letters(code: str, wanted: str) -> None:
    assert three_letters(code) == wanted
