"""
The header of a track of subtitles without what it says of its author, tools and files.

It stands in the container and not in the packets, and holds what players need: sizes, styles,
palette. That is kept by an allow-list of lines, of which the audit asks the same. Styles keep
their names, by which the packets call them. Fonts and graphics in a header go, as attached
files do: each is a file with an author of its own.

Source: Matroska codec specifications, subtitles; the SSA and ASS specifications.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_IN_SCRIPT_INFO = re.compile(
    rb"ScriptType:\s*v\d[\d.]*\+*"
    rb"|(PlayRes[XY]|PlayDepth|LayoutRes[XY]|WrapStyle|Timer):\s*[-+\d.,]+%?"
    rb"|(ScaledBorderAndShadow|Kerning):\s*(yes|no|[-\d]+)"
    rb"|Collisions:\s*(Normal|Reverse)"
    rb"|YCbCr Matrix:\s*(None|(TV|PC)\.\w{3,4})"
    rb"|Language:\s*[a-z]{2,3}",
    re.IGNORECASE,
)
_IN_STYLES = re.compile(rb"Format:[\w\s,]*|Style:.*", re.IGNORECASE)
_IN_EVENTS = re.compile(rb"Format:[\w\s,]*", re.IGNORECASE)
_SECTIONS = (
    (re.compile(rb"\[Script Info\]", re.IGNORECASE), _IN_SCRIPT_INFO),
    (re.compile(rb"\[V4\+{0,2} Styles\+{0,2}\]", re.IGNORECASE), _IN_STYLES),
    (re.compile(rb"\[Events\]", re.IGNORECASE), _IN_EVENTS),
)
_IN_VOBSUB = re.compile(
    rb"(size|org|scale|alpha|smooth|fadein/out|align|time offset|forced subs|palette"
    rb"|custom colors):"
    rb"([\dA-Fx,:%.+\s-]|ON|OFF|OLD|at|LEFT|CENTER|RIGHT|TOP|BOTTOM|tridx|colors)*",
    re.IGNORECASE,
)
_BLANK = b" \t\r\n\0\xef\xbb\xbf"  # with the mark at the beginning of some files
_PRINTED_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9 +]{0,30}")


@dataclass(frozen=True)
class _Piece:
    """A line of a header, or all of it."""

    text: bytes
    is_kept: bool


def cleaned_header(codec: str, header: bytes) -> bytes:
    """
    Return what of a header is needed to show the subtitles.

    Args:
        codec: FFmpeg's name of the codec; the headers of those not known here stay as they are.
    """
    return b"".join(piece.text for piece in _pieces(codec, header) if piece.is_kept)


def header_findings(codec: str, header: bytes) -> Iterator[str]:
    """Yield what a header says beside that, in words for a report; values are not repeated."""
    for piece in _pieces(codec, header):
        text = piece.text.strip(_BLANK)
        if text and not piece.is_kept:
            yield f"{_words(text)} in the header of subtitles"


def _words(text: bytes) -> str:
    if text.startswith((b";", b"!", b"#")):
        return "comment"
    name = _PRINTED_NAME.fullmatch(text.strip(b"[]") if text[:1] == b"[" else text.split(b":")[0])
    return name.group().decode() if name else "a text"


def _pieces(codec: str, header: bytes) -> Iterator[_Piece]:
    if codec in _PIECES_OF:
        yield from _PIECES_OF[codec](header)
    else:
        yield _Piece(header, True)


def _of_ass(header: bytes) -> Iterator[_Piece]:
    allowed: re.Pattern[bytes] | None = None
    is_skipped = False  # of a section that is not kept its own name tells enough
    for line in header.splitlines(keepends=True):
        text = line.strip(_BLANK)
        if text[:1] == b"[" and text[-1:] == b"]":
            allowed = next((lines for name, lines in _SECTIONS if name.fullmatch(text)), None)
            is_skipped = allowed is None
            yield _Piece(line, not is_skipped)
        elif not is_skipped:
            is_kept = allowed is not None and allowed.fullmatch(text) is not None
            yield _Piece(line, is_kept or not text)


def _of_vobsub(header: bytes) -> Iterator[_Piece]:
    for line in header.splitlines(keepends=True):
        text = line.strip(_BLANK)
        yield _Piece(line, not text or _IN_VOBSUB.fullmatch(text) is not None)


def _of_those_without(header: bytes) -> Iterator[_Piece]:
    yield _Piece(header, False)


_PIECES_OF: dict[str, Callable[[bytes], Iterator[_Piece]]] = {
    "ass": _of_ass,
    "dvd_subtitle": _of_vobsub,
    # WebVTT as FFmpeg knows it: the codec of WebM.
    "webvtt": _of_those_without,
    "subrip": _of_those_without,
    "hdmv_pgs_subtitle": _of_those_without,
}
