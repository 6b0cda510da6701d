"""
The language of a track, as players know it: a code, and none of the text that may stand there.

Matroska, Ogg and NUT take any words for it, and FFmpeg hands them on.

Source: RFC 5646 (BCP 47).
"""

from __future__ import annotations

import re

# Language of ISO 639, with script and region. Further parts are rare, and may be anybody's own.
_CODE = re.compile(
    r"([A-Za-z]{2,3}(?:-[A-Za-z]{3})?(?:-[A-Za-z]{4})?(?:-(?:[A-Za-z]{2}|\d{3}))?)(-.*)?"
)
_UNKNOWN = "und"


def language_code(text: str | None) -> str | None:
    """Return the code that a file's word for a language begins with; None where it is none."""
    match = _CODE.fullmatch(text or "")
    return match[1] if match and match[1] != _UNKNOWN else None


def is_language(text: str) -> bool:
    """Whether a text is such a code alone, or the one for a language that is not known."""
    return text in ("", _UNKNOWN) or language_code(text) == text
