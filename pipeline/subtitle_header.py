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
# One way alone to read a line: of several all are tried, one after the other.
_FORMAT = rb"Format:\s*((%s)\s*,\s*)*((%s)\s*)?"
_MARGINS = rb"Margin[LRVTB]"
_STYLE_FIELDS = (
    rb"Name|Fontname|Fontsize|(Primary|Secondary|Tertiary|Outline|Back)Colour|Bold|Italic"
    rb"|Underline|Strike[Oo]ut|ScaleX|ScaleY|Spacing|Angle|BorderStyle|Outline"
    rb"|Shadow|Alignment|AlphaLevel|Encoding|RelativeTo|" + _MARGINS
)
_EVENT_FIELDS = rb"ReadOrder|Layer|Marked|Start|End|Style|Name|Actor|Effect|Text|" + _MARGINS
_IN_STYLES = re.compile(_FORMAT % ((_STYLE_FIELDS,) * 2) + rb"|Style:.*", re.IGNORECASE)
_IN_EVENTS = re.compile(_FORMAT % ((_EVENT_FIELDS,) * 2), re.IGNORECASE)
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
_LINE = re.compile(rb"[^\r\n]*(\r\n|\r|\n)?")
# Of those beyond these none was meant to be read, and each takes time. Fonts have many.
_MOST_LINES, _LONGEST_LINE = 300_000, 4096
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
    """Yield what a header says beside that, in words for a report, once; no values."""
    left = (p.text.strip(_BLANK) for p in _pieces(codec, header) if not p.is_kept)
    yield from {f"{_words(text)} in the header of subtitles": None for text in left if text}


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


def _lines(header: bytes) -> Iterator[bytes]:
    """Yield lines with their ends; of a header with too many the rest as one."""
    for number, line in enumerate(_LINE.finditer(header)):
        if number == _MOST_LINES:
            yield header[line.start() :]
            return
        yield line.group()


def _of_ass(header: bytes) -> Iterator[_Piece]:
    allowed: re.Pattern[bytes] | None = None
    is_skipped = False  # of a section that is not kept its own name tells enough
    for line in _lines(header):
        text = line.strip(_BLANK)
        if text[:1] == b"[" and text[-1:] == b"]":
            allowed = next((lines for name, lines in _SECTIONS if name.fullmatch(text)), None)
            is_skipped = allowed is None
            yield _Piece(line, not is_skipped)
        elif not is_skipped:
            yield _Piece(line, not text or (allowed is not None and _is_allowed(text, allowed)))


def _of_vobsub(header: bytes) -> Iterator[_Piece]:
    for line in _lines(header):
        text = line.strip(_BLANK)
        yield _Piece(line, not text or _is_allowed(text, _IN_VOBSUB))


def _is_allowed(text: bytes, allowed: re.Pattern[bytes]) -> bool:
    return len(text) <= _LONGEST_LINE and allowed.fullmatch(text) is not None


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
