"""Whatever a report may call metadata has its Russian."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from services import ROOT

from daemon.web.findings import FINDINGS

PIPELINE = ROOT / "pipeline"
MODULES = (
    *PIPELINE.glob("audit_*.py"),
    *(PIPELINE / f"{name}.py" for name in ("metadata", "vorbis_comment", "subtitle_header")),
)
FACT = re.compile(r"\{\w*\}")
IN_PARENTHESES = re.compile(r" \([^)]*\)$")
# Names that formats give, also with what stands there, and what is put together of others.
NAMES = {"SegmentUID", "XMP", "{} {}", "{}"}
# Parts of what is said, and no words at all.
NO_FINDINGS = {"a text", "0x", "utf-8", "replace"}


def test_whatever_a_report_may_call_metadata_has_its_russian() -> None:
    known = {FACT.sub("{}", english) for english in FINDINGS} | NAMES
    found = {IN_PARENTHESES.sub("", text) for text in said()} - NO_FINDINGS
    assert len(found) > 40
    assert found <= known


@pytest.mark.parametrize("english", FINDINGS)
def test_its_russian_has_the_same_facts(english: str) -> None:
    russian = FINDINGS[english]
    assert sorted(FACT.findall(russian)) <= sorted(FACT.findall(english))
    assert re.search("[а-я]", russian)


def said() -> Iterator[str]:
    """Yield what the walks over a file call what they find, `{}` for each fact in it."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Yield | ast.YieldFrom | ast.Return) and node.value:
                yield from texts_in(node.value)
            elif isinstance(node, ast.Assign) and "_WORDS" in ast.unparse(node.targets[0]):
                assert isinstance(node.value, ast.Dict | ast.Tuple)
                pairs = node.value.values if isinstance(node.value, ast.Dict) else node.value.elts
                yield from (text for pair in pairs for text in list(texts_in(pair))[-1:])


def texts_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        yield "".join(map(str, parts))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif not isinstance(node, ast.Compare | ast.Subscript | ast.Attribute):
        for child in ast.iter_child_nodes(node):
            yield from texts_in(child)
