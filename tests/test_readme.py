"""README.md and README.ru.md say the same: their parts, commands, names and figures agree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from services import ROOT

ENGLISH, RUSSIAN = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md")
)
BLOCK = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# Russian parts the decimals by a comma.
NUMBER = re.compile(r"(?<![\w.,])\d*[.,]?\d+")


def parts(text: str) -> list[str]:
    """Return what stands under each heading, the heading's marks before it."""
    return re.split(r"^(?=#+ )", without_comments(text), flags=re.MULTILINE)[1:]


def without_comments(text: str) -> str:
    """Return the text with comments in its blocks of code left out, which are translated."""
    return BLOCK.sub(lambda block: re.sub(r" +# .*$", "", block[0], flags=re.MULTILINE), text)


def commands(text: str) -> Iterator[str]:
    for block in BLOCK.findall(without_comments(text)):
        for line in block.splitlines():
            yield re.sub(r"^( *notes:).*", r"\1", line)  # people's own words


def spans(text: str) -> Counter[str]:
    """Return the code within lines."""
    found = re.findall(r"`([^`]+)`", BLOCK.sub("", text))
    return Counter(" ".join(span.split()) for span in found)  # one may go over two lines


def figures(text: str) -> Counter[float]:
    return Counter(float(n.replace(",", ".")) for n in NUMBER.findall(BLOCK.sub("", text)))


def shape(part: str) -> tuple[str, int, int]:
    """Return a heading's level, and how many rows of tables and points of lists follow it."""
    lines = part.splitlines()
    rows = sum(line.startswith("|") for line in lines)
    return part.split(" ")[0], rows, sum(line.startswith("- ") for line in lines)


def test_each_names_the_other() -> None:
    assert "(README.ru.md)" in ENGLISH
    assert "(README.md)" in RUSSIAN


def test_headings_tables_and_lists_agree() -> None:
    assert [shape(part) for part in parts(RUSSIAN)] == [shape(part) for part in parts(ENGLISH)]


def test_commands_agree() -> None:
    assert list(commands(RUSSIAN)) == list(commands(ENGLISH))


@pytest.mark.parametrize("number", range(len(parts(ENGLISH))))
def test_names_and_figures_agree(number: int) -> None:
    english, russian = parts(ENGLISH)[number], parts(RUSSIAN)[number]
    heading = english.splitlines()[0]
    assert set(spans(russian)) == set(spans(english)), heading
    assert figures(russian) == figures(english), heading
